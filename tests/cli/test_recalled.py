"""``recommend`` on the same machine later: what is different since the last answer, and why."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fakes
import msgspec
import pytest
from conftest import Phibench

from phibench.cli import recalled
from phibench.core import files, folders, run_files
from phibench.core.nouns import Answer, Machine, Run
from phibench.machine import inventory

GIB = 1 << 30
ASKED = ("recommend", "-m", "phi-4-mini,phi-3.5-mini", "-q", "Q4_K_M,Q8_0", "-b", "llama_cpp")


def machine(free_gib: float = 20, read: float = 40e9) -> Machine:
    here = fakes.machine()
    cpu = msgspec.structs.replace(here.devices[0], read_bytes_s=read, basis="probed", matrix_flops_s={"float32": 400e9})
    limits = msgspec.structs.replace(here.limits, free_bytes=int(free_gib * GIB))
    return msgspec.structs.replace(here, name="AMD EPYC 9B14", devices=(cpu,), limits=limits)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Callable[[Machine], None]:
    folders.results_dir().mkdir()

    def be(machine: Machine) -> None:
        monkeypatch.setattr(inventory, "this_machine", lambda **_: machine)

    be(machine())
    return be


def stored(*results: Any, started: str = "2026-07-02") -> Run:
    done = msgspec.structs.replace(fakes.run(*results, started=started), machine=machine())
    files.write_json(run_files.run_path(folders.results_dir(), done), done)
    return done


def slow() -> Run:
    """The usual pick, at a pace that nobody wants."""
    works = ((256, 0), (0, 256))
    setup = fakes.SETUP
    return stored(*(fakes.measured(fakes.workload(*w), (2.0,) * 3, setup) for w in works))


def kept() -> Path:
    (path,) = folders.results_dir().rglob("*.advice")
    return path


def changed(phibench: Phibench, *words: str) -> Any:
    done = phibench(*ASKED, *words, "-o", "json")
    return json.loads(done.out)["changed"]


def test_nothing_is_said_the_first_time_nor_where_nothing_is_different(here: Any, phibench: Phibench) -> None:
    for _ in range(2):
        done = phibench(*ASKED)
        assert (done.code, done.err) == (0, "")
        assert "since " not in done.out
    assert changed(phibench) is None


def test_new_runs_that_change_the_pick_are_the_reason(here: Any, phibench: Phibench) -> None:
    phibench(*ASKED)
    slow()
    here(machine(free_gib=19))  # which it always is a little, and never for that
    done = phibench(*ASKED)
    text = " ".join(done.out.split())
    assert "the pick is phi-" in text
    assert f"it was {fakes.SETUP} (" in text
    assert f": 1 new run of {fakes.SETUP}" in text
    assert "free memory" not in text
    assert changed(phibench) is None  # it was said


def test_a_program_reads_the_same_in_fields(here: Any, phibench: Phibench) -> None:
    phibench(*ASKED)
    slow()
    found = changed(phibench)
    assert (found["before"]["setup"], found["after"]["setup"] != found["before"]["setup"]) == (str(fakes.SETUP), True)
    assert [reason["kind"] for reason in found["reasons"]] == ["runs"]
    assert set(found["before"]["estimates"]["decode_tps"]) == {"value", "low", "high", "basis"}


def test_less_free_memory_is_the_reason_where_it_is(here: Any, phibench: Phibench) -> None:
    here(machine())
    phibench(*ASKED)
    here(machine(free_gib=3))
    found = changed(phibench, "--places")  # how it is shown makes no other question
    assert [reason["kind"] for reason in found["reasons"]] == ["memory"]
    assert found["reasons"][0]["text"] == "free memory was 20 GiB and is 3 GiB"


def test_another_probe_is_the_reason_where_it_is(here: Any, phibench: Phibench) -> None:
    phibench(*ASKED)
    here(machine(read=8e9))
    (reason,) = changed(phibench)["reasons"]
    assert reason == {
        "kind": "speed", "text": "the probe has other figures for this machine: it reads 8 GB/s, it was 40 GB/s"
    }  # fmt: skip


def test_another_phibench_is_named_where_nothing_else_explains_it(
    here: Any, phibench: Phibench, monkeypatch: pytest.MonkeyPatch
) -> None:
    phibench(*ASKED)
    path = kept()
    was = msgspec.json.decode(path.read_bytes(), type=Answer)
    other = msgspec.structs.replace(was, phibench="0.0.9", rows=was.rows[1:])  # which had another pick
    files.write_json(path, other)
    (reason,) = changed(phibench)["reasons"]
    assert reason["kind"] == "version"
    assert reason["text"].startswith("phibench 0.0.9 -> ")
    files.write_json(path, msgspec.structs.replace(was, catalog="0" * 16, rows=was.rows[1:]))
    assert [one["kind"] for one in changed(phibench)["reasons"]] == ["catalog"]


def test_each_question_has_its_own_answer(here: Any, phibench: Phibench) -> None:
    for words in ((), ("--goal", "code"), ("--min-tps", "3"), ("--context", "16k"), ("--top", "1")):
        phibench(*ASKED, *words)
    assert len(list(folders.results_dir().rglob("*.advice"))) == 4  # --top asks nothing else


def test_no_answer_is_kept_where_there_is_no_folder_or_of_another_machine(here: Any, phibench: Phibench) -> None:
    phibench("recommend", "--cpu", "Ryzen 7 5800X", "--top", "1")
    assert not list(folders.results_dir().rglob("*"))
    folders.results_dir().rmdir()
    phibench(*ASKED)
    assert not folders.results_dir().exists()


def test_whoever_reads_runs_does_not_meet_it(here: Any, phibench: Phibench) -> None:
    phibench(*ASKED)
    slow()
    assert kept().is_file()
    (runs, skipped) = run_files.read_runs(folders.results_dir())
    assert (len(runs), skipped) == (1, ())
    done = phibench("results")
    assert (done.code, done.err) == (0, "")


def test_neither_a_user_nor_a_host_stands_in_it(here: Any, phibench: Phibench) -> None:
    import getpass
    import socket

    phibench(*ASKED)
    text = kept().read_text(encoding="utf-8")
    for name in (getpass.getuser(), socket.gethostname(), str(Path.home())):
        assert f'"{name}' not in text


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "",
        lambda text: "[1, 2]",
        lambda text: text.replace('"schema": 1', '"schema": 0'),
        lambda text: text.replace('"goal": "chat"', '"goal": "code"'),
        lambda text: text.replace('"os": "linux"', '"os": "windows"'),
        lambda text: text.replace('"rows": [', '"rows": [], "others": ['),
        lambda text: "[" * 100_000,
        lambda text: "\ud800".encode("utf-8", "surrogatepass").decode("latin-1"),
    ],
)
def test_a_damaged_or_foreign_answer_is_one_note_and_is_written_anew(
    here: Any, phibench: Phibench, damage: Callable[[str], str]
) -> None:
    phibench(*ASKED)
    path = kept()
    path.write_text(damage(path.read_text(encoding="utf-8")), encoding="utf-8")
    done = phibench(*ASKED)
    assert done.code == 0
    (line,) = done.err.splitlines()
    assert line.startswith("the previous answer cannot be read: ")
    assert "since " not in done.out
    assert phibench(*ASKED).err == ""


@pytest.mark.skipif(os.name == "nt", reason="links")
def test_what_a_link_leads_to_is_left_alone(here: Any, phibench: Phibench, tmp_path: Path) -> None:
    phibench(*ASKED)
    path, mine = kept(), tmp_path / "mine"
    mine.write_text("mine", encoding="utf-8")
    path.unlink()
    path.symlink_to(mine)
    done = phibench(*ASKED)
    assert done.code == 0
    assert mine.read_text(encoding="utf-8") == "mine"
    assert "this answer was not saved" in done.err


def test_a_goal_that_other_words_ask_for_is_another_question() -> None:
    from phibench import catalog
    from phibench.advise.candidates import narrowed

    goal, only = catalog.goal("chat"), narrowed()
    plain = recalled.question(goal, {"only": only, "context": None, "min_tps": None})
    assert plain.told == {}
    assert recalled.question(goal, {"only": only, "context": 4096}) != plain
