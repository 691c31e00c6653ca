"""The newcomer's command: what it chooses to measure, and the whole of it on a tiny machine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import SimpleNamespace

import fakes
import msgspec
import pytest
from conftest import Phibench
from suite_files import machine

from phibench import backends, catalog
from phibench.advise import recommend
from phibench.analysis import trust
from phibench.cli import choice, dry_run, quickstart
from phibench.core import extras, files, run_files, stats
from phibench.core.errors import FAILED, NOTHING_FITS, PhibenchError
from phibench.core.nouns import Failed, Machine, Run, SelfTest, Setup, Suite
from phibench.machine import inventory
from phibench.measure import calibration, suites
from phibench.measure.tasks import Task, prepare
from phibench.show import changed
from phibench.synth import cache
from phibench.verify import selftest

pytestmark = pytest.mark.usefixtures("probed")

GIB = 1 << 30


def test_phi_4_mini_is_measured_where_it_fits() -> None:
    task, note = choice.choose(suites.load("quick"), machine(free_bytes=8 * GIB))
    assert task.setup == choice.WANTED
    assert note == ""


@pytest.mark.parametrize("free_gib", [2.4, 2.0, 1.0])
def test_with_less_memory_the_largest_that_fits_is_taken_and_said(free_gib: float) -> None:
    suite = suites.load("quick")
    small = machine(free_bytes=int(free_gib * GIB))
    task, note = choice.choose(suite, small)
    assert task.objection is None
    assert task.need.total_bytes <= small.limits.free_bytes
    assert f"can use only {free_gib:g} GiB.\nTaking" in note  # the remedy is left out: this is one
    assert str(task.setup) in note
    assert task.plan is not None
    wanted = prepare((choice.WANTED,), suite, small)[0].plan
    assert wanted is not None
    for setup in choice.smaller_setups(wanted.weights_bytes):  # everything between is too big
        if setup == task.setup:
            break
        between = prepare((setup,), suite, small)[0]
        assert between.objection or between.refused


def test_nothing_fits_is_exit_3() -> None:
    with pytest.raises(PhibenchError, match="no smaller Phi for llama_cpp fits either") as raised:
        choice.choose(suites.load("quick"), machine(free_bytes=GIB // 4))
    assert raised.value.exit_code == NOTHING_FITS


def test_a_small_disk_is_named_and_the_cache_takes_what_was_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=4_500_000_000))
    task, note = choice.choose(suites.load("quick"), machine())
    assert f"needs 2.49 GB of disk in {cache.folder()}, where only 2.25 GB is available" in note  # half of the disk
    assert 1_500_000_000 < task.write_bytes <= 2_250_000_000
    cache.make_room(task.write_bytes)


def test_a_limit_of_the_cache_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=100_000_000_000))
    monkeypatch.setenv("PHIBENCH_CACHE_LIMIT", "2GB")
    task, note = choice.choose(suites.load("quick"), machine())
    assert "where only 2 GB is available" in note
    cache.make_room(task.write_bytes)


def test_old_files_of_the_cache_are_no_obstacle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=500_000_000))
    cache.folder().mkdir(parents=True)
    with (cache.folder() / "old.gguf").open("wb") as stream:
        stream.truncate(9_000_000_000)  # sparse
    task, note = choice.choose(suites.load("quick"), machine())
    assert task.setup == choice.WANTED
    assert note == ""


def test_backends_are_compared_on_the_same_phi_in_turns() -> None:
    suite = suites.load("quick")
    tasks, changed, notes = choice.compare(suite, machine(free_bytes=16 * GIB), ("llama_cpp", "torch"))
    assert [str(task.setup) for task in tasks] == [
        "phi-4-mini-instruct:Q4_K_M@llama_cpp/cpu", "phi-4-mini-instruct:bf16@torch/cpu",
    ]  # fmt: skip
    assert (changed.launches, changed.repetitions) == (stats.MIN_PAIRS, 1)
    assert {task.suite for task in tasks} == {changed}
    assert notes == []


def test_a_backend_that_does_not_fit_is_left_out_and_said() -> None:
    suite = suites.load("quick")
    tasks, changed, (note,) = choice.compare(suite, machine(free_bytes=6 * GIB), ("llama_cpp", "torch"))
    assert [task.setup.backend for task in tasks] == ["llama_cpp"]
    assert changed == suite  # alone there is nobody to take turns with
    assert "phi-4-mini-instruct:bf16@torch/cpu is left out: needs" in note
    with pytest.raises(PhibenchError, match="left out") as raised:
        choice.compare(suite, machine(free_bytes=GIB), ("llama_cpp", "torch"))
    assert raised.value.exit_code == NOTHING_FITS


def test_a_dry_run_of_what_does_not_fit_tells_why_and_no_time() -> None:
    suite, small = suites.load("latency"), machine(free_bytes=GIB)
    tasks = prepare((choice.WANTED,), suite, small)
    (row,) = dry_run.dry_rows(tasks, small, [])
    assert (row["fits"], row["time_low_s"]) == (False, None)
    assert "can use only 1 GiB" in row["reason"]


def test_the_next_commands_are_three_that_exist() -> None:
    from phibench.cli import cli

    lines = quickstart.next_commands(choice.WANTED).splitlines()
    assert len(lines) == 3
    assert all(line.split()[:1] == ["phibench"] and line.split()[1] in cli.commands for line in lines)


@pytest.mark.parametrize("backend", ["llama_cpp", "onnxruntime", "torch"])
def test_what_to_type_next_is_of_the_engine_that_was_measured(backend: str, phibench: Phibench) -> None:
    first = quickstart.next_commands(choice.usual_setup(backend)).splitlines()[0].split("  ")[1]
    planned = phibench(*first.split()[1:], "--dry-run", "-o", "json")
    assert f"@{backend}/cpu" in planned.out + planned.err.replace(f"backend {backend} is not", f"@{backend}/cpu")


# ------------------------------------------------------------------------------------ advice, measure, advice

PROBED = msgspec.structs.replace(
    fakes.machine(),
    devices=(
        msgspec.structs.replace(
            fakes.machine().devices[0], read_bytes_s=40e9, basis="probed", matrix_flops_s={"float32": 120e9}
        ),
    ),
)
DIED = "llama.cpp 0.3.36 died of SIGSEGV (a segmentation fault) in prefill"
FIRST = "What should fit for the goal 'chat': NOT YET MEASURED"
CHANGED = "What the measurement changed"
LAST = "What fits for the goal 'chat'\n"


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inventory, "this_machine", lambda **_: PROBED)


@pytest.fixture
def engines(here: None, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """``engines(dead=("torch",))``: every other engine measures 10 tok/s, at once. ``tests``: what self-tests find."""

    def install(*, dead: Sequence[str] = (), absent: Sequence[str] = (), tests: tuple[SelfTest, ...] = ()) -> None:
        for name in ("llama_cpp", "onnxruntime", "torch"):
            module = backends.load(name)
            monkeypatch.setattr(module, "installed", lambda gone=name in absent: None if gone else "1.0")
            monkeypatch.setattr(module, "devices", lambda: ("cpu",))

        def measure(tasks: Sequence[Task], suite: Suite, machine: Machine, folder: Path) -> tuple[Run, Path]:
            results = [
                fakes.failed(w, DIED, task.setup) if task.setup.backend in dead
                else fakes.measured(w, (0.1,) * 3, task.setup)
                for task in tasks for w in (suite if tasks[1:] else calibration.whole(pairs=((256, 32),))).workloads()
            ]  # fmt: skip
            done = msgspec.structs.replace(
                fakes.run(*results, metrics=suite.metrics, name=suite.name), machine=machine, suite=suite
            )
            path = run_files.run_path(folder, done)
            files.write_json(path, done)
            return done, path

        def tested(here: Machine, places: Iterable[tuple[str, str]], tell: Callable[[str], None]) -> Machine:
            found = tuple(one for one in tests if (one.backend, one.device) in places)
            for one in found:
                tell(trust.sentence(one))
            return msgspec.structs.replace(here, selftests=found)

        monkeypatch.setattr(quickstart, "measure", measure)
        monkeypatch.setattr(selftest, "tested", tested)

    return install


HEALED = SelfTest(
    backend="llama_cpp", device="cpu", build="1", processor="x", usable=True, options={"repack": "off"}, kind="signal",
    reason="llama_cpp 1.0 died of SIGSEGV",
)  # fmt: skip
UNUSABLE = msgspec.structs.replace(HEALED, usable=False, options={})


def test_safe_options_are_measured_and_told(engines: Callable[..., None], phibench: Phibench) -> None:
    engines(tests=(HEALED,))
    done = phibench("quickstart")
    assert done.code == 0, done.err
    assert trust.sentence(HEALED) in done.out
    changed = done.out.split(CHANGED)[1].split(LAST)[0]
    assert f"  {choice.WANTED}?repack=off\n" in changed
    assert "-> 10\n" in changed


def test_advice_that_stands_is_without_an_engine_that_is_not_usable(
    engines: Callable[..., None], phibench: Phibench
) -> None:
    engines(tests=(UNUSABLE,))
    done = phibench("quickstart")
    assert done.code == FAILED
    said, line, standing = done.out.partition("Nothing was measured, so the advice from the probe stands, without what")
    assert trust.sentence(UNUSABLE) in said.splitlines()
    assert line
    assert FIRST in standing
    assert ["with llama_cpp/cpu\n" in text for text in (said, standing)] == [True, False]


def test_an_engine_that_is_not_usable_leaves_the_others(engines: Callable[..., None], phibench: Phibench) -> None:
    engines(tests=(UNUSABLE,))
    done = phibench("quickstart", "-b", "all")
    assert done.code == FAILED
    assert trust.sentence(UNUSABLE) in done.out
    changed = done.out.split(CHANGED)[1].split(LAST)[0]
    assert "onnxruntime/cpu\n" in changed
    assert "torch/cpu\n" in changed
    assert "llama_cpp/cpu\n" not in changed


def test_advice_comes_first_and_again_with_what_changed(engines: Callable[..., None], phibench: Phibench) -> None:
    engines()
    done = phibench("quickstart")
    assert done.code == 0, done.err
    places = [done.out.index(text) for text in (FIRST, "\nMeasured\n", CHANGED, LAST, "\nNext:\n")]
    assert places == sorted(places)
    changed = done.out[places[2] : places[3]]
    assert str(choice.WANTED) in changed
    assert "-> 10\n" in changed  # measured, so without brackets
    assert done.out.count(FIRST) == 1
    assert done.err == ""


def test_both_parts_together_say_what_the_whole_says(engines: Callable[..., None], phibench: Phibench) -> None:
    engines()
    before, after = phibench("quickstart", "--before"), phibench("quickstart", "--after")
    assert (before.code, after.code) == (0, 0)
    assert FIRST in before.out
    assert "Measured" not in before.out
    assert FIRST not in after.out
    assert "This machine" not in after.out
    assert all(title in after.out for title in ("Measured\n", CHANGED, LAST))


def test_the_first_advice_needs_no_engine_and_does_not_ask_for_one(
    engines: Callable[..., None], phibench: Phibench
) -> None:
    engines(absent=("llama_cpp", "onnxruntime", "torch"))
    done = phibench("quickstart", "--before")
    assert (done.code, done.err) == (0, "")
    assert FIRST in done.out
    assert "is not installed" not in done.out  # make is about to do that


COMPILES = f"llama_cpp is not installed, takes a C++ compiler: {extras.line('llama-cpp')}"
READY = f"onnxruntime is not installed, needs no compiler: {extras.line('onnxruntime')}"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), f"nothing was measured: {READY}; {COMPILES}"),
        (("-b", "all"), f"nothing was measured: llama_cpp is not installed: {extras.line('llama-cpp')}; onnxruntime"),
    ],
)
def test_without_an_engine_there_is_advice_and_what_to_install(
    engines: Callable[..., None], phibench: Phibench, words: tuple[str, ...], says: str
) -> None:
    engines(absent=("llama_cpp", "onnxruntime", "torch"))
    done = phibench("quickstart", *words)
    assert done.code == FAILED
    assert FIRST in done.out
    (line,) = done.err.splitlines()
    assert line.startswith(f"phibench: {says}")


@pytest.mark.parametrize(
    ("absent", "taken"), [(("llama_cpp",), "onnxruntime"), (("llama_cpp", "onnxruntime"), "torch")]
)
def test_an_engine_that_is_installed_takes_the_place_of_the_usual_one(
    engines: Callable[..., None], phibench: Phibench, absent: tuple[str, ...], taken: str
) -> None:
    engines(absent=absent)
    done = phibench("quickstart")
    assert (done.code, done.err) == (0, "")
    assert f"llama_cpp is not installed; {taken} is, so that is measured.\n" in done.out
    changed = done.out.split(CHANGED)[1].split(LAST)[0]
    assert f"  {choice.usual_setup(taken)}\n" in changed
    named = phibench("quickstart", "-b", taken)
    assert "so that is measured" not in named.out


def test_the_usual_engine_is_asked_for_where_it_is_named(engines: Callable[..., None], phibench: Phibench) -> None:
    engines(absent=("llama_cpp",))
    done = phibench("quickstart", "-b", "llama_cpp")
    assert done.code == FAILED
    assert done.err.startswith(
        f"phibench: nothing was measured: llama_cpp is not installed: {extras.line('llama-cpp')}"
    )


def test_another_engine_has_a_smaller_phi_too_where_the_usual_one_does_not_fit() -> None:
    task, note = choice.choose(suites.load("quick"), machine(free_bytes=int(3.5 * GIB)), "torch")
    assert task.setup.backend == "torch"
    assert task.setup.variant != choice.WANTED.variant
    assert task.objection is None
    assert f"Taking the largest that fits instead: {task.setup}" in note


def test_a_dead_engine_is_one_line_and_the_advice_stands(engines: Callable[..., None], phibench: Phibench) -> None:
    engines(dead=("llama_cpp",))
    done = phibench("quickstart")
    assert done.code == FAILED
    assert FIRST in done.out
    assert "the advice from the probe stands" in done.out
    assert CHANGED not in done.out
    (line,) = done.err.splitlines()
    assert line.startswith(f"The measurement of {choice.WANTED} failed (pp256+tg32): {DIED}; the run is in ")
    after = phibench("quickstart", "--after")
    assert (after.code, FIRST in after.out) == (FAILED, True)  # it was printed before the compiler ran: long ago


def test_one_dead_engine_leaves_the_others(engines: Callable[..., None], phibench: Phibench) -> None:
    engines(dead=("onnxruntime",))
    done = phibench("quickstart", "-b", "all")
    assert done.code == FAILED
    assert all(title in done.out for title in (FIRST, "\nMeasured\n", CHANGED, LAST, "\nNext:\n"))
    changed = done.out.split(CHANGED)[1].split(LAST)[0]
    assert {"llama_cpp/cpu", "torch/cpu"} <= {line.partition("@")[2] for line in changed.splitlines()}
    (line,) = done.err.splitlines()
    assert "@onnxruntime/cpu failed" in line
    assert DIED in line


def test_a_missing_engine_that_was_asked_for_is_a_failure_and_of_all_it_is_a_note(
    engines: Callable[..., None], phibench: Phibench
) -> None:
    engines(absent=("torch",))
    for words, code in (("llama_cpp,torch", FAILED), ("all", 0)):
        done = phibench("quickstart", "-b", words)
        assert done.code == code, done.err
        assert extras.line("torch") in done.out
        assert LAST in done.out


@pytest.mark.parametrize(("name", "why"), [("lama_cpp", "did you mean 'llama_cpp'"), ("null", "null runs no Phi")])
def test_a_wrong_backend_is_refused_at_once(here: None, phibench: Phibench, name: str, why: str) -> None:
    done = phibench("quickstart", "-b", name)
    assert (done.code, done.out) == (2, "")
    assert why in done.err


def test_an_earlier_measurement_is_not_called_unmeasured(engines: Callable[..., None], phibench: Phibench) -> None:
    engines()
    phibench("quickstart")
    again = phibench("quickstart")
    assert FIRST not in again.out
    assert "based on earlier measurements here" in again.out
    assert "still phi-" in again.out.split(CHANGED)[1]


def test_changes_tell_the_pick_the_answers_and_the_figures() -> None:
    goal = catalog.goal("chat")
    before = recommend.advise(PROBED, goal, (), max_ttft=30)
    slow = fakes.run(*(fakes.measured(fakes.workload(*w), (2.0,) * 3, choice.WANTED) for w in ((512, 0), (0, 32))))
    after = recommend.advise(PROBED, goal, (msgspec.structs.replace(slow, machine=PROBED),), max_ttft=30)
    lines = changed.lines([choice.WANTED], before, after)
    assert lines[0].startswith("  The pick")
    assert "  phi-4-mini-instruct: usable -> perhaps" in lines, lines
    assert any(line.split()[:2] == ["decode", "tok/s"] and line.endswith("-> 0.5") for line in lines)
    assert changed.lines([], before, before) == [f"  The pick         still {before[0].setup}"]


def test_failures_that_are_alike_are_one_line() -> None:
    other = Setup(variant="phi-4-mini-instruct", quantization="int4", backend="onnxruntime")
    works = [fakes.workload(512, 0), fakes.workload(0, 32)]
    found: list[Failed] = [
        fakes.failed(w, DIED, setup, n) for n in range(8) for setup in (fakes.SETUP, other) for w in works
    ]
    assert quickstart.failures(fakes.run(*found)) == [
        f"The measurement of {setup} failed (pp512, tg32): {DIED}" for setup in (fakes.SETUP, other)
    ]
