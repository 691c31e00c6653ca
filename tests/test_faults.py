"""An engine that dies in every way there is: what is told, what is kept, and that nothing is left over.

The null backend is a real child process that really dies; real engines are killed in tests/test_kills.py.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import psutil
import pytest
from conftest import Phibench
from test_run import NULL, only_run, suite_file

from phibench import files
from phibench.nouns import Failed, Measured

SUITE = "prompt_tokens = [8]\npairs = [[4, 4], [4, 2]]\nnew_tokens = [4]\nrepetitions = 1\n[warmup]\nmax_windows = 0\n"
PHASES = {"open": "opening", "prefill": "prefill", "decode": "decode"}
FAULTS = {  # how the fake engine dies: (kind, signal, what the reason must say)
    "segv": ("signal", "SIGSEGV", "died of SIGSEGV (a segmentation fault)"),
    "ill": ("signal", "SIGILL", "died of SIGILL (an instruction that this processor does not have)"),
    "bus": ("signal", "SIGBUS", "died of SIGBUS"),
    "abort": ("signal", "SIGABRT", "GGML_ASSERT(told_to_fail) failed"),
    "kill": ("signal", "SIGKILL", "was killed from outside (SIGKILL)"),
    "hang": ("hang", "", "gave no sign of life for 2 s and was killed"),
    "oom": ("out_of_memory", "", "ran out of memory"),
    "exit": ("exit", "", "left with exit code 3"),
    "closed": ("closed", "", "closed its output and gave no answer"),
    "wrong": ("wrong_numbers", "", "not finite numbers"),
}

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")


@pytest.mark.parametrize("during", PHASES)
@pytest.mark.parametrize("how", FAULTS)
def test_a_death_has_a_name_and_costs_the_test_under_way(
    phibench: Phibench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, during: str
) -> None:
    if (how, during) == ("wrong", "open"):
        pytest.skip("opening a model computes no numbers")
    monkeypatch.setenv("PHIBENCH_SILENCE", "2s")
    kind, name, says = FAULTS[how]
    phase = "decode" if how == "wrong" else PHASES[during]  # numbers are looked at once a repetition is over
    # in the second repetition of a worker that has such a phase: pp4+tg4; opening is never repeated
    options = ("--backend-option", f"fail={how}", "--backend-option", f"during={during}")
    at = () if during == "open" else ("--backend-option", "at=2")
    done = phibench("run", suite_file(tmp_path, SUITE), *NULL, *options, *at)
    assert done.code == 1
    rows = json.loads(done.out)
    results = files.read_run(only_run(tmp_path)).results
    bad = [result for result in results if isinstance(result, Failed)]
    assert len(rows) == len(results) == 4
    assert {(result.kind, result.signal, result.phase) for result in bad} == {(kind, name, phase)}
    assert says in bad[0].reason
    assert phase in bad[0].reason or "opened the model" in bad[0].reason
    assert bad[0].engine.startswith("null ")
    assert bad[0].reason.startswith(bad[0].engine)
    assert "; " in bad[0].reason  # and what to do next
    assert "unrelated" not in bad[0].reason
    assert "code -" not in bad[0].reason
    kept = [result for result in results if isinstance(result, Measured)]
    assert len(kept) == (0 if during == "open" else 3)
    if during == "open":
        assert [result.reason.startswith("not tried: ") for result in bad] == [False, False, True, True]
    assert not [p for p in psutil.Process().children(recursive=True) if "phibench.worker" in p.cmdline()]
