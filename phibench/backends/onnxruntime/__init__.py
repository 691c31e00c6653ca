"""ONNX Runtime through onnxruntime-genai, Microsoft's own loop over it.

The next token is chosen inside the engine (greedy, in C++): a step is one ``generate_next_token``, and its argmax
cannot be told apart from the run before it. So ``sampling_s`` is None and a step contains it: 0.2 ms for the 200,064
words of Phi-4-mini (docs/onnxruntime.md). ``max_length`` is always the workload's, plus one place for the token chosen
last: a package's own would make room for the model's whole context. ``min_length`` is the same, so no end-of-text
token stops a run.

Models of type phi3 hold one surprise, which is measured and not hidden: when a sequence grows to 4097 tokens step by
step, the engine forgets its KV cache and computes it anew, since LongRoPE factors change there. Of several sequences it
does not: their early keys keep the short factors. Of several it also takes one prompt alone, and nothing behind it.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, closing
from typing import TYPE_CHECKING

from phibench.backends.onnxruntime.facts import *  # noqa: F403  each of them; the contract's test asks for every one
from phibench.core.nouns import Job

if TYPE_CHECKING:
    from phibench.backends.onnxruntime.open_model import OpenModel


def session(job: Job) -> AbstractContextManager[OpenModel]:
    from phibench.backends.onnxruntime.open_model import OpenModel

    return closing(OpenModel(job))
