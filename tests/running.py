"""A person who copies the lines of a howto into a terminal: a folder of their own, a hub that holds tiny Phis.

Lines that install are left out: ``phi/bin`` holds what a Python has, ``~/.pixi/bin`` the programs that are given.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from phibench import backends, catalog
from phibench.advise.howto import howtos
from phibench.catalog import builds
from phibench.core import shells
from phibench.core.nouns import Howto, Setup, Verdict
from phibench.machine.asked import described

GOAL = msgspec.structs.replace(catalog.goal("chat"), context=64, prompt_tokens=32, new_tokens=32)


def howto(tool: str, variant: str, quantization: str, backend: str) -> Howto:
    """The lines for a pick of the catalog, on a described computer with Linux."""
    machine, _ = described("none", "Ryzen 5 5600", None, "linux", None)
    machine = msgspec.structs.replace(machine, limits=msgspec.structs.replace(machine.limits, threads=1))
    (fmt,) = backends.load(backend).FORMATS
    setup = Setup(variant=variant, quantization=quantization, backend=backend)
    verdict = Verdict(setup=setup, build=builds.offered(variant, fmt, quantization, "cpu"))
    return next(one for one in howtos(machine, GOAL, verdict) if one.tool == tool)


def home(folder: Path, programs: Mapping[str, Path], python: str = sys.executable) -> None:
    """What the first lines would have installed: ``python`` with its packages, and ``programs``."""
    for name in ("python", "hf"):
        path = folder / "phi" / "bin" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        here = python if name == "python" else Path(python).with_name(name)
        path.write_text(f'#!/bin/sh\nexec "{here}" "$@"\n')
        path.chmod(0o755)
    for name, program in programs.items():
        path = folder / ".pixi" / "bin" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(program)


def environment(folder: Path, hub: str) -> dict[str, str]:
    """Nothing of the tester's own: no token, no cache."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "LLAMA_", "PYTHON"))}
    return kept | {
        "HOME": str(folder), "HF_HOME": str(folder / "hf"), "HF_ENDPOINT": hub, "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }  # fmt: skip


def lines(howto: Howto) -> Iterator[str]:
    """Those that run what was installed."""
    for line in howto.lines:
        if line.words[0].startswith(("phi/", "~/.pixi/bin/llama")):
            yield shells.command(line.words, howto.system)


def run(line: str, folder: Path, hub: str, timeout_s: float = 300.0) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-c", line], cwd=folder, env=environment(folder, hub), capture_output=True, text=True,
        stdin=subprocess.DEVNULL, timeout=timeout_s, check=False,
    )  # fmt: skip
