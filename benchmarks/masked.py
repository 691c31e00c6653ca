"""What differs between two runs of the same phibench, masked: for same_outputs.py, which compares the rest.

- In all that is printed or written: ids and times from ``began`` on; free memory, which is another at every look.
  (The paths of a checkout and of its folders are masked where they are known.)
- In what is printed of measured figures: every number with its unit of time or bytes; breaks of lines, runs of spaces
  and of the rules of tables, which follow the numbers; the lines of PASSING. Of like lines in a row one stays.
- In a file of measured figures: numbers below the keys in MEASURED (the length of a list stays, up to MANY), and the
  keys in DROPPED.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable
from typing import Any

MANY = 50  # windows hold as many repetitions as there was time for
MEASURED = {
    "arrivals_s", "sampling_s", "start_s", "gauges", "load_s", "warmup_s", "readings", "windows", "memory",
    "free_bytes", "conditions", "seconds", "import_s", "copies", "huge_pages",
}  # fmt: skip
DROPPED = {"busy_share", "disturbed", "warnings"}  # there only where other programs were busy
PASSING = re.compile("doubtful: |tok/s in the first")  # so are these lines; a short window may have no second point
# Z-2: the second run that began in one second
_TIME = re.compile(r"\d{4}-?\d\d-?\d\d[T ]\d\d:?\d\d(:?\d\d(\.\d+)?)?(Z(-\d+\b)?| UTC|\+00:00)")
_FREE = re.compile(r"(memory_free_bytes\W{1,3}|this process may use )\d+(\.\d+)?")
_NUMBER = re.compile(
    r"(?<![\w−-])(?<!(?<!\.)\.)[-+−]?\d[\d,]*(\.\d+)?(e[-+]?\d+)?( ?(µs|ms|s|min|h|[kMGT]i?B|B)\b)?(?!\w)"
)
_RANGE = re.compile(r"#(( |–|/|\.\.)+#)+")


def since(began: str, text: str) -> str:
    """Ids and times from ``began`` on (digits: 20260101120000) become <now>; earlier ones stand in inputs."""

    def now(match: re.Match[str]) -> str:
        digits = re.sub(r"\D", "", match[0].split(".")[0].replace("+00:00", ""))
        return "<now>" if digits >= began[: len(digits)] else match[0]

    return _FREE.sub(r"\1#", _TIME.sub(now, text))


def varying_text(text: str) -> str:
    """What was printed of measured figures, without them."""
    text = _RANGE.sub("#", _NUMBER.sub("#", re.sub(r"\n +", " ", text)))
    lines = [re.sub(r"─+", "─", re.sub(r" +", " ", line)) for line in text.splitlines() if not PASSING.search(line)]
    return "".join(f"{line}\n" for line, _ in itertools.groupby(lines))


def json_file(text: str, varying: bool, without: Iterable[str] = ()) -> str:
    """A file of JSON, its keys in their order, those of ``without`` left out; what is no JSON is left as it is."""
    try:
        whole = json.loads(text)
    except ValueError:
        return text
    measured, dropped = (MEASURED, DROPPED) if varying else (set(), set())
    return json.dumps(_masked(whole, measured, {*dropped, *without}), indent=1, ensure_ascii=False) + "\n"


def _masked(value: Any, measured: set[str], dropped: set[str], hide: bool = False) -> Any:
    if isinstance(value, dict):
        return {k: _masked(v, measured, dropped, hide or k in measured) for k, v in value.items() if k not in dropped}
    if isinstance(value, list):
        if len(value) > MANY and measured:
            value = [value[0], f"more than {MANY}"]
        return [_masked(one, measured, dropped, hide) for one in value]
    if hide and not isinstance(value, bool) and re.fullmatch(r"[-\d.e+]+", str(value)):
        return "#"
    return value
