"""Which Phi for this goal on this machine: candidates -> estimates -> objections -> order.

Lexicographic, without weights: yes before unknown before no (of these first what misses a limit by little; what is
unknown because a figure is doubted stands among them, by the worse end of its interval), then the goal's metrics in its
order, then what was measured before what was not, then fewer bytes, then the name. So the order is total and each "no"
can be read out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from phibench import backends
from phibench.advise import rules
from phibench.advise.candidates import as_asked, candidates
from phibench.advise.ranking import order_key
from phibench.analysis import trust
from phibench.backends.contract import Backend
from phibench.core.errors import NOTHING_FITS, TOO_BUSY, PhibenchError
from phibench.core.nouns import Device, Goal, Machine, Need, Quantization, Run, Setup, Variant, Verdict
from phibench.predict import costs, media, predictions, splits
from phibench.predict.speed import Knowledge


def advise(
    machine: Machine,
    goal: Goal,
    runs: Sequence[Run],
    *,
    context: int | None = None,
    min_tps: float | None = None,
    max_ttft: float | None = None,
    thinking_tokens: int | None = None,
) -> tuple[Verdict, ...]:
    """A verdict for every variant x quantization x backend x device of the machine, best first.

    ``min_tps`` (decode) and ``max_ttft`` (seconds) replace the goal's own limits, ``context`` and
    ``thinking_tokens`` its own assumptions. Raises PhibenchError (exit 2) for a figure that makes no sense, a context
    that no Phi has, or one too short for the goal's prompt and answer.
    """
    asked = as_asked(goal, context, min_tps, max_ttft, thinking_tokens)
    known = Knowledge(machine, runs)
    verdicts = (verdict for candidate in candidates(machine) for verdict in _verdicts(known, asked, *candidate))
    return tuple(sorted(verdicts, key=lambda v: order_key(asked, v)))


def outcome(verdicts: Sequence[Verdict], *, here: bool) -> int:
    """The exit code. A "not known" may still fit, so only where every candidate is a clear no, nothing does.

    Nothing can be said where no candidate is a yes and some hang on figures that are not believed: this machine is too
    busy. Of a machine that was described (``here`` false) that is never said: closing programs here would not help it.
    """
    answers = {v.verdict for v in verdicts}
    if "yes" not in answers and here and any(v.doubted and v.verdict == "unknown" for v in verdicts):
        return TOO_BUSY
    return 0 if answers & {"yes", "unknown"} else NOTHING_FITS


# ---------------------------------------------------------------------------------------- candidates


def _verdicts(
    known: Knowledge, goal: Goal, backend: Backend, device: Device, variant: Variant, quantization: Quantization
) -> Iterator[Verdict]:
    """Of the setup, and where it is only too large for its device, of the split of it that fits best."""
    setup = Setup(variant=variant.id, quantization=quantization.id, backend=backend.NAME, device=device.kind)
    setup, goal = trust.with_options(setup, known.machine), media.with_tokens(goal, variant)
    need, no_file = _need(setup, goal, backend, device, variant)
    asked = rules.Case(
        machine=known.machine, device=device, goal=goal, variant=variant, quantization=quantization,
        backend=backend, setup=setup, estimates={}, need=need, no_file=no_file,
    )  # fmt: skip
    case, answers = _answered(known, asked)
    yield _verdict(case, answers)
    if need and isinstance(answers[rules.fits_in_memory], rules.No) and not _others(answers):
        split = splits.best(known, setup, need, device)
        if split is not None:
            yield _verdict(*_answered(known, msgspec.structs.replace(case, setup=split)))


def _need(
    setup: Setup, goal: Goal, backend: Backend, device: Device, variant: Variant
) -> tuple[Need | None, str | None]:
    """Its memory, or why there is no file."""
    try:
        sheet = costs.cost_sheet(setup)
    except PhibenchError as error:
        return None, str(error)
    need = backend.need(sheet.plan, sheet.shape, goal.context, dict(setup.options), goal.prompt_tokens)
    return media.with_encoder(need, goal, variant, device), None


def _answered(known: Knowledge, case: rules.Case) -> tuple[rules.Case, dict[rules.Rule, rules.Answer]]:
    estimates = predictions.estimates(known, case.goal, case.setup, case.quantization, case.need)
    case = msgspec.structs.replace(case, estimates=estimates)
    return case, {rule: rule(case) for rule in rules.RULES}


def _others(answers: dict[rules.Rule, rules.Answer]) -> bool:
    """Whether anything but memory speaks against it that a split would not change."""
    return any(
        isinstance(answer, rules.No) and not isinstance(answer, rules.Missed) and rule != rules.fits_in_memory
        for rule, answer in answers.items()
    )


def _verdict(case: rules.Case, answers: dict[rules.Rule, rules.Answer]) -> Verdict:
    told = answers.values()
    return Verdict(
        setup=case.setup,
        estimates=case.estimates,
        objections=tuple(str(a) for a in told if isinstance(a, rules.No)),
        unknowns=tuple(a for a in told if isinstance(a, rules.Unknown)),
        hard=sum(isinstance(a, rules.No) and not isinstance(a, rules.Missed) for a in told),
        doubted=any(isinstance(a, rules.Doubted) for a in told),
    )


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
