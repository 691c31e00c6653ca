"""What engines say of themselves in logs, profiles and /proc: damaged or of another version, it is unknown."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from phibench.backends.llama_cpp import log
from phibench.backends.onnxruntime import buffers, profile

RAN = {"cat": "Node", "name": "x_kernel_time", "args": {"provider": "CPUExecutionProvider", "op_name": "MatMul"}}


@pytest.mark.parametrize("size", ["1.2.3", ".", "9" * 400, "nan", "-5.00", "٣٢"])
def test_a_size_that_is_no_number_is_no_buffer(size: str) -> None:
    text = f"load_tensors: CPU model buffer size = {size} MiB\nllama_kv_cache: size = {size} MiB ( 64 cells )\n"
    assert log.by_use(text) == {}
    assert log.kv_bytes(text) is None


def test_a_log_without_a_line_of_the_kv_cache() -> None:
    assert log.kv_bytes("load_tensors: CPU model buffer size = 5.50 MiB\n") is None
    assert log.kv_bytes("llama_kv_cache: size =  512.00 MiB (  4096 cells )") == 512 << 20


def test_a_long_line_of_a_log_takes_no_time_and_is_not_quoted_whole() -> None:
    text = f"{'a' * 200_000} buffer size = 1 MiB using device {'b' * 200_000}\n"
    assert log.by_use(text) == {}  # quadratic, this would take minutes
    assert sum(map(len, log.evidence(text))) < 1000


@pytest.mark.parametrize(
    "odd",
    [3, "x", None, [RAN], {}, {"cat": "Node"}, RAN | {"args": None}, RAN | {"name": 5}, RAN | {"args": ["provider"]},
     {"cat": ["Node"], "name": {}}],
)  # fmt: skip
def test_an_event_of_another_form_is_passed_over(odd: Any) -> None:
    found = profile.nodes(json.dumps([odd, RAN]).encode())
    assert dict(found) == {("CPUExecutionProvider", "MatMul"): 1}
    assert profile.nodes(json.dumps({"traceEvents": odd}).encode()) == {}
    assert profile.nodes(b"3") == profile.nodes(b"null") == profile.nodes(b"[") == {}


def test_a_provider_that_is_no_name_is_none() -> None:
    found = profile.nodes(json.dumps([RAN | {"args": {"provider": 3, "op_name": ["x"]}}, RAN]).encode())
    assert dict(found) == {("", ""): 1, ("CPUExecutionProvider", "MatMul"): 1}
    assert profile.evidence(found)
    assert profile.placement(found)


def test_a_process_with_a_name_that_is_no_ascii_and_odd_mappings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buffers, "_PROC", tmp_path)
    (tmp_path / "status").write_bytes("Name:\tpythön\nRssAnon:\t  5000 kB\n".encode())
    folder = tmp_path / "model"
    lines = [
        f"7f00-7f10 r--p 0 0 7 {folder}/a",
        f"7f10-7f00 r--p 0 0 7 {folder}/b",
        f"x-y r--p 0 0 7 {folder}/c",
        "7f-",
    ]
    (tmp_path / "maps").write_bytes("\n".join(lines).encode() + os.fsencode("\n\udcff\n"))
    assert buffers.anonymous_bytes() == 5000 << 10
    assert buffers.since(None, folder).mapped_bytes == 0x10
