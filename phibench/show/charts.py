"""The charts of a run: which of its rows and samples go into which. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from phibench.analysis import batch_scaling
from phibench.core import stats, units
from phibench.core.metrics import METRICS, values
from phibench.core.nouns import Measured, Row, Run
from phibench.core.text import number
from phibench.show import results, svg
from phibench.show.tables import Column

MOST_BARS = 24  # of one chart; the table has them all
_POINTS = 240  # of one line; more are not seen
_SKIPPED = ("itl_p50_s", "itl_p90_s", "itl_p99_s", "total_tps", "sequence_tps")
_CURVES = ("decode_tps", "prefill_tps")


def charts(run: Run, rows: Sequence[Row]) -> str:
    """All charts of a run, empty where it has nothing to draw."""
    subject = results.layout(rows)[1]
    curves = [name for name in _CURVES if any(len(curve) > 1 for curve in batch_scaling.curves(rows, name).values())]
    drawn = [_curve(rows, name, subject) for name in curves]
    drawn.append(_over_time(run, subject, rows))
    drawn += [
        _bars(rows, name, subject, run.suite.fresh) for name in run.suite.metrics if name not in (*_SKIPPED, *curves)
    ]
    drawn.append(_memory(rows, subject))
    return "".join(drawn)


def name(row: Row, subject: Sequence[Column[Row]]) -> str:
    """What tells a row from the others, in words."""
    return " ".join(text for c in subject if (text := c.cell(row)))


def _bars(rows: Sequence[Row], metric: str, subject: Sequence[Column[Row]], fresh: bool) -> str:
    """A bar for every row that knows the metric, a colour for every setup."""
    known = [(row, spread) for row in rows if (spread := row.metrics.get(metric))]
    if not known or metric not in METRICS:
        return ""
    if metric == "host_peak_bytes" and not fresh:  # of the worker, so the same for all its tests
        workers = {(row.setup, row.weights, row.layers): (row, spread) for row, spread in reversed(known)}
        known = list(workers.values())[::-1]
        subject = subject[:-1]
    setups = list(dict.fromkeys(row.setup for row, _ in known))
    items = [
        svg.Bar(
            label=name(row, subject) or str(row.setup),
            value=spread.median,
            low=spread.low,
            high=spread.high,
            text=_text(metric, spread.median),
            color=setups.index(row.setup),
        )
        for row, spread in known[:MOST_BARS]
    ]
    cut = f" (the first {MOST_BARS} of {len(known)})" if len(known) > MOST_BARS else ""
    better = {"higher": "more is better", "lower": "less is better"}[METRICS[metric].better]
    unit = METRICS[metric].unit
    told = "" if unit in ("B", "s") else f", {unit}"  # those stand beside the figures
    return svg.bars(f"{METRICS[metric].title}{told}: {better}{cut}", items)


def _text(metric: str, value: float) -> str:
    if METRICS[metric].unit == "B":
        return units.gib(value)
    return units.duration(value) if METRICS[metric].unit == "s" else number(value)


def _curve(rows: Sequence[Row], metric: str, subject: Sequence[Column[Row]]) -> str:
    """Tokens of all sequences together over the batch, a ring at the knee."""
    series = []
    for curve in batch_scaling.curves(rows, metric).values():
        points = [(rows[place].workload.batch, speed) for place, speed in curve]
        at = batch_scaling.knee(points)
        knee = f", the knee at {points[at][0]}" if at is not None else ""
        first = rows[curve[0][0]]
        label = name(msgspec.structs.replace(first, workload=first.workload.single), subject)
        marks = () if at is None else (at,)
        series.append(svg.Series(label=label + knee, points=tuple((float(x), y) for x, y in points), marks=marks))
    return svg.lines(
        f"{METRICS[metric].title} of all sequences together, tok/s", series, "batch: sequences at once", doubling=True
    )


def _over_time(run: Run, subject: Sequence[Column[Row]], rows: Sequence[Row]) -> str:
    """Decode speed of every repetition since the first one began, of tests that fill a window."""
    series = []
    for result in run.results:
        if not isinstance(result, Measured):
            continue
        seen = [
            (sample.start_s, speed)
            for sample in result.samples
            if sample.start_s is not None
            for speed in values("decode_tps", result.workload, (sample,))
        ]
        if len(seen) > 2 and "sustained_tps" in run.suite.metrics:
            row = next((r for r in rows if (r.setup, r.workload) == (result.setup, result.workload)), None)
            label = name(row, subject) if row else str(result.workload)
            series.append(svg.Series(label=label, points=_thinned(seen)))
    return svg.lines("Decode over time, tok/s", series, "seconds since the first repetition") if series else ""


def _thinned(points: Sequence[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    """The median of neighbours where there are more than a chart can show."""
    size = -(-len(points) // _POINTS)
    groups = [points[at : at + size] for at in range(0, len(points), size)]
    return tuple((group[0][0], stats.median([speed for _, speed in group])) for group in groups)


def _memory(rows: Sequence[Row], subject: Sequence[Column[Row]]) -> str:
    """Bytes by use, as the engine reports them."""
    items = [
        svg.Stack(label=name(row, subject), parts=parts, text=units.gib(sum(size for _, size in parts)))
        for row in rows[:MOST_BARS]
        if (parts := tuple((use, float(size)) for use, size in row.buffers.items() if size > 0))
    ]
    return svg.stacks("Memory by use, as the engine reports it", items) if items else ""
