"""The same-answer gate: what is the same passes, and every planted fault is reported, with its place."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from conftest import Phibench
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from phibench import backends, catalog
from phibench.core import extras, processes
from phibench.core.errors import PhibenchError
from phibench.core.nouns import Artifact, Job, Setup
from phibench.core.processes import DiedError
from phibench.probe import conditions
from phibench.show import verification
from phibench.verify import ask, check_backends, check_files, child, distances, faults, meant, seeded_models
from phibench.verify import weights as verify_weights
from phibench.verify.formats import torch as torch_files
from phibench.verify.meant import Reference
from phibench.verify.outcomes import Outcome

MINI, PHI2 = "phi-4-mini-instruct", "phi-2"
LIMIT = distances.Limit(
    architecture="phi3", format="gguf", quantization="Q8_0", kl_mean=0.01, kl_max=0.1, agreement=0.9, weights=0.1
)
PROMPTS = seeded_models.prompts(512, 0)
KILLED = f"was killed{' from outside' if conditions.oom_kills() is not None else ''} (SIGKILL)"


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Threads that wait for each other make a busy machine slow."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(check_backends, "THREADS", 1)
        yield


@pytest.fixture(scope="session")
def _engines() -> None:
    """The engines and the reference; they are opened by other processes only."""
    for module in ("llama_cpp", "gguf", "onnx", "onnxruntime_genai", "torch", "transformers", "safetensors"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")


@pytest.fixture(scope="module")
def reference(_engines: None) -> Iterator[Reference]:
    with Reference() as one:
        yield one


def setup(variant: str, quantization: str, backend: str) -> Setup:
    return Setup(variant=variant, quantization=quantization, backend=backend)


def can_import(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is started from here on finds the modules of this folder."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")])))


def elsewhere(code: str, *words: object) -> str:
    """What a process of its own prints, since no engine is loaded into this one."""
    command = [sys.executable, "-c", "import sys\n" + textwrap.dedent(code), *map(str, words)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.splitlines()[-1]


_WRITE = """
from pathlib import Path
from phibench import catalog
from phibench.core.nouns import Setup
from phibench.verify import seeded_models as small; from phibench.verify import child, faults
quantization, backend, folder, change = sys.argv[1:]
model = small.model(catalog.variant("phi-2"), 0)
model = getattr(faults, change)(model) if change else model
print(child.write(Setup(variant="phi-2", quantization=quantization, backend=backend), model, Path(folder)))
"""


def written(quantization: str, backend: str, folder: Path, change: str = "") -> Path:
    """A small Phi-2 as a file for a backend, as it is meant or changed by a function of ``faults``."""
    return Path(elsewhere(_WRITE, quantization, backend, folder, change))


# ---------------------------------------------------------------------------------------------------- distance

logits = arrays(np.float32, (3, 8), elements=st.floats(-20, 20, width=32))


@settings(deadline=None)
@given(logits, st.floats(-50, 50))
def test_the_same_answer_is_at_no_distance_whatever_is_added_to_all_logits(
    one: NDArray[np.float32], shift: float
) -> None:
    found = distances.distance([one], [one + np.float32(shift)])
    assert found.kl_max < 1e-4
    assert found.agreement in (None, 1.0)


@settings(deadline=None)
@given(logits, logits)
def test_divergence_is_never_negative_and_its_mean_never_above_its_maximum(
    one: NDArray[np.float32], other: NDArray[np.float32]
) -> None:
    found = distances.distance([one], [other])
    assert min(found.flat) > -1e-9
    assert found.kl_mean <= found.kl_max + 1e-12


def logs(*rows: list[float]) -> NDArray[np.float32]:
    return np.log(np.array(rows, np.float32))


def test_divergence_is_that_of_the_answer_from_the_reference() -> None:
    meant, given_ = logs([0.5, 0.5]), logs([0.9, 0.1])
    assert distances.distance([meant], [given_]).kl_mean == pytest.approx(0.5 * math.log(25 / 9), rel=1e-5)


def test_a_greedy_choice_counts_only_where_the_reference_is_clear() -> None:
    meant = logs([0.51, 0.49], [0.8, 0.2], [0.8, 0.2])
    swapped = logs([0.49, 0.51], [0.8, 0.2], [0.2, 0.8])
    assert distances.distance([meant], [swapped]).agreement == 0.5


def far(*rows: list[int], length: int = 16) -> distances.Distance:
    """One nat off at these positions of each prompt."""
    return distances.Distance(
        divergence=tuple(tuple(1.0 if i in row else 1e-4 for i in range(length)) for row in rows), agreement=1.0
    )


@pytest.mark.parametrize(
    ("found", "original", "says"),
    [
        (far([0], [0]), None, ("right after a prompt of 24 tokens", "norms, the rotary width")),
        (far([], [3]), None, ("3 steps after a prompt of 96 tokens", "between prompt and first step")),
        (far([], [0, 1]), 64, ("right after a prompt of 96 tokens", "LongRoPE's long factors")),
        (far([0, 1], []), 64, ("right after a prompt of 24 tokens", "LongRoPE's short factors")),
        (far([0], [0]), 64, ("limit 0.100 nat", "norms, the rotary width")),
    ],
)
def test_an_objection_says_where_and_what_to_look_at(
    found: distances.Distance, original: int | None, says: tuple[str, ...]
) -> None:
    why = distances.objection(found, LIMIT, PROMPTS, original)
    assert why is not None
    for words in says:
        assert words in why


def test_what_is_within_the_limits_is_no_objection() -> None:
    assert distances.objection(far([], []), LIMIT, PROMPTS, 64) is None


def test_the_mean_the_choices_and_what_is_no_number_are_judged_too() -> None:
    broad = distances.Distance(divergence=((0.05,) * 16,), agreement=1.0)
    assert "on average" in (distances.objection(broad, LIMIT, PROMPTS, None) or "")
    other = distances.Distance(divergence=((0.001,) * 16,), agreement=0.5)
    assert "agree in 50%" in (distances.objection(other, LIMIT, PROMPTS, None) or "")


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_an_answer_that_is_no_number_is_never_the_same(broken: float) -> None:
    meant = logs([0.5, 0.5], [0.5, 0.5])
    given_ = meant.copy()
    given_[1, 0] = broken
    assert "NaN" in (distances.objection(distances.distance([meant], [given_]), LIMIT, PROMPTS, None) or "")


def test_what_is_no_number_is_unknown_in_json() -> None:
    none = distances.Distance(divergence=((0.001, math.nan),), agreement=None)
    one = Outcome(setup=setup(MINI, "Q8_0", "llama_cpp"), verdict="differs", distance=none, weights_error=math.inf)
    (row,) = json.loads(verification.text([one], "json", None, ""))
    assert (row["kl_mean"], row["kl_max"], row["weights_error"]) == (None, None, None)


def test_the_table_keeps_what_tells_rows_apart_in_80_columns() -> None:
    far_ = distances.Distance(divergence=((0.5,),), agreement=0.5)
    rows = [
        Outcome(setup=setup(name, "int4-acc0", "onnxruntime"), verdict="differs", reason="why " * 40, distance=far_)
        for name in (MINI, PHI2)
    ]
    shown = verification.text(rows, "table", 80, "caption")
    assert max(map(len, shown.splitlines())) <= 80
    for name in (MINI, PHI2):
        assert f"{name}:int4-acc0@onnxruntime" in shown
    assert shown.count("differs") == 2


def test_where_the_width_is_short_the_device_goes_but_no_option() -> None:
    plain = setup(PHI2, "int4-acc0", "onnxruntime")
    outcomes = [
        Outcome(setup=one, verdict="failed") for one in (plain, msgspec.structs.replace(plain, options=(("a", "1"),)))
    ]
    short = verification._setup(outcomes).short
    assert short
    assert [short(row) for row in verification.rows(outcomes)] == [
        "phi-2:int4-acc0@onnxruntime", "phi-2:int4-acc0@onnxruntime/cpu?a=1",
    ]  # fmt: skip


def test_every_precision_of_the_gate_has_a_limit() -> None:
    for architecture in ("phi2", "phi3"):
        for backend in (one for one in map(backends.load, backends.names()) if one.FORMATS):
            for name in backend.VERIFIED:
                one = distances.limit(architecture, backend.FORMATS[0], name)
                assert 0 < one.kl_mean <= one.kl_max < 0.5
                assert 0 < one.weights < 0.6


def test_a_quantization_without_a_limit_is_refused() -> None:
    with pytest.raises(PhibenchError, match="no limit is known for IQ1_S"):
        distances.limit("phi3", "gguf", "IQ1_S")


# ------------------------------------------------------------------------------------------------------ weights


@pytest.mark.parametrize("name", [v.id for v in catalog.variants() if v.shape and not v.shape.experts])
def test_every_dense_variant_shrinks_to_what_all_formats_can_hold(name: str) -> None:
    whole, shape = catalog.variant(name).shape, seeded_models.shrunk(catalog.variant(name)).shape
    assert whole is not None
    assert shape is not None
    assert shape.hidden % 256 == 0 == shape.ffn % 256
    assert shape.heads * shape.head_dim == shape.hidden
    assert (shape.heads > shape.kv_heads) == (whole.heads > whole.kv_heads)
    assert (shape.rope_dims < shape.head_dim) == (whole.rope_dims < whole.head_dim)
    assert shape.rope_dims % 16 == 0


def test_a_mixture_of_experts_is_refused() -> None:
    with pytest.raises(PhibenchError, match="nothing to compare"):
        seeded_models.shrunk(catalog.variant("phi-3.5-moe-instruct"))


@pytest.mark.parametrize("name", [MINI, PHI2])
def test_the_small_models_have_something_to_say(reference: Reference, name: str) -> None:
    """Neither certain nor uniform, and not the token that came last: else a fault would not show."""
    model = seeded_models.model(catalog.variant(name), 1)
    weights = {"lm_head.weight": model.weights["model.embed_tokens.weight"]} | model.weights
    answers = reference.logits(model.shape, weights, model.rope, PROMPTS)
    for prompt, answer in zip(PROMPTS, answers, strict=True):
        p = np.exp(answer - np.logaddexp.reduce(answer, -1, keepdims=True))
        entropy = -(p * np.log(p)).sum(-1).mean()
        assert 0.3 < entropy / math.log(seeded_models.VOCAB) < 0.7
        assert len(set(answer.argmax(-1))) > 4
        assert (answer.argmax(-1) == (prompt.tokens[-1], *prompt.then)).mean() < 0.3


def test_seeds_give_different_models_and_one_seed_the_same() -> None:
    one, again, other = (seeded_models.model(catalog.variant(MINI), seed) for seed in (0, 0, 1))
    name = "model.layers.0.mlp.down_proj.weight"
    assert np.array_equal(one.weights[name], again.weights[name])
    assert not np.array_equal(one.weights[name], other.weights[name])
    assert one.rope == again.rope != other.rope


@settings(deadline=None)
@given(arrays(np.float32, (4, 64), elements=st.floats(0.5, 2, width=32)), st.integers(0, 7), st.floats(1.5, 16))
def test_the_error_of_one_block_is_not_averaged_away(values: NDArray[np.float32], block: int, factor: float) -> None:
    off = values.copy()
    off.reshape(8, 32)[block] *= np.float32(factor)
    assert verify_weights.block_error(values, off) == pytest.approx(factor - 1, rel=1e-4)


def test_a_tensor_that_is_missing_or_of_another_shape_is_infinitely_wrong() -> None:
    model = seeded_models.model(catalog.variant(PHI2), 0)
    whole = [seeded_models.Stored(name, [(name, slice(None))], values) for name, values in model.weights.items()]
    assert verify_weights.check(model, whole, 0.1)[1:] == (0, ())
    (off,) = verify_weights.check(model, whole[1:], 0.1).off
    assert (off.name, off.error) == (whole[0].name, math.inf)
    cut = whole[0]._replace(values=whole[0].values[:, 1:])
    (off,) = verify_weights.check(model, [cut, *whole[1:]], 0.1).off
    assert (off.name, off.error) == (whole[0].name, math.inf)


def test_the_reference_takes_what_the_file_holds_but_not_what_is_damaged() -> None:
    model = seeded_models.model(catalog.variant(PHI2), 0)
    name, hurt = "model.layers.0.mlp.fc1.weight", "model.layers.1.mlp.fc1.weight"
    held = model.weights | {name: model.weights[name] * np.float32(1.01), hurt: model.weights[hurt] * np.float32(2)}
    found = verify_weights.check(model, [seeded_models.Stored(n, [(n, slice(None))], v) for n, v in held.items()], 0.1)
    assert np.array_equal(found.weights[name], held[name])
    assert np.array_equal(found.weights[hurt], model.weights[hurt])
    assert [one.name for one in found.off] == [hurt]


def test_what_is_never_quantized_must_be_exact() -> None:
    model = seeded_models.model(catalog.variant(MINI), 0)
    name = "rope_factors_long.weight"
    values = model.source | {name: model.source[name] * np.float32(1.02)}
    found = verify_weights.check(
        model, [seeded_models.Stored(n, [(n, slice(None))], v) for n, v in values.items()], 0.5
    )
    assert [one.name for one in found.off] == [name]


@pytest.mark.usefixtures("_engines")
@pytest.mark.parametrize(("bits", "step"), [(4, 1 / 8), (8, 1 / 128)])
def test_blocks_of_onnx_are_read_as_they_were_written(bits: int, step: float, tmp_path: Path) -> None:
    from phibench.verify.formats import onnx

    values = np.random.default_rng(0).standard_normal((24, 64)).astype(np.float32)
    np.save(tmp_path / "values.npy", values)
    quantized = elsewhere(
        """
        import numpy as np
        from phibench.synth.onnx import weights
        folder, bits = sys.argv[1:]
        blocks, scales = weights.quantize(f"int{bits}", np.load(f"{folder}/values.npy"))
        np.savez(f"{folder}/quantized.npz", blocks, scales)
        print(f"{folder}/quantized.npz")
        """,
        tmp_path,
        bits,
    )
    with np.load(quantized) as stored_:
        found = onnx.dequantized(stored_["arr_0"], stored_["arr_1"], bits)
    most = np.abs(values.reshape(24, 2, 32)).max(-1, keepdims=True)
    assert (np.abs((found - values).reshape(24, 2, 32)) <= most * step * 1.001).all()


# --------------------------------------------------------------------------------------------- engines and faults


RIGHT = [
    *((MINI, name, "llama_cpp") for name in ("F16", "Q8_0", "Q4_K_M")),
    *((PHI2, name, "llama_cpp") for name in ("BF16", "Q4_0")),
    *((MINI, name, "onnxruntime") for name in ("fp32", "int8", "int4")),
    *((PHI2, name, "onnxruntime") for name in ("fp16", "int4-acc0")),
    *((MINI, name, "torch") for name in ("fp32", "bf16", "int4")),
    *((PHI2, name, "torch") for name in ("fp16", "int8")),
]
FAULTS = [
    ("rope factors swapped", MINI, "Q4_K_M", "llama_cpp", "rope_factors_"),
    ("rope factors swapped", MINI, "int4", "torch", "the rotary width and its factors"),
    ("one rope factor inverted", MINI, "Q4_K_M", "llama_cpp", "rope_factors_long.weight in the file is off"),
    ("one rope factor inverted", MINI, "int4", "onnxruntime", "LongRoPE's long factors"),
    ("norm weight dropped", MINI, "Q4_K_M", "llama_cpp", "blk.1.attn_norm.weight in the file is off"),
    ("norm weight dropped", PHI2, "int8", "onnxruntime", "layers.1.input_layernorm.weight in the file is off"),
    ("gate and up swapped", MINI, "Q4_K_M", "llama_cpp", "blk.1.ffn_up.weight in the file is off"),
    ("gate and up swapped", MINI, "int4", "torch", "layers.1.mlp.gate_up_proj.weight in the file is off"),
    ("rotary width ignored", MINI, "Q4_K_M", "llama_cpp", "the rotary width"),
    ("rotary width ignored", PHI2, "Q4_0", "llama_cpp", "the rotary width"),
    ("rotary width 16 short", MINI, "Q4_K_M", "llama_cpp", "the rotary width"),
    ("rotary width 16 short", MINI, "int4", "onnxruntime", "the rotary width"),
    ("scale of one block doubled", MINI, "Q4_K_M", "llama_cpp", "blk.1.ffn_down.weight in the file is off"),
    ("scale of one block doubled", PHI2, "int4", "onnxruntime", "layers.1.mlp.fc2.MatMul.weight in the file is off"),
]
LATE = [(MINI, "Q4_K_M", "llama_cpp"), (PHI2, "int8", "torch"), (MINI, "int4", "onnxruntime")]
SCALE, LATE_BY_ONE = "scale of one block doubled", "position off by one"


@pytest.fixture(scope="module")
def found(reference: Reference) -> dict[tuple[str, Setup], Outcome]:
    """(fault, setup) -> outcome of everything above: a process per backend and program, not one per test."""
    asked: dict[tuple[str, ...], list[tuple[str, check_backends.Trial]]] = {}
    asked[()] = [("", trial) for trial in check_backends.trials([setup(*words) for words in RIGHT], 1000)]
    for fault, *words in [
        *((fault, *words) for fault, *words, _ in FAULTS),
        *((LATE_BY_ONE, *words) for words in LATE),
    ]:
        (trial,) = check_backends.trials([setup(*words)], 0)
        plant = faults.faults_for(trial.model)[fault]
        asked.setdefault(plant.program, []).append((fault, trial._replace(change=plant.change)))
    outcomes = {}
    for program, pairs in asked.items():
        pairs.sort(key=lambda pair: pair[1].setup.backend)  # outcomes come backend by backend
        told = check_backends.outcomes([trial for _, trial in pairs], reference, program=program)
        for (fault, _), one in zip(pairs, told, strict=True):
            outcomes[fault, one.setup] = one
    return outcomes


@pytest.mark.parametrize("words", RIGHT, ids=" ".join)
def test_right_files_give_the_same_answer(found: dict[tuple[str, Setup], Outcome], words: tuple[str, ...]) -> None:
    one = found["", setup(*words)]
    assert (one.verdict, one.reason) == ("same", "")


@pytest.mark.parametrize(
    ("fault", "variant", "quantization", "backend", "says"),
    [*FAULTS, *((LATE_BY_ONE, *words, "positions and the KV cache") for words in LATE)],
)
def test_a_planted_fault_is_reported(
    found: dict[tuple[str, Setup], Outcome], fault: str, variant: str, quantization: str, backend: str, says: str
) -> None:
    one = found[fault, setup(variant, quantization, backend)]
    assert one.verdict == "differs", one
    assert says in one.reason


def test_every_fault_but_one_scale_shows_in_the_answer_alone(
    found: dict[tuple[str, Setup], Outcome],
) -> None:
    """One scale among thousands may not move an answer: it is the file's weights that tell."""
    for (fault, setup_), one in found.items():
        assert one.distance is not None
        assert one.limit is not None
        told = distances.objection(one.distance, one.limit, PROMPTS, seeded_models.ORIGINAL_CONTEXT)
        assert fault == SCALE or (told is not None) == bool(fault), (fault, setup_)


def test_every_kind_of_fault_is_tried() -> None:
    names = {
        name for variant in (MINI, PHI2) for name in faults.faults_for(seeded_models.model(catalog.variant(variant), 0))
    }
    assert {fault for fault, *_ in FAULTS} | {LATE_BY_ONE} == names


# --------------------------------------------------------------------------------------------------- processes


def question(path: str = "") -> child.Question:
    job = Job(
        setup=setup("any", "Q8_0", "llama_cpp"), suite=ask.SUITE, workloads=(), threads=1,
        artifact=Artifact(path=path, bytes=0, weights="real"),
    )  # fmt: skip
    return child.Question(job=job, prompts=PROMPTS)


DYING = """
import contextlib, os, signal, sys, threading
import numpy as np
from phibench import backends
from phibench.core.errors import OutOfMemoryError
from phibench.core.nouns import Engine
from phibench.verify import child

def die(job, now):
    how, _, when = job.artifact.path.partition(" ")
    if now != when:
        return
    print("an unrelated line of a log", file=sys.stderr, flush=True)
    if how == "SIGABRT":
        print("GGML_ASSERT(told_to_fail) failed", file=sys.stderr, flush=True)
    if how == "exit":
        os._exit(3)
    if how == "memory":
        import resource
        resource.setrlimit(resource.RLIMIT_AS, (1 << 28, 1 << 28))
        bytearray(1 << 40)
    if how == "refused":
        raise OutOfMemoryError("no room for 8 GB")
    if how == "closed":
        os.closerange(3, 256)
    if how in ("hang", "closed"):
        threading.Event().wait()
    os.kill(os.getpid(), getattr(signal, how))

class Session:
    engine = Engine(name="fake", version="1", placement="nowhere")
    def __init__(self, job):
        self.job = job
    def score(self, prompt, then):
        die(self.job, "prefill")
        return np.zeros((1 + len(then), 8), np.float32)

class Backend:
    @staticmethod
    @contextlib.contextmanager
    def session(job):
        die(job, "opening")
        yield Session(job)

child.backends.load = lambda name: Backend
os.write(1, b"\\nan engine writes where it should not\\n7\\n")
child.main(sys.argv[1:])
"""


def said_of(questions: list[child.Question], folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[ask.Reply]:
    (folder / "dying.py").write_text(DYING)
    can_import(folder, monkeypatch)
    return list(ask.ask(questions, program=("dying",)))


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
def test_every_death_has_a_name_and_the_next_question_is_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opening, answering = "while it opened the model", "in prefill of a small model"
    deaths = {
        "SIGSEGV opening": ("signal", "died of SIGSEGV (a segmentation fault)", opening),
        "SIGSEGV prefill": ("signal", "died of SIGSEGV (a segmentation fault)", answering),
        "SIGILL prefill": ("signal", "died of SIGILL (an illegal instruction)", answering),
        "SIGBUS opening": ("signal", "died of SIGBUS (a bus error)", opening),
        "SIGABRT prefill": ("signal", "died of SIGABRT (it aborted)", f"{answering}: GGML_ASSERT(told_to_fail) failed"),
        "SIGKILL opening": ("signal", KILLED, opening),
        "exit prefill": ("exit", "exited with code 3", answering),
        "closed prefill": ("closed", "closed its output and gave no answer", answering),
        "memory prefill": ("out_of_memory", "the process ran out of memory", ""),
        "refused prefill": ("out_of_memory", "no room for 8 GB", ""),
    }
    asked = [question(path) for path in [word for death in deaths for word in (death, "")]]
    replies = said_of(asked, tmp_path, monkeypatch)
    assert len(replies) == len(asked)
    for (death, (kind, says, doing)), reply, after in zip(deaths.items(), replies[::2], replies[1::2], strict=True):
        assert (reply.kind, reply.engine) == (kind, None), death
        assert says in reply.reason, death
        assert doing in reply.reason, death
        assert not doing or "phibench doctor tests this engine" in reply.reason
        assert "unrelated" not in reply.reason
        assert after.engine is not None, death
        assert after.logits[0].shape == (1 + seeded_models.STEPS, 8)


def test_a_child_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hanging.py").write_text("import time\ntime.sleep(60)\n")
    can_import(tmp_path, monkeypatch)
    monkeypatch.setenv("PHIBENCH_SILENCE", "0.5s")
    monkeypatch.setattr(processes, "START_S", 0.5)
    (reply,) = ask.ask([question()], program=("hanging",))
    assert reply.kind == "hang"
    assert "did not respond for 500 ms and was killed while its process started" in reply.reason
    assert "PHIBENCH_SILENCE=1h waits longer" in reply.reason


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
def test_a_reference_that_dies_is_a_failed_row_and_is_not_tried_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts = tmp_path / "starts"
    (tmp_path / "dying_reference.py").write_text(
        "import os, signal, sys\n"
        f"open({str(starts)!r}, 'a').write('.')\n"
        "sys.stdin.readline()\n"
        "os.kill(os.getpid(), signal.SIGILL)\n"
    )
    can_import(tmp_path, monkeypatch)
    monkeypatch.setattr(meant, "PROGRAM", "dying_reference")
    model = seeded_models.model(catalog.variant(PHI2), 0)
    with Reference() as reference:
        for _ in range(3):
            with pytest.raises(DiedError, match=r"the reference, torch .* died of SIGILL .*nothing to compare") as died:
                reference.logits(model.shape, {}, None, PROMPTS)
            assert (died.value.end.kind, died.value.exit_code) == ("signal", 1)
    assert starts.read_text() == ".."


@pytest.fixture
def asking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A process that waits for an answer that will not come, and the number of the child that it has asked."""
    number = tmp_path / "number"
    (tmp_path / "waiting.py").write_text(
        "import os, pathlib, sys, time\n"
        "from phibench.verify import child\n"
        "def answer(question, place, show):\n"
        f"    pathlib.Path({str(number)!r} + '.part').write_text(str(os.getpid()))\n"
        f"    os.replace({str(number)!r} + '.part', {str(number)!r})\n"
        "    time.sleep(60)\n"
        "child._answer = answer\n"
        "child.main(sys.argv[1:])\n"
    )
    (tmp_path / "asks.py").write_text(
        "import signal, sys, msgspec\n"
        "from phibench.verify import ask, child\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "next(ask.ask([msgspec.json.decode(sys.argv[1], type=child.Question)], program=('waiting',)))\n"
    )
    can_import(tmp_path, monkeypatch)
    words = [sys.executable, str(tmp_path / "asks.py"), msgspec.json.encode(question()).decode()]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    try:
        until(number.exists)
        yield process, int(number.read_text())
    finally:
        process.kill()
        process.communicate()


def until(what: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not what():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def gone(number: int) -> bool:
    status = Path(f"/proc/{number}/stat")
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] == "Z"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are looked up in /proc")
@pytest.mark.parametrize("name", ["SIGINT", "SIGKILL"])
def test_neither_command_nor_child_outlives_ctrl_c_or_a_kill(
    name: str, asking: tuple[subprocess.Popen[str], int]
) -> None:
    command, number = asking
    began = time.monotonic()
    command.send_signal(getattr(signal, name))
    _, said = command.communicate(timeout=120)
    assert (said.strip().splitlines() or [""])[-1] == ("KeyboardInterrupt" if name == "SIGINT" else "")
    until(lambda: gone(number))
    assert time.monotonic() - began < 4, "the child was waited for"


def test_a_file_that_the_engine_refuses_is_a_failed_row(
    reference: Reference, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cutting.py").write_text(
        "import os, sys\n"
        "from phibench.verify import child\n"
        "write = child.write\n"
        "def cut(setup, model, folder):\n"
        "    path = write(setup, model, folder)\n"
        "    os.truncate(path, path.stat().st_size - 4096)\n"
        "    return path\n"
        "child.write = cut\n"
        "child.main(sys.argv[1:])\n"
    )
    can_import(tmp_path, monkeypatch)
    wanted = check_backends.trials([setup(PHI2, name, "llama_cpp") for name in ("Q8_0", "F16")], 0)
    found = list(check_backends.outcomes(wanted, reference, program=("cutting",)))
    assert [(one.verdict, one.kind) for one in found] == [("failed", None)] * 2
    assert "llama.cpp cannot open phi-2-Q8_0.gguf" in found[0].reason


# ------------------------------------------------------------------------------------------------------ command


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
def test_a_death_is_a_row_of_the_command_and_what_was_answered_stays(
    phibench: Phibench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dying.py").write_text(
        "import os, signal, sys\n"
        "from phibench.verify import child\n"
        "def answer(question, place, show):\n"
        "    show('preparing')\n"
        "    if question.job.setup.quantization == 'F16':\n"
        "        os.kill(os.getpid(), signal.SIGSEGV)\n"
        "    return child.Answer(reason='refused')\n"
        "child._answer = answer\n"
        "child.main(sys.argv[1:])\n"
    )
    can_import(tmp_path, monkeypatch)
    monkeypatch.setattr(ask, "PROGRAM", ("dying",))
    monkeypatch.setattr(backends.load("torch"), "installed", lambda: "1")
    monkeypatch.setattr(backends.load("llama_cpp"), "installed", lambda: "1.2")
    monkeypatch.setattr(backends.load("llama_cpp"), "devices", lambda: ("cpu",))
    done = phibench("verify", "phi-2", "-b", "llama_cpp", "-q", "Q8_0,F16,Q4_0", "-o", "json")
    assert done.code == 1
    rows = json.loads(done.out)
    assert [(row["verdict"], row["kind"]) for row in rows] == [("failed", None), ("failed", "signal"), ("failed", None)]
    assert rows[1]["reason"] == (
        "llama-cpp-python 1.2 died of SIGSEGV (a segmentation fault) preparing a small model; "
        "phibench doctor tests this engine; -b picks another one"
    )


@pytest.mark.usefixtures("_engines")
def test_the_command_tells_every_setup_and_leaves_with_0(phibench: Phibench) -> None:
    done = phibench("verify", "phi-2", "-b", "llama_cpp", "-q", "q8_0", "-o", "json")
    assert done.code == 0, done.err
    (row,) = json.loads(done.out)
    assert row["setup"] == "phi-2:Q8_0@llama_cpp/cpu"
    assert row["verdict"] == "same"
    assert 0 < row["kl_mean"] < row["kl_mean_limit"]
    assert row["positions"] == 32
    assert "phi-2:Q8_0@llama_cpp/cpu: same, KL" in done.err


def test_a_backend_that_is_not_installed_is_told_and_no_failure_unless_asked_for(
    phibench: Phibench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backends.load("onnxruntime"), "installed", lambda: None)
    _, absent = check_backends.setups((PHI2,), None, None, "cpu")
    assert [(one.verdict, one.reason) for one in absent] == [("not installed", extras.line("onnxruntime"))]
    done = phibench("verify", "-b", "onnxruntime")
    assert done.code == 2
    assert extras.line("onnxruntime") in done.err


def test_where_no_engine_is_installed_nothing_was_compared(phibench: Phibench, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("llama_cpp", "onnxruntime", "torch"):
        monkeypatch.setattr(backends.load(name), "installed", lambda: None)
    done = phibench("verify", "phi-2")
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert f"nothing to compare; llama_cpp: {extras.line('llama-cpp')}; onnxruntime: " in done.err


def test_a_format_that_a_variant_does_not_have_is_told() -> None:
    found, absent = check_backends.setups(("phi-4-multimodal-instruct",), None, None, "cpu")
    assert {one.backend for one in found} == {"llama_cpp", "torch"}
    ((verdict, reason),) = ((one.verdict, one.reason) for one in absent)
    assert verdict == "no files"
    assert "several ONNX graphs" in reason


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["phi-silica"], "has no form that phibench writes"),
        (["-q", "Q4_X"], "unknown quantization 'Q4_X'"),
        (["-b", "null"], "opens no files"),
        (["phi-9"], "unknown variant 'phi-9'"),
        (["--seed", "-1"], "--seed starts at 0"),
        (["-m", "a.gguf", "-q", "Q8_0"], "leave out VARIANT, -b and -q"),
        (["-m", "a.gguf"], "there is no file or folder a.gguf"),
        (["-b", ","], "-b is empty"),
        (["-dev", "foo"], "unknown device 'foo'"),
        (["-dev", "cpu:0"], "cpu takes no number"),
        (["phi-4-multimodal-instruct", "-b", "onnxruntime"], "nothing to compare; onnxruntime: "),
    ],
)
def test_what_cannot_be_verified_is_one_line(phibench: Phibench, words: list[str], says: str) -> None:
    done = phibench("verify", *words)
    assert (done.code, done.out) == (2, "")
    assert says in done.err
    assert done.err.count("\n") == 1


# --------------------------------------------------------------------------------------------------- real files


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, _engines: None) -> dict[str, Path]:
    """One model in several formats, and two of them spoiled."""
    folder = tmp_path_factory.mktemp("files")
    return {
        "torch": written("fp32", "torch", folder),
        "onnx": written("int4", "onnxruntime", folder),
        "gguf": written("Q8_0", "llama_cpp", folder),
        "wrong": written("Q8_0", "llama_cpp", tmp_path_factory.mktemp("spoiled"), "wider_rotary"),
    }


def test_files_of_one_model_agree_whatever_their_format(phibench: Phibench, files: dict[str, Path]) -> None:
    words = [word for name in ("gguf", "torch", "onnx") for word in ("-m", str(files[name]))]
    done = phibench("verify", *words, "-o", "json")
    assert done.code == 0, done.err
    rows = json.loads(done.out)
    assert [(row["quantization"], row["against"], row["verdict"]) for row in rows] == [
        ("Q8_0", "phi-2-hf", "same"),
        ("int4", "phi-2-hf", "same"),
    ]


def test_a_spoiled_file_differs(phibench: Phibench, files: dict[str, Path]) -> None:
    done = phibench("verify", "-m", str(files["gguf"]), "-m", str(files["wrong"]))
    assert done.code == 1
    assert "differs" in done.out
    assert "look at norms, the rotary width" in " ".join(done.out.split())


def test_a_device_that_files_cannot_use_is_one_line(phibench: Phibench, files: dict[str, Path]) -> None:
    done = phibench("verify", "-m", str(files["gguf"]), "-m", str(files["onnx"]), "-dev", "foo")
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert "unknown device 'foo'" in done.err


def test_files_of_two_models_are_refused(phibench: Phibench, files: dict[str, Path], tmp_path: Path) -> None:
    model = seeded_models.model(catalog.variant(PHI2), 0)
    shape = msgspec.structs.replace(model.shape, layers=2)
    model = model._replace(variant=msgspec.structs.replace(model.variant, shape=shape))
    other = torch_files.write(model, "fp32", tmp_path)
    done = phibench("verify", "-m", str(files["gguf"]), "-m", str(other))
    assert done.code == 2
    assert "not the same model: layers 3 and 2" in done.err


def file(original: int | None) -> check_files.File:
    numbers: dict[str, int | None] = {"layers": 1, "hidden": 1, "vocab": 100}
    return check_files.File(Path("a.gguf"), "gguf", "Q8_0", numbers, original, 0)


@pytest.mark.parametrize(("original", "lengths"), [(None, [32, 200]), (4096, [32, 200]), (64, [200]), (250, [258])])
def test_no_prompt_of_real_files_meets_a_change_of_factors(original: int | None, lengths: list[int]) -> None:
    found = check_files.prompts_for([file(original), file(None)], 0)
    assert [len(prompt.tokens) for prompt in found] == lengths


def test_limits_of_real_files_grow_with_what_both_lose() -> None:
    def limit(one: str, other: str) -> float:
        return check_files.limit(file(None)._replace(quantization=one), file(None)._replace(quantization=other)).kl_mean

    assert limit("F16", "Q8_0") < limit("F16", "Q4_K_M") < limit("Q8_0", "Q4_K_M") < limit("Q4_K_M", "Q2_K")
