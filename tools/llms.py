"""Write the pages as plain Markdown into the built site, and llms.txt, which lists them.

    .venv/bin/python -m tools.llms build/site

`make docs` runs it after the site is built. The API page is written from the docstrings.
"""

import importlib
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
DIRECTIVE = re.compile(r"^::: (\w[\w.]*)$", re.MULTILINE)
SUMMARY = (
    "Background jobs for Python on a SQLite file, Redis or Valkey; wire-compatible with BullMQ. "
    "Typed tasks, retries, flows, schedules, child processes. Python 3.11 or newer."
)


def sections() -> dict[str, list[str]]:
    """Return the pages of the navigation, by section."""
    nav = (ROOT / "mkdocs.yml").read_text("utf-8").partition("\nnav:\n")[2]
    found: dict[str, list[str]] = {"": []}
    title = ""
    for line in nav.splitlines():
        if line.endswith(":"):
            title = line.strip("- :")
            found[title] = []
        elif line.strip():
            found[title if line.startswith("   ") else ""].append(line.strip("- "))
    return found


def markdown(page: str) -> str:
    """Return a page as plain Markdown."""
    text = re.sub(r"^<!--.*?-->\n+", "", (DOCS / page).read_text("utf-8"), flags=re.MULTILINE)
    return DIRECTIVE.sub(lambda match: "\n".join(_reference(match[1])), text)


def _reference(name: str) -> Iterator[str]:
    """Describe a class or function, and its public methods, from the docstrings."""
    module, _, attribute = name.rpartition(".")
    thing = getattr(importlib.import_module(module), attribute)
    yield from _described(f"## {name}", attribute, thing)
    if not inspect.isclass(thing):
        return
    for method, value in vars(thing).items():
        if method.startswith("_") or not (callable(value) or isinstance(value, property)):
            continue
        shown = value.fget if isinstance(value, property) else getattr(thing, method)
        yield from _described(f"### {attribute}.{method}", method, shown)


def _described(head: str, name: str, thing: object) -> Iterator[str]:
    yield from (head, "")
    if callable(thing):
        try:
            signature = str(inspect.signature(thing))
        except ValueError:  # an exception, or another class without one
            signature = "(...)"
        prefix = "async def " if inspect.iscoroutinefunction(thing) else ""
        shown = re.sub(r"\btoril\._\w+(?:\.\w+)*\.(?=\w)", "", f"{prefix}{name}{signature}")
        yield from ("```python", shown, "```", "")
    yield from (inspect.getdoc(thing) or "", "")


def title_and_summary(text: str) -> tuple[str, str]:
    """Return the title of a page and its first sentence."""
    title = re.search(r"^# (.+)$", text, re.MULTILINE)
    body = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    paragraphs = [
        part
        for part in body.partition("\n")[2].split("\n\n")
        if part.strip() and part.strip()[0] not in "#|<-![1"
    ]
    plain = re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", " ".join(paragraphs[0].split()))
    return title[1] if title else "", re.split(r"(?<=[.:]) ", plain)[0].rstrip(":")


def llms() -> str:
    """Return llms.txt: every page with its title, its address and what it is about."""
    lines = ["# toril", "", f"> {SUMMARY}", ""]
    for section, pages in sections().items():
        lines += [f"## {section or 'Overview'}", ""]
        for page in pages:
            title, summary = title_and_summary(markdown(page))
            lines.append(f"- [{title}]({page}): {summary}")
        lines.append("")
    return "\n".join(lines)


def write(site: Path) -> None:
    """Write llms.txt and the pages into a site."""
    for pages in sections().values():
        for page in pages:
            target = site / page
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(markdown(page), "utf-8")
    (site / "llms.txt").write_text(llms(), "utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
