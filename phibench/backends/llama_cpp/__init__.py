"""llama.cpp through llama-cpp-python's low-level API.

``Llama.generate`` is not used: its sampling in Python costs 0.4 to 0.6 ms a token. Here the next token is the
argmax taken on the logits pointer, timed apart (``sampling_s``). Parameters follow llama-bench, so that its
numbers and ours can be compared: a context of exactly the workload's size, n_batch 2048, n_ubatch 512.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, closing
from typing import TYPE_CHECKING

from phibench.backends.llama_cpp.facts import *  # noqa: F403  each of them; the contract's test asks for every one
from phibench.core.nouns import Job

if TYPE_CHECKING:
    from phibench.backends.llama_cpp.open_model import OpenModel


def session(job: Job) -> AbstractContextManager[OpenModel]:
    from phibench.backends.llama_cpp.open_model import OpenModel

    return closing(OpenModel(job))
