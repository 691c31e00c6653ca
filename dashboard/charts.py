"""DataFrame -> Altair chart. No Streamlit here.

Marks are mid-tones that read on white and on black; text takes the ink of the theme that the page names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import pandas as pd
from advice_table import FITS
from compare_table import VERDICTS
from results_table import SPREADS

from phibench.core.metrics import METRICS
from phibench.core.text import number

MOST = 15  # setups in one chart; more are not read
BLUE, AMBER, GREY = "#3b82c4", "#d08700", "#8a8f98"  # told apart by colour-blind eyes too
TEAL = "#2a9d8f"
LINES = (BLUE, AMBER, TEAL, "#c2589e", "#8a8f98", "#7a5cd0")  # as many lines as one chart can tell apart
INK = {"light": "#31333f", "dark": "#e6e8ec"}
_ROW, _AXIS = 40, 78  # pixels: a line of text above a bar; the axis below all bars
_LEGEND_HEIGHT = 40
_TRADE = 420
_LINES, _LEGEND_LINE = 320, 28
_SHAPES = ["circle", "diamond", "triangle-right", "square"]
_SPEED_AXIS = alt.Axis(tickCount=6, orient="right")  # so that the legend above has the whole width
_POINTS = 200  # best first
_GAP = "\N{EM SPACE}"
_NUMBER = ".3~s"
_LEGEND = alt.Legend(orient="top", title=None, symbolOpacity=1)


def bars(table: pd.DataFrame, metric: str, theme: str) -> alt.LayerChart:
    """A bar per setup (column ``label``) up to the median, its range or interval as a line; the best on top."""
    data = _best(table, metric)
    names = data["label"] + _GAP + data[metric].map(number)
    data = data.assign(row=names, low=data[f"{metric}_low"], high=data[f"{metric}_high"])
    unit = METRICS[metric].unit
    tips = [
        alt.Tooltip("setup:N", title="Setup"),
        alt.Tooltip(f"{metric}:Q", title=f"Median, {unit}", format=_NUMBER),
        alt.Tooltip("low:Q", title="Low", format=_NUMBER),
        alt.Tooltip("high:Q", title="High", format=_NUMBER),
        alt.Tooltip("spread:N", title="Low to high is a"),
        alt.Tooltip("day:N", title="Measured"),
    ]
    data = data.assign(spread=data[f"{metric}_spread"].map(SPREADS))
    base = alt.Chart(data[[metric, "row", "low", "high", "setup", "spread", "day"]]).encode(
        y=_rows(data["row"], theme), tooltip=tips
    )
    x = _x(metric, f"{METRICS[metric].title}, {unit}")
    bar = base.mark_bar(size=9, color=BLUE, opacity=0.5, cornerRadiusEnd=2).encode(x=x)
    line = base.mark_rule(strokeWidth=2, color=BLUE).encode(x="low:Q", x2="high:Q")
    ends = [base.mark_tick(size=9, thickness=2, color=BLUE).encode(x=f"{end}:Q") for end in ("low", "high")]
    return _sized(alt.layer(bar, line, *ends), _height(len(data)))


def dots(
    table: pd.DataFrame, marks: Mapping[str, str], title: str, theme: str, scale: float = 1.0
) -> alt.LayerChart:  # fmt: skip
    """A point per setup and mark (metric -> its name), on a line from lowest to highest; the lowest last mark on top.

    ``scale`` makes the unit that ``title`` says of SI units. A mark that nobody knows is left out.
    """
    marks = {metric: name for metric, name in marks.items() if table[metric].notna().any()}
    data = table.assign(**{metric: table[metric] * scale for metric in marks})
    data = data.sort_values(list(marks)[-1], kind="stable").head(MOST)
    data = data.assign(low=data[list(marks)].min(axis=1), high=data[list(marks)].max(axis=1))
    data = data.assign(
        row=data["label"] + _GAP + [_span(*ends) for ends in zip(data["low"], data["high"], strict=True)]
    )
    tips = [alt.Tooltip("setup:N", title="Setup")]
    tips += [alt.Tooltip(f"{metric}:Q", title=name, format=_NUMBER) for metric, name in marks.items()]
    base = alt.Chart(data[[*marks, "row", "setup", "low", "high"]]).encode(y=_rows(data["row"], theme), tooltip=tips)
    line = base.mark_rule(strokeWidth=2, color=BLUE, opacity=0.5).encode(x=_x("low", title), x2="high:Q")
    names = list(marks.values())
    points = [
        base.transform_filter(f"isValid(datum.{metric})")
        .transform_calculate(mark=f"'{name}'")
        .mark_point(size=70, color=BLUE, opacity=1)
        .encode(x=f"{metric}:Q", shape=_shape("mark", names, _SHAPES[: len(names)]))
        for metric, name in marks.items()
    ]
    return _sized(alt.layer(line, *points), _height(len(data)) + _LEGEND_HEIGHT)


def _span(low: float, high: float) -> str:
    ends = dict.fromkeys((number(low), number(high)))
    return " to ".join(ends)


def batches(table: pd.DataFrame, metric: str, theme: str) -> alt.LayerChart:
    """Speed in all over the number of sequences, a line per setup; a ring where a larger batch brings little."""
    names = list(dict.fromkeys(table["label"]))
    title = f"{METRICS[metric].title} in all, {METRICS[metric].unit}"
    tips = [
        alt.Tooltip("label:N", title="Setup"),
        alt.Tooltip("batch:O", title="Sequences"),
        alt.Tooltip(f"{metric}:Q", title=title, format=_NUMBER),
        alt.Tooltip("each:Q", title="For each, tok/s", format=_NUMBER),
        alt.Tooltip("day:N", title="Measured"),
    ]
    data = table.assign(each=table[metric] / table["batch"], day=_days(table))
    values = sorted(data["batch"].unique().tolist())
    base = alt.Chart(data[["label", "batch", metric, "each", "day", "knee"]]).encode(
        x=alt.X(
            "batch:Q", title="Sequences at once", scale=alt.Scale(type="log", base=2, nice=False, padding=12),
            axis=alt.Axis(values=values, format="d", grid=False),
        ),
        y=alt.Y(f"{metric}:Q", title=title, scale=alt.Scale(zero=True), axis=_SPEED_AXIS),
        color=_colours(names, theme),
        tooltip=tips,
    )  # fmt: skip
    line = base.mark_line(strokeWidth=2)
    point = base.mark_point(size=50, filled=True, opacity=1)
    ring = base.transform_filter("datum.knee").mark_point(size=260, strokeWidth=2, filled=False, opacity=1)
    return _sized(alt.layer(line, point, ring), _LINES + _LEGEND_LINE * len(names))


def over_time(table: pd.DataFrame, theme: str) -> alt.LayerChart:
    """Decode speed over the seconds of a window, a line per setup; a diamond where it changed to another level."""
    names = list(dict.fromkeys(table["label"]))
    tips = [
        alt.Tooltip("label:N", title="Setup"),
        alt.Tooltip("at_s:Q", title="After, s", format=_NUMBER),
        alt.Tooltip("tps:Q", title="Decode, tok/s", format=_NUMBER),
    ]
    base = alt.Chart(table[["label", "window", "at_s", "tps", "change"]]).encode(
        x=alt.X("at_s:Q", title="Time, s", axis=alt.Axis(tickCount=6, grid=False), scale=alt.Scale(zero=True)),
        y=alt.Y("tps:Q", title="Decode, tok/s", scale=alt.Scale(zero=True), axis=_SPEED_AXIS),
        color=_colours(names, theme),
        tooltip=tips,
    )
    line = base.mark_line(strokeWidth=1.5).encode(detail="window:N")
    change = base.transform_filter("datum.change").mark_point(size=120, shape="diamond", filled=True, opacity=1)
    return _sized(alt.layer(line, change), _LINES + _LEGEND_LINE * len(names))


def changes(table: pd.DataFrame, theme: str) -> alt.LayerChart:
    """Change of each figure (column ``label``) in percent with its interval; colour is the verdict."""
    data = table.head(MOST)
    data = data.assign(row=data["label"] + _GAP + data["says"])
    scale = alt.Scale(domain=list(VERDICTS.values())[:3], range=[BLUE, AMBER, GREY])
    base = alt.Chart(data[["row", "change", "low", "high", "verdict", "says", "pairs"]]).encode(
        y=_rows(data["row"], theme),
        color=alt.Color("verdict:N", scale=scale, legend=_LEGEND),
        tooltip=[alt.Tooltip(f"{field}:N", title=field.capitalize()) for field in ("says", "pairs")],
    )
    line = base.mark_rule(strokeWidth=2).encode(x=_x("low", "Change from A to B, %"), x2="high:Q")
    point = base.mark_point(size=70, filled=True, opacity=1).encode(x="change:Q")
    return _sized(alt.layer(line, point), _height(len(data)) + _LEGEND_HEIGHT)


def _colours(names: Sequence[str], theme: str) -> alt.Color:
    """A colour per line; names stand one below the other, because setups have long names, and phones are narrow."""
    legend = alt.Legend(orient="top", title=None, columns=1, symbolSize=80, labelLimit=1000,
                        labelFontSize=13, labelColor=INK[theme])  # fmt: skip
    return alt.Color("label:N", scale=alt.Scale(domain=names, range=LINES[: len(names)]), legend=legend, sort=None)


def trade(table: pd.DataFrame, against: str, theme: str) -> alt.LayerChart:
    """Decode speed and its interval against ``quality`` or ``memory``: colour is the verdict, a ring is reckoned."""
    data = table.head(_POINTS).assign(name=lambda lines: _names(lines, against))
    title = {"quality": f"Quality, {data['benchmark'].iloc[0]} points", "memory": "Memory needed, GiB"}[against]
    texts = {
        "setup": "Setup",
        "fits": "Fits",
        "decode_text": "Decode, tok/s",
        "memory_text": "Memory",
        "quality_text": "Quality",
    }
    scale = alt.Scale(domain=list(FITS.values()), range=[TEAL, BLUE, AMBER, GREY])
    base = alt.Chart(data[["decode", "low", "high", "basis", "name", against, *texts]]).encode(
        x=_x("decode", "Decode, tok/s"),
        y=alt.Y(f"{against}:Q", title=title, scale=alt.Scale(zero=against == "memory", padding=20)),
        color=alt.Color("fits:N", scale=scale, legend=_LEGEND),
        tooltip=[alt.Tooltip(f"{field}:N", title=name) for field, name in texts.items()],
    )
    line = base.mark_rule(strokeWidth=2, opacity=0.4).encode(x="low:Q", x2="high:Q")
    measured, reckoned = "datum.basis == 'measured'", "datum.basis != 'measured'"
    full = base.transform_filter(measured).mark_point(size=90, shape="diamond", filled=True, opacity=1)
    ring = base.transform_filter(reckoned).mark_point(size=70, strokeWidth=2, filled=False, opacity=1)
    middle = data["high"].max() / 2  # a name starts or ends at its point, so that it stays inside the plot
    text = base.encode(text="name:N", color=alt.value(INK[theme]))
    left = text.transform_filter(f"datum.decode < {middle}").mark_text(align="left", dx=6, dy=-10, fontSize=12)
    right = text.transform_filter(f"datum.decode >= {middle}").mark_text(align="right", dx=6, dy=-10, fontSize=12)
    return _sized(alt.layer(line, ring, full, left, right), _TRADE)


def _names(data: pd.DataFrame, against: str) -> list[str]:
    """A name beside a point only where it runs into no better one's: 30 % of the width, 5 % of the height."""
    right, height = data["decode"].max(), data[against].max() - data[against].min()
    named: list[tuple[float, float]] = []
    names = []
    for x, y, name in zip(data["decode"], data[against], data["variant"], strict=True):
        is_free = all(abs(x - a) > 0.3 * right or abs(y - b) > 0.05 * height for a, b in named)
        names.append(name if is_free else "")
        named += [(x, y)] if is_free else []
    return names


def _best(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    best = table.sort_values(metric, ascending=METRICS[metric].better == "lower").head(MOST)
    return best.assign(day=_days(best))


def _days(table: pd.DataFrame) -> list[str]:
    return list(table["when"].dt.strftime("%Y-%m-%d %H:%M UTC"))


def _x(column: str, title: str) -> alt.X:
    return alt.X(f"{column}:Q", title=title, axis=alt.Axis(tickCount=6), scale=alt.Scale(zero=True, nice=True))


def _shape(column: str, names: list[str], shapes: list[str]) -> alt.Shape:
    return alt.Shape(f"{column}:N", scale=alt.Scale(domain=names, range=shapes), legend=_LEGEND)


def _rows(order: pd.Series, theme: str) -> alt.Y:
    """Labels inside the plot, above their bars: setups have long names, and phones are narrow."""
    axis = alt.Axis(
        title=None, domain=False, ticks=False, grid=False, labelAlign="left", labelPadding=-2, labelOffset=-9,
        labelBaseline="bottom", labelLimit=1000, labelFontSize=13, labelColor=INK[theme],
    )  # fmt: skip
    return alt.Y("row:N", sort=list(order), axis=axis, scale=alt.Scale(paddingInner=0.2, paddingOuter=0.3))


def _sized(chart: Any, height: int) -> alt.LayerChart:
    sized: alt.LayerChart = chart.properties(height=height).configure_view(strokeWidth=0)
    return sized


def _height(setups: int) -> int:
    return setups * _ROW + _AXIS
