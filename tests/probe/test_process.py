"""What the system counted of a process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from phibench.probe.system import process


def test_a_peak_stays_when_the_memory_is_gone() -> None:
    """In a process of its own: the peak of this one is whatever the tests before it took."""
    code = (
        "from phibench.probe.system import process; before = process.peak_bytes();"
        "block = bytearray(b'x' * (200 << 20)); del block; print(process.peak_bytes() - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 190 << 20 < int(done.stdout) < 600 << 20


def test_it_is_not_the_peak_of_the_parent() -> None:
    block = bytearray(b"x" * (300 << 20))
    code = "from phibench.probe.system import process; print(process.peak_bytes())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < len(block)


def test_a_system_that_does_not_tell_is_unknown(tmp_path: Path) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/status").write_text("Name:\tpython\nVmRSS:\t12 kB\n", encoding="ascii")
    if sys.platform == "linux":
        assert process.peak_bytes(tmp_path) is None
