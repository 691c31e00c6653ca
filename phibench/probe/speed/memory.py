"""Read and copy bandwidth of main memory: threads that each take dot products over arrays of their own, or copy them.

Decoding streams every weight once per token, so reading is what counts. A copy is told beside it, as STREAM counts it
(bytes read and bytes written; that a store may first fetch its line is not counted).
Run by hand: ``OPENBLAS_NUM_THREADS=1 python -m phibench.probe.speed.memory --seconds 3`` prints JSON.
"""

from __future__ import annotations

import contextlib
import itertools
import sys
import threading
import time
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from phibench.core import caches, units
from phibench.core.nouns import Noun, Rate
from phibench.probe.other_programs import Others
from phibench.probe.speed import child, doubts
from phibench.probe.system import cpu, gauges

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Pair = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]

ROUNDS, ROUND_S = 5, 0.2  # STREAM practice: best of at least 5, long against the clock and the scheduler
_FREE_SHARE = 4  # ... and at most a quarter of the memory that is free, so that nothing is swapped out
_PER_THREAD_BYTES = 128 << 20  # where the caches do not ask for more
_UNKNOWN_CACHE_BYTES = 128 << 20  # assumed where the system does not tell; Apple's and AMD's largest parts have 96
_BLOCK_BYTES = 16 << 20  # of one dot product: long enough for 64 threads to share Python's lock, short in a round


class Bandwidth(Noun, frozen=True, kw_only=True):
    """``read_bytes_s`` is the best round; ``because`` says how it was found and what speaks against it: ``doubt``.

    Where there is a doubt, an undisturbed figure lies between ``read_bytes_s`` and ``most_read_bytes_s``.
    """

    read_bytes_s: Rate | None
    because: str
    doubt: str = ""
    most_read_bytes_s: Rate | None = None
    threads: int = 0
    array_bytes: int = 0  # all arrays of all threads together
    rounds: int = 0
    by_threads: dict[str, float] = msgspec.field(default_factory=dict)  # number of threads -> bytes per second
    ran: float = 1.0  # share of the best round in which its threads had a core, of what a quota grants
    copy_bytes_s: Rate | None = None  # read and written
    steal_share: float | None = None  # of all cpu time meanwhile, taken by the host
    others_share: float | None = None  # of the cpus that this process may use, taken by other programs meanwhile
    load_1m: float | None = None  # load average just before


def read_bandwidth(
    seconds: float, threads: int, *, free_bytes: int, cache_bytes: int | None, cpus: float | None = None
) -> Bandwidth:
    """Measure in a child process for about ``seconds``, at least 5 rounds of 0.2 s; a failure is a reason in words.

    A child, because BLAS reads its number of threads when numpy is imported, and because its memory goes back.
    ``cpus``: what a quota grants, a fraction too; engines get no more either, so what it takes is no disturbance.
    """
    size, least = array_bytes(threads, free_bytes, cache_bytes)
    if size < least:
        return _unknown(f"needs {units.gib(least * _FREE_SHARE)} of free memory, only {units.gib(free_bytes)} is free")
    arguments = ["--seconds", seconds, "--threads", threads, "--bytes", size, *(["--cpus", cpus] if cpus else [])]
    found = child.ask(__spec__.name, arguments, Bandwidth, 60 + 10 * seconds)
    return _unknown(found) if isinstance(found, str) else found


def _unknown(why: str) -> Bandwidth:
    return Bandwidth(read_bytes_s=None, because=f"not measured: {why}")


def array_bytes(threads: int, free_bytes: int, cache_bytes: int | None) -> tuple[int, int]:
    """How large the arrays should be together, and the least that keeps the caches out of the figure."""
    least = caches.FACTOR * (cache_bytes or _UNKNOWN_CACHE_BYTES)
    return min(max(least, threads * _PER_THREAD_BYTES), free_bytes // _FREE_SHARE), least


# -------------------------------------------------------------------------------------------- in the child


def measure(seconds: float, threads: int, size: int, cpus: float | None = None) -> Bandwidth:
    """Best of at least 5 rounds; with time left also with fewer threads, since more are not always faster."""
    began, before, load = time.perf_counter(), gauges.ticks(cpu.ROOT), gauges.load(cpu.ROOT)
    readers, others = _Readers(threads, size), Others()
    try:
        left = seconds - ROUNDS * ROUND_S - (time.perf_counter() - began)  # the copies take their share
        counts = sweep(threads)[: max(1, int(left / (ROUNDS * ROUND_S)))]
        found: dict[int, list[_Round]] = {count: [] for count in counts}
        copies: list[_Round] = []
        while len(copies) < ROUNDS or seconds - (time.perf_counter() - began) >= (len(counts) + 1) * ROUND_S:
            for count in counts:  # interleaved: a passing disturbance hits all alike
                found[count].append(readers.round(count, ROUND_S))
            copies.append(readers.round(threads, ROUND_S, copy=True))
        others_share = others.share()
    finally:
        readers.close()
    by_threads = {count: max(found[count]) for count in sorted(found)}
    best = max(by_threads, key=lambda count: by_threads[count])
    rate, ran = by_threads[best]
    bandwidth = Bandwidth(
        read_bytes_s=rate,
        because=f"threaded np.dot, {best} of {threads} threads over {units.gib(size)}, "
        f"best of {len(copies)} x {ROUND_S} s",
        threads=best,
        array_bytes=size,
        rounds=len(copies),
        by_threads={str(count): value for count, (value, _) in by_threads.items()},
        ran=ran / doubts.granted(cpus, best),
        copy_bytes_s=max(copies).bytes_s,
        steal_share=gauges.stolen(before),
        others_share=others_share,
        load_1m=load,
    )
    return judged(bandwidth, cpus)


def judged(found: Bandwidth, cpus: float | None = None) -> Bandwidth:
    """The figure, where it was disturbed with by what, and what it can be at most."""
    kept = doubts.kept(
        found.threads, cpus, ran=found.ran, others_share=found.others_share, steal_share=found.steal_share
    )
    seen, headroom = found.read_bytes_s, doubts.headroom(kept)
    if seen is None or not doubts.is_off(seen, seen * headroom):
        return found
    doubt, most = f"too low: {doubts.why(kept)}", seen * headroom * doubts.MARGIN
    return msgspec.structs.replace(found, because=f"{found.because}; {doubt}", doubt=doubt, most_read_bytes_s=most)


def sweep(threads: int) -> list[int]:
    """All threads first, then one, then what lies between, halving: the order in which time is worth spending."""
    halves = [threads >> shift for shift in range(1, threads.bit_length())]
    return list(dict.fromkeys([threads, 1, *halves]))


class _Round(NamedTuple):
    bytes_s: float
    ran: float


class _Span(NamedTuple):
    """What one thread did in one round; ``cpu_s`` is less than its time when others took the core."""

    start_s: float
    end_s: float
    cpu_s: float
    bytes: int


class _Readers:
    """Threads that wait for rounds. Each writes a share of the arrays first, so that it lies in memory near it."""

    def __init__(self, threads: int, size: int) -> None:
        self._elements = max(1, size // threads // 8)  # two float32 arrays each
        self._pairs: list[Pair] = []
        self._spans: list[_Span] = []
        self._count, self._seconds, self._copy = 0, 0.0, False
        self._gate = threading.Barrier(threads + 1)
        for index in range(threads):
            threading.Thread(target=self._live, args=(index,), daemon=True).start()
        self._gate.wait()  # all arrays are written

    def round(self, count: int, seconds: float, *, copy: bool = False) -> _Round:
        """What ``count`` threads read (or copy) together, from the first start to the last end."""
        self._spans, self._count, self._seconds, self._copy = [], count, seconds, copy
        self._gate.wait()
        self._gate.wait()
        spans = self._spans
        wall_s = max(span.end_s for span in spans) - min(span.start_s for span in spans)
        return _Round(sum(span.bytes for span in spans) / wall_s, sum(span.cpu_s for span in spans) / wall_s / count)

    def close(self) -> None:
        """Let the threads go; they wait for the next round."""
        self._gate.abort()

    def _live(self, index: int) -> None:
        import numpy as np

        with contextlib.suppress(threading.BrokenBarrierError, MemoryError):
            try:  # no two pages alike: a host that merges equal pages would make memory look faster
                a, b = (np.arange(self._elements, dtype=np.float32) for _ in range(2))
                self._pairs.append((a, b))
                self._gate.wait()
                while True:
                    self._gate.wait()
                    if index < self._count:  # few threads read all arrays, or they would read out of the caches
                        mine = self._pairs[index :: self._count]
                        self._spans.append(_stream(mine, self._seconds, self._copy))
                    self._gate.wait()
            finally:
                self._gate.abort()  # nobody waits for a thread that has ended


def _stream(pairs: list[Pair], seconds: float, copy: bool) -> _Span:
    """Dot products over all pairs, or copies of one half to the other, until the time is up."""
    import numpy as np

    step = _BLOCK_BYTES // 8
    blocks = [(a[i : i + step], b[i : i + step]) for a, b in pairs for i in range(0, len(a), step)]
    start_s = now = time.perf_counter()
    cpu_s = time.thread_time()
    done = 0
    for a, b in itertools.cycle(blocks):
        if copy:
            np.copyto(b, a)
        else:
            np.dot(a, b)
        done += a.nbytes + b.nbytes
        now = time.perf_counter()
        if now - start_s >= seconds:
            break
    return _Span(start_s, now, time.thread_time() - cpu_s, done)


def main(arguments: list[str] | None = None) -> None:
    import argparse

    from phibench.probe.system import limits

    parser = argparse.ArgumentParser(prog=f"python -m {__spec__.name}", description="read bandwidth of memory")
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--threads", type=int, default=0, help="default: physical cores that this process may use")
    parser.add_argument("--bytes", type=int, default=0, help="of all arrays; default: 4 times the last-level caches")
    parser.add_argument("--cpus", type=float, help="that a quota grants; default: those that this process may use")
    chosen = parser.parse_args(arguments)
    usable = limits.limits()
    threads = chosen.threads if chosen.threads > 0 else usable.threads
    size = chosen.bytes if chosen.bytes > 0 else array_bytes(threads, usable.free_bytes, cpu.cpu().cache_bytes)[0]
    try:
        found = measure(chosen.seconds, threads, size, chosen.cpus or usable.cpus)
    except threading.BrokenBarrierError:
        found = _unknown(f"a reading thread ended; is there memory for arrays of {units.gib(size)}?")
    sys.stdout.buffer.write(msgspec.json.encode(found) + b"\n")


if __name__ == "__main__":
    main()
