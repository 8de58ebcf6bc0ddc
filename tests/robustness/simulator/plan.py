"""What happens in one simulated world, by its seed: jobs, wishes and faults, each at its time."""

import random
from dataclasses import dataclass, field, replace
from typing import Any

from toril._model.options import Dedup

# Handlers do what a job's script says, an entry a start: what, and for how many seconds.
Entry = tuple[str, float]

QUIET = ("ok",)
STEERING = ("ok", "raise", "snooze", "release", "block", "stubborn", "progress", "await", "limit")
POLICIES = ("fail", "ignore", "remove", "continue")
BUSY_S = 12.0


@dataclass(frozen=True, slots=True)
class Spec:
    """A job to be added: where, and what its handler does."""

    id: str
    queue: str
    name: str
    script: tuple[Entry, ...]
    options: dict[str, Any] = field(default_factory=dict)
    children: tuple["Spec", ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """Something that happens to the world, so many seconds after its beginning."""

    at: float
    what: str
    args: tuple[Any, ...] = ()

    def __str__(self) -> str:
        return f"{self.at:7.3f} {self.what} {', '.join(map(str, self.args))}"


@dataclass(frozen=True, slots=True)
class Plan:
    seed: int
    trips: int
    processes: int
    places: tuple[tuple[str, int], ...]
    total: int | None
    steps: tuple[Step, ...]

    def without(self, step: Step) -> "Plan":
        return replace(self, steps=tuple(each for each in self.steps if each is not step))

    def __str__(self) -> str:
        steps = "\n".join(f"  {step}" for step in self.steps)
        about = f"{self.processes} processes, places {dict(self.places)}, total {self.total}"
        return f"seed {self.seed}: trips {self.trips}, {about}\n{steps}"


def make_plan(seed: int) -> Plan:
    """Trips 1 and 2 take turns, so that every run of seeds has both."""
    return _Maker(seed).plan()


class _Maker:
    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._random = random.Random(f"plan {seed}")
        self._count = 0
        self._ids: list[str] = []

    def plan(self) -> Plan:
        dice = self._random
        processes = dice.randint(2, 3)
        adds = [self._add() for _ in range(dice.randint(6, 14))]
        faults = [self._fault(processes) for _ in range(dice.randint(3, 9))]
        wishes = [self._wish() for _ in range(dice.randint(0, 5))]
        steps = [*adds, *faults, *wishes, *self._deploys(adds), *self._more(processes)]
        every = sorted(steps, key=lambda step: step.at)
        return Plan(
            seed=self._seed,
            trips=1 + self._seed % 2,
            processes=processes,
            places=(("work", dice.randint(1, 4)), ("side", dice.randint(1, 3))),
            total=dice.choice((None, None, 3)),
            steps=tuple(every),
        )

    def _time(self, until: float = BUSY_S) -> float:
        return round(self._random.uniform(0, until), 3)

    def _add(self) -> Step:
        dice = self._random
        if dice.random() < 0.15:
            rule = (f"s{self._next()}", "side", dice.choice((300, 700, 1500)))
            return Step(self._time(8), "schedule", rule)
        spec = self._spec()
        if dice.random() < 0.3:
            children = tuple(self._child() for _ in range(dice.randint(1, 4)))
            spec = replace(spec, children=children)
        elif dice.random() < 0.2:
            more = tuple(self._spec() for _ in range(dice.randint(3, 20)))
            return Step(self._time(8), "add", (spec, *more))
        return Step(self._time(8), "add", (spec,))

    def _deploys(self, adds: list[Step]) -> list[Step]:
        """Store schedules again and again, as each start of a new version does."""
        # Dice of their own, so that whoever has no schedule has the same world without this.
        dice = random.Random(f"deploys {self._seed}")
        return [
            Step(round(dice.uniform(step.at, BUSY_S), 3), "schedule", (*step.args, data))
            for step in adds
            if step.what == "schedule"
            for data in dice.choices((1, 1, 2), k=dice.randint(0, 12))
        ]

    def _more(self, processes: int) -> list[Step]:
        """Share keys, expire, cap queues, make calls twice, and lose the news of work."""
        dice = random.Random(f"more {self._seed}")
        steps = [self._capable(dice, number) for number in range(dice.randint(0, 7))]
        for _ in range(dice.randint(0, 2)):
            cap = dice.choice((("concurrency", 1), ("rate", (2, 400))))
            lasts = round(dice.uniform(0.2, 4), 3)
            at = round(dice.uniform(0, BUSY_S), 3)
            steps.append(Step(at, "cap", (dice.choice(("work", "side")), *cap, lasts)))
        for _ in range(dice.randint(0, 3)):
            how = dice.choice(("twice", "deaf", "refused"))
            # A process that is cut off for longer than any lock lasts.
            lasts = 7.0 if how == "refused" else round(dice.uniform(0.5, 6), 3)
            at = round(dice.uniform(0, BUSY_S), 3)
            steps.append(Step(at, "calls", (dice.randrange(processes), how, 1.0, lasts, 0.0)))
        return steps

    def _capable(self, dice: random.Random, number: int) -> Step:
        """Add a job with an option that the others have not."""
        option: dict[str, Any] = dice.choice(
            (
                {"dedup": Dedup("k")},
                {"dedup": Dedup("k")},
                {"expires_ms": dice.choice((2, 30, 300))},
                {"soft_timeout_ms": 300},
            )
        )
        script = (("ok", round(dice.uniform(0, 3), 3)),) * 2
        attempts = dice.randint(1, 2)
        spec = Spec(f"m{number}", "side", "plain", script, {"attempts": attempts, **option})
        return Step(round(dice.uniform(0, 4), 3), "add", (spec,))

    def _next(self) -> int:
        self._count += 1
        return self._count

    def _child(self) -> Spec:
        spec = self._spec()
        policy = self._random.choice(POLICIES)
        return replace(spec, options={**spec.options, "parent_on_fail": policy})

    def _spec(self) -> Spec:
        dice = self._random
        queue = dice.choice(("work", "work", "side"))
        name = dice.choice(("plain", "capped", "thread"))
        kinds = dice.choice((QUIET, QUIET, STEERING))
        script = [self._entry(dice.choice(kinds)) for _ in range(dice.randint(1, 3))]
        script.append(self._entry("ok"))
        options: dict[str, Any] = {"attempts": dice.randint(1, 4)}
        if dice.random() < 0.15:
            script.insert(0, ("hang", 0.0))
            options["timeout_ms"] = dice.choice((200, 900))
        if dice.random() < 0.1:
            script.insert(0, ("fail", 0.05))
        if dice.random() < 0.25:
            options["delay_ms"] = dice.choice((50, 1_000, 4_000))
        if dice.random() < 0.2:
            options["priority"] = dice.randint(1, 3)
        if dice.random() < 0.08:
            options["deadline_ms"] = dice.choice((1_000, 6_000))
        if dice.random() < 0.05:
            options["on_crash"] = "fail"
        id = f"j{self._next()}"
        self._ids.append(id)
        return Spec(id, queue, name, tuple(script), options)

    def _entry(self, kind: str) -> Entry:
        longest = self._random.choice((0.02, 0.3, 1.0, 3.0))
        return kind, round(self._random.uniform(0, longest), 3)

    def _fault(self, processes: int) -> Step:
        dice, at = self._random, self._time()
        victim = dice.randrange(processes)
        match dice.choice(("calls", "calls", "calls", "kill", "pause", "freeze", "jump", "stop")):
            case "kill":
                return Step(at, "kill", (victim, round(dice.uniform(0.1, 4), 3)))
            case "pause":
                return Step(at, "pause", (victim, round(dice.uniform(0.2, 6), 3)))
            case "freeze":
                return Step(at, "freeze", (victim, round(dice.uniform(0.2, 6), 3)))
            case "jump":
                return Step(at, "jump", (dice.choice((-20_000, -1_500, 900, 5_000, 30_000)),))
            case "stop":
                return Step(at, "stop", (victim, round(dice.choice((0, 0.3, 5)), 3)))
            case _:
                how = dice.choice(("slow", "refused", "unheard", "late", "picky"))
                chance = dice.choice((0.2, 0.6, 1.0))
                lasts = round(dice.uniform(0.1, 4), 3)
                return Step(at, "calls", (victim, how, chance, lasts, dice.choice((0.05, 0.5, 3))))

    def _wish(self) -> Step:
        dice = self._random
        what = dice.choice(("cancel", "cancel", "retry", "promote", "remove", "hold", "limit"))
        if what in ("hold", "limit"):
            lasts = round(dice.uniform(0.2, 3), 3)
            return Step(self._time(), what, (dice.choice(("work", "side")), lasts))
        return Step(self._time(), what, (dice.choice(self._ids or ["j0"]),))
