"""``recommend --explain SETUP`` and ``--why-not SETUP``; and of a machine that nothing fits on what would."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from phibench.cli import options
from phibench.core.errors import PhibenchError

if TYPE_CHECKING:
    from phibench.advise.candidates import Narrowed
    from phibench.advise.explain import Reasons
    from phibench.advise.moves import Change, Question
    from phibench.core.nouns import Goal, Machine, Run, Setup, Verdict

_TRIED = 20  # candidates, the best first, of which one is to be made fit
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
        raise PhibenchError(f"{' and '.join(given)} are questions of their own: leave out all but one")
    if settle is not None and more_memory is not None:
        raise PhibenchError("--settle measures this machine as it is: leave out --more-memory")


def asked_of(explain: str | None, why_not: str | None, machines: str | None, output: str) -> Asked | None:
    """What is to be explained; PhibenchError where that goes with nothing."""
    if explain is None and why_not is None:
        return None
    flag = "--explain" if explain is not None else "--why-not"
    if machines:
        raise PhibenchError(f"{flag} is of one machine: leave out --machines, or describe that one")
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
) -> Question:
    """What was asked, so that it can be asked again with something changed."""
    from phibench.advise.candidates import as_asked
    from phibench.advise.moves import Question

    wanted = as_asked(goal, **{name: value for name, value in asked.items() if name != "only"})
    gpu, cpu = told[:2]
    return Question(machine, wanted, runs, _with_ram(machine, told, given) if gpu or cpu else None, given)


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


def reasons(
    asks: Question, verdicts: Sequence[Verdict], chosen: Sequence[Verdict], only: Any, *, json: bool
) -> Reasons:
    """What explains the rows: builds beside the first, of each no that is shown what would change it (in JSON, where it
    is read), and where nothing fits what would."""
    from phibench.advise.explain import Reasons

    seen: dict[Any, Any] = {}
    nos = [v for v in chosen if v.verdict == "no"] if json else []
    changes = {v.setup: change for v in nos if (change := _change(asks, v, seen))}
    nothing = all(v.verdict == "no" for v in verdicts)
    return Reasons(
        beside=_beside(asks, verdicts, only), changes=changes, nearest=nearest(asks, verdicts) if nothing else None,
        whole_family=not (only and only.variants),
    )  # fmt: skip


def _beside(asks: Question, verdicts: Sequence[Verdict], only: Any) -> Sequence[Verdict]:
    """The builds of the first variant at its place, where the verdicts have only its best."""
    import msgspec

    from phibench.advise.candidates import candidates
    from phibench.advise.ranking import order_key
    from phibench.advise.weighing import Scales
    from phibench.predict.speed import Knowledge

    first = verdicts[0]
    if first.verdict != "yes" or sum(v.setup.variant == first.setup.variant for v in verdicts) > 1:
        return ()
    alone = msgspec.structs.replace(only, variants=(first.setup.variant,))
    scales = Scales(Knowledge(asks.machine, asks.runs), asks.goal, all_of_it=False)
    place = first.setup.backend, first.setup.device
    of_it = (
        one for one in candidates(asks.machine, asks.goal, asks.runs, alone)
        if (one.backend.NAME, one.device.kind) == place
    )  # fmt: skip
    found = [
        scales.exactly(one, msgspec.structs.replace(first.setup, quantization=one.quantization.id)).verdict
        for one in of_it
    ]
    return sorted(found, key=lambda v: order_key(asks.goal, v))


def _change(asks: Question, verdict: Verdict, seen: dict[Any, Any]) -> Change | None:
    from phibench.advise.asked_for import candidate_of
    from phibench.advise.changes import Search
    from phibench.advise.moves import Again

    return Search(Again(asks, candidate_of(asks.machine, verdict.setup), verdict.setup, seen)).change()


def nearest(asks: Question, verdicts: Sequence[Verdict]) -> tuple[Setup, Change] | None:
    """The best candidate that a change makes fit, with that change."""
    seen: dict[Any, Any] = {}
    changed = ((v.setup, _change(asks, v, seen)) for v in verdicts[:_TRIED])
    return next(((setup, change) for setup, change in changed if change), None)


def answered(
    asks: Question, asked: Asked, verdicts: Sequence[Verdict], only: Narrowed, here: bool, output: str, out: str | None,
    code: int,
) -> None:  # fmt: skip
    """Prints the answer; ``code``: what comes of the advice as a whole."""
    from phibench.advise import rules
    from phibench.advise.asked_for import find
    from phibench.advise.changes import Search
    from phibench.advise.moves import Again
    from phibench.core.errors import NOTHING_FITS
    from phibench.show import explained

    found = find(asked.setup, asks.machine, asks.goal, asks.runs, verdicts)
    search = Search(Again(asks, found.one, found.setup))
    changes = search.single or [change for change in (search.change(),) if change]
    told = explained.Told(
        asks.machine, asks.goal, found, changes, nearest(asks, verdicts) if code == NOTHING_FITS else None,
        rules.command(found.setup) if here and _is_guessed(found.weighed.verdict, asks.goal) else "",
        lacks=not search.is_beyond_amounts, narrowed=bool(only.variants or only.quantizations or only.backends),
    )  # fmt: skip
    say = explained.explained if asked.explain else explained.why_not
    options.emit(say(told, output, options.width(out)), out)


def _is_guessed(verdict: Verdict, goal: Goal) -> bool:
    """Whether a limit is missed that the better end of what is predicted keeps."""
    from phibench.advise.limits import KNOWN, judge
    from phibench.core.metrics import METRICS

    for metric, limit in goal.limits.items():
        estimate = verdict.estimates.get(metric)
        if estimate is None or judge(metric, estimate, limit) or estimate.basis in KNOWN:
            continue
        if estimate.high >= limit if METRICS[metric].better == "higher" else estimate.low <= limit:
            return True
    return False
