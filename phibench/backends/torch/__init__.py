"""PyTorch on transformers' Phi classes: the usual stack of whoever loads ``microsoft/Phi-*`` in Python.

Modules and weights are transformers'; the loop over them is ours (``loop``), since ``model.generate``
loses a good part of what memory could give. Without a folder the weights are synthetic and exist in memory only.
The next token is the argmax of the logits, timed apart (``sampling_s``).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from phibench.backends.torch.facts import *  # noqa: F403  each of them; the contract's test asks for every one
from phibench.core.nouns import Job

if TYPE_CHECKING:
    from phibench.backends.torch.open_model import OpenModel


@contextmanager
def session(job: Job) -> Iterator[OpenModel]:
    from phibench.backends.torch import open_model

    with open_model.out_of_memory():
        yield open_model.OpenModel(job)
