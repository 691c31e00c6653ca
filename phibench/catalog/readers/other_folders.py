"""Folders with a model that phibench does not open: which format each is, and where the model lies instead.

Names of files alone are looked at, a bounded number of them; adapter_config.json and refs/main are read, too.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from phibench.catalog.readers import first_bytes, untrusted
from phibench.catalog.readers.untrusted import HUGGING_FACE, ONNX
from phibench.core.errors import PhibenchError

MAX_MODELS = 100  # of a hub's cache
MAX_ENTRIES, MAX_DEPTH = 4000, 5  # of a search below a folder: hub/models--x/snapshots/hash/cpu/int4
ADAPTER = "adapter_config.json"
_ORIGINAL = "take the original with its safetensors, a GGUF file, or a package with genai_config.json"
_PICKLES = ("pytorch_model*.bin", "consolidated*.pth", "*.pt", "*.pth", "*.ckpt", "*.pkl")
# names of files -> what the folder is; the first that is there
_FORMATS: tuple[tuple[tuple[str, ...], str], ...] = (
    (("openvino_*.xml",), "is a model for OpenVINO"),
    (("*.mlpackage", "*.mlmodelc", "*.mlmodel"), "is a model for Core ML"),
    (("*.pte",), "is a program of ExecuTorch"),
    (("mlc-chat-config.json", "params_shard_*.bin"), "is a model for MLC LLM"),
    (("*.engine", "rank*.safetensors"), "is a model for TensorRT-LLM"),
    (("*.tflite", "*.task", "*.litertlm"), "is a model for LiteRT (TensorFlow Lite)"),
    (("*.rkllm",), "is a model for Rockchip's RKLLM"),
    (("*.mnn",), "is a model for MNN"),
    (("*.nemo",), "is a model of NeMo"),
    (("pytorch_model_fsdp*", "*.distcp"), "is a checkpoint of a training with FSDP"),
    (("global_step*", "zero_to_fp32.py"), "is a checkpoint of a training with DeepSpeed"),
    (("shared_vocabulary.*", "vocabulary.json"), "is a model for CTranslate2"),
    (("weights*.npz",), "is a model for MLX, in its old form"),
    (("model_index.json",), "is a pipeline of diffusers, no language model"),
    (("modules.json", "sentence_bert_config.json"), "is an embedding model"),
    (("*.msgpack",), "is a model of Flax"),
    (("*.h5", "*.keras", "saved_model.pb"), "is a model of TensorFlow"),
    (("ggml*.bin", "*.ggml", "*.ggmlv3*"), "has GGML files of before August 2023"),
)
# quantization_config.quant_method of config.json -> as people call it
_METHODS = {"awq": "AWQ", "gptq": "GPTQ", "bitsandbytes": "bitsandbytes", "exl2": "ExLlamaV2 (EXL2)",
            "exl3": "ExLlamaV3 (EXL3)", "compressed-tensors": "compressed-tensors", "hqq": "HQQ", "aqlm": "AQLM",
            "torchao": "torchao", "quanto": "Quanto", "fp8": "FP8", "auto-round": "AutoRound", "quark": "AMD Quark",
            "modelopt": "NVIDIA ModelOpt", "eetq": "EETQ", "vptq": "VPTQ", "mxfp4": "MXFP4"}  # fmt: skip


def unknown(path: Path) -> PhibenchError:
    """What a folder without genai_config.json and config.json is, and what to do."""
    try:
        _check_adapter(path)
    except PhibenchError as error:
        return error
    for name in (ONNX, HUGGING_FACE):
        if (path / name).is_symlink():
            return untrusted.missing(path / name, "file")
    what, remedy = _instead(path)
    return PhibenchError(f"{path} {what}{remedy}")


def check(path: Path, config: Mapping[str, Any]) -> None:
    """Raises PhibenchError (exit 2) unless a folder with this config.json has safetensors of a whole model in it."""
    _check_adapter(path)
    for_tensorrt = "pretrained_config" in config or "build_config" in config
    weights = _has(path, "*.safetensors") and not _has(path, "rank*.safetensors")
    if not weights and not for_tensorrt and (what := _format(path)):
        raise PhibenchError(f"{path} {what}: {_ORIGINAL}")
    if for_tensorrt:
        raise PhibenchError(f"{path} is a model for TensorRT-LLM: {_ORIGINAL}")
    if not untrusted.text(config, "model_type"):
        if said := first_bytes.answer(config):
            raise PhibenchError(f"{path / HUGGING_FACE} is {said.what}: {said.remedy}")
        remedy = _meant(_below(path)) or ": download it again"  # Jan, LM Studio and others have a config.json, too
        raise PhibenchError(f"{path / HUGGING_FACE} has no model_type, so it is of no model{remedy}")
    if not weights:
        what, remedy = _instead(path)
        raise PhibenchError(f"{path} {what}{remedy}")
    _check_quantized(path, config)


def _check_quantized(path: Path, config: Mapping[str, Any]) -> None:
    found = config.get("quantization_config") or config.get("quantization")
    if not found:
        return
    method = untrusted.text(found, "quant_method") if isinstance(found, dict) else ""
    if "quantization_config" not in config or (not method and isinstance(found, dict) and "group_size" in found):
        by = "for MLX"
    else:
        by = f"by another tool: {_METHODS.get(method, repr(method[:40]) if method else 'it does not say which')}"
    raise PhibenchError(f"{path} was quantized {by}; phibench opens the original and quantizes itself: {_ORIGINAL}")


def _check_adapter(path: Path) -> None:
    if not (path / ADAPTER).is_file() or _has(path, "model*.safetensors", "pytorch_model*"):
        return
    base = untrusted.text(first_bytes.small_json(path / ADAPTER) or {}, "base_model_name_or_path")
    of = f" of {untrusted.plain(base, 100)}" if base else ""
    raise PhibenchError(
        f"{path} is a LoRA adapter{of}, no whole model: merge it into its model first (merge_and_unload of peft), or "
        "measure that model"
    )


def _format(path: Path) -> str | None:
    """By its own name, or by the names in it."""
    named = (what for patterns, what in _FORMATS if any(fnmatch.fnmatch(path.name, pattern) for pattern in patterns))
    return next(named, None) or next((what for patterns, what in _FORMATS if _has(path, *patterns)), None)


def _has(path: Path, *patterns: str) -> bool:
    """Whether the folder has a file or folder of such a name."""
    with os.scandir(path) as found:
        names = [entry.name for entry in islice(found, MAX_ENTRIES) if not is_beside(entry.name)]
    return any(fnmatch.filter(names, pattern) for pattern in patterns)


def is_beside(name: str) -> bool:
    """Whether macOS made it beside a file, on disks that do not keep what it notes of files (exFAT, shares)."""
    return name.startswith("._")


def _instead(path: Path) -> tuple[str, str]:
    """What the folder is, and the remedy."""
    if what := _format(path):
        return what, f": {_ORIGINAL}"
    if _has(path, *_PICKLES):
        return (
            "holds its weights as pickles, which can run any code when they are opened",
            "; take the model's safetensors files",
        )
    return _half(path)


def _half(path: Path) -> tuple[str, str]:
    """A part of a model, or a folder that a model lies in."""
    if _has(path, "*.onnx") or ((path / "onnx").is_dir() and _has(path / "onnx", "*.onnx")):
        return (
            f"is an ONNX export without {ONNX}, which onnxruntime-genai needs",
            ": take a package that its builder made, as those of microsoft/Phi-*-onnx",
        )
    if (path / "manifests").is_dir() and (path / "blobs").is_dir():
        return "is Ollama's store of models", _meant(_ollama(path / "manifests")) or ": give a file of its blobs"
    below = _meant(_below(path))
    if not below and (half := next(_unfinished(path), None)):
        return f"is not downloaded yet ({untrusted.plain(half.name)})", ": download it again, to its end"
    if (path / HUGGING_FACE).is_file():
        return f"has a {HUGGING_FACE} and no weights", below or ": download model*.safetensors"
    if _has(path, "*.safetensors"):
        return f"has safetensors and no {HUGGING_FACE}", below or f": download {HUGGING_FACE}"
    return f"has neither {ONNX} (ONNX) nor {HUGGING_FACE} (Hugging Face)", below or f": {_nothing(path)}"


def _nothing(path: Path) -> str:
    is_cache = path.name.startswith("models--") or path.name in ("snapshots", "blobs", "refs")
    return "a folder of a hub's cache that holds no model: download it again" if is_cache else _ORIGINAL


def _meant(found: list[str]) -> str:
    """The question which of these was meant, a few of them."""
    if not found:
        return ""
    more = f", or one of {len(found) - 3} more" if len(found) > 3 else ""
    return f"; did you mean {', or '.join(map(untrusted.plain, found[:3]))}{more}?"


def _below(path: Path) -> list[str]:
    """Models below a folder: packages, folders with weights, GGUF files; of a hub's cache the newest snapshot alone."""
    if path.name in ("blobs", "refs") and (path.parent / "snapshots").is_dir():
        return _below(path.parent)
    if models := list(islice(path.glob("models--*"), MAX_MODELS)):  # the hub's cache itself: Phis first
        models.sort(key=lambda model: ("phi" not in model.name.lower(), model.name))
        return [one for model in models for one in _below(model)]
    found = []
    for folder, names in _walk(path):
        if folder != path and (ONNX in names or HUGGING_FACE in names):
            found.append(str(folder))
        else:
            found += [str(folder / name) for name in names if name.lower().endswith(".gguf") and "mmproj" not in name]
    if newest := _newest(path):
        return [one for one in found if Path(one).is_relative_to(newest)] or found
    return found


def _newest(path: Path) -> Path | None:
    """The snapshot that refs/main of a model in a hub's cache names."""
    try:
        with (path / "refs" / "main").open("rb") as stream:
            commit = stream.read(64).decode("ascii", "ignore").strip()
    except OSError:
        return None
    return path / "snapshots" / commit if re.fullmatch(r"[0-9a-f]{40}", commit) else None


def _walk(path: Path) -> Iterator[tuple[Path, list[str]]]:
    """Every folder and the names of its files, no deeper than MAX_DEPTH and no more than MAX_ENTRIES names in all."""
    left, seen = [(path, 0)], 0
    while left and seen < MAX_ENTRIES:
        folder, depth = left.pop(0)
        try:
            with os.scandir(folder) as found:
                entries = sorted(islice(found, MAX_ENTRIES - seen), key=lambda entry: entry.name)
            yield folder, [entry.name for entry in entries if not entry.is_dir() and not is_beside(entry.name)]
            inner = [(Path(entry), depth + 1) for entry in entries if entry.is_dir(follow_symlinks=False)]
        except OSError:
            continue
        seen += len(entries)
        left += inner if depth < MAX_DEPTH else []


def _unfinished(path: Path) -> Iterator[Path]:
    return (folder / name for folder, names in _walk(path) for name in names if first_bytes.unfinished(Path(name)))


def _ollama(manifests: Path) -> list[str]:
    """The models of Ollama's store: the files, with the names that it gives them; Phis first."""
    found = []
    for folder, names in _walk(manifests):
        for name in names:
            manifest = first_bytes.small_json(folder / name) or {}
            if blob := first_bytes.ollama_blob(folder / name, manifest):
                found.append(f"{blob} ({folder.name}:{name})")
    return sorted(found, key=lambda one: "phi" not in one.rpartition(" (")[2])
