"""Advice for a list of machines: one answer a row, and how many machines get which."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from phibench.core import amounts, files, units
from phibench.core.nouns import SCHEMA, Goal, Machine, Verdict
from phibench.core.text import wrap
from phibench.machine.asked import SYSTEM
from phibench.show import fleet_summary, outputs, tables
from phibench.show.fleet_summary import Answer

_NO = "no"
_MOST_REASONS, _MOST_NAMES = 20, 3  # in a table; the other outputs have them all


def text(answers: Sequence[Answer], goal: Goal, context: int, output: str, width: int | None = None) -> str:
    """``table`` and ``md``: the machines, why some have no answer, the summary last; else as :func:`record` says."""
    if output == "json":
        return files.json_text(to_json(answers, goal, context)) + "\n"
    if output in outputs.DATA_FORMATS:
        return tables.text([record(answer) for answer in answers], output, name="phibench_recommend_machines")
    counted = fleet_summary.by_variant(answers)
    caption = f"Goal {goal.id}, context {units.context(context)}, {_machines(len(answers))}"
    notes = [*_reasons(answers), LEGEND]
    if output == "md":
        lines = [f"- {tables.markdown_text(note)}" for note in notes]
        parts = (
            tables.markdown_text(caption),
            "",
            tables.markdown(answers, _COLUMNS),
            *lines,
            "",
            _in_all(answers),
            "",
        )
        return "\n".join((*parts, tables.markdown(counted, fleet_summary.COLUMNS))) + "\n"
    color = width is not None and tables.wants_color()
    drawn = tables.draw(answers, _COLUMNS, width, caption, color=color, tell_dropped=False)
    below = [part for note in notes for part in wrap(note, width)]
    return (
        "\n".join(
            (
                drawn,
                *below,
                "",
                tables.draw(counted, fleet_summary.COLUMNS, width, _in_all(answers), color=color, tell_dropped=False),
            )
        )
        + "\n"
    )


def to_json(answers: Sequence[Answer], goal: Goal, context: int) -> dict[str, Any]:
    """``machines`` in the order of the list, ``summary`` the commonest first."""
    return {
        "schema": SCHEMA,
        "goal": goal.id,
        "context": context,
        "machines": [record(answer) for answer in answers],
        "summary": fleet_summary.summary(answers),
    }


def record(answer: Answer) -> dict[str, Any]:
    """One flat row: what was understood, the pick with its figures, what was assumed; unknown is None."""
    listed, machine, verdict = answer.listed, answer.machine, answer.verdict
    pick = verdict if verdict and answer.has_pick else None
    setup = pick.setup if pick else None
    return {
        "name": listed.row.name,
        "line": listed.row.line,
        "machine": _understood(machine) if machine else None,
        "os": machine.os if machine else None,
        "memory_bytes": machine.memory_bytes if machine else None,
        "level": answer.level,
        "setup": str(setup) if setup else None,
        "variant": setup.variant if setup else None,
        "quantization": setup.quantization if setup else None,
        "backend": setup.backend if setup else None,
        "device": setup.device if setup else None,
        **_figures(pick),
        "why": _why(answer),
        "assumed": "; ".join(listed.described.assumed) if listed.described else None,
    }


def _figures(pick: Verdict | None) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for metric in ("decode_tps", "ttft_s", "device_peak_bytes", "host_needed_bytes"):
        estimate = pick.estimates.get(metric) if pick else None
        found[metric] = estimate.value if estimate else None
        found[f"{metric}_low"] = estimate.low if estimate else None
        found[f"{metric}_high"] = estimate.high if estimate else None
    speed = pick.estimates.get("decode_tps") if pick else None
    found["basis"] = speed.basis if speed else None
    return found


def _understood(machine: Machine) -> str:
    return f"{machine.name}, {units.gib(machine.memory_bytes)}, {SYSTEM.get(machine.os, machine.os)}"


def _why(answer: Answer) -> str | None:
    """Why there is no answer, or no pick, or what of it is not known."""
    if answer.verdict is None:
        return answer.listed.why or "no build is left to try"
    if answer.verdict.objections:
        return "; ".join(answer.verdict.objections)
    return "; ".join(reason.text for reason in answer.verdict.unknowns) or None


# --------------------------------------------------------------------------------------------------- tables


def _pick(answer: Answer) -> str | None:
    return answer.verdict.setup.model if answer.verdict and answer.has_pick else None


def _place(answer: Answer) -> str | None:
    return answer.verdict.setup.place if answer.verdict and answer.has_pick else None


def _speed(answer: Answer) -> str | None:
    """Without its interval, which a row has no room for."""
    estimate = answer.verdict.estimates.get("decode_tps") if answer.verdict and answer.has_pick else None
    if estimate is None:
        return None
    number = amounts.amount("decode_tps", estimate.value, 2)
    return number if estimate.basis == "measured" else f"~{number}"


def _memory(answer: Answer) -> str | None:
    told = answer.verdict.estimates if answer.verdict and answer.has_pick else {}
    estimate = told.get("device_peak_bytes") or told.get("host_needed_bytes")
    return amounts.amount("host_needed_bytes", estimate.value, 2) if estimate else None


def _here(answer: Answer) -> str | None:
    return _understood(answer.machine) if answer.machine else None


def _short(answer: Answer) -> str | None:
    """What decides: its cards, else its processor."""
    if answer.machine is None:
        return None
    cards = [device.name for device in answer.machine.devices if device.kind != "cpu" and not device.shares_memory]
    many = f"{len(cards)}x " if len(cards) > 1 else ""
    return _cut(f"{many}{cards[0]}" if cards else answer.machine.devices[0].name)


def _named(answer: Answer) -> str:
    return _cut(answer.listed.row.name)


def _cut(name: str) -> str:
    return name if len(name) <= _SHORT else f"{name[: _SHORT - 1]}…"


_SHORT = 24
_COLUMNS: tuple[tables.Column[Answer], ...] = (
    tables.Column(title="name", cell=lambda answer: answer.listed.row.name, short=_named),
    tables.Column(title="machine", cell=_here, short=_short, rank=1),
    tables.Column(title="pick", cell=_pick),
    tables.Column(title="on", cell=_place, rank=3),
    tables.Column(title="fits", cell=lambda answer: answer.level),
    tables.Column(title="tok/s", cell=_speed, right=True),
    tables.Column(title="memory", cell=_memory, right=True, rank=2),
)
LEGEND = (
    "tok/s with ~ are estimated, from data sheets where nothing was measured. What a row does not say is assumed: "
    "-o csv says what, with intervals"
)


def _in_all(answers: Sequence[Answer]) -> str:
    return f"In all: {sum(answer.has_pick for answer in answers)} of {_machines(len(answers))} have an answer"


def _machines(count: int) -> str:
    return f"{count} machine{'s' if count != 1 else ''}"


def _reasons(answers: Sequence[Answer]) -> list[str]:
    """Why machines have no pick, the commonest reason first, with some of their names."""
    names: dict[str, list[str]] = defaultdict(list)
    for answer in answers:
        if not answer.has_pick:
            names[
                f"{answer.level}: {_why(answer)}" if answer.verdict is None else f"nothing fits: {_why(answer)}"
            ].append(answer.listed.row.name)
    told = sorted(names.items(), key=lambda reason: -len(reason[1]))
    lines = [f"{_some(found)}: {why}" for why, found in told[:_MOST_REASONS]]
    rest = sum(len(found) for _, found in told[_MOST_REASONS:])
    more = [f"{_machines(rest)} for {len(told) - _MOST_REASONS} more reasons: -o csv has them"] if rest else []
    return [*lines, *more]


def _some(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")
