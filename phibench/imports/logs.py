"""What programs that keep logs put around every line: of a row on several lines, each is behind a stamp of its own."""

from __future__ import annotations

import json
import re

_BEFORE = re.compile(  # docker logs -t, a job of GitHub, Kubernetes; journalctl; docker compose; a quotation
    r"^(?:(?:"
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[\d.,]*(?:Z|[+-]\d\d:?\d\d)?(?: std(?:out|err) [FP])?"
    r"|[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d [\w.-]{1,64} [^\s\[\]:]{1,64}(?:\[\d{1,10}\])?:"
    r"|\[[\w./:+-]{1,64}(?: [\w./:+-]{1,64})?\]"
    r"|[\w.-]{1,64} {0,64}\|"
    r"|>"
    r")(?: |$))+",
    re.MULTILINE | re.ASCII,
)
_RECORDS = re.compile(r'\s*\{[^{}\n]{0,200}"log" ?: ?"')


def bare(text: str) -> str:
    """The lines as they were printed. Docker's json-file has each in an object (docker/compose issue 2156)."""
    if _RECORDS.match(text):
        text = "".join(_printed(line) for line in text.split("\n"))
    return _BEFORE.sub("", text)


def _printed(record: str) -> str:
    """Of one record; of what is none, the line itself."""
    try:
        found = json.loads(record)
    except (ValueError, RecursionError):
        return record + "\n"
    said = found.get("log") if isinstance(found, dict) else None
    return said if isinstance(said, str) else record + "\n"
