"""Folders of models from anywhere: recognised by shape and names, refused in one clear line, never trusted."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import hf_folders
import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from refusals import refusal

from phibench import catalog
from phibench.catalog import plans
from phibench.catalog.plans import hf_config
from phibench.catalog.plans import onnx as plan_onnx
from phibench.catalog.readers import folder, untrusted
from phibench.catalog.readers import hugging_face as readers_hugging_face
from phibench.catalog.readers import onnx as readers_onnx
from phibench.core.errors import PhibenchError

DENSE = [v.id for v in catalog.variants() if plans.can_plan(v, "onnx")]
on_one_folder = settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])


refused = partial(refusal, folder.recognise)


# ------------------------------------------------------------------------------------------------ ONNX


def package(
    path: Path, name: str, quantization: str = "int4", *, synthetic: bool = False, layers: int | None = None,
    change: Callable[[Any], None] = lambda model: None, **config: object,
) -> Path:  # fmt: skip
    """A package as a publisher would make it: the graph, and sparse weights. ``config`` changes its ``model``."""
    pytest.importorskip("onnx")
    from phibench.synth import onnx
    from phibench.synth.onnx import graph

    plan = plans.plan(catalog.variant(name), quantization, layers, fmt="onnx")
    model = onnx.with_places(plan, graph.model(plan, lambda _: np.zeros((4, 2), np.float32)))
    change(model)
    path.mkdir(parents=True)
    (path / "model.onnx").write_bytes(model.SerializeToString())
    with (path / "model.onnx.data").open("wb") as stream:
        stream.truncate(plan_onnx.data_bytes(plan))
    said = json.loads(plan_onnx.genai_config(plan))
    said["model"] |= config
    (path / "genai_config.json").write_text(json.dumps(said))
    if synthetic:
        (path / "phibench.json").write_bytes(plan_onnx.about(plan))
    return path


@pytest.mark.parametrize("name", DENSE)
def test_a_package_is_known_by_its_shape_and_its_names(name: str, tmp_path: Path) -> None:
    found = folder.recognise(package(tmp_path / f"microsoft_{name}-onnx" / "cpu-int4-rtn-block-32", name))
    assert (found.variant, found.quantization, found.format, found.notes) == (name, "int4", "onnx", ())
    assert (found.artifact.weights, found.artifact.layers) == ("real", None)
    planned = plans.plan(catalog.variant(name), "int4", None, fmt="onnx")
    assert found.plan.tied == planned.tied
    assert found.artifact.parameters == planned.parameters
    assert {t.name: t.bytes for t in found.plan.tensors if "_cache" not in t.name} == {
        t.name: t.bytes for t in planned.tensors if "_cache" not in t.name
    }


@pytest.mark.parametrize("quantization", plan_onnx.quantizations())
def test_every_quantization_and_its_facts(quantization: str, tmp_path: Path) -> None:
    path = package(tmp_path / "phi-4", "phi-4", quantization)
    found = folder.recognise(path)
    planned = plans.plan(catalog.variant("phi-4"), quantization, None, fmt="onnx")
    assert found.quantization == quantization
    assert found.artifact.facts["kv_type"] == ("fp16" if quantization == "fp16" else "fp32")
    assert found.artifact.facts["logits"] == "all"
    assert found.artifact.facts["kv_buffer"] == ("grown" if quantization == "fp16" else "shared")
    assert found.plan.weights_bytes == planned.weights_bytes
    assert found.artifact.bytes == sum(file.stat().st_size for file in path.iterdir())
    assert found.artifact.tensor_types == planned.histogram


def test_a_synthetic_slice_says_what_it_is(tmp_path: Path) -> None:
    found = folder.recognise(package(tmp_path / "any", "phi-3.5-mini-instruct", layers=4, synthetic=True))
    assert (found.variant, found.artifact.weights, found.artifact.layers) == ("phi-3.5-mini-instruct", "synthetic", 4)
    liar = package(tmp_path / "liar", "phi-4", layers=4, synthetic=True)
    said = json.loads((liar / "phibench.json").read_text())
    (liar / "phibench.json").write_text(json.dumps(said | {"variant": "phi-2"}))
    assert "says that it is a synthetic phi-2, but has another shape" in refused(liar)


def test_a_shape_that_several_have_is_noted(tmp_path: Path) -> None:
    found = folder.recognise(package(tmp_path / "model", "phi-4-mini-reasoning"))
    assert found.variant in ("phi-4-mini-instruct", "phi-4-mini-reasoning")
    assert "its shape is also that of" in found.notes[0]


def test_among_equal_shapes_the_context_decides(tmp_path: Path) -> None:
    """Phi-4 reads 16k tokens, its reasoning variants 32k."""
    found = folder.recognise(package(tmp_path / "model", "phi-4"))
    assert (found.variant, found.notes) == ("phi-4", ())
    found = folder.recognise(hugging_face(tmp_path / "other", "phi-4-reasoning-plus"))
    assert found.variant in ("phi-4-reasoning", "phi-4-reasoning-plus")


def test_a_graph_that_gives_the_last_tokens_logits_alone(tmp_path: Path) -> None:
    def pruned(model: Any) -> None:
        from onnx import TensorProto, helper

        head = next(node for node in model.graph.node if "logits" in node.output)
        pick = helper.make_node("Gather", [head.input[0], "last"], ["picked"], axis=1)
        model.graph.initializer.append(helper.make_tensor("last", TensorProto.INT64, [1], [0]))
        head.input[0] = "picked"
        model.graph.node.append(pick)

    assert folder.recognise(package(tmp_path / "phi-4", "phi-4", change=pruned)).plan.facts["logits"] == "last"


def edit(what: str, value: str) -> Callable[[Any], None]:
    """Change external data of every tensor."""

    def change(model: Any) -> None:
        for one in model.graph.initializer:
            for entry in one.external_data:
                if entry.key == what:
                    entry.value = value

    return change


@pytest.mark.parametrize("place", ["../model.onnx.data", "/etc/passwd", "a/../../b", "", "C:\\data", "..\\x", "a\0b"])
def test_weights_outside_of_the_folder_are_not_touched(place: str, tmp_path: Path) -> None:
    (tmp_path / "model.onnx.data").write_bytes(b"secret")
    assert "outside of itself" in refused(package(tmp_path / "evil", "phi-4", change=edit("location", place)))


def test_a_graph_outside_of_the_folder_is_not_touched(tmp_path: Path) -> None:
    path = package(tmp_path / "evil", "phi-4")
    config = json.loads((path / "genai_config.json").read_text())
    config["model"]["decoder"]["filename"] = "../model.onnx"
    (path / "genai_config.json").write_text(json.dumps(config))
    assert "outside of itself" in refused(path)


OFFICIAL = {
    "log_id": "onnxruntime-genai", "intra_op_num_threads": 4, "enable_mem_pattern": False,
    "graph_optimization_level": "ORT_ENABLE_ALL", "session.intra_op.allow_spinning": "0",
    "session.use_device_allocator_for_initializers": "1", "ep.cuda.fpa_intb_gemm": "1",
    "optimization.disable_specified_optimizers": "MatMulNBitsFusion",
    "provider_options": [
        {"cuda": {"enable_cuda_graph": "1", "enable_skip_layer_norm_strict_mode": "1"}},
        {"dml": {"enable_graph_capture": "1"}}, {"NvTensorRtRtx": {"multi_rotary_cache_concat_offset": "4096"}},
        {"webgpu": {"enableGraphCapture": "0", "validationMode": "basic", "multiRotaryCacheConcatOffset": "4096"}},
    ],
}  # fmt: skip


def of(provider: str, options: object) -> dict[str, object]:
    return {"provider_options": [{provider: options}]}


# microsoft/onnxruntime-genai 176: any option of CUDA; 1744: which device; 1728: QNN by its type; 23247 of onnxruntime
TUNING = {
    "use_env_allocators": "1", "session.intra_op_thread_affinities": "3;5;7", "session.disable_cpu_ep_fallback": "1",
    "provider_options": [
        {"cuda": {"arena_extend_strategy": "kSameAsRequested", "gpu_mem_limit": 1000000, "device_id": "0"}},
        {"qnn": {"backend_type": "htp", "enable_htp_shared_memory_allocator": "1", "vtcm_mb": "8", "htp_arch": "73"}},
        {"dml": {"performance_preference": "high_performance", "device_filter": "gpu"}},
        {"OpenVINOExecutionProvider": {"device_filtering_options": {"hardware_device_type": "npu"}, "cache_dir": "ov"}},
        {"WebGPU": {"storageBufferCacheMode": "simple", "preferredLayout": "NHWC", "enableInt64": "1"}},
        {"NvTensorRtRtx": {"nv_max_workspace_size": "0", "nv_cuda_graph_enable": "1"}},
        {"CoreML": {"ModelFormat": "MLProgram", "MLComputeUnits": "ALL"}},
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("session_options", OFFICIAL, None),
        ("session_options", TUNING, None),
        ("session_options", of("OpenVINO", {"device_type": "NPU", "cache_dir": "ov_cache"}), None),
        ("session_options", of("openvino", {"cache_dir": "../../x"}), "outside of itself"),
        ("session_options", of("OpenVINO", {"cache_dir": "/tmp/x"}), "outside of itself"),
        ("session_options", of("OpenVINO", {"cache_dir": "C:\\x"}), "outside of itself"),
        ("session_options", of("OpenVINO", {"cache_dir": ["x"]}), "outside of itself"),
        ("session_options", of("OpenVINO", {"load_config": "x.json"}), "'load_config', which"),
        ("session_options", of("QNN", {"cache_dir": "x"}), "'cache_dir', which could run or write"),
        ("session_options", of("QNN", {"profiling_file_path": "x"}), "'profiling_file_path', which"),
        ("session_options", of("QNN", {"dump_json_qnn_graph": "1"}), "'dump_json_qnn_graph', which"),
        ("session_options", of("cuda", {"user_compute_stream": "4711"}), "'user_compute_stream'"),
        ("session_options", of("cuda", {"device_filtering_options": {"x": 1}}), "'x', which"),
        ("session_options", of("cuda", 5), "that is not an object"),
        ("session_options", {"ep.context_enable": "1"}, "'ep.context_enable', which could run or write anything"),
        ("session_options", {"session.debug_layout_transformation": "1"}, "transformation', which could"),
        ("session_options", {"custom_ops_library": "model.onnx"}, "'custom_ops_library', which could run"),
        ("session_options", {"enable_profiling": "trace"}, "'enable_profiling', which could"),
        ("session_options", {"ep.context_file_path": "x"}, "'ep.context_file_path', which could"),
        ("session_options", {"log_id": "/etc/passwd"}, "not a number, a word or a switch"),
        ("session_options", {"log_id": ["a"]}, "not a number, a word or a switch"),
        ("session_options", {"provider_options": [{"QNN": {"backend_path": "evil.so"}}]}, "'backend_path', which"),
        ("session_options", {"provider_options": [{"QNN": {"soc_model": "../x"}}]}, "not a number, a word or a switch"),
        ("session_options", {"provider_options": {"QNN": {}}}, "not a list of objects"),
        ("session_options", [], "that is not an object"),
        ("run_options", {"memory.enable_memory_arena_shrinkage": "cpu:0;gpu:0"}, None),
        ("run_options", {"enable_profiling": "trace"}, "'enable_profiling', which could"),
        ("pipeline", [{"first": {"session_options": {"custom_ops_library": "a"}}}], "'custom_ops_library', which"),
        ("pipeline", [{"first": {"filename": "../other.onnx"}}], "outside of itself"),
        ("shared_initializers", [{"data_file": "/etc/passwd"}], "outside of itself"),
    ],
)
def test_what_the_engine_is_told_is_known_and_harmless(
    key: str, value: object, why: str | None, tmp_path: Path
) -> None:
    path = package(tmp_path / "phi-4", "phi-4")
    config = json.loads((path / "genai_config.json").read_text())
    config["model"]["decoder"][key] = value
    (path / "genai_config.json").write_text(json.dumps(config))
    if why is None:
        assert folder.recognise(path).variant == "phi-4"
    else:
        assert why in refused(path)


@pytest.mark.skipif(sys.platform == "win32", reason="links need a right there")
def test_a_folder_for_compiled_models_is_inside_through_links_too(tmp_path: Path) -> None:
    """microsoft/onnxruntime-genai 1900: a relative cache_dir is made in the model's folder."""
    path = package(tmp_path / "phi-4", "phi-4")
    (path / "ov").symlink_to(tmp_path)
    config = json.loads((path / "genai_config.json").read_text())
    config["model"]["decoder"]["session_options"] = {"provider_options": [{"OpenVINO": {"cache_dir": "ov"}}]}
    (path / "genai_config.json").write_text(json.dumps(config))
    assert "outside of itself" in refused(path)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:5c\nsize 9\n", "a pointer of Git LFS"),
        (b"<!DOCTYPE html>", "a web page"),
        (b"", "empty: download it again"),
    ],
)
def test_what_a_download_left_in_place_of_the_graph_or_its_data(content: bytes, why: str, tmp_path: Path) -> None:
    path = package(tmp_path / "phi-4", "phi-4")
    (path / "model.onnx.data").write_bytes(content)
    assert f"model.onnx.data is {why}" in refused(path)
    (path / "model.onnx").write_bytes(content)
    assert f"model.onnx is {why}" in refused(path)


def test_a_package_in_parts_for_an_npu_is_said(tmp_path: Path) -> None:
    """microsoft/onnxruntime-genai 1607, 1637: a pipeline of graphs, compiled for one NPU."""
    path = package(tmp_path / "phi-4", "phi-4", decoder={"pipeline": [{"first": {"filename": "a.onnx"}}]})
    assert "names no graph of its decoder, but several, as for an NPU: take a package with one graph" in refused(path)


@pytest.mark.parametrize(
    "session",
    [
        {"custom_ops_library": "onnx_custom_ops.dll"},  # amd/RyzenAI-SW 265
        {"provider_options": [{"QNN": {"backend_path": "QnnHtp.dll"}}]},  # microsoft/foundry-dev-tools 204
        {"provider_options": [{"RyzenAI": {"hybrid_opt_token_backend": "npu"}}]},
    ],
)
def test_a_package_for_an_npu_is_not_told_to_leave_out_what_it_needs(session: object, tmp_path: Path) -> None:
    path = package(tmp_path / "phi-4", "phi-4")
    config = json.loads((path / "genai_config.json").read_text())
    config["model"]["decoder"]["session_options"] = session
    (path / "genai_config.json").write_text(json.dumps(config))
    assert "a package for an NPU asks for it: take the one for the CPU or a GPU" in refused(path)
    config["model"] |= {"type": "decoder-pipeline", "decoder": {"pipeline": [{"first": {"filename": "a.onnx"}}]}}
    (path / "genai_config.json").write_text(json.dumps(config))  # microsoft/onnxruntime-genai 1637
    assert "several, as for an NPU: take a package with one graph" in refused(path)


def test_another_part_than_the_decoder_is_not_opened(tmp_path: Path) -> None:
    assert "has a part 'draft'" in refused(package(tmp_path / "phi-4", "phi-4", draft={"filename": "model.onnx"}))


def test_a_key_that_comes_twice_is_refused_at_any_depth(tmp_path: Path) -> None:
    path = hugging_face(tmp_path / "phi-2", "phi-2")
    text = (path / "config.json").read_text()
    (path / "config.json").write_text(text.replace("{", '{"deep": [{"a": 1, "\\u0061": 2}], ', 1))
    assert "has the key 'a' twice" in refused(path)


@pytest.mark.parametrize("offset", ["-1", "1e3", "99999999999999999999", "٣"])
def test_places_of_nonsense(offset: str, tmp_path: Path) -> None:
    assert "at offset" in refused(package(tmp_path / "odd", "phi-4", change=edit("offset", offset)))


def test_a_package_that_is_cut_off(tmp_path: Path) -> None:
    path = package(tmp_path / "phi-4", "phi-4")
    with (path / "model.onnx.data").open("r+b") as stream:
        stream.truncate(1000)
    assert "cut off: it has 1000 bytes" in refused(path, 1)
    (path / "model.onnx.data").rename(path / "model.onnx_data")  # knights-analytics/hugot 87
    assert "model.onnx.data: No such file or directory; rename model.onnx_data, which is there, to" in refused(path, 1)
    (path / "model.onnx_data").rename(path / "model.onnx.data.download")
    assert "let the download that model.onnx.data.download belongs to finish" in refused(path, 1)
    (path / "model.onnx.data.download").unlink()
    assert refused(path, 1).endswith("model.onnx.data: No such file or directory; download it again")
    (path / "model.onnx").write_bytes(b"\x01no graph at all")
    assert "is not an ONNX graph" in refused(path)


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"type": "llama"}, "is a 'llama' model"),
        ({"type": 5}, "is a '' model"),
        ({"vocab_size": "many"}, "does not say the model's vocab"),
        ({"vocab_size": 77}, "the shape of no Phi"),
        ({"decoder": None}, "names no graph"),
    ],
)
def test_a_package_that_is_no_phi(config: dict[str, Any], why: str, tmp_path: Path) -> None:
    assert why in refused(package(tmp_path / "phi-4", "phi-4", **config))


def test_matrices_of_three_bits_are_no_known_quantization(tmp_path: Path) -> None:
    def three(model: Any) -> None:
        for node in model.graph.node:
            for attribute in node.attribute:
                if attribute.name == "bits":
                    attribute.i = 3

    assert "matrices of 3 bits" in refused(package(tmp_path / "phi-4", "phi-4", change=three))


def test_a_folder_of_packages_names_one_of_them(tmp_path: Path) -> None:
    inner = tmp_path / "Phi-4-mini-instruct-onnx" / "cpu_and_mobile" / "cpu-int4"
    inner.mkdir(parents=True)
    (inner / "genai_config.json").write_text("{}")
    assert f"did you mean {inner}?" in refused(tmp_path / "Phi-4-mini-instruct-onnx")
    assert "there is no folder" in refused(tmp_path / "nothing")
    (tmp_path / "file").touch()
    assert "is no folder" in refused(tmp_path / "file")


# ------------------------------------------------------------------------------------------------ Hugging Face


def safetensors(path: Path, tensors: dict[str, Any], data: int | None = None) -> None:
    """Header and sparse data; ``data``: bytes of it."""
    head = json.dumps(tensors).encode()
    if data is None:
        data = max((entry["data_offsets"][1] for name, entry in tensors.items() if name != "__metadata__"), default=0)
    with path.open("wb") as stream:
        stream.write(len(head).to_bytes(8, "little") + head)
        stream.truncate(8 + len(head) + data)


def hugging_face(path: Path, name: str, dtype: str = "BF16", shards: int = 1, **config: object) -> Path:
    """A folder as published: config.json and sparse shards."""
    shape = catalog.variant(name).shape
    assert shape is not None
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps(hf_config.config(shape, shape.layers) | config))
    tensors = hf_folders.shapes(name)
    if shards == 1:
        safetensors(path / "model.safetensors", hf_folders.head(tensors, dtype))
        return path
    places: dict[str, str] = {}
    for number in range(shards):
        file = f"model-{number + 1:05}-of-{shards:05}.safetensors"
        own = list(tensors)[number::shards]
        safetensors(path / file, hf_folders.head(hf_folders.part(tensors, own), dtype))
        places |= dict.fromkeys(own, file)
    (path / readers_hugging_face.INDEX).write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return path


@pytest.mark.parametrize("name", DENSE)
def test_a_hugging_face_folder_is_known(name: str, tmp_path: Path) -> None:
    found = folder.recognise(hugging_face(tmp_path / name, name))
    assert (found.variant, found.quantization, found.format, found.notes) == (name, "bf16", "torch", ())
    shape = catalog.variant(name).shape
    assert shape is not None
    assert found.plan.tied == shape.tied
    assert found.artifact.bytes > shape.vocab * shape.hidden * 2
    assert found.artifact.tensor_types == {"bf16": len(hf_folders.shapes(name))}


@pytest.mark.parametrize(("dtype", "quantization"), [("F32", "fp32"), ("F16", "fp16"), ("BF16", "bf16")])
@pytest.mark.parametrize("shards", [1, 2])
def test_types_and_shards(dtype: str, quantization: str, shards: int, tmp_path: Path) -> None:
    path = hugging_face(tmp_path / "phi-4", "phi-4", dtype, shards)
    found = folder.recognise(path)
    assert found.quantization == quantization
    assert found.artifact.bytes == sum(f.stat().st_size for f in path.iterdir() if not f.name.endswith("index.json"))


def rewrite(path: Path, change: Callable[[dict[str, list[int]]], dict[str, list[int]]], name: str = "phi-4") -> None:
    safetensors(path / "model.safetensors", hf_folders.head(change(hf_folders.shapes(name)), "F16"))


def split(of: dict[str, list[int]]) -> dict[str, list[int]]:
    """Parted as Llama's, under Phi's own model type."""
    found: dict[str, list[int]] = {}
    for name, (rows, *rest) in of.items():
        parts = {"qkv_proj": ("q_proj", "k_proj", "v_proj"), "gate_up_proj": ("gate_proj", "up_proj")}
        fused = next((part for part in parts if part in name), "")
        found |= {name.replace(fused, one): [rows // len(parts[fused]), *rest] for one in parts[fused]} if fused else {}
        found |= {} if fused else {name: [rows, *rest]}
    return found


@pytest.mark.parametrize(
    ("change", "why"),
    [
        pytest.param(lambda of: {k: v for k, v in of.items() if ".layers.3." not in k},
                     "lacks 6 of its 243 tensors, as model.layers.3.input_layernorm.weight: download it again",
                     id="sgl-project/sglang 32279, huggingface/huggingface_hub 4728: a shard without all of its own"),
        pytest.param(lambda of: {k.replace("proj.weight", "proj.qweight"): v for k, v in of.items()},
                     "was quantized by another tool ('model.layers.0.mlp.down_proj.qweight'): take the original",
                     id="0cc4m/KoboldAI 66, AutoGPTQ 22: GPTQ that only quantize_config.json tells"),
        pytest.param(lambda of: of | {"model.layers.0.mlp.down_proj.weight.absmax": [1000]}, "by another tool",
                     id="unslothai/unsloth 1597: bitsandbytes without quantization_config"),
        pytest.param(split, "it lacks model.layers.0.mlp.gate_up_proj.weight and has 'model.layers.0.mlp.gate_proj",
                     id="mbzuai-oryx/LLaVA-pp 7: split matrices"),
        pytest.param(lambda of: {f"_orig_mod.{k}": v for k, v in of.items()}, "and has '_orig_mod.",
                     id="torch.compile"),
        pytest.param(lambda of: {k: [v[0] // 2, *v[1:]] if "down_proj" in k else v for k, v in of.items()},
                     "model.layers.0.mlp.down_proj.weight has 45875200 weights, not 91750400",
                     id="other shapes"),
    ],
)  # fmt: skip
def test_tensors_that_config_json_does_not_ask_for(
    change: Callable[[dict[str, list[int]]], dict[str, list[int]]], why: str, tmp_path: Path
) -> None:
    path = hugging_face(tmp_path / "phi-4", "phi-4")
    rewrite(path, change)
    assert why in refused(path)


def test_the_same_weights_twice_count_once(tmp_path: Path) -> None:
    """Blaizzy/mlx-vlm 1464, unslothai/unsloth 11227: the same in another form, as consolidated.safetensors."""
    path = hugging_face(tmp_path / "phi-2", "phi-2")
    whole = folder.recognise(path)
    (path / "consolidated.safetensors").hardlink_to(path / "model.safetensors")
    assert folder.recognise(path) == whole
    (path / "model.safetensors").rename(path / "model-00001-of-00001.safetensors")
    assert "in two of its safetensors files, 'model-00001-of-00001.safetensors' and another" in refused(path)


def test_longrope_by_its_old_and_new_names(tmp_path: Path) -> None:
    """Phi-3-mini of 4k and of 128k differ in nothing else."""
    for key, rope in (("rope_scaling", {"type": "su"}), ("rope_parameters", {"rope_type": "longrope"})):
        path = hugging_face(tmp_path / key, "phi-3-mini-4k-instruct")
        config = json.loads((path / "config.json").read_text())
        (path / "config.json").write_text(json.dumps(config | {key: rope}))
        assert folder.recognise(path).variant in ("phi-3-mini-128k-instruct", "phi-3.5-mini-instruct")


def test_pickles_are_refused(tmp_path: Path) -> None:
    path = hugging_face(tmp_path / "phi-2", "phi-2")
    (path / "model.safetensors").rename(path / "pytorch_model.bin")
    assert "pickles, which can run any code" in refused(path)
    (path / "pytorch_model.bin").unlink()
    assert "has a config.json and no weights: download model*.safetensors" in refused(path)
    (path / readers_hugging_face.INDEX).write_text(json.dumps({"weight_map": {"a": "pytorch_model.bin"}}))
    (path / "pytorch_model.bin").touch()
    assert "pickles" in refused(path)
    (path / "other.safetensors").touch()
    assert "is no safetensors file" in refused(path)


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"model_type": "phi4mm"}, "is a 'phi4mm' model"),
        ({"model_type": ["phi3"]}, "has no model_type"),
        ({"quantization_config": {"quant_method": "awq"}}, "quantized by another tool"),
        ({"hidden_size": 1.5}, "does not say the model's hidden"),
        ({"num_hidden_layers": True}, "does not say the model's layers"),
        ({"vocab_size": 10**30}, "does not say the model's vocab"),
        ({"intermediate_size": 1}, "the shape of no Phi"),
    ],
)
def test_a_configuration_that_is_no_phi(config: dict[str, Any], why: str, tmp_path: Path) -> None:
    assert why in refused(hugging_face(tmp_path / "phi-2", "phi-2", **config))


def test_shards_outside_of_the_folder_are_not_touched(tmp_path: Path) -> None:
    path = hugging_face(tmp_path / "phi-4", "phi-4", shards=2)
    safetensors(tmp_path / "x.safetensors", {"a": GOOD})
    (path / readers_hugging_face.INDEX).write_text(json.dumps({"weight_map": {"a": "../x.safetensors"}}))
    assert "outside of itself" in refused(path)


def test_a_shard_that_is_cut_off(tmp_path: Path) -> None:
    path = hugging_face(tmp_path / "phi-2", "phi-2")
    shard = path / "model.safetensors"
    with shard.open("r+b") as stream:
        stream.truncate(shard.stat().st_size - 1)
    assert "cut off" in refused(path, 1)
    with shard.open("r+b") as stream:
        stream.truncate(20)
    assert "cut off" in refused(path, 1)
    shard.write_bytes(b"\xff" * 100)
    assert "is not a safetensors file" in refused(path)
    shard.write_bytes(b"")
    assert "is empty: download it again" in refused(path)


GOOD = {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}


@pytest.mark.parametrize(
    "entry",
    [
        None, [], {}, {"dtype": "F32"}, GOOD | {"dtype": "Q4"}, GOOD | {"dtype": 1}, GOOD | {"shape": [-2, -3]},
        GOOD | {"shape": [2.0, 3]}, GOOD | {"shape": [True, 6]}, GOOD | {"shape": "23"}, GOOD | {"data_offsets": [0]},
        GOOD | {"data_offsets": [0, 23]}, GOOD | {"data_offsets": [24, 0]}, GOOD | {"data_offsets": [0, 24, 1]},
        GOOD | {"shape": [1 << 50, 1 << 50]}, GOOD | {"shape": [1] * 9},
    ],
)  # fmt: skip
def test_entries_of_nonsense(entry: object, tmp_path: Path) -> None:
    safetensors(tmp_path / "a.safetensors", {"w": entry}, data=100)
    with pytest.raises(PhibenchError, match="tensor 'w'"):
        readers_hugging_face.read_header(tmp_path / "a.safetensors")


def test_a_good_header_is_read(tmp_path: Path) -> None:
    safetensors(tmp_path / "a.safetensors", {"w": GOOD, "__metadata__": {"x": "y"}})
    (found,) = readers_hugging_face.read_header(tmp_path / "a.safetensors")
    assert (found.name, found.shape, found.type, found.bytes) == ("w", (2, 3), "fp32", 24)


# ------------------------------------------------------------------------------------------------ anything at all

HEAD = json.dumps({"w": GOOD}).encode()
REAL = len(HEAD).to_bytes(8, "little") + HEAD + bytes(24)


@given(content=st.binary(max_size=300) | st.tuples(st.integers(0, len(REAL) - 1), st.binary(max_size=8)).map(
    lambda cut: REAL[: cut[0]] + cut[1] + REAL[cut[0] + len(cut[1]) :]
))  # fmt: skip
@on_one_folder
def test_any_bytes_as_safetensors(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    with contextlib.suppress(PhibenchError):
        for tensor in readers_hugging_face.read_header(path):
            assert 0 <= tensor.bytes <= len(content)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)
KEYS = ("model_type", "hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size", "rope_scaling",
        "tie_word_embeddings", "quantization_config", "intermediate_size", "model", "type", "decoder", "filename",
        "inputs", "past_key_names", "search")  # fmt: skip
OBJECTS = st.dictionaries(st.sampled_from(KEYS), JSON | st.dictionaries(st.sampled_from(KEYS), JSON, max_size=4))


@given(content=JSON | OBJECTS, name=st.sampled_from([untrusted.ONNX, untrusted.HUGGING_FACE]))
@on_one_folder
def test_any_json_as_configuration(content: object, name: str, tmp_path: Path) -> None:
    path = tmp_path / name.partition(".")[0]
    path.mkdir(exist_ok=True)
    (path / name).write_text(json.dumps(content))
    with pytest.raises(PhibenchError):
        folder.recognise(path)


@pytest.mark.parametrize("content", [b"[" * 100_000, b'{"a":' * 100_000, b"\xff\xfe", b"nan", b"[]"])
def test_configurations_that_are_no_object(content: bytes, tmp_path: Path) -> None:
    for name in (untrusted.ONNX, untrusted.HUGGING_FACE):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).write_bytes(content)
        assert " JSON" in refused(tmp_path / name)


def test_a_configuration_of_many_megabytes_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / untrusted.HUGGING_FACE).open("wb") as stream:
        stream.truncate(untrusted.MAX_JSON_BYTES + 1)
    assert "more than any such file" in refused(tmp_path, 1)


@pytest.fixture(scope="module")
def graph_bytes(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = package(tmp_path_factory.mktemp("graph") / "phi-4", "phi-4", layers=1)
    return (path / "model.onnx").read_bytes()


@given(data=st.data())
@on_one_folder
def test_any_bytes_as_graph(data: st.DataObject, graph_bytes: bytes, tmp_path: Path) -> None:
    """Cut and scribbled graphs are read or refused, and never crash the reader."""
    path = tmp_path / "scribbled"
    if not path.exists():
        package(path, "phi-4", layers=1)
    at = data.draw(st.integers(0, len(graph_bytes) - 1))
    scribble = data.draw(st.binary(max_size=12))
    (path / "model.onnx").write_bytes(graph_bytes[:at] + scribble + graph_bytes[at + len(scribble) :])
    with contextlib.suppress(PhibenchError, OSError):
        readers_onnx.read(path)


def test_recognised_folders_survive_a_round_trip(tmp_path: Path) -> None:
    found = folder.recognise(hugging_face(tmp_path / "phi-2", "phi-2"))
    assert msgspec.convert(msgspec.to_builtins(found), folder.Recognised) == found
