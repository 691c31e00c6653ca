"""Child processes: how an end is told, that nothing of them stays, and that nothing they do keeps us waiting."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import psutil
import pytest
from conftest import Phibench
from suite_files import NULL, suite_file

from phibench.core import ends, processes
from phibench.core.errors import PhibenchError
from phibench.core.processes import Child

NUMBER = msgspec.json.Decoder(int)
Start = Callable[..., Child]

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals and groups of POSIX")


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """A child that runs this code; none outlives its test."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")])))
    with contextlib.ExitStack() as started:

        def child(code: str, oom_kills: Callable[[], int | None] = lambda: None) -> Child:
            (tmp_path / "some_child.py").write_text(
                "import os, signal, subprocess, sys, time\nfrom phibench.core.processes import Board\n" + code
            )
            return started.enter_context(Child("some_child", oom_kills=oom_kills))

        yield child


def said(child: Child, silence_s: float = 30) -> list[int]:
    return list(child.events(NUMBER, silence_s))


# ------------------------------------------------------------------------------------------------------ names of ends


@pytest.mark.parametrize(
    ("code", "words", "kind", "told"),
    [
        (-signal.SIGABRT, "std::bad_alloc", "out_of_memory", "ran out of memory (SIGABRT): std::bad_alloc"),
        (1, "MemoryError", "out_of_memory", "ran out of memory: MemoryError"),
        (-signal.SIGSEGV, "failed to allocate 1 MiB of pinned memory", "signal", "died of SIGSEGV"),
        (-signal.SIGILL, "std::bad_alloc", "signal", "died of SIGILL"),
        (-signal.SIGBUS, "Out of memory", "signal", "died of SIGBUS"),
        (-signal.SIGFPE, "Out of memory", "signal", "died of SIGFPE"),
        (-signal.SIGABRT, "failed to allocate pinned memory\nGGML_ASSERT(x) failed", "signal", "died of SIGABRT"),
        (3, "failed to allocate pinned memory\nRuntimeError: no", "exit", "exited with code 3: RuntimeError: no"),
        (0, "", "closed", "exited and gave no answer"),
        (None, "", "closed", "closed its output and gave no answer"),
    ],
)
def test_words_of_a_log_make_no_fault_a_want_of_memory(code: int | None, words: str, kind: str, told: str) -> None:
    end = ends.end(code, f"an unrelated line\n{words}\nanother unrelated line\n")
    assert (end.kind, str(end).startswith(told)) == (kind, True), str(end)


@pytest.mark.parametrize(
    ("counts", "kind", "told"),
    [
        ((1, 2), "out_of_memory", "ran out of memory (SIGKILL)"),
        ((1, 1), "signal", "was killed from outside (SIGKILL)"),
        ((None, None), "signal", "was killed (SIGKILL)"),
        ((None, 1), "signal", "was killed (SIGKILL)"),
    ],
)
def test_a_sigkill_is_what_was_counted(start: Start, counts: tuple[int | None, ...], kind: str, told: str) -> None:
    count = iter(counts)
    child = start("os.kill(os.getpid(), signal.SIGKILL)", lambda: next(count))
    assert said(child) == []
    assert (child.end().kind, str(child.end())) == (kind, told)


def test_a_sentence_says_who_what_when_why_and_what_next() -> None:
    end = ends.end(-signal.SIGSEGV, "GGML_ASSERT(x) failed")
    assert ends.sentence("null 1", end, ends.DOING["prefill"].format("pp512"), "take another") == (
        "null 1 died of SIGSEGV (a segmentation fault) in prefill of pp512: GGML_ASSERT(x) failed; take another"
    )
    assert str(end) == "died of SIGSEGV (a segmentation fault): GGML_ASSERT(x) failed"


# ------------------------------------------------------------------------------------------------- lines and silence


def test_a_line_that_is_not_the_childs_is_passed_over(start: Start) -> None:
    child = start(r"""os.write(1, b'"a"\nnoise of an engine\n"\xff"\n{"a": \n\n7\n"b"\n"c"')""")
    assert list(child.events(msgspec.json.Decoder(str), 30)) == ["a", "b", "c"]
    assert str(child.end()) == "exited and gave no answer"


def test_silence_counts_from_the_first_phase_on(start: Start) -> None:
    slow = start("time.sleep(1.5); Board().show('opening'); print(1, flush=True)")
    assert said(slow, 0.5) == [1]
    child = start("Board().show('opening'); print(1, flush=True); signal.pause()")
    assert said(child, 0.5) == [1]
    assert str(child.end()) == "did not respond for 500 ms and was killed"
    assert (child.end().kind, child.phase) == ("hang", "opening")


def test_one_that_never_starts_is_ended_in_the_end(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "START_S", 1.5)
    child = start("signal.pause()")
    assert said(child, 0.5) == []
    assert (child.end().kind, child.end().silent_s, child.phase) == ("hang", 1.5, "starting")


@pytest.mark.parametrize(
    ("text", "says"), [("soon", "is not a duration"), ("0s", "not a duration"), ("9999h", "at most 168h")]
)
def test_a_wrong_limit_of_silence_is_told_before_anything_starts(
    phibench: Phibench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, says: str
) -> None:
    monkeypatch.setenv("PHIBENCH_SILENCE", text)
    done = phibench("run", suite_file(tmp_path), *NULL)
    assert done.code == 2
    assert done.err.count("\n") == 1
    assert f"PHIBENCH_SILENCE={text} " in done.err
    assert says in done.err
    assert not list((tmp_path / "results").rglob("*.json"))


def test_limits_of_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    for text, seconds in (("", 7.0), ("2s", 2.0), ("1.5", 1.5), ("10m", 600.0), ("168h", 7 * 86400.0)):
        monkeypatch.setenv("PHIBENCH_SILENCE", text)
        assert processes.silence_s(7.0) == seconds
    monkeypatch.setenv("PHIBENCH_SILENCE", "169h")
    with pytest.raises(PhibenchError, match="too long"):
        processes.silence_s(7.0)


# ------------------------------------------------------------------------------------------------ what else it started

HELPER = """
helper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session={apart})
Board().show("prefill")
print(helper.pid, flush=True)
os.kill(os.getpid(), signal.SIGSEGV)
"""


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("apart", [False, True])
def test_a_helper_that_holds_the_output_keeps_nobody_waiting(start: Start, apart: bool) -> None:
    child = start(HELPER.format(apart=apart))
    (helper,) = said(child)  # though the pipe is not closed
    try:
        end = child.end()
        assert (end.kind, end.signal, child.phase) == ("signal", "SIGSEGV", "prefill")
        deadline = time.monotonic() + 20
        while not (apart or gone(helper)):  # what has left its group is not ours to end
            assert time.monotonic() < deadline, "it lives on"
            time.sleep(0.02)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(helper, signal.SIGKILL)


# ----------------------------------------------------------------------------------------------- nothing is left behind


def descriptors() -> set[str]:
    return {path.name for path in Path("/dev/fd").iterdir()}


def test_it_has_no_name_that_could_be_left_or_taken_away(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    child = start("Board().show('decode'); print(1, flush=True); signal.pause()")
    assert next(child.events(NUMBER, 30)) == 1
    assert list(folder.iterdir()) == []
    assert child.phase == "decode"
    child.close()
    assert child.phase == "decode"


def test_what_cannot_be_started_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    before = descriptors()
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(FileNotFoundError):
        Child("some_child")
    assert descriptors() == before


def test_ctrl_c_while_it_starts_leaves_nothing(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[subprocess.Popen[bytes]] = []

    class Popen(subprocess.Popen[bytes]):
        def __init__(self, *words: object, **options: object) -> None:
            super().__init__(*words, **options)  # type: ignore[call-overload]
            made.append(self)

    def interrupt(self: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, "Popen", Popen)
    monkeypatch.setattr("threading.Thread.start", interrupt)
    with pytest.raises(KeyboardInterrupt):
        start("signal.pause()")
    assert made[0].wait(timeout=20) == -signal.SIGKILL
    for pipe in (made[0].stdin, made[0].stdout):
        assert pipe is not None
        pipe.close()


def test_the_number_of_another_process_is_not_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "of somebody else"
    path.write_bytes(b"untouched")
    with path.open("r+b") as file:
        monkeypatch.setenv("PHIBENCH_PHASE_FILE", str(file.fileno()))
        processes.Board().show("decode")
        assert "PHIBENCH_PHASE_FILE" not in os.environ
        assert file.read() == b"untouched"
