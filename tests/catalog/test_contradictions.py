"""Model files whose parts contradict one another: damaged, they are refused or noted, never another model."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from test_folder import hugging_face, package, refused
from test_gguf import real

from phibench import catalog
from phibench.catalog.readers import folder, gguf
from phibench.catalog.tensor_types import Tensor
from phibench.core.errors import PhibenchError

# ------------------------------------------------------------------------------------------------- GGUF


def test_a_tensor_that_does_not_begin_where_the_one_before_it_ends(tmp_path: Path) -> None:
    """One wrong bit in a length: llama.cpp refuses the file, too (gguf.cpp: "tensor has offset, expected")."""
    path = real(tmp_path, "phi-1")
    content = bytearray(path.read_bytes()[: 1 << 16])
    place = content.index(b"blk.3.ffn_up.weight") + len("blk.3.ffn_up.weight") + 4
    assert int.from_bytes(content[place : place + 8], "little") == 2048
    content[place + 1] ^= 0x10  # 2048 -> 6144
    with path.open("r+b") as stream:
        stream.write(content)
    with pytest.raises(PhibenchError, match=r"tensor 'blk.*' lies at [0-9]+, and the one before it ends at [0-9]+"):
        gguf.recognise(path)


def test_a_tensor_of_another_name_is_noted(tmp_path: Path) -> None:
    def renamed(tensor: Tensor) -> Tensor:
        return msgspec.structs.replace(tensor, name=tensor.name.replace("blk.3.ffn_up", "blk.3.ffn_uq"))

    plain = gguf.recognise(real(tmp_path, "phi-1")).notes
    assert not any("its tensors are not those" in note for note in plain)
    (note,) = set(gguf.recognise(real(tmp_path, "phi-1", change=renamed)).notes) - set(plain)
    assert re.search(r"[12] missing \(blk\.3\.ffn_up\.\w+\), [12] unknown \(blk\.3\.ffn_uq\.\w+\)", note)


# ------------------------------------------------------------------------------------------------- Hugging Face


def edited(path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """A folder whose safetensors file says something else, in the same number of bytes."""
    file = path / "model.safetensors"
    with file.open("r+b") as stream:
        length = int.from_bytes(stream.read(8), "little")
        said = json.loads(stream.read(length))
        change(said)
        new = json.dumps(said).encode()
        assert len(new) <= length
        stream.seek(8)
        stream.write(new.ljust(length))
    return path


def test_tensors_that_overlap_or_leave_a_hole(tmp_path: Path) -> None:
    def overlap(said: dict[str, Any]) -> None:
        size = said["lm_head.weight"]["data_offsets"][1] - said["lm_head.weight"]["data_offsets"][0]
        said["lm_head.weight"]["data_offsets"] = [0, size]

    def hole(said: dict[str, Any]) -> None:
        del said["model.embed_tokens.weight"]

    assert "not at" in refused(edited(hugging_face(tmp_path / "a", "phi-4"), overlap))
    assert "not at" in refused(edited(hugging_face(tmp_path / "b", "phi-4"), hole))


def test_bytes_that_belong_to_no_tensor(tmp_path: Path) -> None:
    path = hugging_face(tmp_path / "a", "phi-4")
    with (path / "model.safetensors").open("r+b") as stream:
        stream.truncate((path / "model.safetensors").stat().st_size + 1)
    assert "has 1 bytes that belong to no tensor" in refused(path)


def test_a_head_that_is_neither_there_nor_tied(tmp_path: Path) -> None:
    def renamed(said: dict[str, Any]) -> None:
        said["lm_head.weighu"] = said.pop("lm_head.weight")

    assert "has no head" in refused(edited(hugging_face(tmp_path / "a", "phi-4"), renamed))
    assert "neither true nor false" in refused(hugging_face(tmp_path / "b", "phi-4", tie_word_embeddings="no"))


def test_weights_without_an_embedding_are_no_model(tmp_path: Path) -> None:
    def renamed(said: dict[str, Any]) -> None:
        said["model.embed_tgkens.weight"] = said.pop("model.embed_tokens.weight")

    assert "has no embedding" in refused(edited(hugging_face(tmp_path / "a", "phi-4"), renamed))


# ------------------------------------------------------------------------------------------------- ONNX


def first(model: Any, operator: str) -> Any:
    return next(node for node in model.graph.node if node.op_type == operator)


def no_product(model: Any) -> None:
    first(model, "MatMulNBits").op_type = "MatMulNBitz"


def one_row(model: Any) -> None:
    (one,) = (one for one in model.graph.initializer if one.name == "model.embed_tokens.weight")
    one.dims[0] = 1


def lose_a_scale(model: Any) -> None:
    node = first(model, "MatMulNBits")
    (scale,) = (one for one in model.graph.initializer if one.name == node.input[2])
    scale.name = scale.name.replace("model", "mode,")


def widen(model: Any) -> None:
    (one,) = (one for one in first(model, "MatMulNBits").attribute if one.name == "N")
    one.i += 1


@pytest.mark.parametrize(
    ("change", "says"),
    [(lose_a_scale, "which nothing gives"), (widen, "is not the one that"), (no_product, "that no product unpacks"),
     (one_row, "of another shape than its")],
)  # fmt: skip
def test_a_graph_that_contradicts_itself(tmp_path: Path, change: Callable[[Any], None], says: str) -> None:
    assert says in refused(package(tmp_path / "phi-2", "phi-2", layers=2, synthetic=True, change=change))


def test_a_graph_with_another_number_of_layers_than_it_says(tmp_path: Path) -> None:
    path = package(tmp_path / "phi-2", "phi-2", layers=3, synthetic=True)
    config = (path / "genai_config.json").read_text()
    (path / "genai_config.json").write_text(re.sub(r'"num_hidden_layers": ?3', '"num_hidden_layers": 2', config))
    assert "says 2 layers, and its graph keeps the KV cache of 3" in refused(path)


@pytest.mark.parametrize("value", [1, "true", [True], None])
def test_a_switch_is_true_or_false(tmp_path: Path, value: object) -> None:
    path = package(tmp_path / "phi-2", "phi-2", layers=2, synthetic=True)
    said = json.loads((path / "genai_config.json").read_text())
    said["search"]["past_present_share_buffer"] = value
    (path / "genai_config.json").write_text(json.dumps(said))
    assert "neither true nor false" in refused(path)
    said["search"]["past_present_share_buffer"] = False
    (path / "genai_config.json").write_text(json.dumps(said))
    assert folder.recognise(path).variant == catalog.variant("phi-2").id
