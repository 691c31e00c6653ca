"""A machine in lines: label and value, in groups. What was measured and what a data sheet says stand apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from phibench import backends
from phibench.core import units
from phibench.core.nouns import Cache, Device, Installed, Machine, Processor, Source
from phibench.core.text import plain
from phibench.show import busy

Lines = list[tuple[str, str]]
UNKNOWN = "not known"
_LABEL = 18


def text(machine: Machine, width: int, clean: Callable[[str], str] = plain) -> str:
    """All groups for a terminal of ``width`` columns; long values, cleaned first, go on under themselves."""
    from phibench.core.text import wrap

    parts = []
    for title, lines in groups(machine):
        parts.append(title)
        for label, value in lines:
            first, *more = wrap(clean(value), max(20, width - _LABEL - 2)) or [""]
            parts.append(f"  {label:<{_LABEL}}{first}".rstrip())
            parts += [f"  {'':<{_LABEL}}{line.strip()}" for line in more]
        parts.append("")
    return "\n".join(parts).rstrip() + "\n"


def short(machine: Machine) -> Lines:
    """Label and value of the few lines that a person reads while waiting."""
    limits, processor = machine.limits, machine.device("cpu")
    cores = f"{limits.cpus:g} of {machine.logical_cores} ({machine.physical_cores} physical cores)"
    return [
        ("CPU", processor.name if processor else machine.name),
        ("Usable cpus", f"{cores}; threads used: {limits.threads}"),
        *([("For prefill", ", ".join(p.for_prefill))] if (p := machine.processor) and p.for_prefill else []),
        ("Memory", f"{units.gib(limits.memory_bytes)} usable of {units.gib(machine.memory_bytes)}"),
        ("Free now", units.gib(limits.free_bytes)),
        *((f"Device {d.kind}", d.name) for d in machine.devices if d.kind != "cpu"),
        *(_bandwidth_lines(processor) if processor else ()),
        *(("Note", note) for note in limits.notes),
    ]


def _bandwidth_lines(processor: Device) -> Iterator[tuple[str, str]]:
    if not processor.read_bytes_s:
        yield "Read bandwidth", processor.because or "not measured"
        return
    origin = {"probed": "measured", "spec": "data sheet"}.get(processor.basis or "", "source unknown")
    yield "Read bandwidth", f"{busy.gb_s(processor.read_bytes_s, processor.most_read_bytes_s)} ({origin})"
    if processor.doubt:
        yield "Note", f"read bandwidth is {processor.doubt}"


def groups(machine: Machine) -> list[tuple[str, Lines]]:
    """Titles with their lines; a group without lines is left out."""
    npus = [d for d in machine.devices if d.kind.startswith("npu")]
    gpus = [d for d in machine.devices if d.kind != "cpu" and d not in npus]
    found: list[tuple[str, Lines]] = [
        ("Processor", list(_processor(machine))),
        ("What a program may use here", list(_limits(machine))),
        ("Speed: measured here | data sheet", [line for d in (machine.devices) for line in _speeds(d)]),
        ("GPUs", [line for d in gpus for line in _device(d)] or [("none", "no GPU or no driver for one")]),
        ("NPUs", [line for d in npus for line in _device(d)] or [("none", "no NPU that the system shows")]),
        ("Engines", [line for b in machine.backends for line in _engine(b, machine)]),
        ("Energy", [(s.name, _source(s)) for s in machine.energy]
                   or [("none", "no counter that a program can read")]),
        ("Storage and power", list(_rest(machine))),
    ]  # fmt: skip
    return [(title, lines) for title, lines in found if lines]


def _processor(machine: Machine) -> Iterator[tuple[str, str]]:
    cpu = machine.device("cpu")
    yield "name", cpu.name if cpu else machine.name
    p = machine.processor or Processor()
    kinds = ""
    if p.performance_cores and p.efficiency_cores:
        kinds = f" ({p.performance_cores} performance, {p.efficiency_cores} efficiency)"
    sockets = f", {p.sockets} sockets" if p.sockets and p.sockets > 1 else ""
    yield "cores", f"{machine.physical_cores} physical{kinds}, {machine.logical_cores} logical{sockets}"
    if p.instruction_sets:
        yield "instruction sets", " ".join(p.instruction_sets)
        yield "for prefill", ", ".join(p.for_prefill) or "none that speeds it up"
    if p.caches:
        yield "caches", ", ".join(map(_cache, p.caches))
    settings = [
        ("NUMA nodes", str(p.numa_nodes) if p.numa_nodes and p.numa_nodes > 1 else None),
        ("governor", p.governor),
        ("energy preference", p.energy_preference),
        ("platform profile", p.platform_profile),
        ("turbo", {True: "on", False: "off"}.get(p.turbo) if p.turbo is not None else None),
        ("highest clock", f"{p.max_hz / 1e9:.2f} GHz" if p.max_hz else None),
        ("huge pages", p.huge_pages),
        ("hypervisor", p.hypervisor),
        ("container", p.container),
        ("emulated", p.emulated),
    ]
    yield from ((label, value) for label, value in settings if value)


def _cache(cache: Cache) -> str:
    kind = {"data": "d", "instruction": "i", "unified": ""}[cache.kind]
    size = units.gib(cache.bytes) if cache.bytes >= 1 << 20 else f"{cache.bytes >> 10} KiB"
    many = f"{cache.count} x " if cache.count > 1 else ""
    return f"L{cache.level}{kind} {many}{size}"


def _limits(machine: Machine) -> Iterator[tuple[str, str]]:
    limits = machine.limits
    yield "cpus", f"{limits.cpus:g} of {machine.logical_cores}; threads used: {limits.threads}"
    yield "memory", f"{units.gib(limits.memory_bytes)} of {units.gib(machine.memory_bytes)}"
    yield "free now", units.gib(limits.free_bytes)
    if limits.swap_bytes is not None:
        yield "swap free", units.gib(limits.swap_bytes) if limits.swap_bytes else "none"
    yield from (("note", note) for note in limits.notes)


def _speeds(device: Device) -> Iterator[tuple[str, str]]:
    """One line per device: what was measured, a bar, what clocks and bus width or a table promise."""
    measured = device.basis == "probed"
    most = device.most_matrix_flops_s
    read = (
        f"read {busy.gb_s(device.read_bytes_s, device.most_read_bytes_s)}" if measured and device.read_bytes_s else ""
    )
    copy = f"copy {units.gb(device.copy_bytes_s)}/s" if device.copy_bytes_s else ""
    rates = [f"{kind} {busy.flops_s(rate, most.get(kind))}" for kind, rate in device.matrix_flops_s.items()]
    sheet = device.spec_read_bytes_s or (device.read_bytes_s if device.basis == "spec" else None)
    promised = [f"read {units.gb(sheet)}/s"] if sheet else []
    promised += [busy.flops_s(device.flops_s)] if device.flops_s else []
    seen = ", ".join(filter(None, (read, copy, *rates)))
    if device.kind.startswith("npu") and not seen and not promised:
        return
    yield device.kind, f"{seen or 'not measured'} | {', '.join(promised) or UNKNOWN}"
    if device.doubt:
        yield "", device.doubt
    if device.matrix_doubt and device.matrix_doubt != device.doubt:
        yield "", f"matrix rate {device.matrix_doubt}"
    if not device.doubt and not device.read_bytes_s and device.because:
        yield "", device.because


def _device(device: Device) -> Iterator[tuple[str, str]]:
    memory = units.gib(device.memory_bytes) if device.memory_bytes else "memory not known"
    free = f", {units.gib(device.free_bytes)} free" if device.free_bytes is not None else ""
    shared = " shared with the processor" if device.shares_memory and device.memory_bytes else ""
    driver = f", driver {device.driver}" if device.driver else ""
    npu = device.kind.startswith("npu")
    yield device.kind, f"{device.name}{driver}" if npu else f"{device.name}, {memory}{shared}{free}{driver}"
    if device.facts:
        yield "", ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in device.facts.items())
    yield from (("", note) for note in device.notes)


def _engine(found: Installed, machine: Machine) -> Iterator[tuple[str, str]]:
    yield found.backend, _installed(found)
    known = found.backend in backends.names()  # a described machine may have others
    if known and (note := backends.load(found.backend).build_note(machine.processor or Processor(), found.features)):
        yield "", note


def _installed(found: Installed) -> str:
    if found.version is None:
        return "; ".join((f"not installed: {found.install}", *found.notes))
    devices = f"for {', '.join(found.devices)}" if found.devices else ""
    features = f"built with {' '.join(found.features)}" if found.features else ""
    return "; ".join(filter(None, (f"{found.version} {devices}".strip(), features, *found.notes)))


def _source(source: Source) -> str:
    how = "counter" if source.method == "counter" else "power readings"
    state = "readable" if source.readable else "not readable"
    return f"{how}, {source.scope.replace('_', ' ')}, {state}{f': {source.because}' if source.because else ''}"


def _rest(machine: Machine) -> Iterator[tuple[str, str]]:
    disk = machine.storage
    if disk:
        free = f"{units.gib(disk.free_bytes)} free" if disk.free_bytes is not None else ""
        read = f"reads {units.gb(disk.read_bytes_s)}/s" if disk.read_bytes_s else disk.because
        yield "cache folder", ", ".join(filter(None, (free, read)))
    if machine.power:
        yield "power", machine.power
