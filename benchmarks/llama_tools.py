"""llama.cpp's own benchmarks, compiled from the archive of the installed llama-cpp-python and linked to its libraries.

So what is compared is two harnesses and not two builds of the engine. Needs g++ on Linux, a minute or three, and the
archive on PyPI (77 MB); what is compiled once stays in the folder that it is given.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import subprocess
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from phibench.backends import llama_cpp

_FOLDERS = ("common", ".", "include", "ggml/include", "vendor")
_COMMON = ("common/*.cpp", "common/parsers/*.cpp", "common/jinja/*.cpp", "vendor/cpp-httplib/*.cpp")


def compiled(work: Path, tool: str) -> Path:
    """``llama-bench`` or ``llama-batched-bench``: its own files and llama.cpp's ``common``."""
    program = work / tool
    if program.exists():
        return program
    work.mkdir(parents=True, exist_ok=True)
    folder = _sources(work)
    spec = importlib.util.find_spec("llama_cpp")
    assert spec is not None
    assert spec.origin is not None
    libraries = Path(spec.origin).parent / "lib"
    about = work / "build-info.cpp"
    text = (folder / "common" / "build-info.cpp.in").read_text(encoding="utf-8")
    about.write_text(text.replace("@LLAMA_BUILD_NUMBER@", "0"), encoding="utf-8")
    flags = ["-std=c++17", "-O1", *(f"-I{folder / name}" for name in _FOLDERS)]

    def compile_one(source: Path) -> str:
        target = work / f"{source.parent.name}-{source.stem}.o"
        if not target.exists():
            part = target.with_suffix(".part")
            subprocess.run(["g++", *flags, "-c", str(source), "-o", str(part)], check=True)
            part.rename(target)
        return str(target)

    patterns = (*_COMMON, f"tools/{tool.removeprefix('llama-')}/*.cpp", f"tools/{tool}/*.cpp")
    with ThreadPoolExecutor(2) as pool:
        objects = list(pool.map(compile_one, [about, *(one for text in patterns for one in folder.glob(text))]))
    links = [f"-L{libraries}", "-lllama", "-lggml", "-lggml-cpu", "-lggml-base", "-lpthread"]
    subprocess.run(["g++", *objects, "-o", str(program), *links, f"-Wl,-rpath,{libraries}"], check=True)
    return program


def _sources(work: Path) -> Path:
    """llama.cpp inside the archive of the installed llama-cpp-python."""
    version = importlib.metadata.version(llama_cpp.PACKAGE)
    folder = work / f"llama_cpp_python-{version}" / "vendor" / "llama.cpp"
    if not folder.exists():
        wanted = [f"{llama_cpp.PACKAGE}=={version}", "--no-deps", "--no-binary", llama_cpp.PACKAGE, "-d", str(work)]
        subprocess.run([sys.executable, "-m", "pip", "download", "-q", *wanted], check=True)
        with tarfile.open(next(work.glob("llama_cpp_python-*.tar.gz"))) as archive:
            archive.extractall(work, filter="data")
    return folder
