"""llama.cpp as it is installed here: which build, for what, and what another build would gain."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Collection
from pathlib import Path

import msgspec

from phibench.backends.contract import Abilities, EnginePackage
from phibench.core import extras
from phibench.core.nouns import Finding, Noun, Processor, instructions

PACKAGE = "llama-cpp-python"
ENGINE = EnginePackage(
    title="llama.cpp",
    module="llama_cpp",
    package=PACKAGE,
    imports=("llama_cpp.llama_cpp",),
    question="""
import json, llama_cpp
print(json.dumps({"features": llama_cpp.llama_print_system_info().decode("utf-8", "replace")}))
""",
    compiled=True,
)
_LIBRARIES = {"cuda": "cuda:0", "hip": "rocm:0", "vulkan": "vulkan:0", "metal": "metal", "sycl": "xpu:0"}
# Linux's name of an instruction set -> what a build calls it that has kernels for it: ggml-cpu.cpp,
# ggml_backend_cpu_get_features. Its AMX kernel takes int8 alone, and SME is used by KleidiAI only, which is not built
# unless asked for.
_KERNELS = {
    "avx2": "AVX2",
    "avx_vnni": "AVX_VNNI",
    "avx512f": "AVX512",
    "avx512_vnni": "AVX512_VNNI",
    "avx512_bf16": "AVX512_BF16",
    "amx_int8": "AMX_INT8",
    "asimddp": "DOTPROD",
    "i8mm": "MATMUL_INT8",
    "sve": "SVE",
}
_REBUILD = "pip install --force-reinstall --no-cache-dir --no-binary llama-cpp-python llama-cpp-python"


class _Answer(Noun, frozen=True, kw_only=True):
    features: str = ""


def installed() -> str | None:
    return extras.version(PACKAGE)


def devices() -> tuple[str, ...]:
    spec = importlib.util.find_spec("llama_cpp")
    if spec is None or spec.origin is None:
        return ()
    found = {p.name for p in (Path(spec.origin).parent / "lib").glob("*ggml-*")}
    built = (text for key, text in _LIBRARIES.items() if any(f"ggml-{key}" in name for name in found))
    return ("cpu", *built)


def abilities(answer: bytes) -> Abilities:
    """``CPU : AVX = 1 | AVX2 = 1 | AVX512 = 0`` are AVX and AVX2."""
    said = msgspec.json.decode(answer, type=_Answer).features
    features = dict.fromkeys(re.findall(r"([A-Z][A-Z0-9_]{1,30}) = 1\b", said))
    return Abilities(devices=devices(), features=tuple(features))


def advice(processor: Processor, features: tuple[str, ...]) -> Finding | None:
    unused = _unused(processor.instruction_sets, features) if features else ()
    if not unused:
        return None
    return Finding(
        severity="slow",
        title=f"llama.cpp was built without {', '.join(one.name for one in unused)}",
        evidence=f"the processor has {', '.join(one.linux for one in unused)}; the build says {' '.join(features)}",
        remedy=_REBUILD,
    )


def build_note(processor: Processor, features: tuple[str, ...]) -> str:
    """One for an older processor is the reason of a slow figure."""
    has = processor.instruction_sets
    if not features or not has:
        return ""
    compiled = (one for one in instructions.INSTRUCTION_SETS if _KERNELS.get(one.linux) in features)
    built = ", ".join(one.name for one in compiled) or "none of them"
    owned = ", ".join(one.name for one in instructions.had(has)) or "none of them"
    left = ", ".join(one.name for one in _unused(has, features))
    return f"compiled for {built}; the processor has {owned}; left unused: {left or 'nothing'}"


def gpu_build(kind: str) -> str:
    flag = {"cuda": "GGML_CUDA", "rocm": "GGML_HIP", "xpu": "GGML_SYCL", "metal": "GGML_METAL"}.get(kind, "GGML_VULKAN")
    return f"CMAKE_ARGS=-D{flag}=on {_REBUILD}"


def _unused(linux: Collection[str], features: Collection[str]) -> tuple[instructions.InstructionSet, ...]:
    """Those that the processor has and llama.cpp has kernels for, in a build that was made without them."""
    able = (one for one in instructions.had(linux) if one.linux in _KERNELS)
    return tuple(one for one in able if _KERNELS[one.linux] not in features)
