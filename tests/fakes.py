"""A machine, results and runs with scripted arrival times, for tests that need no engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from phibench.core.nouns import (
    Artifact,
    Cause,
    Device,
    Engine,
    Failed,
    Limits,
    Machine,
    Measured,
    Result,
    Run,
    Sample,
    Setup,
    Suite,
    Workload,
)
from phibench.show import formats
from phibench.show import results as show_results

SETUP = Setup(variant="phi-4-mini-instruct", quantization="Q4_K_M", backend="llama_cpp")
LATENCY = ("prefill_tps", "decode_tps", "ttft_s", "tpot_s", "itl_p50_s", "itl_p90_s", "itl_p99_s")
GIB = 1 << 30


def machine(name: str = "somebodys-laptop", cpu: str = "AMD EPYC 9B14", cpus: float = 2.0) -> Machine:
    return Machine(
        name=name,
        os="linux",
        arch="x86_64",
        physical_cores=2,
        logical_cores=2,
        memory_bytes=24 * GIB,
        devices=(Device(kind="cpu", name=cpu, memory_bytes=24 * GIB),),
        limits=Limits(cpus=cpus, threads=2, memory_bytes=24 * GIB, free_bytes=20 * GIB),
    )


def workload(prompt_tokens: int, new_tokens: int, depth: int = 0, batch: int = 1) -> Workload:
    return Workload(prompt_tokens=prompt_tokens, new_tokens=new_tokens, depth=depth, batch=batch)


def sample(work: Workload, step_s: float, prefill_s: float = 1.0) -> Sample:
    """Every token ``step_s`` after the one before; the first after ``prefill_s`` where there is a prompt."""
    first = prefill_s if work.prompt_tokens else step_s
    arrivals = tuple(first + i * step_s for i in range(max(work.new_tokens, 1)))
    return Sample(arrivals_s=arrivals, sampling_s=0.0001 * work.new_tokens)


def measured(
    work: Workload, steps_s: Sequence[float] = (0.1,), setup: Setup = SETUP, launch: int = 0, layers: int | None = None
) -> Measured:
    return Measured(
        setup=setup,
        workload=work,
        artifact=Artifact(
            path=r"C:\Users\somebody\cache\phi.gguf",
            bytes=2_485_601_728,
            weights="synthetic",
            layers=layers,
            parameters=3_836_021_856,
        ),
        threads=2,
        engine=Engine(
            name="llama_cpp",
            version="0.3.36",
            placement="no layers on GPU",
            options={"n_batch": "2048", "n_ubatch": "512", "flash_attn": "on", "type_k": "f16", "n_gpu_layers": "0"},
        ),
        samples=tuple(sample(work, step_s, prefill_s=10 * step_s) for step_s in steps_s),
        launch=launch,
        at="2026-07-01T10:00:00Z",
    )


def failed(
    work: Workload, reason: str = "killed by SIGKILL", setup: Setup = SETUP, launch: int = 0, cause: Cause = "failed",
    why: str = "",
) -> Failed:  # fmt: skip
    return Failed(
        setup=setup, workload=work, reason=reason, cause=cause, why=why, artifact=measured(work).artifact, threads=2,
        launch=launch,
    )  # fmt: skip


def run(
    *results: Result, metrics: tuple[str, ...] = LATENCY, name: str = "latency", started: str = "2026-07-01"
) -> Run:
    return Run(
        id=f"{started}T100000Z",
        started=f"{started}T10:00:00Z",
        suite=Suite(name=name, question="How fast?", metrics=metrics),
        machine=machine(),
        software={"phibench": "0.1.0"},
        conditions={"before_load": "0.10"},
        results=results,
    )


def records(*runs: Run) -> list[dict[str, Any]]:
    """The rows of runs by the keys that programs read."""
    return [formats.flat(row) for row in show_results.rows(runs)]
