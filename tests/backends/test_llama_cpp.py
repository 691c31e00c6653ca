"""llama.cpp beyond the contract of every backend: several sequences at once, its log, its plan, its arithmetic."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import tiny
from numpy.typing import NDArray

from phibench import backends, catalog
from phibench.backends import contract, llama_cpp
from phibench.backends.llama_cpp import log, memory
from phibench.backends.llama_cpp import plan as llama_plan
from phibench.backends.llama_cpp.plan import planned
from phibench.catalog import plans
from phibench.core.errors import PhibenchError
from phibench.core.nouns import Artifact, Job, Setup, Suite, Workload
from phibench.measure import timing
from phibench.synth import gguf

PROMPTS = [[3, 1, 4, 1, 5, 9, 2, 6], [2, 7, 1, 8, 2, 8, 1, 8], [3, 1, 4, 1, 5, 9, 2, 6]]


@pytest.fixture
def llama() -> contract.Backend:
    return backends.require("llama_cpp")


def job(name: str = "phi-4-mini-instruct", made: Artifact | None = None, options: dict[str, str] | None = None) -> Job:
    made, given = made or gguf.ensure(tiny.tiny(name), "Q4_K_M", 2), tuple(sorted((options or {}).items()))
    setup = Setup(variant=name, quantization="Q4_K_M", backend="llama_cpp", options=given)
    suite = Suite(name="contract", question="?", metrics=())
    return Job(setup=setup, suite=suite, workloads=(), artifact=made, threads=1)


def answers(session: Any, prompts: Sequence[Sequence[int]], then: Sequence[Sequence[int]]) -> NDArray[np.float32]:
    """Logits, shape (sequences, 1 + steps, vocab): after the prompts, then after each token of ``then``."""
    session.begin(Workload(prompt_tokens=len(prompts[0]), new_tokens=1 + len(then[0]), batch=len(prompts)))
    rows = [list(prompts), *([[token] for token in step] for step in zip(*then, strict=True))]
    found = np.zeros((len(prompts), len(rows), session._vocab), np.float32)
    for place, tokens in enumerate(rows):
        for sequence, logits in session._answers(tokens):
            found[sequence, place] = logits
    return found


@pytest.mark.engine("llama_cpp")
@pytest.mark.parametrize("name", ["phi-4-mini-instruct", "phi-3.5-moe-instruct"])
@pytest.mark.parametrize("n_batch", ["2048", "5"])  # a batch ends inside a sequence: no sequence may be forgotten
def test_each_of_several_sequences_answers_as_it_would_alone(llama: contract.Backend, name: str, n_batch: str) -> None:
    then = [[5, 3], [7, 1], [5, 3]]
    with llama.session(job(name, options={"n_batch": n_batch})) as session:
        together = answers(session, PROMPTS, then)
        alone = np.stack([session.score(p, t) for p, t in zip(PROMPTS, then, strict=True)])
    scale = np.abs(alone).max()
    assert np.abs(together - alone).max() < 0.05 * scale
    assert np.abs(together[0] - together[2]).max() < 0.05 * scale  # equal prompts
    assert np.abs(together[0] - together[1]).max() > 0.2 * scale  # different ones


@pytest.mark.engine("llama_cpp")
@pytest.mark.parametrize("depth", [0, 16])
def test_every_sequence_holds_its_depth_its_prompt_and_its_own_tokens(llama: contract.Backend, depth: int) -> None:
    workload = Workload(prompt_tokens=8, new_tokens=3, batch=4, depth=depth)
    with llama.session(job()) as session:
        for _ in range(3):
            sample = timing.once(session, workload)
            memory = session._api.llama_get_memory(session._context)  # type: ignore[attr-defined]
            last = [session._api.llama_memory_seq_pos_max(memory, n) for n in range(4)]  # type: ignore[attr-defined]
            assert last == [depth + 8 + 3 - 2] * 4
            assert len(sample.arrivals_s) == 3
            assert 0 < (sample.sampling_s or 0) < sample.arrivals_s[-1]
        tokens = list(session._tokens)  # type: ignore[attr-defined]
        alone = timing.once(session, msgspec.structs.replace(workload, batch=1))
        assert len(alone.arrivals_s) == 3
    assert len(tokens) == 4
    assert len(set(tokens)) > 1  # of different prompts


@pytest.mark.engine("llama_cpp")
def test_every_sequence_goes_on_with_its_own_choice(llama: contract.Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[list[int]]] = []
    best: dict[int, int] = {}
    with llama.session(job()) as session:
        answer = session._answers  # type: ignore[attr-defined]

        def watched(rows: list[list[int]]) -> Iterator[tuple[int, NDArray[np.float32]]]:
            asked.append(rows)
            for sequence, logits in answer(rows):
                best[sequence] = int(logits.argmax())
                yield sequence, logits

        monkeypatch.setattr(session, "_answers", watched)
        session.begin(Workload(prompt_tokens=8, new_tokens=3, batch=3))
        session.prefill(8)
        for _ in range(2):
            chosen = [[best[sequence]] for sequence in range(3)]
            session.step()
            assert asked[-1] == chosen


@pytest.mark.engine("llama_cpp")
def test_more_sequences_than_llama_cpp_knows_are_one_clear_error(llama: contract.Backend) -> None:
    with (
        llama.session(job()) as session,
        pytest.raises(PhibenchError, match="at most 256 sequences at once, not 300"),
    ):
        session.begin(Workload(prompt_tokens=1, new_tokens=1, batch=300))


@pytest.mark.engine("llama_cpp")
def test_the_buffers_of_a_session_are_told_by_use(llama: contract.Backend) -> None:
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
        "load_tensors:          AMX model buffer size =  1377.00 MiB\n"
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
        "copies": 1387 * mib,
        "weights CUDA0": 2370 * mib,
        "kv CUDA0": 128 * mib,
        "compute CUDA0": 400 * mib,
        "compute": 10 * mib,
        "logits": round(0.76 * mib),
    }


@pytest.mark.engine("llama_cpp")
@pytest.mark.parametrize("name", ["phi-4-mini-instruct", "phi-4", "phi-2", "phi-3.5-moe-instruct"])
def test_the_plan_of_a_header_is_what_llama_cpp_then_makes(llama: contract.Backend, name: str) -> None:
    variant, workload = tiny.tiny(name), Workload(prompt_tokens=100, new_tokens=30, batch=3, room=300)
    options = {"type_k": "f32", "n_ubatch": "64"}
    told = planned(plans.plan(variant, "Q4_K_M", 2, fmt="gguf"), workload, {**llama.DEFAULTS, **options})
    with llama.session(job(name, options=options)) as session:
        session.begin(workload)
        made, placement = session.engine.buffers, session.engine.placement
    assert {use: told[use] for use in ("kv", "compute", "logits")} == {u: made[u] for u in ("kv", "compute", "logits")}
    if "AMX" in placement:
        return
    assert told["copies"] == pytest.approx(made["copies"], abs=6000)  # the log has two digits of a MiB
    assert told["weights"] == pytest.approx(made["weights"], abs=20_000)  # padding between tensors


@pytest.mark.engine("llama_cpp")
@pytest.mark.parametrize("name", ["phi-4", "phi-4-mini-instruct"])
def test_a_plan_of_the_true_size_is_asked_without_weights(llama: contract.Backend, name: str) -> None:
    shape, plan = catalog.variant(name).shape, plans.plan(catalog.variant(name), "Q4_K_M", fmt="gguf")
    assert shape is not None
    workload = Workload(prompt_tokens=512, new_tokens=16, room=8192, batch=2)
    told = planned(plan, workload, llama.DEFAULTS)
    need = llama.need(plan, shape, 8192, {}, 512, 2, 528)
    assert told["kv"] == need.kv_bytes
    assert need.compute_bytes < told["compute"] + told["logits"]  # written to, of what is reserved
    assert told["weights"] + told["copies"] + told["kv"] <= need.peak_bytes


@pytest.mark.engine("llama_cpp")
def test_what_llama_cpp_does_not_plan_is_one_clear_error(llama: contract.Backend) -> None:
    plan = plans.plan(tiny.tiny("phi-4-mini-instruct"), "Q4_K_M", 1, fmt="gguf")
    with pytest.raises(PhibenchError, match=r"does not tell its plan for .*n_seq_max must be <= 256"):
        planned(plan, Workload(prompt_tokens=1, new_tokens=1, batch=300), llama.DEFAULTS)


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX")
@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("signal.pause()", "its process did not respond for 1 s and was killed"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", r"its process died of SIGSEGV \(a segmentation fault\)"),
        ("sys.exit(0)", "its process exited and gave no answer"),
    ],
)
def test_a_llama_cpp_that_dies_or_hangs_while_it_plans_is_one_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, says: str
) -> None:
    code = f"import os, signal, sys\nfrom phibench.core.processes import Board\nBoard().show('opening')\n{how}\n"
    (tmp_path / "another_plan.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")])))
    monkeypatch.setenv("PHIBENCH_SILENCE", "1s")
    monkeypatch.setattr(llama_plan, "PROGRAM", "another_plan")
    plan = plans.plan(tiny.tiny("phi-4-mini-instruct"), "Q4_K_M", 1, fmt="gguf")
    with pytest.raises(PhibenchError, match=f"does not tell its plan for pp1: {says}$"):
        planned(plan, Workload(prompt_tokens=1, new_tokens=0), llama_cpp.DEFAULTS)


@pytest.mark.engine("llama_cpp")
@pytest.mark.parametrize("quantization", ["Q8_0", "Q5_K_M", "Q4_K_M", "Q3_K_M", "Q4_0"])
@pytest.mark.parametrize("name", ["phi-4-mini-instruct", "phi-4", "phi-3.5-moe-instruct"])  # tied, not tied, experts
def test_the_copied_types_are_those_of_the_engine(llama: contract.Backend, name: str, quantization: str) -> None:
    variant = tiny.tiny(name)
    with llama.session(job(name, gguf.ensure(variant, quantization, 2))) as session:
        made, placement = session.engine.buffers, session.engine.placement
    plan = plans.plan(variant, quantization, 2, fmt="gguf")
    if "AMX" in placement:  # other types, and tiles of their own size
        pytest.skip("what AMX's layout takes has not been compared with the arithmetic yet")
    assert memory.copied_bytes(plan) == pytest.approx(made.get("copies", 0), abs=6000)
    assert memory.mapped_bytes(plan) == pytest.approx(made["weights"], abs=20_000)  # padding between tensors


def test_arm_copies_what_x86_uses_in_place() -> None:
    plan = plans.plan(catalog.variant("phi-4-mini-instruct"), "Q8_0", fmt="gguf")
    matrices = sum(t.bytes for t in plan.tensors if t.type == "Q8_0")
    assert memory.copied_bytes(plan, "x86_64") == 0
    assert memory.copied_bytes(plan, "aarch64") == memory.copied_bytes(plan, "arm64") == matrices


WIDE = {"hidden": 1536, "heads": 24, "head_dim": 64, "vocab": 32768}


@pytest.mark.engine("llama_cpp")
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
@pytest.mark.parametrize(
    ("name", "widths"),
    [
        ("phi-4-mini-instruct", {"kv_heads": 8, "ffn": 4096}),
        ("phi-2", {"kv_heads": 24, "ffn": 4096, "rope_dims": 32}),
        ("phi-3.5-moe-instruct", {"kv_heads": 6, "ffn": 1024}),
    ],
)
@pytest.mark.parametrize("batch", [1, 4])
def test_the_memory_that_a_prompt_is_written_to_is_counted(
    llama: contract.Backend, name: str, widths: dict[str, int], batch: int
) -> None:
    known = catalog.variant(name)
    assert known.shape is not None
    shape = msgspec.structs.replace(known.shape, rope_dims=64)
    shape = msgspec.structs.replace(shape, **WIDE, **widths)
    variant = msgspec.structs.replace(known, shape=shape)
    workload = Workload(prompt_tokens=512 // batch, new_tokens=1, batch=batch)
    with llama.session(job(name, gguf.ensure(variant, "Q4_K_M", 2))) as session:
        session.begin(workload)
        before = anonymous_bytes()
        session.prefill(workload.prompt_tokens)
        grown = anonymous_bytes() - before
    assert 0.9 < memory.written_bytes(shape, llama.DEFAULTS, batch, workload.used) / grown < 1.25


def anonymous_bytes() -> int:
    return int(Path("/proc/self/status").read_text().split("RssAnon:")[1].split()[0]) * 1024


@pytest.mark.parametrize("kind", [kind for kind in memory.KV_TYPES if kind not in ("f32", "f16", "bf16")])
def test_a_type_of_the_cache_that_llama_cpp_refuses_is_refused_before(kind: str) -> None:
    plan, shape = plans.plan(catalog.variant("phi-4"), "Q4_K_M", fmt="gguf"), catalog.variant("phi-4").shape
    assert shape is not None
    with pytest.raises(PhibenchError, match=rf"type_v={kind} needs flash attention: leave out -fa off"):
        llama_cpp.need(plan, shape, 512, {"type_v": kind, "flash_attn": "off"})
    assert llama_cpp.need(plan, shape, 512, {"type_k": kind, "flash_attn": "off"}).kv_bytes
    narrow = msgspec.structs.replace(shape, head_dim=80)
    with pytest.raises(PhibenchError, match=rf"type_k={kind} needs heads that are a multiple of 32 wide, here 80"):
        llama_cpp.need(plan, narrow, 512, {"type_k": kind})


@pytest.mark.engine("llama_cpp")
@pytest.mark.parametrize("kind", memory.KV_TYPES)
def test_every_type_of_the_cache_is_counted_as_the_engine_makes_it(llama: contract.Backend, kind: str) -> None:
    variant = tiny.tiny("phi-4-mini-instruct")
    assert variant.shape is not None
    options = {"type_k": kind, "type_v": kind}
    need = llama.need(plans.plan(variant, "Q4_K_M", 2, fmt="gguf"), variant.shape, 300, options, 100, 3)
    with llama.session(job(options=options)) as session:
        session.begin(Workload(prompt_tokens=100, new_tokens=10, batch=3, room=300))
        assert need.kv_bytes == pytest.approx(session.engine.buffers["kv"], abs=6000)
