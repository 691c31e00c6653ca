"""How to run what is recommended: which tools, with which lines, and what is said beside them."""

from __future__ import annotations

import functools
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phibench import backends, catalog
from phibench.advise.howto import QUESTION, howtos
from phibench.advise.recommend import advise
from phibench.catalog import builds, tools
from phibench.core import shells
from phibench.core.nouns import Build, Estimate, Goal, Grounds, Howto, Machine, Setup, System, Verdict
from phibench.machine.asked import described

CHAT = catalog.goal("chat")
KINDS = {"llama_cpp": ("cpu", "cuda:0", "metal", "vulkan:0"), "onnxruntime": ("cpu", "cuda:0", "dml"),
         "torch": ("cpu", "cuda:0", "mps")}  # fmt: skip


@functools.cache
def machine(os: str = "linux", gpu: str = "none", cpu: str = "Ryzen 5 5600") -> Machine:
    found, _ = described(gpu, cpu, None, "linux" if os == "macos" else os, None)
    return msgspec.structs.replace(found, os=os)


def picked(
    variant: str = "phi-4-mini-instruct", quantization: str = "Q4_K_M", backend: str = "llama_cpp", device: str = "cpu",
    options: dict[str, str] | None = None, build: Build | None = None, **more: Any,
) -> Verdict:  # fmt: skip
    setup = Setup(variant=variant, quantization=quantization, backend=backend, device=device,
                  options=tuple(sorted((options or {}).items())))  # fmt: skip
    (fmt,) = backends.load(backend).FORMATS
    found = build or builds.offered(variant, fmt, quantization, device.partition(":")[0])
    return Verdict(setup=setup, build=found, **more)


def by_tool(verdict: Verdict, on: Machine | None = None, goal: Goal = CHAT) -> dict[str, Howto]:
    return {howto.tool: howto for howto in howtos(on or machine(), goal, verdict)}


def last(howto: Howto) -> str:
    line = [line for line in howto.lines if not line.typed][-1]
    return shells.command(line.words, howto.system)


def after(howto: Howto, flag: str) -> str:
    words = [word for line in howto.lines for word in line.words]
    return words[words.index(flag) + 1]


# ------------------------------------------------------------------------------------------------ every build


OFFERED = [
    (variant.id, build, backend)
    for variant in catalog.variants()
    for build in builds.builds(variant.id)
    for backend in KINDS
    if build.format in backends.load(backend).FORMATS and build.quantization in {q.id for q in catalog.quantizations()}
]


@given(st.sampled_from(OFFERED), st.sampled_from(get_args(System)), st.data())
def test_every_build_has_whole_lines_on_every_system(
    offered: tuple[str, Build, str], system: System, data: st.DataObject
) -> None:
    variant, build, backend = offered
    device = data.draw(st.sampled_from(KINDS[backend]))
    verdict = picked(variant, build.quantization, backend, device, build=build)
    found = howtos(machine(system), CHAT, verdict)
    assert not (build.made and found)
    for howto in found:
        assert howto.lines
        assert howto.system == system
        text = [" ".join(line.words) if line.typed else shells.command(line.words, system) for line in howto.lines]
        for line in text:
            assert not any(
                f"{{{name}}}" in line
                for name in ("settings", "model", "packages", "bin", "file", "context", "homebrew")
            )
            assert "|" not in line
            assert "$" not in line
        assert howto.repository
        owner = howto.repository.partition("/")[0]
        assert owner not in tools.off_hub() or tools.tools()[howto.tool].owner == owner


def _has_no_lines(verdict: Verdict) -> bool:
    """Made as it is opened, in a branch of its repository, or opened with code of its own."""
    build = verdict.build
    return build is not None and bool(build.made or build.branch or build.variant == "phi-4-multimodal-instruct")


def test_a_build_in_a_branch_and_what_has_no_flag_have_no_lines() -> None:
    """Seen: one line for two variants, whose builds are branches of one repository; experts left on the card."""
    plus = next(b for b in builds.builds("phi-4-reasoning-plus") if b.branch)
    assert not howtos(
        machine(), CHAT, picked("phi-4-reasoning-plus", plus.quantization, "llama_cpp", "cuda:0", build=plus)
    )
    moe = next(b for b in builds.builds("phi-3.5-moe-instruct") if b.format == "gguf" and not b.branch)
    split = picked("phi-3.5-moe-instruct", moe.quantization, "llama_cpp", "cuda:0", {"n_cpu_moe": "9"}, moe)
    assert {one.tool for one in howtos(machine(gpu="RTX 4090"), CHAT, split)} == {"llama-cli", "llama-server"}


def test_what_is_recommended_on_a_machine_has_lines_for_each_engine() -> None:
    seen = set()
    for on in (machine(gpu="RTX 4090"), machine("windows")):
        for verdict in advise(on, CHAT, ()):
            if verdict.verdict != "no":
                found = howtos(on, CHAT, verdict)
                assert found or _has_no_lines(verdict), verdict.setup
                seen |= {verdict.setup.backend} if found else set()
    assert seen == {"llama_cpp", "onnxruntime", "torch"}


# ------------------------------------------------------------------------------------------------ which tools


def test_a_gguf_file_is_run_by_whatever_has_llama_cpp_inside() -> None:
    found = by_tool(picked())
    assert list(found) == ["llama-cli", "llama-server", "ollama", "lm-studio", "llama-cpp-python"]


def test_a_package_of_onnx_runtime_is_foundry_locals_too_where_it_has_one() -> None:
    both = ["onnxruntime-genai", "foundry-local-sdk", "foundry-local"]
    assert list(by_tool(picked("phi-4-mini-instruct", "int4", "onnxruntime"))) == both
    assert list(by_tool(picked("phi-4-mini-instruct", "int4", "onnxruntime"), machine("windows"))) == both
    assert list(by_tool(picked("phi-3-medium-4k-instruct", "int4", "onnxruntime"))) == both[:1]


def test_mlx_stands_beside_on_a_mac_with_its_share_predicted() -> None:
    mac, _ = described(None, "Apple M2", None, None, None)
    speed = Estimate(value=20.0, low=15, high=25, basis="spec", because="test", grounds=Grounds(share=0.7))
    one = picked(quantization="Q8_0", device="metal", estimates={"decode_tps": speed})
    found = by_tool(one, mac)["mlx-lm"]
    assert found.repository == "mlx-community/Phi-4-mini-instruct-8bit"
    assert "predicted and not measured here" in found.notes[-1]
    assert "70%" in found.notes[-1]
    half = by_tool(picked(quantization="Q4_K_M", device="metal"), mac)["mlx-lm"]
    assert half.repository == "mlx-community/Phi-4-mini-instruct-4bit"
    assert "mlx-lm" not in by_tool(one, machine("windows"))
    assert "mlx-lm" not in by_tool(picked("phi-4-reasoning"), mac), "nobody offers it"


def test_what_nobody_offers_a_phone_and_training_have_no_lines() -> None:
    assert howtos(machine(), CHAT, msgspec.structs.replace(picked(), build=None)) == ()
    assert howtos(machine(), CHAT, picked(quantization="int4", backend="torch")) == (), "made as it is opened"
    assert howtos(msgspec.structs.replace(machine(), os="android"), CHAT, picked()) == ()
    assert howtos(machine(), catalog.goal("fine-tuning"), picked(quantization="bf16", backend="torch")) == ()


def test_a_phi_without_a_chat_template_goes_to_tools_that_complete() -> None:
    found = by_tool(picked("phi-2", "Q4_K_M"))
    assert "llama-cpp-python" in found
    assert not {"llama-cli", "ollama", "lm-studio"} & set(found)
    assert "create_completion" in last(found["llama-cpp-python"])
    assert "no chat template" in " ".join(found["llama-cpp-python"].notes)
    assert "llama-cli" not in by_tool(picked("phi-1.5", "Q4_K_M"))
    assert "apply_chat_template" not in last(by_tool(picked("phi-2", "bf16", "torch"))["transformers"])


# ------------------------------------------------------------------------------------------------ which file


@pytest.mark.parametrize(
    ("variant", "quantization", "words"),
    [
        ("phi-4-mini-instruct", "Q4_K_M", "-hf unsloth/Phi-4-mini-instruct-GGUF:Q4_K_M "),
        ("phi-4", "Q4_K_M", "-hf microsoft/phi-4-gguf -hff phi-4-Q4_K.gguf "),
        ("phi-3-mini-4k-instruct", "Q4_K_M",
         "-hf microsoft/Phi-3-mini-4k-instruct-gguf -hff Phi-3-mini-4k-instruct-q4.gguf "),
        ("phi-3-mini-4k-instruct", "F16",
         "-hf microsoft/Phi-3-mini-4k-instruct-gguf -hff Phi-3-mini-4k-instruct-fp16.gguf "),
    ],
)  # fmt: skip
def test_the_short_form_of_the_hub_is_taken_where_it_finds_the_file(
    variant: str, quantization: str, words: str
) -> None:
    found = by_tool(picked(variant, quantization))
    assert f"llama-cli {words}" in last(found["llama-cli"])
    assert f"llama-server {words}" in last(found["llama-server"])


def test_f16_is_named_by_its_file_as_bf16_ends_alike() -> None:
    one = picked("phi-4", "F16")
    assert one.build
    assert one.build.path
    assert after(by_tool(one)["llama-cli"], "-hff") == one.build.path


def test_ollamas_own_tag_is_taken_where_it_has_one() -> None:
    own = by_tool(picked("phi-4-mini-instruct", "Q8_0"))["ollama"]
    assert last(own) == "ollama run phi4-mini:3.8b-q8_0"
    assert "not the same file" in " ".join(own.notes)
    assert last(by_tool(picked("phi-4-mini-instruct", "Q5_K_M"))["ollama"]) == (
        "ollama run hf.co/unsloth/Phi-4-mini-instruct-GGUF:Q5_K_M"
    )


# ------------------------------------------------------------------------------------------------ settings


def test_settings_are_those_that_the_advice_was_reckoned_with() -> None:
    goal = msgspec.structs.replace(CHAT, context=32768)
    options = {"n_gpu_layers": "20", "type_k": "q8_0", "type_v": "q8_0", "flash_attn": "on", "threads": "3"}
    found = by_tool(picked("phi-4-mini-instruct", device="cuda:0", options=options), machine(gpu="RTX 4060"), goal)
    assert " -c 32768 -t 3 -ngl 20 -ctk q8_0 -ctv q8_0 -fa on " in last(found["llama-cli"])
    code = after(found["llama-cpp-python"], "-c")
    assert "n_ctx=32768, n_threads=3, n_threads_batch=3, n_gpu_layers=20, type_k=8, type_v=8, flash_attn=True" in code
    assert not {"ollama", "lm-studio"} & {*found}, "they have no flag for a KV cache in eight bits"
    options = {"n_gpu_layers": "20", "threads": "3"}
    found = by_tool(picked("phi-4-mini-instruct", device="cuda:0", options=options), machine(gpu="RTX 4060"), goal)
    assert [line.words[-2:] for line in found["ollama"].lines if line.typed] == [
        ("num_ctx", "32768"), ("num_gpu", "20"),
    ]  # fmt: skip
    assert after(found["lm-studio"], "--context-length") == "32768"
    assert after(found["lm-studio"], "--gpu") == "0.61", "20 of 32 layers and the output"


def test_all_layers_and_none() -> None:
    on_gpu, on_cpu = (by_tool(picked(device=device), machine(gpu="RTX 4060")) for device in ("cuda:0", "cpu"))
    assert (after(on_gpu["llama-cli"], "-ngl"), after(on_cpu["llama-cli"], "-ngl")) == ("99", "0")
    assert (after(on_gpu["lm-studio"], "--gpu"), after(on_cpu["lm-studio"], "--gpu")) == ("max", "off")
    assert after(on_cpu["llama-cli"], "-t") == str(machine(gpu="RTX 4060").limits.threads)
    assert "-sm" not in last(on_gpu["llama-cli"])


def test_one_of_several_gpus_is_named() -> None:
    two = by_tool(picked(device="cuda:1"), machine(gpu="2x RTX 3090"))
    assert " -sm none -mg 1 " in last(two["llama-server"])
    assert "split_mode=0, main_gpu=1" in last(two["llama-cpp-python"])


def test_experts_that_stay_on_the_host_are_set() -> None:
    one = picked("phi-3.5-moe-instruct", device="cuda:0", options={"n_cpu_moe": "12"})
    found = by_tool(one, machine(gpu="RTX 4060"))
    assert after(found["llama-cli"], "-ncmoe") == "12"


def test_a_phi_that_thinks_may_answer_for_longer() -> None:
    goal = msgspec.structs.replace(CHAT, thinking_tokens=5000)
    plain, thinking = (last(by_tool(picked(v, "bf16", "torch"), goal=goal)["transformers"])
                       for v in ("phi-4", "phi-4-reasoning"))  # fmt: skip
    assert f"max_new_tokens={CHAT.new_tokens}," in plain
    assert f"max_new_tokens={CHAT.new_tokens + 5000}," in thinking


def test_packages_are_those_of_the_device() -> None:
    installs = {
        device: [line.words for line in by_tool(picked("phi-3.5-mini-instruct", q, "onnxruntime", device),
                 machine("windows"))["onnxruntime-genai"].lines if "install" in line.words][-1]
        for device, q in (("cpu", "int4"), ("cuda:0", "fp16"))
    }  # fmt: skip
    assert installs["cpu"][-2:] == ("onnxruntime-genai", "huggingface-hub")
    assert installs["cuda:0"][-2:] == ("onnxruntime-genai-cuda", "huggingface-hub")


@pytest.mark.parametrize(
    ("system", "device", "said"),
    [("linux", "cuda:0", ""), ("linux", "rocm", "not for rocm: take a build"), ("windows", "cuda:0", "by Vulkan"),
     ("windows", "vulkan:0", ""), ("macos", "metal", "")],
)  # fmt: skip
def test_where_an_installed_build_does_not_reach_the_device_it_is_said(system: System, device: str, said: str) -> None:
    found = by_tool(picked(device=device), machine(system))
    assert said in found["llama-cli"].misses
    assert bool(said) == bool(found["llama-cli"].misses)
    assert found["ollama"].misses == "" if "ollama" in found else True


def test_homebrew_lies_elsewhere_on_a_mac_of_intel() -> None:
    arm, intel = (msgspec.structs.replace(machine("macos"), arch=arch) for arch in ("arm64", "x86_64"))
    assert last(by_tool(picked(), arm)["llama-cli"]).startswith("/opt/homebrew/bin/llama-cli ")
    assert last(by_tool(picked(), intel)["llama-cli"]).startswith("/usr/local/bin/llama-cli ")


def test_pictures_and_speech_are_not_in_the_lines() -> None:
    goal = catalog.goal("vision")
    found = by_tool(picked("phi-3.5-vision-instruct", "bf16", "torch"), goal=goal)
    assert all("only text" in " ".join(howto.notes) for howto in found.values())


def test_the_question_needs_quotes_and_no_more() -> None:
    assert shells.command([QUESTION], "linux") == f'"{QUESTION}"'
    assert shells.command([QUESTION], "windows") == f'& "{QUESTION}"'
