"""What a file is by its first bytes, whatever its name: a download that went wrong, an archive, another format.

Only the first bytes are read. Of a small answer in JSON the whole of it, which may say why a server sent no model.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from phibench.core.errors import FAILED, PhibenchError
from phibench.core.text import GIT_LFS, WEB_PAGE

HEAD_BYTES = 1024
MAX_ANSWER_BYTES = 1 << 16  # of a server; its errors are a line, Ollama's manifests a kB
OLLAMA_MODEL = "application/vnd.ollama.image.model"  # mediaType of the layer that is a GGUF file
_AGAIN = "download the file itself"
_UNPACK = "unpack it, and give the model that lies in it"
_JSON = "JSON, not the model"
_OPENED = "give a GGUF file, or a folder with safetensors or genai_config.json"


class Kind(NamedTuple):
    """``what`` it is, in words after "is", and the ``remedy``.

    ``lost``: what a download left, no format at all; ``link``: it only leads to the file.
    """

    what: str
    remedy: str
    lost: bool = False
    link: bool = False


GGUF = Kind("a GGUF file", "give the file itself, not its folder")
SAFETENSORS = Kind("a safetensors file", "give its folder with its config.json")
ONNX_GRAPH = Kind("an ONNX graph", "give its folder with its genai_config.json")
_PICKLE = Kind("a pickle, which can run any code when it is opened", "take the model's safetensors files")
_OLD = Kind("a GGML file of before August 2023", "take a GGUF file, or convert the original anew")
_PROGRAM = Kind("a program", _OPENED)
_ZIP = Kind("a zip archive", _UNPACK)
_PAGE = Kind("a web page, not the model", _AGAIN, lost=True)
_EMPTY = Kind("empty", "download it again", lost=True)
_ZEROS = Kind("empty where it should begin: zeros that no download filled", "download it again", lost=True)
_LEADS = "give the file that it leads to"
_POINTER = Kind("a pointer of Git LFS, the file itself was not downloaded", "git lfs pull", lost=True)
# Sources: the formats' own descriptions; GGML's magics are written as numbers, so they stand backwards in the file
_STARTS = {
    b"GGUF": GGUF,
    GIT_LFS.encode(): _POINTER,
    b"lmgg": _OLD, b"fmgg": _OLD, b"tjgg": _OLD,
    b"algg": Kind("a LoRA adapter of llama.cpp in its old form", "take the model that it was merged into"),
    b"PK\x03\x04": _ZIP, b"PK\x05\x06": _ZIP,
    b"\x1f\x8b": Kind("a gzip archive", _UNPACK),
    b"BZh": Kind("a bzip2 archive", _UNPACK),
    b"\xfd7zXZ\0": Kind("an xz archive", _UNPACK),
    b"\x28\xb5\x2f\xfd": Kind("a zstd archive", _UNPACK),
    b"7z\xbc\xaf\x27\x1c": Kind("a 7z archive", _UNPACK),
    b"Rar!\x1a\x07": Kind("a rar archive", _UNPACK),
    b"MZqFpD": Kind("a llamafile, a program with its model inside", "unzip the .gguf that lies in it"),
    b"MZ": _PROGRAM, b"\x7fELF": _PROGRAM, b"\xcf\xfa\xed\xfe": _PROGRAM, b"\xca\xfe\xba\xbe": _PROGRAM,
    b"L\0\0\0\x01\x14\2\0": Kind("a shortcut of Windows", _LEADS, link=True),
    b"!<symlink>": Kind("a link of Cygwin", _LEADS, link=True),
    b"\0\5\x16\7": Kind("what macOS keeps beside a file", "give the file without ._ in its name"),
    b"d8:announce": Kind("a torrent", "download what it names"),
    b"\x89HDF\r\n": Kind("an HDF5 file (Keras)", _OPENED),
    b"\x93NUMPY": Kind("an array of NumPy", _OPENED),
    **{b"\x80" + bytes([protocol]): _PICKLE for protocol in range(2, 6)},
}  # fmt: skip
_WITHIN = {  # at this place: names of flatbuffers, and tar
    (4, b"TFL3"): Kind("a model of LiteRT (TensorFlow Lite)", _OPENED),
    (4, b"ORTM"): Kind("a model in ONNX Runtime's own format", _OPENED),
    (4, b"ET12"): Kind("a program of ExecuTorch", _OPENED),
    (257, b"ustar"): Kind("a tar archive", _UNPACK),
}
_TEXTS = {
    WEB_PAGE: _PAGE,
    r"<(?s:.*)<net\b": Kind("a graph for OpenVINO", _OPENED),
}
_UNFINISHED = (".incomplete", ".part", ".partial", ".crdownload", ".download", ".fdmdownload", ".!qb", ".!ut")


def kind(path: Path) -> Kind | None:
    """What the file is; None where its first bytes do not tell. OSError when it cannot be read."""
    with path.open("rb") as stream:
        return _kind(path, stream.read(HEAD_BYTES), path.stat().st_size)


def check(path: Path, wanted: Kind) -> None:
    """Raises PhibenchError (exit 2) where the file is known to be something else than ``wanted``."""
    found = kind(path)
    if found and found is not wanted:
        what = found.what if found.lost else f"{found.what}, not {wanted.what}"
        where = f", {path.absolute().parent}" if found in (SAFETENSORS, ONNX_GRAPH) else ""
        raise PhibenchError(f"{path} is {what}: {found.remedy}{where}")


def lost(path: Path) -> Kind | None:
    """What a download left in place of data that have no magic; zeros are data, too."""
    found = kind(path)
    return found if found and found.lost and found != _ZEROS else None


def check_json(path: Path, content: bytes) -> None:
    """Raises PhibenchError (exit 2) for what should be JSON and is what a download left instead."""
    found = _kind(path, content[:HEAD_BYTES], len(content))
    if found and (found.link or found in (_POINTER, _PAGE, _EMPTY, _ZEROS)):
        raise PhibenchError(f"{path} is {found.what}: {found.remedy}")


def answer(found: Mapping[str, Any]) -> Kind | None:
    """What a server said in place of a file, where an object is that."""
    given = next((found[key] for key in ("error", "message", "detail", "errors") if found.get(key)), None)
    if given is None:
        return None
    said = _first(given if isinstance(given, str) else json.dumps(given))
    return Kind(f"an answer of a server ({said}), not the model", f"{_AGAIN}; it may need a login", lost=True)


def check_finished(path: Path) -> None:
    """Raises PhibenchError (exit 1) for what a program is still downloading into: its size is that of the whole."""
    if path.name.endswith("-partial") and path.name.startswith("sha256-"):
        raise PhibenchError(f"{path} is a download of Ollama that is not finished: ollama pull", FAILED)
    control = path.with_name(path.name + ".aria2")
    if control.exists():
        raise PhibenchError(f"{path} is not downloaded yet: {control.name} lies beside it; let aria2 finish", FAILED)


def unfinished(path: Path) -> str:
    """The end of a name that programs give to what they have not downloaded yet, or ""."""
    return next((end for end in _UNFINISHED if path.name.lower().endswith(end)), "")


def _kind(path: Path, head: bytes, size: int) -> Kind | None:
    if not head:
        return _EMPTY
    if not any(head) and size > 8:
        return _ZEROS
    if head[:4] == b"PK\x03\x04" and b"data.pkl" in head[:200]:  # torch.save since 1.6
        return _PICKLE
    found = next((known for start, known in _STARTS.items() if head.startswith(start)), None)
    found = found or next((k for (at, magic), k in _WITHIN.items() if head[at : at + len(magic)] == magic), None)
    return found or _tensors(head, size) or _text(path, head, size)


def _tensors(head: bytes, size: int) -> Kind | None:
    """Formats without a magic: a length and an object; fields of a message of protobuf; a count, a length, a name."""
    length = int.from_bytes(head[:8], "little")
    if head[8:9] == b"{" and 2 <= length <= size:
        return SAFETENSORS
    if len(head) > 2 and head[0] == 0x08 and 1 <= head[1] <= 32 and head[2] in (0x12, 0x1A, 0x22, 0x28, 0x3A, 0x42):
        return ONNX_GRAPH  # ModelProto: ir_version, then the producer or what else stands there
    if re.match(rb".{4}[\x01-\x40]\0\0\0(blk\.\d+\.|output\.weight|token_embd)", head, re.DOTALL):
        return Kind("an importance matrix in its old form, no model", "take the quantized model's file")
    return None


def _text(path: Path, head: bytes, size: int) -> Kind | None:
    """What can be read as text is no model."""
    read = head.decode("utf-16" if head[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig", "ignore").strip()
    if not read or len(read) < len(head.strip()) // 3:
        return None
    if not all(char.isprintable() or char.isspace() for char in read):
        return None
    if read.startswith(("{", "[")):
        return _json(path, size)
    if found := (_link(path, read) if size < HEAD_BYTES else None) or _modelfile(path, read):
        return found
    for start, found in _TEXTS.items():
        if re.match(start, read, re.IGNORECASE):
            return found
    return Kind(f"a text ({_first(read)}), not the model", _AGAIN, lost=True)


def _link(path: Path, read: str) -> Kind | None:
    """A path alone: how git, and caches of a hub that were copied, keep links where a system has none."""
    if re.fullmatch(r"(\.git|\.\.)?[\w./\\-]*[/\\]annex[/\\]objects[/\\]\S+", read):
        return Kind("a pointer of git-annex, the file itself is not here", "git annex get", lost=True, link=True)
    if not re.fullmatch(r"(\.\.?[/\\])+[^\n*?<>|:\"]+", read):
        return None
    leads = path.parent / read.replace("\\", "/")
    there = f", {leads.resolve()}" if leads.is_file() else ", which is not there: download it again"
    what = f"a link that was written as a text ({_first(read)})"
    return Kind(what, f"put the file that it leads to in its place{there}", lost=True, link=True)


def _modelfile(path: Path, read: str) -> Kind | None:
    """Of Ollama: FROM names a file, or a model in its store."""
    said = re.match(r"(?:#.*\n|\s)*from[ \t]+([^\n]+)", read, re.IGNORECASE)
    if said is None:
        return None
    made_of = path.parent / said[1].strip(' \t\r"')
    there = f", {made_of}" if made_of.is_file() else f" ({_first(said[1])})"
    return Kind("a Modelfile of Ollama", f"give the file that its FROM names{there}")


def _first(words: str) -> str:
    return ascii(re.sub(r"\s+", " ", words)[:60])


def _json(path: Path, size: int) -> Kind:
    found = small_json(path) if size <= MAX_ANSWER_BYTES else None
    if found and (blob := ollama_blob(path, found)):
        return Kind("a manifest of Ollama", f"give the model that it names, {blob}")
    if found and (said := answer(found)):
        return said
    if path.name in ("config.json", "genai_config.json", "model.safetensors.index.json"):
        return Kind("one file of a model", f"give its folder, {path.absolute().parent}")
    return Kind(_JSON, _OPENED, lost=True)


def small_json(path: Path) -> dict[str, Any] | None:
    """A small object of JSON; None for anything else."""
    try:
        if path.stat().st_size > MAX_ANSWER_BYTES:
            return None
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def ollama_blob(path: Path, manifest: dict[str, Any]) -> Path | None:
    """The GGUF file that a manifest of Ollama at ``path`` names; None for another object."""
    layers = manifest.get("layers")
    for layer in layers if isinstance(layers, list) else ():
        if isinstance(layer, dict) and layer.get("mediaType") == OLLAMA_MODEL:
            digest = str(layer.get("digest"))
            store = next((p.parent for p in path.absolute().parents if p.name == "manifests"), None)
            if store and re.fullmatch(r"sha256[:-][0-9a-f]{64}", digest):
                blobs = [store / "blobs" / digest.replace(":", mark) for mark in "-:"]  # a colon until 2024
                return next((blob for blob in blobs if blob.exists()), blobs[0])
    return None
