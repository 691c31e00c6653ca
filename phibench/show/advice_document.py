"""The advice for programs: the JSON document of ``recommend``, and its candidates as flat rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from phibench.advise import explain, ranking
from phibench.advise.explain import ROWS_ALONE, Reasons
from phibench.advise.moves import Change
from phibench.core.nouns import SCHEMA, Changed, Estimate, Goal, Machine, Settled, Verdict
from phibench.core.nouns.advice import loss_class
from phibench.show import recalled
from phibench.show import settled as settled_lines

CALIBRATE_S = 120  # what calibrate takes where no --budget is given


# What every candidate of recommend -o json shows, null where it is not known.
ESTIMATED = (
    "quality", "quant_kld", "decode_tps", "prefill_tps", "ttft_s", "tpot_s", "answer_s", "host_needed_bytes",
    "device_peak_bytes", "weights_bytes", "kv_bytes", "disk_bytes", "max_context_tokens", "load_cold_s", "load_warm_s",
    "prefill_j_per_token", "decode_j_per_token", "decode_tokens_per_j",
)  # fmt: skip


def to_json(
    machine: Machine, goal: Goal, context: int | None, verdicts: Sequence[Verdict], top: int | None = None,
    uncalibrated: Sequence[str] = (), *, assumed: Sequence[str] = (), places: bool = False,
    reasons: Reasons = ROWS_ALONE,
    settled: Settled | None = None, changed: Changed | None = None,
) -> dict[str, Any]:  # fmt: skip
    """The document of ``recommend -o json``; ``calibrate`` is null where it would narrow nothing."""
    chosen = ranking.shown(verdicts, top, places=places)
    whys = [explain.why(goal, v, chosen[i - 1] if i else None, verdicts, reasons) for i, v in enumerate(chosen)]
    return {
        "schema": SCHEMA,
        "machine": msgspec.to_builtins(machine),
        "assumed": list(assumed),
        "goal": goal.id,
        "context": goal.context if context is None else context,
        "calibrate": {"backends": list(uncalibrated), "seconds": CALIBRATE_S} if uncalibrated else None,
        "settled": settled_lines.to_json(settled) if settled else None,
        "changed": recalled.to_json(changed) if changed else None,
        "candidates": [_candidate(v, why, reasons) for v, why in zip(chosen, whys, strict=True)],
    }


def _candidate(verdict: Verdict, why: str, reasons: Reasons) -> dict[str, Any]:
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
        "level": verdict.level,
        "loss_class": loss_class(loss.value) if (loss := verdict.estimates.get("quant_kld")) else None,
        "published": verdict.build is not None,
        "repository": verdict.build.repository if verdict.build else None,
        "file": verdict.build.path if verdict.build else None,
        "estimates": {m: estimated(e) if (e := verdict.estimates.get(m)) else None for m in names},
        "objections": list(verdict.objections),
        "unknowns": [str(reason) for reason in verdict.unknowns],
        "why": why,
        "change": changed(reasons.changes.get(setup)),
    }


def changed(change: Change | None) -> dict[str, Any] | None:
    """``flags`` stand behind those that were given; ``setup`` is a yes with them."""
    return {"text": change.text, "flags": list(change.flags), "setup": str(change.setup)} if change else None


def estimated(estimate: Estimate) -> dict[str, Any]:
    """Of a score also its ``benchmark``; ``carried_from`` another variant is none: where it has none of its own, it is
    null."""
    found = {key: value for key, value in msgspec.to_builtins(estimate).items() if key != "benchmark"}
    return found | ({"benchmark": estimate.benchmark, "carried_from": None} if estimate.benchmark else {})


def flat_rows(
    machine: Machine, goal: Goal, context: int, verdicts: Sequence[Verdict], top: int | None, *, places: bool = False,
    reasons: Reasons = ROWS_ALONE,
) -> list[dict[str, Any]]:  # fmt: skip
    """The candidates of the JSON document; of an estimate the value stands under the metric, its bounds beside it."""
    found = []
    shown = to_json(machine, goal, context, verdicts, top, places=places, reasons=reasons)["candidates"]
    for rank, candidate in enumerate(shown, start=1):
        where = {"goal": goal.id, "context": context, "machine": machine.name, "rank": rank}
        rest = {key: value for key, value in candidate.items() if key != "estimates"}
        rest["change"] = rest["change"] and rest["change"]["text"]
        estimates: dict[str, Any] = {}
        for metric, estimate in candidate["estimates"].items():
            known = estimate or {}
            estimates[metric] = known.get("value")
            estimates |= {f"{metric}_{part}": known.get(part) for part in ("low", "high", "basis", "because")}
        found.append({**where, **rest, **estimates})
    return found
