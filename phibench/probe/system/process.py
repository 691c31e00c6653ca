"""What the system has counted of this process since it started."""

from __future__ import annotations

import sys
from pathlib import Path

from phibench.probe.system import cpu, text_files


def peak_bytes(root: Path = cpu.ROOT) -> int | None:
    """Most memory that was ever resident, mapped pages of files included; None where the system does not tell.

    Linux: VmHWM, which starts anew with the program (``ru_maxrss`` would inherit the parent's).
    """
    if sys.platform == "win32":
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    if sys.platform == "darwin":
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes, as getrusage(2) of macOS has it
    return text_files.counters(root / "proc/self/status").get("VmHWM")
