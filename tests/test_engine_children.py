"""An engine's death is one test's failure: a real pytest on tests of an engine that is a real child and really dies."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

HERE = Path(__file__).parent
CONFTEST = """
import pytest
pytest_plugins = ["engine_children"]

@pytest.hookimpl(tryfirst=True)
def pytest_configure():
    import engine_children
    engine_children.ENGINES |= {"fake": ("fake_engine",), "other": ("other_engine",)}
"""
# One fixture of the module says how many processes there were; each test says in which one it ran.
TESTS = """
import os, pathlib, signal, subprocess, sys, time, pytest

HERE = pathlib.Path(__file__).parent
pytestmark = pytest.mark.engine("fake")

def here(name):
    (HERE / f"{name}.pid").write_text(str(os.getpid()))

@pytest.fixture(scope="module", autouse=True)
def module():
    here(f"module-{os.getpid()}")
    yield
    (HERE / f"module-{os.getpid()}.over").touch()

def test_one():
    import fake_engine
    print("to stdout"); os.write(1, b"not an answer\\n"); os.system("echo not one either")
    here("one")

def test_of_the_same_child(tmp_path):
    here("two")

def test_that_fails():
    import fake_engine
    assert fake_engine.VALUE == 2

@pytest.mark.skip(reason="not now")
def test_skipped():
    pass

def test_that_skips_itself():
    pytest.skip("not here")

def test_that_dies():
    here("dies")
    print("last words", file=sys.stderr)
    os.kill(os.getpid(), signal.SIGSEGV)

def test_after_it():
    here("after")

def test_that_leaves():
    os._exit(3)

def test_that_hangs():
    here("hangs")
    time.sleep(600)

@pytest.mark.parametrize("n", [1, 2])
def test_last(n):
    here(f"last-{n}")
"""
PLAIN = """
import pathlib, os, pytest

def test_in_pytests_own_process():
    (pathlib.Path(__file__).parent / "own.pid").write_text(str(os.getpid()))

def test_that_has_no_mark():
    try:
        import fake_engine
    except Exception:
        pass  # nobody may swallow it
    raise AssertionError("it was loaded")

@pytest.mark.engine("other")
def test_beside_another_engine():
    import fake_engine
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --strict-markers\nfilterwarnings = error\n")
    for name in ("fake_engine", "other_engine"):
        (tmp_path / f"{name}.py").write_text("VALUE = 1\n")
    return tmp_path


def command(folder: Path, *words: str) -> tuple[list[str], dict[str, str]]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "COV"))}
    path = os.pathsep.join([str(HERE), str(HERE.parent)])
    environment |= {"PYTHONPATH": path, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return [sys.executable, "-m", "pytest", "-rA", *words], environment


def run(folder: Path, *words: str) -> tuple[dict[str, str], str]:
    """Outcome of each test by name, and all that was printed."""
    line, environment = command(folder, *words)
    done = subprocess.run(
        line, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    told = re.findall(r"^(PASSED|FAILED|ERROR|SKIPPED) (?:\S+::)?(\S+)", done.stdout, re.MULTILINE)
    return {name: outcome for outcome, name in told}, done.stdout + done.stderr


def number(folder: Path, name: str) -> int:
    return int((folder / f"{name}.pid").read_text() or 0)


def until(what: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX")
@pytest.mark.parametrize("workers", [(), ("-p", "xdist", "-n", "2", "--dist", "loadfile")], ids=["alone", "xdist"])
def test_a_dead_a_hanging_and_a_leaving_engine_are_one_failure_each(folder: Path, workers: tuple[str, ...]) -> None:
    (folder / "test_fake.py").write_text(TESTS)
    (folder / "test_plain.py").write_text(PLAIN)
    outcomes, said = run(folder, "--engine-limit", "6", *workers)
    assert outcomes == {
        "test_one": "PASSED",
        "test_of_the_same_child": "PASSED",
        "test_that_fails": "FAILED",
        "[1]": "SKIPPED",
        "test_that_dies": "FAILED",
        "test_after_it": "PASSED",
        "test_that_leaves": "FAILED",
        "test_that_hangs": "FAILED",
        "test_last[1]": "PASSED",
        "test_last[2]": "PASSED",
        "test_in_pytests_own_process": "PASSED",
        "test_that_has_no_mark": "FAILED",
        "test_beside_another_engine": "FAILED",
    }, said
    assert "2 skipped" in said
    assert re.search(r"^the engine fake died of SIGSEGV .*, in test_fake\.py::test_that_dies$", said, re.MULTILINE)
    assert re.search(r"^SKIPPED \[1\] test_fake\.py:\d+: not here$", said, re.MULTILINE)
    assert "last words" in said
    assert "the engine fake exited with code 3, in test_fake.py::test_that_leaves" in said
    assert "the engine fake did not respond for 6 s and was killed, in test_fake.py::test_that_hangs" in said
    assert "in test_that_hangs" in said.partition("what the child wrote last")[2]  # the line that hung
    assert "fake is opened in pytest's own process: mark the test with @pytest.mark.engine('fake')" in said
    assert "fake is opened in the process of other" in said
    own, *children = (
        number(folder, name) for name in ("own", "one", "two", "dies", "after", "hangs", "last-1", "last-2")
    )
    one, two, dies, after, hangs, *last = children
    assert one == two == dies
    assert last[0] == last[1]
    assert len({own, dies, after, hangs, last[0]}) == 5
    assert (folder / f"module-{last[0]}.over").exists()
    until(lambda: all(map(gone, children)))


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX")
@pytest.mark.parametrize("name", ["SIGINT", "SIGKILL"])
def test_no_child_outlives_ctrl_c_or_a_kill(folder: Path, name: str) -> None:
    (folder / "test_fake.py").write_text(TESTS)
    line, environment = command(folder, "-k", "hangs")
    process = subprocess.Popen(line, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        until((folder / "hangs.pid").exists)
        process.send_signal(getattr(signal, name))
        said, _ = process.communicate(timeout=120)
    finally:
        process.kill()
        process.communicate()
    assert ("KeyboardInterrupt" in said) == (name == "SIGINT")
    until(lambda: gone(number(folder, "hangs")))


def test_an_engine_that_is_not_installed_is_skipped_and_a_wrong_name_refused(folder: Path) -> None:
    (folder / "other_engine.py").unlink()
    (folder / "test_fake.py").write_text("import pytest\n@pytest.mark.engine('other')\ndef test_one():\n    pass\n")
    outcomes, said = run(folder)
    assert "1 skipped" in said
    assert "other_engine is not installed" in said
    for words, why in (("'othr'", "no engine othr"), ("'fake', 'other'", "two engines in one process")):
        (folder / "test_fake.py").write_text(
            f"import pytest\n@pytest.mark.engine({words})\ndef test_one():\n    pass\n"
        )
        outcomes, said = run(folder)
        assert outcomes == {}
        assert why in said
