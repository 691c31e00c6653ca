"""What a machine has beside the rows of the advice: a Phi in its system, packages that its NPU runs.

Lines, not rows: phibench measures neither, Phi Silica has no comparable scores, and what an NPU's package does with a
machine's memory and speed is published by nobody.
"""

from __future__ import annotations

from phibench import catalog
from phibench.advise.ranking import is_thinking
from phibench.catalog import builds, hardware
from phibench.core import units
from phibench.core.nouns import Build, Goal, Hardware, Machine

# Microsoft's own bound for a Copilot+ PC: an NPU of 40 TOPS and 16 GB (MicrosoftDocs/windows-ai-docs, npu-devices).
_COPILOT_OPS_S, _COPILOT_BYTES = 40e12, 15 << 30  # a part of 16 GB is the firmware's
_FORMATS = {"Intel": "openvino", "Qualcomm": "qnn", "AMD": "vitisai"}  # of packages, by the maker of the NPU
_ROOM = 4096  # tokens: what packages for NPUs are made for, about; Phi Silica reads 3.5k
_SILICA = "phi-silica"
_SILICA_PUBLISHED = "published by the press (Build 2024): prompts at 650 tok/s, answers at 20 to 27"  # see its notes


def lines(machine: Machine, goal: Goal) -> tuple[str, ...]:
    """Sentences for whoever sits at this machine; none where nothing is known."""
    row = _processor(machine)
    asked = goal.prompt_tokens + goal.new_tokens
    if row is None or not row.npu or goal.training or asked > _ROOM or goal.context > 2 * _ROOM:
        return ()
    told = [silica] if (silica := _silica(machine, row, goal)) else []
    return (*told, *_packages(machine, row, goal))


def is_copilot_pc(machine: Machine, row: Hardware) -> bool:
    return machine.os == "windows" and (row.npu_ops_s or 0) >= _COPILOT_OPS_S and machine.memory_bytes >= _COPILOT_BYTES


def _processor(machine: Machine) -> Hardware | None:
    cpu = machine.device("cpu")
    return hardware.agreed(hardware.versions(cpu.name, machine.memory_bytes, machine.physical_cores)) if cpu else None


def _silica(machine: Machine, row: Hardware, goal: Goal) -> str:
    """Text alone, and a short context."""
    variant = catalog.variant(_SILICA)
    if not is_copilot_pc(machine, row) or goal.images or goal.audio_s or goal.training:
        return ""
    context = units.context(variant.context_tokens or 0)
    return (
        f"{variant.title} is already in Windows on this Copilot+ PC: no download, on the NPU, a context of {context}; "
        f"{_SILICA_PUBLISHED}; it has no scores to compare by"
    )


def _packages(machine: Machine, row: Hardware, goal: Goal) -> tuple[str, ...]:
    """The best variant's package for this NPU, by the goal's tiers."""
    fmt = _FORMATS.get(row.vendor)
    if fmt is None or machine.os != "windows":
        return ()
    for tier in goal.tiers:
        for name in tier:
            if is_thinking(goal, name):
                continue
            found = next((b for b in builds.builds(name) if b.format == fmt and "npu" in b.devices), None)
            if found and not goal.images and not goal.audio_s:
                return (_package(found, row),)
    return ()


def _package(build: Build, row: Hardware) -> str:
    size = f", {units.gb(build.bytes)}" if build.bytes else ""
    note = f"; {build.note}" if build.note else ""
    return f"its NPU ({row.npu}) runs {build.repository}{size} by {build.publisher}; not measured by phibench{note}"
