"""What of genai_config.json a session must know."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from phibench.catalog.readers import genai_config
from phibench.core.errors import FAILED, PhibenchError


class Config(NamedTuple):
    """What of genai_config.json a session must know."""

    vocab: int
    context: int
    special: tuple[int, ...]  # ids of padding and end
    layers: int
    past_key: str  # name of a layer's input, with %d for its number


def read_config(folder: Path) -> Config:
    """The engine reads the same file, so nothing is opened that :func:`genai.read` refuses (exit 2).

    Raises PhibenchError (exit 1) when the folder has no genai_config.json that says this.
    """
    path = folder / "genai_config.json"
    try:
        model = genai_config.read(path)["model"]
        ends = model.get("eos_token_id", [])
        special = (model["pad_token_id"], *(ends if isinstance(ends, list) else [ends]))
        decoder = model["decoder"]
        found = Config(
            vocab=int(model["vocab_size"]),
            context=int(model["context_length"]),
            special=tuple(int(i) for i in special),
            layers=int(decoder["num_hidden_layers"]),
            past_key=str(decoder.get("inputs", {}).get("past_key_names", "past_key_values.%d.key")),
        )
    except OSError as error:
        raise PhibenchError(f"cannot read {path}: {error.strerror or error}", FAILED) from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
        raise PhibenchError(f"{path} is not a configuration of onnxruntime-genai", FAILED) from None
    if not 2 < found.vocab < 1 << 24 or not 0 < found.context < 1 << 30:
        raise PhibenchError(f"{path} says {found.vocab} words and a context of {found.context}", FAILED)
    return found
