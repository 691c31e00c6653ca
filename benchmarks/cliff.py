"""False alarms and power of the search for pauses and steps in a walk of 400 tokens: tables in Markdown.

    python benchmarks/cliff.py [--trials 200] [--recorded]

Flat walks with six kinds of noise, without and with a slow drift, must give at most 10 alarms in 200 trials (pauses
and steps together). Then pauses and steps of known size at random tokens: how many are found, how many within one
token. ``--recorded`` takes the noise of this machine: walks of the null backend with 0.5 ms a token, three drawn for
each trial, most of a core for three minutes.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from phibench.analysis import context_cliff
from phibench.backends import null
from phibench.core.nouns import Artifact, Job, Setup, Suite, Workload
from phibench.measure import timing

Gaps = NDArray[np.float64]
Noise = Callable[[np.random.Generator, int], Gaps]
TOKENS = 400
DEPTH = 3900
REPETITIONS = (2, 3, 5)
_RECORDED = 120  # walks


def _gauss(percent: float) -> Noise:
    return lambda rng, count: np.maximum(0.1, 1 + percent / 100 * rng.standard_normal((count, TOKENS)))


def _lognormal(rng: np.random.Generator, count: int) -> Gaps:
    return rng.lognormal(0, 0.1, (count, TOKENS))


def _heavy(rng: np.random.Generator, count: int) -> Gaps:
    """Student's t with 1.5 degrees of freedom, late only: no finite variance."""
    return 1 + 0.02 * np.abs(rng.standard_t(1.5, (count, TOKENS)))


def _hiccups(rng: np.random.Generator, count: int) -> Gaps:
    """One token in fifty is late by a Pareto(1): now and then a hundred times the median."""
    late = rng.random((count, TOKENS)) < 0.02
    return _gauss(2)(rng, count) + late * rng.pareto(1, (count, TOKENS))


def _bursts(rng: np.random.Generator, count: int) -> Gaps:
    """A neighbour takes a share of the machine for about 20 tokens, about four times in a walk."""
    made = _gauss(2)(rng, count)
    for row in made:
        for _ in range(rng.poisson(4)):
            start = rng.integers(0, TOKENS)
            row[start : start + rng.geometric(1 / 20)] *= 1 + rng.exponential(0.3)
    return made


def _levels(rng: np.random.Generator, count: int) -> Gaps:
    """In each repetition the speed changes once for good, by 10 % up or down, anywhere."""
    made = _gauss(2)(rng, count)
    for row in made:
        row[rng.integers(0, TOKENS) :] *= np.exp(rng.normal(0, 0.1))
    return made


NOISES: dict[str, Noise] = {
    "Gaussian, 2 %": _gauss(2),
    "Gaussian, 5 %": _gauss(5),
    "lognormal, 10 %": _lognormal,
    "heavy tail": _heavy,
    "hiccups": _hiccups,
    "bursts": _bursts,
    "a change of level in each repetition": _levels,
}


def recorded() -> Noise:
    """Walks of this machine, a busy loop of 0.5 ms a token, drawn without replacement."""
    options = (("token_us", "500"),)
    setup = Setup(variant="phi-4-mini-instruct", quantization="Q4_K_M", backend="null", options=options)
    workload = Workload(prompt_tokens=0, new_tokens=TOKENS, depth=DEPTH)
    job = Job(
        setup=setup, suite=Suite(name="cliff", question="What is noise here?", metrics=()), workloads=(workload,),
        artifact=Artifact(path="", bytes=0, weights="synthetic"), threads=1,
    )  # fmt: skip
    with null.session(job) as session:
        walks = context_cliff.gaps(TOKENS, [timing.once(session, workload).arrivals_s for _ in range(_RECORDED)])
    return lambda rng, count: walks[rng.choice(len(walks), count, replace=False)]


def alarms(noise: Noise, repetitions: int, drift: float, trials: int) -> tuple[int, int]:
    """(pauses, steps) found where there are none; ``drift``: how much slower the last token is than the first."""
    rng = np.random.default_rng(1)
    slope = np.linspace(1, 1 + drift, TOKENS)
    walks = [noise(rng, repetitions) * slope for _ in range(trials)]
    pauses = sum(context_cliff.pause(DEPTH, gaps) is not None for gaps in walks)
    return pauses, sum(context_cliff.step(DEPTH, gaps) is not None for gaps in walks)


def found(kind: str, size: float, noise: Noise, repetitions: int, trials: int) -> tuple[int, int]:
    """(found, of these within one token) of planted cliffs: a pause of ``size`` medians, a step by the factor."""
    rng = np.random.default_rng(2)
    hits = near = 0
    for _ in range(trials):
        gaps = noise(rng, repetitions).copy()
        place = int(rng.integers(60, TOKENS - 60))
        late = slice(place, place + 1) if kind == "pause" else slice(place, TOKENS)
        gaps[:, late] *= size
        what = context_cliff.pause(DEPTH, gaps) if kind == "pause" else context_cliff.step(DEPTH, gaps)
        hits += what is not None
        near += what is not None and abs(what.token - (DEPTH + place + 1)) <= 1
    return hits, near


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--recorded", action="store_true", help="the noise of this machine as well")
    args = parser.parse_args()
    noises = {**NOISES, **({"this machine, 0.5 ms a token": recorded()} if args.recorded else {})}
    counts = " | ".join(f"{count} repetitions" for count in REPETITIONS)
    rule = "---|" + "---:|" * len(REPETITIONS)
    print(f"Alarms (pauses + steps) in {args.trials} trials without either:\n\n| noise | {counts} |\n|{rule}")
    for name, noise in noises.items():
        for drift, said in ((0.0, ""), (0.1, ", drift of 10 %")):
            cells = [alarms(noise, count, drift, args.trials) for count in REPETITIONS]
            print(f"| {name}{said} | {' | '.join(f'{pauses} + {steps}' for pauses, steps in cells)} |", flush=True)
    print(f"\nFound (within one token) of {args.trials} planted:\n\n| planted | noise | {counts} |\n|---|{rule}")
    sizes = [
        ("pause", 2.5),
        ("pause", 3.0),
        ("pause", 10.0),
        ("step", 1.03),
        ("step", 1.05),
        ("step", 1.1),
        ("step", 1.3),
    ]
    for kind, size in sizes:
        for name, noise in noises.items():
            cells = [found(kind, size, noise, count, args.trials) for count in REPETITIONS]
            what = f"pause of {size:g} gaps" if kind == "pause" else f"step of {100 * (size - 1):.0f} %"
            print(f"| {what} | {name} | {' | '.join(f'{hits} ({near})' for hits, near in cells)} |", flush=True)


if __name__ == "__main__":
    main()
