"""Verdicts -> DataFrame and words. No Streamlit here. Every number says how we know it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from phibench.core import amounts
from phibench.core.metrics import METRICS
from phibench.core.nouns import Basis, Estimate, Level, Verdict
from phibench.core.nouns.advice import loss_class
from phibench.show.advice import ANSWERS

# How sure a number is, in a word that stands beside it. The first group was seen, the others were reckoned.
BASIS: dict[Basis, str] = {
    "measured": "measured",
    "exact": "calculated",
    "published": "published",
    "calibrated": "scaled",
    "probed": "estimate",
    "spec": "guess",
    "assumed": "assumed",
}
FITS: dict[Level, str] = {"comfortable": "Comfortable", "usable": "Usable", "perhaps": "Perhaps", "no": "No"}
_SURE = ("measured", "exact", "published")


def frame(found: Sequence[Verdict]) -> pd.DataFrame:
    """One line per verdict in the given order: texts that carry their basis, and numbers for the chart."""
    return pd.DataFrame([_line(verdict) for verdict in found])


def _line(verdict: Verdict) -> dict[str, Any]:
    setup, known = verdict.setup, verdict.estimates
    decode, quality = known.get("decode_tps"), known.get("quality")
    loss = known.get("quant_kld")
    memory = known.get("device_peak_bytes") or known.get("host_needed_bytes")
    return {
        "fits": FITS[verdict.level],
        "variant": setup.variant,
        "quantization": setup.quantization,
        "where": f"{setup.backend}/{setup.device}",
        "decode_text": said("decode_tps", decode),
        "ttft_text": said("ttft_s", known.get("ttft_s")),
        "memory_text": said("host_needed_bytes", memory),
        "answers_text": ANSWERS[loss_class(loss.value)] if loss else None,
        "quality_text": f"{quality.value:g} {quality.benchmark}" if quality else None,
        "why": "; ".join((*verdict.objections, *map(str, verdict.unknowns))) or None,
        "setup": str(setup),
        "decode": decode.value if decode else None,
        "low": decode.low if decode else None,
        "high": decode.high if decode else None,
        "basis": BASIS[decode.basis] if decode else None,
        "memory": memory.value / (1 << 30) if memory else None,
        "quality": quality.value if quality else None,
        "benchmark": quality.benchmark if quality else None,
    }


def said(metric: str, estimate: Estimate | None) -> str | None:
    """``12.3 measured``, ``~9 (4–14) estimate``: a reckoned number shows its 80 % interval."""
    if estimate is None:
        return None
    return f"{amount(metric, estimate)} {BASIS[estimate.basis]}"


def amount(metric: str, estimate: Estimate) -> str:
    """The number alone: ``12.3``, or ``~9 (4–14)`` when it was reckoned."""
    if estimate.basis in _SURE:
        return amounts.amount(metric, estimate.value, 3)
    value, low, high = (amounts.amount(metric, v, 2) for v in (estimate.value, estimate.low, estimate.high))
    return f"~{value} ({low}–{high})"


def headline(metric: str, estimate: Estimate) -> str:
    """The number for large type, with its unit; of a reckoned one only the interval."""
    if estimate.basis in _SURE:
        return amounts.amount(metric, estimate.value, 3) + unit(metric)
    return f"{amounts.amount(metric, estimate.low, 2)} to {amounts.amount(metric, estimate.high, 2)}{unit(metric)}"


def unit(metric: str) -> str:
    """What stands behind the number; times and bytes carry their unit already."""
    name = METRICS[metric].unit
    return "" if name in ("s", "B") else f" {name}"


def title(metric: str) -> str:
    return {"ttft_s": "First token", "host_needed_bytes": "Memory"}.get(metric, METRICS[metric].title)


def plotted(lines: pd.DataFrame, against: str) -> pd.DataFrame:
    """Lines with a speed and a value on the other axis; scores of one benchmark only, as others do not compare."""
    lines = lines[lines["decode"].notna() & lines[against].notna()]
    if against == "quality" and not lines.empty:
        lines = lines[lines["benchmark"] == lines["benchmark"].iloc[0]]
    return lines
