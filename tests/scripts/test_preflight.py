"""scripts/preflight.py: each thing that is missing gives one line with its remedy, before anything is downloaded."""

from __future__ import annotations

import ast
import importlib
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"
OLD_PYTHON = ("preflight.py", "compiler.py", "built.py")
CAN_COMPILE = ("c++", "g++", "clang++")


@pytest.fixture
def preflight(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("preflight")


@pytest.fixture
def bare(tmp_path: Path) -> dict[str, str]:
    """The environment of a machine without a compiler, a pip cache and an index, and a checkout without .venv."""
    checkout = tmp_path / "checkout"
    (checkout / "scripts").mkdir(parents=True)
    for name in OLD_PYTHON:
        (checkout / "scripts" / name).write_bytes((SCRIPTS / name).read_bytes())
    (checkout / "constraints.txt").write_bytes((SCRIPTS.parent / "constraints.txt").read_bytes())
    (tmp_path / "bin").mkdir()
    return {
        "PATH": str(tmp_path / "bin"),
        "HOME": str(tmp_path),
        "PIP_CACHE_DIR": str(tmp_path / "cache"),
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_INDEX": "1",
        "SYSTEMROOT": os.environ.get("SYSTEMROOT", ""),
    }


def run(env: dict[str, str], target: str = "run") -> subprocess.CompletedProcess[str]:
    script = Path(env["HOME"]) / "checkout" / "scripts" / "preflight.py"
    command = [sys.executable, str(script), target]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)


def add_command(env: dict[str, str], name: str) -> None:
    path = Path(env["PATH"]) / name
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 2, done
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    return line


posix = pytest.mark.skipif(os.name == "nt", reason="on Windows CMake looks for the compiler itself")
linux = pytest.mark.skipif(sys.platform != "linux", reason="macOS asks xcode-select")


@pytest.mark.parametrize("name", OLD_PYTHON)
def test_an_old_python_can_still_parse_it(name: str) -> None:
    ast.parse((SCRIPTS / name).read_text(encoding="utf-8"), feature_version=(3, 6))


def test_an_old_python_is_named_with_the_command_that_helps(preflight: ModuleType) -> None:
    (line,) = preflight.python_problems("test", version=(3, 9, 2))
    assert "needs Python 3.11 or newer" in line
    assert "Python 3.9.2" in line
    assert "PYTHON=python3.1" in line
    assert line.endswith("make test")


def test_this_python_is_new_enough(preflight: ModuleType) -> None:
    assert preflight.python_problems("run") == []


@posix
def test_without_a_compiler_the_line_names_a_compiler_and_a_wheel(bare: dict[str, str]) -> None:
    add_command(bare, "dnf")
    line = one_line(run(bare))
    assert "no C++ compiler" in line
    assert "PIP_EXTRA_INDEX_URL=https://" in line
    assert "llama-cpp-python==" in line
    if sys.platform != "darwin":
        assert "sudo dnf install gcc-c++" in line


@posix
def test_the_first_advice_needs_no_compiler(bare: dict[str, str]) -> None:
    assert run(bare, "core").returncode == 0


@linux
@pytest.mark.parametrize("name", CAN_COMPILE)
def test_any_compiler_will_do(bare: dict[str, str], name: str) -> None:
    add_command(bare, name)
    assert run(bare).stderr == ""


@linux
def test_a_compiler_that_cxx_names_must_exist(bare: dict[str, str]) -> None:
    add_command(bare, "g++")
    assert "no C++ compiler" in one_line(run({**bare, "CXX": "icpx -O2"}))


@posix
def test_a_wheel_that_is_given_replaces_the_compiler(bare: dict[str, str], tmp_path: Path) -> None:
    wheel = tmp_path / "llama_cpp_python-0.3.36-py3-none-any.whl"
    assert "there is no such file" in one_line(run({**bare, "LLAMA_CPP_WHEEL": str(wheel)}))
    wheel.touch()
    assert run({**bare, "LLAMA_CPP_WHEEL": str(wheel)}).returncode == 0
    assert run({**bare, "LLAMA_CPP_WHEEL": "https://example.org/llama.whl"}).returncode == 0


@posix
def test_an_installed_llama_cpp_needs_no_compiler(bare: dict[str, str], preflight: ModuleType) -> None:
    stem = preflight.pinned("llama-cpp-python").replace("-", "_").replace("==", "-")
    site = Path(bare["HOME"]) / "checkout" / ".venv" / "lib" / "python3.11" / "site-packages"
    (site / f"{stem}.dist-info").mkdir(parents=True)
    assert run(bare).returncode == 0


@posix
def test_it_finds_its_parts_where_python_does_not_look_beside_a_script(bare: dict[str, str]) -> None:
    assert run({**bare, "PYTHONSAFEPATH": "1"}, "core").stderr == ""


def test_too_little_disk_says_where_how_much_and_what_to_do(preflight: ModuleType, tmp_path: Path) -> None:
    needs = preflight.disk_needs("run", compiles=True)
    total = sum(size for _, _, size in needs)
    everything = [(what, str(tmp_path / "not" / "there"), size) for what, _, size in needs]
    assert preflight.disk_problems(everything, lambda folder: total) == []
    (line,) = preflight.disk_problems(everything, lambda folder: total - 1)
    assert "too little disk" in line
    assert str(tmp_path) in line
    assert "compiling llama.cpp" in line
    assert "PHIBENCH_CACHE" in line


def test_what_is_already_there_is_not_asked_for(preflight: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "folder_bytes", lambda folder: 10**12)
    assert all(size == 0 for _, _, size in preflight.disk_needs("test", compiles=False))


def test_a_wrong_target_is_refused(bare: dict[str, str]) -> None:
    done = run(bare, "everything")
    assert done.returncode != 0
    assert "usage" in done.stderr
