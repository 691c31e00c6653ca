"""Names for ends: how a child process ended that owed something, what it was doing then, and what to do next."""

from __future__ import annotations

import re
import signal

from phibench.core import units
from phibench.core.nouns import Kind, Noun

DOING = {  # phase -> what was done then, of a test or a model
    "starting": "while its process started", "opening": "while it opened the model", "preparing": "preparing {}",
    "prefill": "in prefill of {}", "decode": "in decode of {}", "finishing": "finishing {}",
}  # fmt: skip
PHASES = tuple(DOING)
DOCTOR = "phibench doctor tests this engine"
_AGAIN = f"{DOCTOR}; -b picks another one"
NEXT: dict[Kind, str] = {  # what to do about an end
    "signal": _AGAIN,
    "hang": f"PHIBENCH_SILENCE=1h waits longer, if it is only slow; {DOCTOR}",
    "out_of_memory": "take a coarser -q, a smaller variant, a shorter test, or free memory",
    "exit": _AGAIN,
    "closed": _AGAIN,
    "wrong_numbers": f"figures of wrong answers mean nothing; {DOCTOR}",
}
_OUT_OF_MEMORY = r"[Oo]ut of memory|[Nn]ot enough memory|std::bad_alloc|failed to allocate|[Cc]annot allocate memory"
_MEMORY = re.compile(rf"{_OUT_OF_MEMORY}|^MemoryError")
# The lines that engines and their languages print about their own end. Any other last line of a log may be about
# something else, and is not quoted.
_CAUSE = re.compile(
    r"GGML_ASSERT\(|ggml_abort|Assertion .*failed|^terminate called|^\s*what\(\): |^Fatal Python error"
    rf"|^(?:[\w.]+\.)?\w*(?:Error|Exception|Exit)\b(?:: |$)|{_OUT_OF_MEMORY}"
)
_WORDS = {"SIGSEGV": "a segmentation fault", "SIGILL": "an illegal instruction",
          "SIGBUS": "a bus error", "SIGABRT": "it aborted", "SIGFPE": "an arithmetic error"}  # fmt: skip


class End(Noun, frozen=True, kw_only=True):
    """How a child process ended that still owed something. ``said``: its own words about the cause, if it had any."""

    kind: Kind
    signal: str = ""
    code: int | None = None  # of "exit"
    silent_s: float | None = None  # of "hang"
    said: str = ""
    outside: bool = False  # of SIGKILL: this system counts who is ended for want of memory, and it was not that

    def __str__(self) -> str:
        return self.told()

    def told(self, doing: str = "") -> str:
        """The predicate of a sentence: ``died of SIGSEGV (a segmentation fault) in prefill of pp512: what it said``."""
        return f"{self._what()} {doing}".rstrip() + (f": {self.said}" if self.said else "")

    def _what(self) -> str:
        if self.kind == "hang":
            return f"did not respond for {units.duration(self.silent_s or 0)} and was killed"
        if self.kind == "out_of_memory":
            return "ran out of memory" + (f" ({self.signal})" if self.signal else "")
        if self.kind == "closed":
            return f"{'exited' if self.code == 0 else 'closed its output'} and gave no answer"
        if self.signal == "SIGKILL":
            return f"was killed{' from outside' if self.outside else ''} (SIGKILL)"
        if self.signal:
            return f"died of {self.signal}" + (f" ({_WORDS[self.signal]})" if self.signal in _WORDS else "")
        return f"exited with code {self.code}"


def end(code: int | None, said: str = "", *, killed_for_memory: bool | None = None) -> End:
    """The end of a process by its return code: negative is a signal, None still runs, 0 answered nothing.

    ``said``: the end of its stderr. ``killed_for_memory``: whether its control group's ``oom_kill`` has risen, None
    where nobody counts. Words make want of memory of what a program does by itself, never of a fault.
    """
    cause = _cause(said)
    if code is None or code == 0:
        return End(kind="closed", code=code, said=cause)
    name = signal_name(code)
    if name == "SIGKILL":
        kind: Kind = "out_of_memory" if killed_for_memory else "signal"
        return End(kind=kind, signal=name, outside=killed_for_memory is False)
    kind = "signal" if name else "exit"
    if name in ("", "SIGABRT") and _MEMORY.search(cause):
        kind = "out_of_memory"
    return End(kind=kind, signal=name, code=None if name else code, said=cause)


def sentence(engine: str, end: End, doing: str, then: str) -> str:
    """What became of an engine, for a person; ``doing``: of DOING, ``then``: what to do next."""
    return f"{engine} {end.told(doing)}; {then}"


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
