"""Reads mutants with one reader of tests/readers, in a process of its own, and says what did not hold.

    python tests/mutated.py READER [--first 0] [--count 200]
    python tests/mutated.py READER --show SEED      what was done to which file, and what came of it

For every mutant there must be a right value, a refusal in one line (PhibenchError), or "unknown": no other exception,
no number that the mutant does not tell, no endless loop, no memory beyond bounds. Prints a line of JSON at the end.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mutate
import readers
from mutate import Content, Folder, Link, Sparse, Tree
from readers.oracles import Reader

from phibench.core.errors import PhibenchError

HANG_S = 20  # far more than any takes, on a busy machine too; what is killed here does not end
MOST_BYTES = 1 << 30  # of memory that a mutant may make a reader ask for, beyond what the samples took
LONGEST = 2000  # characters of a refusal


class Hung(BaseException):  # no reader may catch it
    pass


class Planted:
    """A folder that holds a tree, and then another one: only what differs is written."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._there = folder, dict[str, Content]()

    def plant(self, tree: Tree) -> bool:
        """False where a tree cannot be: a file in the place of a folder."""
        for name in [name for name, content in self._there.items() if tree.get(name) != content]:
            _remove(self.folder / name)
            del self._there[name]
        try:
            for name, content in tree.items():
                if name not in self._there:
                    _write(self.folder / name, content)
                    self._there[name] = content
        except (OSError, ValueError):
            shutil.rmtree(self.folder)
            self.folder.mkdir()
            self._there.clear()
            return False
        return True


def _write(path: Path, content: Content) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, Folder):
        path.mkdir()
    elif isinstance(content, Link):
        path.symlink_to(content.to or path.name)
    elif isinstance(content, Sparse):
        with path.open("wb") as stream:
            stream.write(content.head)
            stream.truncate(content.size)
    else:
        path.write_bytes(content)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    else:
        path.unlink()


def outcome(reader: Reader, planted: Planted, sample: Tree, right: Any, seed: int) -> tuple[str, tuple[str, ...]]:
    """("right", "refused", "unknown" or "no mutant"; what did not hold) of one mutant."""
    mutant = mutate.mutant(sample, f"{reader.name} {seed}", reader.more)
    if not planted.plant(mutant.tree):
        return "no mutant", ()
    try:
        with _watched():
            answer = reader.read(planted.folder)
    except PhibenchError as refusal:
        return "refused", tuple(_of_refusal(str(refusal)))
    except Hung:
        return "hung", ("does not end",)
    except Exception as error:  # noqa: BLE001  that is what is looked for
        return "traceback", (_where(error),)
    problems = [*reader.check(mutant.tree, answer), *reader.beside(answer, right)]
    if mutant.kinds and mutant.kinds <= reader.harmless and answer != right:
        problems.append("a harmless change changes the answer")
    return "unknown" if answer is None else "right", tuple(problems)


def _of_refusal(text: str) -> Iterator[str]:
    if "\n" in text.strip():
        yield f"a refusal of several lines: {text.strip()[:80]!r}"
    if len(text) > LONGEST:
        yield f"a refusal without bound: {text[:40]!r}"


def _where(error: Exception) -> str:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "phibench" in Path(frame.filename).parts]
    last = frames[-1] if frames else traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} at {Path(last.filename).name}:{last.lineno} ({last.name})"


@contextlib.contextmanager
def _watched() -> Iterator[None]:
    """Ends what does not end, where the system has an alarm."""
    if not hasattr(signal, "SIGALRM"):
        yield
        return

    def ring(_number: int, _frame: Any) -> None:
        raise Hung

    signal.signal(signal.SIGALRM, ring)
    signal.alarm(HANG_S)
    try:
        yield
    finally:
        signal.alarm(0)


def bound_memory() -> None:
    """From here on this process gets no more than MOST_BYTES, where the system can say so."""
    if sys.platform == "linux":
        import resource

        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MOST_BYTES, hard))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reader", nargs="?", choices=sorted(readers.READERS))
    parser.add_argument("--list", action="store_true", help="the names of all readers")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--show", type=int, metavar="SEED")
    args = parser.parse_args()
    if args.list or not args.reader:
        print(*readers.READERS, sep="\n")
        return 0
    reader = readers.READERS[args.reader]
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as place:
        os.environ |= {"PHIBENCH_CACHE": f"{place}/cache", "PHIBENCH_RESULTS": f"{place}/results"}
        samples = [dict(sample) for sample in reader.samples()]
        planted = Planted(Path(place, "tree"))
        planted.folder.mkdir()
        rights = []
        for sample in samples:
            assert planted.plant(sample), "a sample cannot be planted"
            try:
                rights.append(reader.read(planted.folder))
            except PhibenchError:  # a form that is not read yet: nothing of it may be taken wrongly
                rights.append(None)
                continue
            assert (wrong := [*reader.check(sample, rights[-1])]) == [], f"a sample itself fails: {wrong}"
        bound_memory()
        if args.show is not None:
            place_of = args.show % len(samples)
            print(mutate.mutant(samples[place_of], f"{reader.name} {args.show}", reader.more))
            print(*outcome(reader, planted, samples[place_of], rights[place_of], args.show), sep="\n")
            for file, content in sorted(planted._there.items()):
                if samples[place_of].get(file) != content:
                    print(f"--- {file}\n{str(content)[:3000]}")
            return 0
        counts: Counter[str] = Counter()
        faults: dict[str, list[int]] = {}
        for seed in range(args.first, args.first + args.count):
            name, problems = outcome(reader, planted, samples[seed % len(samples)], rights[seed % len(samples)], seed)
            counts[name] += 1
            for problem in problems:
                faults.setdefault(problem, []).append(seed)
    print(json.dumps({"counts": counts, "faults": {what: [len(seeds), *seeds[:5]] for what, seeds in faults.items()}}))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
