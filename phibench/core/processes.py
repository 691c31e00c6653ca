"""Child processes: starting one that cannot outlive us, hearing its lines, and telling how it ended.

An engine is native code of others: it may crash, hang, leave or close its output on a processor that its authors did
not have. So engines are opened in children only, and every child is started, heard and ended here.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import queue
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import IO, Any, Self, TypeVar

import msgspec

from phibench.core import ends
from phibench.core.ends import PHASES, End
from phibench.core.errors import FAILED, PhibenchError

START_S = 60.0  # that Python and our modules may take to start on a busy machine, however short silence may be
LONGEST_S = 7 * 86400.0  # of silence
_PHASE_FILE = "PHIBENCH_PHASE_FILE"  # set by Child for its child: a descriptor that it has, on Windows a name
_SAID_BYTES = 8192  # of the end of stderr that is searched for a cause
_LAST_S = 1.0  # that a child which has closed its output may take to leave, and one that has left to be heard
_LOOK_S = 1.0  # between two looks at a child that says nothing
T = TypeVar("T")


def silence_s(usual_s: float) -> float:
    """How long a child may give no sign of life: ``$PHIBENCH_SILENCE`` (``2s``, ``10m``), else the usual time.

    Raises PhibenchError (exit 2) for what is no duration, or longer than LONGEST_S.
    """
    text = os.environ.get("PHIBENCH_SILENCE", "")
    if not text:
        return usual_s
    found = re.fullmatch(r"\s*(\d{1,6}(?:\.\d{1,3})?)\s*(s|m|min|h)?\s*", text.lower())
    seconds = float(found[1]) * {"m": 60, "min": 60, "h": 3600}.get(found[2] or "s", 1) if found else 0.0
    if seconds <= 0:
        raise PhibenchError(f"PHIBENCH_SILENCE={text} is not a duration; write 30s or 10m")
    if seconds > LONGEST_S:
        raise PhibenchError(f"PHIBENCH_SILENCE={text} is too long; at most {LONGEST_S / 3600:.0f}h")
    return seconds


class DiedError(PhibenchError):
    """A child died that owed something: one line for a person, and for a row ``end``, phase and what it ran."""

    def __init__(self, message: str, end: End, phase: str, engine: str) -> None:
        super().__init__(message, FAILED)
        self.end, self.phase, self.engine = end, phase, engine


# -------------------------------------------------------------------------------------------- the parent's side


class Child:
    """``python -m module`` with pipes, detached from Ctrl-C, which is for us. Use it in a ``with``: it is gone after.

    ``oom_kills``: the counter of our control group, now; a SIGKILL while it rises is want of memory.
    """

    def __init__(
        self, module: str, arguments: Sequence[str] = (), *, oom_kills: Callable[[], int | None] = lambda: None
    ) -> None:
        self._oom_kills, self._oom_before = oom_kills, oom_kills()
        self._lines: queue.Queue[bytes | None] = queue.Queue()
        self._silent_s: float | None = None
        self._closed = False  # its output, while it lived on
        self._end: End | None = None
        self._phase = ""  # the last one, once it is gone
        self._reader = threading.Thread(target=self._read, daemon=True)
        with contextlib.ExitStack() as held:  # given back where it does not start, Ctrl-C included
            self._stderr: IO[bytes] = held.enter_context(tempfile.TemporaryFile())
            self._board = held.enter_context(_phase_file())
            place = str(self._board.fileno())
            detached: dict[str, Any] = {"start_new_session": True, "pass_fds": [self._board.fileno()]}
            if os.name == "nt":
                place = self._board.name
                detached = {"creationflags": getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)}
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", module, *arguments],  # -P: no module from the current folder
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._stderr,
                env={**os.environ, _PHASE_FILE: place}, **detached,
            )  # fmt: skip
            held.callback(self.process.kill)  # does nothing to one that is gone
            self._reader.start()
            self._held = held.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def tell(self, line: bytes) -> None:
        """A line for its stdin; a child that is gone hears nothing."""
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.write(line + b"\n")
            self.process.stdin.flush()

    def events(self, decoder: msgspec.json.Decoder[T], silence_s: float) -> Iterator[T]:
        """What its lines say, as ``lines``. One that says nothing is not its own, but of an engine that wrote where it
        should not: it is passed over."""
        for line in self.lines(silence_s):
            try:
                event = decoder.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue
            yield event

    def lines(self, silence_s: float) -> Iterator[bytes]:
        """Its lines as they come, until it ends or closes its output; it is killed when none comes in time.

        The time counts from its start on: until it shows a phase it may take START_S.
        """
        limit_s, since = max(silence_s, START_S), time.monotonic()
        while True:
            if limit_s > silence_s and self.phase != PHASES[0]:
                limit_s, since = silence_s, time.monotonic()
            left_s = since + limit_s - time.monotonic()
            gone = self.process.poll() is not None  # though what it has started may hold its output open
            try:
                line = self._lines.get(timeout=_LAST_S if gone else max(0.0, min(left_s, _LOOK_S)))
            except queue.Empty:
                if gone:
                    return
                if left_s <= _LOOK_S:
                    self._silent_s = limit_s
                    return
                continue
            if line is None:
                self._closed = not self._leaves()
                return
            yield line
            since = time.monotonic()

    def _leaves(self) -> bool:
        try:
            self.process.wait(timeout=_LAST_S)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as pipe:
            for line in _heard(pipe.fileno()):
                self._lines.put(line)
        self._lines.put(None)

    @property
    def phase(self) -> str:
        """What it was doing when it last said so: one of PHASES."""
        if self._phase:
            return self._phase
        self._board.seek(0)
        number = self._board.read(1)[0]
        return PHASES[number] if number < len(PHASES) else PHASES[0]

    def end(self) -> End:
        """Why it owes something; it is ended if it still runs."""
        self.close()
        assert self._end is not None
        return self._end

    def close(self) -> None:
        """End it, and everything that belonged to it: all of its group."""
        if self._end is not None:
            return
        if os.name != "nt":
            with contextlib.suppress(OSError):
                os.killpg(self.process.pid, signal.SIGKILL)
        self.process.kill()
        self.process.wait()
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        self._reader.join(_LAST_S)  # not for ever: what has left its group may still hold the output
        self._phase, self._end = self.phase, self._named()
        self._held.close()

    def _named(self) -> End:
        if self._silent_s is not None:
            return End(kind="hang", silent_s=self._silent_s)
        if self._closed:
            return End(kind="closed")
        before, after = self._oom_before, self._oom_kills()
        killed = None if before is None or after is None else after > before
        size = self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, size - _SAID_BYTES))
        said = self._stderr.read().decode("utf-8", "replace")
        return ends.end(self.process.returncode, said, killed_for_memory=killed)


def _heard(descriptor: int) -> Iterator[bytes]:
    """Lines as they come until it closes, at last what has no end of line. By descriptor: the lock of a buffered reader
    would keep whoever ends us waiting, too."""
    begun = b""
    with contextlib.suppress(OSError, ValueError):
        while data := os.read(descriptor, 1 << 16):
            *whole, begun = (begun + data).split(b"\n")
            yield from whole
    if begun:
        yield begun


@contextlib.contextmanager
def _phase_file() -> Iterator[IO[bytes]]:
    """One byte. On POSIX it has no name, so that nothing can take it away or leave it behind; on Linux no disk either,
    whose write-back would stop the next store into the page."""
    if os.name == "nt":
        file: IO[bytes] = tempfile.NamedTemporaryFile(prefix="phibench-", buffering=0, delete=False)  # noqa: SIM115
    else:
        try:
            file = os.fdopen(os.memfd_create("phibench-phase"), "w+b", buffering=0)
        except (AttributeError, OSError):
            file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115
    try:
        with file:
            file.write(b"\0")
            yield file
    finally:
        if os.name == "nt":
            with contextlib.suppress(OSError):
                os.unlink(file.name)  # noqa: PTH108


# --------------------------------------------------------------------------------------------- the child's side


class Board:
    """One byte that the parent can read after our death: what we were doing. Costs a store into mapped memory."""

    def __init__(self) -> None:
        self._map: mmap.mmap | bytearray = bytearray(1)
        place = os.environ.pop(_PHASE_FILE, "")  # not for children of ours
        with contextlib.suppress(OSError, ValueError):
            descriptor = int(place) if place.isdecimal() else os.open(place, os.O_RDWR)
            if os.fstat(descriptor).st_size == 1:  # else the number is of another process, and means nothing here
                self._map = mmap.mmap(descriptor, 1)
                os.close(descriptor)

    def show(self, phase: str) -> None:
        self._map[0] = _NUMBER[phase]


_NUMBER = {phase: number for number, phase in enumerate(PHASES)}


def leave_with_parent() -> queue.SimpleQueue[bytes]:
    """Of a process whose stdin is a pipe that the parent holds: it closes when the parent is gone, however it went.

    Returns the lines that the parent tells, as they come.
    """
    lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def hear() -> None:
        for line in _heard(0):
            lines.put(line)
        os._exit(1)

    threading.Thread(target=hear, daemon=True).start()
    return lines


def private_output() -> int:
    """A descriptor of our own for stdout; what C libraries print on 1 goes to stderr from here on."""
    private = os.dup(1)
    os.dup2(2, 1)
    return private
