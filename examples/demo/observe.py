"""Play the scenarios of the demo, and print PASS or FAIL for each line."""

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from observing import LATE, Stage, Web, main, restart_store, tally, until  # noqa: E402

from toril import Job, Queue, Toril  # noqa: E402


def opened(settings: dict[str, str]) -> Toril:
    return Toril(settings["TORIL_URL"], warn_unserved=False)


async def found(queue: Queue, job_id: str) -> Job[Any]:
    job = await queue.job(job_id)
    assert job is not None
    return job


async def play(stage: Stage) -> None:
    await asyncio.gather(endpoints(stage), inside(stage), restarts(stage))


async def endpoints(stage: Stage) -> None:
    """The worker is a process of its own."""
    settings = stage.fresh()
    async with opened(settings) as app, stage.web("web:web", **settings) as (web, _):
        demo = app.queue("demo")
        with stage.scenario("S004-08") as line:
            status, answer = await web.get("/demo/delay?ms=abc")
            line("ms=abc is answered with 422", status == 422, answer)
            line("and no job was added", await tally(demo) == {})
        with stage.scenario("S004-05") as line:
            for _ in range(6):
                await web.get("/demo/echo")
            line("without a worker six jobs wait", await tally(demo) == {"W": 6})
        async with stage.worker("jobs.py", **settings) as worker:
            with stage.scenario("S004-05") as line:
                await until(lambda: tally(demo), {"A": 5, "W": 1})
                line("six echo at once: five run, one waits", True)
                await until(lambda: tally(demo), {"C": 6})
            await asyncio.gather(
                echo(stage, web, demo, worker.lines),
                delay(stage, web, demo),
                retry(stage, web, demo, worker.lines),
                unknown(stage, demo),
                exhausted(stage, web, demo),
            )


async def echo(stage: Stage, web: Web, demo: Queue, lines: list[str]) -> None:
    with stage.scenario("S004-01") as line:
        began = time.monotonic()
        status, answer = await web.get("/demo/echo?msg=hi")
        took = time.monotonic() - began
        job_id = answer["jobId"]
        expected = {"queued": True, "jobId": job_id, "type": "echo", "msg": "hi"}
        line("the answer is as written", (status, answer) == (200, expected), answer)
        line("it comes at once", took < LATE, took)
        _, default = await web.get("/demo/echo")
        line("no msg says hello", default["msg"] == "hello", default)
        job = await found(demo, job_id)
        result = await job.result(timeout=8)
        await job.refresh()
        line("result {'echoed': 'hi'}", result == {"echoed": "hi"}, result)
        ran = (job.finished_at - job.started_at).total_seconds()  # type: ignore[operator]
        line("five steps of 200 ms take at least 1 s", ran >= 0.99, ran)
        line("attempts 1", job.attempts_made == 1, job.attempts_made)
        await until(lambda: any(f'✅ completed "echo" id={job_id} ' in each for each in lines))
        mine = [each for each in lines if each.startswith("[worker]") and f"id={job_id} " in each]
        story = [f'[worker] ⏳ progress "echo" id={job_id} = {p}%' for p in (0, 25, 50, 75, 100)]
        done = f"[worker] ✅ completed \"echo\" id={job_id} result= {{'echoed': 'hi'}}"
        line("five lines of progress, in order, then completed", mine == [*story, done], mine)


async def delay(stage: Stage, web: Web, demo: Queue) -> None:
    with stage.scenario("S004-02") as line:
        began = time.time()
        _, answer = await web.get("/demo/delay?msg=wait&ms=3000")
        expected = {"queued": True, "jobId": answer["jobId"], "type": "echo", "delayMs": "3000"}
        line("the delay comes back as the text that was given", answer == expected, answer)
        job = await found(demo, answer["jobId"])
        line("D until then", await job.state() == "delayed")
        result = await job.result(timeout=10)
        await job.refresh()
        waited = job.started_at.timestamp() - began  # type: ignore[union-attr]
        line("it starts 3 s after the add, not before", 2.999 <= waited <= 3 + LATE, waited)
        line("then as echo", result == {"echoed": "wait"}, result)
        _, default = await web.get("/demo/delay")
        data = (await found(demo, default["jobId"])).data
        seen = (default["delayMs"], data["msg"])
        line("defaults: delayed hello, 5000", seen == ("5000", "delayed hello"), seen)


async def retry(stage: Stage, web: Web, demo: Queue, lines: list[str]) -> None:
    with stage.scenario("S004-03") as line:
        _, answer = await web.get("/demo/retry?msg=resilient&fail=2")
        job_id = answer["jobId"]
        expected = {"queued": True, "jobId": job_id, "type": "maybe-fail", "failTimes": "2"}
        line("the answer is as written", answer == expected, answer)
        _, default = await web.get("/demo/retry")
        _, never = await web.get("/demo/retry?fail=0")
        usual = (await found(demo, default["jobId"])).data
        line("defaults: retry me, 1", usual == {"msg": "retry me", "failTimes": 1}, usual)
        job = await found(demo, job_id)
        result = await job.result(timeout=10)
        await job.refresh()
        line("the third attempt returns", result == {"okAfterRetries": "resilient"}, result)
        failed = [f'❌ failed "maybe-fail" id={job_id} attempt={n} error=' for n in (1, 2)]
        done = f'✅ completed "maybe-fail" id={job_id} '
        await until(lambda: any(done in each for each in lines))
        mine = [each for each in lines if each.startswith("[worker]") and f"id={job_id} " in each]
        fits = len(mine) == 3 and all(
            text in each for text, each in zip([*failed, done], mine, strict=True)
        )
        line("❌ attempt=1, ❌ attempt=2, then ✅", fits, mine)
        reasons = [each.reason for each in job.attempts]
        line("both errors stay readable", _has_both(reasons), reasons)
        waits = _waits(job)
        fits = len(waits) == 2 and all(
            n <= wait + 0.001 and wait <= n + LATE for n, wait in zip((1, 2), waits, strict=True)
        )
        line("1 s and 2 s lie between the attempts", fits, waits)
        line("it is completed", await job.state() == "completed")
        once = await found(demo, never["jobId"])
        await once.result(timeout=8)
        await once.refresh()
        line("fail=0 succeeds at the first attempt", once.attempts_made == 1)


def _has_both(reasons: list[Any]) -> bool:
    wanted = [f"Failing on purpose (attempt {n}/2)" for n in (1, 2)]
    return len(reasons) == 2 and all(
        text in str(reason) for text, reason in zip(wanted, reasons, strict=True)
    )


def _waits(job: Job[Any]) -> list[float]:
    """Return the seconds between the attempts of a job."""
    assert job.started_at is not None
    starts = [each.started_ms or 0 for each in job.attempts[1:]]
    starts.append(round(job.started_at.timestamp() * 1000))
    ends = [each.ended_ms for each in job.attempts]
    return [(start - end) / 1000 for end, start in zip(ends, starts, strict=True)]


async def unknown(stage: Stage, demo: Queue) -> None:
    with stage.scenario("S004-04") as line:
        job = await demo.add("nobody-knows", {})
        result = await job.result(timeout=8)
        line("a job of another name is completed with null", result is None, result)
        line("which is a result", await job.state() == "completed")


async def exhausted(stage: Stage, web: Web, demo: Queue) -> None:
    with stage.scenario("S004-07") as line:
        job = await demo.add("maybe-fail", {"msg": "x", "failTimes": 4}, attempts=1)
        await until(job.state, "failed")
        line("a job without attempts left stays failed", True)
        before = job.attempts_made
        status, _ = await web.send("POST", f"/demo/{job.id}/retry")
        await until(lambda: _made(demo, job.id), before + 1, within=8)
        line("retry by the API runs it again", status == 200, status)
        target = {"jobs": [{"queue": "demo", "id": job.id}]}
        body = json.dumps({"action": "retry", "target": target}).encode()
        headers = {"Content_Type": "application/json", "X_Toril": "1", "Origin": web.base}
        status, answer = await web.send("POST", "/jobs/api/v1/act", body, **headers)
        await until(lambda: _made(demo, job.id), 1, within=8)
        line("and so does the dashboard's button", status == 200, answer)
        line("attempts made go on with the first, and start again with the second", True)
        other = await demo.add("maybe-fail", {"msg": "x", "failTimes": 4})
        line("adding it again makes a new id", other.id != job.id)
        status, _ = await web.send("POST", "/demo/nothing/retry")
        line("a job that does not exist is answered with 404", status == 404, status)


async def _made(demo: Queue, job_id: str) -> int:
    job = await found(demo, job_id)
    return job.attempts_made if await job.state() == "failed" else -1


async def inside(stage: Stage) -> None:
    settings = stage.fresh()
    with stage.scenario("S004-09") as line:
        async with stage.web("web:web", RUN_WORKER="1", **settings) as (web, program):
            _, answer = await web.get("/demo/echo?msg=in")
            done = f'✅ completed "echo" id={answer["jobId"]} '
            await program.says(done)
            line("the worker runs in the web process if RUN_WORKER=1", True)
        async with stage.web("web:web", **settings) as (web, program):
            _, answer = await web.get("/demo/echo?msg=out")
            done = f'✅ completed "echo" id={answer["jobId"]} '
            async with stage.worker("jobs.py", **settings) as worker:
                await worker.says(done)
            line(
                "and as its own process otherwise", not any(done in each for each in program.lines)
            )


async def restarts(stage: Stage) -> None:
    settings = stage.fresh()
    if stage.server is not None:
        return
    await _restart(stage, settings)


async def _restart(stage: Stage, settings: dict[str, str]) -> None:
    with stage.scenario("S004-06") as line:
        async with stage.web("web:web", **settings) as (web, _):
            for _ in range(3):
                await web.get("/demo/echo")
        await restart_store(stage)
        async with opened(settings) as app:
            demo = app.queue("demo")
            line("three jobs wait after everything was stopped", await tally(demo) == {"W": 3})
            async with stage.worker("jobs.py", **settings):
                await until(lambda: tally(demo), {"C": 3})
                line("and run when a worker starts", True)


async def all_of(stage: Stage) -> None:
    await play(stage)
    if stage.server is not None:
        # Alone: it stops the server of the others.
        await _restart(stage, stage.fresh())


if __name__ == "__main__":
    main(HERE, all_of)
