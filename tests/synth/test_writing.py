"""Synthetic files are written by a process of its own: what it says, how it ends, and what it leaves."""

from __future__ import annotations

import importlib.util
import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny import tiny

from phibench import catalog, synth
from phibench.catalog import plans
from phibench.core.errors import PhibenchError
from phibench.core.nouns import Need, Setup, Suite
from phibench.core.processes import DiedError
from phibench.measure import run, tasks
from phibench.probe import conditions
from phibench.synth import cache, writing

PHI4 = tiny("phi-4")
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
LLAMA = pytest.mark.skipif(importlib.util.find_spec("llama_cpp") is None, reason="llama_cpp is not installed")


def kept() -> list[str]:
    """Names in the cache, without the lock."""
    found = [*cache.folder().glob("*"), *cache.folder("onnx").glob("*")]
    return sorted(path.name for path in found if path.name != ".lock")


def writer(code: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``code`` runs in place of the writer, before its own."""
    (folder / "another_writer.py").write_text(f"import os, signal, sys\n{code}\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")])))
    monkeypatch.setattr(writing, "PROGRAM", "another_writer")


DIE_AT = r"""
os.write(1, b'an engine writes where it should not\n"\xff"\n')
from phibench.synth import child, gguf
def dying(wanted, path, progress):
    path.with_name(f".{{path.name}}.0.part").write_bytes(bytes(1000))
    progress(1000, wanted.file_bytes)
    print("an unrelated line of a log", file=sys.stderr, flush=True)
    {how}
gguf.write, gguf.quantizer.ggml_base = dying, lambda: None
child.main()
"""


@LLAMA
def test_it_is_written_once_and_found_again_and_the_progress_is_heard() -> None:
    told: list[tuple[int, int]] = []
    first = synth.ensure(PHI4, "Q4_K_M", "gguf", 2, lambda done, total: told.append((done, total)))
    assert told == sorted(told)
    assert told[-1] == (first.bytes, first.bytes) == (Path(first.path).stat().st_size,) * 2
    assert first.tensor_types == plans.plan(PHI4, "Q4_K_M", 2, fmt="gguf").histogram
    told.clear()
    assert synth.ensure(PHI4, "Q4_K_M", "gguf", 2, lambda done, total: told.append((done, total))) == first
    assert told == []


def test_what_is_in_the_cache_needs_no_process_and_counts_as_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plans.plan(PHI4, "Q4_0", 1, fmt="gguf")
    from phibench.synth import gguf

    path = gguf._path(plan)
    path.parent.mkdir(parents=True)
    gguf.header_only(plan, path)
    os.utime(path, (1, 1))
    writer("raise SystemExit('nothing is to be written')", tmp_path, monkeypatch)
    assert synth.ensure(PHI4, "Q4_0", "gguf", 1).path == str(path)
    assert path.stat().st_mtime > 1


@POSIX
@pytest.mark.parametrize(
    ("how", "kind", "says"),
    [
        (
            "os.kill(os.getpid(), signal.SIGILL)",
            "signal",
            "died of SIGILL (an illegal instruction)",
        ),
        ("os._exit(3)", "exit", "exited with code 3"),
        ("raise MemoryError", "out_of_memory", "ran out of memory"),
    ],
)
def test_a_writer_that_dies_has_a_name_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, kind: str, says: str
) -> None:
    writer(DIE_AT.format(how=how), tmp_path, monkeypatch)
    told: list[int] = []
    with pytest.raises(DiedError) as died:
        synth.ensure(PHI4, "Q4_0", "gguf", 1, lambda done, _: told.append(done))
    assert told == [1000]
    assert says in str(died.value)
    assert " preparing synthetic weights" in str(died.value)
    assert "unrelated" not in str(died.value)
    assert (died.value.end.kind, died.value.phase, died.value.exit_code) == (kind, "preparing", 1)
    assert died.value.engine.startswith("llama-cpp-python")
    assert kept() == []


@POSIX
@pytest.mark.parametrize(("counts", "kind"), [((1, 2), "out_of_memory"), ((1, 1), "signal"), ((None, None), "signal")])
def test_a_writer_that_is_killed_for_memory_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counts: tuple[int | None, ...], kind: str
) -> None:
    writer(DIE_AT.format(how="os.kill(os.getpid(), signal.SIGKILL)"), tmp_path, monkeypatch)
    count = iter(counts)
    with pytest.raises(DiedError) as died:
        synth.ensure(PHI4, "Q4_0", "gguf", 1, oom_kills=lambda: next(count))
    assert died.value.end.kind == kind


@POSIX
def test_a_run_counts_the_writers_that_were_killed_for_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer("os.kill(os.getpid(), signal.SIGKILL)", tmp_path, monkeypatch)
    monkeypatch.setattr(conditions, "oom_kills", itertools.count().__next__)
    task = tasks.Task(
        setup=Setup(variant="phi-4", quantization="Q4_0", backend="llama_cpp"), threads=1, layers=1,
        suite=Suite(name="small", question="?", metrics=()),
        plan=plans.plan(catalog.variant("phi-4"), "Q4_0", 1, fmt="gguf"),
        need=Need(weights_bytes=0, kv_bytes=0, compute_bytes=0, runtime_bytes=0, because="?"),
    )  # fmt: skip
    with pytest.raises(DiedError, match="ran out of memory"):
        run._write(task, None)


@POSIX
def test_a_writer_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHIBENCH_SILENCE", "2s")
    writer(DIE_AT.format(how="signal.pause()"), tmp_path, monkeypatch)
    with pytest.raises(DiedError, match="did not respond for 2"):
        synth.ensure(PHI4, "Q4_0", "gguf", 1)
    assert kept() == []


@LLAMA
def test_ctrl_c_while_it_writes_leaves_nothing() -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        synth.ensure(PHI4, "Q4_0", "gguf", 1, interrupt)
    assert kept() == []


@LLAMA
def test_what_the_writer_refuses_is_said_with_its_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHIBENCH_CACHE_LIMIT", "1kB")
    with pytest.raises(PhibenchError, match="is more than the cache may hold") as refused:
        synth.ensure(PHI4, "Q4_0", "gguf", 1)
    assert not isinstance(refused.value, DiedError)
    assert refused.value.exit_code == 1
    monkeypatch.setenv("PHIBENCH_CACHE_LIMIT", "little")
    with pytest.raises(PhibenchError, match="little") as refused:
        synth.ensure(PHI4, "Q4_0", "gguf", 1)
    assert refused.value.exit_code == 2


def until(what: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not what():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are looked up in /proc")
def test_the_writer_leaves_with_its_parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    number = tmp_path / "number"
    how = f"open({str(number)!r}, 'w').write(str(os.getpid())); signal.pause()"
    writer(DIE_AT.format(how=how), tmp_path, monkeypatch)
    code = (
        "import sys\nfrom tiny import tiny\nfrom phibench import synth\nfrom phibench.synth import writing\n"
        "writing.PROGRAM = 'another_writer'\nsynth.ensure(tiny('phi-4'), 'Q4_0', 'gguf', 1)\n"
    )
    path = os.pathsep.join([str(Path(__file__).parents[1]), os.environ["PYTHONPATH"]])
    parent = subprocess.Popen([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": path})
    try:
        until(lambda: number.exists() and number.read_text() != "")
        child = Path("/proc") / number.read_text() / "stat"
        assert child.exists()
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    until(lambda: not child.exists() or child.read_text().rpartition(")")[2].split()[0] == "Z")


def test_sweeping_leaves_alone_what_another_process_writes() -> None:
    with cache.only_writer():
        part = cache.folder() / ".other.gguf.0.part"
        part.write_bytes(bytes(10))
        cache.sweep()
        assert part.exists()
    cache.sweep()
    assert not part.exists()
