"""The tree of a job and its children. Never here: changing it."""

import asyncio
from dataclasses import dataclass
from typing import Any

from toril import Job
from toril.dashboard.board import PageCall
from toril.dashboard.problems import bad_request
from toril.dashboard.rows import RowPage
from toril.dashboard.values import clean
from toril.types import Record, Ref

from .job import find

MOST_NODES = 500
A_NODE = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowQuery:
    """The top of a tree, how deep to read it, and where in its children to begin."""

    queue: str
    id: str
    depth: int = 4
    offset: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldedRow:
    """Children that are not listed."""

    count: int
    failed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowNode:
    """A job of a flow.

    Attributes:
        parent: The position of its parent in the list; None: it is the top.
        children: How many children it has.
        folded: Those of its children that are not in this answer.
        gone: The job is not kept; only what its parent knows of it is here.
    """

    queue: str
    id: str
    name: str
    state: str
    parent: int | None
    created_ms: int | None = None
    started_ms: int | None = None
    finished_ms: int | None = None
    attempts_made: int = 0
    attempts: int | None = None
    children: int = 0
    folded: FoldedRow | None = None
    gone: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowAnswer:
    """A tree of jobs, parents before their children; `more` says that some are omitted."""

    nodes: list[FlowNode]
    more: bool


async def flow(call: PageCall, query: FlowQuery) -> FlowAnswer:
    """Return a job and its tree of children, within bounds."""
    if not 0 <= query.depth <= 10:
        raise bad_request(f"depth={query.depth} must be from 0 to 10", "depth")
    root = await find(call, query.queue, query.id)
    tree = _Tree(call)
    await tree.grow(root, query.depth, max(query.offset, 0))
    return FlowAnswer(nodes=tree.nodes, more=tree.more)


class _Tree:
    """Reads level by level, each level in a few calls."""

    def __init__(self, call: PageCall) -> None:
        self._call = call
        self.nodes: list[FlowNode] = []
        self.more = False

    async def grow(self, root: Job[Any], depth: int, offset: int) -> None:
        level: list[tuple[Job[Any], int | None]] = [(root, None)]
        for left in range(depth, -1, -1):
            below: list[tuple[Job[Any], int]] = []
            for job, parent in level:
                below += await self._add(job, parent, left, offset)
                offset = 0
            if not below:
                return
            level = [*below]

    async def _add(
        self, job: Job[Any], parent: int | None, left: int, offset: int
    ) -> list[tuple[Job[Any], int]]:
        """Add a job, and return its children to be added; those that are gone are added here."""
        at = len(self.nodes)
        room = MOST_NODES - at - 1
        count = min(A_NODE, room) if left and room > 0 else 0
        page = await self._call.app.monitor.children(job.ref, offset=offset, limit=max(count, 1))
        total = page.pending + page.completed + page.failed + page.ignored
        items = page.items[:count]
        folded = total - offset - len(items)
        node = _node(job.record, parent, total, folded, page.failed)
        self.nodes.append(node)
        self.more = self.more or folded > 0
        seen = [each for each in items if self._call.access.sees(each.queue)]
        found = await self._call.app.monitor.jobs([Ref(each.queue, each.id) for each in seen])
        below: list[tuple[Job[Any], int]] = []
        for child, there in zip(seen, found, strict=True):
            if there is not None:
                below.append((there, at))
            elif len(self.nodes) < MOST_NODES:
                gone = FlowNode(
                    queue=child.queue, id=clean(child.id), name=clean(child.name),
                    state=child.outcome, parent=at, gone=True,
                )  # fmt: skip
                self.nodes.append(gone)
        return below[: max(MOST_NODES - len(self.nodes), 0)]


def _node(record: Record, parent: int | None, total: int, folded: int, failed: int) -> FlowNode:
    try:
        attempts: int | None = record.options.attempts
    except (ValueError, TypeError):
        attempts = None
    return FlowNode(
        queue=record.queue,
        id=clean(record.id),
        name=clean(record.name),
        state=record.state.value,
        parent=parent,
        created_ms=record.created_ms,
        started_ms=record.started_ms,
        finished_ms=record.finished_ms,
        attempts_made=record.attempts_made,
        attempts=attempts,
        children=total,
        folded=FoldedRow(count=folded, failed=failed) if folded > 0 else None,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowsQuery:
    """How many flows."""

    limit: int = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowRow:
    """A flow that waits for jobs of it: its top, and how its children stand."""

    queue: str
    id: str
    name: str
    state: str
    done: int
    failed: int
    total: int
    started_ms: int
    finished_ms: int | None = None


async def flows(call: PageCall, query: FlowsQuery) -> RowPage[FlowRow]:
    """Return the flows whose top waits for children, the newest first."""
    limit = min(max(query.limit, 1), 100)
    snapshot = await call.board.sampler.snapshot()
    names = [
        view.name
        for view in snapshot.queues
        if view.counts.waiting_children and call.access.sees(view.name)
    ]
    pages = await asyncio.gather(
        *(
            call.app.queue(name).page("waiting-children", limit=limit, newest_first=True)
            for name in names
        )
    )
    tops = [job for page in pages for job in page.jobs if job.parent_id is None]
    tops.sort(key=lambda job: -job.created_ms)
    rows = await asyncio.gather(*(_flow_row(call, job) for job in tops[:limit]))
    return RowPage(items=[*rows])


async def _flow_row(call: PageCall, job: Record) -> FlowRow:
    children = await call.app.monitor.children(Ref(job.queue, job.id), limit=1)
    done = children.completed + children.ignored
    return FlowRow(
        queue=job.queue,
        id=clean(job.id),
        name=clean(job.name),
        state=job.state.value,
        done=done,
        failed=children.failed,
        total=done + children.failed + children.pending,
        started_ms=job.created_ms,
    )
