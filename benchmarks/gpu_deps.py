"""What ``benchmarks/gpu_proof.sh`` needs and a machine without network lacks, into one small folder.

    python benchmarks/gpu_deps.py [--folder .gpu-proof] [--python 3.12] [REQUIREMENT...]        make gpu-proof-deps

From the archive of the pinned llama-cpp-python: its Python files, and of llama.cpp what libllama and its CUDA backend
are compiled from. Beside them wheels of phibench's own dependencies and of transformers for ``--python`` on Linux
x86-64; torch must be there. More requirements come along as wheels, such as onnxruntime-gpu. The folder may be 64 MiB.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
MOST_BYTES = 64 << 20
# Of the archive, below its one folder: the licences, and what the build reads.
MODULE = re.compile(r"llama_cpp/[^/]+\.(py|typed)|PKG-INFO")
SOURCES = re.compile(
    r"vendor/llama\.cpp/(CMakeLists\.txt|LICENSE|(cmake|include|src|licenses|vendor)/.+|ggml/(CMakeLists\.txt|(cmake|include)/.+)"
    r"|ggml/src/([^/]+|ggml-(cpu|cuda)/.+))"
)
BESIDE_TORCH = ("transformers", "safetensors", "numpy", "diskcache", "jinja2", "typing-extensions")
# pip takes the newest glibc that a tag names literally, so all that wheels are built for are told.
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64",
             "manylinux_2_12_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64")  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("requirements", nargs="*", metavar="REQUIREMENT")
    parser.add_argument("--folder", type=Path, default=ROOT / ".gpu-proof")
    parser.add_argument("--python", default="{}.{}".format(*sys.version_info), help="of the machine with the card")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder.parent) as place:
        made = Path(place, "made")
        take(archive(Path(place)), made)
        wheels(made / "wheels", args.python, args.requirements)
        size = sum(path.stat().st_size for path in made.rglob("*") if path.is_file())
        print(f"{args.folder.name}: {size / (1 << 20):.1f} MiB ({MOST_BYTES >> 20} MiB at most)")
        if size > MOST_BYTES:
            return 1
        shutil.rmtree(args.folder, ignore_errors=True)
        made.rename(args.folder)
    return 0


def pinned() -> str:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return next(line for line in lines if line.startswith("llama-cpp-python=="))


def pip(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "pip", "--disable-pip-version-check", *words, "-q"], check=True)


def archive(place: Path) -> Path:
    """The source archive of llama-cpp-python."""
    pip("download", "--no-deps", "--no-binary", "llama-cpp-python", "-d", str(place), pinned())
    return next(place.glob("*.tar.gz"))


def take(found: Path, made: Path) -> None:
    """``llama.cpp/`` to compile, ``llama_cpp/`` to import, and the record by which a version is known, packed."""
    version = pinned().partition("==")[2]
    record = f"llama_cpp_python-{version}.dist-info"
    made.mkdir()
    with tarfile.open(found) as tar, tarfile.open(made / "sources.tar.xz", "w:xz") as packed:
        for member in tar:
            name = member.name.partition("/")[2]
            if not member.isfile() or not (MODULE.fullmatch(name) or SOURCES.fullmatch(name)):
                continue
            member.name = f"{record}/METADATA" if name == "PKG-INFO" else name.removeprefix("vendor/")
            member.pax_headers = {}  # a long name stands there too, and would win
            packed.addfile(member, tar.extractfile(member))


def wheels(folder: Path, python: str, more: list[str]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    fitting = [word for platform in PLATFORMS for word in ("--platform", platform)]
    pip("download", "--only-binary=:all:", "--python-version", python, "--implementation", "cp", *fitting,
        "-c", str(ROOT / "constraints.txt"), "-d", str(folder),
        *project["dependencies"], *BESIDE_TORCH, *more)  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
