"""What ``phibench hardware`` shows: the table of devices, one device in detail, rows for programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from phibench.catalog import hardware
from phibench.core import units
from phibench.core.nouns import Hardware
from phibench.core.text import number
from phibench.show import tables
from phibench.show.tables import Column

Record = dict[str, Any]
_SOURCE_CHARS, _SHORT_CHARS = 40, 12
_MARK = "..."


def text(words: Sequence[str], output: str, width: int | None = None) -> str:
    """The command's output. ``table`` and ``md`` are for people, the other forms hold ``records``.

    Raises PhibenchError (exit 2) where no row has all the words and they are no device's name.
    """
    found = chosen(words)
    if output not in ("table", "md"):
        return tables.text(records(found), output, name="phibench_hardware")
    if len(found) == 1:
        lines = [{"": label, found[0].name: what} for label, what in detail(found[0])]
        return tables.text(lines, output, width)
    if output == "md":
        return tables.markdown(found, _columns(whole=True))
    caption = (
        f"{len(found)} devices: memory (where shared, the most that is sold), bandwidth, dense fp16, power.\n"
        "'phibench hardware WORD...' shows those that contain all words; a single one is shown in full."
    )
    return tables.draw(found, _columns(), width, caption) + "\n"


def chosen(words: Sequence[str]) -> tuple[Hardware, ...]:
    """Rows in which all words stand, whatever their case; else those that the words together name."""
    wanted = [word.lower() for word in words]
    found = tuple(row for row in hardware.rows() if all(word in _searched(row) for word in wanted))
    found = found or hardware.versions(" ".join(words))
    if not found:
        raise hardware.unknown(" ".join(words))
    return found


def _searched(row: Hardware) -> str:
    return " ".join((row.name, row.kind, row.vendor, row.architecture, *row.also)).lower()


def records(found: Sequence[Hardware]) -> list[Record]:
    """For programs: every field of every row, in SI units; what is not known is None."""
    fields = [field for field, _ in hardware.COLUMNS.values()]
    fields.insert(fields.index("memory_bytes"), "shares_memory")
    return [{field: _data(getattr(row, field)) for field in fields} for row in found]


def _data(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else None if value == "" else value


def detail(row: Hardware) -> list[tuple[str, str]]:
    """What is known of one device, as label and text."""
    clocks = [f"{hz / 1e9:g} GHz {of}" for hz, of in ((row.base_hz, "base"), (row.boost_hz, "boost")) if hz]
    modules = _modules(row)
    npu = [row.npu, f"{row.npu_ops_s / 1e12:g} TOPS" if row.npu_ops_s else ""]
    shared = "shared with the machine; the most that is sold" if row.shares_memory else ""
    lines = [
        ("kind", f"{row.kind}, {row.vendor}"),
        ("architecture", row.architecture),
        ("also called", ", ".join(row.also)),
        ("memory", " ".join(filter(None, (_memory(row), shared))) if row.memory_bytes else ""),
        ("bandwidth", f"{row.read_bytes_s / 1e9:.4g} GB/s" if row.read_bytes_s else ""),
        ("fp16", f"{_tera(row.fp16_flops_s)} TFLOP/s, dense" if row.fp16_flops_s else ""),
        ("int8", f"{_tera(row.int8_ops_s)} TOP/s, dense" if row.int8_ops_s else ""),
        ("power", f"{row.tdp_w:g} W" if row.tdp_w else ""),
        ("cores", _cores(row)),
        ("clock", ", ".join(clocks)),
        ("instruction sets", " ".join(row.instruction_sets)),
        ("memory modules", modules),
        ("last-level cache", units.gib(row.l3_bytes) if row.l3_bytes else ""),
        ("NPU", ", ".join(filter(None, npu))),
        ("graphics", row.graphics),
        ("source", row.source),
    ]
    return [(label, what) for label, what in lines if what]


def _cores(row: Hardware) -> str:
    if row.performance_cores is None:
        return ""
    kinds = f"{row.performance_cores} performance, {row.efficiency_cores} efficiency" if row.efficiency_cores else ""
    threads = f"{row.threads} threads" if row.threads else ""
    return ", ".join(filter(None, (kinds or f"{row.performance_cores}", threads)))


def _modules(row: Hardware) -> str:
    rate = f"{row.memory_transfers_s / 1e6:g} MT/s" if row.memory_transfers_s else ""
    return f"{row.memory_channels} channels of {rate or '8 bytes'}" if row.memory_channels else rate


def _columns(*, whole: bool = False) -> list[Column[Hardware]]:
    return [
        Column(title="name", cell=lambda row: row.name),
        Column(title="kind", cell=lambda row: row.kind, short=lambda row: row.kind.removeprefix("gpu-"), rank=1),
        Column(title="memory", cell=_memory, right=True),
        Column(
            title="GB/s", cell=lambda row: f"{row.read_bytes_s / 1e9:.4g}" if row.read_bytes_s else None, right=True
        ),
        Column(title="TFLOP/s", cell=lambda row: _tera(row.fp16_flops_s), right=True),
        Column(title="W", cell=lambda row: f"{row.tdp_w:g}" if row.tdp_w else None, right=True, rank=3),
        Column(
            title="source",
            cell=(lambda row: row.source) if whole else (lambda row: _cut(row.source, _SOURCE_CHARS)),
            short=lambda row: _cut(row.source, _SHORT_CHARS),
            rank=2,
        ),
    ]


def _cut(words: str, chars: int) -> str:
    return words if len(words) <= chars else words[: chars - len(_MARK)].rstrip() + _MARK


def _memory(row: Hardware) -> str | None:
    return f"{row.memory_bytes / (1 << 30):g} GiB" if row.memory_bytes else None


def _tera(rate: float | None) -> str | None:
    return number(rate / 1e12) if rate else None
