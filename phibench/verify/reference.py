"""What a model should answer: transformers' own model in float32, the whole sequence in one pass.

One pass and no cache: so a backend that loses a position between prompt and first step has nobody to agree with.

``python -m phibench.verify.reference`` answers for the command, in a process that loads torch and no other engine: a
task is a line of JSON on stdin, and an empty line on stdout says that its logits are written. See ``meant``.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from phibench.catalog.plans import hf_config
from phibench.catalog.plans.hf_config import Factors
from phibench.core import processes
from phibench.core.nouns import Noun, Shape
from phibench.verify.seeded_models import Prompt

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from phibench.verify.seeded_models import Weights


class Task(Noun, frozen=True, kw_only=True):
    """``weights``: the .npz with the model's, by name; ``answer``: the .npz that shall hold the logits."""

    shape: Shape
    rope: Factors | None
    prompts: tuple[Prompt, ...]
    weights: str
    answer: str


def logits(
    shape: Shape, weights: Weights, rope: Factors | None, prompts: Sequence[Prompt]
) -> list[NDArray[np.float32]]:
    """For every prompt shape (1 + len(then), vocab): after the prompt, and after each token of ``then``.

    ``weights`` are of an untied model. ``rope``: LongRoPE's factors, which transformers chooses by the length.
    """
    import torch

    model = _model(shape, rope)
    model.load_state_dict({name: torch.from_numpy(values) for name, values in weights.items()})
    found = []
    with one_thread(), torch.inference_mode():
        for prompt in prompts:
            answer = model(torch.tensor([[*prompt.tokens, *prompt.then]]), use_cache=False).logits[0]
            found.append(answer[len(prompt.tokens) - 1 :].numpy())
    return found


@contextmanager
def one_thread() -> Iterator[None]:
    """Small matrices: two threads would only wait for each other."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@functools.lru_cache(maxsize=4)
def _model(shape: Shape, rope: Factors | None) -> Any:
    """An untied model in float32 with eager attention; its weights are yet to come."""
    import torch

    from phibench.backends.torch.build import quiet

    told = hf_config.config(shape, shape.layers, rope) | {"tie_word_embeddings": False}
    with quiet():
        from transformers import Phi3Config, Phi3ForCausalLM, PhiConfig, PhiForCausalLM

        kinds = {"phi2": (PhiConfig, PhiForCausalLM), "phi3": (Phi3Config, Phi3ForCausalLM)}
        config, kind = kinds[shape.architecture]
        made = kind._from_config(config(**told), dtype=torch.float32, attn_implementation="eager")  # noqa: SLF001
    return made.eval()


def main() -> None:
    import numpy as np

    private, board = processes.private_output(), processes.Board()
    import torch  # noqa: F401  while the first answers are made
    import transformers  # noqa: F401

    for line in sys.stdin.buffer:
        board.show("prefill")
        task = msgspec.json.decode(line, type=Task)
        with np.load(task.weights) as stored:
            weights = {name: stored[name] for name in stored.files}
        np.savez(task.answer, *logits(task.shape, weights, task.rope, task.prompts))
        os.write(private, b"true\n")


if __name__ == "__main__":
    main()
