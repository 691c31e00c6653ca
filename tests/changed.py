"""Random refusals, what is said to change them, and whether it does: for tests/advise/test_changes.py and the proof."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from typing import NamedTuple

import fakes
import msgspec
from generated import GIB, NAMES, ROWS

from phibench import catalog
from phibench.advise.asked_for import candidate_of
from phibench.advise.candidates import Candidate, as_asked, candidates
from phibench.advise.changes import Search
from phibench.advise.moves import LIMITS, Again, Change, Inquiry, Moves, with_more_memory
from phibench.advise.weighing import Scales
from phibench.core import units
from phibench.core.errors import PhibenchError
from phibench.core.nouns import Device, Machine, Setup, Verdict
from phibench.machine.described import machine_of
from phibench.predict.speed import Knowledge

_CONTEXTS = (None, None, 2048, 4096, 16384, 20480, 32768, 65536)


class Refused(NamedTuple):
    """``again``: the question about the setup of a verdict that is a no."""

    verdict: Verdict
    one: Candidate
    again: Again


def refusals(seed: int) -> Iterator[Refused]:
    """Without end: some of each random machine that is asked for a random goal."""
    chance = random.Random(seed)
    while True:
        question = _question(chance)
        only = list(candidates(question.machine, question.goal))
        scales = Scales(Knowledge(question.machine), question.goal, all_of_it=False)
        found = [
            (verdict, one)
            for one in chance.sample(only, min(len(only), 12))
            for verdict in scales.verdicts(one)
            if verdict.verdict == "no"
        ]
        for verdict, one in chance.sample(found, min(len(found), 4)):
            yield Refused(verdict, one, Again(question, one, verdict.setup))


def _question(chance: random.Random) -> Inquiry:
    goal = catalog.goal(chance.choice([goal.id for goal in catalog.goals() if not goal.training]))
    context = chance.choice(_CONTEXTS)
    tps = chance.choice((None, None, 3.0, 8.5, 20.0))
    try:
        asked = as_asked(goal, context, tps)
    except PhibenchError:  # too short for the goal
        asked = as_asked(goal, None, tps)
    if chance.random() < 0.3:
        return Inquiry(_probed(chance), asked)
    row, memory = chance.choice(ROWS), chance.choice((2, 4, 8, 12, 16, 24, 32)) * GIB
    whole = row.kind in ("cpu", "soc", "phone", "sbc")

    def described(size: int) -> Machine:
        return (machine_of(cpu=row, memory_bytes=size) if whole else machine_of(row, None, size)).machine

    def with_ram(steps: int) -> tuple[Machine, tuple[str, ...]]:
        size = f"{memory / GIB + steps / 10:.9g}GiB"
        return described(units.size_bytes(size)), ("--ram", size)

    return Inquiry(described(memory), asked, described=with_ram)


def _probed(chance: random.Random) -> Machine:
    machine, free = fakes.machine(), chance.randrange(1, 40) * GIB // 2
    cpu = Device(
        kind="cpu", name="a processor", memory_bytes=24 * GIB, read_bytes_s=chance.uniform(5e9, 2e11), basis="probed",
        matrix_flops_s={"float32": chance.uniform(1e10, 2e12)},
    )  # fmt: skip
    gpu = Device(
        kind="cuda:0", name=chance.choice(NAMES), memory_bytes=12 * GIB, free_bytes=chance.randrange(1, 24) * GIB // 2,
        basis="probed", read_bytes_s=chance.uniform(2e10, 1e12), flops_s=chance.uniform(1e12, 1e14),
    )  # fmt: skip
    limits = msgspec.structs.replace(machine.limits, memory_bytes=24 * GIB, free_bytes=free)
    return msgspec.structs.replace(machine, devices=(cpu, gpu), limits=limits)


# ------------------------------------------------------------------------------------------------------- is it so


def with_flags(question: Inquiry, setup: Setup, flags: tuple[str, ...]) -> Verdict:
    """What is said of the setup when the flags are given, by another way than the search goes."""
    asked = dict(zip(flags[::2], flags[1::2], strict=True))
    machine, goal = question.machine, question.goal
    if size := asked.get("--ram"):
        assert question.described
        made = question.described(round((units.size_bytes(size) / GIB - machine.memory_bytes / GIB) * 10))
        assert made
        assert made[1] == ("--ram", size)
        machine = made[0]
    if size := asked.get("--more-memory"):
        machine = with_more_memory(machine, (), units.size_bytes(size))[0]
    number = {flag: float(asked[flag]) if flag in asked else None for flag, _ in LIMITS.values()}
    goal = as_asked(
        goal, units.tokens(asked["--context"]) if "--context" in asked else None, number["--min-tps"],
        number["--max-ttft"], max_answer=number["--max-answer"], language=goal.language or None,
    )  # fmt: skip
    assert asked.get("-q", setup.quantization) == setup.quantization
    one = candidate_of(machine, setup)
    return Scales(Knowledge(machine), goal, all_of_it=False).exactly(one, setup).verdict


def flips(refused: Refused, change: Change) -> bool:
    return with_flags(refused.again.question, change.setup, change.flags).verdict == "yes"


def one_step_less(change: Change) -> Iterator[Moves]:
    for name, steps in change.moves.items():
        yield {**change.moves, name: steps - int(math.copysign(1, steps))}


def is_the_smallest(refused: Refused, change: Change) -> bool:
    """One step less of anything leaves it a no, and so does every kind alone that costs less."""
    again = refused.again
    if any(again.is_yes(moves) for moves in one_step_less(change)):
        return False
    kinds = ("build", "kv", "context") if again.question.goal.context >= 16384 else ("build", "context", "kv")
    for kind in kinds:
        if {*change.moves} == {kind}:
            return True
        most = 1 if kind == "kv" else len(again.builds) if kind == "build" else again.question.goal.context // 1024
        if any(again.is_yes({kind: steps}) for steps in range(-most, most + 1) if steps):
            return False
    return True


def found_by_chance(refused: Refused, chance: random.Random, tries: int, kinds: int) -> Moves | None:
    """A change of so many kinds at most that makes it a yes, hit upon at random."""
    for _ in range(tries):
        moves: dict[str, int] = {}
        for kind in chance.sample(("build", "kv", "context", "limits", "memory"), chance.randint(1, kinds)):
            if kind == "limits":
                far = chance.choice((1, 5, 100, 100_000))
                moves |= {metric: chance.randint(0, 10 if metric == "decode_tps" else far) for metric in LIMITS}
            else:
                most = {"build": len(refused.again.builds), "kv": 1, "memory": 1 << chance.randint(0, 13)}
                moves[kind] = chance.randint(-most.get(kind, 64), most.get(kind, 64))
        moves = {k: abs(v) if k in ("kv", "memory") else v for k, v in moves.items()}
        if refused.again.is_yes(moves):
            return moves
    return None


class Figures(NamedTuple):
    """``amounts``: refusals that a change is told for, of which ``wrong`` do not hold; ``nothing``: those that none is
    told for, of which ``missed`` had one all the same."""

    amounts: int
    wrong: list[str]
    nothing: int
    missed: list[str]


def asked(seed: int, amounts: int, nothing: int, tries: int = 200) -> Figures:
    """Both kinds of refusals until there are so many of each."""
    chance, right, none = random.Random(seed), 0, 0
    wrong, missed = list[str](), list[str]()
    for refused in refusals(seed):
        if right >= amounts and none >= nothing:
            break
        search, named = Search(refused.again), str(refused.verdict.setup)
        change = search.change()
        if change and right < amounts:
            right += 1
            if not flips(refused, change) or not is_the_smallest(refused, change):
                wrong.append(f"{named}: {change}")
        elif change is None and none < nothing:
            none += 1
            kinds = 5 if search.is_beyond_amounts else 2
            if moves := found_by_chance(refused, chance, tries, kinds):
                missed.append(f"{named}: {moves}")
    return Figures(right, wrong, none, missed)
