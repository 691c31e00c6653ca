"""Where the nodes of a graph ran, by a profile that ONNX Runtime wrote of one run. Pure functions."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

_CPU = "CPUExecutionProvider"
_HEAVY = re.compile(r"MatMul|Gemm|Attention|Fused|_")  # and what a provider compiled into one node
_MOST_CHARS = 100  # of a name
_MAX_PROFILE_BYTES = 64 << 20  # one run of the largest Phi has some 500 nodes, 600 bytes each


def nodes(profile: bytes) -> Counter[tuple[str, str]]:
    """(provider, operator) -> nodes executed, from a profile that ONNX Runtime wrote; empty where it says nothing.

    An event of another form is none of a node.
    """
    try:
        events = json.loads(profile) if len(profile) <= _MAX_PROFILE_BYTES else []
    except (ValueError, RecursionError):
        return Counter()
    found = (event for event in events if isinstance(event, dict)) if isinstance(events, list) else ()
    ran = (event.get("args") for event in found if event.get("cat") == "Node" and _is_run(event.get("name")))
    return Counter((_name(args, "provider"), _name(args, "op_name")) for args in ran if isinstance(args, dict))


def _is_run(name: Any) -> bool:
    return isinstance(name, str) and name.endswith("_kernel_time")


def _name(args: dict[str, Any], key: str) -> str:
    name = args.get(key)
    return name[:_MOST_CHARS] if isinstance(name, str) else ""


def placement(found: Counter[tuple[str, str]]) -> str:
    """Where the nodes ran, and which of the heavy ones a device left to the cpu."""
    text = _counts(found)
    on_cpu = Counter({op: n for (provider, op), n in found.items() if provider == _CPU and _HEAVY.search(op)})
    if on_cpu and any(provider not in (_CPU, "") for provider, _ in found):
        text += "; partial fallback to the cpu: " + ", ".join(f"{n} {op}" for op, n in on_cpu.most_common())
    return text


def _counts(found: Counter[tuple[str, str]]) -> str:
    """``CPUExecutionProvider 27 nodes (13 of 13 matrix products and attentions)``, most first."""
    by_provider: Counter[str] = Counter()
    heavy: Counter[str] = Counter()
    for (provider, operator), count in found.items():
        by_provider[provider] += count
        heavy[provider] += count * bool(_HEAVY.search(operator))
    return "; ".join(
        f"{provider} {count} nodes ({heavy[provider]} of {heavy.total()} matrix products and attentions)"
        for provider, count in by_provider.most_common()
    )


def evidence(found: Counter[tuple[str, str]]) -> tuple[str, ...]:
    """One line for each provider: what it executed in one run, as ONNX Runtime's profile says."""
    lines = []
    for provider in sorted({provider for provider, _ in found}):
        of_it = Counter({operator: count for (name, operator), count in found.items() if name == provider})
        lines.append(f"{provider}: " + ", ".join(f"{count} {operator}" for operator, count in of_it.most_common()))
    return tuple(lines)


def fallback(found: Counter[tuple[str, str]], wanted: str) -> str | None:
    """Why this run was none of ``wanted``: it executed nothing, or fewer heavy nodes than the cpu."""
    ran = {name: sum(n for (p, op), n in found.items() if p == name and _HEAVY.search(op)) for name in (wanted, _CPU)}
    if not any(provider == wanted for provider, _ in found):
        return f"{wanted} executed no node: {_counts(found) or 'the profile says nothing'}"
    if ran[_CPU] > ran[wanted]:
        return f"most matrix products and attentions ran on the cpu: {_counts(found)}"
    return None
