"""Where phibench keeps things, for users of every kind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from conftest import Phibench

from phibench.core import extras, folders, text
from phibench.core.errors import PhibenchError


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container under the number of no user, without HOME."""

    def unknown() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", unknown)
    monkeypatch.delenv("PHIBENCH_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)


@pytest.mark.usefixtures("nobody")
def test_without_a_home_the_variable_to_set_is_named() -> None:
    with pytest.raises(PhibenchError, match="set PHIBENCH_CACHE"):
        folders.cache_dir()
    assert text.scrub("/x/y") == "/x/y"
    assert "[onnxruntime]" in extras.line("onnxruntime")


@pytest.mark.usefixtures("nobody")
def test_without_a_home_an_absolute_xdg_cache_is_enough(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert folders.cache_dir() == tmp_path / "phibench"


@pytest.mark.parametrize("command", [("run", "latency", "-m"), ("verify", "-m"), ("compare", "latest")])
def test_the_home_of_no_user_is_a_path_that_is_not_there(command: tuple[str, ...], phibench: Phibench) -> None:
    done = phibench(*command, f"~nobody-of-this-name{os.sep}phi.gguf")
    assert done.code == 2
    assert done.err.count("\n") == 1
