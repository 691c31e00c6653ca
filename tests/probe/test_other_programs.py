"""What other programs do while a test is measured marks the run; what we do ourselves does not."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from conftest import Phibench
from fakes import SETUP, failed, measured, workload
from suite_files import only_run, suite_file

from phibench.core import files, run_files
from phibench.core.nouns import Measured, Run
from phibench.probe import conditions, other_programs

TORCH = msgspec.structs.replace(SETUP, backend="torch", quantization="bf16")
TWO_LONG_TESTS = "new_tokens = [75, 50]\nrepetitions = 1\n[warmup]\nmax_windows = 0\n"


def busy(share: float | None, result: Measured | None = None) -> Measured:
    return msgspec.structs.replace(result or measured(workload(0, 4)), busy_share=share)


@pytest.fixture
def hog() -> Iterator[Callable[[], None]]:
    """Starts a program that takes a whole cpu."""
    started: list[subprocess.Popen[bytes]] = []
    yield lambda: started.append(subprocess.Popen([sys.executable, "-c", "while True: pass"]))
    for process in started:
        process.kill()
        process.wait()


def test_a_hog_that_starts_during_a_run_marks_it_and_a_resumed_run_says_it_once(
    spawn: Callable[..., subprocess.Popen[str]], phibench: Phibench, tmp_path: Path, hog: Callable[[], None]
) -> None:
    words = ("run", suite_file(tmp_path, TWO_LONG_TESTS), "-b", "null", "--backend-option", "token_us=20000")
    setup = "(phi-4-mini-instruct:Q4_K_M@null/cpu?token_us=20000)"
    process = spawn(*words)
    assert process.stderr is not None
    while "measuring" not in process.stderr.readline():
        pass
    hog()
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    path = only_run(tmp_path)
    done = run_files.read_run(path)
    (said,) = marks(done)
    assert done.disturbed == (said,)
    assert said.startswith("other programs kept up to ")
    assert said.endswith(f" busy during tg75, tg50 {setup}")
    assert "doubtful: other programs kept" in out

    half = other_programs.told(done.results[:1], done.machine.limits.cpus)
    for known in (half, msgspec.UNSET):  # a file from before the field says it in its warnings alone
        cut = msgspec.structs.replace(done, results=done.results[:1], warnings=("on battery", *half), disturbed=known)
        files.write_json(path, cut)
        phibench(*words, "--resume")
        again = run_files.read_run(path)
        assert again.warnings[0] == "on battery"
        (said,) = marks(again)
        assert said.endswith(f" busy during tg75, tg50 {setup}")


def marks(run: Run) -> list[str]:
    return [line for line in run.warnings if "busy during" in line]


@pytest.mark.parametrize(
    ("share", "cpus", "says"),
    [
        (None, 2, None),
        (0.10, 2, None),
        (0.47, 2, "other programs kept 47% of the cpus busy during tg4 (phi-4-mini-instruct:Q4_K_M@llama_cpp/cpu)"),
        (0.007, 64, None),  # less than half a cpu of 64
        (0.016, 64, "other programs kept 1.0 cpus busy during tg4 (phi-4-mini-instruct:Q4_K_M@llama_cpp/cpu)"),
        (0.2, 64, "other programs kept 20% of the cpus busy during tg4 (phi-4-mini-instruct:Q4_K_M@llama_cpp/cpu)"),
    ],
)
def test_what_counts_is_a_tenth_of_the_cpus_or_half_a_cpu(share: float | None, cpus: float, says: str | None) -> None:
    assert other_programs.told((busy(share),), cpus) == ((says,) if says else ())


def test_a_line_for_each_setup_with_the_worst_of_its_tests() -> None:
    results = (
        busy(0.3), busy(0.5, measured(workload(8, 0))), busy(0.4, measured(workload(0, 4), launch=1)), busy(0.01),
        busy(0.2, measured(workload(0, 4), setup=TORCH)), failed(workload(0, 4)),
    )  # fmt: skip
    assert other_programs.told(results, 2) == (
        f"other programs kept up to 50% of the cpus busy during tg4, pp8 ({SETUP})",
        f"other programs kept 20% of the cpus busy during tg4 ({TORCH})",
    )


def test_what_we_do_ourselves_is_no_others() -> None:
    watched = other_programs.Others()
    assert watched.share() is None  # too short to tell
    end = time.perf_counter() + 0.6
    while time.perf_counter() < end:
        pass
    share, everything = watched.share(), conditions.busy_share(watched._times, watched._read())
    assert share is not None
    assert everything is not None
    assert 0 <= share < everything <= 1
