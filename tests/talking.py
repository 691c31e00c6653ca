"""Tiny Phis that talk: random weights, and a tokenizer in which every token is visible text.

A byte-level BPE without merges, as long as the model's vocabulary: the 256 bytes in GPT-2's alphabet, then words, and
last the special tokens of a chat. So an answer can be read, and rarely ends by itself.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import tiny

from phibench import synth
from phibench.catalog.plans import hf_config
from phibench.core.nouns import Variant

SPECIAL = ("<|endoftext|>", "<|user|>", "<|assistant|>", "<|system|>", "<|end|>")
TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
CONTEXT = 512  # that files and folders state


def words(vocab: int) -> list[str]:
    """Every token as the tokenizer's file writes it, by id."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    alphabet = {byte: chr(byte) for byte in printable} | {byte: chr(256 + n) for n, byte in enumerate(others)}
    plain = [alphabet[byte] for byte in range(256)]
    return [*plain, *(f"\u0120w{number}" for number in range(256, vocab - len(SPECIAL))), *SPECIAL]


def variant(name: str, vocab: int = 1024) -> Variant:
    """The variant with narrow rows; its end of text is the tokenizer's."""
    return tiny.tiny(name, vocab)


def gguf(name: str, quantization: str, path: Path) -> None:
    """A file of one layer that llama.cpp opens and talks with."""
    from gguf import GGUFReader, GGUFValueType, GGUFWriter

    made = variant(name)
    reader = GGUFReader(synth.ensure(made, quantization, "gguf", 2).path)
    assert made.shape is not None
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = GGUFWriter(str(path), made.shape.architecture)
    for field in reader.fields.values():
        if field.name.startswith(("GGUF.", "tokenizer.")) or field.name == "general.architecture":
            continue
        inner = field.types[-1] if field.types[0] == GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, field.contents(), field.types[0], inner)
    tokens = words(made.shape.vocab)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-4o")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token in SPECIAL else 1 for token in tokens])
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(tokens.index("<|endoftext|>"))
    writer.add_eos_token_id(tokens.index("<|end|>"))
    writer.add_add_bos_token(value=False)
    writer.add_chat_template(TEMPLATE)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def onnx(name: str, quantization: str, folder: Path) -> None:
    """A package that onnxruntime-genai opens and talks with."""
    made = variant(name)
    source = Path(synth.ensure(made, quantization, "onnx", 1).path)
    folder.mkdir(parents=True)
    for path in source.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    assert made.shape is not None
    _tokenizer(made.shape.vocab, folder, "GPT2Tokenizer")
    config = json.loads((folder / "genai_config.json").read_text())
    config["model"] |= {"eos_token_id": made.shape.vocab - 1, "bos_token_id": made.shape.vocab - len(SPECIAL)}
    (folder / "genai_config.json").write_text(json.dumps(config))


def hugging_face(name: str, folder: Path) -> None:
    """A folder of transformers, written by a process of its own."""
    made = variant(name)
    assert made.shape is not None
    config = hf_config.config(made.shape, 1)
    folder.mkdir(parents=True)
    _tokenizer(made.shape.vocab, folder, "PreTrainedTokenizerFast")
    ends = {"eos_token_id": made.shape.vocab - 1, "bos_token_id": made.shape.vocab - len(SPECIAL), "pad_token_id": 0}
    order = json.dumps({"config": config | ends, "folder": str(folder)})
    subprocess.run([sys.executable, "-c", _SAVE, order], check=True, capture_output=True)


_SAVE = """
import json, sys, torch, transformers
order = json.loads(sys.argv[1])
config = transformers.AutoConfig.for_model(**order["config"])
model = transformers.AutoModelForCausalLM.from_config(config)
model.to(torch.bfloat16).save_pretrained(order["folder"])
"""


def _tokenizer(vocab: int, folder: Path, kind: str) -> None:
    tokens = words(vocab)
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    special = [
        {"id": tokens.index(one), "content": one, "single_word": False, "lstrip": False, "rstrip": False,
         "normalized": False, "special": True}
        for one in SPECIAL
    ]  # fmt: skip
    model: dict[str, object] = {
        "type": "BPE", "vocab": {word: number for number, word in enumerate(tokens)}, "merges": [], "dropout": None,
        "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None, "fuse_unk": False,
        "byte_fallback": False,
    }  # fmt: skip
    whole = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": special, "normalizer": None,
        "pre_tokenizer": byte_level, "post_processor": None, "decoder": byte_level, "model": model,
    }  # fmt: skip
    (folder / "tokenizer.json").write_text(json.dumps(whole))
    told = {
        "tokenizer_class": kind, "bos_token": "<|endoftext|>", "eos_token": "<|end|>", "unk_token": "<|endoftext|>",
        "pad_token": "<|endoftext|>", "chat_template": TEMPLATE, "model_max_length": CONTEXT, "add_bos_token": False,
        "add_prefix_space": False, "clean_up_tokenization_spaces": False,
    }  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(told))
