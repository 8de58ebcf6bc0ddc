"""T01c: workers die at each point of a job's life; whatever the kind of the job, it costs nothing.

One worker holds a job of each kind and dies when all of them have come to the point: a row of
cells. A worker that comes later finds what the dead left behind.
"""

import asyncio
import sys
from asyncio.subprocess import DEVNULL

import pytest

from tests.robustness.chaos.fleet import environment
from tests.robustness.torture.hooks import DONE, KINDS, POINTS, kept
from tests.robustness.torture.site import PREFIX, ROUNDS, Site, drained
from toril import Job, Toril

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL"),
]

AT_ONCE = 4
TIMES = 2 * ROUNDS
RULES = ({"every": "300ms"}, {"cron": "* * * * * *"})
RUNS = 2
# By then no job is done, whatever the kind: its dedup key is taken.
HELD = POINTS[: POINTS.index("after the handler") + 1]


class Row:
    """A queue with a job of each kind, and the point at which its first worker dies."""

    def __init__(self, site: Site, app: Toril, point: str, number: int) -> None:
        self.point = point
        self.queue = f"{point.replace(' ', '-')}-{number}"
        self._site = site
        self._app = kept(app, [self.queue])
        self._rule = RULES[number % len(RULES)]
        self.jobs: dict[str, Job[object]] = {}

    def _acked(self, kind: str, job: Job[object]) -> None:
        self._site.ledger.note("acked", self.queue, job.id, kind)
        self.jobs[kind] = job

    async def fill(self) -> None:
        queue, data = self._app.queue(self.queue), {"adopts": self.adopts}
        self._acked("plain", await queue.add("plain", data))
        self._acked("retry", await queue.add("retry", data, attempts=2))
        self._acked("dedup", await queue.add("dedup", data, dedup="key"))
        children = [(self.queue, "child", data)]
        tree = await self._app.flow(self.queue, "gather", {}, children=children).add()
        self._acked("parent", tree.job)
        self._acked("child", tree.children[0].job)
        await self._app.schedules.put(
            "tick", queue=self.queue, name="scheduled", data=data, limit=RUNS, **self._rule
        )

    @property
    def adopts(self) -> bool:
        return "child is added" in self.point or "child was added" in self.point

    async def kill_one(self, slots: asyncio.Semaphore) -> None:
        """Let a worker work until it dies by its own hand."""
        async with slots:
            command = (
                sys.executable,
                "-m",
                "tests.robustness.torture.hooks",
                self._site.url,
                PREFIX,
            )
            process = await asyncio.create_subprocess_exec(
                *(*command, str(self._site.ledger.path), self.point, self.queue),
                stdout=DEVNULL,
                env=environment(),
            )
            try:
                assert await asyncio.wait_for(process.wait(), 20) == -9, self.point
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()

    def starts(self, job: Job[object]) -> int:
        """Count how often a job was started."""
        lines = self._site.ledger.lines()
        return sum(line.word == "start" and line.key == (self.queue, job.id) for line in lines)

    async def add_once_more(self) -> bool:
        """Add another job under the same dedup key, and say whether there was none."""
        job = await self._app.queue(self.queue).add("dedup", {}, dedup="key")
        if job.created:
            self._site.ledger.note("acked", self.queue, job.id, "dedup")
        return job.created


async def run_rows(site: Site, rows: list[Row]) -> None:
    slots = asyncio.Semaphore(AT_ONCE)
    async with asyncio.TaskGroup() as dying:
        for row in rows:
            dying.create_task(row.kill_one(slots))
    for row in rows:
        if row.point in HELD:
            assert not await row.add_once_more(), f"{row.point}: its dedup key was free"


async def end_rows(site: Site, app: Toril, rows: list[Row]) -> None:
    queues = [row.queue for row in rows]
    async with site.programs(
        "tests.robustness.torture.hooks", 1, "-", ",".join(queues)
    ) as survivor:
        await drained(app, *queues, within=40)
        for row in rows:
            assert await row.add_once_more(), f"{row.point}: its dedup key is held for ever"
        await drained(app, *queues, within=10)
        assert await survivor.stop() == [0]


def note_runs(site: Site, row: Row, ids: list[str]) -> None:
    """Note the jobs that nobody added: runs of the schedule, and children of those that adopt."""
    runs = [job_id for job_id in ids if job_id.startswith("repeat:")]
    kids = [job_id for job_id in ids if job_id.startswith("kid-of-")]
    assert len(runs) == RUNS, f"{row.point}: {runs}"
    assert len(kids) == (len(KINDS) - 1 + RUNS if row.adopts else 0), f"{row.point}: {kids}"
    for job_id in runs:
        site.ledger.note("acked", row.queue, job_id, "scheduled")
    for job_id in kids:
        site.ledger.note("acked", row.queue, job_id, "child")


@pytest.mark.timeout(60 + 30 * ROUNDS)
async def test_a_worker_that_dies_at_any_point_of_a_job_costs_nothing(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    async with Toril(site.url, prefix=PREFIX, warn_unserved=False) as app:
        rows = [Row(site, app, point, number) for number in range(TIMES) for point in POINTS]
        for row in rows:
            await row.fill()
        await run_rows(site, rows)
        await end_rows(site, app, rows)
        for row in rows:
            jobs = [job async for job in app.queue(row.queue).jobs()]
            note_runs(site, row, [job.id for job in jobs])
    verdict = site.verdict(*(row.queue for row in rows))

    with capsys.disabled():
        print(f"\n{site.store}, {len(rows) * len(KINDS)} cells: {verdict}")  # noqa: T201
    cells = [line.facts for line in site.ledger.lines() if line.word == "at"]
    assert len(cells) == len(rows) * len(KINDS)
    assert not verdict.findings, f"{verdict.findings}\n{site.ledger.tail()}"
    assert verdict.kills == len(rows)
    for row in rows:
        if row.point in DONE:
            again = {kind: row.starts(job) for kind, job in row.jobs.items()}
            assert again == {"plain": 1, "retry": 2, "dedup": 1, "child": 1, "parent": 1}
