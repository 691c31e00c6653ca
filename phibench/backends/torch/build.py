"""A Phi of transformers from its config.json: made on the meta device, then filled tensor by tensor.

So the peak of memory stays near the final size, quantized or not. No pickle is opened and no code of a folder is run.
"""

from __future__ import annotations

import functools
import importlib
import json
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from phibench.backends.torch.fill import Filler
from phibench.backends.torch.linear import Int4Linear, Int8Linear, SplitLinear, replace
from phibench.catalog.plans.torch import dtype_of
from phibench.catalog.readers import hugging_face
from phibench.core.errors import FAILED, PhibenchError

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
CLASSES = {"phi3": ("phi3.modeling_phi3", "Phi3ForCausalLM"), "phi": ("phi.modeling_phi", "PhiForCausalLM")}
# transformers imports torchao where it is installed, which tells of libraries for other machines: not for users
_TALKATIVE = ("torchao", "torch.utils._pytree")
_OWN = (Int8Linear, Int4Linear, SplitLinear)


def empty(config: dict[str, Any], quantization: str, kind: str) -> nn.Module:
    """The modules on the meta device, in the types of ``quantization`` for a ``kind`` of device: no memory yet.

    Raises PhibenchError for a model that is neither phi3 nor phi.
    """
    family = config.get("model_type")
    if family not in CLASSES:
        raise PhibenchError(f"config.json is of a '{family}' model; the torch backend runs: {', '.join(CLASSES)}")
    if config.get("qk_layernorm"):
        raise PhibenchError("config.json asks for qk_layernorm, which no published Phi has and phibench does not run")
    with quiet():
        module, name = CLASSES[family]
        found = getattr(importlib.import_module(f"transformers.models.{module}"), name)
        settings = found.config_class.from_dict(config)
        with torch.device("meta"):
            model: nn.Module = found(settings)
        model.to(DTYPES[dtype_of(quantization)]).eval().requires_grad_(False)
        model.model.rotary_emb = type(model.model.rotary_emb)(config=settings)  # its tables are no parameters
    _tie(model)  # older transformers tie it only when they load weights themselves
    replace(model, quantization, kind)
    return model


def synthetic(model: nn.Module, device: torch.device) -> None:
    """Fill with noise of a realistic size."""
    fill = Filler(device)
    for name, owner, key in _slots(model):
        _put(owner, key, fill(name, getattr(owner, key)))
    _finish(model, device)


def load(model: nn.Module, folder: Path, device: torch.device) -> None:
    """Fill from the safetensors files of a Hugging Face folder's index, or all, quantizing matrix by matrix.

    Raises PhibenchError when there are none, or their tensors are not those of the model.
    """
    slots = {name: (owner, key) for name, owner, key in _slots(model)}
    own = {f"{name}.weight": module for name, module in model.named_modules() if isinstance(module, _OWN)}
    wanted = {name for name in slots if not name.endswith((".scale", ".scales"))}
    strange = []
    for name, read in _tensors(folder):
        if name == "lm_head.weight" and model.config.tie_word_embeddings:
            continue
        if name not in wanted:
            strange.append(name)
            continue
        wanted.discard(name)
        if name in own:
            own[name].take(read().to(device))
        else:
            owner, key = slots[name]
            _put(owner, key, _fitting(name, read(), getattr(owner, key)).to(device))
    if strange or wanted:
        wrong = f"lacks {min(wanted)}" if wanted else f"has {min(strange)}, which config.json does not ask for"
        raise PhibenchError(f"{folder.name} is not the model of its config.json: it {wrong}", FAILED)
    _finish(model, device)


def read_config(folder: Path) -> dict[str, Any]:
    """The content of config.json. Raises PhibenchError when it is missing or no JSON object."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PhibenchError(f"{folder.name} is no Hugging Face folder: config.json cannot be read ({error})") from None
    if not isinstance(config, dict):
        raise PhibenchError(f"{folder.name}/config.json holds no settings")
    return config


@contextmanager
def quiet() -> Iterator[None]:
    """Imports of transformers without a network, and without the talk of what they import."""
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")  # read once, when it is imported
    loggers = [logging.getLogger(name) for name in _TALKATIVE]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _slots(model: nn.Module) -> Iterator[tuple[str, nn.Module, str]]:
    """(full name, module, attribute) of everything on the meta device; a tied head not again."""
    seen: set[int] = set()
    for prefix, module in model.named_modules():
        for key, tensor in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
            if tensor.is_meta and id(tensor) not in seen:
                seen.add(id(tensor))
                yield f"{prefix}.{key}", module, key


def _put(owner: nn.Module, key: str, tensor: torch.Tensor) -> None:
    is_parameter = isinstance(getattr(owner, key), nn.Parameter)
    setattr(owner, key, nn.Parameter(tensor, requires_grad=False) if is_parameter else nn.Buffer(tensor))


def _fitting(name: str, tensor: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """A copy in the wanted type: the original lies in the mapped file."""
    if tensor.shape != like.shape:
        raise PhibenchError(f"{name} is {tuple(tensor.shape)} in the file, {tuple(like.shape)} in config.json", FAILED)
    return tensor.to(like.dtype, copy=True)


def _tie(model: nn.Module) -> None:
    if model.config.tie_word_embeddings:
        model.lm_head.weight = model.model.embed_tokens.weight


def _finish(model: nn.Module, device: torch.device) -> None:
    _tie(model)
    model.model.rotary_emb.to(device)


def _tensors(folder: Path) -> Iterator[tuple[str, Callable[[], torch.Tensor]]]:
    from safetensors import SafetensorError, safe_open

    if not any(folder.glob("*.safetensors")):
        pickles = any(folder.glob("*.bin")) or any(folder.glob("*.pt*"))
        why = "only pickles, which could run code: save it as safetensors" if pickles else "no *.safetensors"
        raise PhibenchError(f"{folder.name} has {why}", FAILED)
    try:
        paths = hugging_face.shards(folder)
    except OSError as error:
        raise PhibenchError(f"{folder.name} cannot be read: {error}", FAILED) from None
    for path in paths:
        try:
            with safe_open(path, framework="pt") as file:
                for name in file.keys():  # noqa: SIM118  not a dict
                    yield name, functools.partial(file.get_tensor, name)
        except (SafetensorError, OSError) as error:
            raise PhibenchError(f"{path.name} cannot be read: {error}", FAILED) from None
