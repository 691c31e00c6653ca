"""What leads, without weighing all: of one machine, or of many, of which equal ones are asked once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

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
    remembered = _Remembered({}, {})
    for key, machine in different.items():
        found[key] = best(machine, goal, runs, remembered=remembered, **asked)
        if on_answer:
            on_answer(len(found), len(different))
    return tuple(found[key] for key in keys)


def best(
    machine: Machine, goal: Goal, runs: Sequence[Run], *, only: Narrowed | None = None,
    remembered: _Remembered | None = None, **asked: Any,
) -> Verdict | None:  # fmt: skip
    """The first of :func:`advise`, many times as fast; None where nothing is left to try.

    Those go first of which most can be hoped for, and who cannot lead any more is not weighed. ``remembered``: from
    one question to the next, of one goal that is asked in one way.
    """
    if _is_measured(machine, runs):
        return next(iter(advise(machine, goal, runs, only=only, **asked)), None)
    wanted = as_asked(goal, *(asked.get(name) for name in _ASKED))
    remembered = _Remembered({}, {}) if remembered is None else remembered
    return _searched(machine, wanted, only, remembered).whole()


def of_each_variant(
    machine: Machine, goal: Goal, runs: Sequence[Run], *, only: Narrowed | None = None, top: int, **asked: Any
) -> tuple[Verdict, ...] | None:  # fmt: skip
    """Of :func:`advise` the first of each variant, in a third of the time; of the first ``top`` all is said.

    None where the rest is wanted, too: where something was measured, or nothing is sure.
    """
    if _is_measured(machine, runs):
        return None
    wanted, known = as_asked(goal, *(asked.get(name) for name in _ASKED)), Knowledge(machine)
    turns: dict[str, list[_Turn]] = {}
    for turn in _in_turn(machine, wanted, only):
        turns.setdefault(turn[1].variant.id, []).append(turn)
    searches = [_Search(known, wanted, of_variant) for of_variant in turns.values()]
    for search in searches:
        search.run()
    searches.sort(key=lambda search: search.key)
    if not searches or searches[0].verdict is None or searches[0].verdict.verdict != "yes":
        return None
    found = [search.whole() if rank < top else search.verdict for rank, search in enumerate(searches)]
    return tuple(verdict for verdict in found if verdict)


def _is_measured(machine: Machine, runs: Sequence[Run]) -> bool:
    """What was measured may lead whatever was hoped."""
    return any(run.machine.identity == machine.identity for run in runs)


_ASKED = ("context", "min_tps", "max_ttft", "thinking_tokens", "language", "rank", "batch", "max_answer")
_Turn = tuple[tuple[Any, ...], Candidate]


class _Remembered(NamedTuple):
    """Of one goal that is asked in one way."""

    turns: dict[tuple[str, ...], list[_Turn]]  # by the kinds of a machine's devices
    processors: dict[bytes, _Search]  # of machines without their GPUs: many have the same


def _searched(machine: Machine, goal: Goal, only: Narrowed | None, remembered: _Remembered) -> _Search:
    """What leads among all devices; GPUs start from the best of the processor."""
    kinds = tuple(device.kind for device in machine.devices)
    if kinds not in remembered.turns:
        remembered.turns[kinds] = _in_turn(machine, goal, only)
    search = _Search(Knowledge(machine), goal, remembered.turns[kinds])
    cpu = machine.device("cpu")
    before = None
    if cpu and len(kinds) > 1:
        processor = msgspec.structs.replace(machine, devices=(cpu,))
        key = _key(processor)
        if key not in remembered.processors:
            remembered.processors[key] = _searched(processor, goal, only, remembered)
        before = remembered.processors[key]
    search.run(before)
    return search


def _in_turn(machine: Machine, goal: Goal, only: Narrowed | None) -> list[_Turn]:
    """What can be hoped for of each candidate, the most first."""
    return sorted(((hope(goal, one), one) for one in candidates(machine, goal, (), only)), key=lambda turn: turn[0])


class _Search:
    """For what leads of the candidates in ``turns``."""

    def __init__(self, known: Knowledge, goal: Goal, turns: list[_Turn]) -> None:
        self._goal, self._turns, self._known = goal, turns, known
        self._devices = {device.kind: device for device in known.machine.devices}
        self._scales = Scales(known, goal, self.may_lead, all_of_it=False)
        self.verdict: Verdict | None = None
        self.found: Candidate | None = None
        self.key: tuple[Any, ...] = ()

    def run(self, processor: _Search | None = None) -> None:
        """``processor``: what leads without the GPUs."""
        if processor:
            self.verdict, self.found, self.key = processor.verdict, processor.found, processor.key
        for hoped, one in self._turns:
            if not self.may_lead(hoped):
                break  # nor do those that come after it
            if not (processor and one.device.kind == "cpu"):
                self._weigh(one._replace(device=self._devices[one.device.kind]))

    def _weigh(self, one: Candidate) -> None:
        for verdict in self._scales.verdicts(one):
            key = order_key(self._goal, verdict)
            if self.verdict is None or key < self.key:
                self.verdict, self.found, self.key = verdict, one, key

    def may_lead(self, hoped: tuple[Any, ...]) -> bool:
        return self.verdict is None or hoped <= self.key[: len(hoped)]

    def whole(self) -> Verdict | None:
        """The best, with all that can be said of it."""
        if self.verdict is None or self.found is None:
            return None
        return Scales(self._known, self._goal).of_the_same(self.verdict, self.found)


def _key(machine: Machine) -> bytes:
    """All that advice may read of it; a name is nothing."""
    return msgspec.json.encode(msgspec.structs.replace(machine, name=""))
