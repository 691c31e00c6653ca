"""The steps of ``benchmarks/gpu_proof.sh``, each a process: prints one line, exits 0, 1 (short) or 77 (not here).

    python benchmarks/gpu_proof.py STEP WORK

Standard library only; what is measured goes through ``phibench``, as a user types it. WORK is the folder of the proof:
``site`` is on the path of Python, ``*.json`` is what a step leaves for later ones.
"""

from __future__ import annotations

import functools
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NoReturn

Rows = list[dict[str, Any]]
MODEL = ("-m", "phi-4-mini")
CARD = ("-dev", "cuda:0")
BATCHES = (1, 2, 4, 8, 16, 32)
OFFLOADS = (8, 16, 24)  # of 32 layers
ON_CARD = re.compile(r"CUDA|cuda:0")  # in an engine's own words
CMAKE = (
    "-DCMAKE_BUILD_TYPE=Release", "-DBUILD_SHARED_LIBS=ON", "-DGGML_CUDA=ON", "-DCMAKE_CUDA_ARCHITECTURES=native",
    "-DCMAKE_BUILD_RPATH_USE_ORIGIN=ON", "-DLLAMA_BUILD_COMMON=OFF", "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_TOOLS=OFF", "-DLLAMA_BUILD_EXAMPLES=OFF", "-DLLAMA_BUILD_SERVER=OFF", "-DLLAMA_BUILD_APP=OFF",
)  # fmt: skip


class Short(Exception):  # noqa: N818  no error: a figure that falls short of what was asked
    """Said as the step's line."""


def skip(why: str) -> NoReturn:
    print(why)
    sys.exit(77)


def say(command: Iterable[str]) -> None:
    """Run a command; all that it prints goes to the log of the step."""
    subprocess.run([*command], stdout=sys.stderr, check=True)


def measured(work: Path, name: str, *words: str) -> Rows:
    """The rows of ``phibench run``; a row that failed is what falls short."""
    done = subprocess.run(
        ["phibench", "run", *words, *CARD, "-o", "json"], stdout=subprocess.PIPE, check=False, cwd=work
    )
    if done.returncode not in (0, 1):
        raise Short(f"phibench run left with exit code {done.returncode}")
    rows: Rows = json.loads(done.stdout)
    for row in rows:
        if row["status"] != "ok":
            raise Short(f"{row['test']}: {row['reason']}")
        if not ON_CARD.search(row["placement"]):
            raise Short(f"{row['test']} ran elsewhere: {row['placement']}")
    (work / f"{name}.json").write_bytes(done.stdout)
    return rows


# ------------------------------------------------------------------------------------------------ what is needed


def site(work: Path, deps: Path) -> str:
    """Packages that are not here, from wheels that were brought along."""
    if not deps.is_dir():
        skip(f"there is no folder {deps.name}: make gpu-proof-deps fills it where there is a network")
    missing = [wheel for wheel in sorted((deps / "wheels").glob("*.whl")) if not here(wheel.name.split("-")[0])]
    if missing:
        pip = ["-m", "pip", "install", "-q", "--no-index", "--no-deps", "--no-compile", "--target", str(work / "site")]
        say([sys.executable, *pip, *map(str, missing)])
    return f"{len(missing)} packages brought along"


def here(package: str) -> bool:
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def build(work: Path, deps: Path) -> str:
    """libllama with its CUDA backend, for the architecture of this card alone, beside its Python module."""
    sources = deps / "sources.tar.xz"
    if not sources.exists():
        skip(f"there is no {sources.name} in {deps.name}: make gpu-proof-deps")
    if missing := [tool for tool in ("cmake", "nvcc") if shutil.which(tool) is None]:
        skip(f"there is no {' and no '.join(missing)} here")
    with tarfile.open(sources) as tar:
        tar.extractall(work / "sources", filter="data")
    ninja = ["-G", "Ninja"] if shutil.which("ninja") else []
    flags, notes = cuda_flags(toolkit())
    place, jobs = str(work / "build"), str(len(os.sched_getaffinity(0)))
    say(["cmake", *ninja, "-S", str(work / "sources" / "llama.cpp"), "-B", place, *CMAKE, *flags])
    say(["cmake", "--build", place, "--target", "llama", "-j", jobs])
    module = work / "site" / "llama_cpp"
    for folder in (work / "sources").iterdir():
        if folder.name.startswith("llama_cpp"):
            shutil.copytree(folder, work / "site" / folder.name, dirs_exist_ok=True)
    (module / "lib").mkdir(exist_ok=True)
    libraries = list(Path(place, "bin").glob("lib*.so*"))
    if not any("ggml-cuda" in path.name for path in libraries):
        raise Short("the build made no CUDA backend")
    for path in libraries:
        shutil.copy2(path, module / "lib", follow_symlinks=False)
    return f"llama.cpp with CUDA on {jobs} cores{notes}"


def toolkit() -> Path:
    """CUDA's folder: where nvcc says that it is."""
    said = subprocess.run(["nvcc", "--dryrun", "-x", "cu", os.devnull], capture_output=True, text=True, check=False)
    found = re.search(r"^#\$ TOP=(.+)$", said.stderr, flags=re.MULTILINE)
    return Path(os.path.realpath(found[1].strip())) if found else Path("/usr/local/cuda")


def cuda_flags(cuda: Path, packages: Path | None = None) -> tuple[list[str], str]:
    """What CMake must be told where CUDA's folder has less than all of it; and a note of what was done without.

    cuBLAS may lie in a package of Python's instead, as torch brings it; without the driver's stub llama.cpp can be
    built without its pool of virtual memory.
    """
    packages = packages or Path(sysconfig.get_path("purelib"))
    flags, notes = [], ""
    if not any(cuda.glob("**/cublas_v2.h")):
        header = next(iter(sorted(packages.glob("nvidia/*/include/cublas_v2.h"))), None)
        if header is None:
            skip("there is no cuBLAS to compile with, neither CUDA's nor torch's")
        folder = header.parent.parent
        library = {name: next(iter(folder.glob(f"lib/lib{name}.so*")), "") for name in ("cublas", "cublasLt")}
        flags += [f"-DCMAKE_{language}_FLAGS=-I{header.parent}" for language in ("CUDA", "CXX")]
        flags += [f"-DCUDA_{name}_LIBRARY={path}" for name, path in library.items()]
        notes += ", cuBLAS of torch"
    if not any(cuda.glob("**/stubs/libcuda.so")):
        flags.append("-DGGML_CUDA_NO_VMM=ON")
        notes += ", without virtual memory pool"
    return flags, notes


# ----------------------------------------------------------------------------------------------------- on the card


def speed(work: Path, backend: str, quantization: str) -> str:
    """Prefill and decode, and where the model was in the engine's own words."""
    tests = ("-p", "512", "-n", "128", "-r", "3")
    rows = measured(work, backend, "latency", *MODEL, "-b", backend, "-q", quantization, *tests)
    told = [f"{row['test']} {row['prefill_tps'] or row['decode_tps']:.0f} tok/s" for row in rows]
    return f"{', '.join(told)}; {rows[0]['placement']}"


def onnxruntime(work: Path) -> str:
    found = subprocess.run(
        [sys.executable, "-c", "from phibench.backends import onnxruntime as o; print(*o.devices())"],
        stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    if "cuda:0" not in found.stdout.split():
        skip("onnxruntime-genai is not here with a CUDA execution provider")
    return speed(work, "onnxruntime", "int4")


def memory(work: Path) -> str:
    """NVML's peak holds what the engine says that it has on the card."""
    rows = measured(work, "memory", "memory", "--quick", *MODEL, "-b", "llama_cpp")
    told = []
    for row in rows:
        own = sum(size for use, size in row["buffers"].items() if "CUDA" in use)
        peak = row["device_peak_bytes"]
        if not own or peak is None or peak < own:
            raise Short(f"{row['test']}: NVML saw {peak} bytes, the engine has {own} on the card")
        told.append(f"{row['test']} {peak / 2**30:.2f} GiB by NVML, {own / 2**30:.2f} by the engine")
    return "; ".join(told)


def energy(work: Path) -> str:
    rows = measured(work, "energy", "energy", "--quick", "--seconds", "6", *MODEL, "-b", "llama_cpp")
    told = []
    for row in rows:
        joules = row["prefill_j_per_token"] or row["decode_j_per_token"]
        boards = {one["method"] for one in row["energy"] if one["scope"] == "gpu_board" and one.get("joules")}
        if not joules or not boards:
            raise Short(f"{row['test']}: no joules of the card")
        told.append(f"{row['test']} {joules:.4f} J a token ({', '.join(sorted(boards))})")
    return ", ".join(told)


def batches(work: Path) -> str:
    """32 sequences at once give more tokens than one."""
    asked = ",".join(map(str, BATCHES))
    rows = measured(work, "batches", "throughput", *MODEL, "-b", "llama_cpp", "--batches", asked, "-r", "2")
    speeds = {row["batch"]: row["decode_tps"] for row in rows}
    if set(speeds) != set(BATCHES) or speeds[BATCHES[-1]] <= speeds[1]:
        raise Short(f"decode by batch: {speeds}")
    return "decode tok/s by batch: " + ", ".join(f"{batch}: {tps:.0f}" for batch, tps in sorted(speeds.items()))


def offload(work: Path) -> str:
    """As many layers as were asked for are on the card, and more of them are faster."""
    asked = ",".join(map(str, OFFLOADS))
    tests = ("-p", "0", "-n", "16", "-r", "2")
    rows = measured(work, "offload", "latency", *MODEL, "-b", "llama_cpp", "-ngl", asked, *tests)
    speeds = {}
    for row in rows:
        layers = int(row["options"]["n_gpu_layers"])
        if not re.search(rf"\b{layers}/\d+ layers on GPU", row["placement"]):
            raise Short(f"asked for {layers} layers: {row['placement']}")
        speeds[layers] = row["decode_tps"]
    if [*speeds] != [*OFFLOADS] or sorted(speeds.values()) != [*speeds.values()]:
        raise Short(f"decode by layers on the card: {speeds}")
    return "decode tok/s by layers on the card: " + ", ".join(f"{layers}: {tps:.0f}" for layers, tps in speeds.items())


def prediction(work: Path) -> str:
    """What the data sheet foretells of llama.cpp's decode holds what was measured."""
    if not (work / "llama_cpp.json").exists():
        skip("llama.cpp was not measured")
    machine, nothing = str(work / "machine.json"), {**os.environ, "PHIBENCH_RESULTS": str(work / "nothing")}
    say(["phibench", "probe", "--quick", "--save", machine])
    done = subprocess.run(
        ["phibench", "recommend", "--machine", machine, "--top", "all", "-o", "json"],
        stdout=subprocess.PIPE, check=False, cwd=work, env=nothing,
    )  # fmt: skip
    rows: Rows = json.loads((work / "llama_cpp.json").read_bytes())
    row = next(row for row in rows if row["decode_tps"])
    candidates = json.loads(done.stdout)["candidates"]
    estimates: dict[str, Any] = next((one["estimates"] for one in candidates if one["setup"] == row["setup"]), {})
    told = estimates.get("decode_tps")
    if told is None or told["value"] is None:
        raise Short(f"nothing is foretold of {row['setup']}")
    line = f"decode {row['decode_tps']:.0f} tok/s, foretold {told['low']:.0f} to {told['high']:.0f} ({told['basis']})"
    if not told["low"] <= row["decode_tps"] <= told["high"]:
        raise Short(line)
    return line


def page(work: Path, path: Path, card: str, date: str) -> str:
    """Append what the steps said, in one section, to the page; whole or not at all."""
    steps = (work / "steps.tsv").read_text(encoding="utf-8").splitlines()
    rows = [f"| {' | '.join(cell.replace('|', '/') for cell in line.split(chr(9)))} |" for line in steps]
    text = path.read_text(encoding="utf-8") if path.exists() else "# On an NVIDIA card\n"
    table = ["| step | holds | seconds | what it said |", "|---|---|---:|---|", *rows]
    beside = path.with_name(f".{path.name}.part")
    beside.write_text("\n".join([text.rstrip("\n"), "", f"## {card}, {date}", "", *table]) + "\n", encoding="utf-8")
    beside.replace(path)
    return f"appended to {path.name}"


STEPS: dict[str, Callable[..., str]] = {
    "site": site, "build": build, "memory": memory, "energy": energy, "batches": batches, "offload": offload,
    "prediction": prediction, "onnxruntime": onnxruntime, "page": page,
    "llama_cpp": functools.partial(speed, backend="llama_cpp", quantization="Q4_K_M"),
    "torch": functools.partial(speed, backend="torch", quantization="bf16"),
}  # fmt: skip


def main() -> int:
    name, work, *more = sys.argv[1:]
    places = [Path(word) for word in more[:1]]
    try:
        print(STEPS[name](Path(work), *places, *more[1:]))
    except Short as short:
        print(short)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
