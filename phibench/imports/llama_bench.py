"""Reads what llama-bench and llama-batched-bench print as JSON or JSON lines. Nothing in such a file is trusted.

Fields: llama.cpp, tools/llama-bench/llama-bench.cpp (get_fields) and tools/batched-bench/batched-bench.cpp, from the
first versions on: what a version does not print has its default, what it prints beside is passed over.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import msgspec

from phibench.core import files
from phibench.core.errors import FAILED, PhibenchError
from phibench.core.nouns import AtLeastOne, Count, Noun, Tokens

MAX_BYTES = 32 << 20  # a row has some 1.5 kB
MAX_ROWS = 10_000
_ARRAY = re.compile(r"\[\s*\{")  # of rows; a log may begin a line with [ too
Text = Annotated[str, msgspec.Meta(max_length=4096)]
Number = Annotated[int, msgspec.Meta(ge=-(1 << 31), le=1 << 31)]
Nanoseconds = Annotated[float, msgspec.Meta(ge=1, le=1e18)]
Took = Annotated[float, msgspec.Meta(ge=0, le=1e9)]  # seconds; 0 of a part that was not asked for
Flag = bool | Number
Samples = Annotated[tuple[Nanoseconds, ...], msgspec.Meta(max_length=100_000)]


class Bench(Noun, frozen=True, kw_only=True):
    """One test of llama-bench. ``samples_ns``: whole repetitions; the first versions printed their average alone."""

    build_commit: Text = ""
    build_number: Count = 0
    cpu_info: Text = ""
    gpu_info: Text = ""
    backends: Text = ""
    cublas: Flag = False  # until 2024 a flag for each backend
    cuda: Flag = False
    clblast: Flag = False
    opencl: Flag = False
    vulkan: Flag = False
    kompute: Flag = False
    metal: Flag = False
    sycl: Flag = False
    gpu_blas: Flag = False  # any accelerator
    rpc: Flag | Text = False  # built with it, or the servers
    model_filename: Text = ""
    model_type: Text
    model_size: Count = 0
    model_n_params: Count
    n_batch: AtLeastOne = 512
    n_ubatch: AtLeastOne = 512
    n_threads: AtLeastOne
    f16_kv: Flag = True  # 2023: before type_k and type_v
    type_k: Text = ""
    type_v: Text = ""
    n_gpu_layers: Number = 0
    n_cpu_moe: Number = 0
    split_mode: Text = "layer"
    main_gpu: Count = 0
    no_kv_offload: Flag = False
    flash_attn: Flag | Text = False
    devices: Text = "auto"
    tensor_buft_overrides: Text = "none"
    embeddings: Flag = False
    n_prompt: Tokens
    n_gen: Tokens
    n_depth: Tokens = 0
    test_time: Text = ""
    avg_ns: Nanoseconds
    stddev_ns: float | None = None
    samples_ns: Samples = ()


class Batched(Noun, frozen=True, kw_only=True):
    """One line of llama-batched-bench: ``pl`` prompts of ``pp`` tokens, then ``tg`` tokens after each."""

    n_kv_max: Tokens = 0
    n_batch: AtLeastOne = 2048
    n_ubatch: AtLeastOne = 512
    flash_attn: Flag | Text = False
    is_pp_shared: Flag = False
    n_gpu_layers: Number = -1
    n_threads: AtLeastOne
    pp: Tokens
    tg: Tokens
    pl: AtLeastOne
    t_pp: Took = 0.0
    t_tg: Took = 0.0


class Line(Noun, frozen=True, kw_only=True):
    """A row and where it begins."""

    number: int
    row: Bench | Batched


def read(path: Path) -> tuple[bytes, tuple[Line, ...], list[str]]:
    """The file, its rows, and what is odd about it, in words.

    Raises PhibenchError: exit 1 when it cannot be read, exit 2 for what is no such file, with the line.
    """
    content, text = _read(path)
    found: list[Line] = []
    passed, odd = 0, []
    for number, value in _objects(text, path.name):
        if value is None:
            passed += 1
            continue
        if isinstance(value, str):
            odd.append(f"{path.name}, line {number}: {value}")
            continue
        if len(found) == MAX_ROWS:
            raise PhibenchError(f"{path.name}, line {number}: more than {MAX_ROWS} tests; split the file")
        found.append(Line(number=number, row=_row(value, f"{path.name}, line {number}")))
    if not found:
        raise PhibenchError(f"{path.name} has no test in it; llama-bench makes such files with -o json or -o jsonl")
    if len({type(line.row) for line in found}) > 1:
        raise PhibenchError(f"{path.name} has rows of llama-bench and of llama-batched-bench; import them one by one")
    if passed:
        odd.append(f"other text in {path.name} is passed over: {passed} line{'' if passed == 1 else 's'}")
    return content, tuple(found), odd


def _read(path: Path) -> tuple[bytes, str]:
    try:
        files.check_readable(path, MAX_BYTES)
        content = path.read_bytes()
        return content, content.decode("utf-8-sig")
    except FileNotFoundError:
        raise PhibenchError(f"there is no file {path}") from None
    except UnicodeDecodeError:
        raise PhibenchError(f"{path.name} is not UTF-8 text; phibench import reads what llama-bench -o json printed") \
            from None  # fmt: skip
    except OSError as error:
        raise PhibenchError(f"cannot read {path}: {error.strerror or error}", FAILED) from None


def _objects(text: str, name: str) -> Iterator[tuple[int, dict[str, Any] | str | None]]:
    """Every object at the top, in arrays or alone on lines, with its line; None for a line of other text (a log).

    Last, in words, an array that is never closed.
    """
    decoder = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_no_number)
    at, number = 0, 1
    opened: list[int] = []
    while at < len(text):
        if text[at] == "{":
            try:
                value, end = decoder.raw_decode(text, at)
            except (ValueError, RecursionError) as error:
                raise PhibenchError(f"{name}, line {number}: {_why(error)}") from None
            yield number, value
            number += text.count("\n", at, end)
            at = end
        elif text[at] in "[], \t\r\n":
            number += text[at] == "\n"
            if _ARRAY.match(text, at):
                opened.append(number)
            elif text[at] == "]":
                del opened[-1:]
            at += 1
        else:
            yield number, None
            end = text.find("\n", at)
            at = len(text) if end < 0 else end
    if opened:
        yield opened[0], "the list that begins here has no end, so rows may be missing"


def _why(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"cut off or not JSON ({error.msg})"
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)[:200]


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """No key twice: readers differ in which one counts."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key[:60]!r} stands twice in one row")
        found[key] = value
    return found


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is no number")


def _row(value: dict[str, Any], where: str) -> Bench | Batched:
    if "setup" in value and "samples_ns" in value:
        raise PhibenchError(f"{where}: a row of phibench itself; keep the run file, phibench results FILE shows it")
    if {"pp", "tg", "pl"} <= value.keys():
        kind: type[Bench | Batched] = Batched
    elif {"n_prompt", "n_gen"} <= value.keys():
        kind = Bench
    else:
        raise PhibenchError(f"{where}: no test of llama-bench (n_prompt, n_gen) or llama-batched-bench (pp, tg, pl)")
    if any(isinstance(v, float) and not math.isfinite(v) for v in value.values()):
        raise PhibenchError(f"{where}: a number is out of range")
    try:
        return msgspec.convert(value, kind)
    except (msgspec.ValidationError, OverflowError) as error:
        raise PhibenchError(f"{where}: {error}") from None
