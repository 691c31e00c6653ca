"""Which Phi for this goal on this machine: candidates -> estimates -> objections -> order (``ranking``).

So each place in the order and each "no" can be read out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from phibench import backends
from phibench.advise.candidates import Narrowed, as_asked, candidates
from phibench.advise.ranking import order_key
from phibench.advise.weighing import Scales
from phibench.core.errors import NOTHING_FITS, TOO_BUSY
from phibench.core.nouns import Goal, Machine, Run, Verdict
from phibench.predict.speed import Knowledge


def advise(
    machine: Machine,
    goal: Goal,
    runs: Sequence[Run],
    *,
    context: int | None = None,
    min_tps: float | None = None,
    max_ttft: float | None = None,
    max_answer: float | None = None,
    thinking_tokens: int | None = None,
    language: str | None = None,
    rank: int | None = None,
    batch: int | None = None,
    only: Narrowed | None = None,
    chosen: Callable[[Sequence[Verdict]], Sequence[Verdict]] | None = None,
) -> tuple[Verdict, ...]:
    """A verdict for every build of every variant x backend x device of the machine, best first.

    ``min_tps`` (decode), ``max_ttft`` and ``max_answer`` (seconds) replace the goal's own limits, ``context`` and
    ``thinking_tokens`` its own assumptions; ``language`` is a code or a name, ``rank`` and
    ``batch`` are of the adapters that are trained. ``chosen``: those of them of which all is to be said; of the others
    only what rules and the order ask for, in half the time. Raises PhibenchError (exit 2) for
    a figure that makes no sense, a context that no Phi has, or one too short for the goal's prompt and answer.
    """
    asked = as_asked(goal, context, min_tps, max_ttft, thinking_tokens, language, rank, batch, max_answer)
    known = Knowledge(machine, runs)
    scales = Scales(known, asked, all_of_it=chosen is None)
    found = [(verdict, one) for one in candidates(machine, asked, runs, only) for verdict in scales.verdicts(one)]
    ordered = tuple(sorted((verdict for verdict, _ in found), key=lambda v: order_key(asked, v)))
    if chosen is None:
        return ordered
    of, whole = {verdict.setup: one for verdict, one in found}, Scales(known, asked)
    every = {verdict.setup: whole.of_the_same(verdict, of[verdict.setup]) for verdict in chosen(ordered)}
    return tuple(every.get(verdict.setup, verdict) for verdict in ordered)


def outcome(verdicts: Sequence[Verdict], *, here: bool) -> int:
    """The exit code. A "not known" may still fit, so only where every candidate is a clear no, nothing does.

    Nothing can be said where no candidate is a yes and some hang on figures that are not believed: this machine is too
    busy. Of a machine that was described (``here`` false) that is never said: closing programs here would not help it.
    """
    answers = {v.verdict for v in verdicts}
    if "yes" not in answers and here and any(v.doubted and v.verdict == "unknown" for v in verdicts):
        return TOO_BUSY
    return 0 if answers & {"yes", "unknown"} else NOTHING_FITS


# -------------------------------------------------------------------------------------------- shown


def hints(verdicts: Sequence[Verdict]) -> tuple[str, ...]:
    """What to install here to run what is advised, and without any engine what is installed without a compiler.

    No objection: the machine may be elsewhere.
    """
    wanted = [backends.load(name) for name in dict.fromkeys(v.setup.backend for v in verdicts if v.verdict != "no")]
    missing = [b for b in wanted if b.installed() is None]
    if missing and all(b.installed() is None for b in map(backends.load, backends.names()) if b.ENGINE):
        missing.append(backends.ready())
    return tuple(
        f"{b.NAME} is not installed here{f', {backends.COMPILES}' if backends.needs_compiler(b) else ''}: "
        f"{backends.install_line(b, 'quickstart')}"
        for b in dict.fromkeys(missing)
    )


def uncalibrated(verdicts: Sequence[Verdict]) -> tuple[str, ...]:
    """Engines that are installed here and of which nothing was measured, the usual one first."""
    seen = {v.setup.backend for v in verdicts if (e := v.estimates.get("decode_tps")) and e.basis in _FROM_RUNS}
    told = {v.setup.backend for v in verdicts if "decode_tps" in v.estimates or v.verdict != "no"} - seen
    return tuple(name for name in backends.in_order() if name in told and backends.load(name).installed() is not None)


_FROM_RUNS = ("measured", "calibrated")
