"""The lines that run a recommended Phi: for each tool that takes its build, from nothing installed to a first word."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple, get_args

from phibench import backends, catalog
from phibench.catalog import builds, tools
from phibench.core import amounts, units
from phibench.core.nouns import (
    Build,
    Goal,
    Howto,
    Line,
    Machine,
    Part,
    Prerequisite,
    Setup,
    System,
    Tool,
    Variant,
    Verdict,
    Way,
    Words,
)
from phibench.predict import costs, offload

_NEEDED: dict[str, Part] = {offload.EXPERTS: "experts", costs.KV_OPTIONS[0]: "kv"}
QUESTION = "Why is the sky blue?"
_NAME = re.compile(r"\{([a-z_]+)\}")
_ALL = "all"
# Names of files in which a quantization stands within another one's, so that a tool that looks for it by the end of a
# name may take the other: "BF16." has "F16." in it (common/download.cpp of llama.cpp, find_best_model).
_WITHIN = ("F16",)


class _Use(NamedTuple):
    """One tool with one build, on one machine."""

    tool: Tool
    build: Build
    verdict: Verdict
    variant: Variant
    machine: Machine
    goal: Goal
    system: System

    @property
    def device(self) -> str:
        return self.verdict.setup.device.partition(":")[0]

    @property
    def own(self) -> bool:
        """Whether the build is one that the tool has a name of its own for."""
        return bool(self.tool.owner) and _owner(self.build) == self.tool.owner


def howtos(machine: Machine, goal: Goal, verdict: Verdict) -> tuple[Howto, ...]:
    """Of every tool that takes the verdict's build, or has one of the same kind, on the machine's system, in order.

    Empty where there is none: it is a no, nobody offers the build, it is a phone, or something is to be trained.
    """
    system = next((name for name in get_args(System) if name == machine.os), None)
    if system is None or verdict.verdict == "no" or goal.training or verdict.build is None or verdict.build.made:
        return ()
    variant, found = catalog.variant(verdict.setup.variant), []
    for name, tool in tools.tools().items():
        build = _build(tool, verdict, machine)
        if build is not None and _runs(tool, variant, machine, system, verdict.setup):
            use = _Use(tool, build, verdict, variant, machine, goal, system)
            found += [_howto(name, use)] if _fits_so(use) else []
    return tuple(found)


def _runs(tool: Tool, variant: Variant, machine: Machine, system: System, setup: Setup) -> bool:
    """Whether it is for this system, this Phi and its weights; what nobody knows does not speak against it."""
    if variant.id in tool.leaves_out:
        return False
    known = variant.runtime(tool.runtime)
    first = tools.prerequisite(tool.needs)
    on = system in first.install and system in (tool.for_systems or (system,))
    on = on and first.chips.get(system, _arch(machine)) == _arch(machine)
    told = bool(variant.chat_template.tokens or tool.plain)
    named = not tool.quantizations or setup.quantization in tool.quantizations
    return on and told and named and (known is None or known.runs is not False)


def _fits_so(use: _Use) -> bool:
    """Whether the tool has flags for what makes it fit: experts on the host, a KV cache in eight bits."""
    wanted = {_NEEDED[name] for name, _ in use.verdict.setup.options if name in _NEEDED}
    return wanted <= {*use.tool.settings, *use.tool.typed}


def _build(tool: Tool, verdict: Verdict, machine: Machine) -> Build | None:
    """What the tool takes: its own of this quantization, else the verdict's."""
    build, kind = verdict.build, verdict.setup.device.partition(":")[0]
    assert build is not None
    if tool.devices and kind not in tool.devices and not (tool.beside and _has(machine, tool.devices)):
        return None
    if build.format in tool.beside:
        return _nearest(tool, verdict)
    if build.format not in tool.formats or build.branch:  # few have a flag for it, and the usual one has another Phi
        return None
    same = builds.all_offered(build.variant, build.format, build.quantization, kind)
    own = next((one for one in same if _owner(one) == tool.owner), None)
    if own or tool.only_own:
        return own
    return next((one for one in (build, *same) if _owner(one) not in tools.off_hub() and not one.branch), None)


def _has(machine: Machine, kinds: Sequence[str]) -> bool:
    return any(device.kind.partition(":")[0] in kinds for device in machine.devices)


def _nearest(tool: Tool, verdict: Verdict) -> Build | None:
    """Of the tool's own format the build whose bits are nearest, the finer one of two."""
    wanted = next(q.bits for q in catalog.quantizations() if q.id == verdict.setup.quantization)
    of_it = (build for build in builds.builds(verdict.setup.variant) if build.format in tool.formats)
    found = [(abs(bits - wanted), -bits, build) for build in of_it if (bits := _bits(build))]
    return min(found, key=lambda one: one[:2])[2] if found else None


def _bits(build: Build) -> int | None:
    """As MLX names its quantizations: "4bit"."""
    named = re.fullmatch(r"(\d+)bit", build.quantization)
    return int(named[1]) if named else None


def _arch(machine: Machine) -> str:
    """As those who publish programs write it."""
    return "arm64" if machine.arch.lower() in ("arm64", "aarch64") else "x64"


def _owner(build: Build) -> str:
    return build.repository.partition("/")[0]


def _howto(name: str, use: _Use) -> Howto:
    tool, first = use.tool, tools.prerequisite(use.tool.needs)
    names = _names(use, first)
    said = tool.run if use.variant.chat_template.tokens else tool.plain
    commands = (*first.install[use.system], *tool.install, *said)
    lines = [Line(words=tuple(_words(words, use, names))) for words in commands]
    typed = [words for part, words in tool.typed.items() if part in _settings(use)]
    lines += [Line(words=tuple(_filled(word, names) for word in words), typed=True) for words in typed]
    return Howto(
        tool=name, title=tool.title, system=use.system, repository=use.build.repository, file=use.build.path,
        lines=tuple(lines), misses=_misses(use, first), notes=tuple(_notes(use, first, names)), help=tool.help,
    )  # fmt: skip


def _words(words: Words, use: _Use, names: dict[str, str]) -> Iterator[str]:
    """With what names in braces stand for; one alone may be several words."""
    tool, settings = use.tool, _settings(use)
    several: dict[str, Words] = {
        "{settings}": tuple(word for part in settings for word in tool.settings.get(part, ())),
        "{packages}": tool.packages.get(use.device, tool.packages.get("", ())),
        "{model}": tool.model.get(_way(use), ()),
    }
    inside = tool.joint.join(several["{settings}"])
    for word in words:
        for one in several.get(word, (word.replace("{settings}", inside),)):
            yield _filled(one, names)


def _filled(word: str, names: dict[str, str]) -> str:
    """Twice: what a program is called on a system may have a name in it."""
    once = _NAME.sub(lambda found: names[found[1]], word)
    return _NAME.sub(lambda found: names[found[1]], once)


def _way(use: _Use) -> Way:
    """By the quantization where that finds the file and no other."""
    if use.own:
        return "own"
    path, quantization = use.build.path, use.build.quantization
    if path is None:
        return "short"
    named = re.search(re.escape(quantization) + r"[.-]", path, re.IGNORECASE)
    return "short" if named and quantization not in _WITHIN else "exact"


def _settings(use: _Use) -> dict[Part, dict[str, str]]:
    """What is set of the opened model, as the setup has it and with what the advice was reckoned."""
    options = backends.effective(use.verdict.setup)
    offloads = use.device != "cpu"
    layers = options.get("n_gpu_layers") or (_ALL if offloads else "0")
    threads = options.get("threads") or str(use.machine.limits.threads)
    found: dict[Part, dict[str, str]] = {
        "context": {"context": str(use.goal.context)},
        "threads": {"threads": threads},
        "layers": {"layers": layers},
    }
    if options.get("n_cpu_moe", "0") != "0":
        found["experts"] = {"experts": options["n_cpu_moe"]}
    if sum(device.kind.partition(":")[0] == use.device for device in use.machine.devices) > 1:
        found["gpu"] = {"gpu": use.verdict.setup.device.partition(":")[2] or "0"}
    if "type_k" in options:
        found["kv"] = {"type_k": options["type_k"], "type_v": options["type_v"]}
        found["flash"] = {"flash": options["flash_attn"]}
    return found


def _names(use: _Use, first: Prerequisite) -> dict[str, str]:
    """What each name in braces stands for."""
    build, tool = use.build, use.tool
    repository, path = build.repository, build.path or ""
    title = repository.partition("/")[2]
    found = {
        "repository": repository,
        "alias": title,
        "tag": f"{title}:{path}",
        "key": title.lower().removesuffix("-gguf"),
        "file": path or f"*{build.quantization}*",
        "name": PurePosixPath(path).name,
        "folder": f"{path}/" if path else "",
        "quantization": tool.quantizations.get(build.quantization, build.quantization),
        "provider": tool.providers.get(use.device, use.device),
        "question": QUESTION,
        "new_tokens": str(_new_tokens(use.goal, use.variant)),
        "arch": _arch(use.machine),
        "homebrew": "/opt/homebrew" if _arch(use.machine) == "arm64" else "/usr/local",  # docs.brew.sh/Installation
        **first.programs.get(use.system, {}),
    }
    for part, known in _settings(use).items():
        called = tool.values.get(part, {})
        found |= {name: called.get(value, value) for name, value in known.items()}
    return found | {"share": _share(_settings(use)["layers"]["layers"], use.variant)}


def _new_tokens(goal: Goal, variant: Variant) -> int:
    """Of an answer, with its thoughts where the variant thinks."""
    thoughts = (goal.thinking_tokens or variant.recommended_max_new_tokens or 0) if variant.reasoning else 0
    return goal.new_tokens + thoughts


def _share(layers: str, variant: Variant) -> str:
    """Of the layers that go to the GPU: off, max, or between."""
    if layers in (_ALL, "0"):
        return "max" if layers == _ALL else "off"
    count = (variant.shape.layers if variant.shape else 0) + 1  # the output counts as one
    return f"{min(int(layers) / count, 1.0):.2f}"


def _misses(use: _Use, first: Prerequisite) -> str:
    """Where the lines run, and elsewhere than was advised."""
    reaches = first.reaches.get(use.system, (use.device,))
    if use.device in reaches:
        return ""
    otherwise = first.otherwise[use.system]
    return f"what these lines install is for {' and '.join(reaches)}, not for {use.device}: {otherwise}"


def _notes(use: _Use, first: Prerequisite, names: dict[str, str]) -> Iterator[str]:
    tool, settings = use.tool, _settings(use)
    if aside := first.asides.get(use.system):
        yield aside
    for note in tool.notes:
        yield note.format_map(names)
    usual = backends.load(use.verdict.setup.backend).DEFAULTS
    if "kv" in tool.unset and settings.get("kv", {}).get("type_k", "f16") != usual.get("type_k", "f16"):
        yield tool.unset["kv"].format_map(names)
    if "experts" in tool.unset and "experts" in settings:
        yield tool.unset["experts"].format_map(names)
    if not use.variant.chat_template.tokens:
        yield f"no chat template of {use.variant.title} is known: it continues the text that it is given"
    if use.build != use.verdict.build:
        yield f"not the same file as in the advice: {use.build.repository}, {use.build.quantization}"
    if not tool.measured_by:
        yield _not_measured(use)
    if use.goal.images or use.goal.audio_s:
        yield "these lines take only text"


def _not_measured(use: _Use) -> str:
    """With what its build would do, did it read memory at the share of its speed that the advice counts with."""
    plain = "phibench does not measure this tool"
    decode = use.verdict.estimates.get("decode_tps")
    grounds, read = decode and decode.grounds, use.verdict.build and use.verdict.build.bytes
    size = use.build.bytes or _mlx_bytes(use.build, use.variant)
    if not (use.tool.beside and decode and grounds and grounds.share and size and read):
        return plain
    told = amounts.amount("decode_tps", decode.value * read / size, 2)
    return (
        f"{plain}: reading its {units.gb(size)} at the same {grounds.share:.0%} of the memory's speed as "
        f"{use.verdict.setup.backend} it would decode about {told} tok/s, predicted and not measured here"
    )


def _mlx_bytes(build: Build, variant: Variant) -> int | None:
    """Of groups of 64 weights with a scale and a bias of 16 bits each: half a bit more per weight. The builds whose
    size is known have it so, 2.16 GB of 3.84 B weights and 2.15 of 3.82 in 4 bits."""
    bits = _bits(build)
    return round(variant.parameters * (bits + 0.5) / 8) if bits and variant.parameters else None
