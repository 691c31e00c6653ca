"""What settling measured, and what it left out, as lines and for programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from phibench.core.nouns import LeftOut, Settled, Verdict
from phibench.core.text import wrap
from phibench.show import changed

_NAMED = 3  # of those that are left out for one reason
_SURE = "no other setup could come first, wherever in its interval its speed is"


def text(settled: Settled, before: Sequence[Verdict], after: Sequence[Verdict], output: str, width: int | None) -> str:
    """Between the advice before and the advice after."""
    told = changed.lines(settled.measured, before, after) if settled.measured else []
    title = changed.TITLE if settled.measured else "Nothing was measured"
    left_out = list(_left_out(settled.left_out)) or [f"now {_SURE}" if settled.measured else _SURE]
    if output == "md":
        fenced = ["```", *told, "```", ""] if told else []
        return "\n".join([f"**{title}**", "", *fenced, *(f"- {line}" for line in left_out)]) + "\n"
    return "\n".join([title, *told, *(part for line in left_out for part in wrap(line, width))]) + "\n"


def to_json(settled: Settled) -> dict[str, Any]:
    return {
        "seconds": settled.seconds,
        "budget_s": settled.budget_s,
        "before": str(settled.before),
        "measured": [str(setup) for setup in settled.measured],
        "left_out": [{"setup": one.what, "reason": one.reason, "late": one.late} for one in settled.left_out],
    }


def _left_out(left_out: Sequence[LeftOut]) -> Iterator[str]:
    """A line for each reason, with the first of those that it holds for; how much is lacking, of the first alone."""
    of: dict[str, list[LeftOut]] = {}
    for one in left_out:
        of.setdefault("time" if one.late else "disk" if one.disk else one.reason, []).append(one)
    for ones in of.values():
        names = ", ".join(one.what for one in ones[:_NAMED])
        more = f" and {len(ones) - _NAMED} more" if len(ones) > _NAMED else ""
        of_all = " for the first of them" if len({one.reason for one in ones}) > 1 else ""
        yield f"could still change the pick: {names}{more}: {ones[0].reason}{of_all}"
