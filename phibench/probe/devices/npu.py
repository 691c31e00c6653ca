"""Neural processors: what the system shows, whether something installed here can use it, and what is missing.

A device in sysfs is not yet a device that runs a model: without its user-space driver, the right to open its node and
an execution provider it is only listed. Not run on hardware: recorded trees. Windows: not read.
"""

from __future__ import annotations

import os
import platform
import tomllib
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from phibench.core.nouns import Device, Problem
from phibench.probe.devices import Provider, pci
from phibench.probe.system import text_files
from phibench.probe.system.cpu import ROOT, clean


def devices(
    root: Path, providers: Sequence[Provider] = (), opens: Callable[[Path], bool] | None = None
) -> tuple[Device, ...]:
    """``npu``, ``npu:1``, ...; ``opens`` says whether a node can be read and written (os.access)."""
    may = opens or (lambda node: os.access(node, os.R_OK | os.W_OK))
    found = [*_accel(root), *_fastrpc(root), *_apple(root)]
    return tuple(
        _device("npu" if i == 0 else f"npu:{i}", family, node, facts, providers, may)
        for i, (family, node, facts) in enumerate(found)
    )


@cache
def _families() -> dict[str, dict[str, Any]]:
    return tomllib.loads((Path(__file__).parent / "npus.toml").read_text(encoding="utf-8"))


Found = tuple[str, Path | None, dict[str, str]]  # family, device node, what sysfs tells


def _accel(root: Path) -> Iterator[Found]:
    """``/sys/class/accel/accel0``: the kernel's class for such devices, since 6.2."""
    try:
        names = sorted(f.name for f in (root / "sys/class/accel").iterdir() if f.name.startswith("accel"))
    except OSError:
        return
    for name in names:
        folder = root / "sys/class/accel" / name / "device"
        driver = pci.driver(folder)
        vendor = pci.word(folder / "vendor")
        family = driver if driver in _families() else None
        family = family or next(
            (key for key, row in _families().items() if row["vendor"] and row["vendor"] == vendor), None
        )
        if family:
            facts = {"pci": pci.identity(folder), "firmware": pci.word(folder / "fw_version"),
                     "model": pci.word(folder / "vbnv"), "driver": driver}  # fmt: skip
            yield family, root / "dev/accel" / name, {key: value for key, value in facts.items() if value}


def _fastrpc(root: Path) -> Iterator[Found]:
    """Qualcomm's compute DSP; a secure and a plain node may both stand for the one device."""
    try:
        nodes = sorted((root / "dev").glob("fastrpc-cdsp*"), key=lambda node: (len(node.name), node.name))
    except OSError:
        return
    if nodes:
        model = clean(text_files.text(root / "proc/device-tree/model", 200))
        yield "fastrpc", nodes[0], {"driver": "fastrpc", **({"model": model} if model else {})}


def _apple(root: Path) -> Iterator[Found]:
    if root == ROOT and platform.system() == "Darwin" and platform.machine() == "arm64":
        yield "ane", None, {}


def _device(
    kind: str, family: str, node: Path | None, seen: dict[str, str], providers: Sequence[Provider],
    may: Callable[[Path], bool],
) -> Device:  # fmt: skip
    row = _families()[family]
    facts = dict(seen)
    driver = facts.pop("driver", "")
    model = facts.pop("model", "")
    installed = any(name == row["provider"] for name, _, _ in providers)
    shown = any(name == row["provider"] and kind == "NPU" for name, kind, _ in providers)
    facts |= {"provider": row["provider"], "provider_installed": "yes" if installed else "no"}
    if row["packages"]:
        facts["phi_packages"] = ", ".join(row["packages"])
    problems = tuple(_problems(row, driver, node, may, installed, shown))
    no_phi = () if row["packages"] else (f"no Phi package exists for it: {row['source']}",)
    return Device(
        kind=kind,
        name=f"{row['name']} {model}".strip(),
        shares_memory=True,
        because="no figure is known before a model runs on it",
        driver=driver,
        facts=facts,
        notes=(*(f"{one.evidence}; {one.remedy}" for one in problems), *no_phi),
        problems=problems,
    )


def _problems(
    row: dict[str, Any], driver: str, node: Path | None, may: Callable[[Path], bool], installed: bool, shown: bool
) -> Iterator[Problem]:
    """Why it cannot be used now, one reason each, with what to do."""
    if node is not None and not driver:
        yield _unusable("no driver is bound to it", f"it came with Linux {row['kernel']}")
    elif node is not None and not may(node):
        path = "/dev/" + node.as_posix().rpartition("/dev/")[2]
        yield _unusable(f"no read and write access to {path}", "add yourself to its group (often render)")
    if not installed:
        yield _unusable("no execution provider installed", row["install"])
    elif not shown:
        yield _unusable(f"{row['provider']} does not see it", f"install {row['userspace']}")


def _unusable(why: str, remedy: str) -> Problem:
    return Problem(kind="unusable", evidence=f"in sysfs but not usable: {why}", remedy=remedy)
