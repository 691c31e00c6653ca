"""A calibration as text: rates by tensor type for people, the JSON document, rows for programs; and its dry run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from phibench.core import files, units
from phibench.core.nouns import SCHEMA, Calibration, KernelRate, LeftOut, Narrowed
from phibench.core.text import number, wrap
from phibench.show import outputs, tables

_GIGA = 1e9
_MOST_NARROWED = 8  # lines; all of them are in JSON
_MOST_LEFT_OUT = 4
_MOST_DOUBTS = 4


def text(found: Calibration, output: str, width: int | None = None) -> str:
    """``json``: the document; other forms for programs: a row for each rate."""
    if output == "json":
        return files.json_text(document(found)) + "\n"
    if output in outputs.DATA_FORMATS:
        return tables.text([msgspec.to_builtins(rate) for rate in found.rates], output, name="phibench_rates")
    rows, columns = _rows(found.rates), _COLUMNS
    caption = (
        f"Calibrated in {units.duration(found.seconds)} of {units.duration(found.budget_s)}; "
        "rates by type of weights, [80 % interval]"
    )
    lines = [*_checked(found), *_doubted(found), *_narrowed(found.narrowed), *_left_out(found.left_out)]
    if output == "md":
        told = "".join(f"- {tables.markdown_text(line)}\n" for line in lines)
        return f"{tables.markdown_text(caption)}\n\n{tables.markdown(rows, columns)}\n{told}"
    drawn = tables.draw(rows, columns, width, caption, color=width is not None and tables.wants_color())
    return "\n".join([drawn, *(part for line in lines for part in wrap(line, width))]) + "\n"


def document(found: Calibration) -> dict[str, Any]:
    """The document of ``calibrate -o json``."""
    return {
        "schema": SCHEMA,
        "seconds": found.seconds,
        "budget_s": found.budget_s,
        "rates": [msgspec.to_builtins(rate) for rate in found.rates],
        "narrowed": [
            {"setup": str(n.setup), "metric": n.metric, "before": n.before, "after": n.after} for n in found.narrowed
        ],
        "checks": [
            {
                "setup": str(c.setup), "metric": c.metric, "predicted": c.predicted, "low": c.low, "high": c.high,
                "measured": c.measured, "error": c.error, "doubt": c.doubt,
            }
            for c in found.checks
        ],
        "left_out": [str(one) for one in found.left_out],
        "warnings": list(found.warnings),
    }  # fmt: skip


def dry(
    items: Iterable[tuple[Any, Any, Any]], left_out: Sequence[LeftOut], total_s: float, budget_s: float, output: str,
    width: int | None,
) -> str:  # fmt: skip
    """(piece, task, seconds) of everything that would be measured."""
    rows = [
        {
            "what": piece.name, "teaches": ", ".join(piece.teaches) if piece.layers else "check",
            "tests": ", ".join(str(w) for w in piece.suite.workloads()), "launches": piece.suite.launches,
            "seconds": seconds.all_s(piece.suite.launches), "disk_bytes": task.write_bytes,
        }
        for piece, task, seconds in items
    ]  # fmt: skip
    caption = f"Nothing was started. About {units.duration(total_s)} of {units.duration(budget_s)}."
    said = tables.text(rows, output, width, _DRY_COLUMNS, caption, "phibench_calibrate")
    if output not in ("table", "md"):
        return said
    return said + "".join(f"{part}\n" for line in _left_out(left_out) for part in wrap(line, width))


_DRY_COLUMNS = (
    tables.column("what", "slice"),
    tables.column("teaches", "for"),
    tables.column("tests", "tests", rank=2),
    tables.column("launches", "launches", right=True, rank=1),
    tables.column("seconds", "time", units.duration, right=True),
    tables.column("disk_bytes", "disk to write", units.gb, right=True),
)


# ------------------------------------------------------------------------------------------ for people


def _rows(rates: Sequence[KernelRate]) -> list[dict[str, str]]:
    """A row for every backend, device and type; both phases in it."""
    found: dict[tuple[str, str, str], dict[str, str]] = {}
    for rate in rates:
        row = found.setdefault((rate.backend, rate.device, rate.tensor_type), {})
        row[rate.phase] = f"{_giga(rate.value)} [{_giga(rate.low)}..{_giga(rate.high)}]"
    return [
        {"backend": f"{backend}/{device}", "type": kind, **phases} for (backend, device, kind), phases in found.items()
    ]


_COLUMNS = (
    tables.column("backend"),
    tables.column("type"),
    tables.column("decode", "decode GB/s", right=True),
    tables.column("prefill", "prefill GFLOP/s", right=True),
)


def _giga(value: float) -> str:
    return number(value / _GIGA)


def _checked(found: Calibration) -> list[str]:
    if not found.checks:
        return ["check: no whole file was measured"]
    parts = [
        f"{_METRIC[c.metric]} {number(c.predicted)} predicted, {number(c.measured)} measured ({c.error:+.1%})"
        for c in found.checks
    ]
    doubts = dict.fromkeys(f"doubtful: {c.doubt}" for c in found.checks if c.doubt)
    return [f"check: {found.checks[0].setup}, whole: {'; '.join((*parts, *doubts))}"]


_METRIC = {"decode_tps": "decode tok/s", "prefill_tps": "prefill tok/s"}


def _doubted(found: Calibration) -> list[str]:
    """What speaks against the run, as ``phibench results`` says it; there all of it."""
    said, more = found.warnings[:_MOST_DOUBTS], len(found.warnings) - _MOST_DOUBTS
    rest = [f"doubtful: {more} more; type: phibench results"] if more > 0 else []
    return [*(f"doubtful: {one}" for one in said), *rest]


def _narrowed(found: Sequence[Narrowed]) -> list[str]:
    """The intervals that shrank most."""
    if not found:
        return []
    most = sorted(found, key=lambda n: -_width(n.before) / _width(n.after))[:_MOST_NARROWED]
    lines = [f"known better now: {len(found)} speeds, most of all:" if len(found) > len(most) else "known better now:"]
    for one in most:
        before = f"{number(one.before[0])}–{number(one.before[1])}" if one.before else "not known"
        lines.append(f"  {one.setup}: {_METRIC[one.metric]} {before} -> {number(one.after[0])}–{number(one.after[1])}")
    return lines


def _width(span: tuple[float, float] | None) -> float:
    return span[1] / span[0] if span else 1e3


def _left_out(left_out: Sequence[LeftOut]) -> list[str]:
    """What there was no time for in one line, where it is much."""
    late = [one for one in left_out if one.late and one.setup]
    if len(late) <= _MOST_LEFT_OUT:
        return [f"left out: {one}" for one in left_out]
    names = dict.fromkeys(str(one.setup) for one in late if one.setup)
    others = [f"left out: {one}" for one in left_out if one not in late]
    return [*others, f"left out for lack of time; a longer --budget measures more: {', '.join(names)}"]
