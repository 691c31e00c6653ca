"""The rows that llama-bench and llama-batched-bench print as JSON or JSON lines. Nothing in such a file is trusted.

Fields: llama.cpp, tools/llama-bench/llama-bench.cpp (get_fields) and tools/batched-bench/batched-bench.cpp, from the
first versions on: what a version does not print has its default, what it prints beside is passed over. What went
through a table (CSV, a data frame) has its numbers in quotes or with a point, and null where a version printed nothing.
"""

from __future__ import annotations

import json
import math
import re
import sys
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import msgspec

from phibench.core import files
from phibench.core.errors import FAILED, PhibenchError
from phibench.core.nouns import AtLeastOne, Count, Noun, Tokens
from phibench.core.text import decoded
from phibench.imports import logs, rows
from phibench.imports.rows import Refused

MAX_BYTES = 32 << 20  # a row has some 1.5 kB
_NAMES = {"build_commit", "cpu_info", "model_type", "model_n_params", "n_prompt", "n_gen", "avg_ns", "samples_ns",
          "n_kv_max", "pp", "tg", "pl", "t_pp", "t_tg"}  # fmt: skip
_RUN = {"schema", "suite", "machine", "results"}  # of phibench's own files
_IDLE = {"stddev_ns": "", "t_pp": "pp", "t_tg": "tg"}  # of one repetition; of a part that was not asked for
_OTHERS = {  # first bytes of what is no text: what it is, and what to do
    b"GGUF": "a model; phibench run latency -m measures it",
    b"\x1f\x8b": "packed by gzip; unpack it first",
    b"PK\x03\x04": "a zip archive; unpack it first",
    b"SQLite format 3": 'a database; sqlite3 -json FILE "SELECT * FROM llama_bench" prints its rows',
}
_COLOURS = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")  # of a terminal
_ASK = "llama-bench makes such files with -o json or -o jsonl, llama-batched-bench with --output-format jsonl"
_FORMATS = {
    "llama-bench": re.compile(r"^\| *model *\|[^\n]*\bt/s *\||^\"?build_commit\"?[,;\t]|^INSERT INTO llama_bench |"
                              r"^CREATE TABLE IF NOT EXISTS (llama_bench|test) ", re.MULTILINE),
    "llama-batched-bench": re.compile(r"^\| *PP *\| *TG *\| *B *\|", re.MULTILINE),
}  # fmt: skip
Text = Annotated[str, msgspec.Meta(max_length=4096)]
Number = Annotated[int, msgspec.Meta(ge=-(1 << 31), le=1 << 31)]
Nanoseconds = Annotated[float, msgspec.Meta(ge=1, le=1e18)]
Spread = Annotated[float, msgspec.Meta(ge=0, le=1e18)]
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
    stddev_ns: Spread | None = None
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
    """A row, where it begins, and all that it says, read or not."""

    number: int
    row: Bench | Batched
    value: dict[str, Any]


class File(NamedTuple):
    """``odd``: what a reader should know of it, in words."""

    name: str
    content: bytes
    lines: tuple[Line, ...]
    refused: list[Refused]
    odd: list[str]


def read(path: Path | None) -> File:
    """The file, None is standard input, with its rows and those that cannot be read.

    Raises PhibenchError: exit 1 when it cannot be opened, exit 2 for what has no row at all.
    """
    name = path.name if path else "standard input"
    content = _bytes(path, name)
    text = _text(content, name)
    found = rows.found(logs.bare(text), name, _is_row)
    lines, refused, odd = [], list(found.refused), []
    for number, value in found.rows:
        try:
            lines.append(Line(number=number, row=_row(value), value=value))
        except PhibenchError as error:
            refused.append(Refused(number, str(error)))
    if not lines and not refused:
        what = f"has no test in it{_printed(text)}" if text.strip() else "is empty"
        raise PhibenchError(f"{name} {what}; {_ASK}")
    if found.open_since:
        odd.append(f"{name}, line {found.open_since}: the list that begins here has no end, so rows may be missing")
    if found.others:
        odd.append(f"other text in {name} is passed over: {found.others} line{'' if found.others == 1 else 's'}")
    return File(name, content, tuple(lines), sorted(refused), odd)


def _bytes(path: Path | None, name: str) -> bytes:
    try:
        if path:
            files.check_readable(path, MAX_BYTES)
            return path.read_bytes()
        content = sys.stdin.buffer.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise PhibenchError(f"there is no file {path}") from None
    except OSError as error:
        raise PhibenchError(f"cannot read {path or name}: {files.explained(error)}", FAILED) from None
    if len(content) > MAX_BYTES:
        raise PhibenchError(f"cannot read {name}: it has more than {MAX_BYTES} bytes", FAILED)
    return content


def _text(content: bytes, name: str) -> str:
    if other := next((what for mark, what in _OTHERS.items() if content.startswith(mark)), None):
        raise PhibenchError(f"{name} is {other}")
    return _COLOURS.sub("", decoded(content, name, whole=False))


def _printed(text: str) -> str:
    """What llama.cpp's tools print in their other formats, of which this is one."""
    return next((f": this is what {tool} prints" for tool, mark in _FORMATS.items() if mark.search(text)), "")


def _is_row(value: dict[str, Any]) -> bool:
    """A test, or what is left of one: no log writes two such names. A run of phibench is said to be one."""
    return len(_NAMES & value.keys()) > 1 or value.keys() >= _RUN


def _row(value: dict[str, Any]) -> Bench | Batched:
    if isinstance(value, rows.Doubled):
        raise PhibenchError(f"the key {value.key[:60]!r} appears twice in it")
    if value.keys() >= _RUN or ("setup" in value and "samples_ns" in value):
        raise PhibenchError("a row of phibench itself; keep the run file, phibench results FILE shows it")
    if {"pp", "tg", "pl"} <= value.keys():
        kind: type[Bench | Batched] = Batched
    elif {"n_prompt", "n_gen"} <= value.keys():
        kind = Bench
    else:
        raise PhibenchError("no test of llama-bench (n_prompt, n_gen) or llama-batched-bench (pp, tg, pl)")
    used = _used(value, kind)
    try:
        json.dumps(used, ensure_ascii=False).encode()  # half a character has no place in a run file
        return msgspec.convert(used, kind, strict=False)
    except (msgspec.ValidationError, OverflowError, UnicodeEncodeError) as error:
        raise PhibenchError(str(error)) from None


def _used(value: dict[str, Any], kind: type[Bench | Batched]) -> dict[str, Any]:
    """The fields that something follows from. Raises PhibenchError where one of them is no number."""
    used = {key: value[key] for key in kind.__struct_fields__ if value.get(key) is not None}
    for key, asked in _IDLE.items():
        if not used.get(asked) and _no_number(used.get(key)):
            del used[key]
    for key, one in used.items():
        if wrong := next(filter(_no_number, one if isinstance(one, list) else (one,)), None):
            raise PhibenchError(f"{key} is {wrong}, which is not a number")
    return used


def _no_number(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)
