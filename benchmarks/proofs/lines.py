"""The lines of ``recommend --run`` for llama.cpp's own programs and for Foundry Local lead to a word on the screen.

    LLAMA_BIN=FOLDER FOUNDRY_PYTHON=FILE python benchmarks/proofs/lines.py

A hub of the tests' own serves a tiny Phi with a tokenizer under the name that the catalog has; each printed line that
does not install is run as it is. ``LLAMA_BIN``: where llama-cli and llama-server are, else on the PATH.
``FOUNDRY_PYTHON``: the Python of an environment with foundry-local-sdk, for which the Phi lies in its cache, in the
list that it keeps of its maker's catalog. What is not here is left out, and so the figure says. The other tools are
run by tests/test_run_lines.py.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
import hub
import running
import talking

PROGRAMS = ("llama-cli", "llama-server")
FILES = {"Q4_K_M": "phi-4-Q4_K.gguf", "Q4_K_S": "phi-4-Q4_K_S.gguf"}  # one by its file, one by the hub's short form
FOUNDRY = "phi-4-generic-cpu"
ASKED = "every line ends in a word"
WORD = re.compile(r"\bw\d{3}")
LIMIT_S = 300.0


def main() -> int:
    words: dict[str, list[str]] = {}
    with tempfile.TemporaryDirectory() as made:
        root = Path(made)
        os.environ["PHIBENCH_CACHE"] = str(root / "cache")
        for name in PROGRAMS:
            if program := shutil.which(name, path=os.environ.get("LLAMA_BIN")):
                words[name] = _of_llama_cpp(name, Path(program).resolve(), root)
        if python := os.environ.get("FOUNDRY_PYTHON"):
            words["foundry-local-sdk"] = [_of_foundry(root / "foundry", python)]
    said = [word for some in words.values() for word in some]
    told = ", ".join(f"{name} {sum(map(bool, some))} of {len(some)}" for name, some in words.items())
    print(f"{told or 'neither of them is here'} ({ASKED})")
    return (0 if all(said) else 1) if said else 77


def _of_llama_cpp(name: str, program: Path, root: Path) -> list[str]:
    """The first word of each file's line; "" where there is none."""
    found = []
    for quantization, file in FILES.items():
        path = root / "hub" / "microsoft" / "phi-4-gguf" / file
        if not path.exists():
            talking.gguf("phi-4", quantization, path)
    with hub.serving(root / "hub") as address:
        for quantization in FILES:
            home = root / f"{name}-{quantization}"
            running.home(home, {name: program})
            (line,) = running.lines(running.howto(name, "phi-4", quantization, "llama_cpp"))
            print(line)
            found.append(
                _served(line, home, address) if name == "llama-server" else _said(f"{line} -st", home, address)
            )
    return found


def _of_foundry(home: Path, python: str) -> str:
    """Its cache holds the Phi as if it had been downloaded: the folder, and the row of the catalog that names it."""
    cache = home / ".phi" / "cache" / "models"
    folder = cache / "local" / f"{FOUNDRY}-1"
    talking.onnx("phi-4", "int4", folder)
    form = {role: f"<|{role}|>{{Content}}<|end|>" for role in ("system", "user", "assistant")}
    form["prompt"] = f"{form['user']}<|assistant|>"
    (folder / "inference_model.json").write_text(json.dumps({"Name": f"{FOUNDRY}:1", "PromptTemplate": form}))
    row = {
        "id": f"{FOUNDRY}:1", "name": FOUNDRY, "alias": "phi-4", "version": 1, "providerType": "AzureFoundry",
        "modelType": "ONNX", "uri": f"azureml://registries/azureml/models/{FOUNDRY}/versions/1",
        "task": "chat-completion", "stringProperties": {}, "intProperties": {"context_length": talking.CONTEXT},
        "runtime": {"deviceType": "CPU", "executionProvider": "CPUExecutionProvider"},
    }  # fmt: skip
    (cache / "foundry.modelinfo.json").write_text(json.dumps({"version": 1, "models": [row]}))
    running.home(home, {}, python)
    (line,) = running.lines(running.howto("foundry-local-sdk", "phi-4", "int4", "onnxruntime"))
    print(line)
    os.environ |= {"CI": "1", "ORT_TELEMETRY_DISABLED": "1"}  # a test reports nothing to anybody
    return _said(line, home, "http://127.0.0.1:9")


def _said(line: str, home: Path, address: str) -> str:
    done = running.run(line, home, address, LIMIT_S)
    found = WORD.search(done.stdout)
    print(found[0] if found else f"{done.stdout[-500:]}\n{done.stderr[-1500:]}")
    return found[0] if found else ""


def _served(line: str, home: Path, address: str) -> str:
    with (home / "server.log").open("w") as log:
        server = subprocess.Popen(
            ["sh", "-c", f"exec {line}"], cwd=home, env=running.environment(home, address), stdout=log, stderr=log,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    try:
        found = WORD.search(_asked("http://127.0.0.1:8080/v1/chat/completions", server))
    finally:
        server.terminate()
        server.wait()
    print(found[0] if found else (home / "server.log").read_text()[-1500:])
    return found[0] if found else ""


def _asked(url: str, server: subprocess.Popen[bytes]) -> str:
    body = {"messages": [{"role": "user", "content": "Why is the sky blue?"}], "max_tokens": 16}
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    ends = time.monotonic() + LIMIT_S
    while time.monotonic() < ends and server.poll() is None:
        try:
            with urllib.request.urlopen(request, timeout=LIMIT_S) as answer:
                text: str = json.load(answer)["choices"][0]["message"]["content"]
                return text
        except (urllib.error.URLError, ConnectionError):  # not up yet, or still loading: 503
            time.sleep(0.5)
    return ""


if __name__ == "__main__":
    sys.exit(main())
