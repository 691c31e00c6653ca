"""What would make a no a yes: the smallest change of one kind, else of two, each proved by asking the rules again.

Kinds, what costs least first: another published build, the KV cache in eight bits, another context, looser limits of
speed and time, more memory. Below 16k tokens the KV cache comes after the context: only from there on advice tries it
itself. In a kind the fewest steps are the smallest; of two kinds the fewest of the later, then of the earlier one.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator

from phibench.advise import rules
from phibench.advise.candidates import LONG
from phibench.advise.case import Case, Rule
from phibench.advise.limits import miss
from phibench.advise.moves import CONTEXT_STEP, LIMITS, MEMORY_STEP, Again, Change, Moves
from phibench.predict import memory

_MOST_MEMORY = 1 << 14  # steps of 0.1 GiB: 1.6 TiB
_CURES: dict[Rule, tuple[str, ...]] = {  # of what a rule objects to; of the others nothing but these, and context or KV
    rules.has_a_file: ("build",),
    rules.is_good_enough: ("build",),
    rules.holds_the_context: ("context",),
    rules.fits_in_memory: ("build", "context", "kv", "memory"),
    rules.is_fast_enough: ("build", "kv", "limits"),
    rules.starts_in_time: ("build", "kv", "limits"),
    rules.answers_in_time: ("build", "kv", "limits"),
}
_CURES_OF_OTHERS = ("build", "context", "kv")
_ROOM = {"context", "memory"}


class Search:
    """For what changes the answer to ``again``."""

    def __init__(self, again: Again) -> None:
        self._again = again

    def change(self) -> Change | None:
        """The smallest; None where it is a yes already, and where no one or two kinds of change make it one."""
        return next(iter(self.single), None) or self._pair()

    @functools.cached_property
    def single(self) -> list[Change]:
        """Of each kind that is enough alone the smallest, what costs least first."""
        return [self._again.told(moves) for (kind,) in self._hopeful(1) if (moves := self._least({}, kind))]

    def _pair(self) -> Change | None:
        for first, second in self._hopeful(2):
            found = [both for one in self._steps({}, first) if (both := self._least(one, second))]
            if found:  # of equal ones the first
                best = min(found, key=lambda both: _steps_of(second, both))
                return self._again.told(self._tightened(best) if first == "context" else best)
        return None

    def _hopeful(self, many: int) -> list[tuple[str, ...]]:
        """So many kinds that each objection has one among them which may cure it, what costs least first."""
        told = self._against()
        return [
            kinds for kinds in itertools.combinations(self._kinds(), many) if told and all({*kinds} & c for c in told)
        ]

    @property
    def is_beyond_amounts(self) -> bool:
        """Something speaks against it that none of these changes touches, nor all of them."""
        return any(not cures for cures in self._against())

    def _against(self) -> list[set[str]]:
        """What may cure each of the answers that speak against it; none of a yes."""
        now = self._again.tried({})
        told = [rule for rule, answer in now.answers.items() if answer] if now else []
        untouched = (rule for rule in told if rule in rules.OF_THE_KIND and rule not in _CURES)
        if any(untouched):
            return [set[str]()]
        room = _ROOM if self._again.is_split else set[str]()  # which makes a split model faster
        return [{*_CURES.get(rule, _CURES_OF_OTHERS)} | (room if rule in rules.OF_THE_USE else set()) for rule in told]

    def _kinds(self) -> tuple[str, ...]:
        if self._again.question.goal.context >= LONG:
            return "build", "kv", "context", "limits", "memory"
        return "build", "context", "kv", "limits", "memory"

    def _least(self, moves: Moves, kind: str) -> Moves | None:
        """``moves`` and as few steps of one kind more as make it a yes."""
        if kind == "memory":
            return self._with_memory(moves)
        least = next((more for more in self._steps(moves, kind) if self._again.is_yes(more)), None)
        if least and kind == "limits" and self._again.is_split:
            return self._stricter(least)
        return self._tightened(least) if least and kind == "context" else least

    def _steps(self, moves: Moves, kind: str) -> Iterator[Moves]:
        """All there are of a kind, the fewest first: of two builds as far the finer. Of limits those that it needs, of
        the context the one that takes the least memory."""
        if kind == "build":
            for far in range(1, len(self._again.builds)):
                yield from ({**moves, "build": steps} for steps in (far, -far))
        elif kind == "context" and (steps := self._shortest(moves)):
            yield {**moves, "context": steps}
        elif kind == "kv":
            yield {**moves, "kv": 1}
        elif kind == "limits" and (loosened := self._loosened(moves)):
            yield loosened

    def _shortest(self, moves: Moves) -> int:
        """Steps to the least context that holds what is read, thought and written; more only takes memory."""
        found = self._again.tried(moves)
        if found is None:
            return 0
        goal, thinks = found.case.goal, found.case.variant.reasoning
        used = goal.prompt_tokens + goal.new_tokens + ((goal.thinking_tokens or 0) if thinks else 0)
        used = 1 if goal.training else used
        return math.ceil((used - goal.context) / CONTEXT_STEP)

    def _tightened(self, moves: Moves) -> Moves:
        """As near to the context that was asked for as it stays a yes."""
        far, near = moves["context"], 0  # the one is a yes, the other none
        while far < near - 1:
            middle = (far + near) // 2
            far, near = (middle, near) if self._again.is_yes({**moves, "context": middle}) else (far, middle)
        return {**moves, "context": far}

    def _loosened(self, moves: Moves) -> Moves | None:
        """Each limit that is missed looser by as few steps as keep it; None where none is missed, or one would be
        nothing any more."""
        found = self._again.tried(moves)
        loose = dict(moves)
        for metric, limit in self._again.limits.items():
            estimate = found.verdict.estimates.get(metric) if found else None
            if estimate is None or miss(metric, estimate, limit) <= 1.0:
                continue
            steps = 1
            while (looser := self._again.limit(metric, steps)) > 0 and (by := miss(metric, estimate, looser)) > 1.0:
                if not math.isfinite(by):
                    return None
                steps += max(1, math.floor(looser * (by - 1))) if LIMITS[metric][1] > 0 else 1
            if looser <= 0:
                return None
            loose[metric] = steps
        return loose if loose != dict(moves) else None

    def _stricter(self, moves: Moves) -> Moves:
        """Each limit as near to what it was as it stays a yes: where another split fits as soon as one is looser."""
        near = dict(moves)
        for metric in (metric for metric in LIMITS if moves.get(metric)):
            low, high = -1, moves[metric]  # the one is none, the other a yes
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (low, middle) if self._again.is_yes({**near, metric: middle}) else (middle, high)
            near[metric] = high
        return {name: steps for name, steps in near.items() if steps}

    def _with_memory(self, moves: Moves) -> Moves | None:
        """Where nothing but memory speaks against it."""
        found = self._again.tried(moves)
        if found is None or found.verdict.hard or found.verdict.holes:
            return None
        if not self._again.is_split and (found.verdict.overflows <= 1.0 or self._loosened(moves)):
            return None
        high = guess = _lacking(found.case)
        while not self._again.is_yes({**moves, "memory": high}):
            high *= 2
            if high > _MOST_MEMORY:
                return None
        low = guess - 1 if high == guess and not self._again.is_yes({**moves, "memory": guess - 1}) else 0
        low = high // 2 if high > guess else low  # is none
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self._again.is_yes({**moves, "memory": middle}) else (middle, high)
        return {**moves, "memory": high}


def _steps_of(kind: str, moves: Moves) -> tuple[int, ...]:
    return tuple(abs(moves.get(name, 0)) for name in (LIMITS if kind == "limits" else (kind,)))


def _lacking(case: Case) -> int:
    """Steps of memory that about are lacking."""
    assert case.need is not None
    lacking = 0
    for place in memory.places(case.setup, case.need, case.device):
        free = memory.free_in(case.machine, place, case.device)
        lacking = max(lacking, place.high - free) if free is not None else lacking
    return max(1, math.ceil(lacking / MEMORY_STEP))
