"""The C++ compiler that will build llama.cpp: is there one, and does it compile AMX as it should?

For ``preflight.py``, and as old as it: every Python from 3.6 on reads this.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from typing import Callable, List, Mapping, Optional, Tuple


def has_compiler() -> bool:
    if os.name == "nt":
        return True  # Visual Studio's compiler is not on the PATH; CMake finds it, or pip says that it did not
    if not compiler_command(os.environ):
        return False
    # macOS has a c++ that only asks to install the real one
    return sys.platform != "darwin" or succeeds(["xcode-select", "-p"])


def compiler_command(env: Mapping[str, str]) -> List[str]:
    """The C++ compiler that CMake will take, with the words that CXX has behind it; empty where there is none."""
    named = defined(env.get("CMAKE_ARGS", ""), "CMAKE_CXX_COMPILER")
    words = [named] if named else split(env.get("CXX", ""))
    commands = [words] if words else [["c++"], ["g++"], ["clang++"]]
    return next((command for command in commands if shutil.which(command[0])), [])


def compiler_remedy() -> str:
    if sys.platform == "darwin":
        return "type: xcode-select --install"
    for tool, command in (
        ("apt-get", "sudo apt install build-essential"),
        ("dnf", "sudo dnf install gcc-c++"),
        ("pacman", "sudo pacman -S base-devel"),
        ("zypper", "sudo zypper install gcc-c++"),
        ("apk", "sudo apk add build-base linux-headers"),
    ):
        if shutil.which(tool):
            return "type: " + command
    return "install one (Debian, Ubuntu: sudo apt install build-essential; Fedora: sudo dnf install gcc-c++)"


# ------------------------------------------------------------------------------------------------- AMX

# llama.cpp fills 64 bytes on the stack that say how many rows and bytes each tile of AMX has, and loads them. GCC 12.2
# believes that loading reads 8 of them, so it drops the stores of all others, and prefill dies of SIGSEGV on
# processors with AMX (llama.cpp issue 20824). Compilers that read the whole are left alone.
TILES = """
#include <immintrin.h>
struct Tiles {{ unsigned char palette, start, zero[14]; unsigned short bytes[16]; unsigned char rows[16]; }};
void load() {{
    alignas(64) Tiles tiles = {{}};
    tiles.palette = 1;
    for (int i = 0; i < 8; ++i) {{ tiles.bytes[i] = {bytes}; tiles.rows[i] = {rows}; }}
    _tile_loadconfig(&tiles);
}}
"""
REPAIR = ["-fno-tree-dse", "-fno-dse"]


def cmake_args(
    env: Mapping[str, str], has_amx: bool, keeps: "Callable[[List[str]], Optional[bool]]"
) -> Tuple[str, str]:
    """(CMAKE_ARGS for llama.cpp, a line about what could not be repaired or ""). What the user has set stays, and wins.

    ``keeps``: what :func:`keeps_tiles` says of the compiler with these flags.
    """
    asked = env.get("CMAKE_ARGS", "")
    own = defined(asked, "CMAKE_CXX_FLAGS")
    flags = split(env.get("CXXFLAGS", "") if own is None else own)
    if not has_amx or keeps(flags) is not False:
        return asked, ""
    line = "this compiler breaks llama.cpp's AMX, which this processor has"
    if own is not None:
        return asked, "{}, and CMAKE_ARGS sets CMAKE_CXX_FLAGS: add {} to them".format(line, " ".join(REPAIR))
    repaired = REPAIR + flags
    if keeps(repaired) is not True:
        return asked, "{}, and {} does not repair it: set CXX to another compiler".format(line, " ".join(repaired))
    return " ".join(filter(None, (shlex.quote("-DCMAKE_CXX_FLAGS=" + " ".join(repaired)), asked))), ""


def keeps_tiles(compiler: List[str], flags: List[str]) -> Optional[bool]:
    """Whether a tile configuration that is filled is also loaded, with these flags; None: not a compiler for AMX.

    Nothing is run: values whose stores were kept show in the assembly, so other values make another assembly.
    """
    first = assembly(compiler, flags, bytes=64, rows=16)
    if first is None:
        return None
    return first not in (assembly(compiler, flags, bytes=32, rows=16), assembly(compiler, flags, bytes=64, rows=8))


def assembly(compiler: List[str], flags: List[str], **values: int) -> Optional[bytes]:
    """Of TILES, as CMake's Release would compile it; None where it cannot be. Debug sections and LTO would hide it."""
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "tiles.cpp"), "w", encoding="utf-8") as source:
            source.write(TILES.format(**values))
        options = ["-O3", "-mamx-tile", "-g0", "-fno-lto", "-S", "tiles.cpp", "-o", "tiles.s"]
        if not succeeds(compiler + flags + options, cwd=folder):
            return None
        try:
            with open(os.path.join(folder, "tiles.s"), "rb") as made:
                text = made.read()
        except OSError:
            return None
    return text if b"ldtilecfg" in text else None


def amx_here(cpuinfo: str = "/proc/cpuinfo") -> bool:
    """Whether llama.cpp, compiled for this processor, will use AMX."""
    try:
        with open(cpuinfo, encoding="utf-8", errors="replace") as lines:
            flags = next((line.split() for line in lines if line.startswith("flags")), [])
    except OSError:  # no Mac has AMX of Intel, and on Windows nobody has seen the fault
        return False
    return {"amx_tile", "amx_int8"} <= set(flags)


def cmake_args_here() -> Tuple[str, str]:
    compiler = compiler_command(os.environ)
    return cmake_args(os.environ, amx_here(), lambda flags: keeps_tiles(compiler, flags) if compiler else None)


def defined(args: str, name: str) -> Optional[str]:
    """The value that CMAKE_ARGS gives a variable, as ``-DNAME=value``, ``-DNAME:TYPE=value`` or ``-D NAME=value``."""
    words = re.findall(r"(?:^|\0)-D\0?{}(?::\w+)?=([^\0]*)".format(name), "\0".join(split(args)))
    return words[-1] if words else None


def split(words: str) -> List[str]:
    """As a shell would; a quote that is never closed is left to CMake to complain about."""
    try:
        return shlex.split(words, posix=os.name != "nt")
    except ValueError:
        return words.split()


def succeeds(command: List[str], cwd: Optional[str] = None) -> bool:
    try:
        return subprocess.call(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=cwd) == 0
    except OSError:
        return False
