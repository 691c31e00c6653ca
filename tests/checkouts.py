"""A checkout with a pip and a compiler that are not real, for the tests of scripts/built.py and build_engine.py."""

from __future__ import annotations

import importlib
import io
import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import pytest

SCRIPTS = Path(__file__).parent.parent / "scripts"
# As GCC 12.2: keeps the values of the tiles with -fno-dse alone
DROPS = """#!/bin/sh
case "$*" in
*--version*) echo "c++ (Debian 12.2.0-14) 12.2.0" ;;
*-fno-dse*) sed s/_tile_loadconfig/ldtilecfg/ tiles.cpp >tiles.s ;;
*) echo ldtilecfg >tiles.s ;;
esac
"""
KEEPS = """#!/bin/sh
case "$*" in
*--version*) echo "c++ (Debian 14.1.0-5) 14.1.0" ;;
*) sed s/_tile_loadconfig/ldtilecfg/ tiles.cpp >tiles.s ;;
esac
"""
# Notes how it was called and with which CMAKE_ARGS, and does what it is asked for, unless there is a file that is
# called after that
FAKE_PIP = """
import json, os, sys, zipfile
from pathlib import Path
here = Path(__file__).parent
does = next(word for word in sys.argv if word in ("wheel", "install"))
with open(here / "calls", "a") as calls:
    calls.write(json.dumps([does, sys.argv[1:], os.environ.get("CMAKE_ARGS")]) + "\\n")
if (here / ("no-" + does)).exists():
    sys.exit("ERROR: pip cannot")
if does == "wheel":
    if not (here / "index").exists():
        print("  Building wheel for llama-cpp-python (pyproject.toml): started")
        print("  [9/9] Linking")
    made = Path(sys.argv[sys.argv.index("-w") + 1]) / "llama_cpp_python-0.3.36-py3-none-linux_x86_64.whl"
    with zipfile.ZipFile(made, "w") as wheel:
        wheel.writestr("llama_cpp/lib/libllama.so", os.urandom(4096))
        wheel.writestr("llama_cpp_python-0.3.36.dist-info/RECORD", "")
else:
    what = sys.argv[-1]
    if what.endswith(".whl") and "://" not in what:
        assert not zipfile.ZipFile(what).testzip()
    site = here / ".venv/lib/python3.11/site-packages"
    (site / "llama_cpp_python-0.3.36.dist-info").mkdir(parents=True, exist_ok=True)
"""


@dataclass
class Machine:
    """A checkout with a pip and a compiler that are not real, on a processor with AMX or without."""

    folder: Path
    patch: pytest.MonkeyPatch
    modules: dict[str, ModuleType] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.patch.syspath_prepend(str(SCRIPTS))
        self.modules = {
            name: importlib.import_module(name) for name in ("compiler", "built", "preflight", "build_engine")
        }
        for name in ("LLAMA_CPP_WHEEL", "CMAKE_ARGS", "CXXFLAGS", "XDG_CACHE_HOME"):
            self.patch.delenv(name, raising=False)
        self.patch.setenv("CXX", str(self.folder / "c++"))
        self.patch.setenv("PHIBENCH_CACHE", str(self.folder / "cache"))
        (self.folder / "pip.py").write_text(FAKE_PIP)
        self.venv.mkdir()
        self.compiler(DROPS)
        self.processor(amx=True)
        build = self.modules["build_engine"]
        self.patch.setattr(build, "PIP", [sys.executable, str(self.folder / "pip.py")])
        self.patch.setattr(build, "VENV", self.venv)
        self.patch.setattr(build, "LOG", self.venv / "log")
        self.patch.setattr(self.modules["preflight"], "VENV", str(self.venv))
        for name in ("build_engine", "preflight"):
            self.patch.setattr(self.modules[name], "pinned", lambda package: f"{package}==0.3.36")

    @property
    def venv(self) -> Path:
        return self.folder / ".venv"

    def compiler(self, text: str) -> None:
        (self.folder / "c++").write_text(text)
        (self.folder / "c++").chmod(0o755)

    def processor(self, *, amx: bool) -> None:
        for name in ("compiler", "built", "preflight"):
            self.patch.setattr(self.modules[name], "amx_here", lambda: amx)

    def fresh(self) -> None:
        """`make` after it was cut off: .venv is made anew."""
        self.venv.rename(self.folder / f"old-{len(list(self.folder.iterdir()))}")
        self.venv.mkdir()

    def set_up(self) -> tuple[int, str, list[list[str]]]:
        """Exit code, screen, and pip's calls as [what, argument that tells most, CMAKE_ARGS]."""
        calls, out = self.folder / "calls", io.StringIO()
        calls.write_text("")
        code = self.modules["build_engine"].engine(os.environ, out)
        self.words = [json.loads(line)[1] for line in calls.read_text().splitlines()]
        said = [json.loads(line) for line in calls.read_text().splitlines()]
        return code, out.getvalue(), [[does, Path(words[-1]).name, args] for does, words, args in said]

    def note(self) -> dict[str, str]:
        found: dict[str, str] = json.loads((self.venv / "llama-cpp-python.json").read_text())
        return found

    def will_compile(self) -> bool:
        problems, compiles = self.modules["preflight"].compiler_problems("run")
        assert problems == []
        assert isinstance(compiles, bool)
        return compiles

    def repair(self) -> bool:
        built = self.modules["built"]
        return bool(built.why_again(str(self.venv), "llama-cpp-python==0.3.36", os.environ))

    def kept(self) -> list[Path]:
        return sorted((self.folder / "cache").rglob("*.whl"))
