"""What engines and systems say of themselves: logs, profiles, answers, last words, what a process sees of itself."""

from __future__ import annotations

import contextlib
import importlib
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from mutate import Tree

from phibench import backends
from phibench.backends.llama_cpp import log
from phibench.backends.onnxruntime import buffers, profile
from phibench.core import ends
from phibench.core.nouns import Finding, Processor, SelfTest
from phibench.machine import figures, inventory
from readers.oracles import Reader, follows, noun, numbers, told

torch_engine = importlib.import_module("phibench.backends.torch.engine")


def _text(folder: Path, name: str) -> str:
    file = folder / name
    return file.read_bytes().decode("utf-8", "replace") if file.is_file() else ""


# ------------------------------------------------------------------------------------------- llama.cpp's log

_LOG = """llama_model_loader: loaded meta data with 33 key-value pairs and 196 tensors from phi.gguf (version GGUF V3)
load_tensors: offloading 32 repeating layers to GPU
load_tensors: offloaded 33/33 layers to GPU
load_tensors:        CUDA0 model buffer size =  2368.54 MiB
load_tensors:   CPU_Mapped model buffer size =   315.30 MiB
load_tensors:   CPU_REPACK model buffer size =  1980.00 MiB
llama_context:        CPU  output buffer size =     0.76 MiB
llama_kv_cache:      CUDA0 KV buffer size =   512.00 MiB
llama_kv_cache: size =  512.00 MiB (  4096 cells,  32 layers,  1/1 seqs), K (f16):  256.00 MiB, V (f16):  256.00 MiB
llama_context: Flash Attention enabled
llama_context:      CUDA0 compute buffer size =   400.00 MiB
llama_context:  CUDA_Host compute buffer size =    14.01 MiB
llama_model_load: error loading model: unable to allocate CUDA0 buffer
"""


def _of_log(folder: Path) -> Any:
    text = _text(folder, "log.txt")
    log.LINES[:] = text.splitlines(keepends=True)
    return (log.by_use(text), log.kv_bytes(text), log.placement(text), log.evidence(text), log.flash(text, "auto"),
            log.last_error())  # fmt: skip


def _check_log(tree: Tree, answer: Any) -> Iterator[str]:
    uses, kv_bytes, placement, evidence, flash, error = answer
    known = told(tree)
    mib = frozenset(round(one * (1 << 20)) for one in known if one < 1e12)
    for name, size in uses.items():
        if not 0 <= size < 1 << 62:
            yield "a buffer of no such size"
        if len(name) > 200:
            yield "a use without bound"
        elif size not in mib and sum(one <= size for one in mib) < 2:
            yield "a buffer whose size stands nowhere"
    if kv_bytes is not None and not (0 <= kv_bytes < 1 << 62 and kv_bytes in mib):
        yield "a KV cache whose size stands nowhere"
    if flash not in ("on", "off", "auto") or not placement:
        yield "no such answer"
    if sum(map(len, (*evidence, error, placement))) > 20_000:
        yield "texts without bound"


# --------------------------------------------------------------------------------------- ONNX Runtime's profile


def _profiles() -> list[Tree]:
    def node(provider: str, operator: str, at: int) -> dict[str, Any]:
        return {"cat": "Node", "pid": 1, "tid": 1, "dur": 3, "ts": at, "ph": "X", "name": f"n{at}_kernel_time",
                "args": {"provider": provider, "op_name": operator, "node_index": "3"}}  # fmt: skip

    events = [{"cat": "Session", "pid": 1, "dur": 17, "ts": 5, "ph": "X", "name": "model_loading_uri", "args": {}}]
    events += [
        node(f"{where}ExecutionProvider", operator, at)
        for at, (where, operator) in enumerate(
            [("CUDA", "MatMulNBits")] * 3 + [("CUDA", "GroupQueryAttention"), ("CPU", "MatMul"), ("CPU", "Gather")]
        )
    ]
    return [{"profile.json": json.dumps(events).encode()}]


def _of_profile(folder: Path) -> Any:
    file = folder / "profile.json"
    found = profile.nodes(file.read_bytes() if file.is_file() else b"")
    return (
        dict(found),
        profile.placement(found),
        profile.evidence(found),
        profile.fallback(found, "CUDAExecutionProvider"),
    )


def _check_profile(tree: Tree, answer: Any) -> Iterator[str]:
    found, placement, evidence, fallback = answer
    most = sum(bytes(one).count(b"_kernel_time") for one in tree.values() if isinstance(one, bytes))
    if not 0 <= sum(found.values()) <= max(most, 60):
        yield "more nodes than the profile has"
    if not all(isinstance(part, str) for key in found for part in key):
        yield "a name that is no text"
    if sum(map(len, (placement, *evidence, fallback or ""))) > 20_000:
        yield "texts without bound"


# --------------------------------------------------------------------------------------------- last words

_WORDS = """libgomp: could not create thread
/build/ggml/src/ggml.c:4711: GGML_ASSERT(ne0 % 32 == 0) failed
terminate called after throwing an instance of 'std::bad_alloc'
  what():  std::bad_alloc
Traceback (most recent call last):
  File "x.py", line 1, in <module>
RuntimeError: CUDA error: out of memory
"""


def _of_words(folder: Path) -> Any:
    words = _text(folder, "stderr.txt")
    return [ends.end(code, words) for code in (None, 0, 1, -6, -9, -11, 3221225477, -64)]


def _check_words(_tree: Tree, found: list[ends.End]) -> Iterator[str]:
    for end in found:
        yield from noun(end)
        if len(str(end)) > 500 or "\n" in str(end):
            yield "last words that are no line"


# --------------------------------------------------------------------------------------------- answers of children

_ANSWERS = {
    "llama_cpp": {"features": "CPU : SSE3 = 1 | AVX = 1 | AVX2 = 1 | AVX512 = 0 | LLAMAFILE = 1 | REPACK = 1 | "},
    "onnxruntime": {"providers": ["CUDAExecutionProvider", "CPUExecutionProvider"],
                    "devices": [["CPUExecutionProvider", "CPU", "Intel"], ["VitisAIExecutionProvider", "NPU", "AMD"]]},
    "torch": {"kinds": ["cuda"], "built": ["CUDA 12.8"]},
}  # fmt: skip
_VERSION_PY = (
    "__all__ = ['__version__', 'cuda']\n__version__ = '2.9.0+cu128'\ncuda: Optional[str] = '12.8'\nhip = None\n"
)


def _answers() -> list[Tree]:
    answers: Tree = {f"{name}.json": json.dumps(answer).encode() for name, answer in _ANSWERS.items()}
    return [answers | {"version.py": _VERSION_PY.encode()}]


def _of_answers(folder: Path) -> Any:
    """As phibench/machine/engines.py does, which takes what cannot be decoded for a broken engine."""
    found: list[Any] = [torch_engine.built(_text(folder, "version.py"), apple=False)]
    for name in _ANSWERS:
        said = (folder / f"{name}.json").read_bytes() if (folder / f"{name}.json").is_file() else b""
        backend = backends.load(name)
        with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError, IndexError, RecursionError):
            able = backend.abilities(said.splitlines()[-1])
            processor = Processor(instruction_sets=("avx2", "avx512f"))
            found.append((able, backend.advice(processor, able.features)))
    return found


def _check_answers(_tree: Tree, found: list[Any]) -> Iterator[str]:
    for able, advice in found[1:]:
        yield from noun(able, math.inf)  # a child of our own said it
        if isinstance(advice, Finding):
            yield from noun(advice, math.inf)


# --------------------------------------------------------------------------------------------- what is remembered


def _remembered() -> list[Tree]:
    slow = {"method": figures.METHOD, "at": 1764000000.5,
            "matrix": {"flops_s": {"float32": 1e11, "bfloat16": 2e12}, "doubt": "too low: busy",
                       "most_flops_s": {"float32": 1.5e11}},
            "bandwidth": {"read_bytes_s": 4.2e10, "copy_bytes_s": 3.9e10, "because": "3 s with 2 threads"},
            "storage": {"free_bytes": 10**11, "read_bytes_s": 2.5e9, "because": "read past the page cache"},
            "gpus": {"cuda:0": {"kind": "cuda:0", "name": "NVIDIA GeForce RTX 4090", "read_bytes_s": 9e11,
                                "basis": "probed", "copy_bytes_s": 8e11,
                                "matrix_flops_s": {"float16": 1.5e14}}}}  # fmt: skip
    test = {"backend": "llama_cpp", "device": "cpu", "build": "0.3.36 1a2b", "processor": "AMD EPYC; avx2",
            "usable": True, "options": {}, "kl_max": 1e-5, "seconds": 0.1, "import_s": 0.5,
            "at": "2026-07-01T10:00:00Z", "test": 1}  # fmt: skip
    return [{"machine.json": json.dumps({"linux|x86_64|cpu=AMD": slow}).encode(),
             "selftests.json": json.dumps([test, {**test, "backend": "onnxruntime", "usable": False, "kind": "signal",
                                                  "reason": "died of SIGILL"}]).encode()}]  # fmt: skip


def _of_memory(folder: Path) -> Any:
    os.environ["PHIBENCH_CACHE"] = str(folder)
    return figures.read(), inventory._remembered()


def _check_memory(tree: Tree, answer: Any) -> Iterator[str]:
    known, tests = answer
    stand = told(tree) | {0.0}
    for one in (*known.values(), *tests):
        yield from noun(one, math.inf)
    for slow in known.values():
        for path, number in numbers(msgspec.to_builtins(slow)):
            yield from follows(path.split(".")[0], abs(number) if path == "at" else number, stand)
    for one in tests:
        assert isinstance(one, SelfTest)
        yield from follows("kl_max", one.kl_max, stand)


# --------------------------------------------------------------------------------------------- a process of its own

_MAPS = "".join(f"7f00{n}0000000-7f00{n}0100000 r--p 00000000 fe:00 {n}     {path}\n"
                for n, path in enumerate(("/models/phi/model.onnx.data", "/usr/lib/libc.so", "[heap]")))  # fmt: skip


def _of_process(folder: Path) -> Any:
    buffers._PROC = folder
    return buffers.anonymous_bytes(), buffers.since(1000, Path("/models/phi"))


def _check_process(tree: Tree, answer: Any) -> Iterator[str]:
    anonymous, opened = answer
    yield from follows("RssAnon", anonymous, told(tree) | {0.0}, 1024)
    for size in (anonymous, *opened):
        if size is not None and not 0 <= size < 1 << 62:
            yield "memory of no such size"


READERS = (
    Reader("llama.cpp-log", lambda: [{"log.txt": _LOG.encode()}], _of_log, _check_log),
    Reader("onnxruntime-profile", _profiles, _of_profile, _check_profile,
           harmless=frozenset({"keys reordered", "extra key", "written on one line"})),
    Reader("last-words", lambda: [{"stderr.txt": _WORDS.encode()}], _of_words, _check_words),
    Reader("answers-of-engines", _answers, _of_answers, _check_answers,
           harmless=frozenset({"keys reordered", "written on one line"})),
    Reader("remembered-machine", _remembered, _of_memory, _check_memory,
           harmless=frozenset({"keys reordered", "written on one line"})),
    Reader("own-process", lambda: [{"maps": _MAPS.encode(), "status": b"Name:\tpython\nRssAnon:\t  5000 kB\n"}],
           _of_process, _check_process),
)  # fmt: skip
