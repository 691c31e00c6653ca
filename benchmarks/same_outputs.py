"""Do two checkouts of phibench print the same, and write the same files? A line per command, a short diff if not.

    python benchmarks/same_outputs.py OLD NEW [--no-engines] [--with-help] [--without KEY ...] [--save DIR]

Every command below runs in both, with this Python, in folders of its own: its stdout, stderr, exit code and the files
that it wrote must be the same. The commands of one section see what those before left. Inputs are OLD's, and so are
the runs of the section ``stored``: what was just measured, shown by both. A measured command that differs is tried
once more. Exit code 1 where anything differs.

What is masked, and nothing else, says masked.py.
"""

from __future__ import annotations

import argparse
import difflib
import itertools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from masked import json_file, since, varying_text
from sample_inputs import write, write_inputs

FORMS = ("table", "md", "csv", "json", "jsonl", "sql")
GOALS = ("batch", "battery", "chat", "code", "edge", "enterprise", "fine-tuning", "long-context", "math",
         "multilingual", "phone", "reasoning", "speech", "tools", "vision")  # fmt: skip
WORDS = ("cache", "compare", "dashboard", "doctor", "import", "models", "probe", "quickstart", "recommend", "report",
         "results", "run", "verify")  # fmt: skip
LAPTOP = "recommend --machine inputs/laptop.toml --results inputs/none"
NULL = "run latency --quick -b null"
SLICE = "-m phi-1 --layers 1 -p 16 -n 4 -r 1"  # 174 MB of weights, a second of work
COMMANDS = {  # {form} and {goal}: one command for each of FORMS and GOALS
    "facts": (
        "--version", "models -o {form}", "models phi-4 -o {form}", "models phi-4-mini-instruct --context 32k",
        "models phi-3.5-moe-instruct -o json", "models phi-1 --out phi-1.txt",
    ),
    "advice": (
        f"{LAPTOP} -o {{form}}", f"{LAPTOP} --goal {{goal}} -o json",
        f"{LAPTOP} --top all -o csv", f"{LAPTOP} --goal code --context 32k --min-tps 20 --max-ttft 2 --top all",
        f"{LAPTOP} --goal reasoning --thinking-tokens 500 -o json", f"{LAPTOP} --min-tps 100000",
    ),
    "results": (
        "results inputs/example.json -o {form}", "results --results inputs/slow", "results --results inputs/none",
        "results --results inputs/slow -o csv --out slow.csv",
        "report inputs/example.json", "report --results inputs/slow --out slow.html",
        "compare inputs/fast inputs/slow -o {form}", "compare inputs/slow inputs/fast --fail-on-regression 5%",
        "compare inputs/fast inputs/slow --fail-on-regression 5%",
        "compare inputs/example.json inputs/slow/00.json",
    ),
    "imports": (
        "import inputs/llama-bench.json --machine inputs/laptop.toml --results imported/{form} -o {form}",
        "import inputs/llama-bench.json --machine inputs/laptop.toml --results imported/json",  # once more
        "import inputs/batched.jsonl -m phi-4-mini-instruct -q Q4_K_M -dev cpu --machine inputs/laptop.toml"
        " --results imported/batched",
        "results --results imported", "report --results imported --out imported.html",
        "recommend --machine inputs/laptop.toml --results imported/json",
        "recommend --machine inputs/laptop.toml --results imported/json --top all -o json",
    ),
    "plans": (
        "run latency --dry-run -b null -o json", "run latency --dry-run --results inputs/none -o json",
        "run all --dry-run --results inputs/none -o jsonl", "run context --dry-run -m phi-4 -b null -o json",
        "run load --dry-run -m phi-1,phi-2 -q Q8_0,Q4_K_M --results inputs/none -o json", "cache -o {form}",
    ),
    "measured": (
        "run latency --dry-run -b null", "run all --dry-run --results inputs/none",
        "probe --quick", "probe --quick -o json", "quickstart --before --results inputs/none",
        NULL, f"{NULL} --resume", f"{NULL} -o md", f"{NULL} -m phi-4,phi-2 -p 8 -n 0 -r 3 --launches 3",
        "run all --quick -b null --seconds 1",
    ),
    "engines": (
        f"run latency --quick -b all {SLICE}", f"run energy --quick -b llama_cpp {SLICE} --seconds 1",
        f"run load --quick -b llama_cpp {SLICE}", "verify phi-1 -b llama_cpp -q Q8_0", "cache",
    ),
    "stored": (
        "results --results stored -o {form}", "report --results stored --out stored.html",
        "recommend --machine inputs/here.toml --results stored",
        "recommend --machine inputs/here.toml --results stored --top all --goal code -o json",
    ),
    "mistakes": (
        "", "reslts", "models ph-4", "models --outptu json", "models -o yaml", "models phi-4 --context much",
        "recommend --goal chess", "recommend --top 0", "recommend --machine inputs/missing.toml",
        "recommend --machine inputs/broken.toml", "results inputs/missing.json", "results inputs/broken.toml",
        "results --results inputs", "report --results inputs/none", "report 2020 --results inputs",
        "compare inputs/example.json",
        "compare inputs/example.json inputs/example.json", "compare inputs/fast phi-4:Q4_K_M@null",
        "compare inputs/fast torch==0.1", "compare inputs/fast inputs/slow --fail-on-regression much",
        "import inputs/missing.json", "import inputs/broken.toml", "import inputs/llama-bench.json -m phi-2",
        "import inputs/batched.jsonl", "run nosuch", "run latency -b nosuch", "run latency -m phi-9 -b null",
        "run latency -b null -q Q9", "run latency -b null -dev cuda", "run latency -b null --layers 0",
        "run latency -b null -p few", "run latency -b null -r 0", "run latency -b null -t 0",
        "run latency -b null -pg 1",
        "run latency -b null --backend-option one", "run latency -b null --backend-option one=2",
        "run latency -m inputs/missing.gguf", "run latency -m phi-mini-moe-instruct -b torch --dry-run",
        "run inputs/broken.toml -b null", "run latency -b null --results inputs/broken.toml",
        "verify -b null", "verify phi-9", "verify -m inputs/missing.gguf", "quickstart -b null",
    ),
    "help": ("--help", "{word} --help"),
}  # fmt: skip
VARYING = ("measured", "engines")
MOST_LINES, MOST_COLUMNS = 12, 160  # of a diff


@dataclass
class Side:
    """A checkout and the folders that its commands work in. ``folder`` is as long for both: texts are wrapped."""

    checkout: Path
    folder: Path
    began: str = field(default_factory=lambda: f"{datetime.now(UTC):%Y%m%d%H%M%S}")

    @property
    def work(self) -> Path:
        return self.folder / "work"

    @property
    def cache(self) -> Path:
        return self.folder / "cache"

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PHIBENCH_", "PYTHON", "XDG_", "OMP_"))}
        own = {"HOME": str(self.folder), "PYTHONPATH": str(self.checkout), "PHIBENCH_CACHE": str(self.cache),
               "PHIBENCH_RESULTS": str(self.work / "results"), "PHIBENCH_CACHE_LIMIT": "4GB",
               "COLUMNS": "100", "PYTHONIOENCODING": "utf-8"}  # fmt: skip
        return subprocess.run([sys.executable, "-P", *words], cwd=self.work, env=kept | own, capture_output=True,
                              encoding="utf-8", stdin=subprocess.DEVNULL, check=False)  # fmt: skip

    def answer(self, words: str, varying: bool, without: frozenset[str] = frozenset()) -> dict[str, str]:
        """What a command gave, by part, masked: exit code, stdout, stderr, each file that it wrote or changed."""
        before = self._files()
        done = self.run("-m", "phibench", *shlex.split(words))
        text = varying_text if varying else str
        parts = {"exit code": str(done.returncode), "stdout": text(self.named(done.stdout)),
                 "stderr": text(self.named(done.stderr))}  # fmt: skip
        for path, state in self._files().items():
            if before.get(path) != state:
                written = path.read_text(encoding="utf-8")
                if path.suffix in (".json", ".advice") and (varying or without):
                    written = json_file(written, varying, without)
                parts[self.named(str(path.relative_to(self.work)))] = self.named(written)
        return parts

    def _files(self) -> dict[Path, tuple[int, int]]:
        found = sorted(path for path in self.work.rglob("*") if path.is_file())
        return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in found}

    def named(self, text: str) -> str:
        """Without what is this checkout's, this place's and this hour's."""
        for path, name in ((self.folder, "<folder>"), (self.checkout, "<checkout>")):
            text = text.replace(str(path), name)
        return since(self.began, text)


def difference(old: dict[str, str], new: dict[str, str]) -> str:
    """A short diff of the parts, "" where they are the same."""
    shown = []
    for part in dict.fromkeys([*old, *new]):
        a, b = (side.get(part) for side in (old, new))
        if a is None or b is None:
            shown.append(f"{part}: only {'NEW' if a is None else 'OLD'} has it")
        elif a != b:
            lines = [*difflib.unified_diff(a.splitlines(), b.splitlines(), "OLD", "NEW", n=0, lineterm="")][2:]
            lines = cropped(lines) or [f"-{a[-20:]!r}", f"+{b[-20:]!r}"]  # only the ends of lines differ
            more = [f"... {len(lines) - MOST_LINES} more"] if len(lines) > MOST_LINES else []
            shown += [f"{part}:", *lines[:MOST_LINES], *more]
    return "\n".join(f"    {line[:MOST_COLUMNS]}" for line in shown)


def cropped(lines: list[str]) -> list[str]:
    """Lines of a diff; of long ones that begin alike the part that differs."""
    starts = {}
    removed, added = ([line for line in lines if line.startswith(sign)] for sign in "-+")
    for one, other in zip(removed, added, strict=False):
        same = sum(1 for _ in itertools.takewhile(lambda two: two[0] == two[1], zip(one[1:], other[1:], strict=False)))
        starts[one] = starts[other] = 1 + same - 40 if same > 100 else 0
    return [f"{line[0]}...{line[starts[line] :]}" if starts.get(line) else line for line in lines]


def commands(section: str) -> Iterator[str]:
    for words in COMMANDS[section]:
        for key, values in (("{form}", FORMS), ("{goal}", GOALS), ("{word}", WORDS)):
            if key in words:
                yield from (words.replace(key, value) for value in values)
                break
        else:
            yield words


def prepare(old: Side, new: Side) -> None:
    """The inputs, alike for both, and the figures of the machine, as OLD measured it."""
    for side in (old, new):
        side.work.mkdir(parents=True)
        side.cache.mkdir()
        found = side.run("-c", "import phibench; print(phibench.__file__)")
        if not Path(found.stdout.strip()).is_relative_to(side.checkout):
            sys.exit(f"{side.checkout} is no checkout of phibench: {found.stderr.strip() or found.stdout.strip()}")
    inputs = old.work / "inputs"
    write_inputs(inputs, old.checkout)
    shutil.copytree(inputs, new.work / "inputs")
    for side in (old, new):
        if (done := side.run("-m", "phibench", "probe", "--save", "inputs/here.toml")).returncode:
            sys.exit(f"probe failed in {side.checkout}: {done.stderr}")
    shutil.copy(inputs / "here.toml", new.work / "inputs")
    was = json.loads((old.cache / "machine.json").read_bytes())
    for side in (old, new):
        path = side.cache / "machine.json"
        write(path, json.dumps(laid_over(json.loads(path.read_bytes()), was)))


def laid_over(value: Any, other: Any, key: str = "") -> Any:
    """The figures of ``other`` in the form of ``value``: NEW may keep more, and does not measure again for a day."""
    if isinstance(value, dict) and isinstance(other, dict):
        return {k: laid_over(v, other.get(k, v), k) for k, v in value.items()}
    return value if key == "method" else time.time() + 86400 if key == "at" else other


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path, metavar="OLD")
    parser.add_argument("new", type=Path, metavar="NEW")
    parser.add_argument("--no-engines", action="store_true", help="leave out the section engines")
    parser.add_argument("--with-help", action="store_true", help="also --help of every command")
    parser.add_argument(
        "--without", nargs="+", default=[], metavar="KEY", help="keys of run files that are new by intent"
    )
    parser.add_argument("--only", nargs="+", choices=COMMANDS, metavar="SECTION", help="of these sections alone")
    parser.add_argument("--save", type=Path, metavar="DIR", help="keep what was compared in DIR/old and DIR/new")
    args = parser.parse_args()
    left_out = {"engines"} if args.no_engines else set()
    left_out |= set() if args.with_help else {"help"}
    sections = [name for name in COMMANDS if name in (args.only or COMMANDS) and name not in left_out]
    with tempfile.TemporaryDirectory(prefix="same-outputs-") as folder:
        sides = Side(args.old.resolve(), Path(folder) / "old"), Side(args.new.resolve(), Path(folder) / "new")
        prepare(*sides)
        differ, count = compared(sides, sections, frozenset(args.without), args.save)
    print(f"{count} commands, {differ} differ" if differ else f"{count} commands, all the same")
    return 1 if differ else 0


def compared(
    sides: tuple[Side, Side], sections: Iterable[str], without: frozenset[str], save: Path | None
) -> tuple[int, int]:
    """A line for each command; how many differ, of how many."""
    differ = count = 0
    for section in sections:
        if section == "stored":
            for side in sides:
                shutil.copytree(sides[0].work / "results", side.work / "stored")
        varying = section in VARYING
        # what is measured has the machine for itself
        with ThreadPoolExecutor(1 if varying else 2) as pool:
            for words in commands(section):
                for _ in range(2 if varying else 1):  # other programs may starve an engine, once
                    old, new = pool.map(lambda side: side.answer(words, varying, without), sides)  # noqa: B023
                    found = difference(old, new)
                    if not found:
                        break
                count, differ = count + 1, differ + bool(found)
                print(f"{'differs' if found else 'same   '} {section}: phibench {words}", flush=True)
                if found:
                    print(found, flush=True)
                if save:
                    name = f"{count:03} {re.sub(r'[^a-z0-9.-]+', ' ', words)[:80].strip()}.txt"
                    for side, parts in zip(sides, (old, new), strict=True):
                        write(save / side.folder.name / name, "".join(f"=== {k}\n{v}" for k, v in parts.items()))
    return differ, count


if __name__ == "__main__":
    sys.exit(main())
