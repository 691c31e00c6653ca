"""Installs llama.cpp with pip and says how far it is: compiling takes minutes.

`make` calls it as ``.venv/bin/python scripts/build_engine.py``; with a wheel in LLAMA_CPP_WHEEL nothing is compiled.
Needs the standard library alone. Exit code 1 when pip failed, 130 when it was interrupted.
"""

from __future__ import annotations

import os
import queue
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Self

from compiler import cmake_args_here, compiler_remedy
from preflight import WHEEL_INDEX, pinned

ROOT = Path(__file__).resolve().parent.parent
LOG = Path(sys.prefix) / "llama-cpp-python.log"
LAST_LINES = 15  # of the log that are shown when it failed
LEAVE_S = 10.0  # that pip may take to clean up after Ctrl-C
EVERY_S = 30.0  # a line, where no line can be rewritten
# Ninja says [12/345], make says [ 12%]
_STEP = re.compile(r"\s*\[\s*(\d+)(/(\d+)|%)\]")
# What the log may say about why it failed, and what to do then; the first that is found
REMEDIES = (
    (r"[Kk]illed signal|cannot allocate memory|out of memory", "memory ran out: CMAKE_BUILD_PARALLEL_LEVEL=1 make run"),
    (r"No space left on device", "the disk is full: name a folder on a larger one in TMPDIR"),
    (r"No CMAKE_C(XX)?_COMPILER could be found|CMAKE_C(XX)?_COMPILER not set", f"no compiler: {compiler_remedy()}"),
    (r"NewConnectionError|Temporary failure in name resolution|No matching distribution|SSLError|ReadTimeout",
     "no way to the package index: check the network, or name another one in PIP_INDEX_URL"),
    ("", f"take a ready wheel, if there is one for this machine: PIP_EXTRA_INDEX_URL={WHEEL_INDEX} make run"),
)  # fmt: skip


def main() -> int:
    command, env, doubt = plan(dict(os.environ))
    if doubt:
        print(f"phibench: {doubt}", file=sys.stderr)
    code = follow(command, env, LOG, sys.stdout)
    if code not in (0, 130):
        print(failure(code, LOG), file=sys.stderr)
        return 1
    return code


def plan(env: dict[str, str]) -> tuple[list[str], dict[str, str], str]:
    """pip's command line and environment, and what could not be repaired of the compiler, or ""."""
    pip = [sys.executable, "-m", "pip", "install", "-v", "--disable-pip-version-check", "--no-input"]
    pip += ["-c", str(ROOT / "constraints.txt")]
    if wheel := env.get("LLAMA_CPP_WHEEL"):
        return [*pip, wheel], env, ""
    args, doubt = cmake_args_here()
    # pip takes a wheel that it has built before, with whatever flags that was
    fresh = ["--no-cache-dir"] if args else []
    return [*pip, *fresh, pinned("llama-cpp-python")], {**env, "CMAKE_ARGS": args}, doubt


def follow(command: list[str], env: dict[str, str], log: Path, out: IO[str]) -> int:
    """Run it with its words in ``log`` and one line of progress on ``out``. Returns the exit code, 130 for Ctrl-C."""
    started = time.monotonic()
    with (
        log.open("wb", buffering=0) as file,
        Line(out) as line,
        subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as child,
    ):
        done = total = 0
        try:
            for text in _lines(child, tick_s=1.0):
                if text is not None:
                    file.write(text)
                    done, total = step(text.decode("utf-8", "replace")) or (done, total)
                line.show(progress(done, total, time.monotonic() - started))
            code = child.wait()
        except KeyboardInterrupt:
            _leave(child)
            return 130
        line.end(f"llama.cpp is {'installed' if code == 0 else 'not installed'}, {minutes(time.monotonic() - started)}")
    return code


def _leave(child: subprocess.Popen[bytes]) -> None:
    """The terminal has told pip, too, which cleans up."""
    try:
        child.wait(timeout=LEAVE_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _lines(child: subprocess.Popen[bytes], tick_s: float) -> Iterator[bytes | None]:
    """Its lines as they come, and None whenever none came for ``tick_s``."""
    heard: queue.Queue[bytes | None] = queue.Queue()

    def read() -> None:
        assert child.stdout is not None
        for text in child.stdout:
            heard.put(text)
        heard.put(None)

    threading.Thread(target=read, daemon=True).start()
    while True:
        try:
            text = heard.get(timeout=tick_s)
        except queue.Empty:
            yield None
            continue
        if text is None:
            return
        yield text


def step(text: str) -> tuple[int, int] | None:
    """(12, 345) of ``[12/345] Building ...``, (12, 100) of ``[ 12%] Building ...``; None of any other line."""
    found = _STEP.match(text)
    return (int(found[1]), int(found[3] or 100)) if found else None


def progress(done: int, total: int, seconds: float) -> str:
    if not total:
        return f"llama.cpp: fetching and preparing, {minutes(seconds)}"
    unit = "%" if total == 100 else f" of {total} files"
    return f"llama.cpp: compiling, {done}{unit}, {minutes(seconds)}"


def minutes(seconds: float) -> str:
    return f"{int(seconds) // 60} min {int(seconds) % 60:02} s"


class Line:
    """One line that is rewritten on a terminal; elsewhere a new line now and then, and the last one."""

    def __init__(self, out: IO[str], clock: Callable[[], float] = time.monotonic) -> None:
        self._out, self._clock = out, clock
        self._rewrites, self._said = out.isatty(), ""
        self._next = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._rewrites and self._said:
            self._out.write("\n")
            self._out.flush()

    def show(self, text: str) -> None:
        if self._rewrites:
            if text != self._said:
                self._write(f"\r\x1b[K{text}")
                self._said = text
        elif self._clock() >= self._next:
            self._write(f"{text}\n")
            self._next = self._clock() + EVERY_S

    def end(self, text: str) -> None:
        self._write(f"\r\x1b[K{text}\n" if self._rewrites else f"{text}\n")
        self._said = ""

    def _write(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()


def failure(code: int, log: Path) -> str:
    """The end of the log, and one line: what failed, where the whole log is, what to do."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    text = "\n".join(lines)
    remedy = next(remedy for words, remedy in REMEDIES if re.search(words, text))
    last = "\n".join(f"  {line[:200]}" for line in lines[-LAST_LINES:])
    return f"{last}\nphibench: llama.cpp could not be installed (pip: exit {code}; all of it is in {log}); {remedy}"


if __name__ == "__main__":
    sys.exit(main())
