"""The page cache: real files of this machine."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from phibench.core.errors import PhibenchError
from phibench.probe.system import page_cache

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux empties the page cache file by file")


def written(path: Path, size: int = 4 << 20) -> Path:
    path.write_bytes(os.urandom(size))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder on a disk; pages of a file system in memory cannot be dropped."""
    probe = written(tmp_path / "probe")
    try:
        page_cache.prepare(probe, "cold")
    except PhibenchError as error:
        pytest.skip(str(error))
    return tmp_path


def test_cold_pages_are_gone_and_warm_ones_are_there(folder: Path) -> None:
    file = written(folder / "model.gguf")
    page_cache.prepare(file, "cold")
    assert page_cache.cached_share(file) < 0.02
    page_cache.prepare(file, "warm")
    assert page_cache.cached_share(file) == 1.0


def test_a_folder_is_all_its_files(folder: Path) -> None:
    model = folder / "model"
    (model / "inner").mkdir(parents=True)
    files = [written(model / "model.onnx.data"), written(model / "inner" / "more")]
    (model / "empty").touch()
    page_cache.prepare(model, "cold")
    assert page_cache.cached_share(model) < 0.02
    files[0].read_bytes()
    assert 0.4 < page_cache.cached_share(model) < 0.6


def test_what_stays_in_memory_is_said_and_not_called_cold(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = written(folder / "model.gguf")
    monkeypatch.setattr(page_cache, "_drop", lambda file: None)
    with pytest.raises(PhibenchError, match=r"unavailable: 100% of model\.gguf stays in the page cache"):
        page_cache.prepare(file, "cold")


def test_weights_that_are_made_in_memory_have_no_load_time() -> None:
    with pytest.raises(PhibenchError, match="unavailable: its weights are made in memory"):
        page_cache.prepare(None, "cold")
