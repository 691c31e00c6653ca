"""What the doctor finds about NUMA nodes: memory on several of them, or far from the cpus that this process may use."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from phibench.core import units
from phibench.core.nouns import Conditions, Finding, Machine, Node, Processor

_ONE_NODE = "keeps cpus and memory on one node"


def has_far_memory(machine: Machine, _: Conditions) -> Iterator[Finding]:
    p = machine.processor or Processor()
    near = [node for node in p.nodes if node.cpus and node.runs]
    whole = [node for node in near if node.holds and node.memory_bytes != 0]
    if bare := [node for node in near if node not in whole]:
        yield _bare(bare, whole, p.nodes)
    elif len(whole) > 1 or (not p.nodes and (p.numa_nodes or 0) > 1):
        yield _several(whole, p.numa_nodes or len(whole))
    alone = [node for node in p.nodes if not node.cpus and node.holds and node.memory_bytes]
    if alone and whole and not bare:
        yield _note("some memory is on NUMA nodes without cpus", _listed(alone),
                    f"CXL, HBM or a GPU's: numactl --membind={_numbers(whole)} phibench ... leaves it out")  # fmt: skip


def _bare(bare: Sequence[Node], whole: Sequence[Node], nodes: Sequence[Node]) -> Finding:
    title, evidence = f"cpus of NUMA node {_numbers(bare)} have no memory of their own", _listed(nodes)
    stores = [node for node in nodes if node.holds and node.memory_bytes != 0]
    if kept := not all(node.holds for node in bare):  # by what this process may use, not by the machine
        where = f"memory of node {_numbers(stores)}" if stores else "no memory that is near"
        evidence = f"this process may use cpus of node {_numbers([*whole, *bare])}, and {where}"
    if whole:
        remedy = _bound([_largest(whole)])
    elif stores and not kept:
        remedy = f"numactl --preferred={_largest(stores).numbers[0]} phibench ... takes the memory there first"
    else:
        remedy = "start the job with cpus and memory of one node (docker: --cpuset-cpus and --cpuset-mems)"
    return Finding(severity="slow", title=title, evidence=evidence, remedy=remedy)


def _several(whole: Sequence[Node], count: int) -> Finding:
    """Sockets are far from each other. The nodes of one (SNC, NPS) are near, and each has a part of the channels only:
    interleaved, a model is read through all of them (vllm pull request 30800: 30 % faster with NPS4)."""
    title, evidence = "memory lies on several NUMA nodes", _listed(whole) or f"{count} nodes"
    if not whole:  # a machine from a file that tells no more
        return _note(title, evidence, f"numactl --cpunodebind=N --membind=N phibench ... {_ONE_NODE}")
    sockets, best = {node.socket for node in whole}, _largest(whole)
    if len(sockets) == 1 and best.socket is not None:
        return _note(title, f"{evidence}, all in one socket", "numactl --interleave=all phibench ... reads through all "
                     f"memory channels; {_bound([best])}")  # fmt: skip
    together = [node for node in whole if node is best or (node.socket is not None and node.socket == best.socket)]
    return _note(title, evidence, f"{_bound(together)}; leave larger ones alone, or numactl --interleave=all")


def _bound(nodes: Sequence[Node]) -> str:
    size = sum(node.memory_bytes or 0 for node in nodes)
    most = f", for models below {units.gib(size)}" if size else ""
    where = _ONE_NODE if len(nodes) == 1 else "keeps cpus and memory in one socket"
    return f"numactl --cpunodebind={_numbers(nodes)} --membind={_numbers(nodes)} phibench ... {where}{most}"


def _largest(nodes: Sequence[Node]) -> Node:
    return max(nodes, key=lambda node: (node.memory_bytes or 0, -node.numbers[0]))


def _listed(nodes: Sequence[Node]) -> str:
    """``2 nodes of 64 GiB``, or each where they differ."""
    sizes = {units.gib(node.memory_bytes) for node in nodes if node.memory_bytes}
    if len(nodes) > 1 and len(sizes) == 1 and len({bool(node.cpus and node.memory_bytes) for node in nodes}) == 1:
        return f"{len(nodes)} nodes of {sizes.pop()}"
    return ", ".join(_described(node) for node in nodes)


def _described(node: Node) -> str:
    size = "memory of unknown size" if node.memory_bytes is None else units.gib(node.memory_bytes)
    return f"node {_numbers([node])}: {node.cpus} cpus, {size}"


def _numbers(nodes: Sequence[Node]) -> str:
    return ",".join(map(str, sorted(number for node in nodes for number in node.numbers)))


def _note(title: str, evidence: str, remedy: str) -> Finding:
    return Finding(severity="note", title=title, evidence=evidence, remedy=remedy)
