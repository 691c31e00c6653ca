"""Narrow dense Phis, and Microsoft's model builder run on them: a process of its own, as it prints and warns."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import msgspec

from phibench import catalog
from phibench.catalog.plans import hf_config
from phibench.core.nouns import Shape, Variant

# One per trait: phi2 with biases and partial rotary; shared heads; neither; LongRoPE; tied, LongRoPE and partial.
# No width is the vocabulary's: the builder takes any linear layer of that width for the head.
COMPARED = ("phi-2", "phi-4", "phi-3-mini-4k-instruct", "phi-3.5-mini-instruct", "phi-4-mini-instruct")
_ACCURACY = {"int4": ("int4", ["accuracy_level=4"]), "int4-acc0": ("int4", ["accuracy_level=0"])}


def narrow(name: str, layers: int = 2) -> Variant:
    """A dense variant with all its traits and narrow rows; LongRoPE switches after 64 tokens."""
    known = catalog.variant(name)
    shape = known.shape
    assert shape is not None
    kv_heads = 4 * shape.kv_heads // shape.heads or 1
    heads = kv_heads * shape.heads // shape.kv_heads
    widths: dict[str, Any] = {"hidden": heads * 64, "heads": heads, "kv_heads": kv_heads, "head_dim": 64}
    # GroupQueryAttention wants multiples of 16 rotary dimensions
    widths |= {"ffn": 224, "vocab": 416, "rope_dims": 64 * shape.rope_dims // shape.head_dim // 16 * 16}
    widths |= {"context": 256, "original_context": 64} if shape.longrope else {"context": 256}
    narrowed = msgspec.structs.replace(shape, layers=layers, **widths)
    return msgspec.structs.replace(known, shape=narrowed)


def shape_of(name: str) -> Shape:
    shape = narrow(name).shape
    assert shape is not None
    return shape


def main(folder: Path, *quantizations: str) -> None:
    """``<folder>/<variant>/hf``: random weights; ``.../<quantization>``: what the builder makes of them."""
    for name in COMPARED:
        source = folder / name / "hf"
        _hugging_face(shape_of(name), source)
        for quantization in quantizations:
            _build(source, folder / name / quantization, quantization)


def _hugging_face(shape: Shape, folder: Path) -> None:
    """Weights large enough that attention is peaked: a wrong angle must show in the logits."""
    import tokenizers
    import torch
    import transformers

    config = hf_config.config(shape, shape.layers)
    kinds = {"phi": ("PhiConfig", "PhiForCausalLM"), "phi3": ("Phi3Config", "Phi3ForCausalLM")}
    config_type, model_type = (getattr(transformers, one) for one in kinds[config["model_type"]])
    kept = {key: value for key, value in config.items() if key not in ("model_type", "dtype")}
    model = model_type(config_type(**kept))
    noise = torch.Generator().manual_seed(1)
    for name, values in model.named_parameters():
        scale = {"embed": 1.0, "lm_he": 1.0}.get(name.removeprefix("model.")[:5], values.shape[-1] ** -0.5 * 1.5)
        drawn = torch.randn(values.shape, generator=noise)
        values.data = drawn * scale if values.dim() == 2 else drawn * 0.1 + name.endswith("norm.weight")
    model.save_pretrained(folder)
    words = tokenizers.models.WordLevel({str(word): word for word in range(shape.vocab)}, unk_token="0")
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizers.Tokenizer(words), unk_token="0", bos_token="1", eos_token="2", pad_token="0"
    ).save_pretrained(folder)


def _build(source: Path, folder: Path, quantization: str) -> None:
    from onnxruntime_genai.models import builder

    precision, options = _ACCURACY.get(quantization, (quantization, []))
    common = ("", str(source), str(folder), precision, "cpu", str(folder.parent / "cache"))
    builder.create_model(*common, **builder.parse_extra_options(*common, options))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
