"""The torch backend against transformers on the same weights, on tiny Phis with real structure."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import tiny

from phibench import backends, measure
from phibench.backends import torch as backend
from phibench.catalog import hf
from phibench.catalog import plan as plans
from phibench.errors import PhibenchError
from phibench.nouns import Artifact, Job, Setup, Suite, Variant, Workload

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

NAMES = ("phi-4-mini-instruct", "phi-4", "phi-2")
QUANTIZATIONS = ("fp32", "bf16", "fp16", "int8", "int4")
ORIGINAL = 64  # of the LongRoPE tests, where Phis have 4096
LAYERS = 2


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def small(name: str = "phi-4-mini-instruct", **changes: Any) -> Variant:
    variant = tiny.tiny(name)
    assert variant.shape is not None
    if variant.shape.longrope:
        changes = {"original_context": ORIGINAL, "context": 4 * ORIGINAL, **changes}
    return msgspec.structs.replace(variant, shape=msgspec.structs.replace(variant.shape, **changes))


def config(variant: Variant) -> dict[str, Any]:
    assert variant.shape is not None
    return hf.config(variant.shape, LAYERS)


def job(folder: Path, variant: str = "phi-4-mini-instruct", quantization: str = "fp32", weights: str = "real",
        device: str = "cpu", **options: str) -> Job:  # fmt: skip
    setup = Setup(variant=variant, quantization=quantization, backend="torch", device=device,
                  options=tuple(sorted(options.items())))  # fmt: skip
    file = Artifact(path=str(folder), bytes=0, weights=msgspec.convert(weights, type=Any))
    return Job(setup=setup, suite=Suite(name="s", question="?", metrics=()), workloads=(), artifact=file, threads=1)


def synthetic_folder(variant: Variant, folder: Path) -> Path:
    """A config.json alone: synthetic weights of a shape that is in no catalog."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config(variant)))
    return folder


def reference(variant: Variant) -> Any:
    """transformers' own model, drawn so that attention is peaked and tokens are told apart."""
    from phibench.torch_models import build

    model = build.empty(config(variant), "fp32", "cpu")
    build.synthetic(model, torch.device("cpu"))
    generator = torch.Generator().manual_seed(1)
    for name, parameter in model.named_parameters():
        if parameter.dim() == 2:
            scale = 1.0 if "embed" in name else 2 / parameter.shape[1] ** 0.5
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)
    return model


@pytest.fixture(params=NAMES)
def saved(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Any, Path]:
    return save(small(request.param), tmp_path)


def save(variant: Variant, folder: Path) -> tuple[Any, Path]:
    model = reference(variant)
    model.save_pretrained(folder)
    return model, folder


def generated(model: Any, prompt: list[int], new: int) -> tuple[list[int], Any]:
    """Greedy tokens and their logits by ``model.generate``."""
    ids = torch.tensor([prompt])
    found = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=new, min_new_tokens=new,
                           do_sample=False, eos_token_id=None, output_logits=True, return_dict_in_generate=True)  # fmt: skip
    return found.sequences[0, len(prompt) :].tolist(), torch.cat(found.logits).numpy()


def prompt_of(count: int, seed: int = 0) -> list[int]:
    ids: list[int] = torch.randint(3, 1000, (count,), generator=torch.Generator().manual_seed(seed)).tolist()
    return ids


# ---------------------------------------------------------------------------------------- same answers


def test_a_real_folder_answers_as_transformers_token_by_token(saved: tuple[Any, Path]) -> None:
    model, folder = saved
    prompt = prompt_of(20)
    tokens, logits = generated(model, prompt, 8)
    with backend.session(job(folder)) as session:
        ours = session.score(prompt, tokens[:-1])
    assert ours.dtype.name == "float32"
    assert abs(ours - logits).max() < 1e-3 * abs(logits).max()
    assert ours.argmax(1).tolist() == tokens


@pytest.mark.parametrize("prompt_tokens", [ORIGINAL - 4, ORIGINAL, ORIGINAL + 3])
def test_the_switch_of_longrope_is_that_of_generate(prompt_tokens: int, tmp_path: Path) -> None:
    """Before, at and after the original context: the token that passes it makes both compute everything again."""
    model, folder = save(small(), tmp_path)
    prompt = prompt_of(prompt_tokens)
    tokens, logits = generated(model, prompt, 10)
    with backend.session(job(folder)) as session:
        ours = session.score(prompt, tokens[:-1])
        again = session.score(prompt, tokens[:-1])
    assert abs(ours - logits).max() < 1e-3 * abs(logits).max()
    assert (ours == again).all()
