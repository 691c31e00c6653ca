"""The Advice page: which Phi fits this machine for a goal, how we know, and what would settle the rest."""

from __future__ import annotations

from collections import Counter
from typing import Any

import charts
import pandas as pd
import parts
import source
import streamlit as st
import verdicts

from phibench import catalog
from phibench.advise import ranking, rules
from phibench.core import units
from phibench.core.errors import PhibenchError
from phibench.core.nouns import Goal, Machine, Verdict

_CONTEXTS = tuple(1024 * k for k in (2, 4, 8, 16, 32, 64, 128))
_LIMITS = {"decode_tps": "Decode at least, tok/s", "ttft_s": "First token within, s"}
_HEADLINES = ("decode_tps", "ttft_s", "host_needed_bytes")
_VARIANTS, _ALL = "Best of each variant", "All quantizations"


def page() -> None:
    st.title("Which Phi fits?")
    runs, skipped = source.runs()
    machine = source.machine()
    _machine(machine, sum(r.machine.identity == machine.identity and not r.example for r in runs))
    parts.skipped(skipped)
    goal, context, min_tps, max_ttft = _question()
    try:
        found = source.advice(goal, context, min_tps, max_ttft)
    except PhibenchError as error:
        st.error(parts.escape(str(error)))
        return
    _best(found[0])
    _all(found)


def _machine(machine: Machine, measured: int) -> None:
    cpu = machine.device("cpu")
    limits = machine.limits
    words = [
        cpu.name if cpu else machine.arch,
        f"{limits.cpus:g} of {machine.logical_cores} CPUs usable",
        f"{units.gib(limits.memory_bytes)} memory, {units.gib(limits.free_bytes)} free",
        *(f"{d.name} ({d.kind})" for d in machine.devices if d.kind != "cpu"),
    ]
    words += [f"{measured} run{'s' if measured > 1 else ''} here"] if measured else []
    st.caption(parts.escape(" · ".join(["This machine", *words])))
    if not measured:
        st.markdown("Nothing was measured here yet, so all speeds are estimates. This takes about three minutes:")
        st.code("phibench quickstart", language=None)


def _question() -> tuple[Goal, int, float | None, float | None]:
    """What the user wants: goal, context, least decode speed, longest wait. Limits start at the goal's own."""
    goals = {goal.id: goal for goal in catalog.goals()}
    row = st.container(horizontal=True)
    chosen = row.selectbox("Goal", goals, list(goals).index("chat"), lambda name: goals[name].title, width=400)
    goal = goals[chosen]
    contexts = sorted({*_CONTEXTS, goal.context})
    context = row.selectbox(
        "Context, tokens", contexts, contexts.index(goal.context), units.context, key=f"context {chosen}", width=160
    )
    limits = [
        row.number_input(
            label, 0.1, value=goal.limits.get(metric), step=1.0, format="%g", placeholder="no limit",
            key=f"{metric} {chosen}", width=160,
        )
        for metric, label in _LIMITS.items()
    ]  # fmt: skip
    return goal, context, limits[0], limits[1]


def _best(verdict: Verdict) -> None:
    lead = {"yes": "Take", "unknown": "Perhaps", "no": "Nothing fits; nearest is"}[verdict.verdict]
    with st.container(border=True):
        st.markdown(f"### {lead} {_name(verdict)}")
        _headlines(verdict)
        _reasons(verdict)


def _name(verdict: Verdict) -> str:
    setup = verdict.setup
    return parts.escape(f"{catalog.variant(setup.variant).title} {setup.quantization}")


def _headlines(verdict: Verdict) -> None:
    row = st.container(horizontal=True, gap="medium")
    for metric in _HEADLINES:
        if estimate := verdict.estimates.get(metric):
            row.metric(
                verdicts.title(metric), verdicts.headline(metric, estimate), verdicts.BASIS[estimate.basis],
                delta_color=parts.COLOURS[estimate.basis], delta_arrow="off", width="content",
            )  # fmt: skip


def _reasons(verdict: Verdict) -> None:
    for title, reasons in (("Why not", verdict.objections), ("Not known", tuple(map(str, verdict.unknowns)))):
        if reasons:
            st.markdown(f"**{title}**\n" + "\n".join(f"- {parts.escape(reason)}" for reason in reasons))


def _all(found: tuple[Verdict, ...]) -> None:
    st.subheader("All candidates, best first", anchor=False)
    row = st.container(horizontal=True)
    scope = row.segmented_control(
        "Candidates", (_VARIANTS, _ALL), default=_VARIANTS, required=True, label_visibility="collapsed"
    )
    candidates = found if scope == _ALL else ranking.shown(found, len(found))
    counts = Counter(verdicts.FITS[v.verdict] for v in candidates)
    wanted = row.segmented_control(
        "Fits", [name for name in verdicts.FITS.values() if counts[name]], selection_mode="multi",
        format_func=lambda name: f"{name} {counts[name]}", key=f"fits {scope}", label_visibility="collapsed",
    )  # fmt: skip
    shown = [v for v in candidates if not wanted or verdicts.FITS[v.verdict] in wanted]
    lines = verdicts.frame(shown)
    picked = _table(lines)
    st.caption(parts.LEGEND if picked is not None else f"Select a row for all its numbers and reasons. {parts.LEGEND}")
    if picked is not None:
        _details(shown[picked])
    _chart(lines)


def _table(lines: pd.DataFrame) -> int | None:
    """The candidates; the number of the selected line, or None."""
    fits = st.column_config.MultiselectColumn(
        "Fits", options=list(verdicts.FITS.values()), color=["blue", "orange", "gray"], width=90
    )
    columns: dict[str, Any] = {
        "fits": fits, "variant": "Variant", "quantization": "Quant", "where": "Backend",
        "decode_text": "Decode, tok/s", "ttft_text": "First token", "memory_text": "Memory",
        "quality_text": "Quality, published", "why": st.column_config.TextColumn("Why not", width="large"),
    }  # fmt: skip
    order = [name for name in columns if name != "where" or lines["where"].nunique() > 1]
    event = st.dataframe(
        lines, column_config=columns, column_order=order, hide_index=True, placeholder="–",
        on_select="rerun", selection_mode="single-row",
    )  # fmt: skip
    rows = event["selection"]["rows"]
    return rows[0] if rows else None


def _details(verdict: Verdict) -> None:
    with st.container(border=True):
        st.markdown(f"### {_name(verdict)}")
        _reasons(verdict)
        for metric, estimate in verdict.estimates.items():
            value = parts.escape(verdicts.amount(metric, estimate) + verdicts.unit(metric))
            st.markdown(
                f"**{verdicts.title(metric)}** {value} "
                f":{parts.COLOURS[estimate.basis]}-badge[{verdicts.BASIS[estimate.basis]}]  \n"
                f":small[{parts.escape(estimate.because)}]"
            )
        st.markdown("To measure it here:")
        st.code(rules.command(verdict.setup), language=None, wrap_lines=True)


def _chart(lines: pd.DataFrame) -> None:
    kinds = [kind for kind in ("quality", "memory") if not verdicts.plotted(lines, kind).empty]
    if not kinds:
        return
    st.subheader("Speed against quality or memory", anchor=False)
    kind = st.segmented_control(
        "Against", kinds, format_func=str.capitalize, default=kinds[0], required=True, label_visibility="collapsed"
    )
    points = verdicts.plotted(lines, kind)
    st.altair_chart(charts.trade(points, kind, parts.theme()), width="stretch")
    st.caption("A full diamond is measured, a ring is reckoned; lines are 80 % intervals. Colour says whether it fits.")
    if len(points) < len(lines):
        what = f"no {points['benchmark'].iloc[0]} score" if kind == "quality" else "no known memory need"
        st.caption(
            f"{len(lines) - len(points)} of {len(lines)} are not in the chart: {parts.escape(what)} or no known speed."
        )


page()
