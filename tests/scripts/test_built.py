"""scripts/built.py and what build_engine.py asks of pip: what is compiled, compiled again, and what is kept."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest
from checkouts import DROPS, KEEPS, Machine
from trees import plant
from trees_instructions import SAPPHIRE_RAPIDS, ZEN_4

REPAIRED = "'-DCMAKE_CXX_FLAGS=-fno-tree-dse -fno-dse'"
pytestmark = pytest.mark.skipif(os.name == "nt", reason="compilers here are shell scripts")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


PIN, WHEEL = "llama-cpp-python==0.3.36", "llama_cpp_python-0.3.36-py3-none-linux_x86_64.whl"
COMPILED = [["wheel", PIN, REPAIRED], ["install", WHEEL, REPAIRED]]
TAKEN = [["install", WHEEL, REPAIRED]]


# ---------------------------------------------------------------------------------------------- kept wheels


def test_what_is_compiled_with_repairing_flags_is_kept_and_installed(machine: Machine) -> None:
    assert machine.will_compile()
    code, screen, calls = machine.set_up()
    assert (code, calls) == (0, COMPILED)
    assert "llama.cpp is compiled, " in screen
    assert screen.splitlines()[-1].startswith("llama.cpp is installed, ")
    (wheel,) = machine.kept()
    assert machine.words[1][-1] == str(wheel)
    assert [path.name for path in wheel.parent.iterdir()] == [WHEEL]  # nothing unfinished
    assert machine.note()["cmake_args"] == REPAIRED
    assert machine.note()["compiler"] == "c++ (Debian 12.2.0-14) 12.2.0"


def test_a_set_up_that_was_cut_off_takes_what_was_finished(machine: Machine) -> None:
    machine.set_up()
    machine.fresh()
    assert not machine.will_compile()
    assert machine.set_up()[2] == TAKEN
    assert machine.note()["cmake_args"] == REPAIRED


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "nothing in it"])
def test_a_wheel_that_is_not_whole_is_not_taken(machine: Machine, damage: str) -> None:
    machine.set_up()
    (wheel,) = machine.kept()
    whole = wheel.read_bytes()
    if damage == "nothing in it":
        zipfile.ZipFile(wheel, "w").close()
    else:
        flipped = whole[:2000] + bytes([whole[2000] ^ 1]) + whole[2001:]
        wheel.write_bytes({"truncated": whole[:-100], "flipped": flipped, "empty": b""}[damage])
    machine.fresh()
    assert machine.will_compile()
    assert machine.set_up()[2] == COMPILED


def test_another_compiler_or_another_processor_or_flags_make_another_wheel(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built, env = machine.modules["built"], dict(os.environ)
    trees = [str(plant(tmp_path / str(n), t) / "proc" / "cpuinfo") for n, t in enumerate((SAPPHIRE_RAPIDS, ZEN_4))]
    keys = [built.key(PIN, env, REPAIRED, trees[0]), built.key(PIN, env, REPAIRED, trees[1])]
    assert built.key(PIN, env, REPAIRED, trees[0]) == keys[0]
    keys.append(built.key(PIN, env, "", trees[0]))
    keys.append(built.key(PIN, {**env, "CFLAGS": "-g"}, REPAIRED, trees[0]))
    keys.append(built.key("llama-cpp-python==0.3.37", env, REPAIRED, trees[0]))
    machine.compiler(DROPS.replace("12.2.0", "12.3.0"))
    keys.append(built.key(PIN, env, REPAIRED, trees[0]))
    monkeypatch.setattr(built.sys, "version_info", (3, 99, 0))
    keys.append(built.key(PIN, env, REPAIRED, trees[0]))
    assert len(set(keys)) == 7


def test_a_failed_compilation_keeps_nothing(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    (machine.folder / "no-wheel").touch()
    code, screen, calls = machine.set_up()
    assert (code, calls) == (1, COMPILED[:1])
    assert screen.splitlines()[-1].startswith("llama.cpp is not compiled, ")
    assert "phibench: llama.cpp could not be installed (pip: exit 1; " in capsys.readouterr().err
    assert not machine.kept()
    assert not (machine.venv / "llama-cpp-python.json").exists()


def test_a_wheel_of_an_index_was_not_compiled_here_and_is_not_kept_as_if(machine: Machine) -> None:
    (machine.folder / "index").touch()
    (machine.venv / "log").write_text("Building wheel for llama-cpp-python, the last time")
    assert machine.set_up()[2] == COMPILED
    assert not machine.kept()
    assert machine.note()["wheel"] == WHEEL
    assert not machine.repair()


def test_where_the_cache_cannot_be_written_it_is_compiled_all_the_same(machine: Machine) -> None:
    (machine.folder / "cache").touch()
    assert machine.set_up()[2] == [["install", PIN, REPAIRED]]
    assert "--no-cache-dir" in machine.words[0]


def test_without_amx_pip_may_take_what_it_has_built(machine: Machine) -> None:
    machine.processor(amx=False)
    assert machine.set_up()[2] == [["install", PIN, ""]]
    assert "--no-cache-dir" not in machine.words[0]
    assert not machine.kept()


def test_with_amx_a_sound_compiler_does_not_take_what_pip_kept_of_another(machine: Machine) -> None:
    machine.compiler(KEEPS)
    assert machine.set_up()[2] == [["wheel", PIN, ""], ["install", WHEEL, ""]]


def test_what_the_user_asks_of_cmake_is_compiled_anew(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CMAKE_ARGS", "-DGGML_CUDA=on")
    assert machine.set_up()[2] == [["install", PIN, f"{REPAIRED} -DGGML_CUDA=on"]]
    assert "--no-cache-dir" in machine.words[0]
    assert not machine.kept()
    assert machine.note()["asked"] == "-DGGML_CUDA=on"


# -------------------------------------------------------------------------------------- compiled once more


def old_build(machine: Machine) -> None:
    """.venv of a time before anybody asked the compiler."""
    machine.processor(amx=False)
    machine.set_up()
    (machine.venv / "llama-cpp-python.json").unlink()
    machine.processor(amx=True)


def test_a_llama_cpp_of_unknown_flags_is_compiled_again_and_it_says_why(machine: Machine) -> None:
    old_build(machine)
    assert machine.repair()
    assert machine.will_compile()
    code, screen, calls = machine.set_up()
    assert (code, calls) == (0, COMPILED)
    assert {"--force-reinstall", "--no-deps"} <= set(machine.words[1])
    (why,) = [line for line in screen.splitlines() if line.startswith("phibench: ")]
    assert why == (
        "phibench: the llama.cpp in .venv was compiled without -fno-tree-dse -fno-dse, and c++ (Debian 12.2.0-14) "
        "12.2.0 breaks AMX without, which this processor has; it is compiled again"
    )
    assert not machine.repair()
    assert not machine.will_compile()
    code, screen, calls = machine.set_up()
    assert (code, calls) == (0, [["install", PIN, None]])  # nothing to do but what pip says of its needs
    assert "phibench: " not in screen


def test_a_venv_that_came_from_a_processor_without_amx_takes_the_wheel_that_is_kept(machine: Machine) -> None:
    machine.set_up()
    machine.fresh()
    machine.processor(amx=False)
    machine.set_up()
    assert not machine.repair()
    machine.processor(amx=True)
    assert machine.repair()
    assert not machine.will_compile()
    code, screen, calls = machine.set_up()
    assert (code, calls) == (0, TAKEN)
    assert "; a wheel that was compiled with them is installed" in screen
    assert not machine.repair()


def test_a_damaged_note_is_no_note(machine: Machine) -> None:
    machine.set_up()
    for text in ("{", "[]", '"x"', "{}"):
        (machine.venv / "llama-cpp-python.json").write_text(text)
        assert machine.repair(), text


@pytest.mark.parametrize("name", ["LLAMA_CPP_WHEEL", "CMAKE_ARGS"])
def test_what_is_of_the_user_is_not_compiled_again(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    old_build(machine)
    monkeypatch.setenv(name, "https://example.org/mine.whl" if name == "LLAMA_CPP_WHEEL" else "-DGGML_BLAS=on")
    assert not machine.repair()
    assert not machine.will_compile()
    assert machine.set_up()[2][0][0] == "install"
    monkeypatch.delenv(name)
    assert machine.repair()  # that was said for once, and pip has installed nothing


def test_what_was_of_the_user_stays_theirs(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as given:
        given.setenv("LLAMA_CPP_WHEEL", "https://example.org/mine.whl")
        assert machine.set_up()[2] == [["install", "mine.whl", None]]
    assert not machine.repair()
    machine.fresh()
    with monkeypatch.context() as given:
        given.setenv("CMAKE_ARGS", "-DCMAKE_CXX_FLAGS=-g")
        machine.set_up()
    assert not machine.repair()
    machine.fresh()
    with monkeypatch.context() as given:
        given.setenv("CXXFLAGS", "-fno-dse -fno-tree-dse")
        machine.set_up()
    assert machine.note()["cmake_args"] == ""
    assert not machine.repair()


def test_a_build_for_a_device_is_the_users(machine: Machine) -> None:
    old_build(machine)
    libraries = machine.venv / "lib" / "python3.11" / "site-packages" / "llama_cpp" / "lib"
    libraries.mkdir(parents=True)
    for name in ("libggml.so", "libggml-base.so.0", "libggml-cpu.so.0.25.3", "libllama.so"):
        (libraries / name).touch()
    assert machine.repair()
    (libraries / "libggml-cuda.so").touch()
    assert not machine.repair()


def test_another_compiler_that_keeps_or_none_asks_for_nothing(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    old_build(machine)
    machine.compiler(KEEPS)
    assert not machine.repair()
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert not machine.repair()


def test_where_it_cannot_be_compiled_again_what_is_there_stays(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    old_build(machine)
    (machine.folder / "no-wheel").touch()
    code, _, calls = machine.set_up()
    assert (code, calls) == (0, COMPILED[:1])
    told = capsys.readouterr().err
    assert "ERROR: pip cannot" in told
    assert told.splitlines()[-1] == "phibench: the llama.cpp that is here stays; the self-test finds what of it works"
    assert machine.repair()
