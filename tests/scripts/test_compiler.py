"""scripts/compiler.py: does the compiler keep the tile configuration of AMX, and which flags does llama.cpp get?"""

from __future__ import annotations

import importlib
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from trees import plant
from trees_instructions import ALDER_LAKE, GRAVITON_3, SAPPHIRE_RAPIDS, ZEN_4

SCRIPTS = Path(__file__).parents[2] / "scripts"
REPAIRED = "-DCMAKE_CXX_FLAGS=-fno-tree-dse -fno-dse"
posix = pytest.mark.skipif(os.name == "nt", reason="compilers here are shell scripts")


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("compiler")


def made(tmp_path: Path, body: str) -> list[str]:
    """A compiler that is a shell script; it finds tiles.cpp in its folder and owes tiles.s."""
    path = tmp_path / "c++"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return [str(path)]


# ------------------------------------------------------------------------------------------- real compilers


@pytest.mark.parametrize("name", ["c++", "g++", "clang++"])
def test_a_real_compiler_is_judged_and_can_be_repaired(compiler: ModuleType, name: str) -> None:
    if not shutil.which(name):
        pytest.skip(f"no {name} here")
    verdict = compiler.keeps_tiles([name], [])
    if verdict is None:
        pytest.skip(f"{name} makes no code for AMX")
    version = subprocess.run([name, "--version"], capture_output=True, text=True, check=True).stdout
    if " 12.2.0" in version.splitlines()[0] and "Free Software" in version:
        assert verdict is False  # the compiler of Debian 12, which gave this check its reason
    assert compiler.keeps_tiles([name], ["-g", "-flto"]) is verdict  # neither hides what is dropped
    if not verdict:  # the repair is for those that drop it: clang does not know its flags
        assert compiler.keeps_tiles([name], compiler.REPAIR) is True
        assert compiler.keeps_tiles([name], [*compiler.REPAIR, "-g", "-flto"]) is True


# --------------------------------------------------------------------------------------- injected compilers


@posix
@pytest.mark.parametrize(
    ("body", "keeps"),
    [
        ("echo ldtilecfg >tiles.s", False),  # whatever the values are
        ("sed s/_tile_loadconfig/ldtilecfg/ tiles.cpp >tiles.s", True),
        ("grep -v rows tiles.cpp | sed 's/^/ldtilecfg/' >tiles.s", False),
        ("sed 's/rows.i. = [0-9]*//; s/_tile_loadconfig/ldtilecfg/' tiles.cpp >tiles.s", False),  # drops only the rows
        ("cp tiles.cpp tiles.s", None),  # not an instruction of AMX in it
        ("exit 1", None),
        ("exit 0", None),  # and has made nothing
    ],
)
def test_the_check_looks_for_the_values(compiler: ModuleType, tmp_path: Path, body: str, keeps: bool | None) -> None:
    assert compiler.keeps_tiles(made(tmp_path, body), []) is keeps


def test_no_compiler_is_no_verdict(compiler: ModuleType) -> None:
    assert compiler.keeps_tiles(["no-such-compiler"], []) is None


@posix
def test_nothing_but_assembly_is_made_with_the_flags_of_the_user(compiler: ModuleType, tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    compiler.keeps_tiles(made(tmp_path, f'echo "$*" >>{asked}; exit 1'), ["-O1", "-DMINE"])
    (line,) = asked.read_text().splitlines()
    words = line.split()
    assert words[:2] == ["-O1", "-DMINE"]
    assert {"-S", "-O3", "-mamx-tile"} <= set(words)


# ------------------------------------------------------------------------------------------------ the flags


def args(
    compiler: ModuleType, *, amx: bool = True, keeps: dict[str, bool | None] | None = None, **env: str
) -> list[str]:
    """CMAKE_ARGS as CMake gets them. The compiler is one that drops unless the repairing flags are there."""

    def verdict(flags: list[str]) -> bool | None:
        return (keeps or {}).get(" ".join(flags), "-fno-dse" in flags)

    told, doubt = compiler.cmake_args(env, amx, verdict)
    return [*shlex.split(told), *([f"doubt: {doubt}"] if doubt else [])]


def test_a_compiler_that_drops_is_repaired_where_there_is_amx(compiler: ModuleType) -> None:
    assert args(compiler) == [REPAIRED]
    assert args(compiler, CMAKE_ARGS="-DGGML_CUDA=on") == [REPAIRED, "-DGGML_CUDA=on"]


@pytest.mark.parametrize("verdict", [True, None])
def test_a_compiler_that_keeps_or_knows_no_amx_is_left_alone(compiler: ModuleType, verdict: bool | None) -> None:
    assert args(compiler, keeps={"": verdict}) == []
    assert args(compiler, keeps={"": verdict}, CMAKE_ARGS="-DGGML_CUDA=on") == ["-DGGML_CUDA=on"]


def test_without_amx_nothing_is_added(compiler: ModuleType) -> None:
    assert args(compiler, amx=False) == []
    assert args(compiler, amx=False, CMAKE_ARGS="-DA='b c'", CXXFLAGS="-O1") == ["-DA=b c"]


def test_flags_of_the_environment_are_not_lost_and_come_last(compiler: ModuleType) -> None:
    assert args(compiler, CXXFLAGS="-O1 -DX=1") == [f"{REPAIRED} -O1 -DX=1"]


@pytest.mark.parametrize(
    "own",
    ["-DCMAKE_CXX_FLAGS=-g", "-DCMAKE_CXX_FLAGS:STRING=-g", "-D CMAKE_CXX_FLAGS=-g", "-DA=1 -DCMAKE_CXX_FLAGS='-g'"],
)
def test_flags_that_the_user_gave_cmake_stay_and_are_said_to_be_not_enough(compiler: ModuleType, own: str) -> None:
    *kept, doubt = args(compiler, CMAKE_ARGS=own, CXXFLAGS="-O1")
    assert kept == shlex.split(own)
    assert "CMAKE_CXX_FLAGS: add -fno-tree-dse -fno-dse" in doubt
    assert args(compiler, CMAKE_ARGS="-DCMAKE_CXX_FLAGS=-fno-dse") == ["-DCMAKE_CXX_FLAGS=-fno-dse"]


def test_a_user_who_turns_the_repair_off_again_is_told(compiler: ModuleType) -> None:
    flags = "-fno-tree-dse -fno-dse -ftree-dse -fdse"
    (doubt,) = args(compiler, keeps={flags: False}, CXXFLAGS="-ftree-dse -fdse")
    assert f"{flags} does not repair it: set CXX to another compiler" in doubt


def test_cmake_takes_the_last_word(compiler: ModuleType, tmp_path: Path) -> None:
    if not shutil.which("cmake"):
        pytest.skip("no cmake here")
    (tmp_path / "say.cmake").write_text('message("flags=${CMAKE_CXX_FLAGS}")\n')

    def said(words: list[str]) -> str:
        command = ["cmake", *words, "-P", str(tmp_path / "say.cmake")]
        return subprocess.run(command, capture_output=True, text=True, check=True).stderr.strip()

    repaired = args(compiler, CXXFLAGS='-DX="a b"')
    assert said(repaired) == "flags=-fno-tree-dse -fno-dse -DX=a b"
    assert said([*repaired, "-DCMAKE_CXX_FLAGS=-g"]) == "flags=-g"


@pytest.mark.parametrize(
    ("tree", "amx"), [(SAPPHIRE_RAPIDS, True), (ZEN_4, False), (ALDER_LAKE, False), (GRAVITON_3, False), ({}, False)]
)
def test_amx_is_read_from_the_processor(compiler: ModuleType, tmp_path: Path, tree: dict[str, str], amx: bool) -> None:
    assert compiler.amx_here(str(plant(tmp_path, tree) / "proc" / "cpuinfo")) is amx


@posix
def test_the_compiler_is_the_one_that_cmake_takes(
    compiler: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert compiler.compiler_command({}) == []
    mine = made(tmp_path, "exit 0")[0]
    assert compiler.compiler_command({}) == ["c++"]
    assert compiler.compiler_command({"CXX": f"{mine} -m32"}) == [mine, "-m32"]
    assert compiler.compiler_command({"CXX": "icpx", "CMAKE_ARGS": f"-DCMAKE_CXX_COMPILER={mine}"}) == [mine]
    assert compiler.compiler_command({"CXX": "icpx"}) == []


def test_the_command_prints_what_to_set_and_nothing_else() -> None:
    command = [sys.executable, str(SCRIPTS / "preflight.py"), "cmake-args"]
    env = {**os.environ, "CMAKE_ARGS": "-DMINE=1"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0
    assert done.stdout.endswith("-DMINE=1\n")  # before it what this machine needs, if it needs anything
    assert len(done.stdout.splitlines()) == 1
