"""Which Phi for this goal on this machine: candidates -> estimates -> objections -> order (``ranking``).

So each place in the order and each "no" can be read out.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from phibench import backends
from phibench.advise import rules
from phibench.advise.candidates import Candidate, Narrowed, as_asked, candidates, kv_types, with_options
from phibench.advise.case import Answer, Case, Doubted, Missed, No, Perhaps, Rule, Unknown
from phibench.advise.comfort import is_comfortable
from phibench.advise.ranking import order_key
from phibench.analysis import trust
from phibench.backends.contract import Backend
from phibench.core.errors import NOTHING_FITS, TOO_BUSY, PhibenchError
from phibench.core.nouns import Device, Goal, Machine, Need, Run, Setup, Variant, Verdict
from phibench.predict import costs, finetuning, media, predictions, splits
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
    language: str | None = None,
    only: Narrowed | None = None,
) -> tuple[Verdict, ...]:
    """A verdict for every build of every variant x backend x device of the machine, best first.

    ``min_tps`` (decode) and ``max_ttft`` (seconds) replace the goal's own limits, ``context`` and
    ``thinking_tokens`` its own assumptions; ``language`` is a code or a name. Raises PhibenchError (exit 2) for
    a figure that makes no sense, a context that no Phi has, or one too short for the goal's prompt and answer.
    """
    asked = as_asked(goal, context, min_tps, max_ttft, thinking_tokens, language)
    known = Knowledge(machine, runs)
    found = (verdict for one in candidates(machine, asked, runs, only) for verdict in _verdicts(known, asked, one))
    return tuple(sorted(_behind_others(found), key=lambda v: order_key(asked, v)))


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


def _verdicts(known: Knowledge, goal: Goal, one: Candidate) -> Iterator[Verdict]:
    """Of the setup, with a smaller KV cache where the usual one leaves something to wish for; and where it is only too
    large for its device, of the split of it that fits best."""
    setup = Setup(
        variant=one.variant.id, quantization=one.quantization.id, backend=one.backend.NAME, device=one.device.kind
    )
    setup, goal = trust.with_options(setup, known.machine), media.with_tokens(goal, one.variant)
    for kv in kv_types(goal, one.backend):
        verdict = None
        for verdict in _of_setup(known, goal, one, with_options(setup, kv)):
            yield verdict
        if verdict is None or verdict.comfortable or verdict.hard:
            return


def _of_setup(known: Knowledge, goal: Goal, one: Candidate, setup: Setup) -> Iterator[Verdict]:
    need, no_file = _need(setup, goal, one.backend, one.device, one.variant)
    case = Case(
        machine=known.machine, device=one.device, goal=goal, variant=one.variant, quantization=one.quantization,
        backend=one.backend, setup=setup, estimates={}, build=one.build, need=need, no_file=no_file,
    )  # fmt: skip
    first = {rule: rule(case) for rule in rules.OF_THE_KIND}
    if any(isinstance(answer, No) for answer in first.values()):
        published = predictions.estimates(known, goal, setup, one.quantization, None)
        yield _verdict(msgspec.structs.replace(case, estimates=published), first)
        return
    case, answers = _answered(known, case, first)
    yield _verdict(case, answers)
    if need and answers[rules.fits_in_memory] and not _others(answers):
        split = splits.best(known, setup, need, one.device)
        if split is not None:
            yield _verdict(*_answered(known, msgspec.structs.replace(case, setup=split), first))


def _need(
    setup: Setup, goal: Goal, backend: Backend, device: Device, variant: Variant
) -> tuple[Need | None, str | None]:
    """Its memory, or why there is no file."""
    try:
        if goal.training:
            return finetuning.need(variant, setup.quantization, goal.training), None
        sheet = costs.cost_sheet(setup)
    except PhibenchError as error:
        return None, str(error)
    need = backend.need(sheet.plan, sheet.shape, goal.context, dict(setup.options), goal.prompt_tokens)
    return media.with_encoder(need, goal, variant, device), None


def _answered(known: Knowledge, case: Case, first: dict[Rule, Answer]) -> tuple[Case, dict[Rule, Answer]]:
    estimates = predictions.estimates(known, case.goal, case.setup, case.quantization, case.need)
    case = msgspec.structs.replace(case, estimates=estimates)
    return case, {**first, **{rule: rule(case) for rule in rules.OF_THE_USE}}


def _others(answers: dict[Rule, Answer]) -> bool:
    """Whether anything but memory speaks against it that a split would not change."""
    return any(isinstance(answer, No) and not isinstance(answer, Missed) for answer in answers.values())


def _verdict(case: Case, answers: dict[Rule, Answer]) -> Verdict:
    told = [answer for answer in answers.values() if answer]
    amounts = [answer.by for answer in told if isinstance(answer, Missed | Perhaps)]
    room = [answer.by for rule in (rules.fits_in_memory, rules.fits_on_disk)
            if isinstance(answer := answers.get(rule), Missed | Perhaps)]  # fmt: skip
    return Verdict(
        setup=case.setup,
        estimates=case.estimates,
        objections=tuple(str(a) for a in told if isinstance(a, No)),
        unknowns=tuple(a for a in told if isinstance(a, Unknown)),
        hard=len(told) - len(amounts),
        missed=max(amounts, default=1.0),
        overflows=max(room, default=1.0),
        doubted=any(isinstance(a, Doubted) for a in told),
        comfortable=not told and is_comfortable(case),
        build=case.build,
    )


def _behind_others(verdicts: Iterable[Verdict]) -> Iterator[Verdict]:
    """Those of an engine that leads only where it is the only one, or was measured to be the fastest, are marked."""
    for _, group in itertools.groupby(sorted(verdicts, key=lambda v: v.setup.variant), lambda v: v.setup.variant):
        of_variant = tuple(group)
        others = [v for v in of_variant if backends.load(v.setup.backend).LEADS and not v.hard]
        fastest = max((_tps(v) for v in others), default=0.0)
        for verdict in of_variant:
            leads = backends.load(verdict.setup.backend).LEADS or not others
            speed = verdict.estimates.get("decode_tps")
            faster = speed is not None and speed.basis == "measured" and speed.value > fastest
            yield verdict if leads or faster else msgspec.structs.replace(verdict, behind=True)


def _tps(verdict: Verdict) -> float:
    speed = verdict.estimates.get("decode_tps")
    return speed.value if speed else 0.0


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
