"""One answer for each of many machines; equal machines are asked once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from phibench.advise.candidates import Candidate, Narrowed, as_asked, candidates
from phibench.advise.ranking import hope, order_key
from phibench.advise.recommend import advise
from phibench.advise.weighing import Scales
from phibench.core.nouns import Goal, Machine, Run, Verdict
from phibench.predict.speed import Knowledge


def picks(
    machines: Sequence[Machine], goal: Goal, runs: Sequence[Run], on_answer: Callable[[int, int], None] | None = None,
    **asked: Any,
) -> tuple[Verdict | None, ...]:  # fmt: skip
    """The best verdict of each machine, in their order; ``asked`` as :func:`advise` takes it.

    ``on_answer`` hears how many of the different machines have been asked, and of how many.
    """
    keys = [_key(machine) for machine in machines]
    different = dict(zip(keys, machines, strict=True))
    found: dict[bytes, Verdict | None] = {}
    turns: _Turns = {}
    for key, machine in different.items():
        found[key] = best(machine, goal, runs, turns=turns, **asked)
        if on_answer:
            on_answer(len(found), len(different))
    return tuple(found[key] for key in keys)


def best(
    machine: Machine, goal: Goal, runs: Sequence[Run], *, only: Narrowed | None = None, turns: _Turns | None = None,
    **asked: Any,
) -> Verdict | None:  # fmt: skip
    """The first of :func:`advise`, many times as fast; None where nothing is left to try.

    Those go first of which most can be hoped for, and who cannot lead any more is not weighed: of an engine that leads
    only where it is the only one, all but the first of its variant. ``turns``: remembered from one question to the
    next, of one goal that is asked in one way.
    """
    if any(run.machine.identity == machine.identity for run in runs):  # what was measured may lead whatever was hoped
        return next(iter(advise(machine, goal, runs, only=only, **asked)), None)
    wanted = as_asked(goal, *(asked.get(name) for name in _ASKED))
    turns = {} if turns is None else turns
    kinds = tuple(device.kind for device in machine.devices)
    if kinds not in turns:
        turns[kinds] = _in_turn(machine, wanted, only)
    devices = dict(zip(kinds, machine.devices, strict=True))
    leaders = [one._replace(device=devices[one.device.kind]) for _, one in turns[kinds][0]]
    search = _Search(Knowledge(machine), wanted, leaders)
    for group in turns[kinds]:
        for hoped, one in group:
            if not search.may_lead(hoped):
                break  # nor do those that come after it
            search.weigh(one._replace(device=devices[one.device.kind]))
    return search.whole()


_ASKED = ("context", "min_tps", "max_ttft", "thinking_tokens", "language", "rank", "batch")
_Turn = tuple[tuple[Any, ...], Candidate]
_Turns = dict[tuple[str, ...], tuple[list[_Turn], ...]]  # by the kinds of a machine's devices


def _in_turn(machine: Machine, goal: Goal, only: Narrowed | None) -> tuple[list[_Turn], ...]:
    """What can be hoped for of each candidate, the most first: of engines that lead, then of those that wait."""
    found = sorted(((hope(goal, one), one) for one in candidates(machine, goal, (), only)), key=lambda turn: turn[0])
    return tuple([turn for turn in found if leads == turn[1].backend.LEADS] for leads in (True, False))


class _Search:
    def __init__(self, known: Knowledge, goal: Goal, leaders: Sequence[Candidate]) -> None:
        self._known, self._goal, self._leaders = known, goal, leaders
        self._scales = Scales(known, goal, self.may_lead, all_of_it=False)
        self._best: Verdict | None = None
        self._from: Candidate | None = None
        self._key: tuple[Any, ...] = ()
        self._served: dict[str, bool] = {}  # variants, by whether an engine runs them which leads

    def weigh(self, one: Candidate) -> None:
        behind = not one.backend.LEADS and self._is_served(one.variant.id)
        for verdict in self._scales.verdicts(one):
            if one.backend.LEADS and not verdict.hard:
                self._served[one.variant.id] = True
            told = msgspec.structs.replace(verdict, behind=True) if behind else verdict
            key = order_key(self._goal, told)
            if self._best is None or key < self._key:
                self._best, self._from, self._key = told, one, key

    def _is_served(self, variant: str) -> bool:
        """Also by what was passed over."""
        if variant not in self._served:
            whole = Scales(self._known, self._goal, all_of_it=False)
            others = (one for one in self._leaders if one.variant.id == variant)
            self._served[variant] = any(not verdict.hard for one in others for verdict in whole.verdicts(one))
        return self._served[variant]

    def may_lead(self, hoped: tuple[Any, ...]) -> bool:
        return self._best is None or hoped <= self._key[: len(hoped)]

    def whole(self) -> Verdict | None:
        """The best, with all that can be said of it."""
        if self._best is None or self._from is None:
            return None
        again = Scales(self._known, self._goal).verdicts(self._from)
        found = next(v for v in again if v.setup == self._best.setup)
        return msgspec.structs.replace(found, behind=self._best.behind)


def _key(machine: Machine) -> bytes:
    """All that advice may read of it; a name is nothing."""
    return msgspec.json.encode(msgspec.structs.replace(machine, name=""))
