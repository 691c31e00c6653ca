"""The dashboard: data to tables, tables to charts, the pages, and the real app in a real browser."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from phibench.cli import dashboard
from phibench.core import files, folders, run_files, stats
from phibench.core.errors import PhibenchError
from phibench.core.nouns import (
    Artifact,
    Basis,
    Engine,
    Estimate,
    Failed,
    Limits,
    Machine,
    Measured,
    Result,
    Run,
    Sample,
    Setup,
    Suite,
    Verdict,
    Workload,
)
from phibench.core.nouns import Device as Processor
from phibench.core.text import plain
from phibench.machine import inventory

pytest.importorskip("streamlit", reason="needs pip install 'phibench[dashboard]'")

sys.path.insert(0, str(folders.data_dir("dashboard")))  # as Streamlit does for its script

import advice_table
import charts
import results_table
import widgets
from browsed import opened, words

HOSTILE = "**bold** <b>b</b> :smile: www.evil.example [link](http://evil.example) $x^2$ :red[r] `c` ![i](http://evil.example/i.png)"
MACHINE = Machine(
    name="test", os="linux", arch="x86_64", physical_cores=2, logical_cores=2, memory_bytes=8 << 30,
    devices=(Processor(kind="cpu", name="Test CPU"),),
    limits=Limits(cpus=2, threads=2, memory_bytes=8 << 30, free_bytes=4 << 30),
)  # fmt: skip
SUITE = Suite(
    name="latency", question="How fast?",
    metrics=("prefill_tps", "decode_tps", "ttft_s", "tpot_s", "itl_p50_s", "itl_p90_s", "itl_p99_s"),
    prompt_tokens=(128,), new_tokens=(8,),
)  # fmt: skip
PP, TG = Workload(prompt_tokens=128, new_tokens=0), Workload(prompt_tokens=0, new_tokens=8)


def setup(variant: str = "phi-4-mini-instruct", quantization: str = "Q4_K_M", **options: str) -> Setup:
    return Setup(
        variant=variant, quantization=quantization, backend="llama_cpp", options=tuple(sorted(options.items()))
    )


def measured(which: Setup, workload: Workload, tps: float, layers: int | None = None) -> Measured:
    """Five repetitions around ``tps``, the slowest 10 % below."""
    counts = range(1, workload.new_tokens + 1) if workload.new_tokens else (workload.prompt_tokens,)
    speeds = [tps * factor for factor in (1, 1.05, 0.95, 1.1, 0.9)]
    return Measured(
        setup=which, workload=workload, threads=2,
        artifact=Artifact(path="model.gguf", bytes=2_490_000_000, weights="synthetic", layers=layers),
        engine=Engine(name="llama_cpp", version="0.3.36", placement="33 of 33 layers on cpu"),
        samples=tuple(Sample(arrivals_s=tuple(n / speed for n in counts)) for speed in speeds),
    )  # fmt: skip


def run(day: int, *results: Result, example: bool = False, machine: Machine = MACHINE) -> Run:
    return Run(
        id=f"202607{day:02d}T120000Z", started=f"2026-07-{day:02d}T12:00:00Z", suite=SUITE, machine=machine,
        software={"phibench": "0.1.0"}, conditions={"load before": "0.41"}, results=results, example=example,
    )  # fmt: skip


def save(folder: Path, *runs: Run) -> None:
    for one in runs:
        files.write_json(run_files.run_path(folder, one), one)


# -------------------------------------------------------------------------------------- runs -> table


def test_a_table_without_runs_is_empty() -> None:
    assert results_table.frame([]).empty


def test_a_table_has_a_line_per_test_newest_first() -> None:
    lines = results_table.frame([run(1, measured(setup(), PP, 40)), run(2, measured(setup(), TG, 12))])
    assert list(lines["test"]) == ["tg8", "pp128"]
    assert lines["prefill_tps"].isna().tolist() == [True, False]  # a decode test says nothing of prefill
    assert lines["decode_tps"][0] == pytest.approx(12)
    assert results_table.spread(lines.iloc[0], "decode_tps") == "10.8–13.2 (range)"


def test_a_failed_test_is_a_line_with_its_reason() -> None:
    lines = results_table.frame([run(1, Failed(setup=setup(), workload=PP, reason="out of memory"))])
    assert lines["reason"].tolist() == ["out of memory"]
    facts = results_table.provenance(results_table.shown(lines).iloc[0])
    assert facts["Result"] == "out of memory"
    assert facts["Repetitions"] is None


def test_only_the_newest_result_of_a_setup_is_charted() -> None:
    lines = results_table.frame([run(1, measured(setup(), TG, 10)), run(2, measured(setup(), TG, 12))])
    assert results_table.latest(lines, "decode_tps", "tg8")["decode_tps"].tolist() == [pytest.approx(12)]


def test_what_does_not_compare_is_told_apart_by_its_label() -> None:
    results = (
        measured(setup(), TG, 10),
        measured(setup(), TG, 40, layers=4),
        measured(setup(threads="1"), TG, 6),
    )
    labels = results_table.latest(results_table.frame([run(1, *results)]), "decode_tps", "tg8")["label"]
    assert labels.nunique() == 3
    assert any("4 layers" in label for label in labels)
    assert any("threads=1" in label for label in labels)


def test_a_filter_keeps_what_was_chosen_and_no_choice_keeps_all() -> None:
    lines = results_table.frame([run(1, measured(setup(), TG, 10), measured(setup("phi-2"), TG, 15))])
    assert list(results_table.choose(lines, variant=["phi-2"])["variant"]) == ["phi-2"]
    assert len(results_table.choose(lines, variant=[], quantization=["Q4_K_M"])) == 2


# ----------------------------------------------------------------------------------- verdicts -> table


def estimate(basis: Basis, value: float = 12.0) -> Estimate:
    sure = basis in ("measured", "exact", "published")
    return Estimate(
        value=value, low=value if sure else value / 2, high=value if sure else value * 2, basis=basis, because="test"
    )


@given(st.sampled_from(list(advice_table.BASIS)), st.sampled_from(list(advice_table.BASIS)), st.floats(0.1, 1e3))
def test_numbers_of_different_bases_never_look_alike(one: Basis, other: Basis, value: float) -> None:
    texts = [advice_table.said("decode_tps", estimate(basis, value)) for basis in (one, other)]
    assert (texts[0] == texts[1]) == (one == other)


@pytest.mark.parametrize("basis", ["calibrated", "probed", "spec", "assumed"])
def test_a_reckoned_number_shows_its_interval(basis: Basis) -> None:
    assert advice_table.amount("decode_tps", estimate(basis)) == "~12 (6–24)"
    assert advice_table.headline("decode_tps", estimate(basis)) == "6 to 24 tok/s"
    assert advice_table.amount("decode_tps", estimate("measured")) == "12"


def verdict(benchmark: str, quality: float, basis: Basis = "measured") -> Verdict:
    published = Estimate(
        value=quality, low=quality, high=quality, basis="published", because="card", benchmark=benchmark
    )
    return Verdict(setup=setup(f"phi-{quality:g}"), estimates={"decode_tps": estimate(basis), "quality": published})


def test_scores_of_different_benchmarks_share_no_axis() -> None:
    lines = advice_table.frame([verdict("MMLU-Pro", 50), verdict("MMLU", 78), verdict("MMLU-Pro", 40)])
    assert advice_table.plotted(lines, "quality")["quality"].tolist() == [50, 40]


# ------------------------------------------------------------------------------------ tables -> charts


def axis_titles(chart: Any) -> set[str]:
    """Every axis title of a chart, after Vega-Lite's schema has accepted it."""
    spec = chart.to_dict()
    layers = [*spec["layer"], spec]
    return {
        channel["title"]
        for layer in layers
        for name, channel in layer.get("encoding", {}).items()
        if name in ("x", "y") and channel.get("title")
    }


def test_axes_carry_units() -> None:
    lines = results_table.frame([run(1, measured(setup(), PP, 40), measured(setup(), TG, 12))])
    prefill = results_table.latest(lines, "prefill_tps", "pp128")
    decode = results_table.latest(lines, "decode_tps", "tg8")
    assert axis_titles(charts.bars(prefill, "prefill_tps", "light")) == {"Prefill, tok/s"}
    assert axis_titles(
        charts.dots(decode, {"itl_p50_s": "p50", "itl_p99_s": "p99"}, "Gap between tokens, ms", "dark", 1e3)
    ) == {"Gap between tokens, ms"}
    points = advice_table.plotted(advice_table.frame([verdict("MMLU", 50), verdict("MMLU", 40, "probed")]), "quality")
    assert axis_titles(charts.trade(points, "quality", "light")) == {"Decode, tok/s", "Quality, MMLU points"}


def test_a_chart_shows_the_best_setups_only() -> None:
    results = [measured(setup(f"phi-{n}"), TG, 10 + n) for n in range(charts.MOST + 5)]
    lines = results_table.latest(results_table.frame([run(1, *results)]), "decode_tps", "tg8")
    chart = charts.bars(lines, "decode_tps", "light").to_dict()
    shown = [row["setup"] for row in next(iter(chart["datasets"].values()))]
    assert len(shown) == charts.MOST
    assert shown[0].startswith(f"phi-{charts.MOST + 4}:")


# ------------------------------------------------------------------------------------------- the text


@given(st.text())
def test_text_from_files_is_only_text(text: str) -> None:
    tokens = MarkdownIt().parseInline(widgets.escape(text))[0].children or []
    assert {token.type for token in tokens} <= {"text", "text_special", "softbreak"}
    shown = "".join(token.content for token in tokens).replace("\N{WORD JOINER}", "")
    assert shown.split() == plain(text).split()


# ------------------------------------------------------------------------------------------ the pages


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty results folder that the app will read."""
    monkeypatch.setattr(sys, "argv", ["app.py", "--results", str(tmp_path / "results")])
    monkeypatch.setenv("PHIBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "results"


def test_without_results_the_pages_say_what_to_type(results: Path) -> None:
    for page in ("advice.py", "results.py"):
        assert "phibench quickstart" in words(opened(page))


def test_results_show_numbers_failures_and_where_they_come_from(results: Path) -> None:
    failed = Failed(setup=setup("phi-2"), workload=PP, reason="killed: needs 9 GiB")
    save(results, run(1, measured(setup(), PP, 40), measured(setup(), TG, 12), failed))
    app = opened("results.py")
    assert {"Prefill", "Decode", "Between tokens", "One test failed"} <= {h.value for h in app.subheader}
    shown = words(app)
    assert "killed" in shown
    assert "33 of 33 layers on cpu" in shown.replace("\\", "")
    assert "0.41" in shown.replace("\\", "")
    assert len(app.dataframe[0].value) == 3


def test_the_winner_of_a_run_in_turns_is_named_with_its_pairs(results: Path) -> None:
    rival = msgspec.structs.replace(setup(quantization="bf16"), backend="torch")
    turns = [
        msgspec.structs.replace(measured(which, TG, tps), launch=launch)
        for launch in range(8)
        for which, tps in ((setup(), 12), (rival, 4))
    ]
    save(results, run(1, *turns), run(2, measured(setup(), TG, 12)))
    text = words(opened("results.py"))
    assert "tg8, Decode: llama_cpp wins with 3.00 x torch (8 pairs)" in text.replace("\\", "")


def test_a_new_result_appears_on_the_next_run(results: Path) -> None:
    save(results, run(1, measured(setup(), TG, 12)))
    app = opened("results.py")
    save(results, run(2, measured(setup(), TG, 13)))
    assert len(app.run().dataframe[0].value) == 2


def test_a_damaged_file_is_named_and_the_others_are_shown(results: Path) -> None:
    save(results, run(1, measured(setup(), TG, 12)))
    (results / "broken.json").write_text("{")
    app = opened("results.py")
    assert "broken.json" in words(app)
    assert len(app.dataframe[0].value) == 1


def test_the_example_is_labelled_and_gives_way_to_own_runs(results: Path) -> None:
    save(results, run(1, measured(setup(), TG, 12), example=True))
    assert "example" in words(opened("results.py")).lower()
    save(results, run(2, measured(setup("phi-2"), TG, 15)))
    app = opened("results.py")
    assert app.dataframe[0].value["variant"].tolist() == ["phi-2"]
    assert "example" not in words(app).lower()


def test_the_example_never_counts_as_measured_here(results: Path) -> None:
    here = inventory.this_machine(bandwidth=False)
    save(results, run(1, measured(setup(), PP, 40), measured(setup(), TG, 12), example=True, machine=here))
    app = opened("advice.py")
    assert "Nothing was measured here yet" in words(app)
    assert not app.dataframe[0].value["decode_text"].astype(str).str.contains("measured").any()


def test_advice_on_this_machine_quotes_its_own_measurements(results: Path) -> None:
    here = inventory.this_machine(bandwidth=False)
    save(results, run(1, measured(setup(), PP, 400), measured(setup(), TG, 30), machine=here))
    app = opened("advice.py")
    assert "1 run here" in words(app)
    lines = app.dataframe[0].value
    quoted = lines[lines["setup"] == str(setup())]["decode_text"]
    assert all(text.endswith("measured") for text in quoted)
    assert set(lines["fits"]) <= set(advice_table.FITS.values())


def test_the_pick_has_its_reason_and_the_lines_that_run_it(results: Path) -> None:
    here = inventory.this_machine(bandwidth=False)
    save(results, run(1, measured(setup(), PP, 400), measured(setup(), TG, 30), machine=here))
    app = opened("advice.py")
    assert "comfortable here" in words(app) or "serves here" in words(app)
    tools = next(box for box in app.selectbox if box.label == "With")
    assert {"llama.cpp: llama-cli", "Ollama"} <= {*tools.options}
    app = tools.set_value("llama.cpp: llama-cli").run()
    assert any("llama-cli -hf " in code.value and "-GGUF:" in code.value for code in app.code)


def test_every_goal_gets_an_answer_or_a_reason(results: Path) -> None:
    app = opened("advice.py")
    goal, context = app.selectbox[0], app.selectbox[1]
    assert goal.value == "chat"
    app = context.set_value(128 * 1024).run()
    assert not app.exception
    app = app.selectbox[0].set_value("long-context").run()
    assert not app.exception
    app = app.selectbox[1].set_value(2048).run()
    assert "too short" in words(app)


def test_no_limit_of_zero_can_be_asked_for(results: Path) -> None:
    asked = opened("advice.py").number_input
    assert len(asked) == 2
    assert all(limit.min is not None and limit.min > 0 for limit in asked)


def test_a_run_with_options_that_make_no_sense_is_shown_but_never_quoted(results: Path) -> None:
    odd = setup(n_ubatch="abc")
    here = inventory.this_machine(bandwidth=False)
    save(results, run(1, measured(odd, PP, 400), measured(odd, TG, 30), machine=here))
    assert not opened("advice.py").dataframe[0].value["decode_text"].astype(str).str.contains("measured").any()
    assert len(opened("results.py").dataframe[0].value) == 2


def test_hostile_text_in_a_file_stays_text(results: Path) -> None:
    save(results, run(1, measured(setup(HOSTILE), TG, 12), Failed(setup=setup(HOSTILE), workload=PP, reason=HOSTILE)))
    shown = words(opened("results.py"))
    assert "**bold**" not in shown
    assert "<b>" not in shown.replace("\\<", "")
    assert "](http" not in shown


# ---------------------------------------------------------------------------------------- the server


def free_port() -> int:
    with socket.socket() as trial:
        trial.bind((dashboard.HOST, 0))
        port: int = trial.getsockname()[1]
        return port


def test_the_server_is_bound_to_this_machine_and_tells_nobody() -> None:
    command = dashboard.command(Path("some results"), 8765)
    assert "--server.address=127.0.0.1" in command
    assert "--browser.gatherUsageStats=false" in command
    assert command[-2:] == ["--results", "some results"]


def test_a_taken_port_is_one_clear_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind((dashboard.HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(PhibenchError, match=f"port {port} .*--port"):
            dashboard.serve(tmp_path, port, open_browser=False)


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_an_impossible_port_is_bad_input(tmp_path: Path, port: int) -> None:
    with pytest.raises(PhibenchError, match="not a port") as caught:
        dashboard.serve(tmp_path, port, open_browser=False)
    assert caught.value.exit_code == 2


def test_without_streamlit_the_remedy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "streamlit", None)
    with pytest.raises(PhibenchError, match=r'pip install .*\[dashboard\]"'):
        dashboard.serve(tmp_path, None, open_browser=False)


def launches(workload: Workload, tps: float) -> list[Measured]:
    """As many as a verdict takes."""
    return [msgspec.structs.replace(measured(setup(), workload, tps), launch=n) for n in range(stats.MIN_PAIRS)]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[int, psutil.Process, Path]]:
    """The real app on a free port: its port, the process that serves, its results folder."""
    folder, port = tmp_path / "results", free_port()
    code = f"from phibench.cli.dashboard import serve; raise SystemExit(serve({folder!r}, {port}, False))"
    code = f"from pathlib import Path, PosixPath, WindowsPath\n{code}"
    environment = {
        **os.environ, "HOME": str(tmp_path), "PYTHONPATH": str(Path(dashboard.__file__).parents[2]),
        "PHIBENCH_CACHE": str(tmp_path / "cache"),
    }  # fmt: skip
    here = inventory.this_machine(bandwidth=False)
    failed = Failed(setup=setup("phi-2"), workload=PP, reason=HOSTILE)
    batches = [Workload(prompt_tokens=128, new_tokens=8, batch=batch) for batch in (1, 4)]
    save(
        folder,
        run(1, measured(setup(), PP, 400), *launches(TG, 30), failed, machine=here),
        run(2, *(measured(setup(), workload, 30) for workload in batches), *launches(TG, 28), machine=MACHINE),
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], env=environment, cwd=tmp_path, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        said = ""
        while f"127.0.0.1:{port} (" not in said:  # the line that tells the address comes last
            said += (line := process.stderr.readline())
            assert line, said
        (child,) = psutil.Process(process.pid).children()
        try:
            yield port, child, folder
            os.kill(process.pid, signal.SIGINT)
            assert process.wait(20) == 130
            assert not child.is_running()
        finally:  # a test that fails must not wait for a server that goes on
            child.kill() if child.is_running() else None
            process.kill()
    assert not (tmp_path / ".streamlit").exists()  # nothing written into the user's home


def test_the_server_listens_on_this_machine_only(server: tuple[int, psutil.Process, Path]) -> None:
    port, child, _ = server
    listening = [c.laddr for c in child.net_connections("inet") if c.status == psutil.CONN_LISTEN]
    assert [(address.ip, address.port) for address in listening] == [("127.0.0.1", port)]


# --------------------------------------------------------------------------------------- the browser

ARGUMENTS = (
    "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip


def chromium() -> str:
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found:
        return found
    if os.environ.get("PHIBENCH_REQUIRE_BROWSER") == "1":
        pytest.fail("no chromium, and PHIBENCH_REQUIRE_BROWSER=1: apt-get install chromium")
    pytest.skip("no chromium: apt-get install chromium")


@pytest.mark.browser
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_the_app_in_a_real_browser(
    server: tuple[int, psutil.Process, Path], tmp_path: Path, width: int, scheme: Any
) -> None:
    sync_api = pytest.importorskip("playwright.sync_api")
    port, _, _ = server
    root = [] if os.name != "posix" or os.getuid() else ["--no-sandbox"]
    asked: list[str] = []
    with sync_api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium(), args=[*ARGUMENTS, *root])
        page = browser.new_page(viewport={"width": width, "height": 1000}, color_scheme=scheme)
        page.on("request", lambda request: asked.append(request.url))
        for name, texts in (
            ("", ("Which Phi fits?", "1 run here", "All candidates, best first", "Speed against quality or memory")),
            ("results", ("Results", "Prefill", "Decode", "Between tokens", "One test failed", "**bold** <b>b</b>",
                         "Several sequences at once")),
            ("compare", ("Compare", "B against A: worse 1", "The same in a terminal:")),
        ):  # fmt: skip
            page.goto(f"http://127.0.0.1:{port}/{name}")
            for text in texts:
                sync_api.expect(page.get_by_text(text).first).to_be_visible(timeout=60_000)
            sync_api.expect(
                page.locator("[data-testid=stVegaLiteChart] canvas, [data-testid=stVegaLiteChart] svg").first
            ).to_be_visible(timeout=60_000)
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert page.locator("[data-testid=stException], a[href*=evil], img[src*=evil]").count() == 0
            for folder in filter(None, (str(tmp_path), os.environ.get("PHIBENCH_SCREENSHOTS"))):
                Path(folder).mkdir(parents=True, exist_ok=True)
                page.screenshot(path=f"{folder}/{name or 'advice'}-{width}-{scheme}.png", full_page=True)
        browser.close()
    assert not [url for url in asked if not url.startswith((f"http://127.0.0.1:{port}/", "data:", "blob:"))]
