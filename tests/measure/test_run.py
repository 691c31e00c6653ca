"""A run through the front door with the null backend: what a worker does, and what is kept."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, TypeVar

import fakes
import pytest
from conftest import Phibench
from suite_files import NULL, machine, only_run, suite_file

from phibench import backends, catalog
from phibench.core import folders, run_files
from phibench.core.errors import FallbackError, NotMeasurableError, PhibenchError, UnavailableError
from phibench.core.nouns import (
    Artifact,
    Cause,
    Conditions,
    Engine,
    Event,
    Failed,
    Job,
    Measured,
    Run,
    Sample,
    Setup,
    Suite,
)
from phibench.measure import record, suites, tasks, worker
from phibench.probe import conditions

T = TypeVar("T")


def with_results(tmp_path: Path) -> Path | None:
    """The run file, once it holds a result."""
    found = list((tmp_path / "results").rglob("*.json"))
    return found[0] if found and run_files.read_runs(tmp_path)[0] and run_files.read_run(found[0]).results else None


def test_a_run_prints_a_row_per_test_and_stores_every_sample(phibench: Phibench, tmp_path: Path) -> None:
    done = phibench("run", suite_file(tmp_path), *NULL)
    rows = json.loads(done.out)
    assert done.code == 0, done.err
    assert [(r["n_prompt"], r["n_gen"], r["status"]) for r in rows] == [(8, 0, "ok"), (16, 0, "ok"), (0, 4, "ok")]
    stored = run_files.read_run(only_run(tmp_path))
    for result in stored.results:
        assert isinstance(result, Measured)
        assert len(result.samples) == 3
        assert all(len(s.arrivals_s) == max(1, result.workload.new_tokens) for s in result.samples)
        assert all(list(s.arrivals_s) == sorted(s.arrivals_s) for s in result.samples)


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("error", "fails as it was told"),
        ("bug", "exited with code 1 preparing pp16: ZeroDivisionError"),
        ("int", "died of SIGINT"),
    ],
)
def test_a_dying_worker_costs_one_test_and_the_suite_goes_on(
    phibench: Phibench, tmp_path: Path, how: str, says: str
) -> None:
    body = "prompt_tokens = [8, 16]\nnew_tokens = [4]\nrepetitions = 1\n[warmup]\nmax_windows = 0\n"
    options = ("--backend-option", f"fail={how}", "--backend-option", "at=2")
    done = phibench("run", suite_file(tmp_path, body), *NULL, *options)
    rows = json.loads(done.out)
    # at=2 counts in each worker: the first measures pp8 and dies in pp16, the fresh one measures tg4
    assert [r["status"] for r in rows] == ["ok", "failed", "ok"]
    assert says in rows[1]["reason"]
    assert done.code == 1


def test_a_backend_that_cannot_open_fails_every_test_once(phibench: Phibench, tmp_path: Path) -> None:
    options = ("--backend-option", "fail=error", "--backend-option", "during=open")
    done = phibench("run", suite_file(tmp_path), *NULL, *options)
    rows = json.loads(done.out)
    assert [r["status"] for r in rows] == ["failed"] * 3
    assert all("fails as it was told" in r["reason"] for r in rows)


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (NotMeasurableError("no counter"), "unavailable"),
        (FallbackError("asked for cuda:0"), "fallback"),
        (UnavailableError("no such kernel"), "failed"),
        (PhibenchError("unavailable: as another says it"), "failed"),
        (MemoryError(), "failed"),
    ],
)
def test_the_class_of_an_error_says_why_there_is_no_figure(
    monkeypatch: pytest.MonkeyPatch, error: Exception, cause: str
) -> None:
    def session(_: Job) -> NoReturn:
        raise error

    monkeypatch.setattr(backends.load("null"), "session", session)
    suite = Suite(name="s", question="?", metrics=("prefill_tps",), prompt_tokens=(8,))
    setup = Setup(variant="phi-4", quantization="Q4_K_M", backend="null")
    artifact = Artifact(path="", bytes=0, weights="synthetic")
    events: list[Event] = []
    job = Job(setup=setup, suite=suite, workloads=suite.workloads(), artifact=artifact, threads=1)
    assert worker.work(job, events.append) == 1
    (failed,) = events
    assert isinstance(failed, Failed)
    assert failed.cause == cause


def test_only_what_a_machine_cannot_show_is_no_failure_beside_figures() -> None:
    good = fakes.measured(fakes.workload(8, 0))
    codes: dict[Cause, int] = {"unavailable": 0, "failed": 1, "fallback": 1, "refused": 1}
    for cause, code in codes.items():
        lost = fakes.failed(fakes.workload(16, 0), "why", cause=cause)
        assert record.exit_code((fakes.run(good, lost),)) == code
        assert record.exit_code((fakes.run(lost),)) == 1  # nothing at all was measured


def test_ctrl_c_keeps_what_is_done_and_resume_measures_only_the_rest(
    spawn: Callable[..., subprocess.Popen[str]], phibench: Phibench, tmp_path: Path
) -> None:
    suite = suite_file(
        tmp_path, "prompt_tokens = [1]\nnew_tokens = [200]\nrepetitions = 5\n[warmup]\nmax_windows = 0\n"
    )
    slow = (*NULL, "--backend-option", "token_us=50000")
    process = spawn("run", suite, *slow)
    path = wait_for(lambda: with_results(tmp_path))
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert re.search(r"; 1 result kept in .*; --resume continues", err)
    kept = run_files.read_run(path)
    assert [str(r.workload) for r in kept.results] == ["pp1"]

    process = spawn("run", suite, *slow, "--resume")
    wait_for(lambda: worker_of(process.pid))
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)
    again = run_files.read_run(only_run(tmp_path))
    assert again.results == kept.results  # pp1 was not measured again, tg200 was not finished


def test_ctrl_c_while_the_machine_is_watched_leaves_nothing(
    spawn: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    process = spawn("run", suite_file(tmp_path, look_s=5), *NULL)
    assert process.stderr is not None
    assert process.stderr.readline() == "looking at the machine, 5 s\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert list((tmp_path / "results").rglob("*.json")) == []


def test_a_run_stores_what_was_seen_before_and_after(phibench: Phibench, tmp_path: Path) -> None:
    done = phibench("run", suite_file(tmp_path), *NULL)
    assert "looking at the machine" not in done.err  # a look that takes no time is not told
    seen = run_files.read_run(only_run(tmp_path)).conditions
    assert {"before_cpus", "before_free_bytes", "after_cpus", "after_free_bytes"} <= set(seen)
    assert "before_look_s" not in seen
    assert "before_gpu_processes" not in seen  # nothing ran on a GPU


def test_resume_tries_failures_again_in_the_same_file(phibench: Phibench, tmp_path: Path) -> None:
    setup = suite_file(tmp_path)
    first = phibench("run", setup, *NULL, "--backend-option", "fail=error")
    assert first.code == 1
    again = phibench("run", setup, *NULL, "--backend-option", "fail=error", "--resume")
    assert again.code == 1
    stored = run_files.read_run(only_run(tmp_path))
    assert len(stored.results) == 3
    assert all(isinstance(r, Failed) for r in stored.results)


@pytest.mark.skipif(os.name == "nt", reason="no kill -9")
def test_a_worker_leaves_when_its_parent_is_killed(spawn: Callable[..., subprocess.Popen[str]], tmp_path: Path) -> None:
    suite = suite_file(tmp_path, "prompt_tokens = [1]\nnew_tokens = [500]\n")
    process = spawn("run", suite, *NULL, "--backend-option", "token_us=50000")
    wait_for(lambda: with_results(tmp_path))
    worker = wait_for(lambda: worker_of(process.pid))
    process.kill()
    process.communicate(timeout=120)
    wait_for(lambda: not Path(f"/proc/{worker}").exists() or "Z" in Path(f"/proc/{worker}/stat").read_text().split()[2])
    run_files.read_run(only_run(tmp_path))  # the file is whole


def worker_of(pid: int) -> int | None:
    children = Path(f"/proc/{pid}/task/{pid}/children")
    found = children.read_text().split() if children.exists() else []
    return int(found[0]) if found else None


def wait_for(what: Callable[[], T | None], seconds: float = 120.0) -> T:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := what():
            return found
        time.sleep(0.01)
    raise AssertionError("it did not happen in time")


def test_launches_are_interleaved_and_become_one_row(phibench: Phibench, tmp_path: Path) -> None:
    suite = suite_file(tmp_path, "prompt_tokens = [8]\nrepetitions = 2\n[warmup]\nmax_windows = 0\n")
    done = phibench("run", suite, *NULL, "--launches", "3", "-t", "1,2")
    stored = run_files.read_run(only_run(tmp_path))
    assert [r.launch for r in stored.results] == [0, 0, 1, 1, 2, 2]
    assert [r["prefill_tps_spread"] for r in json.loads(done.out)] == ["interval", "interval"]


def test_nothing_private_stands_in_a_run_file(phibench: Phibench, tmp_path: Path) -> None:
    phibench("run", suite_file(tmp_path), *NULL)
    text = only_run(tmp_path).read_text(encoding="utf-8")
    assert not re.search(rf"\b{re.escape(socket.gethostname())}\b", text)
    assert str(Path.home()) not in text
    assert str(tmp_path) not in text


def test_a_dry_run_writes_nothing(phibench: Phibench, tmp_path: Path) -> None:
    done = phibench("run", suite_file(tmp_path), "-m", "phi-4", "--dry-run", "-o", "json")
    (row,) = json.loads(done.out)
    assert done.code == 0
    assert row["disk_bytes"] > 8e9
    assert row["memory_bytes"] > 8e9
    assert not (tmp_path / "results").exists()
    assert not list((tmp_path / "cache").rglob("*.gguf"))


@pytest.mark.parametrize(("threads", "said"), [("4096", True), ("1", False), ("1,4096", True)])
def test_more_threads_than_cpus_are_said_in_one_line(
    threads: str, said: bool, phibench: Phibench, tmp_path: Path
) -> None:
    done = phibench("run", suite_file(tmp_path), "-b", "null", "-t", threads, "--dry-run")
    assert done.code == 0
    assert ("4096 threads are more than the " in done.err) is said


def test_what_does_not_fit_is_refused_with_numbers_unless_forced() -> None:
    setup = Setup(variant="phi-4", quantization="Q4_K_M", backend="llama_cpp")
    suite = Suite(name="s", question="?", metrics=("prefill_tps",), prompt_tokens=(512,))
    (task,) = tasks.prepare((setup,), suite, machine(free_bytes=4 << 30))
    assert task.objection is not None
    assert re.search(r"needs 8\.\d+ GiB.*can use only 4 GiB.*; choose a .*--force", str(task.objection))
    assert tasks.prepare((setup,), suite, machine(free_bytes=4 << 30), force=True)[0].objection is None
    assert tasks.prepare((setup,), suite, machine(free_bytes=16 << 30))[0].objection is None


def test_a_context_beyond_the_variant_is_refused() -> None:
    setup = Setup(variant="phi-2", quantization="Q4_K_M", backend="llama_cpp")
    suite = Suite(name="s", question="?", metrics=("prefill_tps",), prompt_tokens=(4096,))
    with pytest.raises(PhibenchError, match="context of 2k tokens, the suite needs 4096"):
        tasks.prepare((setup,), suite, machine())


def test_results_that_cannot_be_written_stop_the_run_with_exit_1(phibench: Phibench, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    done = phibench("run", suite_file(tmp_path), *NULL, "--results", str(blocked))
    assert done.code == 1
    assert "cannot write" in done.err
    assert "Traceback" not in done.err


def test_resume_knows_a_slice_from_the_whole_and_another_suite(phibench: Phibench, tmp_path: Path) -> None:
    suite = Suite(name="s", question="?", metrics=("prefill_tps",), prompt_tokens=(8,))
    setup = Setup(variant="phi-2", quantization="Q4_K_M", backend="llama_cpp")
    (whole,) = tasks.prepare((setup,), suite, machine())
    (slice_,) = tasks.prepare((setup,), suite, machine(), layers=4)
    engine = Engine(name="llama_cpp", version="0", placement="here")
    artifact = Artifact(path="x.gguf", bytes=1, weights="synthetic", layers=4)
    result = Measured(setup=setup, workload=suite.workloads()[0], artifact=artifact, threads=2, engine=engine,
                      samples=(Sample(arrivals_s=(1.0,)),))  # fmt: skip
    done = Run(id="1", started="", suite=suite, machine=machine(), software={}, results=(result,))
    assert record.owed(done, (slice_,)) == ()
    assert [task for task, _, _ in record.owed(done, (whole,))] == [whole]
    other = phibench("run", suite_file(tmp_path), *NULL, "--resume")
    assert "nothing to resume" in other.err


def test_two_runs_of_one_second_get_two_files(tmp_path: Path) -> None:
    suite = Suite(name="s", question="?", metrics=(), prompt_tokens=(8,))
    paths = {record.start(suite, machine(), tmp_path, {})[1] for _ in range(3)}
    assert len(paths) == 3
    assert len(run_files.read_runs(tmp_path)[0]) == 3


def test_the_worker_takes_no_module_from_the_current_folder(
    phibench: Phibench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "msgspec.py").write_text("raise SystemExit('foreign code ran')")
    monkeypatch.chdir(tmp_path)
    assert phibench("run", suite_file(tmp_path), *NULL).code == 0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("run", "latncy"), "did you mean 'latency'"),
        (("run", "quick", "-m", "phi-4-mni"), "did you mean 'Phi-4-mini'"),
        (("run", "quick", "-q", "Q4_K_X"), "did you mean 'Q4_K_"),
        (("run", "quick", "-b", "lama_cpp"), "did you mean 'llama_cpp'"),
        (("run", "quick", "-p", "0", "-n", "0"), "measures nothing"),
        (("run", "quick", "-p", "-5"), "-5"),
        (("run", "quick", "-t", "0"), "--threads starts at 1"),
        (("run", "quick", "-t", "many"), "'many' is not a count"),
        (("run", "quick", "-fa", "maybe"), "unknown value of flash_attn 'maybe'"),
        (("run", "quick", "-ctk", "q8"), "did you mean 'q8_0'"),
        (("run", "quick", "-ub", "99999999999"), "n_ubatch is a whole number"),
        (("run", "quick", "-m", ","), "-m is empty"),
        (("run", "quick", "-q", ""), "--quant is empty"),
        (("run", "quick", "-dev", "gpu"), "unknown device 'gpu'"),
        (("run", "quick", "-dev", "cuda:9"), "cannot use cuda:9"),
        (("run", "quick", "-dev", "cpu:0"), "cpu takes no number"),
        (("run", "quick", "-dev", "cpu:"), "unknown device 'cpu:'"),
        (("run", "quick", "-m", "x.gguf", "-q", "Q8_0"), "leave out -q"),
        (("run", "quick", "-m", "phi-4,x.gguf"), "-m takes one file or folder"),
        (("recommend", "--context", "10M"), "no Phi reads more than 131072"),
        (("recommend", "--max-ttft", "0"), "--max-ttft"),
        (("recommend", "--min-tps", "nan"), "--min-tps"),
        (("run", "quick", "-r", "0"), "repetitions and launches start at 1"),
        (("run", "quick", "-b", "null", "--backend-option", "tokn_us=1"), "did you mean 'token_us'"),
        (("run", "quick", "-m", "missing.gguf"), "missing.gguf"),
        (("run", "quick", "-q", "int4"), "unknown quantization 'int4'"),
        (("run", "quick", "-m", "phi-silica"), "phi-silica"),
        (("run", "quick", "--layers", "99"), "32 layers"),
        (("run", "quick", "-p", "9M"), "'9M' is not a count"),
        (("run", "quick", "-pg", "512"), "not a pair"),
        (("recommnd",), "did you mean 'recommend'"),
        (("run", "--dri-run"), "--dry-run"),
        (("models", "--context", "10M"), "131072"),
        (("models", "phi-5"), "unknown variant 'phi-5'"),
        (("recommend", "--goal", "chatt"), "did you mean 'chat'"),
        (("recommend", "--top", "0"), "--top takes"),
        (("recommend", "--machine", "none.toml"), "none.toml"),
    ],
)
def test_bad_input_gets_one_line_and_exit_2(phibench: Phibench, words: tuple[str, ...], says: str) -> None:
    done = phibench(*words)
    assert done.code == 2, done.err
    assert says in done.err
    assert done.err.count("\n") == 1
    assert done.err.startswith("phibench: ")
    assert done.out == ""


def test_a_suite_with_a_misspelled_key_names_it(phibench: Phibench, tmp_path: Path) -> None:
    done = phibench("run", suite_file(tmp_path, "prompt_tokns = [8]\n"))
    assert done.code == 2
    assert "unknown key 'prompt_tokns'; did you mean 'prompt_tokens'" in done.err


def test_every_shipped_suite_is_sound() -> None:

    names = [p.stem for p in folders.data_dir("suites").glob("*.toml")]
    assert {"quick", "latency"} <= set(names)
    for name in names:
        assert suites.load(name).name == name
    assert catalog.variant("phi-4-mini").id == "phi-4-mini-instruct"


def test_every_worker_may_read_its_file_once() -> None:
    """One for each setup and launch, and another after each failure, which ends a worker."""
    pp, tg = fakes.workload(8, 0), fakes.workload(0, 8)
    size = fakes.measured(pp).artifact.bytes
    results = (fakes.measured(pp), fakes.measured(tg), fakes.measured(pp, launch=1))
    assert record._opened(fakes.run(*results)) == 2 * size
    assert record._opened(fakes.run(*results, fakes.failed(tg, launch=1))) == 3 * size
    assert record._opened(fakes.run()) == 0


def test_opening_the_model_is_no_doubt(monkeypatch: pytest.MonkeyPatch) -> None:
    one = fakes.run(fakes.measured(fakes.workload(8, 0)))
    size = fakes.measured(fakes.workload(8, 0)).artifact.bytes
    for read, doubts in ((size, 0), (2 * size, 1)):
        monkeypatch.setattr(conditions, "look", lambda read=read, **_: Conditions(refault_bytes=read))
        assert len(record.judged(one, Conditions(refault_bytes=0), (), {}).warnings) == doubts


def test_a_doubt_that_grows_is_told_once(phibench: Phibench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = itertools.count()
    monkeypatch.setattr(conditions, "look", lambda **_: Conditions(swapped_in_bytes=next(looks) << 30))
    assert phibench("run", suite_file(tmp_path), *NULL).code == 0
    (doubt,) = run_files.read_run(only_run(tmp_path)).warnings  # three results, three judgements
    assert "3 GiB swapped in" in doubt
