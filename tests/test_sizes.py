"""Files and functions stay short enough to be read at once."""

from __future__ import annotations

import ast
import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAX_LINES, MAX_MEDIAN, MAX_FUNCTION = 300, 120, 40
REASON = "# long: "  # on the line of a function's def or the one above it, with a reason


def sources() -> list[Path]:
    return [path for folder in ("phibench", "dashboard") for path in sorted((ROOT / folder).rglob("*.py"))]


def long_functions(source: str) -> Iterator[str]:
    """Functions over the limit without a reason beside them; decorators do not count."""
    lines = source.splitlines()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            count = node.end_lineno - node.lineno + 1
            beside = lines[max(0, node.lineno - 2) : node.lineno]
            if count > MAX_FUNCTION and not any(line.partition(REASON)[2].strip() for line in beside):
                yield f"line {node.lineno}: {node.name} has {count} lines"


def test_no_file_is_long_and_most_are_short() -> None:
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in sources()}
    assert len(lines) > 200
    assert {str(path): count for path, count in lines.items() if count > MAX_LINES} == {}
    assert statistics.median(lines.values()) < MAX_MEDIAN


def test_no_function_is_long_without_a_reason() -> None:
    found = [f"{path}, {line}" for path in sources() for line in long_functions(path.read_text(encoding="utf-8"))]
    assert found == []


@pytest.mark.parametrize(
    ("above", "lines", "expected"),
    [
        ("", MAX_FUNCTION, []),
        ("", MAX_FUNCTION + 1, ["line 2: f has 41 lines"]),
        ("# long: one table", MAX_FUNCTION + 1, []),
        ("# long: ", MAX_FUNCTION + 1, ["line 2: f has 41 lines"]),
    ],
)
def test_a_long_function_is_found(above: str, lines: int, expected: list[str]) -> None:
    source = "\n".join((above, "def f():", *["    pass"] * (lines - 1)))
    assert list(long_functions(source)) == expected
    assert list(long_functions(source.replace("def", "async def"))) == expected
