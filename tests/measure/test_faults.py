"""An engine that dies in every way there is: what is told, what is kept, and that nothing is left over.

The null backend is a real child process that really dies; real engines are killed in tests/measure/test_kills.py.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
from conftest import Phibench
from planting import needs_engines, plant
from suite_files import NULL, only_run, suite_file

from phibench.backends import contract
from phibench.core import run_files
from phibench.core.nouns import Artifact, Failed, Job, Measured, SelfTest, Setup, Suite, Workload
from phibench.core.processes import Child
from phibench.measure import launch, worker
from phibench.probe import conditions
from phibench.verify import selftest

SUITE = "prompt_tokens = [8]\npairs = [[4, 4], [4, 2]]\nnew_tokens = [4]\nrepetitions = 1\n[warmup]\nmax_windows = 0\n"
SMALL = Suite(name="small", question="?", metrics=())
PHASES = {"open": "opening", "prefill": "prefill", "decode": "decode"}
KILLED = f"was killed{' from outside' if conditions.oom_kills() is not None else ''} (SIGKILL)"
FAULTS = {  # how the fake engine dies: (kind, signal, what the reason must say)
    "segv": ("signal", "SIGSEGV", "died of SIGSEGV (a segmentation fault)"),
    "ill": ("signal", "SIGILL", "died of SIGILL (an illegal instruction)"),
    "bus": ("signal", "SIGBUS", "died of SIGBUS"),
    "abort": ("signal", "SIGABRT", "GGML_ASSERT(told_to_fail) failed"),
    "kill": ("signal", "SIGKILL", KILLED),
    "hang": ("hang", "", "did not respond for 2 s and was killed"),
    "oom": ("out_of_memory", "", "ran out of memory"),
    "exit": ("exit", "", "exited with code 3"),
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
    monkeypatch.setenv("PHIBENCH_SILENCE", "2s" if how == "hang" else "60s")
    kind, name, says = FAULTS[how]
    phase = "decode" if how == "wrong" else PHASES[during]  # numbers are looked at once a repetition is over
    # in the second repetition of a worker that has such a phase: pp4+tg4; opening is never repeated
    options = ("--backend-option", f"fail={how}", "--backend-option", f"during={during}")
    at = () if during == "open" else ("--backend-option", "at=2")
    done = phibench("run", suite_file(tmp_path, SUITE), *NULL, *options, *at)
    assert done.code == 1
    rows = json.loads(done.out)
    results = run_files.read_run(only_run(tmp_path)).results
    bad = [result for result in results if isinstance(result, Failed)]
    assert len(rows) == len(results) == 4
    tried = [result for result in bad if not result.reason.startswith("not tried: ")]
    assert {(result.kind, result.signal, result.phase) for result in tried} == {(kind, name, phase)}
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
        assert [result in tried for result in bad] == [True, True, False, False]
        assert {(result.kind, result.signal, result.phase) for result in bad[2:]} == {(None, "", "")}
        assert "2 times while it opened the model; " in bad[2].reason
    assert not [p for p in psutil.Process().children(recursive=True) if worker.__name__ in p.cmdline()]


def test_deaths_are_counted_by_kind_and_phase_through_all_suites_of_a_command(
    phibench: Phibench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = "prompt_tokens = [8]\nrepetitions = 1\n[warmup]\nmax_windows = 0\n"
    folders = [tmp_path / name for name in ("first", "second", "third")]
    for folder in folders:
        folder.mkdir()
    monkeypatch.setattr("phibench.measure.suites.MISSION", tuple(suite_file(folder, one) for folder in folders))
    done = phibench("run", "all", *NULL, "--backend-option", "fail=bus", "--backend-option", "during=open")
    assert done.code == 1, done.err
    found = [result for run in run_files.read_runs(tmp_path)[0] for result in run.results]
    told = Counter((result.kind, result.signal) for result in found if isinstance(result, Failed))
    assert told == {("signal", "SIGBUS"): 2, (None, ""): 1}
    assert "has died of a signal 2 times while it opened the model; " in done.out


def test_another_signal_in_the_same_phase_is_the_second_death() -> None:
    options = (("during", "open"), ("fail", "segv"))
    setup = Setup(variant="phi-2", quantization="none", backend="null", device="cpu", options=options)
    tests = tuple(Workload(prompt_tokens=count, new_tokens=0) for count in (1, 2, 3))
    nothing = Artifact(path="", bytes=0, weights="synthetic")
    job = Job(setup=setup, suite=SMALL, workloads=tests, artifact=nothing, threads=1)
    before: launch.Deaths = Counter({("signal", "opening"): 1, ("signal", "prefill"): 1})  # of SIGBUS, it may be
    kinds = [result.kind for result in launch.results(job, lambda _: None, before) if isinstance(result, Failed)]
    assert kinds == ["signal", None, None]


def test_a_worker_that_stays_takes_the_next_job_and_after_a_death_there_is_a_fresh_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def job(*options: tuple[str, str]) -> Job:
        setup = Setup(variant="phi-2", quantization="none", backend="null", device="cpu", options=options)
        nothing, tests = Artifact(path="", bytes=0, weights="synthetic"), (Workload(prompt_tokens=1, new_tokens=2),)
        return Job(setup=setup, suite=SMALL, workloads=tests, artifact=nothing, threads=1)

    started: list[Child] = []
    start = launch._started

    def counted() -> Child:
        started.append(start())
        return started[-1]

    monkeypatch.setattr(launch, "_started", counted)
    dying = (("during", "prefill"), ("fail", "segv"))
    with launch.Workers() as workers:
        found = [[*launch.results(job(*options), lambda _: None, None, workers)] for options in ((), (), dying, (), ())]
        kinds = [[type(result) for result in results] for results in found]
        assert kinds == [[Measured], [Measured], [Failed], [Measured], [Measured]]
        assert len(started) == 2
        assert [child.process.poll() is None for child in started] == [False, True]
        peaks = ["host_peak_bytes" in r.readings for (r,) in found if isinstance(r, Measured)]
        assert peaks == [True, False, True, False]  # a later peak could be that of the job before
        started[-1].process.kill()  # while nothing is asked of it
        started[-1].process.wait()
        (result,) = launch.results(job(), lambda _: None, None, workers)
        assert isinstance(result, Measured)
        assert len(started) == 3
    assert all(child.process.poll() is not None for child in started)


def test_no_worker_stays_on_a_gpu() -> None:
    cpu = Setup(variant="phi-2", quantization="none", backend="null", device="cpu")
    assert launch.stays(cpu)
    assert not launch.stays(msgspec.structs.replace(cpu, device="cuda"))


# ------------------------------------------------------------------------- a fault in a real engine, every command

PLANTED = {  # one of each kind -> what doctor, recommend and quickstart say of the engine, and how verify ends
    "opening exit": ("exited with code 3", "exited with code 3"),
    "prefill SIGSEGV": ("died of SIGSEGV", "died of SIGSEGV"),
    "prefill hang": ("did not respond", "did not respond"),
    "decode SIGABRT": ("GGML_ASSERT(planted) failed", "GGML_ASSERT(planted) failed"),
    "decode closed": ("closed its output", "closed its output"),
    "decode wrong": ("gives wrong numbers", "KL "),
}


@pytest.fixture
def sound_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch, whose import takes seconds and which is not what dies here, is not examined."""
    examine = selftest.examine

    def asked(backend: contract.Backend, device: str, *rest: Any) -> SelfTest:
        if backend.NAME != "torch":
            return examine(backend, device, *rest)
        return SelfTest(backend="torch", device=device, build="", processor="", usable=True)

    monkeypatch.setattr(selftest, "examine", asked)


@needs_engines
@pytest.mark.usefixtures("probed", "sound_torch")
@pytest.mark.parametrize("fault", PLANTED)
def test_no_command_dies_of_an_engine(phibench: Phibench, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    plant(monkeypatch, f"llama_cpp {fault}")
    if "hang" in fault:
        monkeypatch.setenv("PHIBENCH_SILENCE", "4s")  # from the import on
    says, verified = PLANTED[fault]
    doctor = phibench("doctor", "-o", "json")
    assert doctor.code == 0, doctor.err
    (found,) = [one for one in json.loads(doctor.out) if one["title"] == "llama_cpp is not usable here"]
    assert (found["severity"], says in found["evidence"]) == ("wrong", True)

    advice = phibench("recommend", "-o", "json", "--top", "all")
    assert advice.code in (0, 3, 5), advice.err  # other engines may be too slow here, or this machine busy
    objections = {c["backend"]: c["objections"] for c in json.loads(advice.out)["candidates"]}
    assert any(says in line and line.startswith("llama_cpp is not usable here") for line in objections["llama_cpp"])
    assert not any("not usable" in line for line in objections["onnxruntime"])

    first = phibench("quickstart")
    assert first.code == 1
    assert "What should fit for the goal 'chat'" in first.out
    assert "so the advice from the probe stands" in first.out
    assert sum(says in line for line in (first.out + first.err).splitlines() if line.startswith("llama_cpp is")) == 1

    answer = phibench("verify", "phi-2", "-b", "llama_cpp", "-q", "q8_0", "-o", "json")
    assert answer.code == 1
    (row,) = json.loads(answer.out)
    assert (row["verdict"], verified in row["reason"]) == ("differs" if "wrong" in fault else "failed", True)
    for done in (doctor, advice, first, answer):
        assert "Traceback" not in done.err
        assert "unrelated" not in done.out + done.err


@needs_engines
@pytest.mark.usefixtures("probed", "sound_torch")
def test_want_of_memory_is_no_fault_of_an_engine(phibench: Phibench, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, "llama_cpp opening oom")
    monkeypatch.setenv("PHIBENCH_CACHE_LIMIT", "600MB")
    assert "llama_cpp is not usable" not in phibench("doctor", "-o", "json").out
    assert "llama_cpp is not usable" not in phibench("recommend", "-o", "json", "--top", "all").out
    first = phibench("quickstart")
    assert first.code == 1
    assert "What should fit for the goal 'chat'" in first.out
    assert "the process ran out of memory" in first.err
    answer = phibench("verify", "phi-2", "-b", "llama_cpp", "-q", "q8_0", "-o", "json")
    assert answer.code == 1
    assert "out of memory" in json.loads(answer.out)[0]["reason"]
