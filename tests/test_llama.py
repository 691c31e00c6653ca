"""llama.cpp beyond the contract of every backend: several sequences at once, its log, its plan, its arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pytest
import tiny
from numpy.typing import NDArray

from phibench import backends, measure
from phibench.errors import PhibenchError
from phibench.llama import log
from phibench.nouns import Artifact, Job, Setup, Suite, Workload
from phibench.synth import gguf

PROMPTS = [[3, 1, 4, 1, 5, 9, 2, 6], [2, 7, 1, 8, 2, 8, 1, 8], [3, 1, 4, 1, 5, 9, 2, 6]]


@pytest.fixture
def llama() -> backends.Backend:
    return backends.require("llama_cpp")


def job(name: str = "phi-4-mini-instruct", layers: int = 2, **options: str) -> Job:
    made: Artifact = gguf.ensure(tiny.tiny(name), "Q4_K_M", layers)
    setup = Setup(variant=name, quantization="Q4_K_M", backend="llama_cpp", options=tuple(sorted(options.items())))
    return Job(
        setup=setup, suite=Suite(name="contract", question="?", metrics=()), workloads=(), artifact=made, threads=1
    )


def answers(session: Any, prompts: Sequence[Sequence[int]], then: Sequence[Sequence[int]]) -> NDArray[np.float32]:
    """Logits, shape (sequences, 1 + steps, vocab): after the prompts, then after each token of ``then``."""
    session.begin(Workload(prompt_tokens=len(prompts[0]), new_tokens=1 + len(then[0]), batch=len(prompts)))
    rows = [list(prompts), *([[token] for token in step] for step in zip(*then, strict=True))]
    found = np.zeros((len(prompts), len(rows), session._vocab), np.float32)
    for place, tokens in enumerate(rows):
        for sequence, logits in session._answers(tokens):
            found[sequence, place] = logits
    return found


@pytest.mark.llama
@pytest.mark.parametrize("name", ["phi-4-mini-instruct", "phi-3.5-moe-instruct"])
@pytest.mark.parametrize("n_batch", ["2048", "5"])  # a batch ends inside a sequence: no sequence may be forgotten
def test_each_of_several_sequences_answers_as_it_would_alone(llama: backends.Backend, name: str, n_batch: str) -> None:
    then = [[5, 3], [7, 1], [5, 3]]
    with llama.session(job(name, n_batch=n_batch)) as session:
        together = answers(session, PROMPTS, then)
        alone = np.stack([session.score(p, t) for p, t in zip(PROMPTS, then, strict=True)])
    scale = np.abs(alone).max()
    assert np.abs(together - alone).max() < 0.05 * scale
    assert np.abs(together[0] - together[2]).max() < 0.05 * scale  # equal prompts
    assert np.abs(together[0] - together[1]).max() > 0.2 * scale  # different ones


@pytest.mark.llama
@pytest.mark.parametrize("depth", [0, 16])
def test_every_sequence_holds_its_depth_its_prompt_and_its_own_tokens(llama: backends.Backend, depth: int) -> None:
    workload = Workload(prompt_tokens=8, new_tokens=3, batch=4, depth=depth)
    with llama.session(job()) as session:
        for _ in range(3):
            sample = measure.once(session, workload)
            memory = session._api.llama_get_memory(session._context)  # type: ignore[attr-defined]
            last = [session._api.llama_memory_seq_pos_max(memory, n) for n in range(4)]  # type: ignore[attr-defined]
            assert last == [depth + 8 + 3 - 2] * 4
            assert len(sample.arrivals_s) == 3
            assert 0 < (sample.sampling_s or 0) < sample.arrivals_s[-1]
        tokens = list(session._tokens)  # type: ignore[attr-defined]
        alone = measure.once(session, msgspec.structs.replace(workload, batch=1))
        assert len(alone.arrivals_s) == 3
    assert len(tokens) == 4
    assert len(set(tokens)) > 1  # of different prompts


@pytest.mark.llama
def test_more_sequences_than_llama_cpp_knows_are_one_clear_error(llama: backends.Backend) -> None:
    with (
        llama.session(job()) as session,
        pytest.raises(PhibenchError, match="at most 256 sequences at once, not 300"),
    ):
        session.begin(Workload(prompt_tokens=1, new_tokens=1, batch=300))


@pytest.mark.llama
def test_the_buffers_of_a_session_are_told_by_use(llama: backends.Backend) -> None:
    with llama.session(job()) as session:
        session.begin(Workload(prompt_tokens=8, new_tokens=3, batch=2))
        said = session.engine.buffers
    assert said.keys() >= {"weights", "kv", "compute", "logits"}
    assert said["kv"] == 2 * 256 * 2 * 2 * 2 * 128 * 2  # sequences, padded, K and V, layers, heads, width, bytes
    assert said["logits"] == pytest.approx(2 * 1024 * 4, abs=6000)  # the log has two digits of a MiB


def test_buffers_of_host_and_device_are_told_apart() -> None:
    said = (
        "load_tensors:   CPU_Mapped model buffer size =   480.81 MiB\n"
        "load_tensors:   CPU_REPACK model buffer size =    10.00 MiB\n"
        "load_tensors:        CUDA0 model buffer size =  2370.00 MiB\n"
        "llama_context:  CUDA_Host  output buffer size =     0.76 MiB\n"
        "llama_kv_cache:      CUDA0 KV buffer size =    64.00 MiB\n"
        "sched_reserve:       CUDA0 compute buffer size =   400.00 MiB\n"
        "sched_reserve:   CUDA_Host compute buffer size =    10.00 MiB\n"
        "llama_kv_cache:      CUDA0 KV buffer size =   128.00 MiB\n"
    )
    mib = 1 << 20
    assert log.by_use(said) == {
        "weights": round(480.81 * mib),
        "copies": 10 * mib,
        "weights CUDA0": 2370 * mib,
        "kv CUDA0": 128 * mib,
        "compute CUDA0": 400 * mib,
        "compute": 10 * mib,
        "logits": round(0.76 * mib),
    }
