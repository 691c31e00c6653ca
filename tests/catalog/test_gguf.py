from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec
import pytest
from conftest import Phibench
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from refusals import refusal

from phibench import catalog
from phibench.catalog import plans, tensor_types
from phibench.catalog.plans import gguf as plan_gguf
from phibench.catalog.readers import gguf
from phibench.catalog.tensor_types import MetaValue, Tensor
from phibench.core.errors import PhibenchError
from phibench.core.nouns import Variant

SMALL_TENSORS = (
    tensor_types.tensor("token_embd.weight", (256, 4), "Q4_K"),
    tensor_types.tensor("output_norm.weight", (256,), "F32"),
)
SMALL_KEYS: dict[str, MetaValue] = {"general.architecture": "phi3", "phi3.block_count": 2, "a": 0.5, "b": True}
SMALL = tensor_types.header(SMALL_KEYS, SMALL_TENSORS) + bytes(4 * 144 + 1024)

on_one_folder = settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])


def save(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


refused = partial(refusal, gguf.recognise)


def real(
    folder: Path,
    name: str,
    quantization: str = "Q4_K_M",
    *,
    keys: dict[str, MetaValue] | None = None,
    change: Callable[[Tensor], Tensor] = lambda tensor: tensor,
    stem: str = "model",
) -> Path:
    """A file as a publisher would make it (sparse): the plan's tensors, other names in its metadata."""
    plan = plans.plan(catalog.variant(name), quantization, fmt="gguf")
    ours = {k: v for k, v in plan.metadata.items() if not k.startswith(("phibench.", "general.name"))}
    tensors = tuple(change(tensor) for tensor in plan.tensors)
    path = folder / f"{stem}.gguf"
    with path.open("wb") as stream:
        stream.write(tensor_types.header(ours | (keys or {}), tensors))
        stream.truncate(stream.tell() + sum(tensor_types.padded(t.bytes) for t in tensors))
    return path


def test_reads_what_the_header_says(tmp_path: Path) -> None:
    header = gguf.read_header(save(tmp_path / "small.gguf", SMALL))
    assert header.metadata == SMALL_KEYS
    assert header.tensors == SMALL_TENSORS
    assert header.data_offset == len(SMALL) - 4 * 144 - 1024
    assert header.histogram == {"Q4_K": 1, "F32": 1}


def test_steps_over_a_vocabulary(tmp_path: Path) -> None:
    """Arrays are not kept, and what comes after them is found: 200,000 strings across many reads."""
    words = b"".join(struct.pack("<Q", n) + b"x" * n for n in (i % 23 for i in range(200_000)))
    long = struct.pack("<Q", 3 << 20) + bytes(3 << 20)
    arrays = [
        (b"tokens", struct.pack("<IQ", 8, 200_001) + words + long),
        (b"scores", struct.pack("<IQ", 6, 200_000) + bytes(800_000)),
    ]
    values = b"".join(struct.pack("<Q", len(k)) + k + struct.pack("<I", 9) + v for k, v in arrays)
    plain = tensor_types.header({"after": 7}, SMALL_TENSORS)
    counts = struct.pack("<4sIQQ", b"GGUF", 3, 2, 3)
    path = save(tmp_path / "vocabulary.gguf", counts + values + plain[24:] + bytes(2048))
    header = gguf.read_header(path)
    assert header.metadata == {"after": 7}
    assert header.tensors == SMALL_TENSORS


@on_one_folder
@given(st.binary(max_size=200))
def test_random_bytes_are_refused(tmp_path: Path, content: bytes) -> None:
    refused(save(tmp_path / "random.gguf", b"?" + content), code=2)


@on_one_folder
@given(st.integers(0, len(SMALL) - 1))
def test_a_cut_file_is_refused(tmp_path: Path, length: int) -> None:
    refused(save(tmp_path / "cut.gguf", SMALL[:length]), code=1 if length >= 4 else 2)


@on_one_folder
@given(st.lists(st.tuples(st.integers(4, len(SMALL) - 1), st.integers(0, 255)), min_size=1, max_size=6))
def test_a_changed_file_is_read_or_refused(tmp_path: Path, changes: list[tuple[int, int]]) -> None:
    content = bytearray(SMALL)
    for place, value in changes:
        content[place] = value
    path = save(tmp_path / "changed.gguf", bytes(content))
    for read in (gguf.read_header, gguf.recognise):
        with contextlib.suppress(PhibenchError):
            read(path)


@settings(on_one_folder, max_examples=60)
@given(st.data())
def test_a_real_file_with_changes_is_named_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    """Numbers of the metadata replaced by anything the format can hold."""
    plan = plans.plan(catalog.variant("phi-4"), "Q4_K_M", fmt="gguf")
    anything = st.one_of(st.integers(0, 2**32 - 1), st.floats(width=32), st.booleans(), st.text(max_size=9))
    keys = plan.metadata | data.draw(st.dictionaries(st.sampled_from(sorted(plan.metadata)), anything, min_size=1))
    path = tmp_path / "file.gguf"
    with path.open("wb") as stream:
        stream.write(tensor_types.header(keys, plan.tensors))
        stream.truncate(stream.tell() + 10_000_000_000)
    try:
        found = gguf.recognise(path)
    except PhibenchError:
        return
    assert plans.can_plan(catalog.variant(found.variant), "gguf")


@pytest.mark.parametrize(
    ("content", "why", "code"),
    [
        (b"", "is empty: download it again", 2),
        (b"PK\x03\x04", "not a GGUF file", 2),
        (struct.pack(">4sIQQ", b"GGUF", 3, 0, 0), "big-endian", 2),
        (struct.pack("<4sIII", b"GGUF", 1, 0, 0), "version 1", 2),
        (struct.pack("<4sIQQ", b"GGUF", 3, 1 << 40, 0), "1099511627776 tensors", 2),
        (struct.pack("<4sIQQQ", b"GGUF", 3, 0, 1, 1 << 60), "a text of", 2),
        (SMALL[:-1], f"has {len(SMALL) - 1} bytes and needs {len(SMALL)}; download it again", 1),
        (SMALL[:60], "end within the header", 1),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, content: bytes, why: str, code: int) -> None:
    assert why in refused(save(tmp_path / "file.gguf", content), code)


def test_missing_and_unreadable_files(tmp_path: Path) -> None:
    assert "there is no file" in refused(tmp_path / "none.gguf", code=2)
    assert refused(tmp_path, code=1) == f"cannot read {tmp_path}: it is a folder"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.gguf")
    assert "it is not a file" in refused(tmp_path / "pipe.gguf", code=1)


def test_other_models_are_named(tmp_path: Path) -> None:
    content = tensor_types.header({"general.architecture": "llama"}, SMALL_TENSORS) + bytes(2048)
    assert "of the kind 'llama'; phibench measures Phi" in refused(save(tmp_path / "llama.gguf", content), code=2)
    assert "does not say the model's hidden, ffn, heads" in refused(save(tmp_path / "small.gguf", SMALL), code=2)
    split = tensor_types.header(SMALL_KEYS | {"split.count": 2}, SMALL_TENSORS) + bytes(2048)
    assert "--merge" in refused(save(tmp_path / "split.gguf", split), code=2)


LORA: dict[str, MetaValue] = {"general.architecture": "phi3", "general.type": "adapter", "adapter.type": "lora"}
CLIP: dict[str, MetaValue] = {"general.architecture": "clip"}
LLAMA: dict[str, MetaValue] = {
    "general.architecture": "llama", "llama.block_count": 40, "llama.context_length": 16384,
    "llama.embedding_length": 5120, "llama.feed_forward_length": 17920, "llama.attention.head_count": 40,
    "llama.attention.head_count_kv": 10,
}  # fmt: skip
WORDS = tensor_types.tensor("token_embd.weight", (5120, 100352), "Q4_K")


@pytest.mark.parametrize(
    ("keys", "tensors", "why"),
    [
        pytest.param(LORA, SMALL_TENSORS, "a LoRA adapter, no whole model: merge it", id="ggml-org/llama.cpp 9114"),
        pytest.param(LORA | {"general.base_model.0.name": "Phi 4 Mini"}, SMALL_TENSORS, "a LoRA adapter of Phi 4 Mini",
                     id="of which"),
        pytest.param({"general.type": "imatrix", "imatrix.chunk_count": 100}, SMALL_TENSORS, "an importance matrix",
                     id="imatrix"),
        pytest.param({"imatrix.chunk_size": 512}, SMALL_TENSORS, "an importance matrix", id="imatrix without a type"),
        pytest.param({"general.architecture": "phi3", "general.type": "vocab"}, (), "a vocabulary without weights",
                     id="vocabulary"),
        pytest.param({"general.architecture": "phi3", "general.type": "model"}, (), "a vocabulary without weights",
                     id="vocabulary that calls itself a model"),
        pytest.param(CLIP, SMALL_TENSORS, "the image part of a model: take the text", id="ggml-org/llama.cpp 7799"),
        pytest.param({"general.type": "mmproj", "clip.audio.block_count": 24}, SMALL_TENSORS,
                     "the sound part of a model", id="sound"),
        pytest.param({"general.architecture": "controlvector"}, SMALL_TENSORS, "a control vector", id="control vector"),
        pytest.param({"general.architecture": "nomic-bert"}, SMALL_TENSORS, "an embedding model of the kind 'nomic",
                     id="ggml-org/llama.cpp 24001: an embedding"),
        pytest.param({"general.architecture": "eagle3"}, SMALL_TENSORS, "a draft model of the kind", id="draft"),
        pytest.param({"a": 1}, SMALL_TENSORS, "names no architecture", id="ggml-org/llama.cpp 28050"),
        pytest.param(LLAMA, (WORDS,), "phi-4 in llama's form (its fused matrices are split)",
                     id="unslothai/unsloth 2365"),
    ],
)  # fmt: skip
def test_what_is_no_whole_phi_says_what_it_is(
    keys: dict[str, MetaValue], tensors: tuple[Tensor, ...], why: str, phibench: Phibench, tmp_path: Path
) -> None:
    path = tmp_path / "file.gguf"
    with path.open("wb") as stream:
        stream.write(tensor_types.header(keys, tensors))
        stream.truncate(stream.tell() + sum(tensor_types.padded(tensor.bytes) for tensor in tensors))
    done = phibench("run", "latency", "-m", str(path), "--dry-run")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert f"{path} is {why}" in done.err or why in done.err
    assert "take " in done.err or "merge " in done.err


def test_types_that_llama_cpp_took_out_or_never_had(tmp_path: Path) -> None:
    """ggml-org/llama.cpp 17105: type 36 was one of ARM's, and is another of BitNet's fork."""
    content = tensor_types.header(SMALL_KEYS, SMALL_TENSORS)
    place = content.index(struct.pack("<I", 12), content.index(b"token_embd"))
    for number, why in ((31, "was taken out of llama.cpp: take the Q4_0 file"), (137, "does not know, of a fork")):
        changed = content[:place] + struct.pack("<I", number) + content[place + 4 :]
        assert why in refused(save(tmp_path / "old.gguf", changed + bytes(4096)), code=2)


@pytest.mark.parametrize("variant", [v for v in catalog.variants() if plans.can_plan(v, "gguf")], ids=lambda v: v.id)
def test_a_variant_is_known_by_its_repository_name(tmp_path: Path, variant: Variant) -> None:
    name = (variant.hf_repo or variant.id).split("/")[-1].replace("-", " ")
    found = gguf.recognise(real(tmp_path, variant.id, "Q8_0", keys={"general.name": name}))
    assert (found.variant, found.quantization, found.notes) == (variant.id, "Q8_0", ())
    assert found.artifact.weights == "real"


@pytest.mark.parametrize("quantization", list(plan_gguf.types().quantizations))
def test_every_quantization_is_known(tmp_path: Path, quantization: str) -> None:
    found = gguf.recognise(real(tmp_path, "phi-2", quantization))
    assert (found.variant, found.quantization, found.notes) == ("phi-2", quantization, ())
    assert found.artifact.tensor_types == plans.plan(catalog.variant("phi-2"), quantization, fmt="gguf").histogram


def test_names_decide_between_equal_shapes(tmp_path: Path) -> None:
    by_file = gguf.recognise(real(tmp_path, "phi-4-reasoning", stem="Phi-4-reasoning-plus-Q4_K_M"))
    assert (by_file.variant, by_file.notes) == ("phi-4-reasoning-plus", ())
    parts: dict[str, MetaValue] = {"general.basename": "Phi-4", "general.finetune": "reasoning-plus"}
    assert gguf.recognise(real(tmp_path, "phi-4-reasoning", keys=parts)).variant == "phi-4-reasoning-plus"
    # the rope base tells phi-4 from its reasoning children even when the name does not
    assert gguf.recognise(real(tmp_path, "phi-4", keys={"general.name": "Phi 4"})).variant == "phi-4"


def test_without_a_name_the_doubt_is_said(tmp_path: Path) -> None:
    found = gguf.recognise(real(tmp_path, "phi-4-mini-reasoning"))
    assert found.variant == "phi-4-mini-instruct"
    assert "phi-4-mini-reasoning" in found.notes[0]
    assert "no name decides" in found.notes[0]


def test_an_older_mix_is_named_and_noted(tmp_path: Path) -> None:
    def older(tensor: Tensor) -> Tensor:
        return tensor_types.tensor(tensor.name, tensor.shape, "Q5_K") if "attn_qkv" in tensor.name else tensor

    found = gguf.recognise(real(tmp_path, "phi-4", change=older))
    assert found.quantization == "Q4_K_M"
    assert "40 x Q5_K" in found.notes[0]
    assert found.plan.histogram == found.artifact.tensor_types == found.header.histogram


def test_tensors_are_believed_before_the_label(tmp_path: Path) -> None:
    found = gguf.recognise(real(tmp_path, "phi-4", "Q4_K_M", keys={"general.file_type": 7}))
    assert found.quantization in ("Q4_K_M", "Q4_1")
    odd = real(tmp_path, "phi-4", "Q8_0", change=lambda t: tensor_types.tensor(t.name, t.shape, "F32"))
    assert "no known quantization" in refused(odd, code=2)


def retyped(kind: str, part: str = "") -> Callable[[Tensor], Tensor]:
    """Every matrix with ``part`` in its name in another type."""
    return lambda t: tensor_types.tensor(t.name, t.shape, kind) if len(t.shape) > 1 and part in t.name else t


@pytest.mark.parametrize(
    ("kind", "part", "file_type"),
    [
        # weighs what IQ3_M does: huggingface/huggingface.js 2176, 2342 and ggml-org/llama.cpp 25878 have dense ones
        pytest.param("MXFP4", "", 41, id="MXFP4"),
        pytest.param("MXFP4", "ffn", 15, id="MXFP4 in a Q4_K_M"),
        pytest.param("NVFP4", "", 42, id="NVFP4: ggml-org/llama.cpp 25878"),
        pytest.param("Q2_0", "", 7, id="weighs what IQ1_S does"),
        pytest.param("Q8_K", "", 7, id="weighs what Q8_0 does"),
    ],
)
def test_a_type_of_the_same_size_is_no_other_quantization(kind: str, part: str, file_type: int, tmp_path: Path) -> None:
    keys: dict[str, MetaValue] = {"general.file_type": file_type}
    path = real(tmp_path, "phi-4-mini-instruct", "Q4_K_M", keys=keys, change=retyped(kind, part))
    assert f"most weights in {kind}: take one of" in refused(path, code=2)


@pytest.mark.parametrize(
    ("quantization", "kind", "parts", "file_type"),
    [
        ("Q4_K_M", "Q8_0", ("token_embd", "output.weight"), 15),  # bodaay/HuggingFaceModelDownloader 72: Q4_K_L, UD-
        ("Q5_K_M", "F16", ("token_embd", "output.weight"), 1),  # between Q5_K_M and Q6_K, and calls itself F16
        ("Q4_K_M", "Q5_K", ("blk.3.", "blk.9.", "blk.11."), 15),  # mohitsoni48/TurboLLM 171: mixed by tensor
    ],
)
def test_a_mix_is_named_by_the_type_of_most_weights(
    quantization: str, kind: str, parts: tuple[str, ...], file_type: int, tmp_path: Path
) -> None:
    def mixed(tensor: Tensor) -> Tensor:
        fits = len(tensor.shape) > 1 and tensor.name.startswith(parts)
        return tensor_types.tensor(tensor.name, tensor.shape, kind) if fits else tensor

    keys: dict[str, MetaValue] = {"general.file_type": file_type}
    found = gguf.recognise(real(tmp_path, "phi-3-mini-4k-instruct", quantization, keys=keys, change=mixed))
    assert found.quantization == quantization
    assert "its tensor types" in found.notes[-1]
    assert found.plan.tensors == found.header.tensors


def test_a_mix_far_from_its_kind_says_how_far(tmp_path: Path) -> None:
    """bodaay/HuggingFaceModelDownloader 72: UD-Q8_K_XL has the types of Q8_0, and a good deal in BF16."""
    path = real(tmp_path, "phi-4", "Q8_0", change=retyped("BF16", "attn"))
    assert "most weights in Q8_0, 16% more bytes than Q8_0: take one of 'phibench models'" in refused(path, code=2)


def test_a_head_that_the_original_shares_is_noted(tmp_path: Path) -> None:
    """hiyouga/LlamaFactory 10560: saved although it is tied; a fifth of Phi-4-mini more."""
    plan = plans.plan(catalog.variant("phi-4-mini-instruct"), "Q4_K_M", fmt="gguf")
    head = tensor_types.tensor("output.weight", (3072, 200064), "Q6_K")
    path = tmp_path / "Phi-4-mini-instruct.gguf"
    with path.open("wb") as stream:
        keys = {k: v for k, v in plan.metadata.items() if not k.startswith("phibench.")}
        stream.write(tensor_types.header(keys, (*plan.tensors, head)))
        stream.truncate(plan.file_bytes + 2 * head.bytes)
    found = gguf.recognise(path)
    assert (found.variant, found.quantization) == ("phi-4-mini-instruct", "Q4_K_M")
    assert found.notes == ("its head is a matrix of its own, which the original shares with the embedding",)
    assert not found.plan.tied


def test_a_tensor_of_another_shape_is_noted(tmp_path: Path) -> None:
    """ggml-org/llama.cpp 12091: factors for 64 dimensions where 48 turn; llama.cpp opens no such file."""

    def longer(tensor: Tensor) -> Tensor:
        return tensor_types.tensor(tensor.name, (64,), "F32") if tensor.name.startswith("rope_factors") else tensor

    found = gguf.recognise(real(tmp_path, "phi-4-mini-instruct", change=longer, stem="Phi-4-mini-instruct"))
    assert found.notes == (
        "its tensors are not those of phi-4-mini-instruct: 2 of another shape (rope_factors_long.weight)",
    )


def test_layers_that_are_not_there(tmp_path: Path) -> None:
    """ggml-org/llama.cpp 7157, 6490: "wrong number of tensors" says llama.cpp of such files."""
    plan = plans.plan(catalog.variant("phi-3-mini-4k-instruct"), "Q8_0", fmt="gguf")
    tensors = [t for t in plan.tensors if not t.name.startswith("blk.3")]  # 3, 30 and 31
    path = tmp_path / "pruned.gguf"
    with path.open("wb") as stream:
        stream.write(tensor_types.header({k: v for k, v in plan.metadata.items() if "phibench" not in k}, tensors))
        stream.truncate(plan.file_bytes)
    assert "says that it has 32 layers, and has tensors of 29: download or convert it anew" in refused(path, code=2)


@pytest.mark.parametrize("layers", [None, 4])
def test_our_own_files_are_synthetic(tmp_path: Path, layers: int | None) -> None:
    from phibench.synth import gguf as synth

    plan = plans.plan(catalog.variant("phi-4-mini-reasoning"), "IQ4_XS", layers, fmt="gguf")
    synth.header_only(plan, tmp_path / "own.gguf")
    found = gguf.recognise(tmp_path / "own.gguf")
    assert (found.variant, found.quantization, found.notes) == ("phi-4-mini-reasoning", "IQ4_XS", ())
    assert (found.artifact.weights, found.artifact.layers) == ("synthetic", layers)
    assert msgspec.structs.replace(found.plan, tokenizer_bytes=plan.tokenizer_bytes) == plan
