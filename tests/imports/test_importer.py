"""Old numbers: what llama-bench and llama-batched-bench printed, as run files; and files that mean harm."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from conftest import Phibench
from fakes import machine, records
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from phibench import catalog
from phibench.core import files, run_files
from phibench.core.errors import PhibenchError
from phibench.core.nouns import Device, Machine, Measured, Run, Workload
from phibench.imports import importer, llama_bench, rows
from phibench.imports.translate import ImportRequest
from phibench.machine import inventory
from phibench.measure import suites
from phibench.predict import calibration
from phibench.show import results

PHI_4_MINI, PHI_35_MINI, PHI_3_4K = 3_836_021_856, 3_821_079_648, 3_821_079_552  # as llama.cpp counts: rope factors too
SIZES = {PHI_4_MINI: 2_485_589_376, PHI_35_MINI: 2_396_032_896, PHI_3_4K: 2_396_032_512}
HERE = machine(name="here")
GPU = msgspec.structs.replace(HERE, devices=(*HERE.devices, Device(kind="cuda:0", name="NVIDIA GeForce RTX 4080")))


def bench(**fields: Any) -> dict[str, Any]:
    """A row as build 5163 printed it."""
    params = fields.get("model_n_params", PHI_4_MINI)
    row = {
        "build_commit": "8cf427ff", "build_number": 5163, "cpu_info": "AMD EPYC 9B14", "gpu_info": "",
        "backends": "CPU", "model_filename": "/home/somebody/secret/Phi-4-mini-instruct-Q4_K_M.gguf",
        "model_type": "phi3 3B Q4_K - Medium", "model_size": SIZES.get(params, 0), "model_n_params": params,
        "n_batch": 2048, "n_ubatch": 512, "n_threads": 2, "cpu_mask": "0x0", "cpu_strict": False, "poll": 50,
        "type_k": "f16", "type_v": "f16", "n_gpu_layers": 99, "split_mode": "layer", "main_gpu": 0,
        "no_kv_offload": False, "flash_attn": False, "tensor_split": "0.00", "tensor_buft_overrides": "none",
        "use_mmap": True, "embeddings": False, "n_prompt": 512, "n_gen": 0, "n_depth": 0,
        "test_time": "2025-04-24T11:58:50Z", "avg_ns": 12_000_000_000, "stddev_ns": 5_000_000, "avg_ts": 42.6,
        "stddev_ts": 0.1, "samples_ns": [11_900_000_000, 12_000_000_000, 12_100_000_000],
        "samples_ts": [43.0, 42.7, 42.3],
    }  # fmt: skip
    return row | fields


def batched(**fields: Any) -> dict[str, Any]:
    row = {"n_kv_max": 4096, "n_batch": 2048, "n_ubatch": 512, "flash_attn": -1, "is_pp_shared": 0, "n_gpu_layers": -1,
           "n_threads": 2, "n_threads_batch": 2, "pp": 128, "tg": 32, "pl": 4, "n_kv": 640, "t_pp": 12.8,
           "speed_pp": 40.0, "t_tg": 4.0, "speed_tg": 32.0, "t": 16.8, "speed": 38.1}  # fmt: skip
    return row | fields


TG = {"n_prompt": 0, "n_gen": 128}
ACCELERATORS = ("OpenCL", "CANN", "MUSA", "Kompute", "WebGPU", "HTP", "GPU BLAS", "OPENVINO", "ggml-virtgpu")
Take = Callable[..., Run]


@pytest.fixture
def take(tmp_path: Path) -> Take:
    """Rows to the one run that they make; ``notes`` collects what was said."""

    def call(*rows: Any, notes: list[str] | None = None, lines: bool = False, **asked: Any) -> Run:
        path = tmp_path / "old.json"
        path.write_text("\n".join(map(json.dumps, rows)) if lines else json.dumps(rows, indent=2), encoding="utf-8")
        told = notes if notes is not None else []
        asked.setdefault("machine", HERE)
        (run,) = importer.run_import(path, ImportRequest(**asked), tmp_path / "results", told.append)
        return run

    return call


def only(run: Run) -> Measured:
    (result,) = run.results
    assert isinstance(result, Measured)
    return result


# --------------------------------------------------------------------------------------------- what is taken over


def test_a_prompt_row_becomes_a_result_with_its_samples(take: Take) -> None:
    run = take(bench())
    found = only(run)
    assert str(found.setup) == "phi-4-mini-instruct:Q4_K_M@llama_cpp/cpu?flash_attn=off"
    assert found.workload == Workload(prompt_tokens=512, new_tokens=0)
    assert [s.arrivals_s for s in found.samples] == [(11.9,), (12.0,), (12.1,)]
    assert (found.artifact.weights, found.artifact.bytes) == ("real", SIZES[PHI_4_MINI])
    assert (run.imported, run.started) == ("llama-bench b5163 (8cf427ff)", "2025-04-24T11:58:50Z")
    assert run.imported_tool == "llama-bench"
    (row,) = records(run)
    assert row["prefill_tps"] == pytest.approx(512 / 12.0)
    assert (row["prefill_tps_low"], row["prefill_tps_spread"]) == (pytest.approx(512 / 12.1), "range")
    assert row["ttft_s"] == 12.0
    assert row["samples_ns"] == bench()["samples_ns"]


def test_of_an_answer_only_the_whole_time_is_known(take: Take) -> None:
    run = take(bench(**TG, n_depth=4096, samples_ns=[10_000_000_000]))
    (row,) = records(run)
    assert row["test"] == "tg128 @ d4096"
    assert row["decode_tps"] == pytest.approx(12.8)
    assert row["ttft_s"] is None
    assert only(run).samples[0].ends_only


def test_an_old_file_without_samples_counts_as_one_and_says_so(take: Take) -> None:
    old = {key: value for key, value in bench(**TG).items() if key not in ("samples_ns", "n_depth", "n_ubatch")}
    found = only(take(old))
    assert [s.arrivals_s for s in found.samples] == [(12.0,)]
    assert "only the average" in found.notes[0]


def test_the_first_versions_had_a_flag_for_each_backend(take: Take) -> None:
    row = bench(f16_kv=False, cublas=True, gpu_info="NVIDIA GeForce RTX 4080")
    for later in ("backends", "type_k", "type_v", "n_depth"):
        del row[later]
    assert str(only(take(row, machine=GPU)).setup).endswith("cuda:0?flash_attn=off&type_k=f32&type_v=f32")


def test_the_same_test_twice_is_more_samples_of_it(take: Take) -> None:
    found = only(take(bench(samples_ns=[11_000_000_000]), bench(samples_ns=[13_000_000_000])))
    assert [s.arrivals_s for s in found.samples] == [(11.0,), (13.0,)]


def test_json_lines_and_lines_of_a_log_between_them(tmp_path: Path) -> None:
    path = tmp_path / "old.jsonl"
    text = f"main: loading {{model}} [x]\n{json.dumps(bench())}\nwarning: slow\n\n{json.dumps(bench(**TG))}\n"
    path.write_text(text, encoding="utf-8")
    notes: list[str] = []
    (run,) = importer.run_import(path, ImportRequest(machine=HERE), tmp_path / "results", notes.append)
    assert len(run.results) == 2
    assert any("2 lines" in note for note in notes)


def test_a_run_that_was_cut_short_keeps_its_whole_rows_and_a_build_without_git_has_no_name(tmp_path: Path) -> None:
    """As llama-bench of b0 leaves it after Ctrl-C."""
    path = tmp_path / "old.json"
    row = bench(build_commit="unknown", build_number=0, n_gpu_layers=-1, flash_attn=-1, load_mode="auto")
    notes: list[str] = []
    path.write_text("\n[\n" + json.dumps(row, indent=2) + ",\n", encoding="utf-8")
    (run,) = importer.run_import(path, ImportRequest(machine=HERE), tmp_path / "results", notes.append)
    assert notes[0] == "old.json, line 2: the list that begins here has no end, so rows may be missing"
    assert str(only(run).setup) == "phi-4-mini-instruct:Q4_K_M@llama_cpp/cpu"
    assert (run.imported, only(run).engine.version) == ("llama-bench", "unknown build")


@pytest.mark.parametrize("form", ["[{}]", "[{},{}]", "{}\n{}", "[{}]\n[{}]", "[info] up\n{}", "[0] x\n[\n {}\n]\n"])
def test_a_whole_file_is_not_called_cut(tmp_path: Path, form: str) -> None:
    (tmp_path / "old.json").write_text(form.replace("{}", json.dumps(bench(**TG))), encoding="utf-8")
    assert not any("has no end" in line for line in llama_bench.read(tmp_path / "old.json").odd)


def test_two_builds_make_two_runs(tmp_path: Path) -> None:
    path = tmp_path / "old.json"
    path.write_text(json.dumps([bench(), bench(build_number=6000, build_commit="abc")]), encoding="utf-8")
    runs = importer.run_import(path, ImportRequest(machine=HERE), tmp_path / "results", lambda _: None)
    assert [run.imported for run in runs] == ["llama-bench b5163 (8cf427ff)", "llama-bench b6000 (abc)"]
    assert len(list((tmp_path / "results").rglob("*.json"))) == 2


@pytest.mark.parametrize(
    ("fields", "setup"),
    [
        ({"flash_attn": -1}, "cpu"),
        ({"flash_attn": -1, "n_gpu_layers": 0}, "cpu"),
        ({"flash_attn": True}, "cpu?flash_attn=on"),
        ({"flash_attn": 1, "n_threads": 7}, "cpu?flash_attn=on&threads=7"),
        ({"flash_attn": -1, "type_k": "q8_0", "n_ubatch": 1024}, "cpu?n_ubatch=1024&type_k=q8_0"),
        ({"flash_attn": -1, "backends": "CUDA", "n_threads": 8}, "cuda:0"),
        ({"flash_attn": -1, "backends": "CUDA,BLAS", "n_gpu_layers": -1}, "cuda:0"),
        ({"flash_attn": -1, "backends": "CUDA", "n_gpu_layers": 10}, "cuda:0?n_gpu_layers=10"),
        ({"flash_attn": -1, "backends": "CUDA", "n_gpu_layers": 0, "n_threads": 7}, "cuda:0?n_gpu_layers=0&threads=7"),
        ({"flash_attn": -1, "backends": "CUDA", "split_mode": "none", "main_gpu": 2}, "cuda:2"),
        ({"flash_attn": -1, "backends": "CUDA", "devices": "CUDA1"}, "cuda:1"),
        ({"flash_attn": -1, "backends": "CUDA,Vulkan", "devices": "Vulkan0"}, "vulkan:0"),
        ({"flash_attn": -1, "backends": "CUDA", "devices": "none"}, "cpu"),
        ({"flash_attn": -1, "backends": "MTL,BLAS"}, "metal"),
        ({"flash_attn": -1, "backends": "Vulkan"}, "vulkan:0"),
        ({"flash_attn": -1, "backends": "ROCm"}, "rocm:0"),
        ({"flash_attn": -1, "backends": "SYCL"}, "xpu:0"),
        ({"flash_attn": -1, "backends": "BLAS"}, "cpu"),
        ({"flash_attn": -1, "backends": "OpenCL", "devices": "none"}, "cpu"),
        ({"flash_attn": -1, "backends": "CUDA,OpenCL", "devices": "CUDA0"}, "cuda:0"),
        ({"flash_attn": -1, "backends": "RPC,Vulkan", "gpu_info": "AMD Radeon 780M (RADV PHOENIX)"}, "vulkan:0"),
        ({"flash_attn": -1, "backends": "RPC"}, "cpu"),
        ({"flash_attn": -1, "backends": "", "cublas": True, "gpu_blas": True}, "cuda:0"),
    ],
)
def test_device_and_options_are_those_that_run_would_write(take: Take, fields: dict[str, Any], setup: str) -> None:
    assert str(only(take(bench(**fields))).setup) == f"phi-4-mini-instruct:Q4_K_M@llama_cpp/{setup}"


@pytest.mark.parametrize(("fields", "said"), [({"backends": "RPC,Vulkan"}, True), ({"rpc": True}, True), ({}, False)])
def test_a_build_with_rpc_is_said_to_be_one(take: Take, fields: dict[str, Any], said: bool) -> None:
    """All that a build's own list of backends says: the released programs are built with RPC."""
    assert any("built with RPC" in note for note in only(take(bench(**fields))).notes) == said


# ------------------------------------------------------------------------------------------------ which Phi it was


@pytest.mark.parametrize(
    ("params", "name", "variant"),
    [
        (PHI_4_MINI, "Phi-4-mini-instruct-Q4_K_M.gguf", "phi-4-mini-instruct"),
        (PHI_4_MINI, r"C:\Users\somebody\phi-4-mini-reasoning.gguf", "phi-4-mini-reasoning"),
        (PHI_35_MINI, "/models/Phi-3.5-mini-instruct.Q4_K_M.gguf", "phi-3.5-mini-instruct"),
        (PHI_35_MINI, "Phi-3-mini-128k-instruct-q4.gguf", "phi-3-mini-128k-instruct"),
        (PHI_35_MINI, "phi3:3.8b-mini-128k-instruct-q4_K_M", "phi-3-mini-128k-instruct"),  # as Ollama's library has it
        (PHI_35_MINI, "mini_128k-phi-3.gguf", "phi-3-mini-128k-instruct"),
        (PHI_35_MINI, "/models/phi3_128k/Phi-3.5-mini-instruct/ggml-model.gguf", "phi-3.5-mini-instruct"),
        (PHI_3_4K, "model.gguf", "phi-3-mini-4k-instruct"),  # the only one without rope factors
    ],
)
def test_parameters_and_the_files_name_tell_variants_apart(take: Take, params: int, name: str, variant: str) -> None:
    assert only(take(bench(model_n_params=params, model_filename=name))).setup.variant == variant


def test_an_ambiguous_model_names_the_candidates_and_m_decides(take: Take) -> None:
    row = bench(model_n_params=PHI_35_MINI, model_filename="model.gguf")
    with pytest.raises(PhibenchError, match=r"line 2: .*phi-3-mini-128k-instruct.*phi-3\.5-mini-instruct.* -m$"):
        take(row)
    assert only(take(row, variant="Phi-3.5-mini")).setup.variant == "phi-3.5-mini-instruct"


EARLY = "lacks LongRoPE's factors"


@pytest.mark.parametrize(
    ("params", "name", "variant", "asked"),
    [
        (PHI_3_4K, "Phi-3-mini-128k-instruct-Q4_K_M.gguf", "phi-3-mini-128k-instruct", None),  # llama.cpp#7225: before
        (PHI_3_4K, "models--microsoft--Phi-3-mini-128k-instruct/model.gguf", "phi-3-mini-128k-instruct", None),
        (PHI_3_4K, "model.gguf", "phi-3-mini-128k-instruct", "phi-3-mini-128k"),
        (PHI_3_4K, "Phi-3.5-mini-instruct.gguf", "phi-3.5-mini-instruct", None),
        (PHI_4_MINI - 96, "phi4-mini-ft.f16.gguf", "phi-4-mini-instruct", None),  # llama.cpp#24820: a fine-tune
        (PHI_4_MINI - 96, "model.gguf", "phi-4-mini-reasoning", "phi-4-mini-reasoning"),
        (PHI_3_4K, "Phi-3-mini-4k-instruct-q4.gguf", "phi-3-mini-4k-instruct", None),
        (PHI_3_4K, "Phi-3-mini-instruct.gguf", "phi-3-mini-4k-instruct", None),
        (PHI_3_4K, "phi-3-mini-128k/Phi-3-mini-4k-instruct.gguf", "phi-3-mini-4k-instruct", None),
    ],
)
def test_a_file_without_longropes_factors_counts_like_its_twin(
    take: Take, params: int, name: str, variant: str, asked: str | None
) -> None:
    """Then its name decides, or what the user says, and a note says so."""
    found = only(take(bench(model_n_params=params, model_filename=name, model_size=0), variant=asked))
    assert found.setup.variant == variant
    assert any(EARLY in note for note in found.notes) == (variant != "phi-3-mini-4k-instruct")


def test_without_factors_and_without_a_name_nobody_knows(take: Take) -> None:
    with pytest.raises(PhibenchError, match=r"may be phi-4-mini-instruct, .*phi-4-mini-reasoning; say which with -m$"):
        take(bench(model_n_params=PHI_4_MINI - 96, model_filename="model.gguf"))


def test_m_cannot_make_another_model_of_it(take: Take) -> None:
    with pytest.raises(PhibenchError, match=r"not phi-4; with 3836021856 parameters it is one of phi-4-mini-instruct"):
        take(bench(), variant="phi-4")


FILE_TYPES = {
    "F16": "F16", "BF16": "BF16", "Q8_0": "Q8_0", "Q4_0": "Q4_0", "Q4_1": "Q4_1", "Q5_0": "Q5_0", "Q6_K": "Q6_K",
    "Q2_K - Medium": "Q2_K", "Q2_K - Small": "Q2_K_S", "Q3_K - Small": "Q3_K_S", "Q3_K - Medium": "Q3_K_M",
    "Q3_K - Large": "Q3_K_L", "Q4_K - Small": "Q4_K_S", "mostly Q4_K - Medium": "Q4_K_M",
    "Q4_K - Medium (guessed)": "Q4_K_M", "Q5_K - Small": "Q5_K_S", "Q5_K - Medium": "Q5_K_M",
    "IQ4_NL - 4.5 bpw": "IQ4_NL", "IQ4_XS - 4.25 bpw": "IQ4_XS", "IQ3_S mix - 3.66 bpw": "IQ3_M",
    "IQ3_XXS - 3.0625 bpw": "IQ3_XXS", "IQ2_M - 2.7 bpw": "IQ2_M", "IQ1_S - 1.5625 bpw": "IQ1_S",
}  # fmt: skip


@pytest.mark.parametrize(("said", "quantization"), FILE_TYPES.items())
def test_llama_cpps_words_for_a_file_type(take: Take, said: str, quantization: str) -> None:
    assert catalog.quantization(quantization, "gguf").id == quantization
    assert only(take(bench(model_type=f"phi3 3B {said}", model_size=0))).setup.quantization == quantization


def test_a_file_type_that_is_none_and_a_size_that_is_anothers(take: Take) -> None:
    with pytest.raises(PhibenchError, match=r"line 2: 'phi3 3B all F32': unknown quantization 'F32'.* -q$"):
        take(bench(model_type="phi3 3B all F32"))
    with pytest.raises(PhibenchError, match=r"phi-4-mini-instruct in Q8_0 weighs \d+ bytes, this model 2485589376"):
        take(bench(model_type="phi3 3B Q8_0"))


def test_a_file_of_phibenchs_own_is_synthetic(take: Take) -> None:
    name = "phi-4-mini-instruct-Q4_K_M-b82e7bde13.gguf"
    assert only(take(bench(model_filename=name))).artifact.weights == "synthetic"


# ------------------------------------------------------------------------------------------------- what is left out


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"model_type": "llama 7B Q4_0"}, "'llama 7B Q4_0' is not a Phi"),
        ({"n_gen": 128}, "prompt and answer were timed together"),
        ({"n_prompt": 0}, "neither prompt nor new tokens"),
        ({"embeddings": True}, "embeddings"),
        ({"no_kv_offload": True}, "no_kv_offload"),
        ({"n_cpu_moe": 4}, "n_cpu_moe"),
        ({"devices": "RPC0", "backends": "RPC"}, "other machines too (RPC)"),
        ({"backends": "CUDA,RPC", "gpu_info": "NVIDIA L4, 10.0.0.2:50052"}, "other machines too (RPC)"),
        ({"backends": "RPC", "gpu_info": "RPC[localhost:50052]"}, "other machines too (RPC)"),
        ({"backends": "CPU", "rpc": "localhost:50052"}, "other machines too (RPC)"),
        *(({"backends": name}, f"may have run on '{name}', a device that phibench") for name in ACCELERATORS),
        ({"backends": "BLAS,CANN"}, "may have run on 'CANN'"),
        ({"backends": "OpenCL", "devices": "GPUOpenCL"}, "may have run on 'GPUOpenCL'"),
        ({"backends": "", "opencl": True, "gpu_blas": True}, "may have run on 'opencl'"),
        ({"backends": "", "gpu_blas": True, "blas": True}, "may have run on 'gpu_blas'"),
        ({"backends": "CUDA", "gpu_info": "NVIDIA L4, NVIDIA L4"}, "several accelerators"),
        ({"backends": "CUDA", "devices": "CUDA0/CUDA1"}, "several accelerators"),
        ({"model_type": "phi3 3B MXFP4 MoE"}, "unknown quantization 'MXFP4 MoE'"),
        ({"model_type": "phi3 3B unknown, may not work"}, "unknown quantization 'unknown, may not work'"),
        ({"model_type": "phi3 3B MXFP4_R8 - 4.25 bpw"}, "unknown quantization 'MXFP4_R8'"),  # ik_llama.cpp#2196
        ({"model_type": "phi3 3B Q4_0_8_8"}, "unknown quantization 'Q4_0_8_8'"),  # llama.cpp#9921: gone since
        ({"model_n_params": 3_900_000_000}, "with 3900000000 parameters"),
        ({"model_size": 2_830_000_000}, "weighs 2485589376 bytes, this model 2830000000"),
        ({"n_batch": 0}, "Expected `int` >= 1 - at `$.n_batch`"),
        ({"flash_attn": "sometimes"}, "flash_attn"),
    ],
)
def test_a_row_that_no_setup_or_test_can_say_is_left_out_and_named(
    take: Take, fields: dict[str, Any], why: str
) -> None:
    notes: list[str] = []
    run = take(bench(**TG), bench(**fields), notes=notes)
    assert len(run.results) == 1
    assert any(" is left out: " in note and why in note for note in notes)
    with pytest.raises(PhibenchError, match="nothing in"):
        take(bench(**fields), notes=notes)


# -------------------------------------------------------------------------------------------------- whose machine


def here() -> Machine:
    return inventory.this_machine(bandwidth=False)


def test_numbers_of_this_processor_are_this_machines(take: Take) -> None:
    cpu = here().devices[0].name
    run = take(bench(cpu_info=f"{cpu}(R) 96-Core Processor @ 2.40GHz"), machine=None)
    assert run.machine.identity == here().identity


def test_numbers_of_another_processor_or_of_none_need_a_machine(take: Take) -> None:
    with pytest.raises(
        PhibenchError, match=r"measured on Zilog Z80, which is not here; .*--machine FILE.*probe --save"
    ):
        take(bench(cpu_info="Zilog Z80"), machine=None)
    with pytest.raises(PhibenchError, match=r"does not say which machine"):
        take(bench(cpu_info=""), machine=None)
    gpu = bench(cpu_info=here().devices[0].name, backends="CUDA", gpu_info="NVIDIA Nothing 9")
    with pytest.raises(PhibenchError, match="measured on NVIDIA Nothing 9"):
        take(gpu, machine=None)


def test_the_advisor_takes_them_as_measured_and_says_whose_they_are(take: Take) -> None:
    run = take(bench(flash_attn=-1), bench(**TG, flash_attn=-1))
    found = calibration.points(HERE, [run])
    assert {(a.phase, round(a.tps, 1)) for a in found} == {("prefill", 42.7), ("decode", 10.7)}
    assert all("real weights" in a.seen and "imported from llama-bench b5163" in a.seen for a in found)
    assert not calibration.points(machine(cpu="another"), [run])


def test_tables_say_that_figures_are_imported(take: Take) -> None:
    run = take(bench(), bench(model_type="phi3 3B Q8_0", model_size=0))
    text = " ".join(results.table(results.rows([run]), 200).split())
    assert "imported from llama-bench b5163 (8cf427ff)" in text
    assert "no winner" not in text
    own = msgspec.structs.replace(run, imported="", id="own")
    both = results.table(results.rows([run, own]), 250)
    assert "phibench" in both
    assert "llama-bench b5163" in both


# ------------------------------------------------------------------------------------------------------ the file


def test_no_folder_or_name_of_its_maker_is_kept(take: Take, tmp_path: Path) -> None:
    take(bench(model_filename=r"C:\Users\somebody\Phi-4-mini.gguf"), bench(**TG))
    (stored,) = (tmp_path / "results").rglob("*.json")
    assert "somebody" not in stored.read_text(encoding="utf-8").replace("somebodys-laptop", "")
    assert run_files.read_run(stored).imported


def test_the_same_file_again_writes_nothing(phibench: Phibench, tmp_path: Path) -> None:
    files.write_json(tmp_path / "there.json", HERE)
    (tmp_path / "old.json").write_text(json.dumps([bench()]), encoding="utf-8")
    words = ("import", str(tmp_path / "old.json"), "--machine", str(tmp_path / "there.json"), "-o", "json")
    first, again = phibench(*words), phibench(*words)
    assert (first.code, again.code) == (0, 0)
    assert json.loads(first.out) == json.loads(again.out)
    assert "imported before, nothing is written" in again.err
    assert len(list((tmp_path / "results").rglob("*.json"))) == 1
    assert json.loads(phibench("results", "-o", "json").out) == json.loads(first.out)


def test_the_same_file_told_otherwise_is_another_run(phibench: Phibench, tmp_path: Path) -> None:
    """A flag that changes what the figures are of counts; one that says what is known changes nothing."""
    for name, there in (("there", HERE), ("other", machine(name="other", cpus=3.0))):
        files.write_json(tmp_path / f"{name}.json", there)
    (tmp_path / "old.json").write_text(json.dumps([bench(model_size=0)]), encoding="utf-8")
    words = ("import", str(tmp_path / "old.json"), "-o", "json", "--machine")
    first = phibench(*words, str(tmp_path / "there.json"))
    for more, count in ((("-q", "q4_k_m"), 1), (("-m", "phi-4-mini-instruct"), 1), (("-q", "Q8_0"), 2),
                        (("-q", "Q8_0"), 2), (("-m", "phi-4-mini-reasoning"), 3)):  # fmt: skip
        done = phibench(*words, str(tmp_path / "there.json"), *more)
        assert (done.code, len(list((tmp_path / "results").rglob("*.json")))) == (0, count), (more, done.err)
    assert json.loads(phibench(*words, str(tmp_path / "other.json")).out) != json.loads(first.out)
    assert len(list((tmp_path / "results").rglob("*.json"))) == 4
    wrong = phibench(*words, str(tmp_path / "there.json"), "-q", "Q9")
    assert (wrong.code, "unknown quantization 'Q9'" in wrong.err) == (2, True)


def test_llama_batched_bench_is_two_tests_a_line(take: Take) -> None:
    asked = {"variant": "phi-4-mini", "quantization": "q4_k_m"}
    run = take(batched(), batched(pl=8, t_pp=25.6, t_tg=6.4), lines=True, **asked)
    rows = {row["test"]: row for row in records(run)}
    assert set(rows) == {"pp128 x4", "tg32 x4 @ d128", "pp128 x8", "tg32 x8 @ d128"}
    assert rows["pp128 x4"]["prefill_tps"] == pytest.approx(40.0)
    assert rows["tg32 x8 @ d128"]["decode_tps"] == pytest.approx(40.0)
    assert rows["tg32 x8 @ d128"]["sequence_tps"] == pytest.approx(5.0)
    assert run.imported == run.imported_tool == "llama-batched-bench"


def test_latency_in_batches_measures_the_pieces_of_llama_batched_bench(take: Take) -> None:
    """As docs/importing.md says: so that both can be compared."""
    pieces = {r.workload for r in take(batched(), variant="phi-4-mini", quantization="q4_k_m").results}
    latency = suites.load("latency")
    prompts = msgspec.structs.replace(latency, prompt_tokens=(128,), new_tokens=(0,), batches=(4,))
    answers = msgspec.structs.replace(latency, prompt_tokens=(0,), new_tokens=(32,), depths=(128,), batches=(4,))
    assert pieces == {*prompts.workloads(), *answers.workloads()}


def test_a_shared_prompt_counts_once(take: Take) -> None:
    asked = {"variant": "phi-4-mini", "quantization": "q4_k_m"}
    shared = take(batched(is_pp_shared=1, t_pp=3.2), lines=True, **asked)
    assert [str(r.workload) for r in shared.results] == ["pp128", "tg32 x4 @ d128"]


def test_llama_batched_bench_says_neither_model_nor_place(take: Take) -> None:
    with pytest.raises(PhibenchError, match="give -m VARIANT and -q QUANT"):
        take(batched())
    asked = {"variant": "phi-4-mini", "quantization": "q4_k_m", "machine": GPU}
    with pytest.raises(PhibenchError, match=r"give -dev, one of cpu, cuda:0"):
        take(batched(), **asked)
    assert take(batched(), **asked, device="cuda:0").results[0].setup.device == "cuda:0"


# ---------------------------------------------------------------------------------------------- nothing is trusted


def bad(text: str) -> str:
    return json.dumps(bench()).replace('"n_prompt": 512', text)


HOSTILE = {
    "cut": (json.dumps([bench()], indent=1)[:700], "line 2: it is cut off, the file ends within it"),
    "nan": (bad('"n_prompt": NaN'), "line 1: n_prompt is nan, which is not a number"),
    "infinite": (bad('"n_prompt": 512, "avg_ns": 1e999'), "line 1: the key 'avg_ns' appears twice"),
    "infinite alone": (json.dumps(bench()).replace("12000000000,", "1e999,", 1), "line 1: avg_ns is inf"),
    "negative": (bad('"n_prompt": -1'), "line 1: Expected `int` >= 0 - at `$.n_prompt`"),
    "huge": (bad('"n_prompt": 1' + "0" * 30), "line 1: n_prompt is inf"),
    "very long": (bad('"n_prompt": 1' + "0" * 5000), "line 1: n_prompt is inf"),
    "text": (bad('"n_prompt": "many"'), "line 1: Expected `int`, got `str` - at `$.n_prompt`"),
    "a number that is none, in quotes": (json.dumps(bench(samples_ns=["nan"])), "line 1: Expected `float` >= 1.0"),
    "list": (bad('"n_prompt": [512]'), "line 1: Expected `int`, got `array`"),
    "null": (bad('"n_prompt": null'), "line 1: Object missing required field `n_prompt`"),
    "half": (bad('"n_prompt": 1.5'), "line 1: Expected `int`"),
    "twice": (bad('"n_prompt": 512, "n_gen": 9'), "line 1: the key 'n_gen' appears twice"),
    "half a character": (json.dumps(bench(cpu_info="\ud800")), "line 1: 'utf-8' codec"),
    "deep": ('{"n_prompt": ' + "[" * 100_000, "line 1: nested too deeply"),
    "deep, left open": ('{"a":' * 100_000, "line 1: nested too deeply"),
    "no time": (json.dumps(bench(samples_ns=[0])), "line 1: Expected `float` >= 1.0 - at `$.samples_ns[0]`"),
    "empty": ("\n", "is empty; llama-bench makes such files with -o json"),
    "a web page": ("<html>{}", "is a web page; download the file itself"),
    "a pointer": (
        "version https://git-lfs.github.com/spec/v1\noid",
        "is a pointer of Git LFS, the file itself was not",
    ),
    "numbers": ("[1, 2, 3]", "has no test in it; "),
    "another": ('\n\n{"results": []}', "has no test in it; "),
    "a part": ('\n\n{"n_prompt": 512, "avg_ns": 9}', "line 3: no test of llama-bench (n_prompt, n_gen)"),
    "our own run": (json.dumps({"schema": 1, "suite": {}, "machine": {}, "results": [bench()]}), "keep the run file"),
    "our own": (json.dumps(bench(setup="x")), "a row of phibench itself"),
}


@pytest.mark.parametrize(("text", "why"), HOSTILE.values(), ids=HOSTILE.keys())
def test_a_damaged_or_hostile_file_is_one_line(phibench: Phibench, tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "old.json"
    path.write_text(text, encoding="utf-8")
    done = phibench("import", str(path))
    assert (done.code, done.out, why in done.err) == (2, "", True), done.err
    assert [line.partition(": ")[0] for line in done.err.splitlines()] == ["phibench"]
    assert not (tmp_path / "results").exists()


def test_what_a_file_says_cannot_steer_a_terminal(phibench: Phibench, tmp_path: Path) -> None:
    """Of rows left out, of a processor's name, of the file's own name."""
    steer = "\x1b[2J\x1b]0;owned\x07\u202e\nphibench: all is well"
    files.write_json(tmp_path / "there.json", HERE)
    path = tmp_path / "old\x1b[31m.json"
    rows = [bench(cpu_info=f"Z80{steer}"), bench(model_type=steer), bench(backends=f"{steer},CUDA")]
    path.write_text(json.dumps(rows), encoding="utf-8")
    done = phibench("import", str(path), "--machine", str(tmp_path / "there.json"))
    assert done.code == 0
    assert done.err.count("is left out") == 2
    assert "measured on Z80" in done.err
    assert not {"\x1b", "\x07", "\u202e"} & set(done.err + done.out)
    assert not any(line.startswith("phibench: all is well") for line in done.err.splitlines())


def test_what_is_no_file_of_text_is_one_line(phibench: Phibench, tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\x7fELF\xff\xfe\x01")
    (tmp_path / "phi.gguf").write_bytes(b"GGUF\xff\xfe\x00")
    (tmp_path / "old.json.gz").write_bytes(b"\x1f\x8b\x08\x00")
    with (tmp_path / "big").open("wb") as stream:
        os.truncate(stream.fileno(), llama_bench.MAX_BYTES + 1)
    for name, code, why in (
        ("binary", 2, "binary, line 1: this is not UTF-8 text; save the file as UTF-8"),
        ("phi.gguf", 2, "is a model; phibench run latency -m"),
        ("old.json.gz", 2, "is packed by gzip"),
        ("big", 1, "more than any such file"), ("absent", 2, "there is no file"),
        (".", 1, "it is a folder"),
    ):  # fmt: skip
        done = phibench("import", str(tmp_path / name))
        assert (done.code, why in done.err, len(done.err.splitlines())) == (code, True, 1), done.err


def test_too_many_rows_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "MAX_ROWS", 3)
    (tmp_path / "old.json").write_text(json.dumps([bench()] * 4), encoding="utf-8")
    with pytest.raises(PhibenchError, match="more than 3 tests"):
        llama_bench.read(tmp_path / "old.json")


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from(sorted(bench())), ANY, max_size=4))
def test_any_value_in_any_field_is_refused_or_makes_a_whole_run(tmp_path: Path, fields: dict[str, Any]) -> None:
    path = tmp_path / "any.json"
    path.write_text(json.dumps([bench() | fields]), encoding="utf-8")
    folder = tmp_path / f"results{os.urandom(4).hex()}"
    try:
        runs = importer.run_import(path, ImportRequest(machine=HERE), folder, lambda _: None)
    except PhibenchError:
        assert not folder.exists()
        return
    (stored,) = folder.rglob("*.json")
    assert (run_files.read_run(stored),) == runs
    for form in results.FORMATS.values():
        assert form(results.rows(runs), 100)
