"""Which Phi for this goal on this machine: candidates -> estimates -> objections -> order.

Lexicographic, without weights: yes before unknown before no (of these first what misses a limit by little), then the
goal's metrics in its order, then what was measured before what was not, then fewer bytes, then the name. So the order
is total and each "no" can be read out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from phibench import backends, catalog
from phibench.advise import rules
from phibench.analysis import trust
from phibench.backends import Backend
from phibench.core import units
from phibench.core.errors import PhibenchError
from phibench.core.metrics import METRICS
from phibench.core.nouns import SCHEMA, Device, Estimate, Goal, Machine, Quantization, Run, Setup, Variant, Verdict
from phibench.predict import calibration, predictions, roofline
from phibench.predict import speed as predict_speed

# What every candidate of recommend -o json shows, null where it is not known.
ESTIMATED = (
    "quality", "quant_kld", "decode_tps", "prefill_tps", "ttft_s", "tpot_s", "answer_s", "host_needed_bytes",
    "device_peak_bytes", "weights_bytes", "kv_bytes", "disk_bytes", "max_context_tokens",
)  # fmt: skip
LEGEND = (
    "12.3 measured here; ~12 (9–15) scaled from measurements here; ? from bandwidth alone; ?? from a data sheet; "
    "assumed: rests on a number of thinking tokens that nobody has published"
)
_MOST = 1_000_000  # tokens, tokens per second or seconds that may be asked for
_VERDICTS = ("yes", "unknown", "no")


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
    asked = _asked(goal, context, min_tps, max_ttft, thinking_tokens)
    seen = calibration.anchors(machine, runs)
    verdicts = (_verdict(machine, asked, seen, *candidate) for candidate in _candidates(machine))
    return tuple(sorted(verdicts, key=lambda v: order_key(asked, v)))


def fits(verdicts: Sequence[Verdict]) -> bool:
    """False when every candidate is a clear no: exit 3. A "not known" may still fit, so it is not "nothing fits"."""
    return any(v.verdict != "no" for v in verdicts)


def order_key(goal: Goal, verdict: Verdict) -> tuple[Any, ...]:
    """Smaller is better. A metric that is not known ranks after every value.

    Among the "no", hard objections count before missed limits: where nothing fits, the first row comes nearest.
    """
    speed, size = verdict.estimates.get("decode_tps"), verdict.estimates.get("weights_bytes")
    return (
        _VERDICTS.index(verdict.verdict),
        verdict.hard,
        _distance(goal, verdict),
        *(_rank(goal, metric, verdict.estimates.get(metric)) for metric in goal.order),
        predict_speed.BASES.index(speed.basis) if speed else len(predict_speed.BASES),
        size.value if size else float("inf"),
        str(verdict.setup),
    )


def _distance(goal: Goal, verdict: Verdict) -> float:
    """By how much a no misses the worst limit, on a 10 % grid."""
    if verdict.verdict != "no":
        return 0.0
    return round(math.log(max(rules.misses(goal, verdict.estimates).values(), default=1.0), 1.1))


def _rank(goal: Goal, metric: str, estimate: Estimate | None) -> tuple[float, ...]:
    """Scores of different benchmarks do not compare: the goal's order of benchmarks comes first."""
    if estimate is None:
        return (1.0,)
    rank = METRICS[metric].rank(estimate.value)
    if metric == "quality":
        return 0.0, float(goal.benchmarks.index(estimate.benchmark)), rank
    return 0.0, rank


# ---------------------------------------------------------------------------------------- candidates


def _asked(
    goal: Goal, context: int | None, min_tps: float | None, max_ttft: float | None, thinking: int | None
) -> Goal:
    """The goal with what the user asked for on top."""
    if context is not None:
        catalog.check_context(context, catalog.variants())
    figures = (("--min-tps", min_tps, 0.001), ("--max-ttft", max_ttft, 0.001), ("--thinking-tokens", thinking, 0))
    for flag, figure, least in figures:
        if figure is not None and not least <= figure <= _MOST:  # nan is neither
            raise PhibenchError(f"{flag} {figure} makes no sense; write {least} to {_MOST}, or leave it out")
    limits = dict(goal.limits)
    limits |= {"decode_tps": min_tps} if min_tps is not None else {}
    limits |= {"ttft_s": max_ttft} if max_ttft is not None else {}
    asked = msgspec.structs.replace(
        goal,
        limits=limits,
        context=goal.context if context is None else context,
        thinking_tokens=goal.thinking_tokens if thinking is None else thinking,
    )
    least = asked.prompt_tokens + asked.new_tokens
    if asked.context < least:
        raise PhibenchError(
            f"a context of {asked.context} tokens is too short for goal {goal.id}: "
            f"its prompt and answer take {least}; use --context {units.context(-(-least // 1024) * 1024)}"
        )
    return asked


def _candidates(machine: Machine) -> Iterator[tuple[Backend, Device, Variant, Quantization]]:
    """Whether a backend is installed here does not matter: the machine may be elsewhere."""
    for backend in map(backends.load, backends.names()):
        if not backend.RECOMMENDABLE:
            continue
        for fmt in backend.FORMATS:
            for quantization in catalog.quantizations(fmt):
                for variant in catalog.variants():
                    for device in machine.devices:
                        yield backend, device, variant, quantization


def _verdict(
    machine: Machine,
    goal: Goal,
    seen: Sequence[calibration.Anchor],
    backend: Backend,
    device: Device,
    variant: Variant,
    quantization: Quantization,
) -> Verdict:
    setup = Setup(variant=variant.id, quantization=quantization.id, backend=backend.NAME, device=device.kind)
    setup = trust.with_options(setup, machine)
    need, no_file = None, None
    try:
        sheet = roofline.sheet(setup)
    except PhibenchError as error:
        no_file = str(error)
    else:
        need = backend.need(sheet.plan, sheet.shape, goal.context, dict(setup.options), goal.prompt_tokens)
    estimates = predictions.estimates(machine, goal, setup, quantization, need, seen)
    case = rules.Case(
        machine=machine, device=device, goal=goal, variant=variant, quantization=quantization,
        backend=backend, setup=setup, estimates=estimates, need=need, no_file=no_file,
    )  # fmt: skip
    answers = [rule(case) for rule in rules.RULES]
    return Verdict(
        setup=setup,
        estimates=estimates,
        objections=tuple(str(a) for a in answers if isinstance(a, rules.No)),
        unknowns=tuple(a for a in answers if isinstance(a, rules.Unknown)),
        hard=sum(isinstance(a, rules.No) and not isinstance(a, rules.Missed) for a in answers),
    )


# -------------------------------------------------------------------------------------------- shown


def shown(verdicts: Sequence[Verdict], top: int | None = None) -> tuple[Verdict, ...]:
    """The best setup of each of the first ``top`` variants; every candidate when ``top`` is None (``--top all``)."""
    if top is None:
        return tuple(verdicts)
    best: dict[str, Verdict] = {}
    for verdict in verdicts:
        best.setdefault(verdict.setup.variant, verdict)
    return tuple(best.values())[:top]


def to_json(
    machine: Machine, goal: Goal, context: int | None, verdicts: Sequence[Verdict], top: int | None = None
) -> dict[str, Any]:
    """The document of ``recommend -o json``."""
    return {
        "schema": SCHEMA,
        "machine": msgspec.to_builtins(machine),
        "goal": goal.id,
        "context": goal.context if context is None else context,
        "candidates": [_candidate(v) for v in shown(verdicts, top)],
    }


def _candidate(verdict: Verdict) -> dict[str, Any]:
    setup = verdict.setup
    names = dict.fromkeys((*ESTIMATED, *verdict.estimates))
    return {
        "setup": str(setup),
        "variant": setup.variant,
        "quantization": setup.quantization,
        "backend": setup.backend,
        "device": setup.device,
        "options": dict(setup.options),
        "verdict": verdict.verdict,
        "estimates": {m: _estimate(e) if (e := verdict.estimates.get(m)) else None for m in names},
        "objections": list(verdict.objections),
        "unknowns": [str(reason) for reason in verdict.unknowns],
    }


def _estimate(estimate: Estimate) -> dict[str, Any]:
    """A benchmark is named in ``because``."""
    return {key: value for key, value in msgspec.to_builtins(estimate).items() if key != "benchmark"}


def table_rows(verdicts: Sequence[Verdict], top: int | None = None) -> list[dict[str, str]]:
    """One row of text per candidate of :func:`shown`, for a table; the legend of the marks is ``LEGEND``."""
    rows = []
    for rank, verdict in enumerate(shown(verdicts, top), start=1):
        cell = {m: rules.shown(m, e) for m, e in verdict.estimates.items()}
        quality = verdict.estimates.get("quality")
        rows.append(
            {
                "rank": str(rank),
                "setup": str(verdict.setup),
                "verdict": verdict.verdict,
                "quality": f"{cell['quality']} {quality.benchmark}" if quality else "no score",
                "decode tok/s": cell.get("decode_tps", "not known"),
                "TTFT": cell.get("ttft_s", "not known"),
                "answer": cell.get("answer_s", "not known"),
                "memory": cell.get("device_peak_bytes") or cell.get("host_needed_bytes", "not known"),
                "why": _why(verdict),
            }
        )
    return rows


def _why(verdict: Verdict) -> str:
    """Objections, else what is not known with the command that settles it, once."""
    if verdict.objections:
        return "; ".join(verdict.objections)
    remedies = dict.fromkeys(reason.remedy for reason in verdict.unknowns if reason.remedy)
    return ": ".join(("; ".join(reason.text for reason in verdict.unknowns), *remedies))


def hints(verdicts: Sequence[Verdict]) -> tuple[str, ...]:
    """What to install here to run what is advised. No objection: the machine may be elsewhere."""
    wanted = dict.fromkeys(v.setup.backend for v in verdicts if v.verdict != "no")
    missing = (b for b in map(backends.load, wanted) if b.installed() is None)
    return tuple(f"{b.NAME} is not installed here: pip install 'phibench[{b.EXTRA}]'" for b in missing)
