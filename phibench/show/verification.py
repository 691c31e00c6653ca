"""Outcomes to rows: a table for people, everything for programs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from phibench.core.text import wrap
from phibench.show import tables
from phibench.verify.outcomes import Outcome


def rows(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """Unknown is None."""
    return [_row(one) for one in outcomes]


def _row(one: Outcome) -> dict[str, Any]:
    found, limit = one.distance, one.limit
    return {
        "setup": str(one.setup),
        "variant": one.setup.variant,
        "quantization": one.setup.quantization,
        "backend": one.setup.backend,
        "device": one.setup.device,
        "against": one.against,
        "kl_mean": _finite(found.kl_mean) if found else None,
        "kl_mean_limit": limit.kl_mean if limit else None,
        "kl_max": _finite(found.kl_max) if found else None,
        "kl_max_limit": limit.kl_max if limit else None,
        "greedy_agreement": found.agreement if found else None,
        "greedy_agreement_limit": limit.agreement if limit else None,
        "positions": len(found.flat) if found else None,
        "weights_error": None if one.weights_error is None else _finite(one.weights_error),
        "weights_error_limit": limit.weights if limit else None,
        "verdict": one.verdict,
        "reason": one.reason or None,
        "kind": one.kind,
    }


def _finite(value: float) -> float | None:
    """What is no number, or a tensor of another shape, has no place in JSON; the reason tells."""
    return value if math.isfinite(value) else None


def text(outcomes: Sequence[Outcome], output: str, width: int | None, caption: str) -> str:
    """In the form ``output``; the table has its reasons below."""
    found = rows(outcomes)
    shown = tables.text(found, output, width, (_setup(outcomes), *_FIGURES), caption, "phibench_verify")
    if output != "table":
        return shown
    told = [line for one in outcomes if one.reason for line in wrap(f"{one.setup}: {one.reason}", width)]
    return "\n".join([shown.rstrip("\n"), *([""] if told else []), *told]) + "\n"


def _setup(outcomes: Sequence[Outcome]) -> tables.Column[tables.Record]:
    """Short without the device, which is the same in every row; never without options."""
    short = {
        str(one.setup): str(one.setup) if one.setup.options else f"{one.setup.model}@{one.setup.backend}"
        for one in outcomes
    }
    return tables.Column(title="setup", cell=lambda row: str(row["setup"]), short=lambda row: short[row["setup"]])


def _nat(value: float) -> str:
    """Two significant digits, as exponents: divergences span ten orders."""
    return f"{value:.1e}"


_FIGURES = (
    tables.column("kl_mean", "KL mean", _nat, right=True),
    tables.column("kl_max", "KL max", _nat, right=True),
    tables.column("kl_max_limit", "limit", _nat, right=True, rank=2),
    tables.column("greedy_agreement", "greedy", lambda share: f"{share:.0%}", right=True, rank=1),
    tables.column("weights_error", "weights", lambda share: f"{share:.1%}", right=True, rank=3),
    tables.column("verdict", "verdict"),
)
