"""The self-test of engines: what is right passes, what is not is found, remembered, and worked around."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import fakes
import msgspec
import numpy as np
import pytest
from conftest import Phibench
from planting import needs_engines, plant

from phibench import backends, catalog
from phibench.advise import recommend
from phibench.analysis import trust
from phibench.backends import contract
from phibench.catalog import tensor_types
from phibench.catalog.plans import gguf as plan_gguf
from phibench.core import files, folders, processes, run_files, text
from phibench.core.nouns import Conditions, Device, Installed, Machine, Measured, SelfTest, Setup
from phibench.machine import doctor, inventory
from phibench.measure import launch, record, run, suites, tasks
from phibench.verify import selftest
from phibench.verify.selftest import answers, child, weights

SETUP = Setup(variant="phi-4-mini-instruct", quantization="Q4_K_M", backend="llama_cpp")

posix = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")


def examined(name: str) -> SelfTest:
    return selftest.examine(backends.load(name), "cpu", inventory.this_machine(bandwidth=False), lambda _: None)


# ------------------------------------------------------------------------------------------------ the tiny models


def test_the_file_has_every_type_that_the_catalog_measures() -> None:
    table = plan_gguf.types()
    used = set()
    for mixes in table.mixes.values():
        for mix in mixes.values():
            for entry in mix.values():
                used |= {entry} if isinstance(entry, str) else set(entry)
    assert used <= {tensor.type for tensor in weights.tensors(weights.model())}
    formats = {q.format: {one.id for one in catalog.quantizations(q.format)} for q in catalog.quantizations()}
    assert formats["onnx"] == set(answers.quantizations("onnx"))
    assert formats["torch"] == set(answers.quantizations("torch"))


def test_widths_and_batch_reach_the_kernels_of_a_true_model() -> None:
    assert all(min(t.shape) >= 256 for t in weights.tensors(weights.model()) if len(t.shape) > 1)
    assert len(weights.prompt().tokens) >= 64


@pytest.mark.parametrize("kind", weights.TYPES)
def test_random_blocks_are_finite_weights_of_the_wanted_size(kind: str) -> None:
    gguf = pytest.importorskip("gguf")
    tensor = tensor_types.tensor("x", (256, 1024), kind)
    blocks = weights.matrix(tensor, weights.Plain(7), 0.05)
    assert blocks.nbytes == tensor.bytes
    values = gguf.dequantize(np.frombuffer(blocks.tobytes(), np.uint8), gguf.GGMLQuantizationType[kind])
    assert np.isfinite(values).all()
    assert values.std() == pytest.approx(0.05, rel=0.05)
    assert abs(values.mean()) < 0.01


def test_the_numbers_are_those_of_every_other_machine() -> None:
    """Bits of PCG64, which numpy promises; a change here makes every stored answer wrong."""
    assert weights.Plain(1).bytes(4).tolist() == weights.Plain(1).bytes(8).tolist()[:4]
    assert weights.prompt().tokens[:5] == PROMPT_START
    made = weights.model()
    assert float(made.weights["model.layers.0.mlp.down_proj.weight"][0, 0]) == pytest.approx(FIRST_WEIGHT, abs=1e-7)


PROMPT_START = (355, 418, 178, 25, 293)
FIRST_WEIGHT = -0.05655347555875778


@needs_engines
@pytest.mark.parametrize(("fmt", "quantization"), [("gguf", answers.MIXED), ("onnx", "int4"), ("torch", "int8")])
def test_what_is_stored_is_what_transformers_answers(tmp_path: Path, fmt: str, quantization: str) -> None:
    words = [sys.executable, "-P", "-m", answers.__name__, str(tmp_path / "now.npy"), fmt, quantization]
    subprocess.run(words, check=True, timeout=300)
    now = np.load(tmp_path / "now.npy").astype(np.float32)
    assert np.abs(now - answers.load(fmt, quantization)).max() < 0.02


# --------------------------------------------------------------------------------------------------- real engines


@pytest.mark.parametrize("name", ["llama_cpp", "onnxruntime", "torch"])
def test_a_sound_engine_passes_with_its_usual_options(name: str) -> None:
    if backends.load(name).installed() is None:
        pytest.skip(f"{name} is not installed")
    found = examined(name)
    assert (found.usable, found.options, found.kind, found.reason) == (True, {}, None, "")
    assert found.kl_max is not None
    assert 0 < found.kl_max < child.KL_MAX
    assert found.placement
    assert found.build == backends.build(backends.load(name))


def buffers(placement: str) -> set[tuple[str, str]]:
    """(what, name of the buffer) of all that is in one: llama.cpp's own names, without sizes."""
    found = {(what, name) for what, name, _ in (part.split(" ", 2) for part in placement.split("; ")[1:])}
    assert found
    return found


@needs_engines
def test_the_tiny_file_lies_in_every_buffer_that_a_true_model_lies_in(phibench: Phibench, tmp_path: Path) -> None:
    found = examined("llama_cpp")
    inventory.remember(found)
    words = ("-m", "phi-4-mini-instruct", "-q", "Q4_K_M", "-b", "llama_cpp", "--layers", "2", "-p", "64", "-n", "0")
    done = phibench("run", "quick", *words, "-r", "1", "--launches", "1", "-o", "json")
    assert done.code == 0, done.err
    (stored,) = run_files.read_runs(tmp_path / "results")[0]
    true = [result for result in stored.results if isinstance(result, Measured)]
    assert true
    for result in true:
        assert buffers(result.engine.placement) <= buffers(found.placement)


@posix
@needs_engines
@pytest.mark.parametrize(
    ("fault", "kind", "says"),
    [
        ("llama_cpp decode says repack=off", None, "with all types it says: planted"),
        ("onnxruntime opening says prepacking=off", None, "with int4 it says: planted"),
        ("llama_cpp prefill SIGSEGV repack=off", "signal", "died of SIGSEGV (a segmentation fault) in prefill of"),
        ("llama_cpp decode wrong repack=off", "wrong_numbers", "gives wrong numbers"),
        ("onnxruntime opening SIGILL prepacking=off", "signal", "died of SIGILL"),
        ("torch prefill SIGABRT onednn=off", "signal", "GGML_ASSERT(planted) failed"),
    ],
)
def test_the_first_safe_options_that_pass_are_taken(
    monkeypatch: pytest.MonkeyPatch, fault: str, kind: str, says: str
) -> None:
    plant(monkeypatch, fault)
    name, healed = fault.split(maxsplit=1)[0], fault.rsplit(maxsplit=1)[-1].split("=")
    found = examined(name)
    assert found.usable
    assert found.options[healed[0]] == healed[1]
    assert found.options in backends.load(name).SAFE
    assert found.kind == kind
    assert says in found.reason


@posix
@needs_engines
def test_a_single_failure_is_not_believed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    plant(monkeypatch, "llama_cpp prefill SIGSEGV")
    monkeypatch.setenv("PLANTED_ONCE", str(tmp_path / "once"))
    told: list[str] = []
    here = inventory.this_machine(bandwidth=False)
    found = selftest.examine(backends.load("llama_cpp"), "cpu", here, told.append)
    assert (found.usable, found.options, found.kind, found.reason) == (True, {}, None, "")
    assert found.kl_max
    assert "SIGSEGV" in told[-1]
    assert "asked again, it is right" in told[-1]


@posix
@needs_engines
def test_silence_before_the_engine_is_imported_says_nothing_of_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, phibench: Phibench
) -> None:
    plant(monkeypatch, "llama_cpp importing hang")
    monkeypatch.setenv("PHIBENCH_SILENCE", "2s")
    monkeypatch.setattr(processes, "START_S", 2.0)
    found = examined("llama_cpp")
    assert (found.usable, found.options, found.reason) == (True, {}, "")
    assert "did not respond" in found.untested
    assert "before the engine was imported" in found.untested


@pytest.mark.parametrize(("error", "usable"), [(ModuleNotFoundError, True), (ImportError, False)])
def test_a_missing_package_is_no_fault_and_a_broken_one_is(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception], usable: bool
) -> None:
    assert not child._imports(("phibench",)).missing

    def fail(_: str) -> None:
        raise error("no engine")

    monkeypatch.setattr(importlib, "import_module", fail)
    said = child._imports(("phibench",))
    assert (bool(said.missing), bool(said.broken)) == (usable, not usable)


@posix
@needs_engines
def test_what_cannot_be_tested_is_told_used_and_not_remembered(
    phibench: Phibench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    plant(monkeypatch, "llama_cpp importing SIGKILL")
    monkeypatch.setattr(launch, "results", lambda job, *_: [fakes.measured(job.workloads[0], setup=job.setup)])
    done = phibench("run", "quick", "-m", "phi-1", "--layers", "1", "-p", "8", "-n", "0", "-o", "json")
    assert done.code == 0, done.err
    line = next(line for line in done.err.splitlines() if "could not be tested" in line)
    assert line.startswith("llama_cpp could not be tested: its process was killed from outside (SIGKILL)")
    assert line.endswith("; it is used untested")
    (stored,) = run_files.read_runs(tmp_path / "results")[0]
    assert stored.conditions["selftest_llama_cpp_cpu"] == line
    assert inventory.selftests() == ()
    (note,) = [one for one in doctor.findings(stored.machine, Conditions()) if "could not be tested" in one.title]
    assert note.severity == "note"


def test_a_device_that_is_not_here_is_no_fault_of_the_engine() -> None:
    if backends.load("torch").installed() is None:
        pytest.skip("torch is not installed")
    device = "xpu:7"
    found = selftest.examine(backends.load("torch"), device, inventory.this_machine(bandwidth=False), lambda _: None)
    assert found.usable
    assert f"asked for {device}" in found.untested


@posix
@needs_engines
def test_a_death_leaves_no_files_and_no_name_of_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    here = tmp_path / "for-files"
    here.mkdir()
    monkeypatch.setenv("TMPDIR", str(here))
    monkeypatch.setattr(tempfile, "tempdir", None)
    plant(monkeypatch, "llama_cpp prefill SIGSEGV")
    monkeypatch.setattr(text, "scrub", lambda said: said.replace("SIGSEGV", "~"))
    found = examined("llama_cpp")
    assert not found.usable
    assert "died of ~ " in found.reason
    assert list(here.iterdir()) == []


@posix
@needs_engines
def test_an_engine_that_nothing_heals_is_not_usable_and_the_others_go_on(
    phibench: Phibench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    plant(monkeypatch, "llama_cpp prefill SIGSEGV")
    done = phibench("run", "quick", "-m", "phi-1", "--layers", "1", "-b", "llama_cpp,onnxruntime", "-p", "8", "-n", "0",
                    "--launches", "1", "-o", "json")  # fmt: skip
    rows = {row["backend"]: row for row in json.loads(done.out)}
    assert done.code == 1
    assert rows["onnxruntime"]["status"] == "ok"
    assert rows["llama_cpp"]["status"] == "failed"
    assert "llama_cpp is not usable here: " in rows["llama_cpp"]["reason"]
    assert "SIGSEGV" in done.err
    assert done.err.count("testing llama_cpp") == 1


@posix
@needs_engines
def test_safe_options_stand_in_every_row_on_the_screen_and_in_the_run(
    phibench: Phibench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    plant(monkeypatch, "llama_cpp prefill SIGSEGV repack=off")
    words = ("run", "quick", "-m", "phi-1", "--layers", "1", "-p", "8", "-n", "2", "-o", "json")
    done = phibench(*words)
    assert done.code == 0, done.err
    assert {row["setup"] for row in json.loads(done.out)} == {"phi-1:Q4_K_M@llama_cpp/cpu?repack=off"}
    assert all(row["options"]["repack"] == "off" for row in json.loads(done.out))
    line = next(line for line in done.err.splitlines() if "SIGSEGV" in line)
    assert line.endswith("with repack=off it is right, so that is used here")
    (stored,) = run_files.read_runs(tmp_path / "results")[0]
    assert stored.conditions["selftest_llama_cpp_cpu"] == line
    assert [one.options for one in stored.machine.selftests] == [{"repack": "off"}]
    again = phibench(*words)
    assert "testing llama_cpp" not in again.err  # it is remembered
    assert "SIGSEGV" in again.err  # and told


# ------------------------------------------------------------------------------------------------------- memory


def known(**changes: Any) -> SelfTest:
    """What is remembered of llama.cpp as it is installed here."""
    build = backends.build(backends.load("llama_cpp")) or ""
    plain = SelfTest(
        backend="llama_cpp", device="cpu", build=build, processor=inventory.processor(), usable=True,
        test=trust.VERSION,
    )  # fmt: skip
    return msgspec.structs.replace(plain, **changes)


DEAD: dict[str, Any] = {"usable": False, "kind": "signal", "reason": "llama_cpp 1 died of SIGSEGV"}
HEALED: dict[str, Any] = {"options": {"repack": "off"}, "kind": "signal", "reason": "llama_cpp 1 died of SIGSEGV"}


def test_what_is_remembered_is_of_this_build_and_this_processor() -> None:
    if backends.load("llama_cpp").installed() is None:
        pytest.skip("llama_cpp is not installed")
    inventory.remember(known(build="another"))
    inventory.remember(known(processor="another"))
    assert inventory.this_machine(bandwidth=False).selftests == ()
    inventory.remember(known())
    inventory.remember(known())
    assert inventory.this_machine(bandwidth=False).selftests == (known(),)


def remembered() -> list[SelfTest]:
    return msgspec.json.decode((folders.cache_dir() / "selftests.json").read_bytes(), type=list[SelfTest])


@pytest.mark.parametrize("changes", [{"test": trust.VERSION - 1}, {"options": {"an_option_of_old": "on"}}])
def test_what_another_test_found_is_no_memory(changes: dict[str, Any]) -> None:
    if backends.load("llama_cpp").installed() is None:
        pytest.skip("llama_cpp is not installed")
    inventory.remember(known(**HEALED))
    assert len(inventory.selftests()) == 1
    files.write_json(folders.cache_dir() / "selftests.json", [msgspec.structs.replace(remembered()[0], **changes)])
    assert inventory.selftests() == ()


def test_a_changed_test_has_another_version(tmp_path: Path) -> None:
    """Where this fails: raise ``trust.VERSION`` and write the digest here."""
    seen = hashlib.sha256(answers.FILE.read_bytes())
    seen.update(weights.write_gguf(weights.model(), tmp_path).read_bytes())
    safe = {name: backends.load(name).SAFE for name in backends.names()}
    seen.update(repr((child.KL_MEAN, child.KL_MAX, weights.prompt(), sorted(safe.items()))).encode())
    assert (trust.VERSION, seen.hexdigest()[:16]) == (1, "8ed16f4648bfdfde")


CARD = Device(kind="cuda:0", name="RTX 4090", driver="550.54, CUDA 12.4")


@pytest.mark.parametrize("other", [{"driver": "570.1, CUDA 12.8"}, {"name": "RTX 5090"}])
def test_of_a_gpu_its_name_and_driver_are_remembered(other: dict[str, str]) -> None:
    if backends.load("llama_cpp").installed() is None:
        pytest.skip("llama_cpp is not installed")
    cpu, now = fakes.machine().devices[0], msgspec.structs.replace(CARD, **other)
    on_card = known(device="cuda:0", processor=inventory.processor("cuda:0", (cpu, CARD)))
    inventory.remember(on_card)
    inventory.remember(known())
    assert inventory.selftests((cpu, CARD)) == (on_card, known())
    assert inventory.selftests((cpu, now)) == (known(),)  # what the processor did is still known
    assert inventory.selftests((cpu,)) == (known(),)


@pytest.mark.parametrize("content", [b"", b"{}", b'[{"backend": 1}]', b"[" * 5000, b"\xff\xfe"])
def test_a_damaged_memory_is_no_memory(content: bytes) -> None:
    folders.cache_dir().mkdir(parents=True)
    (folders.cache_dir() / "selftests.json").write_bytes(content)
    assert inventory.selftests() == ()


def test_the_build_changes_with_every_file_of_the_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = backends.load("null")
    monkeypatch.setattr(engine, "LIBRARIES", ("somebodys_engine/lib",))
    (tmp_path / "somebodys_engine" / "lib").mkdir(parents=True)
    (tmp_path / "somebodys_engine" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    empty = backends.build(engine)
    library = tmp_path / "somebodys_engine" / "lib" / "libengine.so"
    library.write_bytes(b"one")
    first = backends.build(engine)
    library.write_bytes(b"another")
    assert len({empty, first, backends.build(engine)}) == 3


def test_nothing_is_tested_for_advice(phibench: Phibench, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("an engine was tested")

    monkeypatch.setattr(selftest, "examine", never)
    assert phibench("recommend", "-o", "json").code in (0, 3, 5)
    assert phibench("run", "quick", "--dry-run").code == 0


# -------------------------------------------------------------------------------------------- what hangs on it


def machine(*found: SelfTest) -> Machine:
    return msgspec.structs.replace(fakes.machine(), selftests=found)


def test_setups_get_the_safe_options_but_for_what_they_ask_themselves() -> None:
    here = machine(known(**HEALED))
    assert trust.with_options(SETUP, here).options == (("repack", "off"),)
    asked = msgspec.structs.replace(SETUP, options=(("repack", "on"), ("threads", "1")))
    assert trust.with_options(asked, here) == asked
    assert trust.with_options(SETUP, machine()) == SETUP


def test_force_runs_what_is_not_usable_here_and_says_so(phibench: Phibench, tmp_path: Path) -> None:
    if backends.load("llama_cpp").installed() is None:
        pytest.skip("llama_cpp is not installed")
    suite, dead = suites.load("quick"), machine(known(**DEAD))
    (refused,), (forced,) = (tasks.prepare((SETUP,), suite, dead, force=force) for force in (False, True))
    assert refused.objection
    assert str(refused.objection).endswith("; --force runs it anyway")
    assert forced.objection is None
    lines: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(selftest, "examine", lambda *_: known(**DEAD))
        selftest.ready((SETUP,), dead, lines.append, force=True)
        assert lines[-1] == "llama_cpp runs anyway: --force"
        lines.clear()
        selftest.ready((SETUP,), dead, lines.append)
        assert not [line for line in lines if "--force" in line]
    assert record.trust_conditions(dead, (forced,))["llama_cpp_cpu"].endswith("; run anyway (--force)")
    assert "--force" not in record.trust_conditions(dead, (refused,))["llama_cpp_cpu"]


def test_a_run_keeps_the_self_tests_of_its_own_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if backends.load("llama_cpp").installed() is None:
        pytest.skip("llama_cpp is not installed")
    monkeypatch.setattr(launch, "results", lambda job, *_: [fakes.measured(w, setup=job.setup) for w in job.workloads])
    monkeypatch.setattr(run, "_write", lambda *_: fakes.measured(fakes.workload(1, 0)).artifact)
    here, suite = machine(known(), known(backend="torch"), known(device="cuda:0")), suites.load("quick")
    (task,) = tasks.prepare((SETUP,), suite, here)
    done, path = run.run((task,), suite, here, tmp_path, software={}, on_event=lambda *_: None)
    assert done.machine.selftests == (known(),)
    assert {k: v for k, v in done.conditions.items() if k.startswith("selftest")} == {
        "selftest_llama_cpp_cpu": "passed"
    }
    then = {**done.conditions, "before_anything": "then"}
    old = msgspec.structs.replace(done, results=done.results[:1], conditions=then)
    healed = machine(known(**HEALED))
    again, _ = run.run((task,), suite, healed, tmp_path, software={}, on_event=lambda *_: None, begun=(old, path))
    assert len(again.results) == len(done.results)
    assert again.conditions["selftest_llama_cpp_cpu"] == trust.sentence(known(**HEALED))  # as it is now
    assert again.conditions["before_anything"] == "then"


@needs_engines
def test_verify_takes_the_safe_options(phibench: Phibench) -> None:
    inventory.remember(known(**HEALED))
    done = phibench("verify", "phi-2", "-b", "llama_cpp", "-q", "q8_0", "-o", "json")
    assert done.code == 0, done.err
    (row,) = json.loads(done.out)
    assert row["setup"] == "phi-2:Q8_0@llama_cpp/cpu?repack=off"
    assert trust.sentence(known(**HEALED)) in done.err.splitlines()


def test_advice_knows_what_cannot_be_used_here_and_with_which_options() -> None:
    goal = catalog.goal("chat")
    verdicts = recommend.advise(machine(known(**DEAD)), goal, ())
    mine = [v for v in verdicts if v.setup.backend == "llama_cpp"]
    assert {v.verdict for v in mine} == {"no"}
    assert all(any("llama_cpp is not usable here: " in why for why in v.objections) for v in mine)
    assert any(v.verdict != "no" for v in verdicts)
    healed = recommend.advise(machine(known(**HEALED)), goal, ())
    assert {v.setup.options for v in healed if v.setup.backend == "llama_cpp"} == {(("repack", "off"),)}


def test_the_doctor_finds_both(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Installed(backend="llama_cpp", package="llama-cpp-python", version="1")
    for found, severity, title in (
        (DEAD, "wrong", "is not usable here"),
        (HEALED, "slow", "fails here with its usual"),
    ):
        here = msgspec.structs.replace(machine(known(**found)), backends=(engine,))
        one = next(f for f in doctor.findings(here, Conditions()) if "SIGSEGV" in f.evidence)
        assert one.severity == severity
        assert title in one.title
        assert "phibench doctor" in one.remedy
    assert not [f for f in doctor.findings(machine(known()), Conditions()) if "llama_cpp" in f.title]


@pytest.mark.parametrize(
    ("built", "gpus", "devices"),
    [
        (("cpu",), ("cuda:0",), ["cpu"]),
        (("cpu", "cuda:0"), (), ["cpu"]),
        (("cpu", "cuda:0"), ("cuda:0", "cuda:1", "npu"), ["cpu", "cuda:0", "cuda:1"]),
        (("cpu", "vulkan:0"), ("rocm:0",), ["cpu", "vulkan:0"]),
        (("cpu", "mps"), ("metal",), ["cpu", "mps"]),
    ],
)
def test_the_doctor_tests_anew_what_is_known_on_every_device_that_an_engine_can_use(
    monkeypatch: pytest.MonkeyPatch, built: tuple[str, ...], gpus: tuple[str, ...], devices: list[str]
) -> None:
    for name in backends.names():
        monkeypatch.setattr(backends.load(name), "installed", lambda there=name == "llama_cpp": "1" if there else None)
    monkeypatch.setattr(backends.load("llama_cpp"), "devices", lambda: built)
    asked = []

    def examine(backend: contract.Backend, device: str, *_: object) -> SelfTest:
        asked.append(device)
        return known(device=device)

    monkeypatch.setattr(selftest, "examine", examine)
    cards = tuple(Device(kind=kind, name="a card") for kind in gpus)
    here = msgspec.structs.replace(machine(known(**DEAD)), devices=(*fakes.machine().devices, *cards))
    found = selftest.retest(here, lambda _: None)
    assert asked == devices
    assert [(one.device, one.usable) for one in found.selftests] == [(device, True) for device in devices]


def test_the_command_doctor_tests_what_passed_before(phibench: Phibench, monkeypatch: pytest.MonkeyPatch) -> None:
    if backends.load("llama_cpp").installed() is None:
        pytest.skip("llama_cpp is not installed")
    inventory.remember(known())
    monkeypatch.setattr(inventory, "this_machine", lambda **_: machine(*inventory.selftests()))
    monkeypatch.setattr(selftest, "examine", lambda backend, *_: known(backend=backend.NAME, **DEAD))
    found = json.loads(phibench("doctor", "-o", "json").out)
    assert "llama_cpp is not usable here" in [one["title"] for one in found]


def test_engines_that_are_asked_and_tested_have_the_same_names() -> None:
    every = [backends.load(name) for name in backends.names()]
    assert [one.NAME for one in every if one.ENGINE] == [one.NAME for one in every if one.FORMATS]
