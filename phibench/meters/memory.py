"""What memory a model takes while it runs, by what must be there and what the system may drop.

A thread looks every 20 ms from before the model is opened: no timing of such a run may be quoted. When a test is done
it is run once more, to see which pages of files it uses.

``Seen.memory``, bytes:

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
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from phibench import units
from phibench.meters import MemoryMeter, Seen
from phibench.nouns import Job
from phibench.probe import cpu, gpu_use, process, smaps

LOOK_S = 0.02
_MISSED = 0.02  # of the peak that the system counted: more between two looks is told


@contextlib.contextmanager
def opened(job: Job) -> Iterator[MemoryMeter]:
    """A meter of this process that watches from now on."""
    with gpu_use.taken(job.setup.device) as device_bytes:
        meter = _Meter(job, device_bytes)
        done = threading.Event()
        watcher = threading.Thread(target=meter.watch, args=(done,), daemon=True)
        watcher.start()
        try:
            yield meter
        finally:
            done.set()
            watcher.join()


class _Meter:
    """The highest of all looks."""

    def __init__(self, job: Job, device_bytes: Callable[[], int | None], root: Path = cpu.ROOT) -> None:
        self._root, self._device, self._device_bytes = root, job.setup.device, device_bytes
        self._artifact = Path(job.artifact.path) if job.artifact.path else None
        self._lock = threading.Lock()
        self._anonymous = self._swapped = self._resident = 0
        self._device_peak: int | None = None

    def watch(self, done: threading.Event) -> None:
        """Look again and again until ``done``."""
        while not done.wait(LOOK_S):
            self.look()

    def look(self) -> None:
        found, device = smaps.anonymous(self._root), self._device_bytes()
        with self._lock:
            if found:
                self._anonymous = max(self._anonymous, found.bytes)
                self._swapped = max(self._swapped, found.swapped)
                self._resident = max(self._resident, found.resident_bytes)
            if device is not None:
                self._device_peak = max(self._device_peak or 0, device)

    def finish(self, again: Callable[[], object]) -> Seen:
        """What was seen since the model was opened; ``again`` runs the test once more, to see which pages it uses."""
        self.look()
        peak = process.peak_bytes(self._root)
        can_forget = smaps.forget(self._root)
        if can_forget:
            again()
        files = smaps.file_pages(self._artifact, self._root)
        memory: dict[str, int] = {}
        readings: dict[str, float] = {}
        if self._anonymous:
            memory |= {"anonymous": self._anonymous} | ({"swapped": self._swapped} if self._swapped else {})
        if files:
            memory |= {"artifact": files.artifact, "libraries": files.libraries}
        if files and can_forget:
            touched = files.artifact_touched + files.libraries_touched
            memory |= {"artifact_touched": files.artifact_touched, "libraries_touched": files.libraries_touched}
            if self._anonymous:
                readings["host_needed_bytes"] = float(self._anonymous + touched)
        if self._device_peak is not None:
            readings["device_peak_bytes"] = float(self._device_peak)
        return Seen(readings=readings, memory=memory, notes=tuple(self._notes(readings, peak)))

    def _notes(self, readings: dict[str, float], peak: int | None) -> Iterator[str]:
        """Why a figure is missing, or may be too low."""
        if "host_needed_bytes" not in readings:
            yield "memory needed is not known: this system does not tell which pages of files are used"
        if self._device != "cpu" and "device_peak_bytes" not in readings:
            yield f"device memory is not known: nothing here tells that of {self._device}"
        missed = (peak or 0) - self._resident
        if self._resident and missed > _MISSED * self._resident:
            yield f"the peak was {units.gib(missed)} above every look: memory needed may be that much more"
