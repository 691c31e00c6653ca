"""The Results page: what was measured, how sure it is, what failed, and where it all came from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import altair as alt
import charts
import pandas as pd
import parts
import source
import streamlit as st
import table

from phibench.nouns import Run

_FILTERS = {
    "variant": "Variant",
    "quantization": "Quantization",
    "where": "Backend",
    "test": "Test",
    "machine": "Machine",
}
_SPEEDS = (
    ("prefill_tps", "Prefill", "how fast a prompt is read"),
    ("decode_tps", "Decode", "how fast an answer is written"),
)

_REASONS = 8  # the others are in the table
_COLUMNS: dict[str, Any] = {
    "variant": "Variant",
    "quantization": "Quant",
    "where": "Backend",
    "test": "Test",
    "prefill_tps": st.column_config.NumberColumn("Prefill, tok/s", format="%.4g", help="Median"),
    "decode_tps": st.column_config.NumberColumn("Decode, tok/s", format="%.4g", help="Median"),
    "spread": "Low–high",
    "ttft_s": st.column_config.NumberColumn("TTFT, s", format="%.4g"),
    "itl_p50_ms": st.column_config.NumberColumn("ITL p50, ms", format="%.4g"),
    "itl_p99_ms": st.column_config.NumberColumn("ITL p99, ms", format="%.4g"),
    "peak_gib": st.column_config.NumberColumn("Peak memory, GiB", format="%.3g"),
    "weights": "Weights",
    "slice": "Slice",
    "when": st.column_config.DatetimeColumn("Measured, UTC", format="YYYY-MM-DD HH:mm"),
    "reason": st.column_config.TextColumn("Failed because", width="medium"),
    "machine": "Machine",
}


def page() -> None:
    runs, skipped = source.runs()
    st.title("Results")
    parts.skipped(skipped)
    everything = source.results()
    if everything.empty:  # no run, or none that finished a test
        parts.nothing_yet(source.folder())
        return
    shown = _filtered(_without_example(everything))
    if shown.empty:
        st.info("Nothing was measured in this combination; remove a filter.")
        return
    _charts(shown)
    _winners(shown)
    _failures(shown)
    _tests(shown, runs)


def _without_example(everything: pd.DataFrame) -> pd.DataFrame:
    """Our own runs; the example that phibench ships stands in only while there are none."""
    example = everything["example"].astype(bool)
    if example.all():
        st.info("An example from another machine, shipped with phibench. Measure yours, then reload this page:")
        st.code("phibench quickstart", language=None)
        return everything
    return everything[~example]


def _filtered(everything: pd.DataFrame) -> pd.DataFrame:
    """A filter for each column that has a choice."""
    row = st.container(horizontal=True)
    wanted = {}
    for column, name in _FILTERS.items():
        choices = table.values(everything, column)
        if len(choices) > 1:
            wanted[column] = row.multiselect(
                name, choices, placeholder="All", width=344 if column == "variant" else 164
            )
    return table.choose(everything, **wanted)


def _charts(shown: pd.DataFrame) -> None:
    for place, (metric, title, why) in zip(st.columns(2, gap="large"), _SPEEDS, strict=True):
        with place:
            test = _test(shown, metric, title, why)
            if test:
                _chart(table.latest(shown, metric, test), charts.bars, metric)
    test = _test(
        shown, "itl_p99_s", "Between tokens", "half of all gaps are shorter than p50, 99 of 100 shorter than p99"
    )
    if test:
        _chart(table.latest(shown, "itl_p99_s", test), charts.gaps)


def _test(shown: pd.DataFrame, metric: str, title: str, why: str) -> str | None:
    """The heading of a chart and the test that it shows."""
    tests = table.tests(shown, metric)
    if not tests:
        return None
    st.subheader(title, anchor=False)
    st.caption(why[0].upper() + why[1:])
    return st.segmented_control(
        f"Test for {title}", tests, default=tests[0], required=True, label_visibility="collapsed", key=f"test {metric}"
    )


def _chart(lines: pd.DataFrame, draw: Callable[..., alt.LayerChart], *what: str) -> None:
    st.altair_chart(draw(lines, *what, parts.theme()), width="stretch")
    if len(lines) > charts.MOST:
        st.caption(f"The {charts.MOST} best of {len(lines)} setups. Filter to see the others.")


def _winners(shown: pd.DataFrame) -> None:
    """Who wins, in words, of the newest run in which several setups took turns."""
    told = shown[shown["contest"].str.len() > 0]
    newest = told[told["run"] == told["run"].iloc[0]] if len(told) else told
    if lines := dict.fromkeys(line for lines in newest["contest"] for line in lines):
        st.subheader("In turns", anchor=False)
        st.markdown("\n".join(f"- {parts.escape(line)}" for line in lines))


def _failures(shown: pd.DataFrame) -> None:
    failed = shown[shown["status"] == "failed"]
    if failed.empty:
        return
    st.subheader(f"{len(failed)} tests failed" if len(failed) > 1 else "One test failed", anchor=False)
    same = failed.groupby("reason", sort=False, dropna=False)
    for reason, lines in list(same)[:_REASONS]:
        names = [f"{line['setup']} {line['test']}" for line in lines.to_dict("records")]
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        st.markdown(f"- {parts.escape(str(reason))}  \n  :small[{parts.escape(', '.join(names[:3]) + more)}]")


def _tests(shown: pd.DataFrame, runs: Sequence[Run]) -> None:
    st.subheader("Every test, newest first", anchor=False)
    lines = table.shown(shown)
    order = [name for name in _COLUMNS if lines[name].notna().any()]
    if lines["machine"].nunique() == 1:
        order.remove("machine")
    event = st.dataframe(
        lines, column_config=_COLUMNS, column_order=order, hide_index=True, placeholder="–",
        on_select="rerun", selection_mode="single-row",
    )  # fmt: skip
    rows = event["selection"]["rows"]
    _provenance(lines.iloc[rows[0] if rows else 0], runs)


def _provenance(line: pd.Series, runs: Sequence[Run]) -> None:
    """Where one line came from; of the newest while none is selected."""
    run = next(r for r in runs if r.id == line["run"] and r.machine.slug == line["machine"])
    with st.container(border=True):
        st.markdown(f"### {parts.escape(line['setup'])}, {parts.escape(line['test'])}")
        st.caption("Where this number comes from. Select another row above for its own.")
        left, right = st.columns(2, gap="large")
        with left:
            parts.facts(table.provenance(line))
        with right:
            software = ", ".join(f"{name} {version}" for name, version in run.software.items())
            parts.facts({"Software": software, **run.conditions})


page()
