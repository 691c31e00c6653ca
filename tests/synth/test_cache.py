from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from phibench.core.errors import PhibenchError
from phibench.synth import cache


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def fill(sizes: dict[str, int]) -> dict[str, Path]:
    """Files of these sizes, the first used longest ago."""
    cache.folder().mkdir(parents=True, exist_ok=True)
    paths = {}
    for age, (name, size) in enumerate(sizes.items()):
        paths[name] = cache.folder() / f"{name}.gguf"
        paths[name].write_bytes(bytes(size))
        os.utime(paths[name], (1_000 + age, 1_000 + age))
    return paths


def fill_folder(name: str, size: int, used: float) -> Path:
    """An ONNX folder of so many bytes in two files."""
    path = cache.folder("onnx") / name
    path.mkdir(parents=True)
    (path / "model.onnx").write_bytes(bytes(1))
    (path / "model.onnx.data").write_bytes(bytes(size - 1))
    os.utime(path, (used, used))
    return path


def names() -> list[str]:
    return [path.stem for path, _, _ in cache.entries()]


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> object:
    """Says how much is free; the real disk of the tester has nothing to do with it."""

    def free(count: int) -> None:
        monkeypatch.setattr("shutil.disk_usage", lambda _: Usage(0, 0, count))

    free(1 << 40)
    return free


def test_entries_are_least_recently_used_first(disk: object) -> None:
    assert cache.entries() == ()
    paths = fill({"a": 10, "b": 20, "c": 30})
    assert [(path.stem, size) for path, size, _ in cache.entries()] == [("a", 10), ("b", 20), ("c", 30)]
    cache.touch(paths["a"])
    assert names() == ["b", "c", "a"]
    cache.touch(Path("gone"))  # nothing to mark, nothing said


def test_folders_are_entries_beside_files(monkeypatch: pytest.MonkeyPatch, disk: object) -> None:
    """One limit, one order of use, one lock for both."""
    monkeypatch.setenv("PHIBENCH_CACHE_LIMIT", "1000")
    fill({"a": 100, "b": 100})
    folder = fill_folder("phi-int4", 300, 1_000.5)
    assert [(path.stem, size) for path, size, _ in cache.entries()] == [("a", 100), ("phi-int4", 300), ("b", 100)]
    assert cache.room_bytes() == 1000
    cache.make_room(600)
    assert names() == ["phi-int4", "b"]
    cache.touch(folder)
    assert names() == ["b", "phi-int4"]
    cache.make_room(800, replacing=folder)
    assert names() == ["b"]
    assert not folder.exists()
    fill_folder("phi-int8", 50, 2_000)
    assert cache.clear() == 150
    assert list(cache.folder("onnx").iterdir()) == []


def test_half_a_folder_is_what_a_killed_process_left(disk: object) -> None:
    part = fill_folder(".phi-int4.1234.part", 77, 1_000)
    heard: list[int] = []

    def second(done: int) -> None:
        heard.append(done)
        raise InterruptedError

    assert cache.entries() == ()
    with cache.only_writer():
        assert not part.exists()
        fill_folder(".phi-int8.1234.part", 78, 1_000)
        with pytest.raises(InterruptedError), cache.only_writer(second):
            pass
    assert heard == [78]


def test_a_folder_that_cannot_be_deleted_whole_is_gone_by_name(monkeypatch: pytest.MonkeyPatch, disk: object) -> None:
    """Killed while it deletes: what is left is no entry."""
    folder = fill_folder("phi-int4", 300, 1_000)

    def killed(path: Path) -> None:
        (path / "model.onnx").unlink()
        raise KeyboardInterrupt

    monkeypatch.setattr("shutil.rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        cache.clear()
    assert cache.entries() == ()
    assert not folder.exists()


def test_clear_frees_everything(disk: object) -> None:
    fill({"a": 10, "b": 20})
    (cache.folder() / ".c.gguf.1234.part").write_bytes(b"left by a killed process")
    assert cache.clear() == 30
    assert [p.name for p in cache.folder().iterdir()] == [".lock"]
    assert cache.clear() == 0


def test_the_limit(monkeypatch: pytest.MonkeyPatch, disk: object) -> None:
    assert cache.limit_bytes() == 40_000_000_000
    disk(10_000)  # type: ignore[operator]
    fill({"a": 4_000})
    assert cache.limit_bytes() == 7_000  # half of what the disk could give us
    monkeypatch.setenv("PHIBENCH_CACHE_LIMIT", "3GB")
    assert cache.limit_bytes() == 3 * 10**9
    monkeypatch.setenv("PHIBENCH_CACHE_LIMIT", "plenty")
    with pytest.raises(PhibenchError, match="'plenty' is not a size"):
        cache.limit_bytes()


def test_room_is_made_from_the_least_recently_used(monkeypatch: pytest.MonkeyPatch, disk: object) -> None:
    monkeypatch.setenv("PHIBENCH_CACHE_LIMIT", "1000")
    fill({"a": 300, "b": 300, "c": 300})
    cache.make_room(100)
    assert names() == ["a", "b", "c"]
    cache.make_room(101)
    assert names() == ["b", "c"]
    cache.make_room(1000)
    assert names() == []


def test_a_file_to_be_replaced_goes_first(monkeypatch: pytest.MonkeyPatch, disk: object) -> None:
    monkeypatch.setenv("PHIBENCH_CACHE_LIMIT", "1000")
    paths = fill({"a": 300, "b": 300, "cut": 300})
    cache.make_room(400, replacing=paths["cut"])
    assert names() == ["a", "b"]


def test_a_small_disk_evicts_below_the_limit(monkeypatch: pytest.MonkeyPatch, disk: object) -> None:
    monkeypatch.setenv("PHIBENCH_CACHE_LIMIT", "1000")
    disk(50)  # type: ignore[operator]
    fill({"a": 100, "b": 100})
    cache.make_room(120)
    assert names() == ["b"]


def test_impossible_wishes_delete_nothing(monkeypatch: pytest.MonkeyPatch, disk: object) -> None:
    monkeypatch.setenv("PHIBENCH_CACHE_LIMIT", "5GB")
    fill({"a": 100})
    with pytest.raises(PhibenchError, match=r"9\.06 GB is more than the cache may hold \(5 GB\).*LIMIT=10GB") as error:
        cache.make_room(9_059_000_000)
    assert error.value.exit_code == 1
    disk(1_000)  # type: ignore[operator]
    with pytest.raises(PhibenchError, match=r"does not fit in .* PHIBENCH_CACHE"):
        cache.make_room(2_000)
    assert names() == ["a"]


def test_room_counts_what_can_be_evicted_and_the_limit(monkeypatch: pytest.MonkeyPatch, disk: object) -> None:
    disk(4_000)  # type: ignore[operator]
    fill({"a": 1_000})
    assert cache.room_bytes() == 2_500  # the limit: half of what the disk could give
    monkeypatch.setenv("PHIBENCH_CACHE_LIMIT", "1GB")
    assert cache.room_bytes() == 5_000
    assert cache.room_bytes(reserve_bytes=2_000) == 3_000
    assert cache.room_bytes(reserve_bytes=9_000) == 0
    monkeypatch.setenv("PHIBENCH_CACHE_LIMIT", "700")
    assert cache.room_bytes(reserve_bytes=2_000) == 700
    cache.make_room(700)  # keeps the promise
    with pytest.raises(PhibenchError):
        cache.make_room(701)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 400), max_size=6), st.integers(1, 1000))
def test_what_stays_fits_and_was_used_last(
    monkeypatch: pytest.MonkeyPatch, disk: object, sizes: list[int], needed: int
) -> None:
    monkeypatch.setenv("PHIBENCH_CACHE_LIMIT", "1000")
    cache.clear()
    fill({f"file{i}": size for i, size in enumerate(sizes)})
    cache.make_room(needed)
    left = [size for _, size, _ in cache.entries()]
    assert left == sizes[len(sizes) - len(left) :]
    assert not left or sum(left) + needed <= 1000
    evicted = sizes[: len(sizes) - len(left)]
    assert not evicted or sum(left) + evicted[-1] + needed > 1000  # no more than needed


def test_one_writer_at_a_time(disk: object) -> None:
    heard: list[int] = []

    def second(done: int) -> None:
        heard.append(done)
        raise InterruptedError

    with cache.only_writer():
        (cache.folder() / ".x.part").write_bytes(bytes(77))
        with pytest.raises(InterruptedError), cache.only_writer(second):
            pass
    assert heard == [77]


def test_a_cache_that_cannot_be_made_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("PHIBENCH_CACHE", str(tmp_path / "file"))
    with pytest.raises(PhibenchError, match=r"cannot use the cache .*set PHIBENCH_CACHE"), cache.only_writer():
        pass


def test_an_entry_is_what_a_writer_makes_and_nothing_else() -> None:
    """Somebody's own folder of models beside ours stays, and half a package of ours goes."""
    kept = cache.folder("gguf") / "mine" / "model.gguf"
    half = cache.folder("onnx") / "half" / "model.onnx.data"
    for path in (kept, half):
        path.parent.mkdir(parents=True)
        path.write_bytes(bytes(10))
    assert [path for path, _, _ in cache.entries()] == [half.parent]
    assert cache.clear() == 10
    assert kept.exists()
    assert not half.parent.exists()


def test_only_formats_that_are_written_have_a_folder() -> None:
    with cache.only_writer():
        assert sorted(path.name for path in cache.folder().parent.iterdir()) == ["gguf", "onnx"]
