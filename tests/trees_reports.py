"""Machines that strangers reported, as trees: fake and partial topologies, odd clocks, memory that looks taken."""

from __future__ import annotations

from trees import KIB_PER_GIB, x86

CPUS = "sys/devices/system/cpu"
NODES = "sys/devices/system/node"
BIGGEST = "9223372036854771712"  # what cgroup version 1 shows for no limit


def allowed(cpus: str, mems: str = "") -> dict[str, str]:
    """What the scheduler lets this process use."""
    text = f"Cpus_allowed_list:\t{cpus}\n" + (f"Mems_allowed_list:\t{mems}\n" if mems else "")
    return {"proc/self/status": text}


def clocks(kilohertz: list[int]) -> dict[str, str]:
    return {f"{CPUS}/cpu{n}/cpufreq/cpuinfo_max_freq": f"{clock}\n" for n, clock in enumerate(kilohertz)}


def capacities(*told: int) -> dict[str, str]:
    return {f"{CPUS}/cpu{n}/cpu_capacity": f"{capacity}\n" for n, capacity in enumerate(told)}


def siblings(*cores: str) -> dict[str, str]:
    """Cpus by core, each core as ``0,24``."""
    return {f"{CPUS}/cpu{cpu}/topology/thread_siblings_list": f"{core}\n" for core in cores for cpu in core.split(",")}


def node(number: int, cpus: str, gib: float, distance: str = "") -> dict[str, str]:
    base = f"{NODES}/node{number}"
    files = {
        f"{base}/cpulist": f"{cpus}\n",
        f"{base}/meminfo": f"Node {number} MemTotal:       {int(gib * KIB_PER_GIB)} kB\n"
        f"Node {number} MemFree:        {int(gib * KIB_PER_GIB) // 2} kB\n",
    }
    return files | ({f"{base}/distance": f"{distance}\n"} if distance else {})


def nodes(*told: tuple[str, float], sockets: tuple[int, ...] = (), distances: tuple[str, ...] = ()) -> dict[str, str]:
    """A machine of 16 cpus with these nodes: (cpus, GiB) of each, its socket, its row of distances."""
    files = x86(cores=16, smt=1, gib=int(sum(gib for _, gib in told))) | {f"{NODES}/online": f"0-{len(told) - 1}\n"}
    for number, (cpus, gib) in enumerate(told):
        files |= node(number, cpus, gib, distances[number] if distances else "")
        first, _, last = cpus.partition("-")
        for cpu in range(int(first), int(last or first) + 1) if cpus else ():
            files[f"{CPUS}/cpu{cpu}/topology/physical_package_id"] = f"{sockets[number] if sockets else number}\n"
    return files


def meminfo(**gib: float) -> dict[str, str]:
    """Lines of /proc/meminfo in GiB; ``Active_file`` is ``Active(file)``."""
    lines = (
        f"{name.replace('_file', '(file)')}: {int(size * KIB_PER_GIB)} kB\n" for name, size in gib.items()
    )  # "Active_file": parentheses are no part of a name in Python
    return {"proc/meminfo": "".join(lines)}


def arcstats(size: int, least: int, evictable: int | None) -> dict[str, str]:
    """ZFS's own counters, with what stands before and between those that matter."""
    lines = ["13 1 0x01 147 39984 8412673210 5523445533", "name                            type data"]
    lines += [f"size                            4    {size}", f"c_min                           4    {least}"]
    lines += [f"c_max                           4    {size * 2}", "mru_ghost_evictable_data        4    77777777777"]
    if evictable is not None:
        lines += [f"mru_evictable_data              4    {evictable - 3}", "mru_evictable_metadata          4    1"]
        lines += ["mfu_evictable_data              4    1", "mfu_evictable_metadata          4    1"]
    return {"proc/spl/kstat/zfs/arcstats": "\n".join(lines) + "\n"}
