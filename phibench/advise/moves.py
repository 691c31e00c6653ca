"""A question asked again with something changed in it: in steps, as flags and in words."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from phibench import catalog
from phibench.advise.candidates import SMALL_KV, Candidate, as_asked, has_small_kv, with_options
from phibench.advise.weighing import Scales, Weighed
from phibench.catalog import builds
from phibench.core import units
from phibench.core.errors import PhibenchError
from phibench.core.nouns import Goal, Machine, Run, Setup
from phibench.predict import costs, offload
from phibench.predict.speed import Knowledge

Moves = Mapping[str, int]  # "build", "kv", "context", "memory" or a metric of LIMITS -> steps
CONTEXT_STEP = 1024  # tokens
MEMORY_STEP = (1 << 30) / 10  # bytes
# Of each the flag, and what a step adds
LIMITS = {"decode_tps": ("--min-tps", -1.0), "ttft_s": ("--max-ttft", 1.0), "answer_s": ("--max-answer", 1.0)}
_ACCEPTED = {"decode_tps": "{} tok/s", "ttft_s": "{} s to the first token", "answer_s": "{} s for the answer"}


_OF_THE_SETUP = ("build", "kv")
Seen = dict[tuple[Setup, str, bool, tuple[tuple[str, int], ...]], Weighed | None]


class Inquiry(NamedTuple):
    """``goal`` as it was asked for. ``described``: the machine with so many steps more memory, where flags describe it,
    and those flags; None of a size that it cannot have. ``given``: GiB of --more-memory that it has already."""

    machine: Machine
    goal: Goal
    runs: Sequence[Run] = ()
    described: Callable[[int], tuple[Machine, tuple[str, ...]] | None] | None = None
    given: float = 0.0


class Change(NamedTuple):
    """``flags`` of ``recommend``, to stand behind those that were given, and the setup that is a yes with them."""

    text: str
    flags: tuple[str, ...]
    setup: Setup
    moves: Moves


def with_more_memory(machine: Machine, runs: Sequence[Run], more: int) -> tuple[Machine, Sequence[Run]]:
    """As if every memory had so many bytes more that are free; what was measured on the machine stays measured."""
    if more <= 0:
        return machine, runs
    limits, replace, devices = machine.limits, msgspec.structs.replace, []
    for device in machine.devices:
        free = device.memory_bytes if device.free_bytes is None else device.free_bytes
        devices.append(device if free is None else replace(device, free_bytes=free + more))
    usable = min(limits.free_bytes, limits.memory_bytes) + more
    limits = replace(limits, free_bytes=usable, memory_bytes=max(limits.memory_bytes, usable))
    grown = replace(machine, devices=tuple(devices), limits=limits)
    here = machine.identity
    return grown, [replace(run, machine=grown) if run.machine.identity == here else run for run in runs]


class Again:
    """One setup of a question, asked with moves: each a number of steps away from what it is. ``seen``: what others of
    the same question have been answered."""

    def __init__(self, question: Inquiry, one: Candidate, setup: Setup, seen: Seen | None = None) -> None:
        self.question, self.one, self.setup = question, one, setup
        self._seen: Seen = {} if seen is None else seen
        self.is_split = offload.is_split(setup)
        self.limits = {metric: limit for metric, limit in question.goal.limits.items() if metric in LIMITS}

    def tried(self, moves: Moves) -> Weighed | None:
        """None where that cannot be asked for."""
        try:
            one, setup = self._asked(moves)
        except PhibenchError:
            return None
        if any(moves.values()):  # with something changed another split may fit better
            setup = offload.unsplit(setup)
        rest = tuple(sorted((n, k) for n, k in moves.items() if k and n not in _OF_THE_SETUP))
        return self._weighed(one, setup, rest)

    def is_yes(self, moves: Moves) -> bool:
        found = self.tried(moves)
        return found is not None and found.verdict.verdict == "yes"

    def limit(self, metric: str, steps: int) -> float:
        return float(f"{self.limits[metric] + steps * LIMITS[metric][1]:.12g}")  # as the flag says it

    @functools.cached_property
    def builds(self) -> list[Candidate]:
        """Those of the variant that somebody publishes for this engine and device, and its own, by their size."""
        one = self.one
        line: list[tuple[float, str, Candidate]] = []
        for row in (row for fmt in one.backend.FORMATS for row in catalog.quantizations(fmt)):
            build = builds.offered(one.variant.id, row.format, row.id, one.device.kind.partition(":")[0])
            made = one if row == one.quantization else one._replace(quantization=row, build=build)
            if made is not one and (build is None or (build.made and self.question.goal.training is None)):
                continue
            setup = msgspec.structs.replace(offload.unsplit(self.setup), quantization=row.id)
            weighed = self._weighed(made, setup)
            size = weighed.verdict.estimates.get("weights_bytes") if weighed else None
            if size or made is one:
                line.append((size.value if size else 0.0, row.id, made))
        return [made for _, _, made in sorted(line, key=lambda told: told[:2])]

    def told(self, moves: Moves) -> Change:
        """In words, as flags, and the setup that it is then."""
        one, found = self._asked(moves)[0], self.tried(moves)
        assert found is not None
        texts, flags = list[str](), list[str]()
        if moves.get("build"):
            texts.append(f"{one.quantization.id} instead of {self.one.quantization.id}")
            flags += ["-q", one.quantization.id]
        if moves.get("kv"):
            texts.append(f"KV cache {SMALL_KV[0][1]}")
        if moves.get("context"):
            now, before = (units.context(tokens) for tokens in (self._context(moves), self.question.goal.context))
            texts.append(f"context {now} instead of {before}")
            flags += ["--context", now]
        accepted = list[str]()
        for metric in (metric for metric in LIMITS if moves.get(metric)):
            limit = f"{self.limit(metric, moves[metric]):.12g}"
            accepted.append(_ACCEPTED[metric].format(limit))
            flags += [LIMITS[metric][0], limit]
        texts += [f"accept {' and '.join(filter(None, (', '.join(accepted[:-1]), accepted[-1])))}"] if accepted else []
        if steps := moves.get("memory"):
            where = (
                ("each memory" if offload.is_split(found.verdict.setup) else self.one.device.kind)
                if self._has_own_memory()
                else "memory"
            )
            texts.append(f"+{steps / 10:g} GiB of {where}")
            flags += self._more(steps)[2]
        return Change(", and ".join(texts), tuple(flags), found.verdict.setup, moves)

    # --------------------------------------------------------------------------------------------------- what is asked

    def _weighed(self, one: Candidate, setup: Setup, rest: tuple[tuple[str, int], ...] = ()) -> Weighed | None:
        """Of a setup that was split also its splits."""
        key = setup, one.quantization.format, self.is_split and setup != self.setup, rest
        if key not in self._seen:
            self._seen[key] = self._weigh(one, setup, dict(rest), splits=key[2])
        return self._seen[key]

    def _weigh(self, one: Candidate, setup: Setup, moves: Moves, *, splits: bool) -> Weighed | None:
        try:
            (machine, runs, _), goal = self._more(moves.get("memory", 0)), self._goal(moves)
        except PhibenchError:  # too short for prompt and answer, longer than any Phi reads, a memory that is not sold
            return None
        device = machine.device(one.device.kind)
        scales = Scales(Knowledge(machine, runs), goal, all_of_it=False)
        weigh = scales.laid_out if splits else scales.exactly
        return weigh(one._replace(device=device), setup) if device else None

    def _more(self, steps: int) -> tuple[Machine, Sequence[Run], tuple[str, ...]]:
        """With more memory, and the flags that say so: of a described machine its own, but no card has any of that."""
        machine, _, runs, described, given = self.question
        made = described(steps) if steps and described and not self._has_own_memory() else None
        if made:  # else it is not made with so much memory
            return made[0], runs, made[1]
        return *with_more_memory(machine, runs, round(steps * MEMORY_STEP)), (
            "--more-memory",
            f"{given + steps / 10:.8g}GiB",
        )

    def _has_own_memory(self) -> bool:
        return self.one.device.kind != "cpu" and not self.one.device.shares_memory

    def _goal(self, moves: Moves) -> Goal:
        goal = self.question.goal
        limits = {metric: self.limit(metric, moves.get(metric, 0)) for metric in self.limits if moves.get(metric)}
        if any(limit <= 0 for limit in limits.values()):
            raise PhibenchError("that is no limit")
        goal = msgspec.structs.replace(goal, limits={**goal.limits, **limits}) if limits else goal
        return as_asked(goal, self._context(moves), language=goal.language or None) if moves.get("context") else goal

    def _context(self, moves: Moves) -> int:
        return self.question.goal.context + moves.get("context", 0) * CONTEXT_STEP

    def _asked(self, moves: Moves) -> tuple[Candidate, Setup]:
        one, setup = self.one, self.setup
        if steps := moves.get("build", 0):
            if not 0 <= (place := self.builds.index(one) + steps) < len(self.builds):
                raise PhibenchError("there is no such build")
            one = self.builds[place]
            setup = msgspec.structs.replace(setup, quantization=one.quantization.id)
        if moves.get("kv"):
            chosen = any(option in dict(setup.options) for option in costs.KV_OPTIONS)
            if chosen or self.question.goal.training or not has_small_kv(one.backend):
                raise PhibenchError("its KV cache has no smaller type")
            setup = with_options(setup, SMALL_KV)
        return one, setup
