"""Energy counters of this machine, opened for one device.

What counts for a device is one way to see it, the first that can be read. Two ways to see one part are never added.
Another process reads: a thread would wait for as long as an engine keeps Python's lock, which may be a whole prompt.
"""

from __future__ import annotations

import contextlib
import importlib
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple, TypeVar

import msgspec

from phibench import probe
from phibench.core.errors import NotMeasurableError, PhibenchError
from phibench.core.nouns import Device, Energy, Noun
from phibench.meters import sources as meter_sources
from phibench.meters.counters import ALIGNED_S, Clock, Counter, Reading, distinct, wait_for_tick, watched
from phibench.probe.devices import amd, intel
from phibench.probe.energy import sources
from phibench.probe.energy.place import Kind, Place, Scope
from phibench.probe.system import cpu

T = TypeVar("T")


class Way(NamedTuple):
    """Places of one kind that are read together, and what they count."""

    kind: Kind
    scopes: tuple[Scope, ...]


_PACKAGES: tuple[Scope, ...] = ("cpu_package", "dram")
_PROCESSOR = (Way("rapl", _PACKAGES), Way("perf", _PACKAGES), Way("emi", _PACKAGES), Way("hwmon", ("cpu_package",)))
_CHIP = (Way("hwmon", ("soc",)), Way("ina3221", ("soc",)), Way("ioreport", ("soc",)))
_MACHINE = (Way("hwmon", ("system_ac",)), Way("battery", ("system_dc",)))
_INSIDE = {"cpu", "metal", "mps", "npu"}  # parts of the chip, wherever they are
_CARDS = {"rocm": amd.cards, "xpu": intel.cards}


@contextlib.contextmanager
def opened(device: str, root: Path = cpu.ROOT) -> Iterator[Meter]:
    """The sources that count for this device, read by this process.

    Raises NotMeasurableError where none can be read.
    """
    gpus = probe.gpus(root)
    places = sources.places(root, gpus)
    chosen = choose(device, places, gpus, root)
    with contextlib.ExitStack() as stack:
        counters, lost = _counters(chosen, root, stack)
        if not counters or lost:
            raise NotMeasurableError(lost or why_not(device, places, gpus))
        meter = Meter([watched(counter) for counter in distinct(counters)])
        with meter.looking():
            yield meter


def choose(device: str, places: Sequence[Place], gpus: Sequence[Device], root: Path) -> list[Place]:
    """What to read for a device, its own part first; empty where nothing can be read that holds it."""
    family, _, index = (_vulkan(gpus) if device.startswith("vulkan") else device).partition(":")
    kind = f"{family}:{index or 0}"
    if own := _own(kind, places, root):
        board = own[0].source.scope == "gpu_board"
        return own + [p for p in _first(_ways(_PROCESSOR, places), places) if board and p.source.method == "counter"]
    inside = family in _INSIDE or any(gpu.kind == kind and gpu.shares_memory for gpu in gpus)
    wholes = (_PROCESSOR, _CHIP, _MACHINE) if inside else (_MACHINE,)
    return _first([way for ways in wholes for way in _ways(ways, places)], places)


def _ways(ways: Sequence[Way], places: Sequence[Place]) -> tuple[Way, ...]:
    """And the kinds of which nobody said where they stand, after them."""
    known = {way.kind for way in (*_PROCESSOR, *_CHIP, *_MACHINE)}
    others = [kind for kind in dict.fromkeys(place.kind for place in places) if kind not in known]
    return (*ways, *(Way(kind, scopes) for scopes in dict.fromkeys(way.scopes for way in ways) for kind in others))


def _first(ways: Sequence[Way], places: Sequence[Place]) -> list[Place]:
    """The first way of which every package can be read: half of the packages is not the processor."""
    for kind, scopes in ways:
        found = [place for place in places if place.kind == kind and place.source.scope in scopes and place.apart]
        main = [place.source.readable for place in found if place.source.scope == scopes[0]]
        if any(main) if kind == "battery" else main and all(main):
            return [place for place in found if place.source.readable]
    return []


def _own(kind: str, places: Sequence[Place], root: Path) -> list[Place]:
    """Where a GPU shows its own energy; of an AMD chip that is the whole chip's. Empty where none is told."""
    family, _, index = kind.partition(":")
    if family == "cuda":
        return [place for place in places if place.kind == "nvml" and place.at.name == kind and place.source.readable]
    if family not in _CARDS:
        return []
    cards = _CARDS[family](root)
    sensors = {f.name for f in cards[int(index)].glob("hwmon/hwmon*")} if int(index) < len(cards) else set()
    return [p for p in places if p.kind == "hwmon" and p.at.parent.name in sensors and p.apart and p.source.readable]


def _vulkan(gpus: Sequence[Device]) -> str:
    """Vulkan has an order of its own: which GPU it means is known where there is one."""
    found = [gpu.kind for gpu in gpus if gpu.kind.partition(":")[0] in {"cuda", *_CARDS}]
    return found[0] if len(found) == 1 else ""


def _counters(places: Sequence[Place], root: Path, stack: contextlib.ExitStack) -> tuple[list[Counter], str]:
    """All of them, or why one cannot be opened: a part of them would be another figure."""
    found: list[Counter] = []
    for place in places:
        try:
            found += importlib.import_module(f"{meter_sources.__name__}.{place.kind}").counters(place, root, stack)
        except OSError as error:
            return [], f"{place.source.name}: {error.strerror or error}"
    return found, ""


def why_not(device: str, places: Sequence[Place], gpus: Sequence[Device]) -> str:
    """One reason with its remedy for each kind of source that is there."""
    said: dict[Kind, str] = {}
    for place in places:
        if place.apart and not place.source.readable:
            said.setdefault(place.kind, f"{place.source.name}: {place.why}")
    if said:
        return "; ".join(said.values())
    if any(place.source.readable for place in places):
        which = " (several GPUs, and Vulkan numbers them its own way)" if device.startswith("vulkan") and gpus else ""
        return f"no energy counter of this machine covers {device}{which}"
    return "this machine exposes no energy counter (is it a virtual machine?)"


class Meter:
    """Counters as one: windows begin at a tick of the slowest counter that ticks often."""

    def __init__(self, counters: Sequence[Counter], clock: Clock = time.perf_counter) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._readings = [Reading(counter, clock) for counter in counters]
        often = [counter for counter in counters if counter.tick_s is not None and counter.tick_s <= ALIGNED_S]
        self._slowest = max(often, key=lambda counter: counter.tick_s or 0.0, default=None)

    @property
    def min_window_s(self) -> float:
        """Seconds that a window must last."""
        return max(reading.counter.window_s for reading in self._readings)

    def begin(self) -> None:
        """A window begins."""
        if self._slowest:
            wait_for_tick(self._slowest, self._clock)
        with self._lock:
            for reading in self._readings:
                reading.begin()

    def end(self) -> tuple[Energy, ...]:
        """It has ended: what each source counted since."""
        with self._lock:
            return tuple(reading.end() for reading in self._readings)

    def look(self, now: float) -> None:
        """Read what is due in between."""
        with self._lock:
            for reading in self._readings:
                reading.look_if_due(now)

    @contextlib.contextmanager
    def looking(self) -> Iterator[None]:
        """A thread reads in between, so that no wrap is missed."""
        done = threading.Event()
        every_s = min(reading.counter.every_s for reading in self._readings)

        def watch() -> None:
            while not done.wait(every_s):
                self.look(self._clock())

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


# --------------------------------------------------------------------------------------------- another process


class Ready(Noun, frozen=True, kw_only=True):
    """What the process that reads says first: how long a window must last, or ``why`` it cannot read."""

    min_window_s: float = 0.0
    why: str = ""


@contextlib.contextmanager
def watching(device: str, root: Path = cpu.ROOT) -> Iterator[Remote]:
    """The same, read by another process, which ends with this one. Raises NotMeasurableError as :func:`opened`."""
    command = [sys.executable, "-P", "-m", __spec__.name, device, str(root)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            yield Remote(child.stdin, child.stdout)
        finally:
            with contextlib.suppress(OSError):
                child.stdin.close()  # and it leaves


class Remote:
    """The meter of the process at the other end. Raises PhibenchError when it has ended."""

    def __init__(self, questions: IO[bytes], answers: IO[bytes]) -> None:
        self._questions, self._answers = questions, answers
        ready = self._answer(Ready)
        if ready.why:
            raise NotMeasurableError(ready.why)
        self.min_window_s = ready.min_window_s

    def begin(self) -> None:
        """A window begins."""
        self._ask(b"begin\n")

    def end(self) -> tuple[Energy, ...]:
        """It has ended: what each source counted since."""
        return self._ask(b"end\n")

    def _ask(self, question: bytes) -> tuple[Energy, ...]:
        with contextlib.suppress(OSError):  # it is gone: so there is no answer
            self._questions.write(question)
            self._questions.flush()
        return self._answer(tuple[Energy, ...])

    def _answer(self, kind: type[T]) -> T:
        try:
            return msgspec.json.decode(self._answers.readline(), type=kind)
        except (OSError, msgspec.DecodeError):
            raise PhibenchError("the process that reads the energy counters has ended") from None


def serve(device: str, root: Path, questions: IO[bytes], answers: IO[bytes]) -> None:
    """Answer ``begin`` and ``end`` until ``questions`` end."""

    def say(answer: Ready | tuple[Energy, ...]) -> None:
        answers.write(msgspec.json.encode(answer) + b"\n")
        answers.flush()

    try:
        with opened(device, root) as meter:
            say(Ready(min_window_s=meter.min_window_s))
            for question in questions:
                if question == b"begin\n":
                    meter.begin()
                    say(())
                else:
                    say(meter.end())
    except NotMeasurableError as error:
        say(Ready(why=error.why))


if __name__ == "__main__":
    serve(sys.argv[1], Path(sys.argv[2]), sys.stdin.buffer, sys.stdout.buffer)
