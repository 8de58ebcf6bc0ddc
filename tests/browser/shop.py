"""The app that the tests of the dashboard look at: a shop whose mail server drops connections."""

import asyncio

from toril import Fail, Toril, Worker, current_job

QUEUES = ("email", "billing", "video:encode", "search:index", "reports", "hostile", "images")

# Texts that an attacker could put into a job: markup, control and bidi characters, a long line.
HOSTILE = (
    '"><img src=x onerror="document.title=\'owned\'"><script>document.title="owned"</script>',
    "javascript:alert(1)//\u202egpj.exe\u0000\u001b[31m",
    "../../%2e%2e/#?&{{7*7}}",
)


class SMTPServerDisconnectedError(Exception):
    """The mail server closed the connection."""


class Shop:
    """An app with tasks on several queues, and what it takes to fill them."""

    def __init__(self, url: str, prefix: str) -> None:
        self.app = Toril(url, prefix=prefix, attempts=1, warn_unserved=False)
        self.mended = asyncio.Event()
        task = self.app.task

        @task(queue="email", attempts=2, backoff="50ms")
        async def send_welcome(user_id: int, email: str, api_key: str = "") -> str:
            current_job().log(f"connecting to mx1 for user {user_id}")
            await asyncio.sleep(0.01)
            if user_id % 3 == 0 and not self.mended.is_set():
                raise SMTPServerDisconnectedError("Connection unexpectedly closed")
            return f"sent to {email}"

        @task(queue="billing")
        async def send_invoice(order: int, country: str = "DE") -> float:
            rates = {"DE": 0.19, "FR": 0.2}
            return order * rates[country]

        @task(queue="video:encode")
        async def encode(movie: str, seconds: float = 0.2) -> str:
            await asyncio.sleep(seconds)
            return f"{movie}.mp4"

        @task(queue="search:index")
        async def index_doc(doc: int) -> int:
            await asyncio.sleep(0.002)
            return doc

        @task(queue="reports")
        async def collect(region: str) -> int:
            await asyncio.sleep(0.05 if region != "us" else 0.3)
            return len(region)

        @task(queue="reports")
        async def render(month: str) -> str:
            raise Fail(f"no template for {month}")

        @task(queue="reports")
        async def monthly_report(month: str) -> str:
            return month

        @task(queue="images")
        async def resize(picture: str) -> None:
            raise OSError(f"no space left for {picture!r}")

        @task(queue="hostile")
        async def echo(text: str) -> None:
            raise ValueError(text)

        self.send_welcome, self.send_invoice, self.encode = send_welcome, send_invoice, encode
        self.index_doc, self.collect, self.render = index_doc, collect, render
        self.monthly_report, self.echo, self.resize = monthly_report, echo, resize

    async def fill(self) -> None:
        """Add what the tests look for."""
        app = self.app
        await self.send_welcome.enqueue_many(
            [(n, f"user{n}@example.org", "sk-secret-4711") for n in range(1, 41)]
        )
        await self.index_doc.enqueue_many([(n,) for n in range(60)])
        await self.send_invoice.enqueue_many([(n, "DE") for n in range(20)])
        await self.send_invoice.using(id="invoice-21").enqueue(21, "IT")
        await self.resize.enqueue_many([(f"cat-{n}.jpg",) for n in range(14)])
        await self.encode.enqueue_many([(f"movie-{n}.mkv",) for n in range(6)])
        await self.send_invoice.using(delay="1h", priority=3).enqueue(99)
        report = app.flow(
            "reports", "monthly_report", {"month": "2026-11"}, id="report-11",
            children=[
                ("reports", "collect", {"region": "eu"}), ("reports", "collect", {"region": "us"}),
            ],
        )  # fmt: skip
        await report.add()
        await app.flow(
            "reports", "monthly_report", {"month": "2026-12"}, id="report-12",
            children=[self.collect.node("eu"), self.render.node("2026-12")],
        ).add()  # fmt: skip
        await app.queue("ünserved").add("lonely", {"big": 2**63, "note": HOSTILE[0]})
        for text in HOSTILE:
            await app.queue("hostile").add(text[:200], {"text": text, text: [text]})
            await self.echo.enqueue(text)
        await app.queue("hostile").add("echo", {"text": "x" * 200_000}, id="a/b .%2e#?c")
        await app.schedules.put(
            "nightly-report", task=self.monthly_report, args=("2026-11",), cron="0 3 * * *",
            tz="Europe/Berlin",
        )  # fmt: skip
        await app.schedules.put("heartbeat", task=self.index_doc, args=(0,), every="2s")
        await app.queue("paused-queue").add("later", {})
        await app.queue("scrap").add_many([("old", {}), ("old", {}), ("old", {})])
        await app.queue("paused-queue").pause()

    def workers(self) -> list[Worker]:
        """Return the workers of the shop; some of its queues have none."""
        names = ("web-1", "web-2")
        return [self.app.worker(QUEUES, name=name, concurrency=4) for name in names]
