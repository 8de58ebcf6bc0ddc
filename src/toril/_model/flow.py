"""A tree of jobs, laid out in the order in which it is stored: parents before children."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from toril.errors import ConfigError

from .options import JobOptions, ParentPolicy
from .record import NewJob, Ref

MAX_NODES = 10_000
DEFAULT_POLICY: ParentPolicy = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeNode:
    """A job of a flow and the jobs that it waits for; data is JSON text."""

    queue: str
    name: str
    data: str = "{}"
    options: JobOptions = JobOptions()
    id: str | None = None
    children: tuple["TreeNode", ...] = ()


def plan(
    root: TreeNode, new_id: Callable[[], str], *, parent: Ref | None = None
) -> tuple[NewJob, ...]:
    """Lay out a tree as jobs, parents before their children, each with an id.

    A child without a policy gets `fail`: its final failure fails its parent.

    Raises   ConfigError: more than 10,000 nodes, an id that stands twice, dedup on a parent.
    """
    jobs: list[NewJob] = []
    seen: set[Ref] = set()
    stack: list[tuple[TreeNode, Ref | None]] = [(root, parent)]
    while stack:
        node, above = stack.pop()
        ref = Ref(node.queue, node.id or new_id())
        _check(node, ref, seen, len(jobs))
        seen.add(ref)
        jobs.append(_job(node, ref, above))
        # Reversed, so that the children come off the stack in the order they were given.
        stack.extend((child, ref) for child in reversed(node.children))
    return tuple(jobs)


def _check(node: TreeNode, ref: Ref, seen: set[Ref], count: int) -> None:
    if count >= MAX_NODES:
        raise ConfigError(
            f"the flow has more than {MAX_NODES:,} jobs",
            field="children",
            hint="add the rest from a running job, or split it into several flows",
        )
    if ref in seen:
        raise ConfigError(
            f"the flow has job {ref.id!r} twice in queue {ref.queue!r}", field="id", value=ref.id
        )
    if node.children and node.options.dedup is not None:
        raise ConfigError(
            f"job {node.name!r} has children and a dedup key",
            field="dedup",
            hint="give the key to a job without children",
        )


def _job(node: TreeNode, ref: Ref, above: Ref | None) -> NewJob:
    options = node.options
    if above is not None and options.parent_on_fail is None:
        options = replace(options, parent_on_fail=DEFAULT_POLICY)
    return NewJob(
        queue=node.queue,
        name=node.name,
        data=node.data,
        options=options,
        id=ref.id,
        parent=above,
        expects_children=bool(node.children),
    )
