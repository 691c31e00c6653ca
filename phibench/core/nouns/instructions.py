"""Instruction sets that decide how fast a prompt is read: what a person and Linux call each."""

from __future__ import annotations

from collections.abc import Collection

from phibench.core.nouns.base import Noun


class InstructionSet(Noun, frozen=True, kw_only=True):
    """``linux``: in /proc/cpuinfo."""

    name: str
    linux: str


INSTRUCTION_SETS = (
    InstructionSet(name="AVX2", linux="avx2"),
    InstructionSet(name="AVX-VNNI", linux="avx_vnni"),
    InstructionSet(name="AVX-512", linux="avx512f"),
    InstructionSet(name="AVX-512 VNNI", linux="avx512_vnni"),
    InstructionSet(name="AVX-512 BF16", linux="avx512_bf16"),
    InstructionSet(name="AMX int8", linux="amx_int8"),
    InstructionSet(name="AMX bf16", linux="amx_bf16"),
    InstructionSet(name="NEON dotprod", linux="asimddp"),
    InstructionSet(name="i8mm", linux="i8mm"),
    InstructionSet(name="SVE", linux="sve"),
    InstructionSet(name="SME", linux="sme"),
)


def had(linux: Collection[str]) -> tuple[InstructionSet, ...]:
    """Those that a processor with these flags of Linux has."""
    return tuple(one for one in INSTRUCTION_SETS if one.linux in linux)
