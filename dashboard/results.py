"""The Results page: what was measured, how sure it is, what failed, and where it all came from."""

from __future__ import annotations

from typing import Any

import data
import pandas as pd
import result_sections
import results_table
import streamlit as st
import widgets

_FILTERS = {
    "variant": "Variant",
    "quantization": "Quantization",
    "where": "Backend",
    "test": "Test",
    "suite": "Suite",
    "kind": "Kind",
    "machine": "Machine",
}
_SECTIONS = (
    result_sections.speeds, result_sections.batches, result_sections.sustained, result_sections.memory,
    result_sections.load, result_sections.energy,
)  # fmt: skip
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
    "sustained_tps": st.column_config.NumberColumn("Sustained, tok/s", format="%.4g"),
    "host_needed_gib": st.column_config.NumberColumn("Needed memory, GiB", format="%.3g"),
    "host_peak_gib": st.column_config.NumberColumn("Peak memory, GiB", format="%.3g"),
    "device_peak_gib": st.column_config.NumberColumn("Device memory, GiB", format="%.3g"),
    "max_context_tokens": st.column_config.NumberColumn("Largest context, tokens", format="%d"),
    "load_cold_s": st.column_config.NumberColumn("Load cold, s", format="%.3g"),
    "load_warm_s": st.column_config.NumberColumn("Load warm, s", format="%.3g"),
    "prefill_j_per_token": st.column_config.NumberColumn("Prefill, J/tok", format="%.3g"),
    "decode_j_per_token": st.column_config.NumberColumn("Decode, J/tok", format="%.3g"),
    "decode_net_j_per_token": st.column_config.NumberColumn("Decode net, J/tok", format="%.3g"),
    "weights": "Weights",
    "slice": "Slice",
    "when": st.column_config.DatetimeColumn("Measured, UTC", format="YYYY-MM-DD HH:mm"),
    "reason": st.column_config.TextColumn("Why there is no figure", width="medium"),
    "doubts": st.column_config.TextColumn("Doubtful because", width="medium"),
    "suite": "Suite",
    "kind": "Kind",
    "machine": "Machine",
}


def page() -> None:
    st.title("Results")
    widgets.skipped(data.runs()[1])
    everything = data.results()
    if everything.empty:  # no run, or none that finished a test
        widgets.nothing_yet(data.folder())
        return
    shown = _filtered(_without_example(everything))
    if shown.empty:
        st.info("Nothing was measured in this combination; remove a filter.")
        return
    for section in _SECTIONS:
        section(shown)
    _winners(shown)
    _failures(shown)
    _unavailable(shown)
    _tests(shown)


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
        choices = results_table.values(everything, column)
        if len(choices) > 1:
            wanted[column] = row.multiselect(
                name, choices, placeholder="All", width=344 if column == "variant" else 164
            )
    return results_table.choose(everything, **wanted)


def _winners(shown: pd.DataFrame) -> None:
    """Who wins, in words, of the newest run in which several setups took turns."""
    told = shown[shown["contest"].str.len() > 0]
    newest = told[told["run"] == told["run"].iloc[0]] if len(told) else told
    if lines := dict.fromkeys(line for lines in newest["contest"] for line in lines):
        st.subheader("In turns", anchor=False)
        st.markdown("\n".join(f"- {widgets.escape(line)}" for line in lines))


def _failures(shown: pd.DataFrame) -> None:
    failed = shown[shown["status"] == "failed"]
    if not failed.empty:
        st.subheader(f"{len(failed)} tests failed" if len(failed) > 1 else "One test failed", anchor=False)
        _reasons(failed)


def _unavailable(shown: pd.DataFrame) -> None:
    """No failures: what this machine cannot measure, and what would change that."""
    missing = shown[shown["status"] == "unavailable"]
    if not missing.empty:
        st.subheader("Not measurable here", anchor=False)
        _reasons(missing)


def _reasons(lines: pd.DataFrame) -> None:
    """Each reason once, with the tests that it is of."""
    same = lines.groupby("why", sort=False, dropna=False)
    for why, tests in list(same)[:_REASONS]:
        names = list(dict.fromkeys(f"{line['setup']} {line['test']}" for line in tests.to_dict("records")))
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        st.markdown(f"- {widgets.escape(str(why))}  \n  :small[{widgets.escape(', '.join(names[:3]) + more)}]")


def _tests(lines: pd.DataFrame) -> None:
    st.subheader("Every test, newest first", anchor=False)
    order = [name for name in _COLUMNS if lines[name].notna().any()]
    order = [name for name in order if name not in ("suite", "machine") or lines[name].nunique() > 1]
    order = [name for name in order if name != "kind" or (lines["kind"] != results_table.FULL).any()]
    event = st.dataframe(
        lines[order], column_config=_COLUMNS, hide_index=True, placeholder="–",
        on_select="rerun", selection_mode="single-row",
    )  # fmt: skip
    rows = event["selection"]["rows"]
    _provenance(lines.iloc[rows[0] if rows else 0])


def _provenance(line: pd.Series) -> None:
    """Where one line came from; of the newest while none is selected."""
    run = data.run_of(line["file"])
    with st.container(border=True):
        st.markdown(f"### {widgets.escape(line['setup'])}, {widgets.escape(line['test'])}")
        st.caption("Where this number comes from. Select another row above for its own.")
        left, right = st.columns(2, gap="large")
        with left:
            widgets.facts(results_table.provenance(line))
        with right:
            software = ", ".join(f"{name} {version}" for name, version in run.software.items())
            widgets.facts({"Software": software, **run.conditions})


page()
