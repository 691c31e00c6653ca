"""Rows and their forms: llama-bench's keys, one row per test, and nothing that a stranger's file can break."""

from __future__ import annotations

import csv
import io
import json
import re
import sqlite3
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fakes import LATENCY, SETUP, failed, measured, records, run, workload
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from phibench.core.nouns import Artifact, Cause, Failed, Measured, Run, Sample, Setup, Spread, Window
from phibench.core.text import number, plain
from phibench.show import formats, tables
from phibench.show import results as show_results
from phibench.show.formats import flat
from phibench.show.rows import LLAMA_BENCH, OWN
from phibench.show.tables import Column, column

replace = msgspec.structs.replace
PP, TG = workload(512, 0), workload(0, 4)
HOSTILE = ["'; DROP TABLE phibench; --", '"quoted", and, commas', "=HYPERLINK(\"http://x\")", "+1", "-1", "@SUM(A1)",
           "\x1b[31mred\x1b[0m", "a|b\nc\r\nd\te", "[bold]markup[/bold]", "<script>alert(1)</script>", "\x00nul",
           "\u202egnp.exe", "![x](http://x)", "`code` \\ back", "　=wide", "日本語", ""]  # fmt: skip


def strange(text: str) -> Run:
    """A run in which every free text is ``text``."""
    setup = replace(SETUP, variant=text, options=((text, text),))
    good = measured(PP, (0.1, 0.2), setup=setup)
    good = replace(
        good,
        engine=replace(good.engine, version=text, placement=text, options={"type_k": text, "n_batch": text}),
        artifact=replace(good.artifact, path=text),
        notes=(text,),
    )
    whole = run(good, failed(TG, reason=text, setup=setup))
    cpu = replace(whole.machine.devices[0], name=text)
    return replace(
        whole, id=text, conditions={text: text}, warnings=(text,), machine=replace(whole.machine, devices=(cpu,))
    )


def row(*results: Any, **fields: Any) -> dict[str, Any]:
    (only,) = records(run(*results, **fields))
    return only


# ---------------------------------------------------------------------------------------------------- rows


def test_a_row_has_every_key_of_llama_bench_with_its_type() -> None:
    found = row(measured(PP, (0.1, 0.2)))
    assert set(LLAMA_BENCH) <= set(found)
    known = {key: found[key] for key in LLAMA_BENCH if found[key] is not None}
    assert known == {
        "cpu_info": "AMD EPYC 9B14",
        "model_filename": "phi.gguf",
        "model_type": "phi-4-mini-instruct Q4_K_M",
        "model_size": 2_485_601_728,
        "model_n_params": 3_836_021_856,
        "n_batch": 2048,
        "n_ubatch": 512,
        "n_threads": 2,
        "type_k": "f16",
        "n_gpu_layers": 0,
        "flash_attn": 1,
        "n_prompt": 512,
        "n_gen": 0,
        "n_depth": 0,
        "test_time": "2026-07-01T10:00:00Z",
        "avg_ns": 1_500_000_000,
        "stddev_ns": 707_106_781,
        "avg_ts": 384.0,
        "stddev_ts": pytest.approx(181.0193),
        "samples_ns": [1_000_000_000, 2_000_000_000],
        "samples_ts": [512.0, 256.0],
    }


def test_the_keys_of_a_row_come_always_in_one_order() -> None:
    metrics = ("ttft_s", "decode_tps")
    claimed = [f"{name}{end}" for name in metrics for end in ("", "_low", "_high", "_spread")]
    for result in (measured(PP), failed(PP)):
        assert list(row(result, metrics=metrics)) == [*OWN, *claimed, *LLAMA_BENCH]


def test_a_row_has_our_own_keys() -> None:
    setup = replace(SETUP, options=(("threads", "2"),))
    found = row(measured(PP, setup=setup, layers=8))
    wanted = {
        "setup": "phi-4-mini-instruct:Q4_K_M@llama_cpp/cpu?threads=2",
        "variant": "phi-4-mini-instruct",
        "quantization": "Q4_K_M",
        "backend": "llama_cpp",
        "device": "cpu",
        "options": {"threads": "2"},
        "test": "pp512",
        "batch": 1,
        "weights": "synthetic",
        "layers": 8,
        "status": "ok",
        "reason": None,
        "placement": "no layers on GPU",
        "engine_version": "0.3.36",
        "launches": 1,
        "conditions": {"before_load": "0.10"},
        "suite": "latency",
        "run": "2026-07-01T100000Z",
        "example": False,
    }
    assert {key: found[key] for key in wanted} == wanted
    assert re.fullmatch(r"amd-epyc-9b14-2cpu-24gib-[0-9a-f]{6}", found["machine"])


def test_no_row_knows_the_machines_name_or_a_folder() -> None:
    text = json.dumps(records(run(measured(PP), failed(TG))))
    assert "somebody" not in text


def test_the_deviation_is_the_true_one() -> None:
    """ggml-org/llama.cpp issue 24951: llama-bench prints 3,722,529,745 for these nanoseconds."""
    ns = [12140144300, 12308847400, 12225136900, 12154929400, 11909783400]
    samples = tuple(Sample(arrivals_s=(n / 1e9,)) for n in ns)
    found = row(replace(measured(PP), samples=samples))
    assert found["samples_ns"] == ns
    assert found["stddev_ns"] == 148_894_758


def test_only_claimed_metrics_appear_each_with_its_range() -> None:
    found = row(measured(TG, (0.1, 0.2, 0.4)), metrics=("decode_tps", "ttft_s"))
    assert (found["decode_tps"], found["decode_tps_low"], found["decode_tps_high"]) == pytest.approx((5, 2.5, 10))
    assert found["decode_tps_spread"] == "range"
    assert found["ttft_s"] is None
    assert "tpot_s" not in found


def test_a_suite_that_meters_quotes_no_timings() -> None:
    found = row(measured(PP), metrics=("host_needed_bytes",))
    assert found["host_needed_bytes"] is None
    assert found["avg_ts"] is found["samples_ns"] is found["avg_ns"] is None


def test_launches_of_one_test_are_one_row_with_an_interval() -> None:
    launches = [measured(PP, (0.1 + i / 100, 0.2), launch=i) for i in range(3)]
    found = row(*launches)
    assert (found["launches"], found["prefill_tps_spread"]) == (3, "interval")
    assert len(found["samples_ns"]) == 6
    assert found["prefill_tps_low"] <= found["prefill_tps"] <= found["prefill_tps_high"]


def test_a_launch_that_failed_is_said_beside_what_was_measured() -> None:
    found = row(measured(PP, launch=0), failed(PP, launch=1))
    assert (found["status"], found["launches"]) == ("ok", 1)
    assert found["reason"] == "1 of 2 launches failed: killed by SIGKILL"


def test_a_launch_that_failed_before_there_was_a_file_is_said_there_too() -> None:
    early = replace(failed(PP, "needs 9 GiB of memory", launch=0), artifact=None)
    for results in ((early, measured(PP, launch=1)), (measured(PP, launch=1), early)):
        found = row(*results)
        assert (found["status"], found["weights"]) == ("ok", "synthetic")
        assert found["reason"] == "1 of 2 launches failed: needs 9 GiB of memory"
    assert row(early)["status"] == "failed"
    whole_or_slice = records(run(early, measured(PP, launch=1), measured(PP, layers=8)))
    assert [r["reason"] for r in whole_or_slice] == ["needs 9 GiB of memory", None, None]


def test_setups_workloads_and_slices_are_rows_of_their_own() -> None:
    other = replace(SETUP, quantization="Q8_0")
    results = (measured(PP), measured(TG), measured(PP, setup=other), measured(PP, layers=8), failed(workload(8, 0)))
    found = records(run(*results), run(measured(PP)))
    assert [r["test"] for r in found] == ["pp512", "tg4", "pp512", "pp512", "pp8", "pp512"]
    assert [r["status"] for r in found] == ["ok"] * 4 + ["failed", "ok"]


def test_a_failed_row_has_its_reason_and_no_number() -> None:
    found = row(failed(PP, "needs 9.1 GB, this machine can give 7.9 GB"))
    assert found["reason"] == "needs 9.1 GB, this machine can give 7.9 GB"
    measures = [k for k in found if k.startswith((*LATENCY, "avg", "stddev", "samples"))]
    assert len(measures) == 34
    assert all(found[key] is None for key in measures)


@pytest.mark.parametrize(
    ("cause", "reason", "outcome", "why"),
    [
        ("unavailable", "unavailable: no meter", "unavailable", "no meter"),
        ("failed", "unavailable: an engine's own word", "failed", "unavailable: an engine's own word"),
        ("fallback", "fallback: on the CPU", "failed", "fallback: on the CPU"),
        ("failed", "", "failed", ""),
    ],
)
def test_what_cannot_be_measured_here_is_no_failure(cause: Cause, reason: str, outcome: str, why: str) -> None:
    told = why if cause == "unavailable" else ""
    (alone,) = show_results.rows([run(replace(failed(PP, reason, cause=cause), why=told))])
    assert (alone.outcome, alone.reason, alone.why) == (outcome, reason, why)
    (beside,) = show_results.rows([run(replace(failed(PP, reason, cause=cause), why=told), measured(PP, launch=1))])
    assert (beside.outcome, beside.why) == ("ok", f"1 of 2 launches failed: {reason}")


@pytest.mark.parametrize(
    ("text", "value"), [("on", 1), ("off", 0), ("auto", -1), ("0", 0), ("?", None), ("9" * 400, None)]
)
def test_an_engines_word_becomes_llama_benchs_number_or_unknown(text: str, value: int | None) -> None:
    good = measured(PP)
    found = row(replace(good, engine=replace(good.engine, options={"flash_attn": text, "repack": "1"})))
    assert found["flash_attn"] == value
    assert found["repack"] is True


def test_a_metric_of_another_version_is_left_out() -> None:
    assert "invented_tps" not in row(measured(PP), metrics=("invented_tps", "ttft_s"))


# ------------------------------------------------------------------------------------------- for programs


def test_json_is_an_array_and_jsonl_a_row_a_line() -> None:
    rows = show_results.rows([run(measured(PP), measured(TG))])
    known = [flat(row) for row in rows]
    assert json.loads(show_results.FORMATS["json"](rows)) == known
    assert [json.loads(line) for line in show_results.FORMATS["jsonl"](rows).splitlines()] == known
    assert json.loads(show_results.FORMATS["json"]([])) == []
    assert show_results.FORMATS["jsonl"]([]) == ""


@pytest.mark.parametrize("text", HOSTILE)
def test_json_keeps_any_text_exactly_and_prints_anywhere(text: str) -> None:
    rows = show_results.rows([strange(text)])
    for form in ("json", "jsonl"):
        assert show_results.FORMATS[form](rows).isascii()
    assert json.loads(show_results.FORMATS["json"](rows)) == json.loads(json.dumps([flat(row) for row in rows]))


def test_csv_is_one_table_for_suites_that_claim_different_metrics() -> None:
    rows = show_results.rows([run(measured(PP), metrics=("ttft_s",)), run(measured(TG), metrics=("tpot_s",))])
    first, second = csv.DictReader(io.StringIO(show_results.FORMATS["csv"](rows)))
    assert first.keys() == second.keys() == {key for row in rows for key in flat(row)}
    assert (first["ttft_s"], first["tpot_s"], first["n_depth"], first["example"]) == ("1.0", "", "0", "false")
    assert json.loads(second["samples_ns"]) == rows[1].llama_bench["samples_ns"]


@pytest.mark.parametrize("text", HOSTILE)
def test_no_csv_cell_is_a_formula_or_steers_a_terminal(text: str) -> None:
    rows = show_results.rows([strange(text)])
    shown = show_results.FORMATS["csv"](rows)
    assert shown.replace("\n", "").isprintable()
    for line in csv.DictReader(io.StringIO(shown)):
        texts = [cell for key, cell in line.items() if key != "n_batch"]  # "-1" is a number there
        assert not any(cell.startswith(("=", "+", "-", "@", "＝")) for cell in texts)


def test_numbers_stay_numbers_in_csv() -> None:
    assert formats.csv_text([{"a": -1, "b": -0.5, "c": "-1", "d": True, "e": None}]) == "a,b,c,d,e\n-1,-0.5,'-1,true,\n"


def loaded(*scripts: str) -> sqlite3.Connection:
    base = sqlite3.connect(":memory:")
    for script in scripts:
        base.executescript(script)
    return base


def test_sql_of_any_runs_loads_into_one_table() -> None:
    latency = show_results.FORMATS["sql"](show_results.rows([run(measured(PP), failed(TG))]))
    other = show_results.FORMATS["sql"](show_results.rows([run(measured(TG), metrics=("decode_tps",))]))
    base = loaded(latency, other)
    found = base.execute("SELECT test, status, n_threads, prefill_tps, samples_ns FROM phibench").fetchall()
    assert found == [
        ("pp512", "ok", 2, 512.0, "[1000000000]"),
        ("tg4", "failed", 2, None, None),
        ("tg4", "ok", 2, None, "[400000000]"),
    ]
    assert base.execute("SELECT typeof(n_threads), typeof(avg_ts), typeof(example) FROM phibench").fetchone() == (
        "integer",
        "real",
        "integer",
    )
    base.close()


@pytest.mark.parametrize("text", HOSTILE)
def test_sql_holds_any_text(text: str) -> None:
    base = loaded(show_results.FORMATS["sql"](show_results.rows([strange(text)])))
    found = base.execute("SELECT variant, placement, notes FROM phibench").fetchone()
    assert found == (plain(text), plain(text), json.dumps([text]))
    assert base.execute("SELECT count(*) FROM phibench").fetchone() == (2,)
    base.close()


@given(st.text(max_size=30), st.text(max_size=30))
@settings(max_examples=40, deadline=None)
def test_every_form_takes_any_text(text: str, other: str) -> None:
    rows = show_results.rows([strange(text), strange(other)])
    for name, form in show_results.FORMATS.items():
        shown = form(rows)
        assert shown.replace("\n", "").isprintable(), name
    loaded(show_results.FORMATS["sql"](rows)).close()


# ---------------------------------------------------------------------------------------------- for people


def table(*results: Any, width: int = 80, **fields: Any) -> list[str]:
    return show_results.table(show_results.rows([run(*results, **fields)]), width).splitlines()


def test_what_does_not_vary_is_said_once_above() -> None:
    lines = table(measured(PP, (0.1, 0.11)), measured(TG, (0.1, 0.11)))
    assert " ".join(lines[:2]).startswith(
        "phi-4-mini-instruct:Q4_K_M@llama_cpp/cpu, 2 threads, synthetic weights, engine"
    )
    header = next(i for i, line in enumerate(lines) if line.startswith("test"))
    assert "median [lowest..highest] of 2 repetitions" in lines[header - 1]
    assert lines[header].split("  ")[0] == "test"
    assert "quant" not in lines[header]
    assert lines[header + 2].split("  ")[0] == "pp512"


def test_a_median_stands_with_its_range_and_percentiles_in_ms() -> None:
    lines = table(measured(PP, (1.234, 1.25, 1.2)), measured(TG, (0.0812, 0.08, 0.083)), width=120)
    tg = next(line for line in lines if line.startswith("tg4"))
    assert re.split(r" {2,}", tg) == ["tg4", "12.3 [12.0..12.5]", "–", "81.2 [80.0..83.0]", "81.2/81.2/81.2"]
    pp = next(line for line in lines if line.startswith("pp512"))
    assert re.split(r" {2,}", pp) == ["pp512", "41.5 [41.0..42.7]", "12.3 [12.0..12.5]", "–", "–"]


def test_only_columns_that_vary_are_shown() -> None:
    lines = table(measured(PP), measured(PP, setup=replace(SETUP, quantization="Q8_0")), measured(PP, layers=8))
    header = next(line for line in lines if "test" in line)
    assert header.split()[:3] == ["quant", "layers", "test"]
    assert lines[0].startswith("phi-4-mini-instruct, llama_cpp/cpu, 2 threads")
    assert any(line.split()[:3] == ["Q4_K_M", "8", "pp512"] for line in lines)


def test_a_failure_says_why_and_is_no_zero() -> None:
    lines = table(measured(PP), failed(TG, "killed by SIGKILL: out of memory"))
    assert any(re.match(r"tg4 +failed +–$", line) for line in lines)
    assert lines[-1] == "tg4: killed by SIGKILL: out of memory"
    assert not any(re.search(r" 0(\.0+)?\b", line) for line in lines if line.startswith("tg4"))


def test_one_reason_is_said_once_for_all_its_tests() -> None:
    assert table(failed(PP, "no room"), failed(TG, "no room"))[-1] == "every test: no room"


def test_what_speaks_against_a_run_is_said_below() -> None:
    doubtful = replace(run(measured(PP), measured(TG)), warnings=("the system swapped",))
    quiet = run(measured(PP), started="2026-08-01")
    assert records(doubtful)[0]["warnings"] == ["the system swapped"]
    assert show_results.table(show_results.rows([doubtful])).splitlines()[-1] == "doubtful: the system swapped"
    both = show_results.table(show_results.rows([doubtful, quiet]), 120).splitlines()
    assert both[-1] == f"doubtful: run {doubtful.id}: the system swapped"
    assert "the system swapped" in show_results.FORMATS["md"](show_results.rows([doubtful]))


def test_a_pair_shows_prefill_and_decode_apart() -> None:
    work = workload(512, 8)
    header = next(line for line in table(measured(work), metrics=(*LATENCY, "answer_s")) if "test" in line)
    assert "Prefill tok/s" in header
    assert "Decode tok/s" in header
    assert "Answer s" in header


def test_an_interval_is_not_called_a_range() -> None:
    text = "\n".join(table(*(measured(PP, (0.1, 0.11), launch=i) for i in range(3))))
    assert "median [95 % interval] from 3 launches" in text
    assert "lowest" not in text


MANY = [
    measured(work, (0.1, 0.11), setup=Setup(variant=v, quantization=q, backend="llama_cpp", options=(("threads", t),)))
    for v in ("phi-4-mini-instruct", "phi-3.5-mini-instruct")
    for q in ("Q4_K_M", "IQ2_M")
    for t in ("1", "16")
    for work in (PP, workload(0, 4, depth=65536))
]


@pytest.mark.parametrize("width", [80, 100, 120, 200])
def test_a_table_never_exceeds_its_width_and_names_what_found_no_room(width: int) -> None:
    lines = table(*MANY, width=width)
    assert max(cell_len(line) for line in lines) <= width
    text = "\n".join(lines)
    assert ("no room for: " in text) == ("ITL ms" not in next(line for line in lines if "test" in line))


@pytest.mark.parametrize("width", [20, 40, 80])
def test_hostile_text_cannot_break_a_table(width: int) -> None:
    for text in HOSTILE:
        shown = show_results.table(show_results.rows([strange(text)]), width)
        assert shown.replace("\n", "").isprintable()
        assert max(cell_len(line) for line in shown.splitlines()) <= max(width, 20)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\tb \r\n c", "a b c"),
        ("\x1b[0m", "\ufffd[0m"),
        ("\ud800", "\ufffd"),
        ("\u202e", "\ufffd"),
        ("日本 é™", "日本 é™"),
    ],
)
def test_plain_text_is_one_line_that_any_terminal_can_show(text: str, shown: str) -> None:
    assert plain(text) == shown


def test_markup_in_a_file_is_shown_not_obeyed() -> None:
    assert "[bold]x[/bold]" in tables.draw([{"a": "[bold]x[/bold] :smile:"}], width=80)
    assert ":smile:" in tables.draw([{"a": ":smile:"}], width=80)


def test_colour_is_only_for_terminals_that_want_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "\x1b" not in tables.draw([{"a": 1}], width=80)
    assert "\x1b[1m" in tables.draw([{"a": 1}], width=80, color=True)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert tables.wants_color()
    monkeypatch.setenv("NO_COLOR", "1")
    assert not tables.wants_color()


def test_no_rows_are_said_in_words() -> None:
    assert show_results.table([], 80) == "nothing to show\n"


# ------------------------------------------------------------------------------------------------ Markdown


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def test_markdown_has_llama_benchs_columns() -> None:
    lines = show_results.FORMATS["md"](
        show_results.rows([run(measured(PP, (1.234, 1.25)), metrics=("prefill_tps",))])
    ).splitlines()
    assert cells(lines[0]) == ["model", "size", "params", "backend", "threads", "test", "t/s"]
    assert re.fullmatch(r"\| -+ \| -+: \| -+: \| -+ \| -+: \| -+ \| -+: \|", lines[1])
    assert cells(lines[2]) == ["phi-4-mini-instruct Q4_K_M", "2.31 GiB", "3.84 B", "llama_cpp/cpu", "2", "pp512",
                               "41.2 [41.0..41.5]"]  # fmt: skip
    assert "synthetic weights" in lines[4]


@pytest.mark.parametrize("text", HOSTILE)
def test_markdown_keeps_its_columns_and_makes_no_html_or_link(text: str) -> None:
    lines = show_results.FORMATS["md"](show_results.rows([strange(text)])).splitlines()
    body = [cells(line) for line in lines if line.startswith("|")]
    assert len({len(line) for line in body}) == 1
    assert len(body) == 4
    assert not any("<" in line or "](" in line for line in lines)


# -------------------------------------------------------------------------------------------- other tables


def test_any_rows_in_any_form() -> None:
    rows: list[dict[str, Any]] = [{"name": "a|b", "n": 3, "ok": True, "x": 0.12345}, {"name": "c", "more": ["p", "q"]}]
    header, _, first, _ = (cells(line) for line in tables.text(rows, "md").splitlines())
    assert header == ["name", "n", "ok", "x", "more"]
    assert first == [r"a\|b", "3", "yes", "0.123", "–"]
    assert json.loads(tables.text(rows, "json")) == rows
    assert len(tables.text(rows, "jsonl").splitlines()) == 2
    assert list(csv.reader(io.StringIO(tables.text(rows, "csv"))))[2] == ["c", "", "", "", '["p", "q"]']
    assert "p, q" in tables.text(rows, "table", 80, caption="Two rows")


def test_columns_choose_name_and_shorten() -> None:
    rows = [{"a": 1.0, "b": "long " * 8}]
    columns: tuple[Column[Any], ...] = (column("a", "A", lambda v: f"{v:.1f} s", right=True),
               Column(title="B", cell=lambda r: r["b"], short=lambda r: "short", rank=1),
               column("c", "Unknown", rank=2))  # fmt: skip
    assert "long long" in tables.draw(rows, columns, 80)
    narrow = tables.draw(rows, columns, 24)
    assert "short" in narrow
    assert "1.0 s" in narrow
    assert "no room for: Unknown, B" in " ".join(tables.draw(rows, columns, 5).split())


@pytest.mark.parametrize("width", [30, 80])
def test_words_stand_below_their_row_and_then_nothing_is_said_of_columns_without_room(width: int) -> None:
    rows = [{"#": "1", "name": "a long name that is folded where there is little room"}, {"#": "2", "name": "b"}]
    columns = (column("#", right=True), column("name"), column("more", rank=1))
    drawn = tables.draw(
        rows, columns, width, below=("first of all, with more words than a line has", ""), tell_dropped=False
    ).splitlines()
    flat = " ".join(" ".join(drawn[2:]).split())
    assert "no room" not in flat
    assert flat.index("little room") < flat.index("first of all") < flat.index("2 b")
    assert max(map(len, drawn)) <= width


@pytest.mark.parametrize(
    ("value", "text"),
    [(12.345, "12.3"), (0.08123, "0.0812"), (1234.5, "1234"), (0.0, "0"), (9.999, "10.0"), (1e-12, "0.000000001")],
)
def test_numbers_have_three_digits_and_no_exponent(value: float, text: str) -> None:
    shown = number(value)
    assert "e" not in shown
    if value >= 1e-9 or not value:
        assert float(shown) == pytest.approx(float(text), rel=0.01)


# ----------------------------------------------------------------------------------------------- documents


def test_the_page_about_results_names_every_field_and_key() -> None:
    page = (Path(__file__).parents[2] / "docs" / "results.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([a-z_]+)`", page))
    fields = {f.name for noun in (Run, Measured, Failed, Sample, Artifact) for f in msgspec.structs.fields(noun)}
    assert fields | set(OWN) <= named
    assert set(show_results.FORMATS) <= set(re.findall(r"\*\*([a-z]+)\*\*", page))


def test_a_note_names_its_tests_unless_it_is_of_all_of_them() -> None:
    works = [workload(64, 0, batch=b) for b in (1, 2, 3, 4, 5, 6)]
    notes = [("all",), ("all", "some"), ("all", "some"), ("all", "many"), ("all", "some", "many"), ("all", "some")]
    results = [msgspec.structs.replace(measured(work), notes=said) for work, said in zip(works, notes, strict=True)]
    lines = show_results.table(show_results.rows([run(*results)]), 120).splitlines()
    assert "every test: all" in lines
    assert "pp64 x2, pp64 x3, pp64 x5 and 1 more: some" in lines
    assert "pp64 x4, pp64 x5: many" in lines


def test_windows_are_counted_beside_their_repetitions() -> None:
    work = workload(0, 4)
    windows = tuple(Window(kind=kind, seconds=9.0, tests=2) for kind in ("idle", "work", "work", "idle"))
    result = msgspec.structs.replace(measured(work, (0.1, 0.2, 0.3, 0.4)), windows=windows)
    (row,) = show_results.rows([run(result)])
    assert row.windows == 2
    assert "[lowest..highest] of 4 repetitions in 2 windows" in show_results.table([row], 120)


def always(value: float) -> Spread:
    return Spread(median=value, low=value, high=value, kind="range", count=1)


def test_joules_of_prompts_and_of_answers_share_a_column() -> None:
    (prompt, answer) = show_results.rows([run(measured(workload(64, 0)), measured(workload(0, 4)))])
    rows = [
        replace(prompt, metrics={"prefill_j_per_token": always(0.25)}),
        replace(answer, metrics={"decode_j_per_token": always(4.5), "decode_tokens_per_j": always(0.22)}),
    ]
    text = show_results.table(rows, 100)
    assert "J/tok" in text
    assert [line for line in text.splitlines() if "pp64" in line and "0.250" in line]
    assert [line for line in text.splitlines() if "tg4" in line and "4.50" in line and "0.220" in line]


@pytest.mark.parametrize("fields", [{"short": True}, {"window_s": 9.0}, {"fresh": True}])
def test_no_winner_is_awaited_of_suites_that_take_no_turns(fields: dict[str, Any]) -> None:
    other = Setup(variant="phi-4-mini-instruct", quantization="int4", backend="onnxruntime")
    both = run(measured(workload(64, 0)), measured(workload(64, 0), setup=other))
    assert "no winner is named" in show_results.table(show_results.rows([both]), 100)
    apart = msgspec.structs.replace(both, suite=msgspec.structs.replace(both.suite, **fields))
    assert "no winner" not in show_results.table(show_results.rows([apart]), 100)


def test_versions_of_engines_are_said_once_where_each_backend_has_one() -> None:
    def of(backend: str, version: str) -> Measured:
        setup = Setup(variant="phi-4-mini-instruct", quantization="int4", backend=backend)
        result = measured(workload(64, 0), setup=setup)
        return msgspec.structs.replace(result, engine=msgspec.structs.replace(result.engine, version=version))

    text = show_results.table(show_results.rows([run(of("torch", "2.13"), of("onnxruntime", "0.18"))]), 120)
    assert "onnxruntime 0.18, torch 2.13" in text
    assert "engine" not in text
    two = [run(of("torch", version), started=day) for version, day in (("2.12", "2026-07-01"), ("2.13", "2026-07-02"))]
    assert "engine" in show_results.table(show_results.rows(two), 160)
