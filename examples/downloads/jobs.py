"""Downloads as jobs: one at a time, with progress; a file is there only when it is complete.

    toril worker jobs.py

Settings: TORIL_URL, or REDIS_HOST and REDIS_PORT; DOWNLOADS is the folder, DOWNLOADS_AT_ONCE how
many run at once.
"""

import os
import time
from itertools import count
from pathlib import Path
from urllib.request import urlopen

from toril import Job, Toril

FOLDER = Path(os.environ.get("DOWNLOADS", "downloads"))
AT_ONCE = int(os.environ.get("DOWNLOADS_AT_ONCE", "1"))
CHUNK = 64 * 1024

jobs = Toril()
# For all workers together, however many there are.
jobs.queue("downloads", concurrency=AT_ONCE)


@jobs.task(queue="downloads", name="startdownload", concurrency=AT_ONCE)
def download(job: Job, url: str) -> str:
    """Download a file; return its name in the folder. It blocks, so it runs in a thread."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    part = FOLDER / f"{job.id}.part"
    try:
        _fetch(job, url, part)
        name = _keep(part)
    finally:
        part.unlink(missing_ok=True)
    job.log(f"saved as {name}")
    print(f"download done id={job.id}", flush=True)
    return name


def _fetch(job: Job, url: str, part: Path) -> None:
    with urlopen(url, timeout=30) as answer, part.open("wb") as file:
        size = int(answer.headers["Content-Length"])
        done, told = 0, 0
        job.progress(0)
        while block := answer.read(CHUNK):
            done += file.write(block)
            percent = done * 100 // size
            if percent > told:
                job.progress(told := percent)
        if done != size:
            raise ConnectionError(f"the stream broke after {done} of {size} bytes")


def _keep(part: Path) -> str:
    """Give the file its name, and never that of another."""
    now = time.localtime()
    day, half = time.strftime("%a", now)[:2], time.strftime("%p", now).lower()
    stem = time.strftime(f"%Y%m{day}%M%S", now) + half
    for number in count():
        name = f"{stem}-{number}" if number else stem
        try:
            # Unlike a rename, this fails if the name is taken.
            os.link(part, FOLDER / name)
        except FileExistsError:
            continue
        return name
    raise AssertionError("unreachable")
