"""``make proof-gpu`` without a card: its steps with fake commands on the PATH. None of it ran on hardware."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(os.name == "nt", reason="a shell script")
ROOT = Path(__file__).parents[2]
SCRIPT = ("bash", str(ROOT / "benchmarks" / "gpu_proof.sh"))
SMI = "#!/bin/sh\necho 'NVIDIA H200, 580.159.03'\n"
NVCC = "#!/bin/sh\necho '#$ TOP={cuda}/bin/..' >&2\n"
CMAKE = """#!/bin/sh
echo "$@" >>"$FAKE_SAID"
[ "$1" = --build ] || exit 0
[ -z "$FAKE_BROKEN" ] || { echo "error: no such kernel" >&2; exit 2; }
mkdir -p "$2/bin" && touch "$2/bin/libllama.so" "$2/bin/libggml-cuda.so"
"""
PHIBENCH = """#!/bin/sh
echo phibench "$@" >>"$FAKE_SAID"
name=$2
case "$*" in
    recommend*) name=recommend ;;
    *-ngl*) name=offload ;;
    *latency*torch*) name=torch ;;
    *latency*) name=llama_cpp ;;
esac
[ "$name" != "$FAKE_HANGS" ] || exec sleep 600
[ ! -e "$FAKE_ROWS/$name.json" ] || cat "$FAKE_ROWS/$name.json"
"""


def row(test: str, **more: Any) -> dict[str, Any]:
    known = {"setup": "phi-4-mini-instruct:Q4_K_M@llama_cpp/cuda:0", "test": test, "status": "ok", "reason": None,
             "placement": "33/33 layers on GPU; model CUDA0 2300 MiB", "prefill_tps": None, "decode_tps": None,
             "prefill_j_per_token": None, "decode_j_per_token": None}  # fmt: skip
    return {**known, **more}


def foretold(low: float, high: float) -> dict[str, Any]:
    speed = {"value": (low * high) ** 0.5, "low": low, "high": high, "basis": "spec"}
    return {"candidates": [{"setup": row("")["setup"], "estimates": {"decode_tps": speed}}]}


def told() -> dict[str, Any]:
    """What a card might give."""
    boards = [{"scope": "gpu_board", "method": "counter", "joules": 900.0}]
    return {
        "recommend": foretold(300.0, 500.0),
        "llama_cpp": [row("pp512", prefill_tps=20000.0), row("tg128", decode_tps=350.0)],
        "torch": [row("tg128", decode_tps=90.0, placement="all 195 tensors on cuda:0")],
        "memory": [row("pp64+tg4", buffers={"weights CUDA0": 2 << 30, "logits": 1}, device_peak_bytes=3 << 30)],
        "throughput": [row("pp128+tg32", batch=b, decode_tps=300.0 * b**0.5) for b in (1, 2, 4, 8, 16, 32)],
        "offload": [
            row("tg16", decode_tps=float(n), options={"n_gpu_layers": str(n)}, placement=f"{n}/33 layers on GPU; CUDA0")
            for n in (8, 16, 24)
        ],
        "energy": [row("tg32", decode_j_per_token=0.9, energy=boards)],
    }


Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs words on a machine of fake commands; ``without``: one that is not there, ``rows``: what phibench prints."""
    cuda = tmp_path / "cuda"
    for name in ("bin/", "include/cublas_v2.h", "lib64/stubs/libcuda.so"):
        (cuda / name).parent.mkdir(parents=True, exist_ok=True)
        (cuda / name).touch()
    brought(tmp_path / "deps")
    for name in ("bin", "rows", "work/site"):
        (tmp_path / name).mkdir(parents=True)
    texts = {"nvidia-smi": SMI, "nvcc": NVCC.format(cuda=cuda), "cmake": CMAKE, "phibench": PHIBENCH}

    def call(
        *words: str, rows: dict[str, Any] | None = None, without: str = "", **more: str
    ) -> subprocess.CompletedProcess[str]:
        for name, text in texts.items():
            if name == without:
                (tmp_path / "bin" / name).unlink(missing_ok=True)
            else:
                (tmp_path / "bin" / name).write_text(text, encoding="utf-8")
                (tmp_path / "bin" / name).chmod(0o755)
        for name, content in (told() | (rows or {})).items():
            (tmp_path / "rows" / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
        own = {"PYTHON": sys.executable, "GPU_PROOF_DEPS": str(tmp_path / "deps"), "TMPDIR": str(tmp_path),
               "GPU_PROOF_PAGE": str(tmp_path / "gpu.md"), "FAKE_SAID": str(tmp_path / "said"),
               "FAKE_ROWS": str(tmp_path / "rows")}  # fmt: skip
        env = {**os.environ, "PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin", **own, **more}
        return subprocess.run(words, env=env, capture_output=True, text=True, check=False)

    return call


def step(run: Run, tmp_path: Path, name: str, *words: str, **more: Any) -> subprocess.CompletedProcess[str]:
    """One step alone, as the script calls it."""
    program = str(ROOT / "benchmarks" / "gpu_proof.py")
    return run(sys.executable, program, name, str(tmp_path / "work"), *words, **more)


def brought(folder: Path) -> None:
    """A folder as ``make gpu-proof-deps`` leaves it: sources, and a wheel of a package that is not here."""
    (folder / "wheels").mkdir(parents=True)
    with tarfile.open(folder / "sources.tar.xz", "w:xz") as tar:
        for name in ("llama.cpp/CMakeLists.txt", "llama_cpp/__init__.py", "llama_cpp_python-1.dist-info/METADATA"):
            tar.addfile(tarfile.TarInfo(name), io.BytesIO())
    with zipfile.ZipFile(folder / "wheels" / "nowhere_else-1.0-py3-none-any.whl", "w") as wheel:
        head = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        wheel.writestr("nowhere_else.py", "")
        wheel.writestr("nowhere_else-1.0.dist-info/WHEEL", head)
        name = "Metadata-Version: 2.1\nName: nowhere-else\nVersion: 1.0\n"
        wheel.writestr("nowhere_else-1.0.dist-info/METADATA", name)
        wheel.writestr("nowhere_else-1.0.dist-info/RECORD", "")


def steps(page: Path) -> dict[str, tuple[str, str]]:
    """Step -> (whether it holds, what it said), of the last section."""
    last = page.read_text(encoding="utf-8").split("\n## ")[-1]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in last.splitlines() if line[:1] == "|"]
    return {name: (holds, said) for name, holds, _, said in cells[2:]}


def test_every_step_holds_and_is_appended(run: Run, tmp_path: Path) -> None:
    (tmp_path / "gpu.md").write_text("# Page\n\n## An earlier card, 2020-01-01\n", encoding="utf-8")
    done = run(*SCRIPT)
    assert done.returncode == 0, done.stderr
    line = done.stdout.strip()
    assert line.startswith("gpu: 9 steps hold on NVIDIA H200, driver 580.159.03 in ")
    assert line.endswith(" s, not here: onnxruntime (every step that can run here, within 590 s)")
    text = (tmp_path / "gpu.md").read_text(encoding="utf-8")
    assert text.startswith("# Page\n\n## An earlier card, 2020-01-01\n\n## NVIDIA H200, driver 580.159.03, 20")
    found = steps(tmp_path / "gpu.md")
    assert [*found] == ["site", "build", "llama_cpp", "prediction", "memory", "batches", "offload", "torch", "energy",
                        "onnxruntime"]  # fmt: skip
    assert {holds for name, (holds, _) in found.items() if name != "onnxruntime"} == {"yes"}
    assert found["site"][1] == "1 packages brought along"
    assert found["prediction"][1] == "decode 350 tok/s, foretold 300 to 500 (spec)"
    assert found["energy"][1] == "tg32 0.9000 J a token (counter)"
    said = (tmp_path / "said").read_text(encoding="utf-8")
    assert "-DCMAKE_CUDA_ARCHITECTURES=native" in said
    assert "NO_VMM" not in said
    assert all("-dev cuda:0" in line for line in said.splitlines() if line.startswith("phibench run"))
    assert not [*tmp_path.glob("tmp.*")]  # the folder of work is gone


def test_without_a_card_it_says_so(run: Run, tmp_path: Path) -> None:
    done = run(*SCRIPT, without="nvidia-smi")
    assert (done.returncode, done.stderr, done.stdout.count("\n")) == (0, "", 1)
    assert "no NVIDIA card here" in done.stdout
    assert not (tmp_path / "gpu.md").exists()


WRONG: dict[str, tuple[str, dict[str, Any], str]] = {
    "an engine on the cpu": ("torch", {"torch": [row("tg128", decode_tps=9.0, placement="all 195 tensors on cpu")]},
                             "tg128 ran elsewhere: all 195 tensors on cpu"),
    "a test that failed": ("llama_cpp", {"llama_cpp": [row("pp512", status="failed", reason="died of SIGSEGV")]},
                           "pp512: died of SIGSEGV"),
    "less memory than the engine has": (
        "memory", {"memory": [row("pp64", buffers={"weights CUDA0": 9}, device_peak_bytes=8)]},
        "pp64: NVML saw 8 bytes, the engine has 9 on the card"),
    "no memory meter": ("memory", {"memory": [row("pp64", buffers={"weights CUDA0": 9}, device_peak_bytes=None)]},
                        "pp64: NVML saw None bytes, the engine has 9 on the card"),
    "no joules of the card": ("energy", {"energy": [row("tg32", decode_j_per_token=1.0, energy=[])]},
                              "tg32: no joules of the card"),
    "batches that bring nothing": (
        "batches", {"throughput": [row("tg", batch=b, decode_tps=1.0) for b in (1, 2, 4, 8, 16, 32)]},
        "decode by batch: {1: 1.0, 2: 1.0, 4: 1.0, 8: 1.0, 16: 1.0, 32: 1.0}"),
    "layers elsewhere": (
        "offload", {"offload": [row("tg16", decode_tps=1.0, options={"n_gpu_layers": "8"})]},
        "asked for 8 layers: 33/33 layers on GPU; model CUDA0 2300 MiB"),
    "a prediction that misses": (
        "prediction", {"recommend": foretold(4.0, 6.0)},
        "decode 350 tok/s, foretold 4 to 6 (spec)"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_falls_short_is_told(run: Run, tmp_path: Path, case: str) -> None:
    name, rows, says = WRONG[case]
    if name == "prediction":
        assert step(run, tmp_path, "llama_cpp").returncode == 0
    done = step(run, tmp_path, name, rows=rows)
    assert (done.returncode, done.stdout) == (1, f"{says}\n"), done.stderr
    done = step(run, tmp_path, name, rows=told())  # the same step, where all is well
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_build_that_fails_and_a_step_that_hangs_stop_no_other_step(run: Run, tmp_path: Path) -> None:
    done = run(*SCRIPT, FAKE_BROKEN="1", FAKE_HANGS="llama_cpp", GPU_PROOF_LIMIT="15")
    assert done.returncode == 1
    assert "1 steps hold" in done.stdout, done.stderr
    assert ", short: build llama_cpp prediction " in done.stdout
    assert "error: no such kernel" in done.stderr
    found = steps(tmp_path / "gpu.md")
    assert found["build"][0] == "no"
    assert found["llama_cpp"][1].startswith("stopped after ")
    assert found["energy"] == ("no", "no time was left")


def test_what_is_missing_is_said(run: Run, tmp_path: Path) -> None:
    done = step(run, tmp_path, "site", str(tmp_path / "nowhere"))
    assert (done.returncode, done.stdout[:52]) == (77, "there is no folder nowhere: make gpu-proof-deps fill")
    done = step(run, tmp_path, "build", str(tmp_path / "nowhere"))
    assert (done.returncode, done.stdout[:37]) == (77, "there is no sources.tar.xz in nowhere")
    done = step(run, tmp_path, "build", str(tmp_path / "deps"), without="nvcc", PATH=str(tmp_path / "bin"))
    assert (done.returncode, done.stdout) == (77, "there is no nvcc here\n")
    done = step(run, tmp_path, "prediction")
    assert (done.returncode, done.stdout) == (77, "llama.cpp was not measured\n")


def test_cuda_without_cublas_and_stub_is_completed_from_torch(run: Run, tmp_path: Path) -> None:
    (tmp_path / "cuda" / "lib64" / "stubs" / "libcuda.so").unlink()
    (tmp_path / "cuda" / "include" / "cublas_v2.h").unlink()
    code = "import pathlib, sys, gpu_proof as g; print(g.cuda_flags(*map(pathlib.Path, sys.argv[1:])))"
    place = {"PYTHONPATH": str(ROOT / "benchmarks")}
    words = (sys.executable, "-c", code, str(tmp_path / "cuda"), str(tmp_path / "packages"))
    assert run(*words, **place).returncode == 77
    for name in ("include/cublas_v2.h", "lib/libcublas.so.13", "lib/libcublasLt.so.13"):
        file = tmp_path / "packages" / "nvidia" / "cu13" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    done = run(*words, **place)
    assert "-DGGML_CUDA_NO_VMM=ON" in done.stdout
    assert f"-DCUDA_cublasLt_LIBRARY={file}" in done.stdout
    assert "cuBLAS of torch, without virtual memory pool" in done.stdout
