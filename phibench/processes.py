"""Child processes: starting one that cannot outlive us, hearing its lines, and giving its end a name.

An engine is native code of others: it may crash, hang, leave or close its output on a processor that its authors did
not have. So engines are opened in children only, and what a child's end was is told here, in one place.
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
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Self

from phibench import units
from phibench.errors import FAILED, PhibenchError
from phibench.nouns import Kind, Noun

PHASES = ("starting", "opening", "preparing", "prefill", "decode", "finishing")
_SAID_BYTES = 8192  # of the end of stderr that is searched for a cause
_LAST_S = 1.0  # that a child which has closed its output may take to leave
# The lines that engines and their languages print about their own end. Any other last line of a log may be about
# something else, and is not quoted.
_CAUSE = re.compile(
    r"GGML_ASSERT\(|ggml_abort|Assertion .*failed|^terminate called|^\s*what\(\): |^Fatal Python error"
    r"|^(?:[\w.]+\.)?\w*(?:Error|Exception|Exit)\b(?:: |$)|[Oo]ut of memory|[Nn]ot enough memory|std::bad_alloc"
    r"|failed to allocate|[Cc]annot allocate memory"
)
_MEMORY = re.compile(
    r"std::bad_alloc|[Oo]ut of memory|[Nn]ot enough memory|failed to allocate|[Cc]annot allocate memory|^MemoryError"
)
_WORDS = {"SIGSEGV": "a segmentation fault", "SIGILL": "an instruction that this processor does not have",
          "SIGBUS": "a bus error", "SIGABRT": "it gave up", "SIGFPE": "an arithmetic error"}  # fmt: skip


class End(Noun, frozen=True, kw_only=True):
    """How a child process ended that still owed something. ``said``: its own words about the cause, if it had any."""

    kind: Kind
    signal: str = ""
    code: int | None = None  # of "exit"
    silent_s: float | None = None  # of "hang"
    said: str = ""

    def __str__(self) -> str:
        """The predicate of a sentence about it: ``died of SIGSEGV (a segmentation fault)``."""
        return f"{self._what()}: {self.said}" if self.said else self._what()

    def _what(self) -> str:
        if self.kind == "hang":
            return f"gave no sign of life for {units.duration(self.silent_s or 0)} and was killed"
        if self.kind == "out_of_memory":
            return "ran out of memory" + (f" ({self.signal})" if self.signal else "")
        if self.kind == "closed":
            return "closed its output and gave no answer"
        if self.signal == "SIGKILL":
            return "was killed from outside (SIGKILL)"
        if self.signal:
            return f"died of {self.signal}" + (f" ({_WORDS[self.signal]})" if self.signal in _WORDS else "")
        return f"left with exit code {self.code}"


def end(code: int | None, said: str = "", *, killed_for_memory: bool = False) -> End:
    """The end of a process by its return code: negative is a signal, None still runs, 0 answered nothing.

    ``said``: the end of its stderr. ``killed_for_memory``: whether its control group's ``oom_kill`` has risen.
    """
    cause = _cause(said)
    if code is None or code == 0:
        return End(kind="closed", said=cause)
    name = signal_name(code)
    if name == "SIGKILL":
        return End(kind="out_of_memory" if killed_for_memory else "signal", signal=name)
    kind: Kind = "out_of_memory" if _MEMORY.search(cause) else "signal" if name else "exit"
    return End(kind=kind, signal=name, code=None if name else code, said=cause)


def signal_name(code: int) -> str:
    """``SIGSEGV`` of -11; of a code that is no signal "". Windows tells crashes as NTSTATUS, large and unsigned."""
    windows = {0xC0000005: "SIGSEGV", 0xC000001D: "SIGILL", 0xC0000094: "SIGFPE", 0xC0000409: "SIGABRT"}
    if code & 0xFFFFFFFF in windows and abs(code) > 255:
        return windows[code & 0xFFFFFFFF]
    if code >= 0:
        return ""
    return signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"


def _cause(text: str) -> str:
    """The last line that names a cause; "" where none does."""
    found = [line.strip() for line in text.splitlines() if _CAUSE.search(line.strip())]
    return found[-1][:300] if found else ""


def silence_s(usual_s: float) -> float:
    """How long a child may give no sign of life: ``$PHIBENCH_SILENCE`` (``2s``, ``10m``), else the usual time.

    Raises PhibenchError (exit 2) for what is no duration.
    """
    text = os.environ.get("PHIBENCH_SILENCE", "")
    if not text:
        return usual_s
    found = re.fullmatch(r"\s*(\d{1,6}(?:\.\d{1,3})?)\s*(s|m|min|h)?\s*", text.lower())
    seconds = float(found[1]) * {"m": 60, "min": 60, "h": 3600}.get(found[2] or "s", 1) if found else 0.0
    if seconds <= 0:
        raise PhibenchError(f"PHIBENCH_SILENCE={text} is no duration; write 30s or 10m")
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
        self._stderr: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  closed in close()
        self._board: IO[bytes] = tempfile.NamedTemporaryFile(prefix="phibench-", delete=False)  # noqa: SIM115
        self._board.write(b"\0")
        self._board.flush()
        detached = (
            {"creationflags": getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)}
            if os.name == "nt"
            else {"start_new_session": True}
        )
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", module, *arguments],  # -P: no module from the current folder
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._stderr,
            env={**os.environ, _BOARD: self._board.name}, **detached,
        )  # fmt: skip
        self._lines: queue.Queue[bytes | None] = queue.Queue()
        self._silent_s: float | None = None
        self._closed = False  # its output, while it lived on
        self._end: End | None = None
        self._phase = PHASES[0]
        threading.Thread(target=self._read, daemon=True).start()

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

    def lines(self, silence_s: float) -> Iterator[bytes]:
        """Its lines as they come, until it ends or closes its output; it is killed when none comes in time."""
        while True:
            try:
                line = self._lines.get(timeout=silence_s)
            except queue.Empty:
                self._silent_s = silence_s
                return
            if line is None:
                self._closed = not self._leaves()
                return
            yield line

    def _leaves(self) -> bool:
        try:
            self.process.wait(timeout=_LAST_S)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _read(self) -> None:
        assert self.process.stdout is not None
        with contextlib.suppress(ValueError, OSError):  # closed by us
            for line in self.process.stdout:
                self._lines.put(line)
        self._lines.put(None)

    @property
    def phase(self) -> str:
        """What it was doing when it last said so: one of PHASES."""
        if self._end is None:
            place = Path(self._board.name).read_bytes()
            self._phase = PHASES[place[0]] if place and place[0] < len(PHASES) else PHASES[0]
        return self._phase

    def end(self) -> End:
        """Why it owes something; it is ended if it still runs."""
        self.close()
        assert self._end is not None
        return self._end

    def close(self) -> None:
        """End it, and everything that belonged to it."""
        if self._end is not None:
            return
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(OSError, AttributeError):
                pipe.close()  # type: ignore[union-attr]
        self._phase = self.phase
        self._end = self._named()
        self._stderr.close()
        self._board.close()
        with contextlib.suppress(OSError):
            Path(self._board.name).unlink()

    def _named(self) -> End:
        if self._silent_s is not None:
            return End(kind="hang", silent_s=self._silent_s)
        if self._closed:
            return End(kind="closed")
        before, after = self._oom_before, self._oom_kills()
        killed = before is not None and after is not None and after > before
        size = self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, size - _SAID_BYTES))
        return end(self.process.returncode, self._stderr.read().decode("utf-8", "replace"), killed_for_memory=killed)


# --------------------------------------------------------------------------------------------- the child's side

_BOARD = "PHIBENCH_PHASE_FILE"  # set by Child for its child


class Board:
    """One byte that the parent can read after our death: what we were doing. Costs a store into mapped memory."""

    def __init__(self) -> None:
        self._map: mmap.mmap | bytearray = bytearray(1)
        place = os.environ.pop(_BOARD, "")  # not for children of ours
        with contextlib.suppress(OSError, ValueError), Path(place).open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 1)

    def show(self, phase: str) -> None:
        self._map[0] = _NUMBER[phase]


_NUMBER = {phase: number for number, phase in enumerate(PHASES)}


def leave_with_parent() -> None:
    """Of a process whose stdin is a pipe that the parent holds: it closes when the parent is gone, however it went."""

    def wait() -> None:
        with contextlib.suppress(OSError, ValueError):
            while os.read(0, 4096):
                pass
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def private_output() -> int:
    """A descriptor of our own for stdout; what C libraries print on 1 goes to stderr from here on."""
    private = os.dup(1)
    os.dup2(2, 1)
    return private
