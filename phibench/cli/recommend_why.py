"""``recommend --explain SETUP`` and ``--why-not SETUP``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from phibench.cli import options
from phibench.core.errors import PhibenchError

if TYPE_CHECKING:
    from phibench.advise.candidates import Narrowed
    from phibench.advise.moves import Inquiry
    from phibench.core.nouns import Goal, Machine, Run, Verdict

Described = tuple[str | None, str | None, str | None, str | None, str | None]  # gpu, cpu, ram, os, power


class Asked(NamedTuple):
    """Which setup, and whether its place is explained or why it is not the answer."""

    setup: str
    explain: bool


def check_questions(
    explain: str | None, why_not: str | None, settle: str | None, run: str | None, more_memory: str | None, *,
    places: bool,
) -> None:  # fmt: skip
    """PhibenchError where two answers are asked for at once."""
    asked = {"--explain": explain, "--why-not": why_not, "--settle": settle, "--run": run}
    given = [*(flag for flag, value in asked.items() if value is not None), *(["--places"] if places else [])]
    if len(given) > 1 and given != ["--settle", "--places"]:
        raise PhibenchError(f"{' and '.join(given)} cannot be asked together: leave out all but one")
    if settle is not None and more_memory is not None:
        raise PhibenchError("--settle measures this machine as it is: leave out --more-memory")


def asked_of(explain: str | None, why_not: str | None, machines: str | None, output: str) -> Asked | None:
    """What is to be explained; PhibenchError where that goes with nothing."""
    if explain is None and why_not is None:
        return None
    flag = "--explain" if explain is not None else "--why-not"
    if machines:
        raise PhibenchError(f"{flag} is about one machine: leave out --machines, or describe that one")
    if output not in ("table", "json"):
        raise PhibenchError(f"{flag} prints text or JSON: leave out -o, or write -o json")
    return Asked(explain or why_not or "", explain is not None)


def grown(machine: Machine, runs: Sequence[Run], more: str | None) -> tuple[Machine, Sequence[Run], float]:
    """As if ``--more-memory`` were free on it; and how much that is, in GiB."""
    if more is None:
        return machine, runs, 0.0
    from phibench.advise.moves import with_more_memory
    from phibench.core import units

    count = units.size_bytes(more)
    return *with_more_memory(machine, runs, count), count / (1 << 30)


def question(
    machine: Machine, goal: Goal, runs: Sequence[Run], asked: dict[str, Any], told: Described, given: float
) -> Inquiry:
    """What was asked, so that it can be asked again with something changed."""
    from phibench.advise.candidates import as_asked
    from phibench.advise.moves import Inquiry

    wanted = as_asked(goal, **{name: value for name, value in asked.items() if name != "only"})
    gpu, cpu = told[:2]
    return Inquiry(machine, wanted, runs, _with_ram(machine, told, given) if gpu or cpu else None, given)


def _with_ram(
    machine: Machine, told: Described, given: float
) -> Callable[[int], tuple[Machine, tuple[str, ...]] | None]:
    from phibench.advise.moves import with_more_memory
    from phibench.machine.asked import described

    gpu, cpu, _, os, power = told

    def made(steps: int) -> tuple[Machine, tuple[str, ...]] | None:
        size = f"{machine.memory_bytes / (1 << 30) + steps / 10:.9g}GiB"
        try:
            found = described(gpu, cpu, size, os, power).machine
        except PhibenchError:  # more than any machine has, or than this one is sold with
            return None
        return with_more_memory(found, (), round(given * (1 << 30)))[0], ("--ram", size)

    return made


def answered(
    asks: Inquiry, asked: Asked, verdicts: Sequence[Verdict], only: Narrowed, here: bool, output: str, out: str | None,
    code: int,
) -> None:  # fmt: skip
    """Prints the answer; ``code``: what comes of the advice as a whole."""
    from phibench.advise import reasons, rules
    from phibench.advise.asked_for import find
    from phibench.advise.changes import Search
    from phibench.advise.moves import Again
    from phibench.core.errors import NOTHING_FITS
    from phibench.show import explained

    found = find(asked.setup, asks.machine, asks.goal, asks.runs, verdicts)
    search = Search(Again(asks, found.one, found.setup))
    changes = search.single or [change for change in (search.change(),) if change]
    narrowed = bool(only.variants or only.quantizations or only.backends)
    if narrowed and not found.place:  # another build was asked for already
        changes = [change for change in changes if "build" not in change.moves]
    told = explained.Told(
        asks.machine, asks.goal, found, changes, reasons.nearest(asks, verdicts) if code == NOTHING_FITS else None,
        rules.command(found.setup) if here and reasons.is_guessed(found.weighed.verdict, asks.goal) else "",
        lacks=not search.is_beyond_amounts, narrowed=narrowed,
    )  # fmt: skip
    say = explained.explained if asked.explain else explained.why_not
    options.emit(say(told, output, options.width(out)), out)
