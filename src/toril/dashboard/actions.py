"""The actions on jobs: who may do them, in which states, and how they are carried out.

Never here: requests (pages/act), and progress (operations).
"""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from toril import Queue
from toril.types import How, Record, Steered

from .operations import StepResult
from .problems import bad_request
from .values import clean

STEP = 500
PASSES = 5
FINISHED = ("failed", "completed")
UNFINISHED = ("waiting", "prioritized", "delayed", "active", "waiting-children")


@dataclass(frozen=True, slots=True)
class JobAction:
    """What can be done to a job.

    Attributes:
        verb: Its name for `Queue.steer`.
        states: In which states it can be done.
    """

    permission: str
    verb: str
    states: tuple[str, ...]


ACTIONS = {
    "retry": JobAction("retry", "retry", FINISHED),
    "run_now": JobAction("retry", "promote", ("delayed",)),
    "cancel": JobAction("cancel", "cancel", UNFINISHED),
    "delete": JobAction(
        "delete", "remove",
        ("waiting", "prioritized", "delayed", "waiting-children", "failed", "completed"),
    ),
}  # fmt: skip


def action_named(name: str) -> JobAction:
    """Return an action on jobs.

    Raises   RefusedError: there is none of this name.
    """
    if name not in ACTIONS:
        raise bad_request(
            f"action={name[:50]!r} is not an action on jobs", "action", ", ".join(ACTIONS)
        )
    return ACTIONS[name]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobWork:
    """Jobs to act on: those of these queues and states that match, as of a moment."""

    action: JobAction
    lists: Sequence[tuple[Queue, str]]
    matches: Callable[[Record], bool]
    before_ms: int
    how: How

    async def steps(self) -> AsyncIterator[StepResult]:
        """Act on all of them, 500 at a time; jobs that come meanwhile are left alone."""
        for queue, state in self.lists:
            async for step in self._of(queue, state):
                yield step

    async def _of(self, queue: Queue, state: str) -> AsyncIterator[StepResult]:
        # Lists of jobs that wait move while workers take from them: they are read again.
        for _ in range(1 if state in FINISHED else PASSES):
            acted = False
            async for step in self._pass(queue, state):
                acted = acted or step.done > 0
                yield step
            if not acted:
                return

    async def _pass(self, queue: Queue, state: str) -> AsyncIterator[StepResult]:
        offset, more = 0, True
        while more:
            page = await queue.page(state, offset=offset, limit=STEP)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
            wanted = [job for job in page.jobs if self._is_due(job) and self.matches(job)]
            more = page.more
            if state in FINISHED and page.jobs and not self._is_due(page.jobs[-1]):
                more = False
            step = StepResult()
            if wanted:
                steered = await queue.steer(
                    self.action.verb, *(job.id for job in wanted), how=self.how
                )
                step = step_of(queue.name, steered)
            # Active jobs stay where they are until their workers have ended them.
            left = len(page.jobs) - (0 if state == "active" else step.done)
            offset += left
            yield step

    def _is_due(self, record: Record) -> bool:
        at = record.created_ms if record.finished_ms is None else record.finished_ms
        return at <= self.before_ms


def step_of(queue: str, steered: Steered) -> StepResult:
    """Return what became of some jobs of a queue."""
    gone = [each for each in steered.refused.values() if type(each).__name__ == "JobNotFound"]
    refused = {
        f"{queue}:{clean(job_id)}": clean(str(error))
        for job_id, error in steered.refused.items()
        if type(error).__name__ != "JobNotFound"
    }
    return StepResult(done=len(steered.done), skipped=len(gone), refused=refused)
