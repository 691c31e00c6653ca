"""What -b, -q and -m are taken for; one real run of all backends on a slice of the smallest Phi."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest
from conftest import Phibench

from phibench import backends
from phibench.backends import llama_cpp, onnxruntime, torch
from phibench.cli import measure
from phibench.cli.request import request_from
from phibench.core import extras, stats
from phibench.core.errors import PhibenchError
from phibench.measure import backend_choice, grid, real_file, suites
from phibench.measure.request import RunRequest

ENGINES: tuple[ModuleType, ...] = (llama_cpp, onnxruntime, torch)


@pytest.fixture(autouse=True)
def _all_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the tester has: three engines, built for the cpu. A real run does not ask these."""
    for module in ENGINES:
        monkeypatch.setattr(module, "installed", lambda: "1.0")
        monkeypatch.setattr(module, "devices", lambda: ("cpu",))


def asked(
    names: tuple[str, ...] = ("All",), model: str = "phi-4-mini", device: str = "cpu"
) -> tuple[tuple[str, ...], list[str]]:
    notes: list[str] = []
    request = RunRequest(suite="latency", models=(model,), backends=names, devices=(device,))
    return backend_choice.resolve(request, notes.append).backends, notes


def test_all_is_every_engine() -> None:
    found, notes = asked()
    assert found == ("llama_cpp", "onnxruntime", "torch")
    assert notes == []


def test_every_flag_finds_its_place_in_the_request(monkeypatch: pytest.MonkeyPatch) -> None:
    words = (
        "Energy -m phi-4,phi-2 -q q8_0 -b torch,null -dev cpu,cuda:1 -p 8k -n 1,4-6 -d 3 --batches 2 --context 9 "
        "-pg 512,512 -pg 8,4 -r 2 --launches 3 --seconds 1.5 -t 7 -ngl 0 -fa 1 -ctk f16 -ctv q8_0,f16 -ub 5 --n-batch 6"
        " --backend-option a=b=c --backend-option n_batch=9 --layers 1 --results there --quick --resume --dry-run"
        " --force"
    )  # fmt: skip
    assert request_from(measure.run.make_context("run", words.split()).params) == RunRequest(
        suite="Energy", models=("phi-4", "phi-2"), quantizations=("q8_0",), backends=("torch", "null"),
        devices=("cpu", "cuda:1"), pairs=((512, 512), (8, 4)), repetitions=2, launches=3, seconds=1.5,
        axes={"prompt_tokens": (8192,), "new_tokens": (1, 4, 5, 6), "depths": (3,), "batches": (2,), "contexts": (9,)},
        options={"threads": ("7",), "n_gpu_layers": ("0",), "flash_attn": ("on",), "type_k": ("f16",),
                 "type_v": ("q8_0", "f16"), "n_ubatch": ("5",), "n_batch": ("9",), "a": ("b=c",)},
        layers=1, results="there", quick=True, resume=True, dry_run=True, force=True,
    )  # fmt: skip
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    least = request_from(measure.run.make_context("run", []).params)
    assert least == RunRequest(suite="latency", models=("phi-4-mini-instruct",), options={"threads": ("3",)})


def test_several_take_turns_long_enough_for_a_winner() -> None:
    request = RunRequest(suite="quick", models=("phi-2",), backends=("llama_cpp", "torch"))
    suite = suites.requested(request, "quick")
    assert suite == suites.in_turns(suites.load("quick"))
    assert (suite.launches, suite.repetitions) == (stats.MIN_PAIRS, 1)


@pytest.mark.parametrize("name", ["memory", "energy", "sustained"])
def test_what_times_nothing_or_goes_on_for_a_time_takes_no_turns(name: str) -> None:
    suite = suites.load(name)
    assert suites.in_turns(suite) == suite


def test_one_backend_keeps_the_protocol_of_the_suite() -> None:
    for names, found in (((), ("llama_cpp",)), (("torch",), ("torch",)), (("llama.cpp", "llama_cpp"), ("llama_cpp",))):
        assert asked(names)[0] == found
        request = RunRequest(suite="latency", models=("phi-2",), backends=found)
        assert suites.requested(request, "latency") == suites.load("latency")


def test_what_is_not_installed_is_left_out_with_its_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "installed", lambda: None)
    found, notes = asked()
    assert found == ("llama_cpp", "onnxruntime")
    assert notes == [f"torch is left out: not installed; {extras.line('torch')}"]


def test_the_usual_engine_is_not_replaced_in_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends.load("llama_cpp"), "installed", lambda: None)
    for module in ENGINES[1:]:
        monkeypatch.setattr(module, "installed", lambda: "1.0")
    line = extras.line("llama-cpp")
    with pytest.raises(PhibenchError) as raised:
        asked(())
    assert str(raised.value) == f"llama_cpp is not installed: {line}; or name what is: -b onnxruntime or torch"
    assert asked(("onnxruntime",))[0] == ("onnxruntime",)


def test_with_no_engine_at_all_every_pip_line_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ENGINES:
        monkeypatch.setattr(module, "installed", lambda: None)
    with pytest.raises(PhibenchError) as raised:
        asked()
    assert all(extras.line(module.EXTRA) in str(raised.value) for module in ENGINES)


def test_a_mixture_of_experts_and_a_gpu_leave_out_who_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    found, notes = asked(model="phi-3.5-moe")
    assert found == ("llama_cpp",)
    assert len(notes) == 2
    monkeypatch.setattr(torch, "devices", lambda: ("cpu", "cuda:0"))
    found, notes = asked(device="cuda:0")
    assert found == ("torch",)
    assert all("cannot use cuda:0" in note for note in notes)


def test_each_backend_takes_the_quantizations_of_its_format() -> None:
    modules = [backends.load(name) for name in ("llama_cpp", "onnxruntime", "torch")]
    assert grid._quantizations((), modules) == {
        "llama_cpp": ["Q4_K_M"],
        "onnxruntime": ["int4"],
        "torch": ["bf16"],
    }
    mixed = grid._quantizations(["q8_0", "int8", "FP16", "f16"], modules)
    assert mixed == {"llama_cpp": ["Q8_0", "F16"], "onnxruntime": ["int8", "fp16"], "torch": ["int8", "fp16"]}
    with pytest.raises(PhibenchError, match="-q names no quantization that torch has; add one, for example bf16"):
        grid._quantizations(["Q4_K_M", "int4-acc0"], modules)
    with pytest.raises(PhibenchError, match="unknown quantization 'Q4_K_Z'"):
        grid._quantizations(["Q4_K_M", "int4", "Q4_K_Z"], modules)


@pytest.mark.parametrize(
    ("name", "is_file"),
    [("x.gguf", True), ("./folder", True), ("a/b", True), ("phi-4-mini", False), ("phi-4-mni", False),
     ("microsoft/Phi-4-mini-instruct", False), ("here", True), ("sha256-5c", True), ("sha256-5d", False),
     ("model.safetensors", True), ("phi-3.5", False), (".", True)],
)  # fmt: skip
def test_a_folder_is_told_from_a_name(
    name: str, is_file: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("here", "phi-4-mini"):  # a name of the catalog stays one, whatever lies about
        Path(folder).mkdir()
    Path("sha256-5c").touch()
    assert real_file.is_file(name) is is_file


def test_all_three_in_one_table_and_a_package_by_its_folder(
    phibench: Phibench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # the real engines; also the folders of conftest, set again
    monkeypatch.setenv("PHIBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PHIBENCH_RESULTS", str(tmp_path / "results"))
    for module in ENGINES:
        if module.installed() is None:
            pytest.skip(f"{module.PACKAGE} is not installed")
    small = ("run", "quick", "-m", "phi-1", "--layers", "1", "-p", "16", "-n", "4", "-o", "json")
    done = phibench(*small, "-b", "all", "--launches", "1")
    assert done.code == 0, done.err
    rows = json.loads(done.out)
    assert [(row["backend"], row["quantization"], row["test"]) for row in rows] == [
        (backend, quantization, test)
        for backend, quantization in (("llama_cpp", "Q4_K_M"), ("onnxruntime", "int4"), ("torch", "bf16"))
        for test in ("pp16", "tg4")
    ]
    for row in rows:
        assert row["host_peak_bytes"] > 100 << 20
        assert row["evidence"]
        assert row["wins"] == []
    (package,) = (tmp_path / "cache" / "onnx").glob("phi-1-*")
    done = phibench(
        "run", "quick", "-m", str(package), "-p", "16", "-n", "4", "-r", "1", "--launches", "1", "-o", "json"
    )
    assert done.code == 0, done.err
    row = json.loads(done.out)[0]
    assert (row["setup"], row["layers"], row["weights"]) == ("phi-1:int4@onnxruntime/cpu", 1, "synthetic")
    done = phibench("run", "quick", "-m", str(package), "-b", "torch")
    assert done.code == 2
    assert "torch does not open" in done.err
