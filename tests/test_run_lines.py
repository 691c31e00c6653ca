"""``recommend --run``: the printed lines are run as they are, on tiny Phis with a tokenizer, until there is a word.

A hub of our own serves them under the names that the catalog has. What cannot be installed here is held to its help
(tests/catalog/test_tools.py) and no more; llama.cpp's own programs are run by benchmarks/proofs/lines.py.
"""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import hub
import pytest
import running
import talking
from conftest import Phibench

from phibench.core.errors import BAD_INPUT, NOTHING_FITS

WORD = re.compile(r"\bw\d{3}")  # as the tokenizer's words are
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="lines for sh")


def _gguf(root: Path) -> None:
    talking.gguf("phi-4", "Q4_K_M", root / "microsoft/phi-4-gguf/phi-4-Q4_K.gguf")


def _onnx(root: Path) -> None:
    talking.onnx("phi-4", "int4", root / "microsoft/phi-4-onnx/cpu_and_mobile/cpu-int4-rtn-block-32-acc-level-4")


def _torch(root: Path) -> None:
    talking.hugging_face("phi-4", root / "microsoft/phi-4")


@POSIX
@pytest.mark.parametrize(
    ("tool", "backend", "quantization", "make", "needs"),
    [
        ("llama-cpp-python", "llama_cpp", "Q4_K_M", _gguf, ("llama_cpp", "gguf", "huggingface_hub")),
        ("onnxruntime-genai", "onnxruntime", "int4", _onnx, ("onnxruntime_genai", "onnx", "huggingface_hub")),
        ("transformers", "torch", "bf16", _torch, ("transformers", "torch")),
    ],
)
def test_the_lines_lead_to_a_word(
    tool: str, backend: str, quantization: str, make: Callable[[Path], None], needs: tuple[str, ...], tmp_path: Path
) -> None:
    for module in needs:
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"no {module}")
    make(tmp_path / "hub")
    running.home(tmp_path, {})
    howto = running.howto(tool, "phi-4", quantization, backend)
    with hub.serving(tmp_path / "hub") as address:
        for line in running.lines(howto):
            done = running.run(line, tmp_path, address)
            assert done.returncode == 0, (line, done.stdout, done.stderr)
    assert WORD.search(done.stdout), (done.stdout, done.stderr)


# ------------------------------------------------------------------------------------------------ the command

LAPTOP = ("--gpu", "RTX 4060 Laptop", "--os", "windows")


def test_only_lines_are_printed(phibench: Phibench) -> None:
    done = phibench("recommend", "--cpu", "i7-1260P", "--os", "windows", "--run=llama-cli")
    assert (done.code, done.err) == (0, "")
    install, run = done.out.splitlines()
    assert install == "winget install --source winget llama.cpp"
    assert run.startswith("llama-cli -hf ")
    assert run.endswith(' -p "Why is the sky blue?"')


def test_lines_that_run_elsewhere_than_advised_say_so_beside_them(phibench: Phibench) -> None:
    done = phibench("recommend", *LAPTOP, "--run")
    assert done.code == 0
    (said,) = done.err.splitlines()
    assert "llama-cli, llama-server: what these lines install is for cpu and vulkan, not for cuda" in said


def test_without_a_name_every_tool_has_its_lines_under_its_name(phibench: Phibench) -> None:
    done = phibench("recommend", "--cpu", "i7-1260P", "--os", "linux", "--run")
    assert done.code == 0, done.err
    heads = [line for line in done.out.splitlines() if line.startswith("# ") and "then type" not in line]
    assert heads == ["# llama.cpp: llama-cli", "# llama.cpp: llama-server", "# Ollama", "# LM Studio",
                     "# llama-cpp-python"]  # fmt: skip


def test_a_no_is_one_line_and_exit_3(phibench: Phibench) -> None:
    done = phibench("recommend", "--cpu", "i7-1260P", "--ram", "1GiB", "--run")
    assert (done.code, done.out) == (NOTHING_FITS, "")
    assert len(done.err.splitlines()) == 1
    assert "nothing fits" in done.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--run", "llama-cly"), "did you mean 'llama-cli'?"),
        (("--run", "-o", "csv"), "leave out -o, or take md or json"),
        (("--run", "--goal", "fine-tuning"), "leave out --run"),
    ],
)
def test_what_makes_no_sense_is_bad_input(words: tuple[str, ...], said: str, phibench: Phibench) -> None:
    done = phibench("recommend", "--gpu", "RTX 4090", *words)
    assert (done.code, done.out) == (BAD_INPUT, "")
    assert said in done.err


def test_a_tool_that_does_not_run_the_pick_is_named_with_those_that_do(phibench: Phibench) -> None:
    done = phibench("recommend", *LAPTOP, "--run", "mlx-lm")
    assert (done.code, done.out) == (NOTHING_FITS, "")
    assert "mlx-lm does not run" in done.err
    assert "llama-cli" in done.err


def test_markdown_has_a_section_and_programs_get_words(phibench: Phibench) -> None:
    done = phibench("recommend", *LAPTOP, "--top", "1", "-o", "md")
    _, _, section = done.out.partition("\n## Run it\n")
    assert "```powershell\nwinget install --source winget llama.cpp\n" in section
    assert "flags as in the help of [llama.cpp " in section
    assert "Run it" not in phibench("recommend", "--cpu", "i7-1260P", "--ram", "1GiB", "-o", "md").out
    assert phibench("recommend", *LAPTOP, "--run", "-o", "md").out == f"## Run it\n{section}"
    programs = json.loads(phibench("recommend", *LAPTOP, "--run", "ollama", "-o", "json").out)
    assert [line["words"][:3] for line in programs[0]["lines"] if line["typed"]] == [
        ["/set", "parameter", "num_ctx"], ["/set", "parameter", "num_gpu"],
    ]  # fmt: skip
