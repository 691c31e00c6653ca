"""What loads a model: ``run``, ``calibrate``, ``quickstart``, ``verify``."""

from __future__ import annotations

import sys
from typing import Any, Literal

import click

from phibench.cli import options


@click.command()
@click.option(
    "-b",
    "--backend",
    help="Compare backends (comma list), or all that are installed  [default: llama_cpp, else one that is installed]",
)
@click.option("--before", "part", flag_value="before", help="Only the first advice, which needs no engine.")
@click.option("--after", "part", flag_value="after", help="Skip the first advice, if it was printed already.")
@click.option("--wait", metavar="TIME", default="30s", show_default=True, help="How long to wait for a quiet machine.")
@options.results
def quickstart(backend: str | None, part: Literal["before", "after"] | None, wait: str, results: str | None) -> None:
    """Say which Phi should fit here, measure one, then say what that changed and what to do next."""
    from phibench.cli import quickstart as first
    from phibench.core import folders, units

    wanted = units.names(backend, "--backend") if backend else ()
    sys.exit(first.quickstart(folders.results_dir(results), wanted, part, units.seconds(wait, "--wait")))


_RUN_GROUPS = {
    "What to run": ("n_prompt", "n_gen", "pair", "n_depth", "batches", "context", "seconds", "quick"),
    "On what": ("model", "quant", "backend", "device", "layers"),
    "How": (
        "repetitions", "launches", "threads", "n_gpu_layers", "flash_attn", "cache_type_k", "cache_type_v", "n_ubatch",
        "n_batch", "extra", "force", "resume", "dry_run",
    ),
    "Output": ("results", "output", "out"),
}  # fmt: skip


@click.command(cls=options.Grouped, groups=_RUN_GROUPS)
@click.argument("suite", default="latency")
@click.option(
    "-m",
    "--model",
    default="phi-4-mini-instruct",
    show_default=True,
    help="Variants (comma list), a GGUF file, or a folder with a model for onnxruntime-genai or transformers.",
)
@click.option("-q", "--quant", help="Quantizations (comma list)  [default: Q4_K_M, int4, bf16, by backend]")
@click.option("-b", "--backend", help="Backends (comma list), or all that are installed  [default: llama_cpp]")
@click.option("-dev", "--device", default="cpu", show_default=True, help="Devices (comma list): cpu, cuda:0, ...")
@click.option("-p", "--n-prompt", help="Prompt tokens: 512 or 128,512 or 128-2048*2; 0 skips.")
@click.option("-n", "--n-gen", help="Generated tokens; 0 skips.")
@click.option("-pg", "pair", multiple=True, metavar="PP,TG", help="A prompt and its answer in one test.")
@click.option("-d", "--n-depth", help="Tokens already in the KV cache.")
@click.option("-r", "--repetitions", type=int, help="Timed repetitions of every test.")
@click.option(
    "--launches",
    type=int,
    help="Fresh worker processes per setup; 3 or more give confidence intervals instead of ranges.",
)
@click.option("-t", "--threads", help="Threads [physical cores that this process may use].")
@click.option("-ngl", "--n-gpu-layers", help="Layers on the GPU.")
@click.option("-fa", "--flash-attn", help="on, off or auto.")
@click.option("-ctk", "--cache-type-k", help="Type of the K cache: f16, q8_0, ...")
@click.option("-ctv", "--cache-type-v", help="Type of the V cache.")
@click.option("-ub", "--n-ubatch", help="Micro-batch.")
@click.option("--n-batch", help="Batch (llama-bench's -b).")
@click.option("--batches", help="Equal sequences at once: 1,2,4 ...")
@click.option("--context", help="Size of the KV cache in tokens  [default: what the test needs]")
@click.option("--seconds", type=float, help="Duration of each test in the suites energy and sustained.")
@click.option("--quick", is_flag=True, help="Run a shortened suite; its results are marked 'short'.")
@click.option("--layers", type=int, help="Build the model with only N layers, at full width.")
@options.results
@click.option("--resume", is_flag=True, help="Resume the latest run of the same suite.")
@click.option("--dry-run", is_flag=True, help="Estimate time, disk and memory of each setup; run nothing.")
@click.option("--force", is_flag=True, help="Run even if it does not fit into memory or fails its self-test.")
@click.option("--backend-option", "extra", multiple=True, metavar="KEY=VALUE", help="Any other option of the backend.")
@options.output
def run(**flags: Any) -> None:
    """Run SUITE over setups: latency, throughput, memory, energy, sustained, load, context, quick, a .toml file, or
    all (the first five, on every backend)."""
    from phibench.cli.request import request_from
    from phibench.cli.run import run_request

    output, out = flags["output"], flags["out"]
    request = request_from(flags)
    sys.exit(run_request(request, output, write_out=lambda text: options.emit(text, out), width=options.width(out)))


@click.command()
@click.option("--budget", default="120s", show_default=True, help="Total time; a shorter one measures less.")
@click.option("-b", "--backend", help="Backends (comma list).  [default: all that are installed]")
@click.option(
    "-m", "--model", help="Variants (comma list) whose slices are measured  [default: phi-3.5-mini, phi-4-mini]"
)
@options.results
@click.option("--resume", is_flag=True, help="Resume the latest calibration.")
@click.option("--dry-run", is_flag=True, help="List what would be measured, with times; measure nothing.")
@options.output
def calibrate(
    budget: str, backend: str | None, model: str | None, results: str | None, resume: bool, dry_run: bool,
    output: str, out: str | None,
) -> None:  # fmt: skip
    """Measure how fast each tensor type is here, in two minutes, so that every Phi can be predicted."""
    from phibench.cli import calibrate as command
    from phibench.core import units

    engines = units.names(backend, "--backend") if backend else ()
    variants = units.names(model, "--model") if model else ()
    code = command.calibrate(
        command.budget(budget), engines, variants, results, resume=resume, dry=dry_run, output=output,
        write_out=lambda text: options.emit(text, out), width=options.width(out),
    )  # fmt: skip
    sys.exit(code)


@click.command()
@click.argument("variant", required=False)
@click.option("-m", "--model", "models", multiple=True, metavar="FILE", help="Files of one model, to be compared.")
@click.option("-b", "--backend", help="Backends (comma list).  [default: all that are installed]")
@click.option("-q", "--quant", help="Quantizations (comma list).")
@click.option("-dev", "--device", default="cpu", show_default=True, help="cpu, cuda:0, ...")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of weights and prompts.")
@options.output
def verify(
    variant: str | None, models: tuple[str, ...], backend: str | None, quant: str | None, device: str, seed: int,
    output: str, out: str | None,
) -> None:  # fmt: skip
    """Check that all backends and precisions give the same answers."""
    from phibench.cli import verify as command

    asked = (variant, models, backend, quant, device, seed, output)
    sys.exit(command.verify(*asked, write_out=lambda text: options.emit(text, out), width=options.width(out)))
