"""Is torch through phibench at least as fast as ``model.generate``, and how near to the memory's limit?

    python benchmarks/torch_decode.py                       Phi-4-mini bf16 at its full size
    python benchmarks/torch_decode.py -q int8 --layers 8    phibench alone: transformers has no such modules
    python benchmarks/torch_decode.py --profile             where the time of a decode step goes

One process, one set of weights, interleaved rounds: the memory's read bandwidth, plain ``generate``, ``generate`` with
oneDNN off after the first token, phibench. The order turns. Ratios are of medians over rounds.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from typing import Any

from phibench import catalog
from phibench.backends import torch as backend
from phibench.catalog.plans import plan
from phibench.catalog.plans.base import Plan
from phibench.core import stats
from phibench.core.errors import PhibenchError
from phibench.core.nouns import Job, Setup, Suite, Workload
from phibench.measure import timing
from phibench.probe.speed import memory
from phibench.probe.system import cpu, limits
from phibench.synth.artifacts import artifact

Times = list[float]  # arrival of each token, seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variant", default="phi-4-mini-instruct")
    parser.add_argument("-q", "--quant", default="bf16")
    parser.add_argument("--layers", type=int)
    parser.add_argument("--threads", type=int, default=limits.limits().threads)
    parser.add_argument("-p", "--prompt", type=int, default=128)
    parser.add_argument("-n", "--new", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--profile", action="store_true")
    args = parser.parse_args()
    wanted = plan(catalog.variant(args.variant), args.quant, args.layers, fmt="torch")
    setup = Setup(variant=args.variant, quantization=args.quant, backend="torch")
    suite = Suite(name="decode", question="?", metrics=())
    job = Job(setup=setup, suite=suite, workloads=(), artifact=artifact(wanted, ""), threads=args.threads)
    began = time.perf_counter()
    with backend.session(job) as session:
        print(f"opened in {time.perf_counter() - began:.1f} s, {peak_mib()} MiB at most", file=sys.stderr)
        workload = Workload(prompt_tokens=args.prompt, new_tokens=args.new)
        timing.once(session, Workload(prompt_tokens=args.prompt, new_tokens=2))
        print(f"{peak_mib()} MiB with a prompt", file=sys.stderr)
        if args.profile:
            print(profile(session))
        else:
            print(report(interleaved(ways_of(session, workload, args.quant), args), wanted, args))


def ways_of(session: Any, workload: Workload, quantization: str) -> dict[str, Callable[[], Times]]:
    """Everything that makes tokens with these weights."""
    if quantization in ("int8", "int4"):
        return {"phibench": lambda: list(timing.once(session, workload).arrivals_s)}
    model = plain(session, quantization)
    return {
        "generate": lambda: generate(model, workload, onednn=True),
        "generate, oneDNN off in decode": lambda: generate(model, workload, onednn=False),
        "phibench": lambda: list(timing.once(session, workload).arrivals_s),
    }


def plain(session: Any, quantization: str) -> Any:
    """transformers' untouched modules on the session's weights; what phibench holds in pieces is copied."""
    from phibench.backends.torch import build
    from phibench.backends.torch.linear import SplitLinear
    from phibench.catalog.plans import hf_config

    ours = session._model  # noqa: SLF001
    shape = catalog.variant(session._job.setup.variant).shape  # noqa: SLF001
    assert shape is not None
    model = build.empty(hf_config.config(shape, ours.config.num_hidden_layers), quantization, "elsewhere")
    pieces = {f"{name}.weight": m for name, m in ours.named_modules() if isinstance(m, SplitLinear)}
    weights = {name: m.whole() for name, m in pieces.items()}
    model.load_state_dict({**ours.state_dict(), **weights}, assign=True)
    model.tie_weights()
    return model


def generate(model: Any, workload: Workload, *, onednn: bool) -> Times:
    """transformers' greedy ``generate``; tokens are timed as its streamer gets them."""
    import torch

    class Clock:
        def __init__(self) -> None:
            self.times: Times = []
            self.prompt = True

        def put(self, _: Any) -> None:
            if self.prompt:
                self.prompt = False
                return
            self.times.append(time.perf_counter() - start)
            torch.backends.mkldnn.set_flags(_enabled=onednn)

        def end(self) -> None:
            pass

    clock = Clock()
    ids = torch.randint(model.config.vocab_size, (1, workload.prompt_tokens))
    start = time.perf_counter()
    model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=workload.new_tokens,
                   min_new_tokens=workload.new_tokens, do_sample=False, eos_token_id=None, streamer=clock)  # fmt: skip
    torch.backends.mkldnn.set_flags(_enabled=True)
    return clock.times


def interleaved(ways: dict[str, Callable[[], Times]], args: argparse.Namespace) -> list[dict[str, Any]]:
    """Round after round, each way once, in an order that turns, the read bandwidth before and after each round."""
    names, rounds = list(ways), []
    for number in range(args.rounds):
        turn = number % len(names)
        found: dict[str, Any] = {"read": bandwidth(args.threads)}
        found |= {name: ways[name]() for name in names[turn:] + names[:turn]}
        found["read"] = stats.median([found["read"], bandwidth(args.threads)])
        rounds.append(found)
        said = ", ".join(f"{name} {rate(found[name]):.2f} tok/s" for name in names)
        print(f"round {number + 1}: read {found['read'] / 1e9:.1f} GB/s, {said}", file=sys.stderr, flush=True)
    return rounds


def bandwidth(threads: int) -> float:
    """Read bandwidth of this machine at this moment, bytes per second."""
    usable = limits.limits()
    found = memory.read_bandwidth(1.0, threads, free_bytes=usable.free_bytes, cache_bytes=cpu.cpu().cache_bytes)
    if found.read_bytes_s is None:
        raise PhibenchError(found.because)
    return found.read_bytes_s


def rate(arrivals: Times) -> float:
    """Tokens per second after the first."""
    return (len(arrivals) - 1) / (arrivals[-1] - arrivals[0])


def report(rounds: list[dict[str, Any]], wanted: Plan, args: argparse.Namespace) -> str:
    """Markdown: each way's prefill and decode, against generate, and the share of the bandwidth that decode reads."""
    read = stats.median([found["read"] for found in rounds])
    first = next(name for name in rounds[0] if name != "read")
    speeds = {
        name: (stats.median([args.prompt / found[name][0] for found in rounds]),
               stats.median([rate(found[name]) for found in rounds]),
               stats.median([rate(found[name]) * wanted.read_bytes_per_token / found["read"] for found in rounds]))
        for name in rounds[0] if name != "read"
    }  # fmt: skip
    lines = [
        f"{wanted.variant} {wanted.quantization}, {wanted.layers} layers, {args.threads} threads, pp{args.prompt}"
        f"+tg{args.new}, {len(rounds)} rounds; {wanted.read_bytes_per_token / 1e9:.2f} GB a token, read bandwidth "
        f"{read / 1e9:.1f} GB/s (median)",
        "",
        f"| way | prefill tok/s | / {first} | decode tok/s | / {first} | of the read bandwidth |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for name, (prefill, decode, share) in speeds.items():
        lines.append(f"| {name} | {prefill:.1f} | {prefill / speeds[first][0]:.2f} | {decode:.2f} | "
                     f"{decode / speeds[first][1]:.2f} | {share:.0%} |")  # fmt: skip
    return "\n".join(lines)


def profile(session: Any) -> str:
    """The operators of decode steps by their share of time."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as recorder

    session.begin(Workload(prompt_tokens=128, new_tokens=8))
    session.prefill(128)
    with recorder(activities=[ProfilerActivity.CPU]) as seen:
        began = time.perf_counter()
        for _ in range(4):
            session.step()
        took = time.perf_counter() - began
    rows = sorted(seen.key_averages(), key=lambda row: -row.self_cpu_time_total)[:14]
    lines = ["| operator | share of a step | calls a step | ms a step |", "|---|--:|--:|--:|"]
    for row in rows:
        own_s = row.self_cpu_time_total * 1e-6
        lines.append(f"| {row.key} | {own_s / took:.1%} | {row.count / 4:.0f} | {own_s / 4 * 1e3:.2f} |")
    return "\n".join(lines)


def peak_mib() -> int:
    """Most memory that this process had resident."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    try:
        main()
    except PhibenchError as error:
        sys.exit(str(error))
