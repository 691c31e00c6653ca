"""What is different since the last answer, as a sentence and for programs."""

from __future__ import annotations

from typing import Any

from phibench.core import amounts
from phibench.core.nouns import AnswerRow, Changed


def sentence(changed: Changed) -> str:
    """ "since 2026-07-01 the pick is A (usable), it was B (perhaps): 2 new runs of A, C"."""
    old, new = changed.before, changed.after
    if old.setup != new.setup:
        told = f"the pick is {new.setup} ({new.level}), it was {old.setup} ({old.level})"
    elif old.level != new.level:
        told = f"{new.setup} is {new.level}, it was {old.level}"
    else:
        told = f"{new.setup} is at {_speed(new)} tok/s, it was at {_speed(old)}"
    why = "; ".join(one.text for one in changed.reasons)
    return f"since {changed.since[:10]} {told}{': ' if why else ''}{why}"


def _speed(row: AnswerRow) -> str:
    speed = row.estimates.get("decode_tps")
    return amounts.shown("decode_tps", speed) if speed else "a speed that is not known"


def to_json(changed: Changed) -> dict[str, Any]:
    return {
        "since": changed.since,
        "before": _row(changed.before),
        "after": _row(changed.after),
        "reasons": [{"kind": one.kind, "text": one.text} for one in changed.reasons],
        "text": sentence(changed),
    }


def _row(row: AnswerRow) -> dict[str, Any]:
    told = {metric: _bounds(row, metric) for metric in ("decode_tps", "ttft_s")}
    return {"setup": str(row.setup), "level": row.level, "estimates": told}


def _bounds(row: AnswerRow, metric: str) -> dict[str, Any] | None:
    found = row.estimates.get(metric)
    return {key: getattr(found, key) for key in ("value", "low", "high", "basis")} if found else None
