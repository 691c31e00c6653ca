"""What shells, logs, printf and killed programs make of a file of rows: through the front door."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from conftest import Phibench
from test_importer import HERE, TG, batched, bench

from phibench.core import files
from phibench.imports import llama_bench


class Came(NamedTuple):
    """Of an import: exit code, what was said, and the tests."""

    code: int
    said: str
    tests: list[str]


Take = Callable[..., Came]


@pytest.fixture
def take(phibench: Phibench, tmp_path: Path) -> Take:
    """A file of these bytes, measured on the machine HERE, with further words of the command line."""
    files.write_json(tmp_path / "there.json", HERE)

    def call(content: bytes | str, *words: str) -> Came:
        (tmp_path / "old").write_bytes(content.encode() if isinstance(content, str) else content)
        done = phibench(
            "import", str(tmp_path / "old"), "--machine", str(tmp_path / "there.json"), "-o", "json", *words
        )
        assert "Traceback" not in done.err
        return Came(done.code, done.err, [row["test"] for row in json.loads(done.out or "[]")])

    return call


def lines(*values: dict[str, Any]) -> str:
    return "".join(json.dumps(value) + "\n" for value in values)


BATCHED = ("-m", "phi-4-mini", "-q", "Q4_K_M")
PP, ANSWER = bench(), bench(**TG)
BOTH = json.dumps([PP, ANSWER], indent=2)


# ----------------------------------------------------------------------------------------------------- encodings


@pytest.mark.parametrize(
    "content",
    [
        BOTH.encode("utf-8-sig"),  # tradesdontlie/tradingview-mcp#419: PowerShell 5.1's UTF8
        b"\xff\xfe" + BOTH.encode("utf-16-le"),  # jotaen/klog#217 and jqlang/jq#2351: PowerShell 5.1's >
        b"\xfe\xff" + BOTH.encode("utf-16-be"),
        BOTH.encode("utf-16-le"),
        BOTH.encode("utf-16-be"),
        b"\xff\xfe\x00\x00" + BOTH.encode("utf-32-le"),
        BOTH.replace("\n", "\r\n").encode("utf-16"),
        BOTH.replace("\n", "\r\n").encode(),
        BOTH.replace("/home/somebody", "/home/müller/模型").encode(),
        json.dumps([PP, ANSWER], ensure_ascii=False).replace("/home/somebody", "/home/müller/模型").encode("utf-16-le"),
        (lines(PP) + "\ufeff" + lines(ANSWER)).encode("utf-8-sig"),  # two files, joined
        ("\x1b[1m[\x1b[0m" + BOTH[1:].replace("{", "\x1b[1;37m{\x1b[m") + "\x1b[0m").encode(),  # treeverse/dvc#10430
        (lines(PP, ANSWER) + "\x1b[0m\x1b[?25h").encode(),  # radareorg/radare2#16097
        BOTH.encode() + b"\0" * 512,  # a file that a crash of the machine filled up
    ],
)
def test_text_of_any_shell_is_read(take: Take, content: bytes) -> None:
    code, said, tests = take(content)
    assert (code, tests) == (0, ["pp512", "tg128"]), said
    assert "passed over" not in said


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (lines(PP).replace("somebody", "m\xfcller").encode("latin-1"), "old, line 1: this is not UTF-8 text; save"),
        (b"\xff\xfe" + lines(PP).encode("utf-16-le") + lines(ANSWER).encode(), "old is UTF-16 in one part only"),
        (lines(PP).encode() + lines(ANSWER).encode("utf-16-le"), "old is UTF-16 in one part only"),
        (lines(PP).encode() + lines(ANSWER).encode("utf-16"), "old is UTF-16 in one part only"),
        (b"\xff\xfe" + b"\x00\xd8" * 50, "this is not UTF-16-LE text"),
    ],
)
def test_a_part_in_another_encoding_is_said(take: Take, content: bytes, why: str) -> None:
    """PowerShell/PowerShell#9423 and shyiko/jabba#740: what >> appends has the shell's encoding, not the file's."""
    code, said, _ = take(content)
    assert (code, why in said, len(said.splitlines())) == (2, True, 1), said


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le"])
def test_a_file_cut_off_within_a_character_keeps_its_rows(take: Take, encoding: str) -> None:
    content = (lines(PP, ANSWER) + "ü").encode(encoding)[:-1]
    assert take(content)[::2] == (0, ["pp512", "tg128"])


# ------------------------------------------------------------------------------------------- numbers that are none


@pytest.mark.parametrize(
    "word",
    [
        "nan",
        "-nan",  # redis/memtier_benchmark#271
        "inf",  # google/benchmark#784
        "-inf",
        "-nan(ind)",  # Demion/remotehwinfo#9: Microsoft's
        "nan(snan)",
        "-nan(0x8000000000000)",
        "1.#INF",
        "-1.#IND",
        "1.#QNAN0",
        "1.#INF00",
        "NaN",
        "-Infinity",
    ],
)
def test_what_c_prints_for_no_number_harms_only_what_is_used(take: Take, word: str) -> None:
    row = lines(batched(tg=0, t_tg=0.0))
    code, said, tests = take(row.replace('"speed_tg": 32.0', f'"speed_tg": {word}'), *BATCHED)
    assert (code, tests) == (0, ["pp128 x4"]), said
    not_asked = lines(batched(pp=0, t_pp=0.5)).replace('"t_pp": 0.5', f'"t_pp": {word}')
    assert take(not_asked, *BATCHED)[::2] == (0, ["tg32 x4"])
    used = lines(batched()).replace('"t_tg": 4.0', f'"t_tg": {word}')
    code, said, tests = take(row + used, *BATCHED)
    assert (code, tests) == (0, ["pp128 x4"])
    assert "old, line 2 is left out: t_tg is " in said
    assert take(used, *BATCHED).code == 2


def test_a_repetition_that_is_no_number_is_none(take: Take) -> None:
    row = json.dumps(PP)
    assert "samples_ns is nan" in take(row.replace("11900000000", "nan")).said
    code, said, tests = take(row.replace('"stddev_ns": 5000000', '"stddev_ns": -nan(ind)'))
    assert (code, tests) == (0, ["pp512"]), said


def test_such_a_word_in_a_text_stays(take: Take) -> None:
    assert take(json.dumps(bench(model_filename='phi-4-mini: "nan, inf, -nan(ind)]')).replace("0.1", "nan")).code == 0


# ---------------------------------------------------------------------------------------- logs, and rows in between


@pytest.mark.parametrize(
    "log",
    [
        "{Device 0}: NVIDIA GeForce RTX 4080, compute capability 8.9\n",
        '{"ts": "2025-10-01", "level": "info", "msg": "loading"}\n',
        '{"tid":"14964","timestamp":1717067190,"level":"INFO","function":"init","line":715}\n',  # llama.cpp#7637
        '{"log.level":"error","log":{"logger":"x"},"message":"queue is full"}\n',  # elastic/apm-agent-nodejs#2062
        "ggml_vulkan: Found 1 Vulkan devices:\nggml_vulkan: 0 = AMD Radeon RX 580 Series (RADV POLARIS10) (radv)\n",
        "[1]    11372 segmentation fault (core dumped)  ./llama.cpp/build/bin/llama-bench\n",  # llama.cpp#15554
        "{\n}\n",
        "{}\n",
        "{'python': 'writes', 'it': 'so'}\n",
        "[{thread 1}] up\n",
        "[\n",
        "load: {{model}} {0}\n",
        "\t{ggml: 1, 2}\r\n",
    ],
)
@pytest.mark.parametrize("rows_first", [False, True])
def test_lines_of_a_log_are_passed_over(take: Take, log: str, rows_first: bool) -> None:
    code, said, tests = take(BOTH + "\n" + log if rows_first else log + BOTH)
    assert (code, tests) == (0, ["pp512", "tg128"]), said
    assert "left out" not in said
    code, said, tests = take(lines(PP) + log + lines(ANSWER))
    assert (code, tests) == (0, ["pp512", "tg128"]), said
    assert "left out" not in said


@pytest.mark.parametrize(
    "before",
    [
        "2025-09-17T06:46:17.013138795Z ",  # green-coding-solutions/green-metrics-tool#1740: docker logs -t
        "bench-1  | ",
        "[info] {0} ",
        "main: done\r",
    ],
)
def test_a_row_behind_the_words_of_a_log_is_one(take: Take, before: str) -> None:
    code, said, tests = take("".join(before + line for line in lines(PP, ANSWER).splitlines(keepends=True)))
    assert (code, tests) == (0, ["pp512", "tg128"]), said


@pytest.mark.parametrize(
    "before",
    [
        "2026-07-01T19:33:24.1348805Z ",  # flowglad/onton#391: a job of GitHub
        "2016-10-06T00:17:09.669794202Z stdout F ",
        "bench-1  | ",  # docker/compose#2156
        "bench-1  | 2025-07-08T19:23:09.294667423Z ",  # kubernetes-sigs/headlamp#3609
        "Nov 29 15:34:20 box llama-bench[4711]: ",
        "[service1] ",  # pinojs/pino-pretty#384
        "[2025-10-01 08:00:00] ",
        "> ",
    ],
)
def test_a_row_of_many_lines_behind_as_many_stamps_is_one(take: Take, before: str) -> None:
    code, said, tests = take("".join(before + line for line in BOTH.splitlines(keepends=True)))
    assert (code, tests) == (0, ["pp512", "tg128"]), said
    assert "left out" not in said


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
@pytest.mark.parametrize("first", ["log", "stream"])
def test_records_of_docker_hold_one_line_each(take: Take, first: str, separators: tuple[str, str]) -> None:
    """ascendia-network/ambrosus-node#321"""
    printed = ("ggml: up\n" + BOTH + "\n").splitlines(keepends=True)
    records = [{"log": line, "stream": "stdout", "time": "2018-12-07T14:29:51.33Z"} for line in printed]
    records.insert(5, {"log": "", "stream": "stderr", "time": ""})
    ordered = [{first: one[first], **one} for one in records]
    code, said, tests = take("".join(json.dumps(one, separators=separators) + "\n" for one in ordered))
    assert (code, tests) == (0, ["pp512", "tg128"]), said
    assert "other text in old is passed over: 1 line" in said
    assert take('{"log":"' + "\n" + lines(PP)).tests == ["pp512"]  # a record that was cut off


def test_rows_without_a_line_between_them(take: Take) -> None:
    """EuroEval/EuroEval#1951: what was appended to a last line without an end."""
    assert take(json.dumps(PP) + json.dumps(ANSWER)).tests == ["pp512", "tg128"]


def test_standard_input(take: Take, phibench: Phibench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    take("")
    for content, code in ((BOTH.encode("utf-16"), 0), (b"", 2), (b"| model |", 2)):
        monkeypatch.setattr("sys.stdin", TextIOWrapper(BytesIO(content)))
        done = phibench("import", "-", "--machine", str(tmp_path / "there.json"), "-o", "json")
        assert done.code == code, done.err
        assert (f"standard input {'has no test in it' if content else 'is empty'}" in done.err) == (code == 2)
    monkeypatch.setattr(llama_bench, "MAX_BYTES", 100)
    monkeypatch.setattr("sys.stdin", TextIOWrapper(BytesIO(BOTH.encode())))
    assert phibench("import", "-").code == 1


# --------------------------------------------------------------------------------------- rows that cannot be read


@pytest.mark.parametrize("end", [20, 300, 700, -30, -3])
def test_a_list_that_was_cut_off_in_a_row_keeps_the_others(take: Take, end: int) -> None:
    """tinyhumansai/openhuman#5646 and sipyourdrink-ltd/bernstein#5919: a killed program leaves half a row."""
    whole = json.dumps([PP, ANSWER], indent=2)[:-2]
    cut = ",\n" + json.dumps(bench(n_prompt=256), indent=2)[:end]
    code, said, tests = take(whole + cut)
    assert (code, tests) == (0, ["pp512", "tg128"]), said
    assert said.count("left out") == 1
    assert "is left out: it is cut off, the file ends within it" in said
    assert "has no end" not in said


def test_lines_that_were_cut_off(take: Take) -> None:
    half = json.dumps(bench(n_prompt=256))[:400]
    code, said, tests = take(lines(PP, ANSWER) + half)
    assert (code, tests) == (0, ["pp512", "tg128"])
    assert "old, line 3 is left out: it is cut off, the file ends within it" in said
    code, said, tests = take(lines(PP) + half + lines(ANSWER))  # the next run was appended to it
    assert (code, tests) == (0, ["pp512", "tg128"])
    assert "old, line 2 is left out: it is cut off or not JSON" in said
    code, said, tests = take(half + "\nKilled\n")
    assert (code, tests) == (2, [])
    assert "nothing in old can be imported; line 1: it is cut off, the file ends within it" in said
    code, said, tests = take(lines(batched()) + json.dumps(batched())[:90], *BATCHED)
    assert (code, tests, "line 2 is left out" in said) == (0, ["pp128 x4", "tg32 x4 @ d128"], True)


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (json.dumps(PP).replace('"n_gen": 0', '"n_gen": '), "it is cut off or not JSON"),
        (json.dumps(PP).replace('"n_gen": 0', '"n_gen": "no"'), "Expected `int`, got `str` - at `$.n_gen`"),
        (json.dumps(PP).replace('"n_gen": 0', '"n_gen": 0, "n_gen": 1'), "the key 'n_gen' appears twice"),
        (json.dumps(PP).replace('"n_gen": 0', '"n_gen": 1e999'), "n_gen is inf, which is not a number"),
        (json.dumps(PP | {"setup": "x"}), "a row of phibench itself"),
        (json.dumps(batched()), "give -m VARIANT and -q QUANT"),
        (json.dumps({"n_prompt": 1, "avg_ns": 1}), "no test of llama-bench"),
    ],
)
def test_a_row_that_cannot_be_read_is_named_and_the_others_are_kept(take: Take, broken: str, why: str) -> None:
    code, said, tests = take(lines(PP) + broken + "\n" + lines(ANSWER) + broken + "\n")
    assert (code, tests) == (0, ["pp512", "tg128"]), said
    assert "lines 2 and 4 are left out: " in said
    assert why in said
    assert take(broken).code == 2


@pytest.mark.parametrize(
    "change",
    [
        lambda key, value: value if isinstance(value, list) else str(value),  # as Import-Csv | ConvertTo-Json
        lambda key, value: float(value) if type(value) is int else value,  # a data frame's, where a column has gaps
    ],
)
def test_numbers_that_went_through_a_table_are_numbers(take: Take, change: Callable[[str, Any], Any]) -> None:
    """fastify/benchmarks#465: numbers as strings, and nothing where there is none."""
    rows = [{key: change(key, value) for key, value in row.items()} for row in (PP, ANSWER)]
    code, said, tests = take(json.dumps([row | {"n_depth": None, "gpu_info": None} for row in rows]))
    assert (code, tests) == (0, ["pp512", "tg128"]), said
    assert "left out" not in said


def test_rows_within_another_object_are_rows(take: Take) -> None:
    """As scripts around llama-bench store them, beside what they know of the machine."""
    inner = {"date": "2025-10-01", "config": {"n": 1}, "runs": [{"host": "a", "rows": [PP]}, {"rows": [ANSWER]}]}
    code, said, tests = take(json.dumps(inner, indent=1))
    assert (code, tests) == (0, ["pp512", "tg128"]), said
    assert take('{"x": [' * 300 + json.dumps(PP) + "]}" * 300).tests == ["pp512"]


def test_many_rows_of_one_kind_are_one_line(take: Take) -> None:
    code, said, tests = take(lines(*[bench(model_type="llama 7B Q4_0")] * 9, PP))
    assert (code, tests) == (0, ["pp512"])
    assert "old, lines 1, 2, 3, 4, 5 and 4 more are left out: 'llama 7B Q4_0' is not a Phi" in said


def test_rows_of_both_tools_are_two_runs(take: Take) -> None:
    assert take(lines(PP, batched()), *BATCHED).tests == ["pp512", "pp128 x4", "tg32 x4 @ d128"]


@pytest.mark.parametrize(
    ("text", "tool"),
    [
        ("| model | size | params | backend | threads | test | t/s |\n| --- | ---: |\n| phi3 3B Q4", "llama-bench"),
        ("ggml: up\n| model                 |       size |   t/s |\n", "llama-bench"),  # llama.cpp#13169: no row came
        ('build_commit,build_number,cpu_info\n"8cf427ff","5163","AMD', "llama-bench"),
        ("CREATE TABLE IF NOT EXISTS llama_bench (\n  build_commit TEXT,\n", "llama-bench"),
        ("INSERT INTO llama_bench (build_commit, build_number) VALUES ('8cf427ff', '51", "llama-bench"),
        ("|    PP |     TG |    B |   N_KV |   T_PP s |\n|---|\n|   128 |", "llama-batched-bench"),
        ("\ufeffbuild_commit;build_number;cpu_info\n", "llama-bench"),  # as a table program saves it
        ("|model|size|params|backend|threads|test|t/s|\n|-|-|", "llama-bench"),  # as a formatter leaves it
        ("|PP|TG|B|N_KV|T_PP s|\n|-|-|-|-|-|\n", "llama-batched-bench"),
    ],
)
def test_another_form_of_the_tools_is_recognised(take: Take, text: str, tool: str) -> None:
    code, said, _ = take(text)
    assert code == 2
    assert f"has no test in it: this is what {tool} prints; llama-bench makes such files with -o json" in said
