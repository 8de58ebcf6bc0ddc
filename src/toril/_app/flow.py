"""`Flow`: a tree of jobs, stored in one step; a parent runs when its children have completed.

Never here: how a tree is laid out (`_model.flow`).
"""

import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeVar, cast

import msgspec

from toril._jobs.children import read_children
from toril._jobs.enqueue import Enqueuer
from toril._jobs.job import Job, parent_of
from toril._jobs.node import NO_DATA, EnqueueOptions, Node, split_id, write_data
from toril._jobs.session import Session
from toril._model.checks import check_kind, check_list, check_text, shown
from toril._model.flow import TreeNode as Plan
from toril._model.flow import plan
from toril._model.record import Ref, check_queue_name
from toril.errors import ConfigError, JobNotFound

T = TypeVar("T")
U = TypeVar("U")


@dataclass(frozen=True, slots=True)
class Tree:
    """A job and the trees of its children, in the order in which they were given."""

    job: Job[Any]
    children: tuple["Tree", ...] = ()

    def walk(self) -> Iterator[Job[Any]]:
        """Iterate over every job, parents before their children."""
        return (tree.job for tree in _trees(self))

    def __getitem__(self, name: str) -> Job[Any]:
        """Return the first job of this name.

        Raises:
            KeyError: There is none.
        """
        for job in self.walk():
            if job.name == name:
                return job
        raise KeyError(name)


class Flow:
    """A tree of jobs that is not stored yet: `await flow.add()` stores all of it or nothing.

    Example:
        ```python
        flow = app.flow(publish.node("Holiday"), children=[resize.node("beach.jpg", 640)])
        tree = await flow.add()
        ```
    """

    def __init__(self, adder: Enqueuer, node: Node) -> None:
        self._adder = adder
        self.node = node

    async def add(self, *, parent: Ref | Job[Any] | None = None) -> Tree:
        """Store the tree, and return the handles of its jobs.

        A child without a policy of its own fails its parent when it fails for good. If a job with
        the id of the root exists, its tree is stored already: nothing is added, and the handles
        are those of the stored jobs, with `created` False. Without an id on the root, each call
        adds another tree.

        Note:
            - Atomic: the whole tree.

        Raises:
            ConfigError: An id or a node is used twice, an option is not valid, or there are over
                10,000 jobs.
            ParentNotFound: The parent does not exist.
            JobExists: A child belongs to another parent.
        """
        above = None if parent is None else parent_of(parent)
        (tree,) = await add_flows(self._adder, [self], parent=above)
        return tree


async def add_flows(
    adder: Enqueuer, flows: Sequence[Flow], *, parent: Ref | None = None
) -> list[Tree]:
    """Store trees, and return the handles of their jobs.

    Note:
        - Atomic: all of them.
        - Raises: as `Flow.add`.
    """
    check_list(flows, "flows", hint="pass a list of what app.flow(...) returned")
    for flow in flows:
        check_kind(flow, Flow, "flows", hint="pass a list of what app.flow(...) returned")
    _check_used_once(flows)
    trees = [_each(_numbered(flow.node)) for flow in flows]
    nodes = list(chain.from_iterable(trees))
    queues = {node.queue for node in nodes}
    await adder.ready(queues)
    adder.unserved.added(queues)
    plans = [plan(_plan(adder, tree), _new_id, parent=parent) for tree in trees]
    jobs = tuple(chain.from_iterable(plans))
    added = await adder.put(jobs) if jobs else ()
    handles = list(map(adder.handle, nodes, jobs, added))
    if adder.context.inline is not None:
        await adder.context.inline()
    if not all(job.created for job in handles):
        return [await _stored(adder.context, tree, handles) for tree in trees]
    rest = iter(handles)
    return [_build([(next(rest), len(node.children)) for node in tree], Tree) for tree in trees]


def _check_used_once(flows: Sequence[Flow]) -> None:
    # By identity: two equal nodes are two jobs.
    seen: dict[int, Node] = {}
    for node in chain.from_iterable(_each(flow.node) for flow in flows):
        if id(node) in seen:
            raise ConfigError(
                f"the node {node.name!r} of queue {node.queue!r} is used twice in this flow",
                field="children",
                value=node.name,
                hint="a job has one parent: create a node for each place where it should run",
            )
        seen[id(node)] = node


async def _stored(context: Session, tree: Sequence[Node], handles: list[Job[Any]]) -> Tree:
    """Take the handles of a tree off the list; those below a job that existed are read."""
    decoders = {(node.queue, node.name): node.decode for node in tree}
    found: list[tuple[Job[Any], int]] = []
    at = 0
    while at < len(tree):
        node, job = tree[at], handles[at]
        if job.created or not node.children:
            found.append((job, len(node.children)))
            at += 1
            continue
        with suppress(JobNotFound):
            await job.refresh()
        for each in _trees(await read_tree(context, job)):
            record = each.job.record
            decode = decoders.get((record.queue, record.name))
            there = Job[Any](context, record, decode=decode, created=False)
            found.append((there, len(each.children)))
        at += len(_each(node))
    del handles[: len(tree)]
    return _build(found, Tree)


def _trees(root: Tree) -> Iterator[Tree]:
    """Yield every tree in a tree, parents before their children."""
    stack = [root]
    while stack:
        tree = stack.pop()
        yield tree
        stack.extend(reversed(tree.children))


async def read_tree(context: Session, root: Job[Any], depth: int | None = None) -> Tree:
    """Read the children of a job, and theirs; those that are gone are omitted."""
    found: list[tuple[Job[Any], int]] = []
    stack = [(root, depth)]
    while stack:
        job, left = stack.pop()
        children = [] if left == 0 else await _children_of(context, job)
        found.append((job, len(children)))
        below = None if left is None else left - 1
        stack.extend((child, below) for child in reversed(children))
    return _build(found, Tree)


async def _children_of(context: Session, job: Job[Any]) -> list[Job[Any]]:
    children = await read_children(context.store, job.ref)
    records = await context.store.get([Ref(child.queue, child.id) for child in children])
    return [Job[Any](context, record) for record in records if record is not None]


def _plan(adder: Enqueuer, tree: Sequence[Node]) -> Plan:
    def lay_out(node: Node, children: tuple[Plan, ...]) -> Plan:
        new = adder.new_job(node)
        return Plan(
            queue=new.queue,
            name=new.name,
            data=new.data,
            options=new.options,
            id=new.id,
            children=children,
        )

    return _build([(node, len(node.children)) for node in tree], lay_out)


_CHILD = 'use app.flow(...), task.node(...), or ("queue", "name", data[, options])'
Childlike = Flow | Node | tuple[Any, ...]


def make_node(
    queue: str, name: str, data: object, children: Sequence[Childlike], options: EnqueueOptions
) -> Node:
    """Describe a job and its children, as a flow takes them.

    Raises:
        ConfigError: Something that is no child, or data that cannot be stored.
    """
    name = check_text(name, "name")
    job_id, own = split_id(options)
    check_list(children, "children", hint=_CHILD)
    if isinstance(children, tuple) and children and isinstance(children[0], str):
        raise ConfigError(
            f"children={shown(children)} is one child, not a list of children",
            field="children",
            value=children,
            hint="put it into a list: children=[(...)]",
        )
    return Node(
        queue=check_queue_name(queue),
        name=name,
        data=write_data(name, data),
        options=own,
        id=job_id,
        children=tuple(map(_child, children)),
    )


def _child(child: Childlike) -> Node:
    match child:
        case Flow():
            return child.node
        case Node():
            return child
        case (str() as queue, str() as name):
            return make_node(queue, name, NO_DATA, (), {})
        case (str() as queue, str() as name, data):
            return make_node(queue, name, data, (), {})
        case (str() as queue, str() as name, data, {**options}):
            return make_node(queue, name, data, (), cast("EnqueueOptions", options))
        case _:
            raise ConfigError(
                f"children: {shown(child)} is not a child of a flow",
                field="children",
                value=child,
                hint=_CHILD,
            )


def _numbered(root: Node) -> Node:
    """Assign every job its id now, so that jobs and handles can be matched."""

    def number(node: Node, children: tuple[Node, ...]) -> Node:
        return msgspec.structs.replace(node, id=node.id or _new_id(), children=children)

    return _build([(node, len(node.children)) for node in _each(root)], number)


def _new_id() -> str:
    return str(uuid.uuid4())


# A flow may be deeper than Python lets functions call themselves.


def _each(root: Node) -> list[Node]:
    """List the jobs of a tree, parents before their children."""
    found: list[Node] = []
    stack = [root]
    while stack:
        node = stack.pop()
        found.append(node)
        stack.extend(reversed(node.children))
    return found


def _build(parts: Sequence[tuple[T, int]], make: Callable[[T, tuple[U, ...]], U]) -> U:
    """Make a tree of parts that are in the order of `_each`, each with its count of children."""
    made: list[U] = []
    for part, count in reversed(parts):
        made.append(make(part, tuple([made.pop() for _ in range(count)])))
    return made.pop()
