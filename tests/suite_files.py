"""Suites of a test's own, a machine for them, and the one run that came of it."""

from __future__ import annotations

from pathlib import Path

from phibench.core.nouns import Device, Limits, Machine

NULL = ("-b", "null", "-o", "json")


def suite_file(tmp_path: Path, text: str = "", look_s: float = 0) -> str:
    path = tmp_path / "small.toml"
    body = text or "prompt_tokens = [8, 16]\nnew_tokens = [4]\nrepetitions = 3\n[warmup]\nmax_windows = 1\n"
    path.write_text(
        f'name = "small"\nquestion = "?"\nmetrics = ["prefill_tps", "decode_tps"]\nlook_s = {look_s}\n{body}',
        encoding="utf-8",
    )
    return str(path)


def only_run(tmp_path: Path) -> Path:
    (path,) = (tmp_path / "results").rglob("*.json")
    return path


def machine(free_bytes: int = 8 << 30) -> Machine:
    limits = Limits(cpus=2.0, threads=2, memory_bytes=8 << 30, free_bytes=free_bytes)
    cpu = Device(kind="cpu", name="Test CPU")
    return Machine(name="test", os="linux", arch="x86_64", physical_cores=2, logical_cores=2, memory_bytes=8 << 30,
                   devices=(cpu,), limits=limits)  # fmt: skip
