"""llama.cpp's own plan of its buffers, asked without weights: of a file with a header and no data, in a child process.

``python -m phibench.backends.llama_cpp.plan`` is that child: the engine ends its process where it dislikes something.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from phibench.backends.llama_cpp import log, memory
from phibench.core import processes
from phibench.core.errors import FAILED, PhibenchError
from phibench.core.nouns import Noun, Workload

if TYPE_CHECKING:
    from phibench.catalog.plans.base import Plan

PROGRAM = __spec__.name
SILENCE_S = 60.0  # of what takes half a second
_FLASH = {"auto": -1, "off": 0, "on": 1}


class Answer(Noun, frozen=True, kw_only=True):
    """Bytes by use, or the reason why there are none."""

    used: dict[str, int] = msgspec.field(default_factory=dict)
    reason: str = ""


_ANSWER = msgspec.json.Decoder(Answer)


def planned(plan: Plan, workload: Workload, options: dict[str, str]) -> dict[str, int]:
    """Bytes of the buffers that llama.cpp would make on a CPU, by use, named as in ``Engine.buffers``.

    ``kv``, ``compute`` and ``logits`` are the engine's word; ``weights`` (mapped) and ``copies`` are counted from the
    plan, since without weights the engine does not say them. ``options``: all of them, defaults included. About half a
    second. Raises PhibenchError (exit 1) where the engine is missing or refuses.
    """
    from phibench.catalog.plans import gguf as plan_gguf

    ask = {
        "n_ctx": workload.context * workload.batch,
        "n_seq_max": workload.batch,
        "n_batch": int(options["n_batch"]),
        "n_ubatch": int(options["n_ubatch"]),
        "flash_attn_type": _FLASH[options["flash_attn"]],
        "type_k": memory.KV_TYPES[options["type_k"]][0],
        "type_v": memory.KV_TYPES[options["type_v"]][0],
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "header.gguf"
        with path.open("wb") as stream:
            stream.write(plan_gguf.header(plan))
            stream.truncate(plan.file_bytes)
        with processes.Child(PROGRAM, [str(path)]) as child:
            child.tell(msgspec.json.encode(ask))
            said = next(child.events(_ANSWER, processes.silence_s(SILENCE_S)), None)
        why = f"its process {child.end()}" if said is None else said.reason
    if said is None or why:
        raise PhibenchError(f"llama.cpp does not tell its plan for {workload}: {why}", FAILED)
    repack = options["repack"]
    copies, mapped = memory.copied_bytes(plan, repack=repack), memory.mapped_bytes(plan, repack=repack)
    return {"weights": mapped, **({"copies": copies} if copies else {}), **said.used}


def main(path: str) -> None:
    """Tell an Answer; the parameters of the context come as one line of JSON on stdin."""
    private, board = processes.private_output(), processes.Board()
    ask = json.loads(sys.stdin.buffer.readline())
    processes.leave_with_parent()
    board.show("opening")
    os.write(private, msgspec.json.encode(_answer(path, ask)) + b"\n")


def _answer(path: str, ask: dict[str, int]) -> Answer:
    import llama_cpp.llama_cpp as api

    log.listen(api)
    model_params = api.llama_model_default_params()
    model_params.no_alloc, model_params.load_mode, model_params.n_gpu_layers = True, api.LLAMA_LOAD_MODE_NONE, 0
    model = api.llama_model_load_from_file(path.encode(), model_params)
    context = api.llama_context_default_params()
    context.offload_kqv = context.op_offload = context.swa_full = False
    for name, value in ask.items():
        setattr(context, name, value)
    if not model or not api.llama_init_from_model(model, context):
        return Answer(reason=log.last_error())
    said, kv_bytes = log.by_use(log.text()), log.kv_bytes(log.text())
    if kv_bytes is None or not {"compute", "logits"} <= said.keys():
        return Answer(reason="its log does not name its buffers as this phibench knows them")
    return Answer(used={"kv": kv_bytes, "compute": said["compute"], "logits": said["logits"]})


if __name__ == "__main__":
    main(sys.argv[1])
