"""What the llama.cpp in .venv was compiled with, whether that will do here, and the wheels that are kept.

For ``preflight.py`` and ``build_engine.py``, and as old as the former: every Python from 3.6 on reads this.
"""

import glob
import hashlib
import json
import os
import re
import subprocess
import sys
import sysconfig
import zipfile
import zlib
from typing import Dict, List, Mapping, Optional

from compiler import REPAIR, amx_here, cmake_args_here, compiler_command, defined, split

NOTE = "llama-cpp-python.json"  # in .venv, beside the log
# libggml-NAME of the build that `make` makes; others are of devices, which it never asks for
OWN_PARTS = {"base", "cpu"}
# What CMake and compilers read beside CMAKE_ARGS
SETTINGS = ("CC", "CFLAGS", "CXX", "CXXFLAGS", "CPPFLAGS", "LDFLAGS", "CMAKE_BUILD_TYPE", "CMAKE_TOOLCHAIN_FILE")


# ------------------------------------------------------------------------------------ what is installed


def stem(pin: str) -> str:
    """``name-version`` as files of a distribution begin, of ``name==version``."""
    return pin.replace("-", "_").replace("==", "-")


def installed(venv: str, pin: str) -> bool:
    return bool(_in_site(venv, stem(pin) + ".dist-info"))


def write_note(venv: str, env: Mapping[str, str], args: str, wheel: str = "") -> None:
    """What was just installed: a ``wheel`` that somebody else made, or what was compiled with these CMAKE_ARGS.

    ``env``: the user's; CMAKE_ARGS in it make the build theirs.
    """
    said = {
        "wheel": wheel,
        "asked": env.get("CMAKE_ARGS", ""),
        "cmake_args": args,
        "cxxflags": env.get("CXXFLAGS", ""),
        "compiler": compiler_version(env),
    }
    part = os.path.join(venv, NOTE + ".part")
    with open(part, "w", encoding="utf-8") as file:
        json.dump(said, file, indent=2)
    os.replace(part, os.path.join(venv, NOTE))


def read_note(venv: str) -> Dict[str, str]:
    """Empty where nothing is known."""
    try:
        with open(os.path.join(venv, NOTE), encoding="utf-8") as file:
            said = json.load(file)  # type: object
    except (OSError, ValueError):
        return {}
    return {str(k): str(v) for k, v in said.items()} if isinstance(said, dict) else {}


def why_again(venv: str, pin: str, env: Mapping[str, str]) -> str:
    """Why the llama.cpp in .venv must be compiled again on this machine, or "".

    Only what `make` compiled by itself is judged: a wheel that was given, a build with CMAKE_ARGS of the user or with
    a device is theirs. Without a note nothing says that it was repaired. The compiler is asked last, it takes a second.
    """
    if env.get("LLAMA_CPP_WHEEL") or env.get("CMAKE_ARGS") or not installed(venv, pin):
        return ""
    note = read_note(venv)
    if note.get("wheel") or note.get("asked") or repairs(note) or _has_devices(venv):
        return ""
    if not repairs({"cmake_args": cmake_args_here()[0]}):
        return ""
    line = "the llama.cpp in {} was compiled without {}, and {} breaks AMX without, which this processor has"
    return line.format(os.path.basename(venv), " ".join(REPAIR), compiler_version(env) or "this compiler")


def repairs(note: Mapping[str, str]) -> bool:
    """Whether the C++ flags have all that repairs a compiler that breaks AMX."""
    own = defined(note.get("cmake_args", ""), "CMAKE_CXX_FLAGS")
    return set(REPAIR) <= set(split(note.get("cxxflags", "") if own is None else own))


def _has_devices(venv: str) -> bool:
    names = [
        re.match(r"(?:lib)?ggml-(\w+)", os.path.basename(path)) for path in _in_site(venv, "llama_cpp/lib/*ggml-*")
    ]
    return any(found and found.group(1) not in OWN_PARTS for found in names)


def _in_site(venv: str, pattern: str) -> List[str]:
    return glob.glob(os.path.join(glob.escape(venv), "lib", "python*", "site-packages", pattern))


def compiler_version(env: Mapping[str, str]) -> str:
    """The first line of its ``--version``, or ""."""
    command = compiler_command(env)
    try:
        said = subprocess.run(
            [*command, "--version"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False,
            env=dict(os.environ, LC_ALL="C"),
        ).stdout if command else b""  # fmt: skip
    except OSError:
        return ""
    return said.decode("utf-8", "replace").partition("\n")[0].strip()


# ------------------------------------------------------------------------------------- wheels that are kept


def folder(pin: str, env: Mapping[str, str], args: str) -> Optional[str]:
    """Where the wheel that these CMAKE_ARGS make here is kept; None where it is left to pip's cache, or not kept.

    pip's cache knows no flags, so on a processor with AMX it may hold what breaks there. What the user's own
    CMAKE_ARGS reach, such as CUDA, is not part of the key, so that is compiled anew. ``env``: the user's.
    """
    if not amx_here() or env.get("CMAKE_ARGS") or not compiler_command(env):
        return None
    return os.path.join(cache(env), "engines", key(pin, env, args))


def key(pin: str, env: Mapping[str, str], args: str, cpuinfo: str = "/proc/cpuinfo") -> str:
    """A digest of all that makes a build another one; llama.cpp is compiled for the processor that compiles it."""
    settings = [env.get(name, "") for name in SETTINGS]
    python = [*sys.version_info[:2], sys.implementation.name, sysconfig.get_platform()]
    known = [pin, args, settings, compiler_command(env), compiler_version(env), python, processor(cpuinfo)]
    return hashlib.sha256(json.dumps(known).encode()).hexdigest()[:16]


def processor(cpuinfo: str) -> List[str]:
    """What identifies the first processor of Linux's list."""
    try:
        with open(cpuinfo, encoding="utf-8", errors="replace") as lines:
            first = lines.read().partition("\n\n")[0].splitlines()
    except OSError:
        return []
    names = ("vendor_id", "cpu family", "model", "stepping", "flags")
    return [line for line in first if line.partition(":")[0].strip() in names]


def cache(env: Mapping[str, str]) -> str:
    """As ``phibench.core.folders.cache_dir``, which an old Python cannot import."""
    own, xdg = env.get("PHIBENCH_CACHE"), env.get("XDG_CACHE_HOME", "")
    if own:
        return os.path.expanduser(own)
    return os.path.join(xdg if os.path.isabs(xdg) else os.path.join(os.path.expanduser("~"), ".cache"), "phibench")


def kept(where: Optional[str], pin: str) -> Optional[str]:
    """A whole wheel in that folder."""
    wheels = glob.glob(os.path.join(glob.escape(where), stem(pin) + "-*.whl")) if where else []
    return next(filter(whole, wheels), None)


def whole(wheel: str) -> bool:
    """Nothing is missing from it, and every file has the checksum that it was packed with."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            complete = any(name.endswith(".dist-info/RECORD") for name in archive.namelist())
            return complete and archive.testzip() is None
    except (OSError, EOFError, RuntimeError, ValueError, zipfile.BadZipFile, zlib.error):
        return False
