"""A process that uses an app and forks: parent and child both go on, and disturb nobody."""

import sys

import pytest

from tests.robustness.forks.conftest import Place

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="forks")

VERBS = """
before = q.add_sync("before", {"n": 1})
sync.run(q.add("held", delay="1h"))

def verbs():
    told = {}
    told["refresh"] = sync.run(before.refresh()).data
    told["add"] = q.add_sync("from the child").name
    told["enqueue"] = double.enqueue_sync(4).name
    told["many"] = len(sync.run(q.add_many([("a", 1), ("b", 2)])))
    told["flow"] = sync.run(app.flow("q", "top", children=[("q", "leaf", 1)]).add()).job.name
    told["counts"] = sync.run(q.counts()).waiting
    told["queues"] = sorted(sync.run(app.queues()))
    sync.run(q.pause())
    sync.run(q.resume())
    sync.run(app.schedules.put("tick", every="1h", queue="q", name="tick"))
    told["workers"] = sync.run(app.workers())
    sync.run(before.remove())
    return told

told = child(verbs)
assert isinstance(told, dict), told
after = q.add_sync("after")
told["after"] = after.name
told["gone"] = sync.run(q.job(before.id)) is None
tell(told)
"""


def test_a_child_can_do_everything_that_its_parent_can(place: Place) -> None:
    told = place.run(VERBS)

    assert told == {
        "refresh": {"n": 1},
        "add": "from the child",
        "enqueue": "double",
        "many": 2,
        "flow": "top",
        "counts": 5,
        "queues": ["q", "tasks"],
        "workers": [],
        "after": "after",
        "gone": True,
    }


def test_each_call_may_be_the_first_one_of_a_child(place: Place) -> None:
    told = place.run("""
before = q.add_sync("before")
calls = [before.refresh, q.counts, app.queues, q.settings, app.open, before.promote, before.remove]
tell([child(lambda: type(sync.run(call())).__name__) for call in calls])
""")

    assert told[:5] == ["Job", "Counts", "list", "QueueSettings", "NoneType"]
    assert "WrongState" in told[5] or "JobError" in told[5] or "not delayed" in told[5]
    assert told[6] == "NoneType"


def test_the_parent_keeps_what_it_waits_for(place: Place) -> None:
    told = place.run("""
job = double.enqueue_sync(21)
got = []
waiting = threading.Thread(target=lambda: got.append(sync.run(job.result(timeout=10))))
waiting.start()
time.sleep(0.2)   # it waits: no event tells

def work():
    asyncio.run(app.worker("tasks").run_until_idle())
    return sync.run(double.enqueue(1)).name

name = child(work)
waiting.join(10)
tell([name, got])
""")

    assert told == ["double", [42]]


def test_a_child_of_a_process_that_works_has_no_worker_and_can_start_one(place: Place) -> None:
    told = place.run("""
async def main():
    async with app.worker("tasks", name="boss") as worker:
        first = await double.enqueue(1)
        assert await first.result(timeout=5) == 2

        def in_child():
            told = [worker.running, worker.health().ready, worker.id == parent]
            async def work():
                told.append(await worker.stop())
                await worker.run_until_idle()
            asyncio.run(work())
            return told

        parent = worker.id
        told = await asyncio.to_thread(child, in_child)
        again = await double.enqueue(5)
        told.append(await again.result(timeout=5))
        told.append(worker.health().ready)
        while not (alive := [each.id for each in await app.workers("tasks") if each.alive]):
            await asyncio.sleep(0.01)
        told.append(alive == [parent])
    tell(told)

asyncio.run(main())
""")

    assert told == [0, False, False, True, 10, True, True]


def test_close_in_a_child_ends_at_once_and_leaves_the_parent_open(place: Place) -> None:
    told = place.run("""
q.add_sync("before")

def close():
    began = time.monotonic()
    sync.run(app.close())
    first = time.monotonic() - began
    q.add_sync("again")
    sync.run(app.close())
    return first < 2, sync.run(q.counts()).waiting

tell([*child(close), q.add_sync("after").name])
""")

    assert told == [True, 2, "after"]


def test_a_child_may_close_at_its_exit(place: Place) -> None:
    told = place.run("""
import atexit
q.add_sync("before")
atexit.register(lambda: sync.run(app.close(), timeout=5))
pid = os.fork()
if pid == 0:
    q.add_sync("child")
    sys.exit(3)
code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
tell([code, q.add_sync("after").name, sync.run(q.counts()).waiting])
""")

    assert told == [3, "after", 3]


def test_a_pool_of_forked_processes(place: Place) -> None:
    told = place.run("""
q.add_sync("before")
stop = threading.Event()
added = []

def keep_adding():
    while not stop.is_set():
        added.append(q.add_sync("parent").id)

def add(n):
    return q.add_sync("child", n).id

adders = [threading.Thread(target=keep_adding) for _ in range(3)]
for each in adders: each.start()
with multiprocessing.get_context("fork").Pool(3, maxtasksperchild=5) as pool:
    ids = pool.map(add, range(60), chunksize=1)
stop.set()
for each in adders: each.join()
count = sync.run(q.counts()).waiting
tell([len(set(ids)), count == 1 + 60 + len(added), len(added) > 10])
""")

    assert told == [60, True, True]


def test_children_of_a_busy_process_lose_nothing(place: Place) -> None:
    told = place.run("""
q.add_sync("before")
stop = threading.Event()
added = []

def keep_adding():
    while not stop.is_set():
        added.append(q.add_sync("parent").id)

adders = [threading.Thread(target=keep_adding) for _ in range(2)]
for each in adders: each.start()
forked = [fork(lambda: [q.add_sync("child").id for _ in range(3)]) for _ in range(12)]
ids = [id for each in forked for id in answer_of(each)]
stop.set()
for each in adders: each.join()
sync.run(app.close())
tell([len(set(ids)), sync.run(q.counts()).waiting == 1 + len(ids) + len(added)])
""")

    assert told == [36, True]


def test_a_lock_that_a_thread_of_the_parent_holds_is_free_in_a_child(place: Place) -> None:
    told = place.run("""
from toril._jobs import background_loop as portal, job as jobs
q.add_sync("before")
locks = [jobs._CREATING, portal._PORTAL._starting, app._adder._trips._changing]
for lock in locks: lock.acquire()

def use():
    sync.run(app.open())
    return q.add_sync("child").name

forked = fork(use)
for lock in locks: lock.release()
tell([answer_of(forked), q.add_sync("after").name])
""")

    assert told == ["child", "after"]


def test_a_loop_that_the_parent_made_serves_the_child(place: Place) -> None:
    told = place.run("""
loop = asyncio.new_event_loop()
loop.run_until_complete(q.add("before"))
name = child(lambda: loop.run_until_complete(q.add("child")).name)
after = loop.run_until_complete(q.add("after")).name
loop.run_until_complete(app.close())
loop.close()
tell([name, after])
""")

    assert told == ["child", "after"]


def test_a_fork_of_a_fork(place: Place) -> None:
    told = place.run("""
q.add_sync("before")

def first():
    q.add_sync("first")
    second = child(lambda: q.add_sync("second").name)
    return [second, q.add_sync("third").name]

tell([*child(first), sync.run(q.counts()).waiting])
""")

    assert told == ["second", "third", 4]


def test_a_child_has_no_socket_of_its_parent(place: Place) -> None:
    """Or a server would take the parent for alive, and hand it markers, after its death."""
    told = place.run("""
def sockets():
    found = set()
    for fd in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            continue
        if target.startswith("socket:"):
            found.add(target)
    return found

async def main():
    async with app.worker("tasks", lock="2s"):
        await (await double.enqueue(1)).result(timeout=5)
        if URL.startswith("redis"):
            # The heartbeat is in the middle of a call, too.
            from redis import Redis
            Redis.from_url(URL).client_pause(800, all=True)
            time.sleep(0.6)
        before = sockets() - pairs
        told = child(lambda: sorted(before & sockets()))
        again = await (await double.enqueue(2)).result(timeout=5)
        return [len(before) > 0, told, again]

# What the loop wakes itself with stays: asyncio's own.
import socket
real = socket.socketpair
pairs = set()
def remember(*args, **kwargs):
    made = real(*args, **kwargs)
    pairs.update(os.readlink(f"/proc/self/fd/{each.fileno()}") for each in made)
    return made
socket.socketpair = remember
tell(asyncio.run(main()))
""")

    assert told == [True, [], 4]


def test_a_process_that_a_handler_forks_ends_on_sigterm(place: Place) -> None:
    """The signals of a worker on the command line belong to the worker."""
    told = place.run("""
from toril._serve.shutdown import serve

@app.task(queue="forking")
def forking() -> int:
    process = multiprocessing.get_context("fork").Process(target=time.sleep, args=(30,))
    process.start()
    process.terminate()
    process.join(5)
    return process.exitcode

async def main():
    job = await forking.enqueue()
    serving = asyncio.create_task(serve([app.worker("forking")]))
    code = await job.result(timeout=10)
    os.kill(os.getpid(), signal.SIGTERM)
    return [code, await serving]

tell(asyncio.run(main()))
""")

    assert told == [-15, 0]


# What only a file knows.

REMOVED_LOG = """
q.add_sync("before")
ready, go = os.pipe(), os.pipe()

def late():
    q.add_sync("first")
    os.write(ready[1], b"!")
    os.read(go[0], 1)
    return q.add_sync("late").id

forked = fork(late)
os.read(ready[0], 1)
# The parent leaves; whoever is last may remove the log. The child must not be overlooked.
sync.run(app.close())
import subprocess
visit = "import apsw, sys; db = apsw.Connection(sys.argv[1]); db.execute('select count(*) from sqlite_schema').get; db.close()"
subprocess.run([sys.executable, "-c", visit, URL.removeprefix("sqlite:///")], check=True)
os.write(go[1], b"!")
id = answer_of(forked)
tell([sync.run(q.job(id)) is not None, sync.run(q.counts()).waiting])
"""


def test_the_log_of_a_file_is_not_removed_while_a_child_writes_to_it(file_place: Place) -> None:
    assert file_place.run(REMOVED_LOG) == [True, 3]


def test_a_fork_in_the_middle_of_a_transaction_is_told_and_safe(file_place: Place) -> None:
    told = file_place.run("""
import apsw
from toril._store.sqlite.connection import shared_file
shared_file.FORK_S = 0.2
q.add_sync("before")
other = apsw.Connection(URL.removeprefix("sqlite:///"))
other.execute("begin immediate")
adding = threading.Thread(target=q.add_sync, args=("waits",))
adding.start()
time.sleep(0.2)  # it waits for the lock: no event tells
told = child(lambda: q.add_sync("child").id)
other.execute("rollback")
adding.join()
tell([told, child(lambda: q.add_sync("child").name), sync.run(q.counts()).waiting])
""")

    assert "when this process was forked" in told[0]
    assert told[1:] == ["child", 3]


def test_a_store_in_memory_begins_empty_in_a_child() -> None:
    place = Place(":memory:", "bull")

    told = place.run("""
q.add_sync("before")
tell([child(lambda: [q.add_sync("child").name, sync.run(q.counts()).waiting]),
      sync.run(q.counts()).waiting])
""")

    assert told == [["child", 1], 1]


def test_forks_of_a_busy_store_in_memory() -> None:
    told = Place(":memory:", "bull").run("""
q.add_sync("before")
stop = threading.Event()

def keep_adding():
    while not stop.is_set():
        q.add_sync("parent")

adders = [threading.Thread(target=keep_adding) for _ in range(2)]
for each in adders: each.start()
told = [child(lambda: [q.add_sync("child").name, sync.run(q.counts()).waiting]) for _ in range(10)]
stop.set()
for each in adders: each.join()
tell([told, q.add_sync("after").name])
""")

    assert told == [[["child", 1]] * 10, "after"]


def test_forks_while_stores_are_opened_and_closed(file_place: Place) -> None:
    told = file_place.run("""
q.add_sync("before")
opened = []
stop = threading.Event()

async def open_once():
    async with Toril(URL.replace("jobs.db", "other.db"), warn_unserved=False):
        opened.append(True)

def keep_opening():
    while not stop.is_set():
        asyncio.run(open_once())

opening = threading.Thread(target=keep_opening)
opening.start()
told = [child(lambda: q.add_sync("child").name) for _ in range(20)]
stop.set()
opening.join()
tell([told, len(opened) > 0, sync.run(q.counts()).waiting])
""")

    assert told == [["child"] * 20, True, 21]


def test_forks_while_backups_are_made(file_place: Place) -> None:
    told = file_place.run("""
from pathlib import Path
q.add_sync("before")
made = []
stop = threading.Event()

def keep_copying():
    while not stop.is_set():
        made.append(Path(URL.removeprefix("sqlite:///")).with_name(f"copy{len(made)}.db"))
        asyncio.run(app.backup(made[-1]))

copying = threading.Thread(target=keep_copying)
copying.start()
told = [child(lambda: q.add_sync("child").name) for _ in range(5)]
stop.set()
copying.join()
tell([told, len(made) > 0, sync.run(q.counts()).waiting])
""")

    assert told == [["child"] * 5, True, 6]
