"""Parts of the Results page: each draws one question's chart, or nothing where nobody measured it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any

import altair as alt
import charts
import data
import pandas as pd
import result_lines
import results_table
import streamlit as st
import widgets

_FEW = 5  # tests as buttons; more are a list to search in
_MOST_NOTES = 6  # the others are in the box below the table
_GIB = 2.0**-30
_SPEEDS = {"prefill_tps": "Prefill", "decode_tps": "Decode"}
_WHY = {"prefill_tps": "How fast a prompt is read", "decode_tps": "How fast an answer is written"}
_GAPS = {"itl_p50_s": "p50", "itl_p90_s": "p90", "itl_p99_s": "p99"}
_MEMORY = {"device_peak_bytes": "device", "host_needed_bytes": "needed", "predicted_peak_bytes": "peak, predicted",
           "host_peak_bytes": "peak"}  # fmt: skip
_LOADS = {"load_warm_s": "warm", "load_cold_s": "cold"}
_ENERGY = {
    "Decode energy": {"decode_net_j_per_token": "net", "decode_j_per_token": "gross"},
    "Prefill energy": {"prefill_net_j_per_token": "net", "prefill_j_per_token": "gross"},
}


def speeds(shown: pd.DataFrame) -> None:
    """Prefill and decode side by side, then the gaps between tokens."""
    for place, (metric, title) in zip(st.columns(2, gap="large"), _SPEEDS.items(), strict=True):
        with place:
            if test := _test(shown, metric, title, _WHY[metric]):
                lines = results_table.latest(shown, metric, test)
                _draw(charts.bars(lines, metric, widgets.theme()), len(lines))
    why = "Half of all gaps are shorter than p50, 99 of 100 shorter than p99"
    if test := _test(shown, "itl_p99_s", "Between tokens", why):
        _dots(results_table.latest(shown, "itl_p99_s", test), _GAPS, "Gap between tokens, ms", 1e3)


def batches(shown: pd.DataFrame) -> None:
    """Speed over the number of sequences, and where a larger batch stops to pay."""
    metrics = [metric for metric in ("decode_tps", "prefill_tps") if result_lines.shapes(shown, metric)]
    if not metrics:
        return
    st.subheader("Several sequences at once", anchor=False)
    st.caption("All sequences together. In a ring: the knee, after which no larger batch gives 10 % more")
    row = st.container(horizontal=True)
    metric = metrics[0]
    if len(metrics) > 1:
        metric = row.segmented_control(
            "Speed",
            metrics,
            default=metric,
            required=True,
            format_func=lambda name: _SPEEDS[name],
            label_visibility="collapsed",
        )
    with row:
        shape = _choice("Test for batches", result_lines.shapes(shown, metric), f"batches {metric}")
    found = result_lines.batches(shown, metric, shape)
    names = list(dict.fromkeys(found.sort_values(metric, ascending=False)["label"]))
    few = found[found["label"].isin(names[: len(charts.LINES)])]
    st.altair_chart(charts.batches(few, metric, widgets.theme()), width="stretch")
    _more(len(charts.LINES), len(names))
    _notes(few[few["knee"]], lambda line: filter(None, [line["knees"].get(metric)]))


def sustained(shown: pd.DataFrame) -> None:
    """Speed over time, newest run of each setup, and what is said of heat and changes."""
    test = _test(
        shown, "sustained_tps", "Speed over time", "Decode for minutes; a diamond where it changed to another level"
    )
    if test is None:
        return
    lines = results_table.latest(shown, "sustained_tps", test).sort_values(
        "sustained_tps", ascending=False, kind="stable"
    )
    few = lines.head(len(charts.LINES))
    found = [
        data.over_time(line["file"], line["setup"], line["test"], line["slice"]).assign(label=line["label"])
        for line in few.to_dict("records")
    ]
    points = pd.concat(found, ignore_index=True)
    st.altair_chart(charts.over_time(points, widgets.theme()), width="stretch")
    _more(len(few), len(lines))
    _notes(few)


def memory(shown: pd.DataFrame) -> None:
    """Most memory of a test, and what of it must be there; only of suites that ask."""
    watched = shown[shown["watched"]]
    why = (
        "The most that was resident, pages of the model's file included; needed leaves out what can be read again; "
        "device is the accelerator's own"
    )
    if test := _test(watched, "host_peak_bytes", "Memory", why):
        _dots(results_table.latest(watched, "host_peak_bytes", test), _MEMORY, "Memory, GiB", _GIB)


def load(shown: pd.DataFrame) -> None:
    known = [metric for metric in _LOADS if shown[metric].notna().any()]
    why = "From opening the model to its first token: file on the disk (cold), file in memory (warm)"
    if known and (test := _test(shown, known[-1], "Opening the model", why)):
        _dots(results_table.latest(shown, known[-1], test), _LOADS, "Time to the first token, s")


def energy(shown: pd.DataFrame) -> None:
    """Joules of a token, gross and net of rest; with what they were read from, as scopes do not compare."""
    titles = [title for title, (_, gross) in _ENERGY.items() if shown[gross].notna().any()]
    for place, title in zip(st.columns(max(len(titles), 1), gap="large"), titles, strict=False):
        marks = _ENERGY[title]
        gross = list(marks)[-1]
        with place:
            if test := _test(shown, gross, title, "Net leaves out what the machine takes at rest with the model open"):
                lines = results_table.latest(shown, gross, test)
                sources = list(dict.fromkeys(lines["energy"].dropna()))
                if len(sources) > 1:
                    lines["label"] += " · " + lines["energy"].fillna("source not known")
                _dots(lines, marks, "Joules per token")
                _notes(lines)


def _test(shown: pd.DataFrame, metric: str, title: str, why: str) -> str | None:
    """The heading of a chart and the test that it shows."""
    tests = results_table.tests(shown, metric)
    if not tests:
        return None
    st.subheader(title, anchor=False)
    st.caption(why)
    return _choice(f"Test for {title}", tests, f"test {metric}")


def _choice(label: str, names: Sequence[str], key: str) -> str:
    if len(names) <= _FEW:
        chosen = st.segmented_control(
            label, names, default=names[0], required=True, label_visibility="collapsed", key=key
        )
    else:
        chosen = st.selectbox(label, names, label_visibility="collapsed", key=f"{key} of many", width=344)
    return str(chosen)


def _dots(lines: pd.DataFrame, marks: Mapping[str, str], title: str, scale: float = 1.0) -> None:
    _draw(charts.dots(lines, marks, title, widgets.theme(), scale), len(lines))


def _draw(chart: alt.LayerChart, setups: int) -> None:
    st.altair_chart(chart, width="stretch")
    _more(charts.MOST, setups)


def _more(most: int, setups: int) -> None:
    if setups > most:
        st.caption(f"The {most} best of {setups} setups. Filter to see the others.")


def _notes(lines: pd.DataFrame, of: Callable[[Any], Iterable[str]] = itemgetter("notes")) -> None:
    """What was found in the samples of each line of a chart: all its notes, or those that ``of`` takes."""
    told = {
        line["label"]: [widgets.escape(note) for note in of(line)]
        for line in lines.head(_MOST_NOTES).to_dict("records")
    }
    st.markdown(
        "\n".join(
            f"- {widgets.escape(label)}  \n  :small[{' · '.join(notes)}]" for label, notes in told.items() if notes
        )
    )
