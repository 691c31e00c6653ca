"""What is installed of ONNX Runtime and which execution providers came with it: read from files, nothing imported."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from phibench.core import extras

_MODULES = ("onnxruntime", "onnxruntime_genai")
_PLUGINS = ("onnxruntime_ep_webgpu", "onnxruntime_ep_openvino", "onnxruntime_qnn")  # providers in packages of their own
_DISTRIBUTIONS = {
    "onnxruntime": ("", "-gpu", "-directml", "-openvino", "-qnn", "-webgpu", "-windowsml"),
    "onnxruntime-genai": ("", "-cuda", "-directml", "-winml"),
}


class Provider(NamedTuple):
    """An execution provider: its name in genai_config.json, in ONNX Runtime, and the files that bring it."""

    name: str
    full: str
    libraries: tuple[str, ...]  # globs, one file of each; the provider's own first
    options: tuple[tuple[str, str], ...] = ()
    pick: str = ""  # the option that says which of several devices


PROVIDERS: dict[str, tuple[Provider, ...]] = {  # kind of device -> what can reach it; the first that is here does
    "cpu": (),
    "cuda": (
        Provider(
            "cuda", "CUDAExecutionProvider", ("*onnxruntime_providers_cuda*", "*onnxruntime-genai-cuda*"),
            pick="device_id",
        ),
    ),
    "dml": (Provider("DML", "DmlExecutionProvider", ("DirectML.dll",), pick="device_index"),),
    "xpu": (Provider("OpenVINO", "OpenVINOExecutionProvider", ("*providers_openvino*",), (("device_type", "GPU"),)),),
    "npu": (
        Provider("OpenVINO", "OpenVINOExecutionProvider", ("*providers_openvino*",), (("device_type", "NPU"),)),
        Provider("QNN", "QNNExecutionProvider", ("*providers_qnn*",), (("backend_type", "htp"),)),
        Provider("VitisAI", "VitisAIExecutionProvider", ("*providers_vitisai*",)),
    ),
    "webgpu": (Provider("WebGPU", "WebGpuExecutionProvider", ("*providers_webgpu*",)),),
    "coreml": (Provider("CoreML", "CoreMLExecutionProvider", ("libonnxruntime*.dylib",)),),
}  # fmt: skip


def installed() -> str | None:
    """``0.18.0, onnxruntime 1.32.0``: both packages must be there."""
    if any(importlib.util.find_spec(module) is None for module in _MODULES):
        return None
    return f"{_version('onnxruntime-genai')}, onnxruntime {_version('onnxruntime')}"


def _version(package: str) -> str:
    return next(filter(None, (extras.version(package + tail) for tail in _DISTRIBUTIONS[package])), "unknown")


def provider(kind: str) -> tuple[Provider, Path] | None:
    """The first provider of this kind of device that is installed, and its library."""
    folders = tuple(_folders())
    for one in PROVIDERS[kind]:
        found = [next((file for folder in folders for file in folder.glob(name)), None) for name in one.libraries]
        if found[0] is not None and all(found):
            return one, found[0]
    return None


def _folders() -> Iterator[Path]:
    """Where libraries of execution providers lie."""
    for module in (*_MODULES, *_PLUGINS):
        spec = importlib.util.find_spec(module)
        if spec is not None and spec.origin is not None:
            yield Path(spec.origin).parent
            yield Path(spec.origin).parent / "capi"


def register(provider: Provider, library: Path) -> None:
    """Make a provider that comes in a package of its own known to the engine."""
    if library.parent.name in _PLUGINS:
        _register(provider.full, str(library))


@functools.cache  # a process can register a library only once
def _register(provider: str, library: str) -> None:
    import onnxruntime_genai as og

    og.register_execution_provider_library(provider, library)
