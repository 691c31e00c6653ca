"""How an extra is asked for: the line is right for the way in which phibench came here, and for every shell."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from phibench.core import extras

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the paths here are those of POSIX")
Install = Callable[..., Path]
REQUIRES = [
    "click>=8.1", "onnxruntime>=1.31; extra == 'onnxruntime'", 'onnx>=1.19 ; extra == "onnxruntime"',
    "torch>=2.11; extra == 'torch'",
]  # fmt: skip


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """``install("uv/tools/phibench", marks=("uv-receipt.toml",))``: an environment there, the marks of a tool in it."""

    def make(
        folder: str, *, marks: tuple[str, ...] = (), url: object = None, has: tuple[str, ...] = (), pip: bool = True
    ) -> Path:
        prefix = tmp_path / folder
        (prefix / "bin").mkdir(parents=True)
        for mark in marks:
            (prefix / mark).touch()
        called = prefix / "bin" / "python"
        called.symlink_to(sys.executable)
        told = dict.fromkeys(("click", *has), "1")

        def version(name: str) -> str:
            if name not in told:
                raise importlib.metadata.PackageNotFoundError(name)
            return told[name]

        monkeypatch.setattr(sys, "prefix", str(prefix))
        monkeypatch.setattr(sys, "executable", str(called))
        monkeypatch.setattr(sys, "argv", [str(prefix / "bin" / "phibench"), "run", "latency", "-m", "my phi.gguf"])
        monkeypatch.setattr(extras, "ROOT", prefix / "lib" / "site-packages")
        monkeypatch.setattr(importlib.metadata, "version", version)
        monkeypatch.setattr(importlib.metadata, "requires", lambda _: REQUIRES)
        text = json.dumps(url) if url else None
        monkeypatch.setattr(importlib.metadata, "distribution", lambda _: SimpleNamespace(read_text=lambda _: text))
        monkeypatch.setattr(shutil, "which", lambda name: str(prefix / "bin" / name) if pip and name == "pip" else None)
        monkeypatch.setattr(Path, "home", lambda: tmp_path / "anna")
        monkeypatch.chdir(tmp_path)
        return prefix

    return make


RECEIPT, PIPX = ("uv-receipt.toml",), ("pipx_metadata.json",)


@pytest.mark.parametrize(
    ("folder", "marks", "way", "line"),
    [
        ("uv/archive-v0/Ok1E9johe", (), "uvx", 'uvx "phibench[torch]" run latency -m "my phi.gguf"'),
        ("uv/environments-v2/Ok1E9", (), "uvx", 'uvx "phibench[torch]" run latency -m "my phi.gguf"'),
        ("pipx/.cache/e97219a", PIPX, "pipx run", 'pipx run "phibench[torch]" run latency -m "my phi.gguf"'),
        ("uv/tools/phibench", RECEIPT, "uv tool", 'uv tool install "phibench[torch]"'),
        ("pipx/venvs/phibench", PIPX, "pipx", 'pipx install --force "phibench[torch]"'),
        ("venv", (), "pip", 'pip install "phibench[torch]"'),
    ],
)  # fmt: skip
def test_each_way_has_its_line(install: Install, folder: str, marks: tuple[str, ...], way: str, line: str) -> None:
    install(folder, marks=marks)
    assert (extras.way(), extras.line("torch")) == (way, line)


def test_advice_that_needs_no_engine_names_the_command_that_does(install: Install) -> None:
    install("uv/archive-v0/x")
    assert extras.line("onnxruntime", then="quickstart") == 'uvx "phibench[onnxruntime]" quickstart'
    assert extras.program() == "uvx phibench"


@pytest.mark.parametrize(
    ("folder", "marks", "line"),
    [
        ("uv/archive-v0/x", (), 'uvx "phibench[onnxruntime,torch]" quickstart'),
        ("uv/tools/phibench", RECEIPT, 'uv tool install "phibench[onnxruntime,torch]"'),
        ("pipx/venvs/phibench", PIPX, 'pipx install --force "phibench[onnxruntime,torch]"'),
        ("venv", (), 'pip install "phibench[torch]"'),  # pip adds, the others make anew
    ],
)
def test_what_is_there_is_not_lost_by_asking_for_more(
    install: Install, folder: str, marks: tuple[str, ...], line: str
) -> None:
    install(folder, marks=marks, has=("onnxruntime", "onnx"))
    assert extras.line("torch", then="quickstart") == line


def test_half_an_extra_is_none(install: Install) -> None:
    install("uv/archive-v0/x", has=("onnxruntime",))
    assert extras.program() == "uvx phibench"


def test_a_wheel_is_asked_for_by_its_file_while_it_is_there(install: Install, tmp_path: Path) -> None:
    wheel = tmp_path / "my dist" / "phibench-1-py3-none-any.whl"
    install("uv/archive-v0/x", url={"url": wheel.as_uri()})
    assert extras.line("torch", then="quickstart") == 'uvx "phibench[torch]" quickstart'
    wheel.parent.mkdir()
    wheel.touch()
    spec = '"./my dist/phibench-1-py3-none-any.whl[torch]"'
    assert extras.line("torch", then="quickstart") == f"uvx --from {spec} phibench quickstart"
    assert extras.program() == 'uvx --from "./my dist/phibench-1-py3-none-any.whl" phibench'


def test_a_path_below_home_names_nobody(install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = tmp_path / "anna" / "phibench-1-py3-none-any.whl"
    wheel.parent.mkdir()
    wheel.touch()
    (tmp_path / "elsewhere").mkdir()
    install("venv", url={"url": wheel.as_uri()})
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert extras.line("torch") == 'pip install "$HOME/phibench-1-py3-none-any.whl[torch]"'


@pytest.mark.parametrize(
    ("url", "asked"),
    [
        ({"url": "https://a.test/phibench-1-py3-none-any.whl"}, "https://a.test/phibench-1-py3-none-any.whl"),
        ({"url": "https://a.test/p.git", "vcs_info": {"vcs": "git"}}, "git+https://a.test/p.git"),
    ],
)
def test_an_address_stays_an_address(install: Install, url: object, asked: str) -> None:
    install("venv", url=url)
    assert extras.line("torch") == f'pip install "phibench[torch] @ {asked}"'


def test_a_checkout_is_asked_to_install_itself(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(".venv")
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.setattr(extras, "ROOT", tmp_path)
    assert extras.line("torch") == 'pip install -e ".[torch]"'
    monkeypatch.setattr(shutil, "which", lambda _: None)  # `make` needs nobody to activate .venv
    assert extras.line("torch") == './.venv/bin/python -m pip install -e ".[torch]"'


def test_a_pip_of_another_environment_is_not_taken(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install("venv")
    monkeypatch.setattr(shutil, "which", lambda _: "/usr/bin/pip")
    assert extras.line("torch") == './venv/bin/python -m pip install "phibench[torch]"'


def test_an_environment_of_uv_has_no_pip(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install("venv")
    monkeypatch.setattr(shutil, "which", lambda name: "/usr/bin/uv" if name == "uv" else None)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert extras.line("torch") == 'uv pip install --python "./venv" "phibench[torch]"'


def test_a_worker_has_no_command_of_a_person(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install("uv/archive-v0/x")
    monkeypatch.setattr(sys, "argv", ["worker.py", "--job", "7"])
    assert extras.line("torch") == 'uvx "phibench[torch]"'


@pytest.mark.parametrize("shell", ["sh", "bash", "zsh", "fish", "pwsh"])
def test_shells_hand_on_what_is_meant(install: Install, tmp_path: Path, shell: str) -> None:
    if not (program := shutil.which(shell)):
        pytest.skip(f"no {shell} here")
    wheel = tmp_path / "my $HOT dist" / "phibench-1-py3-none-any.whl"
    wheel.parent.mkdir()
    wheel.touch()
    install("venv", url={"url": wheel.as_uri()})
    print_it = extras.line("torch").replace("pip install", "printf %s")
    if shell == "pwsh":
        print_it = extras.line("torch").replace("pip install", "Write-Output")
    done = subprocess.run([program, "-c", print_it], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.strip() == "./my $HOT dist/phibench-1-py3-none-any.whl[torch]", done.stderr
