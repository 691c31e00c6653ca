"""Folders of other formats, of half a model, of no model: each is named, with what to take, from public reports."""

from __future__ import annotations

import json
import os
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from conftest import Phibench
from refusals import refusal

from phibench import catalog
from phibench.catalog.plans import hf_config
from phibench.catalog.readers import folder, other_folders

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "5c" * 32 + "\nsize 2491874272\n"
PAGE = '<!DOCTYPE html>\n<html class=""><head></head></html>\n'


def config(**more: object) -> str:
    shape = catalog.variant("phi-4-mini-instruct").shape
    assert shape is not None
    return json.dumps(hf_config.config(shape, shape.layers) | more)


def made(path: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    path.mkdir(parents=True, exist_ok=True)
    return path


refused = partial(refusal, folder.recognise)


SAFE = b"\x02\0\0\0\0\0\0\0{}"
ADAPTER = json.dumps({"peft_type": "LORA", "base_model_name_or_path": "microsoft/Phi-4-mini-instruct", "r": 16})
LLAMA: dict[str, Any] = {
    "model_type": "llama", "hidden_size": 5120, "intermediate_size": 17920, "num_hidden_layers": 40,
    "num_attention_heads": 40, "num_key_value_heads": 10, "vocab_size": 100352, "max_position_embeddings": 16384,
    "rope_theta": 250000.0,
}  # fmt: skip
MISTRAL = LLAMA | {
    "model_type": "mistral", "hidden_size": 3072, "intermediate_size": 8192, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 32, "vocab_size": 32064, "max_position_embeddings": 4096,
    "rope_theta": 10000.0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("files", "why"),
    [
        pytest.param({"config.json": config(), "openvino_model.xml": "<?xml", "openvino_model.bin": b"\0" * 64},
                     "is a model for OpenVINO: take the original", id="openvinotoolkit/openvino.genai 3689"),
        pytest.param({"config.json": config(), "model.onnx": b"\0" * 64, "model.onnx_data": b"\0"},
                     "is an ONNX export without genai_config.json, which onnxruntime-genai needs: take a package",
                     id="huggingface/optimum-onnx 33"),
        pytest.param({"config.json": config(), "onnx/model_q4f16.onnx": b"\0" * 64},
                     "is an ONNX export without genai_config.json", id="for the browser"),
        pytest.param({"config.json": config(), "tokenizer.json": "{}"},
                     "has a config.json and no weights: download model*.safetensors", id="config.json alone"),
        pytest.param({"config.json": config(), "pytorch_model-00001-of-00002.bin": b"PK"},
                     "holds its weights as pickles", id="ml-explore/mlx-lm 1718"),
        pytest.param({"config.json": config(), "weights.npz": b"PK"}, "is a model for MLX, in its old form: take",
                     id="ml-explore/mlx-examples 896"),
        pytest.param({"config.json": config(quantization={"group_size": 64, "bits": 4}), "model.safetensors": SAFE},
                     "was quantized for MLX; phibench opens the original", id="mlx-lm"),
        pytest.param({"config.json": config(quantization={"group_size": 64, "bits": 4},
                                            quantization_config={"group_size": 64, "bits": 4}),
                      "model.safetensors": SAFE}, "was quantized for MLX",
                     id="openvinotoolkit/openvino.genai 1933: MLX's has no quant_method"),
        pytest.param({"config.json": config(quantization_config={"quant_method": "awq"}), "model.safetensors": SAFE},
                     "by another tool: AWQ; phibench opens the original", id="casper-hansen/AutoAWQ 459"),
        pytest.param({"config.json": config(quantization_config={"quant_method": "gptq"}), "model.safetensors": SAFE},
                     "by another tool: GPTQ", id="ModelCloud/GPTQModel 23"),
        pytest.param({"config.json": config(quantization_config={"quant_method": "bitsandbytes"}),
                      "model.safetensors": SAFE}, "by another tool: bitsandbytes", id="Comfy-Org/ComfyUI 6044"),
        pytest.param({"config.json": config(quantization_config={"quant_method": "exl2"}), "output.safetensors": SAFE},
                     "by another tool: ExLlamaV2 (EXL2)", id="lmstudio-ai/lmstudio-bug-tracker 834"),
        pytest.param({"phi.pte": b"\0", "tokenizer.json": "{}"}, "is a program of ExecuTorch: take the original",
                     id="ExecuTorch"),
        pytest.param({"Phi.mlpackage/Manifest.json": "{}"}, "is a model for Core ML: take", id="Core ML"),
        pytest.param({"config.json": '{"pretrained_config": {"architecture": "Phi3"}}', "rank0.engine": b"\0"},
                     "is a model for TensorRT-LLM: take", id="TensorRT-LLM, built"),
        pytest.param({"config.json": '{"architecture": "Phi3ForCausalLM"}', "rank0.safetensors": SAFE},
                     "is a model for TensorRT-LLM: take", id="TensorRT-LLM, converted"),
        pytest.param({"config.json": config(), "pytorch_model_fsdp_0/__0_0.distcp": b"\0"},
                     "is a checkpoint of a training with FSDP: take", id="huggingface/accelerate 2603"),
        pytest.param({"config.json": config(), "global_step9/mp_rank_00_model_states.pt": b"PK", "zero_to_fp32.py": ""},
                     "is a checkpoint of a training with DeepSpeed: take", id="deepspeedai/DeepSpeed 5895"),
        pytest.param({"mlc-chat-config.json": "{}", "params_shard_0.bin": b"\0"}, "is a model for MLC LLM: take",
                     id="MLC LLM"),
        pytest.param({"config.json": '{"bos_token": "<s>"}', "model.bin": b"\0", "vocabulary.json": "[]"},
                     "is a model for CTranslate2: take", id="OpenNMT/CTranslate2 1672"),
        pytest.param({"config.json": config(), "modules.json": "[]"}, "is an embedding model: take", id="embeddings"),
        pytest.param({"consolidated.00.pth": b"PK", "params.json": "{}"}, "holds its weights as pickles", id="Meta"),
        pytest.param({"model.safetensors": SAFE}, "has safetensors and no config.json: download config.json",
                     id="huggingface/transformers 27954: weights alone"),
        pytest.param({"config.json": "{}"}, "config.json has no model_type", id="empty object"),
        pytest.param({"config.json": ""}, "config.json is empty: download it again", id="empty config.json"),
        pytest.param({"config.json": PAGE}, "config.json is a web page, not the model", id="TabbyML/tabby 1581"),
        pytest.param({"config.json": '{"error": "Access to model microsoft/x is restricted"}'},
                     "config.json is an answer of a server ('Access to model", id="meta-llama/llama3 190"),
        pytest.param({"config.json": POINTER}, "config.json is a pointer of Git LFS", id="pointer for config.json"),
        pytest.param({"config.json": config(), "model.safetensors": POINTER},
                     "model.safetensors is a pointer of Git LFS, the file itself was not downloaded: git lfs pull",
                     id="huggingface/transformers 27923; turboderp/exllama 242"),
        pytest.param({"config.json": config(), "model.safetensors": PAGE},
                     "model.safetensors is a web page, not the model: download the file itself", id="page for weights"),
        pytest.param({"adapter_config.json": ADAPTER, "adapter_model.safetensors": SAFE},
                     "is a LoRA adapter of microsoft/Phi-4-mini-instruct, no whole model: merge it",
                     id="ggml-org/llama.cpp 7287"),
        pytest.param({"config.json": "{}", "adapter_config.json": ADAPTER}, "is a LoRA adapter of microsoft/Phi-4-mini",
                     id="lm-sys/FastChat 502"),
        pytest.param({"config.json": json.dumps(LLAMA), "model.safetensors": SAFE},
                     "is phi-4 in llama's form (its fused matrices are split)", id="unslothai/unsloth 2365"),
        pytest.param({"config.json": json.dumps(MISTRAL), "model.safetensors": SAFE},
                     "is phi-3-mini-4k-instruct in mistral's form", id="unslothai/unsloth 418"),
        pytest.param({"config.json": json.dumps(LLAMA | {"hidden_size": 4096}), "model.safetensors": SAFE},
                     "is a 'llama' model; phibench measures phi and phi3 in Hugging Face's form: take", id="a Llama"),
        pytest.param({"config.json": config(model_type="phi-msft"), "model.safetensors": SAFE},
                     "is a 'phi-msft' model; phibench measures phi and phi3 in Hugging Face's form: take its newer",
                     id="OpenNMT/CTranslate2 1672: before transformers had it"),
        pytest.param({"config.json": config(architectures=["Phi3ForSequenceClassification"]),
                      "model.safetensors": SAFE}, "a Phi without its head for words", id="a classifier"),
    ],
)  # fmt: skip
def test_a_folder_says_what_it_is(files: dict[str, str | bytes], why: str, phibench: Phibench, tmp_path: Path) -> None:
    done = phibench("run", "latency", "-m", str(made(tmp_path / "there", files)), "--dry-run")
    assert done.code == 2
    assert why in done.err
    assert done.err.count("\n") == 1


def test_a_folder_that_is_the_format(tmp_path: Path) -> None:
    made(tmp_path / "Phi.mlpackage", {"Manifest.json": "{}"})
    assert "Phi.mlpackage is a model for Core ML: take the original" in refused(tmp_path / "Phi.mlpackage")


def test_what_strangers_wrote_stays_in_one_line(tmp_path: Path) -> None:
    base = json.dumps({"base_model_name_or_path": "phi\n\x1b[31mphibench: all is well"})
    assert r"of phi\n\x1b[31mphibench: all is well, no" in refused(made(tmp_path / "x", {"adapter_config.json": base}))
    index = json.dumps({"weight_map": {"a": "a\nb.safetensors"}})
    files: dict[str, str | bytes] = {"config.json": config(), "a.safetensors": SAFE}
    assert r"a\nb.safetensors is not there" in refused(
        made(tmp_path / "y", files | {"model.safetensors.index.json": index}), 1
    )


def test_a_folder_with_a_part_of_its_weights(tmp_path: Path) -> None:
    """huggingface/huggingface_hub 1396: a download that failed leaves files that nothing looks at."""
    files: dict[str, str | bytes] = {"config.json": config(), "model-00001-of-00003.safetensors": SAFE}
    there = made(tmp_path / "some", files)
    assert "is not whole: of its weights model-00002-of-00003.safetensors is not there: download it again" in (
        refused(there, 1)
    )
    named = json.dumps(
        {"weight_map": {"a": "model-00001-of-00003.safetensors", "b": "model-00003-of-00003.safetensors"}}
    )
    made(there, {"model.safetensors.index.json": named})
    assert "of its weights model-00003-of-00003.safetensors is not there" in refused(there, 1)
    half = made(tmp_path / "half", {"config.json": config(), ".cache/huggingface/download/x.incomplete": b"GG"})
    assert "is not downloaded yet (x.incomplete): download it again, to its end" in refused(half)


# ------------------------------------------------------------------------------------------------ where the model lies


def snapshot(top: Path, commit: str, files: dict[str, str | bytes]) -> Path:
    """A model in a hub's cache: the files of a snapshot are links into blobs."""
    there = top / "snapshots" / commit
    for number, (name, content) in enumerate(files.items()):
        made(top / "blobs", {f"{commit[:4]}{number}": content})
        (there / name).parent.mkdir(parents=True, exist_ok=True)
        (there / name).symlink_to(os.path.relpath(top / "blobs" / f"{commit[:4]}{number}", (there / name).parent))
    return there


OLD, NEW = "0a" * 20, "1b" * 20


@pytest.mark.skipif(sys.platform == "win32", reason="links need a right there")
@pytest.mark.parametrize("within", [".", "snapshots", "blobs", "refs", ".."])
def test_a_folder_of_the_hubs_cache_leads_to_its_newest_snapshot(
    within: str, phibench: Phibench, tmp_path: Path
) -> None:
    """arcee-ai/mergekit 40; the snapshot that refs/main names, where there are several."""
    top = tmp_path / "hub" / "models--microsoft--Phi-4-mini-instruct"
    snapshot(top, OLD, {"config.json": config()})
    newest = snapshot(top, NEW, {"config.json": config()})
    made(top / "refs", {"main": NEW})
    done = phibench("run", "latency", "-m", os.path.normpath(top / within), "--dry-run")
    assert done.code == 2
    assert str(newest) in done.err
    if within != "snapshots":  # which lists both
        assert f"did you mean {newest}?" in done.err


@pytest.mark.skipif(sys.platform == "win32", reason="links need a right there")
def test_the_hubs_cache_with_packages_files_and_nothing(tmp_path: Path) -> None:
    onnx = tmp_path / "models--microsoft--Phi-4-mini-instruct-onnx"
    there = snapshot(onnx, NEW, {"cpu_and_mobile/cpu-int4/genai_config.json": "{}"})
    assert f"did you mean {there / 'cpu_and_mobile' / 'cpu-int4'}?" in refused(onnx)
    split = tmp_path / "models--x--GGUF"  # lemonade-sdk/lemonade 499: of parts the last one was taken
    there = snapshot(split, NEW, {"a-00001-of-00002.gguf": b"GGUF", "a-00002-of-00002.gguf": b"GGUF"})
    assert f"did you mean {there / 'a-00001-of-00002.gguf'}, or" in refused(split)
    broken = tmp_path / "models--x--Phi"  # huggingface/huggingface_hub 1388: relative to another folder
    there = snapshot(broken, NEW, {"config.json": config()})
    (there / "config.json").unlink()
    (there / "config.json").symlink_to("tmp/blobs/1960141250")
    assert "is a link to tmp/blobs/1960141250, which is not there: download it again" in refused(there)
    empty = made(tmp_path / "models--x--Empty", {"refs/main": NEW})
    assert "holds no model: download it again" in refused(empty)
    half = made(tmp_path / "models--x--Half", {"blobs/5c.incomplete": b"GG", "refs/main": NEW})
    assert "is not downloaded yet (5c.incomplete)" in refused(half)


def test_folders_of_gguf_files(phibench: Phibench, tmp_path: Path) -> None:
    """lmstudio-ai/lmstudio-js 21: a folder with the name of its file; LM Studio's publisher/repository/file."""
    named = made(tmp_path / "phi.gguf", {"phi.gguf": b"GGUF", "mmproj-phi.gguf": b"GGUF"})
    done = phibench("run", "latency", "-m", str(named), "--dry-run")
    assert (done.code, f"did you mean {named / 'phi.gguf'}?" in done.err) == (2, True)
    models = made(tmp_path / "models", {"lmstudio-community/Phi-4-GGUF/phi-4-Q4_K_M.gguf": b"GGUF"})
    assert f"did you mean {models / 'lmstudio-community' / 'Phi-4-GGUF' / 'phi-4-Q4_K_M.gguf'}?" in refused(models)
    other = made(tmp_path / "jan", {"config.json": '{"id": "phi"}', "phi.gguf": b"GGUF"})  # FudanDISC/DISC-MedLLM 20
    assert refused(other).endswith(
        f"config.json has no model_type, so it is of no model; did you mean {other / 'phi.gguf'}?"
    )
    many = made(tmp_path / "many", {f"{n}.gguf": b"GGUF" for n in range(9)})
    assert "or one of 6 more?" in refused(many)


def test_what_macos_keeps_beside_files_is_no_model(tmp_path: Path) -> None:
    """unslothai/unsloth 8919, lmstudio-ai/mlx-engine 79: ._x.gguf is taken for x.gguf, ._x.safetensors for a shard."""
    beside = b"\0\5\x16\7\0\2\0\0Mac OS X        "
    models = made(tmp_path / "models", {"._phi.gguf": beside, "phi.gguf": b"GGUF"})
    assert refused(models).endswith(f"did you mean {models / 'phi.gguf'}?")
    half = made(tmp_path / "half", {"config.json": config(), "._model.safetensors": beside})
    assert "has a config.json and no weights" in refused(half)


def test_a_large_tree_is_not_walked_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(other_folders, "MAX_ENTRIES", 40)
    for number in range(6):
        made(tmp_path / f"d{number}", {f"{n}.txt": b"" for n in range(10)})
    made(tmp_path / "zzz", {"late.gguf": b"GGUF"})
    assert "did you mean" not in refused(tmp_path)
    made(tmp_path / "e" / "/".join("x" * 9), {"deep.gguf": b"GGUF"})
    assert "did you mean" not in refused(tmp_path / "e")


@pytest.mark.skipif(sys.platform == "win32", reason="links need a right there")
def test_links_in_a_circle_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    assert "has neither genai_config.json" in refused(tmp_path)
