"""Small charts as HTML with inline SVG: bars with intervals, lines, stacked bars. Pure functions; all text is escaped.

Lengths are per cent of the page's width, so that a chart fits a phone and its text keeps its size; colours and sizes
are the page's (report.css).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

import msgspec

from phibench.core.text import plain

COLORS = 6  # classes c0 to c5 of report.css


class Bar(msgspec.Struct, frozen=True, kw_only=True):
    """``text`` stands at its end; ``low`` and ``high`` are drawn as a line over it."""

    label: str
    value: float
    text: str
    low: float | None = None
    high: float | None = None
    color: int = 0


class Series(msgspec.Struct, frozen=True, kw_only=True):
    """Points from left to right; a point of ``marks`` (their places) has a ring and its text in the legend."""

    label: str
    points: tuple[tuple[float, float], ...]
    marks: tuple[int, ...] = ()


class Stack(msgspec.Struct, frozen=True, kw_only=True):
    """A bar of parts, in the order of the legend; ``text`` stands at its end."""

    label: str
    parts: tuple[tuple[str, float], ...]
    text: str


def shown(text: str) -> str:
    """Text in a page: one line, no control characters, no markup."""
    return escape(plain(text))


def bars(title: str, items: Sequence[Bar]) -> str:
    """From zero, all on one scale."""
    top = max((max(bar.value, bar.high or 0.0) for bar in items), default=0.0) or 1.0
    rows = []
    for bar in items:
        parts = [f'<rect class="c{bar.color % COLORS}" width="{_share(bar.value, top)}" height="100%" rx="2"/>']
        if bar.low is not None and bar.high is not None and bar.low < bar.high:
            low, high = _share(bar.low, top), _share(bar.high, top)
            parts.append(f'<line class="range" x1="{low}" x2="{high}" y1="50%" y2="50%"/>')
            parts += [f'<line class="range" x1="{x}" x2="{x}" y1="20%" y2="80%"/>' for x in (low, high)]
        rows.append(_row(bar.label, bar.text, "".join(parts)))
    return _figure(title, "".join(rows))


def stacks(title: str, items: Sequence[Stack]) -> str:
    """Parts one after the other from zero, all on one scale, with a legend."""
    top = max((sum(value for _, value in stack.parts) for stack in items), default=0.0) or 1.0
    names = list(dict.fromkeys(name for stack in items for name, _ in stack.parts))
    rows = []
    for stack in items:
        start, parts = 0.0, []
        for name, value in stack.parts:
            color = names.index(name) % COLORS
            parts.append(
                f'<rect class="c{color}" x="{_share(start, top)}" width="{_share(value, top)}" height="100%"/>'
            )
            start += value
        rows.append(_row(stack.label, stack.text, "".join(parts)))
    return _figure(title, _legend(names) + "".join(rows))


def lines(title: str, series: Sequence[Series], x_title: str, *, doubling: bool = False) -> str:
    """Against an axis from zero; ``doubling``: the horizontal one has equal steps for 1, 2, 4, 8."""
    points = [point for one in series for point in one.points]
    if not points:
        return ""
    top, step = _axis(max(y for _, y in points))
    first, last = min(x for x, _ in points), max(x for x, _ in points)
    left, right = _place(first, doubling), _place(last, doubling)

    def across(x: float) -> float:
        return 100 * (_place(x, doubling) - left) / (right - left) if right > left else 50.0

    drawn = [f'<line class="grid" x1="0" x2="100" y1="{y:.2f}" y2="{y:.2f}"/>' for y in _grid(top, step)]
    for color, one in enumerate(series):
        places = [(across(x), 100 - 100 * y / top) for x, y in one.points]
        path = " ".join(f"{x:.2f},{y:.2f}" for x, y in places)
        drawn.append(f'<polyline class="line s{color % COLORS}" points="{path}"/>')
        dotted = range(len(places)) if len(places) <= 24 else one.marks
        drawn += [f'<path class="dot s{color % COLORS}" d="M{places[i][0]:.2f} {places[i][1]:.2f}h0"/>' for i in dotted]
        drawn += [f'<path class="knee" d="M{places[i][0]:.2f} {places[i][1]:.2f}h0"/>' for i in one.marks]
    up = "".join(
        f'<span style="bottom:{100 * tick * step / top:.2f}%">{_number(tick * step)}</span>'
        for tick in range(round(top / step) + 1)
    )
    ticks = sorted({x for x, _ in points}) if doubling else _between(first, last)
    along = "".join(f'<span style="left:{across(x):.2f}%">{_number(x)}</span>' for x in ticks[:12])
    label = f"{shown(title)}, against {shown(x_title)}"
    svg = (
        f'<svg viewBox="0 0 100 100" preserveAspectRatio="none" role="img" aria-label="{label}">{"".join(drawn)}</svg>'
    )
    plot = f'<div class="plot"><div class="up">{up}</div>{svg}<div class="along">{along}</div></div>'
    return _figure(title, f'{_legend([s.label for s in series])}{plot}<p class="axis">{shown(x_title)}</p>')


def _between(first: float, last: float) -> list[float]:
    """Round numbers on a horizontal axis, its ends included only where they are round."""
    step = _axis(last - first)[1]
    return [step * i for i in range(math.ceil(first / step), math.floor(last / step) + 1)]


def _place(x: float, doubling: bool) -> float:
    return math.log2(max(x, 1e-9)) if doubling else x


def _axis(most: float) -> tuple[float, float]:
    """The end of an axis from zero, and its steps: three to six of 1, 2 or 5 times a power of ten."""
    if not most > 1e-300:  # nothing, or too little to be divided into steps
        return 1.0, 0.5
    rough = most / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * (1 - 1e-9))
    return step * math.ceil(most / step * (1 - 1e-9)), step


def _grid(top: float, step: float) -> list[float]:
    return [100 - 100 * tick * step / top for tick in range(round(top / step) + 1)]


def _number(value: float) -> str:
    return f"{value:.6g}" if value == round(value) else f"{value:.3g}"


def _share(value: float, top: float) -> str:
    return f"{100 * max(value, 0.0) / top:.2f}%"


def _row(label: str, text: str, parts: str) -> str:
    said = f"{shown(label)}: {shown(text)}"
    svg = f'<svg role="img" aria-label="{said}">{parts}</svg>'
    return f'<div class="bar"><span class="what">{shown(label)}</span>{svg}<span class="num">{shown(text)}</span></div>'


def _legend(names: Sequence[str]) -> str:
    items = "".join(f'<li><i class="k{i % COLORS}"></i>{shown(name)}</li>' for i, name in enumerate(names))
    return f'<ul class="legend">{items}</ul>'


def _figure(title: str, body: str) -> str:
    return f"<figure><figcaption>{shown(title)}</figcaption>{body}</figure>\n"
