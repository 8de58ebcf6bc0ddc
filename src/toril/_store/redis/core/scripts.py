"""Load the Lua scripts: read their heads, put in their libraries, and find errors' true places.

A head is code. `keys` and `args` name what a script is given, `each NAME: fields` names a batch of
rows, `use` names the libraries it needs. The body then says `arg.now`, `each.job[i].id` and
`queue[1].wait`, never a number. Never here: sending a script anywhere.
"""

import hashlib
import re
from collections import namedtuple
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

from toril._model.stored import whole

_FOLDER = files("toril._store.redis") / "lua"
_HEAD = re.compile(r"-- (keys|args|each|short|use|emits|makes|wire|reply) +(.+)")
_PLACE = re.compile(r"user_script:(\d+)")
# What every script begins with: its queues by their base, and how a library is made when it is
# first used; its arguments follow.
_BEGIN = """
local call, attempt = redis.call, redis.pcall
local queue = {}
for i = 1, #KEYS do queue[i] = { base = KEYS[i] } end
local LAZY = { __index = function(self, name)
  local made = rawget(self, 1)()
  setmetatable(self, { __index = made, __newindex = made })
  return made[name]
end }
local function lazy(make)
  return setmetatable({ make }, LAZY)
end
"""
# What its libraries stand on: keys by role.
_PRELUDE = """
local ROLES = {
  waiting_children = "waiting-children", stalled_check = "stalled-check", schedules = "repeat",
  settings = "toril:settings", wait = "wait", paused = "paused", active = "active",
  prioritized = "prioritized", delayed = "delayed", completed = "completed", failed = "failed",
  marker = "marker", meta = "meta", id = "id", pc = "pc", events = "events", stalled = "stalled",
  limiter = "limiter", wishes = "toril:cancels", limits = "toril:limits",
}
-- What the limiter holds while somebody has stopped the queue by hand.
local BY_HAND = 9007199254740991
local KEYS_OF = { __index = function(self, role)
  local key = ROLES[role] and self.base .. ROLES[role]
  rawset(self, role, key)
  return key
end }
local known = {}
local function queue_of(base)
  local found = known[base]
  if not found then
    found = setmetatable({ base = base }, KEYS_OF)
    known[base] = found
  end
  return found
end
for i = 1, #queue do known[queue[i].base] = setmetatable(queue[i], KEYS_OF) end
"""


class Head(NamedTuple):
    """What the comment on top of a file declares."""

    args: tuple[str, ...]
    each: dict[str, tuple[str, ...]]
    use: tuple[str, ...]
    short: tuple[str, ...]
    emits: tuple[str, ...]
    wire: tuple[str, ...]


def read_head(text: str) -> Head:
    """Read the comment on top of a Lua file."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if not line.startswith("--"):
            break
        match = _HEAD.fullmatch(line.rstrip())
        if match:
            found.setdefault(match[1], []).append(match[2])
    each: dict[str, tuple[str, ...]] = {}
    for entry in found.get("each", ()):
        name, _, fields = entry.partition(":")
        each[name] = tuple(fields.split())

    def words(key: str) -> tuple[str, ...]:
        return tuple(word for entry in found.get(key, ()) for word in entry.split())

    return Head(words("args"), each, words("use"), words("short"), words("emits"), words("wire"))


@dataclass(frozen=True, slots=True)
class Script:
    """One verb in Lua, with everything it needs.

    Shape    once: its first two arguments are the caller and the number of the call, which
             whoever sends it puts in front of what `pack` gives.
    """

    name: str
    text: str
    sha: str
    args: tuple[str, ...]
    each: dict[str, tuple[str, ...]]
    once: bool
    places: tuple[tuple[int, str], ...]

    def pack(self, each: Mapping[str, Sequence[Sequence[Any]]], **args: Any) -> list[Any]:
        """Lay out arguments as the script reads them; None is the empty text.

        Raises   TypeError: a name is missing or unknown, or a row has not the declared fields.
        """
        names = self.args[2:] if self.once else self.args
        if args.keys() != set(names) or each.keys() != self.each.keys():
            wanted = [*names, *self.each]
            raise TypeError(f"{self.name} takes {wanted}, and was given {[*args, *each]}")
        packed: list[Any] = [args[name] for name in names]
        for name, fields in self.each.items():
            rows = each[name]
            packed.append(len(rows))
            for row in rows:
                if len(row) != len(fields):
                    raise TypeError(f"{self.name}: a {name} has {fields}, and was given {row!r}")
                packed += row
        return ["" if value is None else value for value in packed]

    def explain(self, message: str) -> str:
        """Say in a server's error where in which file it happened."""

        def place(match: re.Match[str]) -> str:
            line = whole(match[1])
            start, file = next(pair for pair in reversed(self.places) if pair[0] <= line)
            return f"{file}:{line - start + 1}"

        return _PLACE.sub(place, message)


@cache
def load(name: str) -> Script:
    """Return the script of this name, ready to be sent."""
    body = _read(name)
    head = read_head(body)
    parts: list[tuple[str, str]] = [("(prelude)", _BEGIN.strip() + "\n" + _arguments(head))]
    made: list[str] = []
    for short in head.short:
        parts += _makes(_libraries(read_head(_read(f"lib/{short}")).use, made))
        # It stands before all that the general way needs, and gives nothing where that is to run.
        text = f"local reply = (function()\n{_read(f'lib/{short}')}end)()\n"
        parts += [(f"lib/{short}.lua", text), ("(prelude)", "if reply then return reply end\n")]
    parts.append(("(prelude)", _PRELUDE.strip() + "\n"))
    parts += _makes(_libraries(head.use, made))
    parts.append((f"{name}.lua", body))
    text, places = "", [(1, "(prelude)")]
    for file, part in parts:
        # The line that opens a library's function is not a line of its file.
        places.append((text.count("\n") + (2 if file.startswith("lib/") else 1), file))
        text += part
    sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
    once = head.args[:2] == ("caller", "number")
    return Script(name, text, sha, head.args, head.each, once, tuple(places))


@cache
def row_of(script: str, name: str) -> Callable[..., tuple[Any, ...]]:
    """Return the type of the rows of one batch of a script, by the fields in the script's head.

    A value is the tuple that `pack` takes. It is made with every field by its name, so that no two
    can be mixed up: `row_of("get", "job")(queue=1, id="7")`.
    """
    return namedtuple(name, load(script).each[name])  # the head has the types  # pyright: ignore[reportUntypedNamedTuple]


def names() -> list[str]:
    """Name every script there is."""
    return sorted(file.name[:-4] for file in _FOLDER.iterdir() if file.name.endswith(".lua"))


def _read(name: str) -> str:
    return (_FOLDER / f"{name}.lua").read_text("utf-8")


def _makes(libraries: Iterable[str]) -> list[tuple[str, str]]:
    """Write the Lua that makes libraries when something of them is first used.

    So a call that needs little is quick.
    """
    return [
        (f"lib/{name}.lua", f"local {name} = lazy(function()\n{_read(f'lib/{name}')}end)\n")
        for name in libraries
    ]


def _libraries(use: Sequence[str], made: list[str]) -> list[str]:
    """Order libraries that are not made yet so that each stands after those that it uses."""
    found: list[str] = []
    for name in use:
        if name not in made:
            found += _libraries(read_head(_read(f"lib/{name}")).use, made)
            made.append(name)
            found.append(name)
    return found


def _arguments(head: Head) -> str:
    """Write the Lua that gives arguments their names."""
    args = ", ".join(f"{name} = ARGV[{at}]" for at, name in enumerate(head.args, 1))
    none = ", ".join(f"{name} = 0" for name in head.each)
    lines = ["local ARGV = ARGV", f"local arg = {{ {args} }}", f"local each = {{ {none} }}"]
    if head.each:
        lines.append(f"local at = {len(head.args) + 1}")
    for name, fields in head.each.items():
        row = ", ".join(
            # A queue is handed over as its place among the keys.
            f"queue = queue[tonumber(ARGV[at + {n}])]"
            if field == "queue"
            else f"{field} = ARGV[at + {n}]"
            for n, field in enumerate(fields)
        )
        lines += [
            "do",
            "local rows, count = {}, tonumber(ARGV[at])",
            "at = at + 1",
            f"for i = 1, count do rows[i] = {{ {row} }} at = at + {len(fields)} end",
            f"each.{name} = rows",
            "end",
        ]
    return "\n".join(lines) + "\n"
