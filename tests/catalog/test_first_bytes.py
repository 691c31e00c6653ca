"""What a file is by its first bytes, whatever it is called: at the front door, with a remedy, from public reports."""

from __future__ import annotations

import json
import struct
import sys
import zipfile
from functools import partial
from pathlib import Path

import pytest
from conftest import Phibench
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from refusals import refusal

from phibench import catalog
from phibench.catalog import plans, tensor_types
from phibench.catalog.readers import first_bytes, gguf
from phibench.catalog.tensor_types import MetaValue

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"5c" * 32 + b"\nsize 2491874272\n"


def phi3_mini(path: Path, keys: dict[str, MetaValue] | None = None) -> Path:
    """A sparse Phi-3-mini-4k in Q8_0, as a publisher's converter writes it."""
    plan = plans.plan(catalog.variant("phi-3-mini-4k-instruct"), "Q8_0", fmt="gguf")
    ours = {k: v for k, v in plan.metadata.items() if not k.startswith("phibench.")}
    with path.open("wb") as stream:
        stream.write(tensor_types.header(ours | {"general.name": "Phi3"} | (keys or {}), plan.tensors))
        stream.truncate(plan.file_bytes)
    return path


refused = partial(refusal, gguf.recognise)


@pytest.mark.parametrize(
    "name",
    [
        "sha256-" + "5c0ffee" * 9 + "5",  # ollama/ollama 6589, 6037: blobs that no name tells apart
        "phi3.GGUF.bin",
        "phi3.bin",  # oobabooga/textgen 3702: early guides called them .bin
        "PHI3.GGUF",
        "phi3 (1).gguf.txt",
        "phi3,q8.gguf",  # a comma lists models, but for a path that is there
    ],
)
@pytest.mark.usefixtures("probed")
def test_a_file_that_begins_with_gguf_is_one(
    name: str, phibench: Phibench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    phi3_mini(tmp_path / name)
    for path in (str(tmp_path / name), name):  # by its path, and by its bare name from within
        monkeypatch.chdir(tmp_path)
        done = phibench("run", "latency", "-m", path, "--dry-run", "-o", "json")
        assert done.code == 0, done.err
        assert json.loads(done.out)[0]["setup"].startswith("phi-3-mini-4k-instruct:Q8_0@llama_cpp")


@pytest.mark.usefixtures("probed")
def test_a_variants_name_stays_one_and_what_lies_under_it_is_told(
    phibench: Phibench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    phi3_mini(Path("phi-2"))
    done = phibench("run", "latency", "-m", "phi-2", "--dry-run", "-o", "json")
    assert json.loads(done.out)[0]["setup"].startswith("phi-2:")
    assert "phi-2 means the variant; write ./phi-2 for the file or folder of that name" in done.err
    done = phibench("run", "latency", "-m", "./phi-2", "--dry-run", "-o", "json")
    assert json.loads(done.out)[0]["setup"].startswith("phi-3-mini-4k-instruct:Q8_0")


@pytest.mark.skipif(sys.platform == "win32", reason="links need a right there")
def test_a_link_is_what_it_leads_to_or_says_that_it_leads_nowhere(tmp_path: Path, phibench: Phibench) -> None:
    phi3_mini(tmp_path / "Phi-3-mini-4k-instruct.gguf")
    (tmp_path / "current").symlink_to("Phi-3-mini-4k-instruct.gguf")
    assert gguf.recognise(tmp_path / "current").variant == "phi-3-mini-4k-instruct"
    (tmp_path / "gone.gguf").symlink_to("../blobs/5c0ffee")  # huggingface/huggingface_hub 1388
    done = phibench("run", "latency", "-m", str(tmp_path / "gone.gguf"), "--dry-run")
    assert done.code == 2
    assert "is a link to ../blobs/5c0ffee, which is not there: download it again" in done.err


ZIP = b"PK\x03\x04" + bytes(22) + struct.pack("<HH", 10, 0)
TAR = b"model.gguf".ljust(257, b"\0") + b"ustar\x0000" + bytes(200)


@pytest.mark.parametrize(
    ("content", "what", "remedy"),
    [
        pytest.param(POINTER, "a pointer of Git LFS, the file itself was not downloaded", "git lfs pull",
                     id="microsoft/OmniParser 34"),
        pytest.param(b'<!DOCTYPE html>\n<html class=""><head>', "a web page, not the model", "download the file itself",
                     id="llama.cpp 3358: /blob/ instead of /resolve/"),
        pytest.param(b"\xef\xbb\xbf\n  <HTML><body>", "a web page, not the model", "download", id="TabbyML/tabby 1581"),
        pytest.param(b"Internal Error - We're working hard to fix this as soon as possible!",
                     "a text (\"Internal Error - We're", "download the file itself", id="TabbyML/tabby 1575"),
        pytest.param(b"Username/Password Authentication Failed.\n", "a text ('Username/Password", "download",
                     id="vicuna-tools/vicuna-installation-guide 3"),
        pytest.param(b'{"error":"Not found"}', "an answer of a server ('Not found'), not the model",
                     "it may need a login", id="error in JSON"),
        pytest.param(b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "a text ('<?xml", "download",
                     id="error in XML"),
        pytest.param("<html>".encode("utf-16"), "a web page", "download the file itself", id="page in UTF-16"),
        pytest.param(b"", "empty", "download it again", id="llama.cpp 5306: an empty file"),
        pytest.param(bytes(4096), "empty where it should begin", "download it again",
                     id="aria2/aria2 1006: allocated before it is downloaded"),
        pytest.param(b"tjgg\x03\0\0\0", "a GGML file of before August 2023, not a GGUF file", "take a GGUF file",
                     id="llama.cpp 3905"),
        pytest.param(b"fmgg\x01\0\0\0", "a GGML file of before August 2023", "take a GGUF file", id="llama.cpp 662"),
        pytest.param(b"algg\x01\0\0\0", "a LoRA adapter of llama.cpp in its old form", "merged", id="llama.cpp 3953"),
        pytest.param(b"MZqFpD='\n", "a llamafile", "unzip", id="mozilla-ai/llamafile 511"),
        pytest.param(b"\x80\x02}q\0", "a pickle, which can run any code", "safetensors", id="ml-explore/mlx-lm 1718"),
        pytest.param(ZIP + b"archive/data.pkl", "a pickle", "safetensors", id="torch.save since 1.6"),
        pytest.param(ZIP + b"model.gguf", "a zip archive, not a GGUF file", "unpack it", id="zip"),
        pytest.param(b"\x1f\x8b\x08\0", "a gzip archive", "unpack it", id="gz"),
        pytest.param(TAR, "a tar archive", "unpack it", id="tar"),
        pytest.param(b"7z\xbc\xaf\x27\x1c\0\4", "a 7z archive", "unpack it", id="7z"),
        pytest.param(b"\x28\xb5\x2f\xfd\0\0", "a zstd archive", "unpack it", id="zst"),
        pytest.param(b"\x02\0\0\0\0\0\0\0{}", "a safetensors file", "give its folder", id="safetensors"),
        pytest.param(b"\x08\x0a\x12\x07pytorch", "an ONNX graph", "genai_config.json", id="onnx"),
        pytest.param(b"\x60\0\0\0\x12\0\0\0blk.0.attn_q.weight", "an importance matrix in its old form",
                     "the quantized model's file", id="imatrix.dat"),
        pytest.param(b"\x1c\0\0\0TFL3", "a model of LiteRT", "give a GGUF file", id="tflite"),
        pytest.param(b"\x30\0\0\0ET12", "a program of ExecuTorch", "give a GGUF file", id="pte"),
        pytest.param(b"\x7fELF\x02\x01", "a program", "give a GGUF file", id="elf"),
        pytest.param(b"\0\5\x16\7\0\2\0\0Mac OS X        ", "what macOS keeps beside a file, not a GGUF", "without ._",
                     id="unslothai/unsloth 8919, janhq/jan 3846"),
        pytest.param(b"L\0\0\0\x01\x14\2\0", "a shortcut of Windows", "that it leads to", id="shortcut"),
        pytest.param(b"!<symlink>\xff\xfe.\0.\0", "a link of Cygwin", "that it leads to", id="link of Cygwin"),
        pytest.param(b"../../blobs/5c0ffee\n", "a link that was written as a text ('../../blobs/5c0ffee')",
                     "which is not there: download it again", id="alirezarezvani/claude-skills 968: git on Windows"),
        pytest.param(b"/annex/objects/SHA256E-s2--5c.gguf", "a pointer of git-annex", "git annex get", id="git-annex"),
        pytest.param(b"d8:announce35:udp://tracker", "a torrent", "download what it names", id="torrent"),
        pytest.param(b"# mine\nFROM ./phi3.gguf\n", "a Modelfile of Ollama", "FROM names", id="ollama/ollama 16417"),
        pytest.param(b"<?xml version='1.0'?>\n<net name='Model0'>", "a graph for OpenVINO", "give", id="xml"),
        pytest.param(b"<svg" + b" " * 900 + b"x", "a text ('<svg x'), not the model", "download", id="a wide gap"),
        pytest.param(b"#\n" + b" \n" * 400 + b"x", "a text ('# x'), not the model", "download", id="a long gap"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["phi3.gguf", "phi3.safetensors"])
def test_what_is_no_gguf_file_is_named_with_a_remedy(
    content: bytes, what: str, remedy: str, name: str, phibench: Phibench, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    done = phibench("run", "latency", "-m", str(path), "--dry-run")
    assert done.code == 2
    assert f"{path} is {what}" in done.err
    assert remedy in done.err.partition(what)[2]
    assert done.err.count("\n") == 1


def test_pieces_of_a_file_are_put_together_first(tmp_path: Path) -> None:
    """oobabooga/textgen 6187: ``.gguf.part1of2`` were cut with split(1); llama.cpp 9613 and 135 of ngxson/wllama: parts
    of llama-gguf-split, of which only the first says what it is."""
    whole = phi3_mini(tmp_path / "whole.gguf")
    with whole.open("rb") as stream:
        first = stream.read(100_000)
    for name, content in (
        ("x.gguf.part1of2", first),
        ("x.gguf.part2of2", b"\x07" * 99),
        ("x.gguf-split-b", b"\x07" * 9),
    ):
        (tmp_path / name).write_bytes(content)
        assert "put all of them together" in refused(tmp_path / name, 1 if content == first else 2)
    keys: dict[str, MetaValue] = {"split.no": 2, "split.count": 3, "split.tensors.count": 9}
    (tmp_path / "phi-4-00003-of-00003.gguf").write_bytes(tensor_types.header(keys, ()))
    assert (
        "is part 3 of 3, not the whole model: join them first: llama-gguf-split --merge phi-4-00001-of-00003.gguf"
        in (refused(tmp_path / "phi-4-00003-of-00003.gguf"))
    )


def test_a_download_that_is_not_finished(tmp_path: Path) -> None:
    """janhq/jan 5266: loaded all the same, with nonsense for an answer. aria2 and Ollama allocate the whole size."""
    path = phi3_mini(tmp_path / "phi3.gguf")
    (tmp_path / "phi3.gguf.aria2").touch()
    assert "is not downloaded yet: phi3.gguf.aria2 lies beside it" in refused(path, 1)
    partial = phi3_mini(tmp_path / ("sha256-" + "5c" * 32 + "-partial"))
    assert "a download of Ollama that is not finished: ollama pull" in refused(partial, 1)
    whole = phi3_mini(tmp_path / "phi3.gguf.part")
    assert "its name ends in .part" in gguf.recognise(whole).notes[0]
    with whole.open("r+b") as stream:
        stream.truncate(10_000_000)
    assert "let the download that .part stands for finish" in refused(whole, 1)


def test_a_manifest_of_ollama_names_its_blob(tmp_path: Path, phibench: Phibench) -> None:
    """ollama/ollama 9186: two folders, and no file whose format one knows."""
    digest = "sha256:" + "5c" * 32
    names = tmp_path / "models" / "manifests" / "registry.ollama.ai" / "library" / "phi3"
    names.mkdir(parents=True)
    layers = [{"mediaType": "application/vnd.ollama.image.template", "digest": "sha256:" + "00" * 32},
              {"mediaType": first_bytes.OLLAMA_MODEL, "digest": digest}]  # fmt: skip
    (names / "mini").write_text(json.dumps({"schemaVersion": 2, "layers": layers}))
    blob = tmp_path / "models" / "blobs" / digest.replace(":", "-")
    blob.parent.mkdir()
    assert f"is a manifest of Ollama, not a GGUF file: give the model that it names, {blob}" in refused(names / "mini")
    done = phibench("run", "latency", "-m", str(tmp_path / "models"), "--dry-run")
    assert f"is Ollama's store of models; did you mean {blob} (phi3:mini)?" in done.err
    if sys.platform != "win32":  # ollama/ollama 8593: names of before 2024
        (blob.parent / digest).touch()
        assert f"give the model that it names, {blob.parent / digest}" in refused(names / "mini")
    layers[1]["digest"] = "../../../etc/passwd"
    (names / "mini").write_text(json.dumps({"schemaVersion": 2, "layers": layers}))
    assert "JSON, not the model" in refused(names / "mini")


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("https://huggingface.co/microsoft/phi-4-gguf", "is an address, and phibench downloads nothing"),
        ("hf.co/microsoft/Phi-3-mini-4k-instruct-gguf", "is an address, and phibench downloads nothing"),
        ("microsoft/Phi-3-mini-4k-instruct-gguf", "downloads nothing: give what is on this disk, or phi-3-mini-4k"),
        ("phi3.gguff", "did you mean phi3.gguf?"),
        ("model.safetensors", "there is no file or folder model.safetensors"),
        ("phi3:mini", "unknown variant 'phi3:mini'"),
        ("", "-m is empty"),
        ("./" + "x" * 300, "there is no file or folder"),
    ],
)
def test_what_is_not_there(
    name: str, why: str, phibench: Phibench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if "gguff" in name:
        Path("phi3.gguf").touch()
    done = phibench("run", "latency", "-m", name if "gguff" not in name else f"./{name}", "--dry-run")
    assert done.code == 2
    assert why in done.err


def test_a_modelfile_says_which_file_it_is_made_of(tmp_path: Path) -> None:
    """ollama/ollama 775, 16417."""
    (tmp_path / "Modelfile").write_text('# mine\nFROM "./phi3.gguf"\nPARAMETER temperature 0\n')
    assert "its FROM names ('\"./phi3.gguf\"')" in refused(tmp_path / "Modelfile")
    phi3_mini(tmp_path / "phi3.gguf")
    assert refused(tmp_path / "Modelfile").endswith(f"its FROM names, {tmp_path / 'phi3.gguf'}")


@pytest.mark.parametrize("link", ["../blobs/5c0ffee", "..\\blobs\\5c0ffee", "./../blobs/5c0ffee\n"])
def test_a_link_that_was_written_as_a_text_says_where_it_leads(link: str, phibench: Phibench, tmp_path: Path) -> None:
    """genealogix/glx 512: what a clone or a copy on a system without links leaves of a model in a hub's cache."""
    (tmp_path / "blobs").mkdir()
    phi3_mini(tmp_path / "blobs" / "5c0ffee")
    (tmp_path / "snapshot").mkdir()
    for name, asked in (("phi3.gguf", "phi3.gguf"), ("config.json", ".")):
        (tmp_path / "snapshot" / name).write_text(link)
        done = phibench("run", "latency", "-m", str(tmp_path / "snapshot" / asked), "--dry-run")
        assert done.code == 2
        assert f"{name} is a link that was written as a text" in done.err
        assert f"put the file that it leads to in its place, {tmp_path / 'blobs' / '5c0ffee'}" in done.err


@pytest.mark.parametrize(
    ("written", "lies"),
    [
        ('"phi3.gguf"', "phi3.gguf"),  # quotes that a shell did not take
        ("\u202aphi3.gguf", "phi3.gguf"),  # ggml-org/llama.cpp 4921: copied from a dialog of Windows
        ("models/phi3.ggu", "models/phi3.gguf"),
        ("modles/Phi-3/phi3.gguf", "models/Phi-3/phi3.gguf"),  # the folder that is misspelled, not the file
        pytest.param(".\\models\\phi3.gguf", "models/phi3.gguf", marks=pytest.mark.skipif(
            sys.platform == "win32", reason="is the same there"), id="slashes of Windows"),
    ],
)  # fmt: skip
def test_a_name_that_is_nearly_right(
    written: str, lies: str, phibench: Phibench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(lies).parent.mkdir(parents=True, exist_ok=True)
    Path(lies).touch()
    done = phibench("run", "latency", "-m", written, "--dry-run")
    assert done.code == 2
    assert f"did you mean {Path(lies)}?" in done.err
    assert done.err.count("\n") == 1


def test_a_user_who_is_not_here_and_a_line_break(phibench: Phibench) -> None:
    for name, said in (("~nobody-of-this-name/x.gguf", "~nobody-of-this-name"), ("a\nb.gguf", r"a\nb.gguf")):
        for command in (("run", "latency", "--dry-run"), ("verify",)):
            done = phibench(*command, "-m", name)
            assert (done.code, done.err.count("\n")) == (2, 1)
            assert f"there is no file or folder {said}" in done.err
    done = phibench("compare", "~nobody-of-this-name", "b", "--results", "~nobody-of-this-name")
    assert (done.code, done.err.count("\n")) == (2, 1)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=400) | st.text(max_size=100).map(str.encode))
def test_any_bytes_are_something_or_unknown(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "any"
    path.write_bytes(content)
    found = first_bytes.kind(path)
    assert found is None or (found.what and found.remedy and (found.what + found.remedy).isprintable())


def test_a_real_archive_and_no_other(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "phi.zip", "w") as archive:
        archive.writestr("model/phi3.gguf", b"GGUF")
    found = first_bytes.kind(tmp_path / "phi.zip")
    assert found
    assert found.what == "a zip archive"
    (tmp_path / "random").write_bytes(b"\x07\x01\x02\xff" * 99)
    assert first_bytes.kind(tmp_path / "random") is None
