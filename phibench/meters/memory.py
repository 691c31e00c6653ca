"""What memory a model takes while it runs, by what must be there and what the system may drop.

Another process looks every 20 ms from before the model is opened (a thread would not do: an engine may keep Python's
lock for a whole prompt). It costs time: no timing of such a run may be quoted. When a test is done it is run once more,
to see which pages of files it uses.

``MeterReadings.memory``, bytes:

``anonymous``          most that belonged to no file at any look: copies of weights, KV cache, buffers, Python; with
                       shared memory, and with what was swapped out
``swapped``            of these, most that was on the disk; only where there was any
``artifact``           pages of the model's files that were in memory in the end
``artifact_touched``   of these, what the test uses: the others were read once, or are not needed for it
``libraries``          the same of all other files, most of them libraries
``libraries_touched``

``host_needed_bytes`` is ``anonymous`` and what is touched of files. It is told for Linux alone.
``device_peak_bytes`` is what NVML showed at most.
"""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import msgspec

from phibench.core import units
from phibench.core.nouns import Job, Noun
from phibench.meters.contract import MemoryMeter, MeterReadings
from phibench.probe.devices import gpu_use
from phibench.probe.system import process, smaps

LOOK_S = 0.02
_MISSED = 0.02  # of the peak that the system counted: more between two looks is told


class Highest(Noun, frozen=True, kw_only=True):
    """Bytes, the most of all looks at a process; None: nobody tells."""

    anonymous: int | None = None
    swapped: int | None = None
    resident: int | None = None
    device: int | None = None

    def with_look(self, now: smaps.Anonymous | None, device: int | None) -> Highest:
        return Highest(
            anonymous=_more(self.anonymous, now.bytes if now else None),
            swapped=_more(self.swapped, now.swapped if now else None),
            resident=_more(self.resident, now.resident_bytes if now else None),
            device=_more(self.device, device),
        )


def _more(one: int | None, other: int | None) -> int | None:
    return max((n for n in (one, other) if n is not None), default=None)


@contextlib.contextmanager
def opened(job: Job) -> Iterator[MemoryMeter]:
    """A meter of this process that watches from now on."""
    artifact = Path(job.artifact.path) if job.artifact.path else None
    if sys.platform != "linux":
        yield Meter(artifact, job.setup.device, Highest)
        return
    with watching(os.getpid(), job.setup.device) as highest:
        yield Meter(artifact, job.setup.device, highest)


class Meter:
    """``highest`` answers what was the most so far."""

    def __init__(self, artifact: Path | None, device: str, highest: Callable[[], Highest]) -> None:
        self._artifact, self._device, self._highest = artifact, device, highest

    def finish(self, again: Callable[[], object]) -> MeterReadings:
        """What was seen since the model was opened; ``again`` runs the test once more, to see which pages it uses."""
        peak, highest = process.peak_bytes(), self._highest()
        if forgotten := smaps.forget():
            again()
        files = smaps.file_pages(self._artifact)
        seen = {
            "anonymous": highest.anonymous,
            "swapped": highest.swapped or None,
            "artifact": files.artifact if files else None,
            "artifact_touched": files.artifact_touched if files and forgotten else None,
            "libraries": files.libraries if files else None,
            "libraries_touched": files.libraries_touched if files and forgotten else None,
        }
        memory = {name: count for name, count in seen.items() if count is not None}
        parts = [memory.get(name) for name in ("anonymous", "artifact_touched", "libraries_touched")]
        needed = None if None in parts else sum(filter(None, parts))
        found = {"host_peak_bytes": peak, "host_needed_bytes": needed, "device_peak_bytes": highest.device}
        readings = {name: float(count) for name, count in found.items() if count is not None}
        return MeterReadings(
            readings=readings, memory=memory, notes=tuple(self._notes(readings, peak, highest.resident))
        )

    def _notes(self, readings: dict[str, float], peak: int | None, resident: int | None) -> Iterator[str]:
        """Why a figure is missing, or may be too low."""
        if "host_needed_bytes" not in readings:
            yield "memory needed is not known: this system does not report which pages of files are used"
        if self._device != "cpu" and "device_peak_bytes" not in readings:
            yield f"device memory is not known: nothing here reports that of {self._device}"
        if resident is not None and peak is not None and peak - resident > _MISSED * peak:
            yield f"the peak was {units.gib(peak - resident)} above every sample: memory needed may be that much more"


# ------------------------------------------------------------------------------------------- the one that looks


@contextlib.contextmanager
def watching(pid: int, device: str) -> Iterator[Callable[[], Highest]]:
    """A process that looks at process ``pid``, and a function that asks it for the most so far."""
    command = [sys.executable, "-P", "-m", __spec__.name, str(pid), device]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        asked, answers = child.stdin, child.stdout

        def highest() -> Highest:
            with contextlib.suppress(OSError, msgspec.DecodeError):
                asked.write(b"\n")
                asked.flush()
                return msgspec.json.decode(answers.readline(), type=Highest)
            return Highest()  # it is gone: nothing is known

        highest()  # it looks from here on
        try:
            yield highest
        finally:
            with contextlib.suppress(OSError):
                asked.close()  # and it leaves


def watch(pid: int, device: str, questions: IO[bytes], answers: IO[bytes]) -> None:
    """Look at a process until ``questions`` end; every line of them is answered with the most so far."""
    highest = Highest()
    with gpu_use.taken(device, pid) as device_bytes:
        while True:
            asked, _, _ = select.select([questions], [], [], LOOK_S)
            highest = highest.with_look(smaps.anonymous(pid), device_bytes())
            if asked:
                if not questions.readline():
                    return
                answers.write(msgspec.json.encode(highest) + b"\n")
                answers.flush()


if __name__ == "__main__":
    watch(int(sys.argv[1]), sys.argv[2], sys.stdin.buffer, sys.stdout.buffer)
