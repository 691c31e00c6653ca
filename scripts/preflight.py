"""Before anything is downloaded: can this machine install phibench? One line per problem, with its remedy.

`make` calls it as ``python3 scripts/preflight.py core|docs|run|test|lint``. It runs on every Python from 3.6 on, so
that an old one can say that it is too old. Exit code 2 when something is missing.

``preflight.py repair`` prints "repair" where the llama.cpp in .venv must be compiled again on this machine.
``preflight.py cmake-args`` prints what CMAKE_ARGS must be for llama.cpp to work here: the user's own, and before them
what repairs a compiler that breaks AMX, where the processor has it.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from typing import Callable, Dict, List, Optional, Tuple

# With PYTHONSAFEPATH=1 or -P, Python does not look beside the script
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import built
from compiler import amx_here, cmake_args_here, compiler_remedy, has_compiler, succeeds

MIN_PYTHON = (3, 11)
MB = 10**6
# `du` of .venv on Linux x86-64 with Python 3.11 and constraints.txt: 115, 245, 580, 1890 and 1985 MB (of 2^20), rounded
# up; the tests take the CPU build of torch, a CUDA build is some 5 GB more.
VENV_BYTES = {"core": 130 * MB, "docs": 270 * MB, "run": 650 * MB, "test": 2050 * MB, "lint": 2150 * MB}
PACKED = 0.5  # what pip downloads and keeps for every byte that it installs; seen: 0.35 to 0.42
BUILD_BYTES = 500 * MB  # llama-cpp-python: archive 77, unpacked 217, wheel 24 MB, the objects, and other wheels
# The smallest Phi file (531 MB, phi-1 Q2_K_S) beside the 1 GiB that quickstart leaves free. Phi-4-mini Q4_K_M, which
# it measures where it can, is 2.5 GB.
MODEL_BYTES = 1650 * MB
WHEEL_INDEX = "https://abetlen.github.io/llama-cpp-python/whl/cpu"
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VENV = os.path.join(ROOT, ".venv")


def main(target: str) -> int:
    found = python_problems(target)
    if not found:  # an old Python cannot judge the rest
        compiler, compiles = ([], False) if target in ("core", "docs") else compiler_problems(target)
        found = compiler + disk_problems(disk_needs(target, compiles))
    for line in found:
        print("phibench: " + line, file=sys.stderr)
    return 2 if found else 0


# ---------------------------------------------------------------------------------------------- Python


def python_problems(target: str, version: Tuple[int, ...] = tuple(sys.version_info[:3])) -> List[str]:
    """A Python that is too old, or one whose venv module Debian has put into a package of its own."""
    this = ".".join(map(str, version))
    if tuple(version[:2]) < MIN_PYTHON:
        newer = newer_python()
        remedy = "install a newer one (Debian, Ubuntu: apt install python3.12-venv; macOS: brew install python@3.12; "
        remedy += "any: https://www.python.org/downloads/), then type: PYTHON=python3.12 make " + target
        if newer:
            remedy = "there is a newer one here; type: PYTHON={} make {}".format(newer, target)
        return ["needs Python 3.11 or newer, and {} is Python {}; {}".format(sys.executable, this, remedy)]
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        package = "python{}.{}-venv".format(*version[:2])
        return ["this Python cannot make a virtual environment; type: sudo apt install " + package]
    return []


def newer_python() -> Optional[str]:
    """A command on the PATH that starts a Python that is new enough."""
    test = "import sys; sys.exit(sys.version_info < {})".format(MIN_PYTHON)
    for name in ("python3.13", "python3.12", "python3.11", "python3.14"):
        if shutil.which(name) and succeeds([name, "-c", test]):
            return name
    return None


# -------------------------------------------------------------------------------------------- compiler


def compiler_problems(target: str) -> Tuple[List[str], bool]:
    """What stands in the way of llama-cpp-python, which PyPI has as sources only; and whether it will be compiled."""
    wheel = os.environ.get("LLAMA_CPP_WHEEL", "")
    if wheel:
        if "://" in wheel or os.path.isfile(wheel):
            return [], False
        return ["LLAMA_CPP_WHEEL={}: there is no such file".format(wheel)], False
    pin = pinned("llama-cpp-python")
    if built.installed(VENV, pin) and not built.why_again(VENV, pin, os.environ):
        return [], False
    if has_compiler():  # pip, too, may have built it before and kept the wheel
        where = built.folder(pin, os.environ, cmake_args_here()[0]) if amx_here() else None
        return [], built.kept(where, pin) is None
    if wheel_kept(built.stem(pin)) or wheel_offered(pin):
        return [], False
    line = "llama.cpp must be compiled, and there is no C++ compiler; {}; or take a ready wheel, if there is one of {}"
    line += " for this machine: PIP_EXTRA_INDEX_URL={} make {}"
    return [line.format(compiler_remedy(), pin, WHEEL_INDEX, target)], True


def pinned(package: str) -> str:
    """``name==version`` as constraints.txt has it."""
    with open(os.path.join(ROOT, "constraints.txt"), encoding="utf-8") as lines:
        return next(line.strip() for line in lines if line.startswith(package + "=="))


def wheel_kept(stem: str) -> bool:
    """Built before, and still in pip's cache."""
    pip = [sys.executable, "-m", "pip", "cache", "list", stem.split("-", maxsplit=1)[0]]
    listed = subprocess.run(pip, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False).stdout
    return (" " + stem + "-").encode() in listed


def wheel_offered(pin: str) -> bool:
    """Whether an index that pip knows has it ready for this machine."""
    ask = [sys.executable, "-m", "pip", "install", "--dry-run", "--no-deps", "--only-binary=:all:"]
    return succeeds([*ask, "--ignore-installed", pin])


# ------------------------------------------------------------------------------------------------ disk


def disk_needs(target: str, compiles: bool) -> List[Tuple[str, str, int]]:
    """(what, folder, bytes) of everything that the installation has still to write."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    missing = max(0, VENV_BYTES[target] - folder_bytes(VENV))
    needs = [(".venv", VENV, missing), ("pip's cache", os.environ.get("PIP_CACHE_DIR") or cache, int(missing * PACKED))]
    if compiles:
        needs.append(("compiling llama.cpp", tempfile.gettempdir(), BUILD_BYTES))
    if target == "run":
        needs.append(("the smallest Phi", os.environ.get("PHIBENCH_CACHE") or cache, MODEL_BYTES))
    return needs


def disk_problems(
    needs: List[Tuple[str, str, int]], free_bytes: Callable[[str], int] = lambda folder: shutil.disk_usage(folder).free
) -> List[str]:
    """One line for every disk that is too small for what goes onto it."""
    disks: Dict[int, List[Tuple[str, str, int]]] = defaultdict(list)
    for what, folder, size in needs:
        disks[os.stat(existing(folder)).st_dev].append((what, existing(folder), size))
    found = []
    for parts in disks.values():
        wanted, free = sum(size for _, _, size in parts), free_bytes(parts[0][1])
        if wanted > free:
            sizes = ", ".join("{} {}".format(megabytes(size), what) for what, _, size in parts)
            line = "too little disk: {} free in {}, {} wanted ({}); free some, or name folders on a larger disk in "
            line += "PIP_CACHE_DIR, TMPDIR and PHIBENCH_CACHE"
            found.append(line.format(megabytes(free), parts[0][1], megabytes(wanted), sizes))
    return found


def existing(folder: str) -> str:
    """The folder, or the nearest one above that exists."""
    folder = os.path.abspath(folder)
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    return folder


def folder_bytes(folder: str) -> int:
    paths = (os.path.join(place, name) for place, _, names in os.walk(folder) for name in names)
    return sum(os.lstat(path).st_blocks * 512 for path in paths) if os.name != "nt" else 0


def megabytes(count: int) -> str:
    return "{:.1f} GB".format(count / 1e9) if count >= 1e9 else "{:.0f} MB".format(count / 1e6)


if __name__ == "__main__":
    if sys.argv[1:] == ["cmake-args"]:
        args, doubt = cmake_args_here()
        if doubt:
            print("phibench: " + doubt, file=sys.stderr)
        print(args)
    elif sys.argv[1:] == ["repair"]:
        print("repair" if built.why_again(VENV, pinned("llama-cpp-python"), os.environ) else "")
    elif sys.argv[1:] in ([target] for target in VENV_BYTES):
        sys.exit(main(sys.argv[1]))
    else:
        sys.exit("usage: preflight.py core|docs|run|test|lint|repair|cmake-args")
