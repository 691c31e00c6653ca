"""Instruction sets that decide how fast a prompt is read: what a person, Linux and llama.cpp call each."""

from __future__ import annotations

from collections.abc import Collection

from phibench.core.nouns.base import Noun


class InstructionSet(Noun, frozen=True, kw_only=True):
    """``linux``: in /proc/cpuinfo. ``llama``: of a build that uses it, "" where llama.cpp has no kernel of its own."""

    name: str
    linux: str
    llama: str = ""


# What llama.cpp's kernels ask for: ggml-cpu.cpp, ggml_backend_cpu_get_features. Its AMX kernel takes int8 alone, and
# SME is used by KleidiAI only, which is not built unless asked for.
INSTRUCTION_SETS = (
    InstructionSet(name="AVX2", linux="avx2", llama="AVX2"),
    InstructionSet(name="AVX-VNNI", linux="avx_vnni", llama="AVX_VNNI"),
    InstructionSet(name="AVX-512", linux="avx512f", llama="AVX512"),
    InstructionSet(name="AVX-512 VNNI", linux="avx512_vnni", llama="AVX512_VNNI"),
    InstructionSet(name="AVX-512 BF16", linux="avx512_bf16", llama="AVX512_BF16"),
    InstructionSet(name="AMX int8", linux="amx_int8", llama="AMX_INT8"),
    InstructionSet(name="AMX bf16", linux="amx_bf16"),
    InstructionSet(name="NEON dotprod", linux="asimddp", llama="DOTPROD"),
    InstructionSet(name="i8mm", linux="i8mm", llama="MATMUL_INT8"),
    InstructionSet(name="SVE", linux="sve", llama="SVE"),
    InstructionSet(name="SME", linux="sme"),
)


def had(linux: Collection[str]) -> tuple[InstructionSet, ...]:
    """Those that a processor with these flags of Linux has."""
    return tuple(one for one in INSTRUCTION_SETS if one.linux in linux)


def compiled(features: Collection[str]) -> tuple[InstructionSet, ...]:
    """Those that a build of llama.cpp uses which names these features."""
    return tuple(one for one in INSTRUCTION_SETS if one.llama in features)


def unused(linux: Collection[str], features: Collection[str]) -> tuple[InstructionSet, ...]:
    """Those that the processor has and llama.cpp has kernels for, in a build that was made without them."""
    return tuple(one for one in had(linux) if one.llama and one.llama not in features)
