"""Files of nouns: strict where a person writes, forgiving where a machine wrote, and never half a file."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fakes import failed, machine, measured, run, workload
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from phibench.core import files, folders, run_files
from phibench.core.errors import BAD_INPUT, FAILED, PhibenchError
from phibench.core.nouns import Failed, Goal, Machine, Noun, Suite
from phibench.core.text import scrub

SUITE = """
name = "quick"
question = "How fast?"
metrics = ["prefill_tps"]
prompt_tokens = [512]
[warmup]
windows = 2
"""
pipes = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
RUN = run(measured(workload(512, 0)), failed(workload(0, 128)))


def written(path: Path, value: object) -> Path:
    text = value if isinstance(value, str) else json.dumps(value)
    path.write_text(text, encoding="utf-8")
    return path


def refused(path: Path, kind: type, code: int = BAD_INPUT) -> str:
    with pytest.raises(PhibenchError) as error:
        files.read_strict(path, kind)
    assert error.value.exit_code == code
    return str(error.value)


# --------------------------------------------------------------------------------------- what people write


def test_a_suite_is_read_from_toml_and_json(tmp_path: Path) -> None:
    suite = files.read_strict(written(tmp_path / "s.toml", SUITE), Suite)
    assert (suite.name, suite.prompt_tokens, suite.warmup.windows, suite.warmup.tolerance) == ("quick", (512,), 2, 0.03)
    as_json = tmp_path / "s.json"
    files.write_json(as_json, suite)
    assert files.read_strict(as_json, Suite) == suite


def test_a_machine_that_was_saved_is_the_machine_that_is_read(tmp_path: Path) -> None:
    files.write_json(tmp_path / "m.json", machine())
    assert files.read_strict(tmp_path / "m.json", Machine) == machine()


@pytest.mark.parametrize(
    ("wrong", "right", "key", "guess"),
    [("prompt_tokens", "promt_tokens", "promt_tokens", "prompt_tokens"), ("windows", "windws", "windws", "windows")],
)
def test_a_misspelled_key_is_named_with_the_right_one(
    tmp_path: Path, wrong: str, right: str, key: str, guess: str
) -> None:
    path = written(tmp_path / "s.toml", SUITE.replace(wrong, right))
    message = refused(path, Suite)
    assert f"unknown key '{key}'; did you mean '{guess}'?" in message
    assert str(path) in message
    assert "\n" not in message


@pytest.mark.parametrize("where", ["devices", "limits"])
def test_a_misspelled_key_is_found_in_lists_and_tables(tmp_path: Path, where: str) -> None:
    data = json.loads(msgspec.json.encode(machine()))
    inner = data[where][0] if where == "devices" else data[where]
    inner["memory_byte"] = inner.pop("memory_bytes")
    message = refused(written(tmp_path / "m.json", data), Machine)
    assert f"unknown key 'memory_byte'; did you mean 'memory_bytes'? known keys of {tmp_path}" in message
    assert f"[{where}]" in message


class _Shelf(Noun, frozen=True, kw_only=True):
    suites: dict[str, Suite]


def test_a_misspelled_key_is_found_behind_free_names() -> None:
    suite = {"name": "n", "question": "?", "metrics": []}
    assert files.convert_strict({"suites": {"any": suite}}, _Shelf, "x").suites["any"].name == "n"
    with pytest.raises(PhibenchError, match="unknown key 'nme'; did you mean 'name'"):
        files.convert_strict({"suites": {"any": {**suite, "nme": "n"}}}, _Shelf, "x")


def test_names_in_a_table_of_numbers_are_free() -> None:
    data = {"id": "g", "title": "G", "prompt_tokens": 1, "new_tokens": 1, "context": 1, "benchmarks": []}
    assert files.convert_strict({**data, "limits": {"decode_tps": 10}}, Goal, "g").limits == {"decode_tps": 10.0}


@pytest.mark.parametrize(
    ("text", "why"),
    [("name = ", "is not valid TOML"), ("name = 3", "Expected `str`, got `int`"), ("", "is empty"),
     (SUITE + "max_s = nan", "out of range"), (SUITE + f"max_s = {'9' * 400}", "out of range"),
     ("a = " + "[" * 100_000, "is not valid TOML")],
)  # fmt: skip
def test_a_bad_suite_gets_one_line_that_names_the_file(tmp_path: Path, text: str, why: str) -> None:
    path = written(tmp_path / "s.toml", text)
    message = refused(path, Suite)
    assert why in message
    assert str(path) in message
    assert "Traceback" not in message


@pytest.mark.parametrize("text", ["[1]", "3", '"x"', "{", "[" * 100_000, '{"name":' * 500 + "1" + "}" * 500])
def test_json_that_is_no_suite(tmp_path: Path, text: str) -> None:
    assert str(tmp_path) in refused(written(tmp_path / "s.json", text), Suite)


@pytest.mark.parametrize(
    "encoding",
    [
        "utf-8-sig",  # hukkin/tomli#304, Nayjest/lm-proxy#79: Notepad, Set-Content
        "utf-16",  # BurntSushi/toml#233: what PowerShell 5.1's > makes of it
        "utf-16-le",
    ],
)
def test_what_editors_and_shells_of_windows_save_is_read(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "s.toml"
    path.write_bytes(SUITE.replace("\n", "\r\n").encode(encoding))
    suite = files.read_strict(path, Suite)
    assert suite.name == "quick"
    upper = tmp_path / "S.JSON"
    upper.write_bytes(json.dumps(msgspec.to_builtins(suite)).encode(encoding))
    assert files.read_strict(upper, Suite) == suite


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("\n<!DOCTYPE html>\n<html>", "is a web page; download the file itself"),
        ("version https://git-lfs.github.com/spec/v1\n", "is a pointer of Git LFS, the file itself was not downloaded"),
        ("\n \n", "is empty"),
    ],
)
@pytest.mark.parametrize("name", ["s.toml", "s.json"])
def test_what_a_download_left_is_called_what_it_is(tmp_path: Path, name: str, content: str, what: str) -> None:
    assert what in refused(written(tmp_path / name, content), Suite)


def test_a_missing_unreadable_or_binary_file(tmp_path: Path) -> None:
    assert refused(tmp_path / "no.toml", Suite) == f"there is no file {tmp_path / 'no.toml'}"
    assert refused(tmp_path, Suite) == f"cannot read {tmp_path}: it is a folder"
    (tmp_path / "b.toml").write_bytes(b"\xff\xfe\x00")
    assert "b.toml is cut off" in refused(tmp_path / "b.toml", Suite)  # a mark of UTF-16 and half a letter
    (tmp_path / "b.toml").write_bytes(b"name = 'M\xf6ller'")
    assert "line 1: this is not UTF-8 text; save the file as UTF-8" in refused(tmp_path / "b.toml", Suite)
    with (tmp_path / "long.toml").open("wb") as stream:
        stream.truncate(1 << 40)  # sparse: to read it would take all memory
    assert "more than any such file" in refused(tmp_path / "long.toml", Suite)


@pipes
def test_a_pipe_as_a_suite_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "s.toml")
    assert refused(tmp_path / "s.toml", Suite) == f"cannot read {tmp_path / 's.toml'}: it is not a file"


# ------------------------------------------------------------------------------------------- whole or none


def test_an_exception_in_the_body_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = written(tmp_path / "f.json", "old")

    def interrupted() -> None:
        with files.atomic(path) as stream:
            stream.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_appears_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "folder" / "f.txt"
    with files.atomic(path, "w") as stream:
        stream.write("é\n")
        assert not path.exists()
    assert path.read_bytes() == "é\n".encode()
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no file size limit to set")
def test_a_disk_that_fills_up_leaves_the_old_file(tmp_path: Path) -> None:
    """A real write error in the middle of a file: the system refuses to let files grow beyond 4 kB."""
    path = written(tmp_path / "f.json", "old")
    script = f"""
import resource, signal, sys
from pathlib import Path
from phibench.core import files
from phibench.core.errors import PhibenchError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    files.write_text(Path({str(path)!r}), "new" * 100_000)
except PhibenchError as error:
    print(error)
    sys.exit(error.exit_code)
"""
    env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=env, check=False)
    assert done.returncode == FAILED, done.stderr
    assert done.stdout.startswith(f"cannot write {path}: File too large")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pipes
def test_a_pipe_is_written_and_stays_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        files.write_text(pipe, "out\n")
        assert os.read(reader, 99) == b"out\n"
    finally:
        os.close(reader)
    assert pipe.is_fifo()
    assert list(tmp_path.iterdir()) == [pipe]


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege on Windows")
def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    there, link = tmp_path / "there.txt", tmp_path / "here" / "link.txt"
    link.symlink_to("../there.txt")
    for text in ("made", "replaced"):
        files.write_text(link, text)
        assert link.is_symlink()
        assert there.read_text() == text
    assert list(link.parent.iterdir()) == [link]


def test_a_folder_is_not_replaced(tmp_path: Path) -> None:
    with pytest.raises(PhibenchError, match=re.escape(f"cannot write {tmp_path}: ")):
        files.write_text(tmp_path, "x")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no umask")
@pytest.mark.parametrize(("umask", "mode"), [(0o077, 0o600), (0o002, 0o664)])
def test_the_umask_of_the_user_decides_who_may_read(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        files.write_text(tmp_path / "f.txt", "x")
    finally:
        os.umask(before)
    assert (tmp_path / "f.txt").stat().st_mode & 0o777 == mode


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    blocked = written(tmp_path / "file", "x") / "folder" / "f.json"
    with pytest.raises(PhibenchError, match=re.escape(f"cannot write {blocked}")) as error:
        files.write_json(blocked, {})
    assert error.value.exit_code == FAILED


# ------------------------------------------------------------------------------------------------ run files


def test_a_run_survives_being_written_and_read(tmp_path: Path) -> None:
    path = run_files.run_path(tmp_path, RUN)
    files.write_json(path, RUN)
    assert run_files.read_run(path) == RUN
    assert path.parent == tmp_path / RUN.machine.slug
    assert path.name == f"{RUN.id}-latency.json"


@pytest.mark.parametrize(
    ("reason", "cause"),
    [
        ("unavailable: no energy meter can be read", "unavailable"),
        ("fallback: asked for cuda:0", "fallback"),
        ("its reason is unavailable: ask the engine", "failed"),
    ],
)
def test_the_cause_of_a_failure_in_an_older_file_is_read_from_its_first_words(
    tmp_path: Path, reason: str, cause: str
) -> None:
    path = tmp_path / "old.json"
    old = run(failed(workload(8, 0), reason))
    files.write_json(path, old)
    assert "cause" not in json.loads(path.read_text(encoding="utf-8"))["results"][0]
    (found,) = run_files.read_run(path).results
    assert isinstance(found, Failed)
    assert (found.cause, found.reason) == (cause, reason)


@pytest.mark.parametrize(
    ("imported", "tool"), [("llama-bench b5163 (8cf427ff)", "llama-bench"), ("", msgspec.UNSET), (" ", msgspec.UNSET)]
)
def test_the_tool_of_an_older_imported_file_is_its_first_word(tmp_path: Path, imported: str, tool: object) -> None:
    path = tmp_path / "old.json"
    files.write_json(path, msgspec.structs.replace(RUN, imported=imported))
    assert "imported_tool" not in path.read_text(encoding="utf-8")
    assert run_files.read_run(path).imported_tool == tool


def test_a_suites_name_cannot_leave_the_folder(tmp_path: Path) -> None:
    path = run_files.run_path(tmp_path, run(name="../../etc/pass wd"))
    assert path.parent.parent == tmp_path


def plain_run() -> dict[str, Any]:
    data = json.loads(msgspec.json.encode(RUN))
    assert isinstance(data, dict)
    return data


def test_unknown_fields_of_a_newer_phibench_are_ignored(tmp_path: Path) -> None:
    data = plain_run()
    data["colour"] = data["machine"]["colour"] = data["results"][0]["colour"] = {"r": [1]}
    assert run_files.read_run(written(tmp_path / "r.json", data)) == RUN


def changed(**fields: object) -> dict[str, Any]:
    return plain_run() | fields


def late(arrival: object) -> dict[str, Any]:
    data = plain_run()
    data["results"][0]["samples"][0]["arrivals_s"] = [arrival]
    return data


@pytest.mark.parametrize(
    ("content", "why"),
    [("", "is not a phibench run"), ("{}", "missing required field `schema`"), ("[]", "Expected `object`"),
     ("null", "is not a phibench run"), ('{"schema": 1}', "missing required field"),
     ('{"schema": "1"}', "Expected `int`"), ("\x00\x01", "is not a phibench run"),
     (changed(schema=2), "has schema 2, this phibench reads 1; upgrade phibench"),
     (changed(results=[{"status": "strange"}]), "Invalid value 'strange'"), (changed(results=3), "Expected `array`"),
     ('{"schema": 1, "x": ' + "[" * 100_000, "recursion"), ("[" * 100_000, "is not a phibench run"),
     (late(-1.0), "Expected `float` >= 0"), (late(1e300), "Expected `float` <= 1000000000"),
     (late("soon"), "Expected `float`"), (changed(machine={**plain_run()["machine"], "memory_bytes": 10**30}), "int")],
)  # fmt: skip
def test_a_foreign_or_damaged_file_is_refused_in_one_line(tmp_path: Path, content: object, why: str) -> None:
    path = written(tmp_path / "r.json", content)
    with pytest.raises(PhibenchError) as error:
        run_files.read_run(path)
    assert error.value.exit_code == FAILED
    assert str(path) in str(error.value)
    assert why in str(error.value)
    assert "\n" not in str(error.value)


@given(st.binary(max_size=200))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_bytes_are_refused_politely(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "r.json"
    path.write_bytes(content)
    with pytest.raises(PhibenchError):
        run_files.read_run(path)


@given(st.integers(0, 1300))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_run_that_was_cut_is_refused_wherever_the_cut(tmp_path: Path, length: int) -> None:
    path = tmp_path / "r.json"
    whole = msgspec.json.encode(RUN)
    path.write_bytes(whole[: min(length, len(whole) - 1)])
    with pytest.raises(PhibenchError):
        run_files.read_run(path)


def test_a_folder_is_read_oldest_first_and_names_what_it_skips(tmp_path: Path) -> None:
    old, new = run(started="2026-01-01"), run(started="2026-02-01")
    files.write_json(tmp_path / "a" / "1.json", new)
    files.write_json(tmp_path / "b" / "2.json", old)
    written(tmp_path / "a" / "cut.json", '{"schema": 1, "id"')
    written(tmp_path / "a" / "note.txt", "not a result")
    (tmp_path / "folder.json").mkdir()
    runs, skipped = run_files.read_runs(tmp_path)
    assert runs == (old, new)
    assert len(skipped) == 2
    assert "cut.json" in skipped[0]
    assert "folder.json" in skipped[1]
    assert (tmp_path / "a" / "cut.json").exists()
    assert run_files.read_runs(tmp_path / "none") == ((), ())


@pytest.mark.parametrize(
    ("name", "why"), [("none.json", "there is no file {}"), (".", "cannot read {}: it is a folder")]
)
def test_a_missing_run_and_a_folder_are_named(tmp_path: Path, name: str, why: str) -> None:
    path = tmp_path / name
    with pytest.raises(PhibenchError) as error:
        run_files.read_run(path)
    assert str(error.value) == why.format(path)
    assert error.value.exit_code == FAILED


@pipes
def test_a_pipe_among_the_results_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.json")
    runs, skipped = run_files.read_runs(tmp_path)
    assert runs == ()
    assert "is not a file" in skipped[0]


# ------------------------------------------------------------------------------------- folders and privacy


def test_folders_follow_flag_environment_and_xdg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHIBENCH_RESULTS", str(tmp_path / "env"))
    assert folders.results_dir("flag") == Path("flag")
    assert folders.results_dir() == tmp_path / "env"
    monkeypatch.delenv("PHIBENCH_RESULTS")
    assert folders.results_dir() == Path("results")
    monkeypatch.setenv("PHIBENCH_CACHE", str(tmp_path / "own"))
    assert folders.cache_dir() == tmp_path / "own"
    monkeypatch.delenv("PHIBENCH_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert folders.cache_dir() == tmp_path / "phibench"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert folders.cache_dir().is_absolute()
    assert folders.data_dir("suites").name == "suites"


def test_scrubbed_text_has_no_home_host_or_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "anna-laptop")
    monkeypatch.setattr("getpass.getuser", lambda: "anna")
    monkeypatch.setattr(Path, "home", lambda: Path("/home/anna"))
    text = scrub("cannot open /home/anna/phi.gguf on anna-laptop for anna; banana stays")
    assert text == "cannot open ~/phi.gguf on *** for ***; banana stays"


def test_a_home_that_is_the_root_folder_leaves_paths_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "home", lambda: Path("/"))
    assert scrub("cannot open /models/phi.gguf") == "cannot open /models/phi.gguf"


@pytest.mark.parametrize("text", [f"name = {'1' * 5000}", f"{'a' * 100_000} = 1", f"name = '{'x' * 100_000}'\nx = 1"])
def test_a_refusal_is_short_however_long_the_word_is(tmp_path: Path, text: str) -> None:
    """A number of 5000 digits is a ValueError of Python's, not one of TOML's reader."""
    path = tmp_path / "m.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(PhibenchError) as error:
        files.read_strict(path, Machine)
    assert len(str(error.value)) < 1000
    path = tmp_path / "r.json"
    path.write_text(json.dumps({"schema": 1, "id": "x", "started": "", "suite": {"page_cache": ["y" * 100_000]}}))
    with pytest.raises(PhibenchError) as error:
        run_files.read_run(path)
    assert len(str(error.value)) < 1000
