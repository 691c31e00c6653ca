"""The front door for tests: run the command line in this process, or as a real process."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import settings

from phibench.cli import app
from phibench.core import folders
from phibench.machine import inventory
from phibench.probe import conditions

pytest_plugins = ["engine_children"]

settings.register_profile("untimed", deadline=None)  # a busy machine is no failure
settings.load_profile("untimed")

# A shell that starts the tests in the background lets them ignore Ctrl-C, and what they start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


class Outcome(msgspec.Struct, frozen=True):
    code: int
    out: str
    err: str


Phibench = Callable[..., Outcome]


@pytest.fixture(scope="session")
def machine_json(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The slow figures of this machine, measured once."""
    folder = tmp_path_factory.mktemp("probed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PHIBENCH_CACHE", str(folder))
        inventory.this_machine(full=True)
    return folder / "machine.json"


@pytest.fixture
def probed(machine_json: Path) -> None:
    """No command of this test measures the machine."""
    folders.cache_dir().mkdir(parents=True, exist_ok=True)
    shutil.copy(machine_json, folders.cache_dir())


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the developer's cache or results."""
    monkeypatch.setenv("PHIBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PHIBENCH_RESULTS", str(tmp_path / "results"))
    monkeypatch.delenv("PHIBENCH_CACHE_LIMIT", raising=False)
    monkeypatch.setattr(conditions, "LOOK_S", 0.0)  # no test waits for what the tester's machine does


@pytest.fixture
def phibench(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Phibench:
    """``phibench("run", "quick", ...)`` -> exit code, stdout, stderr."""

    def call(*words: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["phibench", *words])
        capfd.readouterr()
        code = 0
        try:
            app.main()
        except SystemExit as leave:
            code = leave.code if isinstance(leave.code, int) else 0 if leave.code is None else 1
        captured = capfd.readouterr()
        return Outcome(code, captured.out, captured.err)

    return call


@pytest.fixture
def spawn() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """The same as a process of its own, for signals. None outlives its test."""
    with contextlib.ExitStack() as started:

        def start(*words: str) -> subprocess.Popen[str]:
            process = subprocess.Popen(
                [sys.executable, "-m", "phibench", *words],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=dict(os.environ),
            )
            started.enter_context(process)
            started.callback(process.kill)
            return process

        yield start
