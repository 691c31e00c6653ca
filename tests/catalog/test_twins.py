"""Variants of one shape: which of them a file is, by rope, context and names; what it does not tell is said."""

from __future__ import annotations

import json
import math
from pathlib import Path

import hf_folders
import pytest

from phibench import catalog
from phibench.catalog import plans, tensor_types
from phibench.catalog.plans import hf_config
from phibench.catalog.readers import folder, gguf
from phibench.catalog.tensor_types import MetaValue, Tensor
from phibench.core.errors import PhibenchError

MISSING = "LongRoPE's factors are missing: beyond 4096 tokens"


def file(
    path: Path, variant: str, *, keys: dict[str, MetaValue | None] | None = None, vocab: int | None = None,
    factors: bool = True, quantization: str = "Q8_0",
) -> Path:  # fmt: skip
    """A sparse GGUF file with the shape of a variant; None takes a key out. It says no name but what ``keys`` give."""
    plan = plans.plan(catalog.variant(variant), quantization, fmt="gguf")
    known = {k: v for k, v in plan.metadata.items() if not k.startswith(("phibench.", "general.name"))}
    said = {k: v for k, v in (known | (keys or {})).items() if v is not None}
    tensors = [_resized(t, vocab) for t in plan.tensors if factors or not t.name.startswith("rope_factors")]
    with path.open("wb") as stream:
        stream.write(tensor_types.header(said, tensors))
        stream.truncate(stream.tell() + sum(tensor_types.padded(t.bytes) for t in tensors))
    return path


def _resized(tensor: Tensor, vocab: int | None) -> Tensor:
    if vocab is None or tensor.name not in ("token_embd.weight", "output.weight"):
        return tensor
    return tensor_types.tensor(tensor.name, (tensor.shape[0], vocab), tensor.type)


EARLY = "phi-3-mini-4k-instruct"  # what a 128k file without factors looks like


@pytest.mark.parametrize(
    ("stem", "keys", "variant"),
    [
        # ggml-org/llama.cpp 7225 added the factors; oobabooga/textgen 5930 and 6849 of llama.cpp have files from before
        ("context", {"phi3.context_length": 131072, "general.name": "Phi3"}, "phi-3-mini-128k-instruct"),
        ("name", {"general.name": "Phi-3-mini-128k-instruct"}, "phi-3-mini-128k-instruct"),
        ("phi-3-mini-128k-instruct.Q8_0", {"general.name": "LLaMA v2"}, "phi-3-mini-128k-instruct"),
        ("basename", {"general.basename": "Phi-3-mini-128k", "general.finetune": "instruct"},
         "phi-3-mini-128k-instruct"),
        ("base", {"general.name": "Mine", "general.base_model.0.repo_url":
                  "https://huggingface.co/microsoft/Phi-3-mini-128k-instruct"}, "phi-3-mini-128k-instruct"),
        # nomic-ai/gpt4all 2790: publishers call the version of July 2024 3.1
        ("Phi-3.1-mini-128k-instruct-Q8_0", {}, "phi-3-mini-128k-instruct"),
        ("Phi-3.5-mini-instruct-Q8_0", {"phi3.context_length": 131072}, "phi-3.5-mini-instruct"),
        ("phi3:3.8b-mini-128k-instruct-q8_0", {}, "phi-3-mini-128k-instruct"),
    ],
)  # fmt: skip
def test_a_128k_without_its_factors_is_one(
    stem: str, keys: dict[str, MetaValue | None], variant: str, tmp_path: Path
) -> None:
    found = gguf.recognise(file(tmp_path / f"{stem.replace(':', '_')}.gguf", EARLY, keys=keys))
    assert found.variant == variant
    assert found.notes[0].startswith(MISSING)
    assert not any("tensor types" in note for note in found.notes)
    assert found.plan.tensors == found.header.tensors


@pytest.mark.parametrize(
    ("stem", "keys"),
    [
        ("model", {"general.name": "Phi3"}),
        ("Phi-3-mini-4k-instruct-q4k", {}),
        ("model", {"phi3.context_length": None}),
        ("model", {"phi3.context_length": 8192}),
        ("phi-3-mini-Q4K", {}),
    ],
)
def test_a_4k_stays_one(stem: str, keys: dict[str, MetaValue | None], tmp_path: Path) -> None:
    found = gguf.recognise(file(tmp_path / f"{stem}.gguf", EARLY, keys=keys))
    assert (found.variant, found.notes) == (EARLY, ())


def test_a_4k_that_says_a_long_context_is_noted(tmp_path: Path) -> None:
    keys: dict[str, MetaValue | None] = {"phi3.context_length": 131072}
    found = gguf.recognise(file(tmp_path / "Phi-3-mini-4k-instruct.gguf", EARLY, keys=keys))
    assert found.variant == EARLY
    assert "its context length is 131072" in found.notes[0]


def test_where_all_of_a_shape_have_factors_they_are_missed(tmp_path: Path) -> None:
    """ggml-org/llama.cpp 8262: files of before July 2024 had to be converted anew."""
    found = gguf.recognise(file(tmp_path / "Phi-4-mini-instruct.gguf", "phi-4-mini-instruct", factors=False))
    assert found.variant == "phi-4-mini-instruct"
    assert found.notes[0].startswith(MISSING)


@pytest.mark.parametrize(
    ("shape", "stem", "keys", "variant", "notes"),
    [
        ("phi-4-mini-instruct", "Phi4MiniReasoning", {}, "phi-4-mini-reasoning", 0),
        ("phi-4-mini-instruct", "reasoning-of-mine", {}, "phi-4-mini-reasoning", 0),
        ("phi-4-mini-instruct", "magic", {"general.base_model.0.name": "Phi-4-mini"}, "phi-4-mini-instruct", 0),
        ("phi-4-mini-instruct", "magic", {"general.name": "Magic"}, "phi-4-mini-instruct", 1),
        ("phi-4", "Phi-4-abliterated", {}, "phi-4", 0),
        ("phi-4", "renamed", {}, "phi-4", 0),  # theta and context are its own
        ("phi-4", "renamed", {"phi3.rope.freq_base": None}, "phi-4", 1),  # or reasoning-vision's text part
        ("phi-4", "longer", {"phi3.context_length": 32768}, "phi-4", 0),
        ("phi-4-reasoning", "renamed", {}, "phi-4-reasoning", 1),  # or -plus: nothing tells
        ("phi-4-reasoning", "phi4-reasoning-plus-14b", {}, "phi-4-reasoning-plus", 0),
        ("phi-3-mini-128k-instruct", "phi3.5", {}, "phi-3.5-mini-instruct", 0),
        ("phi-3-mini-128k-instruct", "phi3-128k", {}, "phi-3-mini-128k-instruct", 1),  # or vision's text part
        ("phi-1", "phi-1_5-tuned", {}, "phi-1.5", 0),
    ],
)  # fmt: skip
def test_names_tell_twins_apart_and_silence_is_said(
    shape: str, stem: str, keys: dict[str, MetaValue | None], variant: str, notes: int, tmp_path: Path
) -> None:
    found = gguf.recognise(file(tmp_path / f"{stem}.gguf", shape, keys=keys))
    assert (found.variant, len(found.notes)) == (variant, notes)
    if notes:
        assert "no name decides: taken for" in found.notes[-1]


def test_a_name_against_rope_and_context_is_noted(tmp_path: Path) -> None:
    found = gguf.recognise(file(tmp_path / "Phi-4-reasoning-plus.gguf", "phi-4"))
    assert found.variant == "phi-4"
    assert found.notes == ("its name says phi-4-reasoning-plus, but its rope and context are those of phi-4",)


def test_the_folder_that_a_file_lies_in_may_tell(tmp_path: Path) -> None:
    """lmstudio-ai/lmstudio-js 21: publisher/repository/file; arcee-ai/mergekit 40: the hub's own cache."""
    for place in (
        "lmstudio-community/Phi-4-mini-reasoning-GGUF",
        "models--x--Phi-4-mini-reasoning/snapshots/" + "0a" * 20,
    ):
        (tmp_path / place).mkdir(parents=True)
        found = gguf.recognise(file(tmp_path / place / "ggml-model-q8_0.gguf", "phi-4-mini-instruct"))
        assert (found.variant, found.notes) == ("phi-4-mini-reasoning", ())
    (tmp_path / "my-reasoning-tests").mkdir()  # a word of a folder's name is no name
    assert gguf.recognise(file(tmp_path / "my-reasoning-tests" / "a.gguf", "phi-4-mini-instruct")).notes


# ------------------------------------------------------------------------------------------------ vocabulary


@pytest.mark.parametrize(
    ("shape", "vocab", "variant"),
    [
        ("phi-3-mini-4k-instruct", 32011, "phi-3-mini-4k-instruct"),  # guidance-ai/guidance 792: the words it has
        ("phi-3-mini-4k-instruct", 32128, "phi-3-mini-4k-instruct"),
        ("phi-1.5", 69151, "phi-1"),  # huggingface/peft 1173: 20000 words of another language; twins stay twins
        ("phi-2", 51264, "phi-2"),  # huggingface/transformers 28415: padded to a multiple of 64
        ("phi-4", 100416, "phi-4"),
        ("phi-3-medium-4k-instruct", 32000, "phi-3-medium-4k-instruct"),  # all else but rope is Phi-4's
    ],
)
def test_a_resized_vocabulary_is_noted(shape: str, vocab: int, variant: str, tmp_path: Path) -> None:
    found = gguf.recognise(file(tmp_path / "tuned.gguf", shape, vocab=vocab))
    assert found.variant == variant
    words = catalog.variant(variant).shape
    assert words
    assert found.notes[0].startswith(f"its vocabulary has {vocab} words, not {words.vocab}")
    assert found.plan.parameters == sum(math.prod(t.shape) for t in found.header.tensors)
    assert found.quantization == "Q8_0"


def test_another_vocabulary_is_another_model(tmp_path: Path) -> None:
    with pytest.raises(PhibenchError, match=r"no Phi that phibench knows \(nearest is phi-2: vocab 5000, not 51200\)"):
        gguf.recognise(file(tmp_path / "tiny.gguf", "phi-2", vocab=5000))
    cut: dict[str, MetaValue | None] = {"phi3.block_count": 27}
    for shape, name, factors in (  # arcee-ai/mergekit 398: merged of other layers; of its twins the right one is named
        ("phi-3-mini-4k-instruct", "pruned", False),
        ("phi-3-mini-128k-instruct", "phi-3-mini-128k-merged", True),
        ("phi-3.5-mini-instruct", "phi-3.5-mini-merged", True),
    ):
        with pytest.raises(PhibenchError, match=rf"nearest is {shape}: layers 27, not 32\); see phibench models"):
            gguf.recognise(file(tmp_path / f"{name}.gguf", shape, keys=cut, factors=factors))


# ------------------------------------------------------------------------------------------------ Hugging Face


def hugging_face(path: Path, variant: str, vocab: int | None = None, **config: object) -> Path:
    shape = catalog.variant(variant).shape
    assert shape is not None
    path.mkdir(parents=True)
    said = hf_config.config(shape, shape.layers) | {"vocab_size": vocab or shape.vocab} | config
    (path / "config.json").write_text(json.dumps(said))
    entries = hf_folders.head(hf_folders.shapes(variant, vocab))
    head = json.dumps(entries).encode()
    with (path / "model.safetensors").open("wb") as stream:
        stream.write(len(head).to_bytes(8, "little") + head)
        stream.truncate(8 + len(head) + max(one["data_offsets"][1] for one in entries.values() if "shape" in one))
    return path


def test_a_folder_without_rope_scaling(tmp_path: Path) -> None:
    """Its context, or its own name, tells; the same as in a GGUF file."""
    plain = {"max_position_embeddings": 131072, "rope_scaling": None}
    for name, config in (("anything", plain), ("phi-3-mini-128k-instruct", {"rope_scaling": None})):
        found = folder.recognise(hugging_face(tmp_path / name, EARLY, **config))
        assert found.variant == "phi-3-mini-128k-instruct"
        assert found.notes[0].startswith(MISSING)
    assert folder.recognise(hugging_face(tmp_path / "4k", EARLY)).notes == ()


def test_a_folder_with_a_resized_vocabulary(tmp_path: Path) -> None:
    found = folder.recognise(hugging_face(tmp_path / "tuned", EARLY, vocab=32038))
    assert (found.variant, "its vocabulary has 32038 words" in found.notes[0]) == (EARLY, True)
    (tmp_path / "tuned" / "config.json").write_text(
        (tmp_path / "tuned" / "config.json").read_text().replace("32038", "32064")
    )
    with pytest.raises(PhibenchError, match="its embedding has 32038 words, not 32064"):
        folder.recognise(tmp_path / "tuned")


def test_rope_tells_a_longer_phi_4_from_its_reasoning_children(tmp_path: Path) -> None:
    found = folder.recognise(hugging_face(tmp_path / "longer", "phi-4", max_position_embeddings=32768))
    assert (found.variant, found.notes) == ("phi-4", ())
