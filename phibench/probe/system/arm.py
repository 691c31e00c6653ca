"""Cores of ARM processors: their names, and which are built to save energy."""

from __future__ import annotations

import functools
import re
import tomllib
from pathlib import Path

from phibench.core.nouns import Noun
from phibench.probe.system import text_files


class Core(Noun, frozen=True, kw_only=True):
    """One cpu by its maker's numbers; ``little``: built to save energy beside faster ones."""

    name: str
    little: bool


def cores(root: Path) -> dict[int, Core]:
    """By cpu; empty where /proc/cpuinfo does not name the core of each, as on old kernels."""
    info = _info(root)
    numbers = re.findall(r"^processor\s*:\s*([0-9]{1,4})\s*$", info, re.MULTILINE | re.ASCII)
    found = _listed(info)
    return dict(zip(map(int, numbers), found, strict=True)) if len(numbers) == len(found) else {}


def name(root: Path) -> str:
    """``4 x Cortex-A55 + 4 x Cortex-A76``; without numbers where one core is named for all; empty for other makes."""
    found = _listed(_info(root))
    counted = bool(cores(root))
    names = [core.name for core in found]
    return " + ".join(f"{names.count(one)} x {one}" if counted else one for one in dict.fromkeys(names))


def _info(root: Path) -> str:
    """All of /proc/cpuinfo on ARM, where each cpu has a few lines of its own; elsewhere it is long, and nothing."""
    file = root / "proc/cpuinfo"
    return text_files.text(file) if "\nCPU implementer" in text_files.text(file, 1 << 14) else ""


def _listed(info: str) -> list[Core]:
    makers = re.findall(r"^CPU implementer\s*:\s*(0x[0-9a-fA-F]{1,8})\s*$", info, re.MULTILINE | re.ASCII)
    parts = re.findall(r"^CPU part\s*:\s*(0x[0-9a-fA-F]{1,8})\s*$", info, re.MULTILINE | re.ASCII)
    return [_core(*pair) for pair in zip(makers, parts, strict=True)] if len(makers) == len(parts) else []


def _core(maker: str, part: str) -> Core:
    table = _table()
    known = table.get(f"0x{int(maker, 16):02x}", {}).get(f"0x{int(part, 16):03x}", "")
    return Core(name=known or f"ARM core {maker}/{part}", little=known in table["little"])


@functools.cache
def _table() -> dict[str, dict[str, str]]:
    text = (Path(__file__).parent / "arm_cores.toml").read_text(encoding="utf-8")
    found = tomllib.loads(text)
    return {**found, "little": dict.fromkeys(found["little"], "")}
