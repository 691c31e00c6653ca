"""What could be tried on a machine, and the goal as it was asked for."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from phibench import backends, catalog
from phibench.backends.contract import Backend
from phibench.core import units
from phibench.core.errors import PhibenchError
from phibench.core.nouns import Device, Goal, Machine, Quantization, Variant

_MOST = 1_000_000  # tokens, tokens per second or seconds that may be asked for


def as_asked(
    goal: Goal, context: int | None, min_tps: float | None, max_ttft: float | None, thinking: int | None
) -> Goal:
    """The goal with what the user asked for on top."""
    if context is not None:
        catalog.check_context(context, catalog.variants())
    figures = (("--min-tps", min_tps, 0.001), ("--max-ttft", max_ttft, 0.001), ("--thinking-tokens", thinking, 0))
    for flag, figure, least in figures:
        if figure is not None and not least <= figure <= _MOST:  # nan is neither
            raise PhibenchError(f"{flag} {figure} makes no sense; write {least} to {_MOST}, or leave it out")
    limits = dict(goal.limits)
    limits |= {"decode_tps": min_tps} if min_tps is not None else {}
    limits |= {"ttft_s": max_ttft} if max_ttft is not None else {}
    asked = msgspec.structs.replace(
        goal,
        limits=limits,
        context=goal.context if context is None else context,
        thinking_tokens=goal.thinking_tokens if thinking is None else thinking,
    )
    least = asked.prompt_tokens + asked.new_tokens
    if asked.context < least:
        raise PhibenchError(
            f"a context of {asked.context} tokens is too short for goal {goal.id}: "
            f"its prompt and answer take {least}; use --context {units.context(-(-least // 1024) * 1024)}"
        )
    return asked


def candidates(machine: Machine) -> Iterator[tuple[Backend, Device, Variant, Quantization]]:
    """Whether a backend is installed here does not matter: the machine may be elsewhere."""
    for backend in map(backends.load, backends.names()):
        if not backend.RECOMMENDABLE:
            continue
        for fmt in backend.FORMATS:
            for quantization in catalog.quantizations(fmt):
                for variant in catalog.variants():
                    for device in machine.devices:
                        yield backend, device, variant, quantization
