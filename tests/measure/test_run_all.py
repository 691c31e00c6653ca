"""``phibench run all``: the suites of the mission in one command, and what the new protocol fields do to a worker."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Phibench

from phibench.core import run_files
from phibench.core.nouns import Measured, Run
from phibench.measure import suites

SLOW = ("-b", "null", "--backend-option", "token_us=700", "--seconds", "0.2", "-o", "json")
ALL = ("run", "all", "--quick", *SLOW)


def runs(tmp_path: Path) -> list[Run]:
    found, skipped = run_files.read_runs(tmp_path / "results")
    assert not skipped
    return sorted(found, key=lambda run: run.id)


def suite_file(tmp_path: Path, body: str, metrics: str = '"decode_tps"') -> str:
    path = tmp_path / "own.toml"
    path.write_text(f'name = "own"\nquestion = "?"\nmetrics = [{metrics}]\nlook_s = 0\n{body}', encoding="utf-8")
    return str(path)


def test_every_suite_of_the_mission_runs_and_is_marked_short(phibench: Phibench, tmp_path: Path) -> None:
    done = phibench(*ALL)
    assert done.code == 0, done.err  # what has no meter here is no failure beside other figures
    assert {run.suite.name for run in runs(tmp_path)} == set(suites.MISSION)
    rows = json.loads(done.out)
    assert all(row["short"] for row in rows)
    assert {row["batch"] for row in rows if row["suite"] == "throughput"} == {1, 4}
    assert {row["room"] for row in rows if row["suite"] == "memory"} == {2048}
    energy = [row for row in rows if row["suite"] == "energy"]
    assert all(row["reason"].startswith("unavailable: ") for row in energy if row["status"] == "failed")


def test_a_single_suite_that_cannot_measure_anything_has_failed(phibench: Phibench, tmp_path: Path) -> None:
    done = phibench("run", "load", "-b", "null", "-o", "json")
    assert done.code == 1
    assert {row["reason"][:12] for row in json.loads(done.out)} == {"unavailable:"}
    (path,) = (tmp_path / "results").rglob("*.json")
    assert {result["cause"] for result in json.loads(path.read_text(encoding="utf-8"))["results"]} == {"unavailable"}


def test_ctrl_c_between_and_within_suites_loses_nothing_that_was_saved(
    spawn: Callable[..., subprocess.Popen[str]], phibench: Phibench, tmp_path: Path
) -> None:
    process = spawn(*ALL)
    wait_for(lambda: any(run.results for run in known(tmp_path) if run.suite.name == "throughput"))
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    kept = [result for run in runs(tmp_path) for result in run.results]
    done = phibench(*ALL, "--resume")
    assert done.code == 0, done.err
    whole = runs(tmp_path)
    assert sorted(run.suite.name for run in whole) == sorted(suites.MISSION)  # one file each, none begun anew
    now = [result for run in whole for result in run.results]
    assert all(result in now for result in kept)
    for run in whole:
        assert [r.workload for r in run.results] == list(run.suite.workloads())


def known(tmp_path: Path) -> list[Run]:
    return list(run_files.read_runs(tmp_path / "results")[0]) if (tmp_path / "results").exists() else []


def wait_for(ready: Callable[[], Any], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_seconds_are_for_suites_that_go_on_for_a_time(phibench: Phibench) -> None:
    assert phibench("run", "latency", "--seconds", "5", "-b", "null").code == 2
    done = phibench("run", "sustained", "--seconds", "-1", "-b", "null")
    assert (done.code, done.err.count("\n")) == (2, 1)


def test_a_fresh_worker_for_every_test(phibench: Phibench, tmp_path: Path) -> None:
    body = "new_tokens = [2, 3, 4]\nrepetitions = 1\nfresh = {}\n[warmup]\nmax_windows = 0\n"
    dies = ("-b", "null", "-o", "json", "--backend-option", "fail=error", "--backend-option", "at=2")
    rows = json.loads(phibench("run", suite_file(tmp_path, body.format("true")), *dies).out)
    assert [row["status"] for row in rows] == ["ok"] * 3  # none lives to begin a second test
    rows = json.loads(phibench("run", suite_file(tmp_path, body.format("false")), *dies).out)
    assert [row["status"] for row in rows] == ["ok", "failed", "ok"]


def test_a_suite_without_a_short_form_says_so(phibench: Phibench, tmp_path: Path) -> None:
    done = phibench("run", suite_file(tmp_path, "new_tokens = [4]"), "-b", "null", "--quick")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "has no short form" in done.err


def planned(phibench: Phibench, *words: str) -> list[dict[str, Any]]:
    done = phibench("run", *words, "--dry-run", "-o", "json")
    assert done.code == 0, done.err
    rows: list[dict[str, Any]] = json.loads(done.out)
    return rows


def test_what_is_too_large_costs_its_test_alone(phibench: Phibench) -> None:
    (row,) = planned(phibench, "throughput", "-m", "phi-4-mini", "--batches", "1,200", "--context", "16k")
    assert row["fits"]
    assert row["tests"] == "pp128+tg32 in 16384"
    assert "x200 in 16384: needs " in row["reason"]


def test_a_room_longer_than_the_variants_context_costs_its_test_alone(phibench: Phibench) -> None:
    (row,) = planned(phibench, "memory", "-m", "phi-2", "--batches", "1")
    assert row["tests"] == "pp512+tg16 in 2048"
    assert "phi-2 has a context of 2k tokens, the test needs 32768" in row["reason"]
    done = phibench("run", "memory", "-m", "phi-2", "--context", "8k", "--dry-run")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "--context" in done.err


def test_a_dying_fresh_worker_costs_its_test_alone(phibench: Phibench, tmp_path: Path) -> None:
    body = "new_tokens = [2, 3]\nrepetitions = 1\nfresh = true\n[warmup]\nmax_windows = 0\n"
    dies = ("-b", "null", "-o", "json", "--backend-option", "fail=kill")
    rows = json.loads(phibench("run", suite_file(tmp_path, body), *dies).out)
    assert [(row["n_gen"], row["status"]) for row in rows] == [(2, "failed"), (3, "failed")]


@pytest.mark.parametrize(
    ("body", "metrics", "said"),
    [
        ("new_tokens = [4]\nbatches = [0]", '"decode_tps"', "batches start at 1"),
        ("new_tokens = [4]\nbatches = []", '"decode_tps"', "batches start at 1"),
        ("new_tokens = [4]\ncontexts = [-1]", '"decode_tps"', "contexts at 0"),
        ("new_tokens = [4]", '"decode_tps", "host_needed_bytes"', "leave out decode_tps, or make two suites"),
        ("new_tokens = [4]", '"sustained_tps"', "give window_s"),
        ("new_tokens = [4]\nwindow_s = 1", '"decode_net_j_per_token"', "give idle_s"),
        ("prompt_tokens = [4]", '"load_warm_s"', 'needs "warm" in page_cache'),
        (
            'prompt_tokens = [4]\npage_cache = ["warm"]\nrepetitions = 1\n[warmup]\nmax_windows = 0',
            '"load_warm_s"',
            "fresh",
        ),
        ("new_tokens = [4]\n[quick]\nbatchs = [1]", '"decode_tps"', "batchs"),
        ('prompt_tokens = [4]\npage_cache = ["hot"]', '"load_warm_s"', "hot"),
    ],
)
def test_a_suite_that_makes_no_sense_is_one_line(
    phibench: Phibench, tmp_path: Path, body: str, metrics: str, said: str
) -> None:
    done = phibench("run", suite_file(tmp_path, body, metrics), "-b", "null")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert said in done.err


@pytest.mark.engine("llama_cpp")
def test_load_takes_turns_of_a_cold_and_a_warm_file(phibench: Phibench, tmp_path: Path) -> None:
    done = phibench("run", "load", "-m", "phi-1", "--layers", "1", "-b", "llama_cpp", "--launches", "2", "-o", "json")
    (row,) = json.loads(done.out)
    if row["reason"] and "page cache" in row["reason"]:
        pytest.skip(row["reason"])  # a file system in memory
    assert done.code == 0, done.err
    cold, warm = runs(tmp_path)[0].results
    assert isinstance(cold, Measured)
    assert isinstance(warm, Measured)
    assert (set(cold.readings) & {"load_cold_s", "load_warm_s"}) == {"load_cold_s"}
    assert (set(warm.readings) & {"load_cold_s", "load_warm_s"}) == {"load_warm_s"}
    for result in (cold, warm):
        seconds = next(value for name, value in result.readings.items() if name.startswith("load_"))
        assert result.load_s is not None
        assert seconds >= result.load_s + result.samples[0].arrivals_s[0]
    assert row["load_cold_s"] == cold.readings["load_cold_s"]
    assert row["load_warm_s"] == warm.readings["load_warm_s"]
    disk = runs(tmp_path)[0].machine.storage
    assert disk is not None
    assert any(note.startswith("the disk reads" if disk.read_bytes_s else "disk: ") for note in row["notes"])
