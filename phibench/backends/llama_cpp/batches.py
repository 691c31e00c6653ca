"""Several sequences in one llama_batch, in the order of llama-batched-bench: token by token, sequence by sequence."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Ends = tuple[tuple[int, int], ...]  # (sequence, where in its batch the last token of it is)


def cut(api: Any, tokens: NDArray[np.int32], at: int, limit: int) -> Iterator[tuple[Any, Ends]]:
    """Batches of at most ``limit`` tokens, each with the sequences that end in it: of those alone logits are wanted.

    ``tokens``: shape (sequences, count), to be placed from position ``at`` on. A batch lives until the next one.
    """
    import numpy as np

    sequences, count = tokens.shape
    names = np.arange(sequences, dtype=np.int32)
    whose = names.repeat(count)
    flat = np.ascontiguousarray(tokens, np.int32).ravel()
    positions = np.tile(np.arange(at, at + count, dtype=np.int32), sequences)
    ones = np.ones(flat.size, np.int32)
    lists = np.uint64(names.ctypes.data) + whose.astype(np.uint64) * np.uint64(names.itemsize)  # a list of one each
    last = np.zeros(flat.size, np.int8)
    last[count - 1 :: count] = 1
    fields = {"token": flat, "pos": positions, "n_seq_id": ones, "seq_id": lists, "logits": last}
    for start in range(0, flat.size, limit):
        stop = min(start + limit, flat.size)
        batch = api.llama_batch()
        batch.n_tokens = stop - start
        for field, array in fields.items():
            _point(batch, field, array[start:])
        yield batch, tuple((int(whose[i]), int(i) - start) for i in start + np.flatnonzero(last[start:stop]))


def _point(batch: Any, field: str, array: NDArray[Any]) -> None:
    kind = type(getattr(batch, field))
    setattr(batch, field, ctypes.cast(array.ctypes.data, kind))
