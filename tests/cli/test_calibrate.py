"""``phibench calibrate``: its words, its dry run, a real one that is cut off and goes on."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import fakes
import msgspec
import pytest
from conftest import Phibench

from phibench import backends
from phibench.cli import calibrate, calibration_plan, choice, measure
from phibench.core import files, run_files
from phibench.core.errors import FAILED, INTERRUPTED, PhibenchError
from phibench.core.nouns import Failed, LeftOut, Machine, Measured, Run, SelfTest
from phibench.machine import inventory
from phibench.measure import calibration, suites
from phibench.predict.speed import Knowledge
from phibench.show import advice_document
from phibench.show import calibration as show
from phibench.verify import selftest

pytestmark = pytest.mark.usefixtures("probed")
SMALL = ("calibrate", "-b", "llama_cpp", "-m", "phi-1")
PROBED = msgspec.structs.replace(
    fakes.machine(),
    devices=(
        msgspec.structs.replace(
            fakes.machine().devices[0], read_bytes_s=40e9, basis="probed", matrix_flops_s={"float32": 120e9}
        ),
    ),
)


@pytest.mark.parametrize(("text", "seconds"), [("120s", 120), ("2min", 120), ("90", 90), (" 1.5 M ", 90), ("1h", 3600)])
def test_a_budget_is_a_time(text: str, seconds: float) -> None:
    assert calibrate.budget(text) == seconds


@pytest.mark.parametrize("text", ["0", "-5s", "5x", "abc", "", "nan", "inf", "25h"])
def test_what_is_no_time_is_refused(phibench: Phibench, text: str) -> None:
    done = phibench("calibrate", "--budget", text)
    assert (done.code, done.out) == (2, "")
    assert "--budget" in done.err
    assert re.search(r"write (30s|a time)", done.err)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("-b", "lama_cpp"), "did you mean 'llama_cpp'"),
        (("-b", "null"), "null runs no Phi"),
        (("-m", "phi-9"), "unknown variant 'phi-9'"),
    ],
)
def test_unknown_names_are_refused_before_anything_is_measured(
    phibench: Phibench, words: tuple[str, ...], why: str
) -> None:
    done = phibench("calibrate", *words)
    assert (done.code, done.out) == (2, "")
    assert why in done.err


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """``engines(absent=("torch",))``; nobody is asked for a self-test but those of ``tests``."""

    def install(*, absent: tuple[str, ...] = (), tests: tuple[SelfTest, ...] = ()) -> None:
        monkeypatch.setattr(inventory, "this_machine", lambda **_: PROBED)
        for name in ("llama_cpp", "onnxruntime", "torch"):
            monkeypatch.setattr(backends.load(name), "installed", lambda gone=name in absent: None if gone else "1.0")
            monkeypatch.setattr(backends.load(name), "devices", lambda: ("cpu",))
        tested = msgspec.structs.replace(PROBED, selftests=tests)
        monkeypatch.setattr(selftest, "tested", lambda machine, places, on_note: tested)

    return install


def test_a_dry_run_lists_what_there_is_time_for_and_the_rest(engines: Callable[..., None], phibench: Phibench) -> None:
    engines()
    done = phibench("calibrate", "--dry-run", "--budget", "1h")
    assert done.code == 0, done.err
    assert "Nothing was started." in done.out
    long = json.loads(phibench("calibrate", "--dry-run", "--budget", "1h", "-o", "json").out)
    assert "phi-4-mini-instruct:Q4_K_M@llama_cpp/cpu, whole" in [row["what"] for row in long]
    rows = json.loads(phibench("calibrate", "--dry-run", "-o", "json").out)
    assert sum(row["seconds"] for row in rows) <= 120
    assert {"onnxruntime", "torch", "llama_cpp"} == {row["what"].split("@")[1].split("/")[0] for row in rows}
    fewer = json.loads(phibench("calibrate", "--dry-run", "-o", "json", "--budget", "60s").out)
    assert len(fewer) < len(rows)
    assert "left out for lack of time" in phibench("calibrate", "--dry-run", "--budget", "60s").out


def test_a_budget_for_not_one_slice_is_refused(engines: Callable[..., None], phibench: Phibench) -> None:
    engines()
    done = phibench("calibrate", "--budget", "1s")
    assert (done.code, done.out) == (2, "")
    assert "not even one slice can be measured in 1 s; give a longer --budget" in done.err


def test_an_engine_that_is_not_installed_is_an_error_where_it_was_named(
    engines: Callable[..., None], phibench: Phibench
) -> None:
    engines(absent=("torch",))
    assert phibench("calibrate", "--dry-run").code == 0
    named = phibench("calibrate", "--dry-run", "-b", "torch")
    assert (named.code, named.out) == (2, "")
    assert "torch is not installed" in named.err
    engines(absent=("torch", "llama_cpp", "onnxruntime"))
    none = phibench("calibrate")
    assert none.code == FAILED
    assert none.err.startswith("phibench: nothing can be measured: ")


def test_a_dead_engine_is_left_out_and_told(engines: Callable[..., None]) -> None:
    why = "torch died of SIGILL"
    dead = SelfTest(backend="torch", device="cpu", build="1", processor="x", usable=False, reason=why)
    sick = msgspec.structs.replace(PROBED, selftests=(dead,))
    engines(tests=(dead,))
    places = calibration_plan.places(sick, ("llama_cpp", "torch"))
    plan = calibration_plan.planned(sick, places, Knowledge(sick), 120.0)
    assert plan.broken
    assert {piece.setup.backend for piece, _, _ in plan.items} == {"llama_cpp"}
    assert why in str(plan.left_out[0])
    with pytest.raises(PhibenchError, match=r"nothing can be measured here: .*SIGILL") as raised:
        calibration_plan.planned(sick, (("torch", "cpu"),), Knowledge(sick), 120.0)
    assert raised.value.exit_code == FAILED


def test_what_memory_has_no_room_for_is_left_out(engines: Callable[..., None]) -> None:
    engines()
    limits = msgspec.structs.replace(PROBED.limits, free_bytes=1 << 30)
    small = msgspec.structs.replace(PROBED, limits=limits)
    plan = calibration_plan.planned(small, (("llama_cpp", "cpu"), ("torch", "cpu")), Knowledge(small), 120.0)
    assert plan.items
    assert all(task.need.total_bytes <= 1 << 30 for _, task, _ in plan.items)
    assert any(
        one.what.startswith("phi-4-mini-instruct:bf16@torch/cpu") and "can use only 1 GiB" in one.reason
        for one in plan.left_out
    )
    assert not plan.broken


# --------------------------------------------------------------------------------------------- for real


def only_run(tmp_path: Path) -> Run:
    (path,) = (tmp_path / "results").rglob("*-calibrate.json")
    return run_files.read_run(path)


def some_result(tmp_path: Path, process: subprocess.Popen[str]) -> None:
    """Wait until a result is stored."""
    until = time.monotonic() + 120
    while time.monotonic() < until and process.poll() is None:
        runs = run_files.read_runs(tmp_path / "results")[0]
        if runs and runs[0].results:
            return
        time.sleep(0.05)
    raise AssertionError(process.communicate()[1])


def test_ctrl_c_keeps_what_is_done_and_resume_goes_on(
    spawn: Callable[..., subprocess.Popen[str]], phibench: Phibench, tmp_path: Path
) -> None:
    process = spawn(*SMALL, "--budget", "60s")
    some_result(tmp_path, process)
    process.send_signal(signal.SIGINT)
    assert process.wait() == INTERRUPTED, process.communicate()
    kept = only_run(tmp_path)
    assert kept.results
    assert kept.suite.name == "calibrate"

    done = phibench(*SMALL, "--budget", "30s", "--resume", "-o", "json")
    assert done.code == 0, done.err
    again = only_run(tmp_path)
    assert again.id == kept.id
    assert len(kept.results) < len(again.results)
    assert all(result in again.results for result in kept.results)
    assert all(isinstance(result, Measured) for result in again.results)
    document = json.loads(done.out)
    assert document.keys() >= {"schema", "seconds", "rates", "narrowed"}
    for rate in document["rates"]:
        assert rate.keys() == {"backend", "device", "tensor_type", "phase", "value", "low", "high", "unit"}
        assert rate["low"] < rate["value"] < rate["high"]
    assert "Q4_K" in {rate["tensor_type"] for rate in document["rates"]}
    assert {"decode", "prefill"} == {rate["phase"] for rate in document["rates"]}
    for one in document["narrowed"]:
        assert one["after"][1] / one["after"][0] < one["before"][1] / one["before"][0]
    assert re.search("left out|no time", " ".join(document["left_out"]))


def test_a_slice_that_fails_leaves_the_others_and_is_exit_1(
    phibench: Phibench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from phibench import synth

    real = synth.ensure

    def fails(variant: object, quantization: str, *rest: object, **named: object) -> object:
        if quantization == "Q4_K_M":
            raise PhibenchError("the writer died of SIGKILL", FAILED)
        return real(variant, quantization, *rest, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(synth, "ensure", fails)
    monkeypatch.setattr(calibration, "slices", _few(calibration.slices))
    monkeypatch.setattr(calibration, "wholes", lambda *_: ())
    done = phibench(*SMALL, "--budget", "60s")
    assert done.code == FAILED
    assert "the writer died" in done.err
    found = only_run(tmp_path).results
    assert {r.setup.quantization for r in found if isinstance(r, Measured)} == {"Q8_0"}
    assert {r.setup.quantization for r in found if isinstance(r, Failed)} == {"Q4_K_M"}
    assert "Q8_0" in done.out


def _few(slices: Callable[..., tuple[calibration.Piece, ...]]) -> Callable[..., tuple[calibration.Piece, ...]]:
    def few(*rest: object) -> tuple[calibration.Piece, ...]:
        found = slices(*rest)
        return (found[0], next(piece for piece in found if piece.setup.quantization == "Q8_0"))

    return few


# ------------------------------------------------------------------------------------------ what is said


LATE = LeftOut(what="x", reason="no time", late=True)


def report(machine: Machine = PROBED) -> tuple[Run, str]:
    works = ((256, 0), (0, 16))
    setup = fakes.SETUP
    results = [
        fakes.measured(fakes.workload(*w), (step,) * 3, setup, launch, layers=layers)
        for layers, scale in ((4, 1.0), (8, 1.9), (None, 8.0))
        for launch in range(2)
        for w, step in zip(works, (0.5 * scale, 0.02 * scale), strict=True)
    ]
    done = msgspec.structs.replace(fakes.run(*results, name="calibrate"), machine=machine)
    return done, show.text(calibrate.told(machine, (), done, (LATE,), 100.0, 120.0), "table", 80)


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_keeps_to_the_width_and_has_check_and_rates(width: int) -> None:
    done, _ = report()
    told = calibrate.told(PROBED, (), done, (LATE,), 100.0, 120.0)
    said = show.text(told, "table", width)
    assert all(len(line) <= width for line in said.splitlines())
    assert "decode GB/s" in said
    assert "Q4_K" in said
    assert re.search(r"check: .*, whole: .*predicted, .*measured \([+-]\d", " ".join(said.split()))
    assert "left out: x: no time" in said


def test_the_check_does_not_know_its_own_figures() -> None:
    done, _ = report()
    off = [_twice_as_slow(r) for r in done.results if isinstance(r, Measured)]
    slow = msgspec.structs.replace(done, results=tuple(off))
    told, other = (calibrate.told(PROBED, (), run, (), 1.0, 2.0).checks for run in (done, slow))
    assert [check.predicted for check in told] == [check.predicted for check in other]
    assert all(b.measured == pytest.approx(a.measured / 2) for a, b in zip(told, other, strict=True))


def _twice_as_slow(result: Measured) -> Measured:
    if result.artifact.layers is not None:
        return result
    slower = tuple(msgspec.structs.replace(s, arrivals_s=tuple(2 * a for a in s.arrivals_s)) for s in result.samples)
    return msgspec.structs.replace(result, samples=slower)


def test_what_was_measured_beside_others_is_called_doubtful() -> None:
    done, quiet = report()
    assert "doubtful" not in quiet
    wholes = [isinstance(r, Measured) and r.artifact.layers is None for r in done.results]
    pairs = zip(done.results, wholes, strict=True)
    busy = [msgspec.structs.replace(r, busy_share=0.6) if whole else r for r, whole in pairs]
    loud = msgspec.structs.replace(done, results=tuple(busy), warnings=("a", "b", "c", "d", "e", "f"))
    told = calibrate.told(PROBED, (), loud, (), 1.0, 2.0)
    assert all("60% of the cpus" in check.doubt for check in told.checks)
    said = " ".join(show.text(told, "table", 80).split())
    assert said.count("doubtful: measured while other programs kept 60%") == 1
    assert "doubtful: d doubtful: 2 more" in said
    assert show.document(told)["warnings"] == list("abcdef")


# ------------------------------------------------------------------------------- who else speaks of it


def test_quickstart_measures_the_whole_of_its_setup_and_slices_of_its_engine(
    engines: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    engines()
    asked = []

    def execute(
        plan: calibration_plan.Plan, ends: float, folder: Path, **named: bool
    ) -> tuple[Run, Path, tuple[LeftOut, ...]]:
        asked.append((plan, ends - time.monotonic(), named))
        return fakes.run(), folder, ()

    monkeypatch.setattr(calibrate, "execute", execute)
    task, _ = choice.choose(suites.load("quick"), PROBED)
    calibrate.around(task, PROBED, tmp_path)
    ((plan, seconds, named),) = asked
    *slices, (whole, check, _) = plan.items
    assert (check.setup, check.layers, named) == (task.setup, None, {"sure": True})
    assert {str(work) for work in whole.suite.workloads()} == {"pp256+tg32"}
    assert {piece.setup.backend for piece, _, _ in slices} == {task.setup.backend}
    usual = calibration_plan.expected(task, PROBED, Knowledge(PROBED))
    assert seconds == pytest.approx(usual.start_s + usual.all_s(1), abs=1.0)


def test_recommend_says_what_calibrating_would_narrow_and_where_it_was_done_no_more(
    engines: Callable[..., None], phibench: Phibench, tmp_path: Path
) -> None:
    engines(absent=("torch",))
    said = phibench("recommend").out
    assert "phibench calibrate would narrow the speeds of llama_cpp, onnxruntime in 2 min: decode of phi-" in " ".join(
        said.split()
    )
    found = json.loads(phibench("recommend", "-o", "json").out)
    assert found["calibrate"] == {"backends": ["llama_cpp", "onnxruntime"], "seconds": 120}

    described = tmp_path / "machine.toml"
    files.write_machine(described, PROBED)
    assert "phibench calibrate" not in phibench("recommend", "--machine", str(described)).out

    done, _ = report()
    path = run_files.run_path(tmp_path / "results", done)
    path.parent.mkdir(parents=True)
    files.write_json(path, done)
    assert json.loads(phibench("recommend", "-o", "json").out)["calibrate"]["backends"] == ["onnxruntime"]


def test_recommend_tells_the_time_that_calibrate_takes() -> None:
    budget = next(option for option in measure.calibrate.params if option.name == "budget")
    assert budget.default == f"{advice_document.CALIBRATE_S}s"
