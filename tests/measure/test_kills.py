"""The worker of a real engine dies of a real signal: ``make proof-kills`` in small, one kill in each phase."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from phibench import backends

PROOF = Path(__file__).parents[2] / "benchmarks" / "proofs" / "kills.py"


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="this system has no /proc")
@pytest.mark.parametrize("backend", ["llama_cpp", "onnxruntime"])
def test_a_worker_that_is_killed_is_named_and_takes_nothing_with_it(backend: str) -> None:
    if backends.load(backend).installed() is None:  # the engine is opened by the run's worker, never in here
        pytest.skip(f"{backend} is not installed")
    small = ("--backends", backend, "--times", "3", "--layers", "1", "--prompt", "128", "--new", "32")
    done = subprocess.run([sys.executable, str(PROOF), *small], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("3 of 3 kills named with nothing lost or left"), done.stdout
