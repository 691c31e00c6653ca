"""scripts/build_engine.py: how it says how far pip is, how it ends, and what it says when pip fails."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import psutil
import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"
NINJA = "print('Building wheel'); print('  [1/345] Building CXX object'); print('  [345/345] Linking')"


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    for name in ("LLAMA_CPP_WHEEL", "CMAKE_ARGS", "CXXFLAGS"):
        monkeypatch.delenv(name, raising=False)
    return importlib.import_module("build_engine")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


# ---------------------------------------------------------------------------------------------- progress


@pytest.mark.parametrize(
    ("line", "step"),
    [
        ("  [12/345] Building CXX object a.cpp.o\n", (12, 345)),
        ("  [ 12%] Building CXX object a.cpp.o\n", (12, 100)),
        ("  [100%] Built target llama\n", (100, 100)),
        ("  -- [12/345] is not at its beginning\n", None),
        ("[notice] pip\n", None),
        ("", None),
    ],
)
def test_steps_of_ninja_and_of_make(build: ModuleType, line: str, step: tuple[int, int] | None) -> None:
    assert build.step(line) == step


def test_the_line_says_which_of_how_many_and_how_long(build: ModuleType) -> None:
    assert build.progress(0, 0, 5) == "llama.cpp: fetching and preparing, 0 min 05 s"
    assert build.progress(12, 345, 200) == "llama.cpp: compiling, 12 of 345 files, 3 min 20 s"
    assert build.progress(12, 100, 200) == "llama.cpp: compiling, 12%, 3 min 20 s"


def test_a_terminal_has_one_line_and_a_file_has_one_now_and_then(build: ModuleType) -> None:
    terminal, file, now = Terminal(), io.StringIO(), [0.0]
    for out in (terminal, file):
        with build.Line(out, lambda: now[0]) as line:
            for second in range(61):
                now[0] = float(second)
                line.show(f"at {second}")
            line.end("done")
    assert terminal.getvalue().count("\n") == 1
    assert terminal.getvalue().endswith("\x1b[Kdone\n")
    assert file.getvalue().splitlines() == ["at 0", "at 30", "at 60", "done"]
    assert "\x1b" not in file.getvalue()


def test_all_that_pip_says_is_in_the_log(build: ModuleType, tmp_path: Path) -> None:
    log, out = tmp_path / "log", Terminal()
    assert build.follow([sys.executable, "-c", NINJA], dict(os.environ), log, out) == 0
    assert log.read_text().splitlines() == ["Building wheel", "  [1/345] Building CXX object", "  [345/345] Linking"]
    assert "345 of 345 files" in out.getvalue()
    assert "llama.cpp is installed, " in out.getvalue().splitlines()[-1]


def test_a_silent_pip_still_shows_that_time_goes_on(build: ModuleType, tmp_path: Path) -> None:
    waits = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    with subprocess.Popen(waits, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin is not None
        lines = build._lines(child, tick_s=0.001)
        assert next(lines) is None
        child.stdin.close()
        assert all(line is None for line in lines)  # and it ends with the child


NINJA_AND_PIP = """
import os, signal, subprocess, sys, time
deaf = sys.argv[1:] == ["deaf"]
if deaf:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
ninja = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])  # deaf, too, where pip is
print(os.getpid(), ninja.pid, flush=True)
print("  [1/9] x", flush=True)
try:
    time.sleep(600)
except KeyboardInterrupt:
    open("tidy", "w").close()
"""


@pytest.mark.skipif(os.name == "nt", reason="there is no make")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("deaf", [[], ["deaf"]])
def test_an_interrupted_set_up_ends_pip_and_all_that_it_has_started(
    tmp_path: Path, deaf: list[str], number: int
) -> None:
    (tmp_path / "pip.py").write_text(NINJA_AND_PIP)
    command = [sys.executable, "pip.py", *deaf]
    code = f"import sys, os, pathlib, signal; sys.path.insert(0, {str(SCRIPTS)!r}); import build_engine; "
    # nohup and a shell's & have them ignored
    code += "signal.signal(signal.SIGINT, signal.default_int_handler); signal.signal(signal.SIGHUP, signal.SIG_DFL); "
    code += "build_engine.LEAVE_S = 0.5; build_engine.engine = lambda env, out: "
    code += f"build_engine.follow({command!r}, os.environ, pathlib.Path('log'), sys.stdout); "
    code += "sys.exit(build_engine.main())"
    log = tmp_path / "log"
    with subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.DEVNULL) as child:
        until = time.monotonic() + 60
        while not (log.exists() and b"[1/9]" in log.read_bytes()):
            assert child.poll() is None
            assert time.monotonic() < until
            time.sleep(0.02)
        child.send_signal(number)
        pids = [int(word) for word in log.read_text().splitlines()[0].split()]
        try:
            assert child.wait(timeout=60) == 130
            assert not [pid for pid in pids if runs(pid)]
            assert (tmp_path / "tidy").exists() is not bool(deaf)  # who listens has time to clean up
        finally:
            for pid in [child.pid, *filter(runs, pids)]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def runs(pid: int) -> bool:
    """One that nobody has collected yet does not."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


# ----------------------------------------------------------------------------------------------- failure


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        ("c++: fatal error: Killed signal terminated program cc1plus", "CMAKE_BUILD_PARALLEL_LEVEL=1 make run"),
        ("fatal error: error writing to /tmp/a.s: No space left on device", "TMPDIR"),
        ("CMake Error: No CMAKE_CXX_COMPILER could be found.", "no compiler: "),
        ("ERROR: No matching distribution found for llama-cpp-python==0.3.36", "PIP_INDEX_URL"),
        ("error: something that nobody has foreseen", "PIP_EXTRA_INDEX_URL=https://"),
    ],
)
def test_a_failure_ends_with_one_line_and_a_remedy(build: ModuleType, tmp_path: Path, said: str, remedy: str) -> None:
    log = tmp_path / "log"
    log.write_text("".join(f"line {n}\n" for n in range(100)) + f"{said}\n")
    *shown, last = build.failure(1, log).splitlines()
    assert [shown[-1].strip(), len(shown)] == [said, build.LAST_LINES]
    assert last.startswith("phibench: llama.cpp could not be installed (pip: exit 1; ")
    assert str(log) in last
    assert remedy in last


def test_the_reason_is_looked_for_at_the_end_of_the_log(build: ModuleType, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("warning: out of memory is not checked\n" + "line\n" * build.REASON_LINES)
    assert "memory ran out" not in build.failure(1, log)


def test_a_real_pip_that_finds_nothing(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", "--system-site-packages", tmp_path / "v"], check=True
    )
    python = tmp_path / "v" / ("Scripts" if os.name == "nt" else "bin") / "python"
    env = {k: v for k, v in os.environ.items() if not k.startswith("PIP_")} | {
        "PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull, "PIP_CACHE_DIR": str(tmp_path / "cache"),
        "PYTHONPATH": "", "PIP_FORCE_REINSTALL": "1", "PHIBENCH_CACHE": str(tmp_path / "own"), "PYTHONSAFEPATH": "1",
    }  # fmt: skip
    done = subprocess.run(
        [python, SCRIPTS / "build_engine.py"], env=env, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1].startswith("llama.cpp is not ")
    assert done.stderr.splitlines()[-1].startswith("phibench: llama.cpp could not be installed (pip: exit 1; ")
