"""Installs llama.cpp with pip and says how far it is: compiling takes minutes.

`make` calls it as ``.venv/bin/python scripts/build_engine.py``; with a wheel in LLAMA_CPP_WHEEL nothing is compiled.
On a processor with AMX the wheel is kept in phibench's cache, so that a set-up that was cut off, or another checkout,
takes it from there. Needs the standard library alone. Exit code 1 when pip failed, 130 when it was interrupted.
"""

from __future__ import annotations

import contextlib
import os
import queue
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Self

# With PYTHONSAFEPATH=1 or -P, Python does not look beside the script
sys.path.insert(0, str(Path(__file__).resolve().parent))

import built
from compiler import cmake_args_here, compiler_remedy
from preflight import WHEEL_INDEX, pinned

ROOT = Path(__file__).resolve().parent.parent
VENV = Path(sys.prefix)
LOG = VENV / "llama-cpp-python.log"
LAST_LINES = 15  # of the log that are shown when it failed
REASON_LINES = 50  # of the log, at its end, that may say why
LEAVE_S = 10.0  # that pip may take to clean up after Ctrl-C
EVERY_S = 30.0  # a line, where no line can be rewritten
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"]
CONSTRAINTS = ["-c", str(ROOT / "constraints.txt")]
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
    for name in ("SIGTERM", "SIGHUP"):  # pip has a group of its own, which would outlive this one
        number = getattr(signal, name, None)
        if number and signal.getsignal(number) is signal.SIG_DFL:  # nohup has it ignored
            signal.signal(number, _interrupted)
    try:
        return engine(os.environ, sys.stdout)
    except KeyboardInterrupt:
        return 130


def _interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def engine(env: Mapping[str, str], out: IO[str]) -> int:
    """Installs what is missing, and once more what would crash on this machine. Returns 0, 1, or 130 for Ctrl-C."""
    pin, ready, again = pinned("llama-cpp-python"), env.get("LLAMA_CPP_WHEEL", ""), ""
    LOG.write_bytes(b"")
    had = built.installed(str(VENV), pin)
    if ready or (had and not (again := built.why_again(str(VENV), pin, env))):
        code = follow(install(ready or pin), env, LOG, out)
        if code == 0 and ready and not had:
            built.write_note(str(VENV), env, "", wheel=ready)
        return told(code)
    args, doubt = cmake_args_here()
    where = built.folder(pin, env, args)
    if again:
        does = "a wheel that was compiled with them is installed" if built.kept(where, pin) else "it is compiled again"
        print(f"phibench: {again}; {does}", file=out, flush=True)
    if doubt:
        print(f"phibench: {doubt}", file=sys.stderr)
    asked = {**env, "CMAKE_ARGS": args}
    if where and _writable(where):
        code, ready = from_kept(pin, Path(where), asked, out)
    else:  # pip takes a wheel that it has built before, with whatever flags that was
        fresh = ["--no-cache-dir"] if args else []
        code = follow(install(pin, *fresh, *(["--no-deps", "--force-reinstall"] if again else [])), asked, LOG, out)
    if code == 0:
        built.write_note(str(VENV), env, args, ready)
    elif again and code != 130:
        told(code)
        print("phibench: the llama.cpp that is here stays; the self-test finds what of it works", file=sys.stderr)
        return 0
    return told(code)


def install(what: str, *options: str) -> list[str]:
    return [*PIP, "install", "-v", *CONSTRAINTS, *options, what]


def _writable(folder: str) -> bool:
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)


def from_kept(pin: str, where: Path, env: Mapping[str, str], out: IO[str]) -> tuple[int, str]:
    """The wheel that is kept in ``where``, or that is compiled and kept there, installed: pip's exit code, and "".

    Where an index had it ready, nothing was compiled, nothing is kept, and its name comes instead of "". What else
    it needs is in phibench's own requirements.
    """
    local = ["--no-deps", "--no-index", "--force-reinstall"]
    if kept := built.kept(str(where), pin):
        return follow(install(kept, *local), env, LOG, out, "installing"), ""
    # Beside where it is kept, so that it gets there whole or not at all
    with tempfile.TemporaryDirectory(prefix="unfinished-", dir=where) as making:
        make = [*PIP, "wheel", "-v", *CONSTRAINTS, "--no-deps", "--no-cache-dir", "-w", making, pin]
        if code := follow(make, env, LOG, out, done="compiled"):
            return code, ""
        (wheel,) = Path(making).glob("*.whl")
        ready = wheel.name
        if b"Building wheel for llama-cpp-python" in LOG.read_bytes():
            wheel, ready = wheel.replace(where / wheel.name), ""
        return follow(install(str(wheel), *local), env, LOG, out, "installing"), ready


def told(code: int) -> int:
    """main's exit code; says what is to be said of pip's."""
    if code in (0, 130):
        return code
    print(failure(code, LOG), file=sys.stderr)
    return 1


def follow(
    command: list[str],
    env: Mapping[str, str],
    log: Path,
    out: IO[str],
    begins: str = "fetching and preparing",
    done: str = "installed",
) -> int:
    """Run it with its words behind those in ``log`` and one line of progress on ``out``.

    Returns the exit code, 130 for Ctrl-C, after which nothing of it runs any more.
    """
    started = time.monotonic()
    with (
        log.open("ab", buffering=0) as file,
        Line(out) as line,
        subprocess.Popen(
            command, env=dict(env), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            process_group=0 if os.name != "nt" else None,
        ) as child,
    ):  # fmt: skip
        files = total = 0
        try:
            for text in _lines(child, tick_s=1.0):
                if text is not None:
                    file.write(text)
                    files, total = step(text.decode("utf-8", "replace")) or (files, total)
                line.show(progress(files, total, time.monotonic() - started, begins))
            code = child.wait()
        except BaseException as error:
            _leave(child)
            if isinstance(error, KeyboardInterrupt):
                return 130
            raise
        line.end(f"llama.cpp is {'' if code == 0 else 'not '}{done}, {minutes(time.monotonic() - started)}")
    return code


def _leave(child: subprocess.Popen[bytes]) -> None:
    """Ends pip, ninja and the compilers; they may clean up before."""
    try:
        _tell(child, signal.SIGINT)  # ninja keeps its compilers in groups of their own, and passes this on
        until = time.monotonic() + LEAVE_S
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(LEAVE_S)
            until = min(until, time.monotonic() + LEAVE_S / 5)  # the dead, too, count where nobody collects them
        while _tell(child, 0) and time.monotonic() < until:
            time.sleep(0.05)
    finally:  # a second Ctrl-C, too
        _tell(child, getattr(signal, "SIGKILL", signal.SIGTERM))
        child.wait()


def _tell(child: subprocess.Popen[bytes], number: int) -> bool:
    """A signal to its group; whether there is anybody left."""
    if os.name == "nt":
        if number:
            child.kill()
        return child.poll() is None
    with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS refuses to signal the dead
        os.killpg(child.pid, number)
        return True
    return False


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


def progress(done: int, total: int, seconds: float, begins: str = "fetching and preparing") -> str:
    if not total:
        return f"llama.cpp: {begins}, {minutes(seconds)}"
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
    text = "\n".join(lines[-REASON_LINES:])
    remedy = next(remedy for words, remedy in REMEDIES if re.search(words, text))
    last = "\n".join(f"  {line[:200]}" for line in lines[-LAST_LINES:])
    return f"{last}\nphibench: llama.cpp could not be installed (pip: exit {code}; all of it is in {log}); {remedy}"


if __name__ == "__main__":
    sys.exit(main())
