"""``recommend --settle``: what could change the pick is measured, within the time, and what that changed is told."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import fakes
import msgspec
import pytest
from conftest import Phibench
from one_more import Copy

from phibench import backends
from phibench.backends.llama_cpp import facts
from phibench.cli import run as cli_run
from phibench.core import files, folders, run_files
from phibench.core.errors import BAD_INPUT, FAILED, INTERRUPTED
from phibench.core.nouns import LeftOut, Machine, Result, Run, SelfTest, Settled, Setup, Suite
from phibench.machine import inventory
from phibench.measure import run
from phibench.measure.tasks import Task
from phibench.show import changed
from phibench.show import settled as settled_lines
from phibench.verify import selftest

CPU = msgspec.structs.replace(
    fakes.machine().devices[0], read_bytes_s=40e9, basis="probed", matrix_flops_s={"float32": 400e9}
)
PROBED = msgspec.structs.replace(fakes.machine(), devices=(CPU,))
MANY = ("--goal", "batch", "-m", "phi-4-mini", "-q", "Q4_K_M,Q4_K_S,IQ4_NL,Q5_K_M,Q4_0", "-b", "llama_cpp")
NARROW = ("-m", "phi-4-mini,phi-3.5-mini", "-q", "Q4_K_M,Q8_0,int4")
SURE = "no other setup could come first"


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Task]]:
    """``engines(tps=10.0)``: what every engine measures, at once; the tasks that were asked for."""

    def install(
        *, tps: float = 10.0, absent: Sequence[str] = (), dead: bool = False, cut: int | None = None,
        busy_share: float = 0.0, tests: tuple[SelfTest, ...] = (),
    ) -> list[Task]:  # fmt: skip
        asked: list[Task] = []
        monkeypatch.setattr(inventory, "this_machine", lambda **_: PROBED)
        for name in ("llama_cpp", "onnxruntime", "torch"):
            module = backends.load(name)
            monkeypatch.setattr(module, "installed", lambda gone=name in absent: None if gone else "1.0")
            monkeypatch.setattr(module, "devices", lambda: ("cpu",))

        def execute(
            tasks: Sequence[Task], suite: Suite, machine: Machine, folder: Path, *,
            begun: tuple[Run, Path] | None = None,
        ) -> tuple[Run, Path]:  # fmt: skip
            (task,) = tasks
            asked.append(task)
            if cut is not None and len(asked) > cut:
                raise run.InterruptedRunError("interrupted", INTERRUPTED)
            results: list[Result] = []
            for work in suite.workloads():
                found = msgspec.structs.replace(fakes.measured(work, (1 / tps,) * 2, task.setup), busy_share=busy_share)
                results.append(fakes.failed(work, "it died", task.setup) if dead else found)
            done = begun[0] if begun else msgspec.structs.replace(fakes.run(), machine=machine, suite=suite)
            done = msgspec.structs.replace(done, results=(*done.results, *results))
            path = run_files.run_path(folder, done)
            files.write_json(path, done)
            return done, path

        monkeypatch.setattr(cli_run, "execute", execute)
        monkeypatch.setattr(
            selftest, "tested", lambda here, places, tell: msgspec.structs.replace(here, selftests=tests)
        )
        return asked

    return install


def settled(done: Any) -> Any:
    return json.loads(done.out)["settled"]


def test_the_most_decisive_is_measured_first_and_never_twice(
    engines: Callable[..., list[Task]], phibench: Phibench
) -> None:
    asked = engines()
    done = phibench("recommend", *MANY, "--settle", "2h")
    assert done.code == 0, done.err
    setups = [task.setup for task in asked]
    assert len(setups) == len(set(setups)) > 1
    first, _, rest = done.out.partition(changed.TITLE)
    assert next(line for line in first.splitlines() if line.startswith("1 ")).split()[1] == setups[0].model  # the pick
    assert all(f"  {setup}\n    decode tok/s" in rest for setup in setups)
    assert rest.count("Goal batch: ") == 1  # the table after it
    assert SURE in " ".join(rest.split())
    assert len(list(folders.results_dir().rglob("*.json"))) == 1  # one run file
    again = phibench("recommend", *MANY, "--settle")
    assert (len(asked), again.code) == (len(setups), 0)
    assert "Nothing was measured" in again.out
    assert SURE in " ".join(again.out.split())


def test_what_is_measured_is_the_use_that_is_asked_about(
    engines: Callable[..., list[Task]], phibench: Phibench
) -> None:
    asked = engines()
    done = phibench("recommend", *NARROW, "--settle", "20m", "-o", "json")
    document = json.loads(done.out)
    measured = {one["setup"]: one for one in document["candidates"]} | {"": None}
    for task in asked:
        assert {w.prompt_tokens for w in task.suite.workloads()} >= {256}  # of chat
        one = measured.get(str(task.setup))
        assert one is None or {one["estimates"][m]["basis"] for m in ("decode_tps", "ttft_s")} == {"measured"}
    assert document["settled"]["measured"] == [str(task.setup) for task in asked]
    assert document["settled"]["left_out"] == []


def test_what_thinks_is_measured_in_the_middle_of_its_thoughts_too(
    engines: Callable[..., list[Task]], phibench: Phibench
) -> None:
    asked = engines()
    words = ("-m", "phi-4-mini-reasoning", "-q", "Q4_K_M,Q4_0", "--thinking-tokens", "8000")
    phibench("recommend", "--goal", "reasoning", *words, "--settle", "1h")
    assert asked
    for task in asked:
        first, middle = (w.prompt_tokens for w in task.suite.workloads())
        assert 3000 < middle - first < 5000


def test_without_time_nothing_is_measured_and_what_could_change_the_pick_is_named(
    engines: Callable[..., list[Task]], phibench: Phibench
) -> None:
    asked = engines()
    done = phibench("recommend", *NARROW, "--settle", "1s")
    assert (asked, done.code) == ([], 0)
    text = " ".join(done.out.split())
    assert "Nothing was measured" in text
    assert "phi-4-mini-instruct:Q4_K_M@llama_cpp/cpu" in text.partition("could still change the pick: ")[2]
    assert "no time left, about" in text
    assert text.count("could still change the pick") == 1  # whatever the times are
    found = settled(phibench("recommend", *NARROW, "--settle", "1s", "-o", "json"))
    assert found["measured"] == []
    assert all(one["late"] for one in found["left_out"])
    assert not folders.results_dir().exists()


def test_what_lacks_disk_is_one_line_whatever_it_lacks() -> None:
    """Seen: fifteen paragraphs that differed in gigabytes alone."""
    pick = Setup(variant="phi-4", quantization="Q4_K_M", backend="llama_cpp")
    lacking = tuple(
        LeftOut(what=f"phi-{n}", reason=f"needs {n} GB of disk, 2 GB is there", disk=True) for n in range(3, 9)
    )
    found = Settled(seconds=1, budget_s=1, before=pick, measured=(), left_out=lacking)
    (line,) = (one for one in settled_lines.text(found, (), (), "table", 500).splitlines() if "could still" in one)
    assert line.endswith("phi-3, phi-4, phi-5 and 3 more: needs 3 GB of disk, 2 GB is there for the first of them")


def test_an_engine_that_is_not_installed_is_named_and_not_measured(
    engines: Callable[..., list[Task]], phibench: Phibench
) -> None:
    asked = engines(absent=("llama_cpp",))
    found = settled(phibench("recommend", *NARROW, "--settle", "20m", "-o", "json"))
    assert all(task.setup.backend != "llama_cpp" for task in asked)
    reasons = {one["reason"] for one in found["left_out"] if "@llama_cpp/" in one["setup"]}
    assert [reason.partition(":")[0] for reason in reasons] == ["llama_cpp is not installed"]
    assert not any(one["late"] for one in found["left_out"])


def test_one_candidate_alone_cannot_be_overtaken(engines: Callable[..., list[Task]], phibench: Phibench) -> None:
    asked = engines()
    done = phibench("recommend", "-m", "phi-4-mini", "-q", "Q4_K_M", "-b", "llama_cpp", "--settle")
    assert (asked, done.code) == ([], 0)
    assert SURE in " ".join(done.out.split())


def test_what_fails_is_told_once_and_the_advice_stands(engines: Callable[..., list[Task]], phibench: Phibench) -> None:
    asked = engines(dead=True)
    done = phibench("recommend", *NARROW, "--settle", "20m")
    assert done.code == FAILED
    assert done.err.count("it died") == len(asked) == len({task.setup for task in asked})
    assert "Goal chat: " in done.out
    assert f"could still change the pick: {asked[0].setup}" in " ".join(done.out.split())
    assert "its measurement failed" in " ".join(done.out.split())


def test_what_was_measured_on_a_busy_machine_is_still_open(
    engines: Callable[..., list[Task]], phibench: Phibench
) -> None:
    asked = engines(busy_share=0.4)
    done = phibench("recommend", *NARROW, "--settle", "20m", "-o", "json")
    reasons = {one["setup"]: one["reason"] for one in settled(done)["left_out"]}
    assert "kept 40% of the cpus busy" in reasons[str(asked[0].setup)]
    assert len(asked) == len({task.setup for task in asked})  # nor is it tried again and again


def test_what_nothing_is_known_of_is_named_with_what_to_type(
    engines: Callable[..., list[Task]], phibench: Phibench, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = engines()
    card = msgspec.structs.replace(CPU, kind="vulkan:0", name="a card", read_bytes_s=None, matrix_flops_s={})
    there = msgspec.structs.replace(PROBED, devices=(CPU, card))
    monkeypatch.setattr(inventory, "this_machine", lambda **_: there)
    done = phibench("recommend", *NARROW, "--settle", "20m", "-o", "json")
    reasons = [one["reason"] for one in settled(done)["left_out"] if "/vulkan:0" in one["setup"]]
    assert reasons
    assert all("not known: phibench run latency -m" in reason for reason in reasons)
    assert all(task.setup.device == "cpu" for task in asked)


def test_an_engine_that_turns_out_unusable_is_out(engines: Callable[..., list[Task]], phibench: Phibench) -> None:
    broken = SelfTest(backend="llama_cpp", device="cpu", build="1", processor="x", usable=False, reason="it died")
    asked = engines(tests=(broken,))
    done = phibench("recommend", *NARROW, "--settle", "20m", "-o", "json")
    assert all(task.setup.backend != "llama_cpp" for task in asked)
    assert json.loads(done.out)["candidates"][0]["backend"] != "llama_cpp"


def test_interrupted_keeps_what_was_measured(engines: Callable[..., list[Task]], phibench: Phibench) -> None:
    asked = engines(cut=1)
    done = phibench("recommend", *MANY, "--settle", "2h")
    assert done.code == INTERRUPTED
    assert done.err.endswith("phibench: interrupted; what was measured until then is kept, and counts from now on\n")
    ((stored,), skipped) = run_files.read_runs(folders.results_dir())
    assert {result.setup for result in stored.results} == {asked[0].setup}
    assert skipped == ()


@pytest.mark.parametrize(
    ("words", "flags"),
    [
        (("--gpu", "RTX 3060"), "--gpu"),
        (("--cpu", "Ryzen 7 5800X", "--ram", "16GiB"), "--cpu, --ram"),
        (("--machine", "a.toml"), "--machine"),
        (("--machines", "a.csv"), "--machines"),
    ],
)
def test_only_this_machine_can_be_measured(phibench: Phibench, words: tuple[str, ...], flags: str) -> None:
    done = phibench("recommend", *words, "--settle", "10s")
    assert (done.code, done.out) == (BAD_INPUT, "")
    assert done.err == f"phibench: --settle measures, so it is for this machine alone: leave out {flags}\n"


@pytest.mark.parametrize("time", ["0s", "soon", "25h"])
def test_a_time_that_is_none_is_refused_at_once(phibench: Phibench, time: str) -> None:
    done = phibench("recommend", f"--settle={time}")
    assert (done.code, done.out) == (BAD_INPUT, "")
    assert "--settle" in done.err


def test_markdown_and_a_file_have_both_tables(
    engines: Callable[..., list[Task]], phibench: Phibench, tmp_path: Path
) -> None:
    engines()
    path = tmp_path / "advice.md"
    done = phibench("recommend", *NARROW, "--settle", "20m", "-o", "md", "--out", str(path))
    assert (done.code, done.out) == (0, "")
    text = path.read_text(encoding="utf-8")
    assert text.count("Goal chat: ") == 2
    assert f"**{changed.TITLE}**" in text


# ------------------------------------------------------------------------------------- a tiny Phi, really measured

TINY = """
hidden = 768
heads = 6
kv_heads = 2
head_dim = 128
ffn = 512
vocab = 1024
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory, machine_json: Path) -> Copy:
    """With a Phi that is measured in a second, and a goal that counts every token a second."""
    made = Copy(tmp_path_factory.mktemp("settle"), known=machine_json)
    folder = made.package / "catalog"
    text = (folder / "variants" / "phi-4-mini-instruct.toml").read_text(encoding="utf-8")
    head, _, shape = text.partition("[shape]\n")
    shape, _, rest = shape.partition("\n[")
    small = dict(line.split(" = ") for line in TINY.strip().splitlines())
    lines = [
        f"{key} = {small.get(key, value)}" for key, _, value in (line.partition(" = ") for line in shape.splitlines())
    ]
    head = head.replace('id = "phi-4-mini-instruct"', 'id = "phi-mote"').replace(
        'title = "Phi-4-mini', 'title = "Phi-mote'
    )
    head = "\n".join(line for line in head.splitlines() if not line.startswith("aliases"))
    body = "\n".join([head, "[shape]", *lines, f"[{rest}"])
    (folder / "variants" / "phi-mote.toml").write_text(body, encoding="utf-8")
    goal = (folder / "goals" / "batch.toml").read_text(encoding="utf-8")
    goal = goal.replace('id = "batch"', 'id = "notes"').replace("prompt_tokens = 2048", "prompt_tokens = 64")
    (folder / "goals" / "notes.toml").write_text(goal, encoding="utf-8")
    return made


ASKED = ("recommend", "--goal", "notes", "-m", "phi-mote", "-q", "Q4_K_M,Q4_K_S,Q5_K_M,Q6_K,Q8_0", "-b",
         "llama_cpp")  # fmt: skip


@pytest.mark.skipif(facts.installed() is None, reason="llama-cpp-python is not installed")
def test_a_tiny_phi_is_really_measured_and_what_was_done_is_kept_when_interrupted(copy: Copy) -> None:
    seen = []
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "phibench", *ASKED, "--settle", "20s"], cwd=copy.folder,
        env={**copy.env, "PYTHONPATH": str(copy.folder)}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stderr is not None
        for line in process.stderr:
            seen.append(line)
            if line.startswith("pp176"):  # the second of its tests: the middle of an answer
                process.send_signal(signal.SIGINT)
                break
        seen += process.stderr.readlines()
    assert process.returncode == INTERRUPTED, "".join(seen)
    (kept,) = (copy.folder / "results").rglob("*-settle.json")
    rows = [row for row in copy.rows("results", str(kept)) if row["status"] == "ok"]
    assert {(row["variant"], row["weights"]) for row in rows} == {("phi-mote", "synthetic")}
    document = copy.rows(*ASKED, "--settle", "20s")  # goes on with what was kept
    assert document["candidates"][0]["estimates"]["decode_tps"]["basis"] in ("measured", "calibrated")
    assert document["settled"]["seconds"] > 0
