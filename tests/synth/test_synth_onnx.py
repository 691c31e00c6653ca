from __future__ import annotations

import functools
import hashlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import builder
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from phibench import catalog, synth
from phibench.catalog import plans
from phibench.catalog.plans import onnx as plan_onnx
from phibench.catalog.plans.base import Plan
from phibench.core import extras
from phibench.core.errors import PhibenchError
from phibench.synth import cache, fill, onnx
from phibench.synth.onnx import graph, weights

HERE = Path(__file__).parents[1]
QUANTIZATIONS = tuple(plan_onnx.quantizations())
FACTS = {"kv_type": "fp32", "kv_buffer": "shared", "logits": "all", "exporter": "phibench"}
DENSE = [v.id for v in catalog.variants() if plans.can_plan(v, "onnx")]
pytestmark = [
    pytest.mark.engine("onnxruntime"),
    pytest.mark.skipif(importlib.util.find_spec("onnx") is None, reason="onnx is not installed"),
]
with_builder = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("onnx_ir", "torch", "transformers", "safetensors")),
    reason="the builder needs onnx-ir, torch and transformers",
)
pairs = pytest.mark.parametrize(
    ("name", "quantization"), [(name, quantization) for name in builder.COMPARED for quantization in QUANTIZATIONS]
)


def planned(name: str, quantization: str, layers: int | None = None) -> Plan:
    return plans.plan(builder.narrow(name), quantization, layers, fmt="onnx")


def child(code: str) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh process that sees the test's cache."""
    head = "import sys\nfrom pathlib import Path\nfrom builder import narrow\nfrom phibench.synth import onnx\n"
    return subprocess.run(
        [sys.executable, "-c", head + textwrap.dedent(code)],
        capture_output=True, text=True, timeout=120, check=False, env=dict(os.environ, PYTHONPATH=str(HERE)),
    )  # fmt: skip


def size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


# ------------------------------------------------------------------ the same as Microsoft's builder


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the builder made: ``<variant>/<quantization>``, and the weights in ``<variant>/hf``."""
    folder = tmp_path_factory.mktemp("built")
    done = subprocess.run(
        [sys.executable, str(HERE / "builder.py"), str(folder), *QUANTIZATIONS],
        capture_output=True, text=True, timeout=300, check=False,
        env=dict(os.environ, PYTHONPATH=str(HERE.parent), HF_HUB_OFFLINE="1"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


@pytest.fixture(scope="module")
def ours(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    """The same weights, exported by phibench."""

    @functools.cache
    def export(name: str, quantization: str) -> Path:
        from safetensors.numpy import load_file

        stored = load_file(built / name / "hf" / "model.safetensors")
        folder = tmp_path_factory.mktemp("ours") / "model"
        onnx.write(planned(name, quantization), folder, weights=stored.__getitem__)
        return folder

    return export


Ours = Callable[[str, str], Path]


def nodes(graph: Any) -> Iterator[tuple[object, ...]]:
    """Every node with its wiring and attributes; of constants their shapes and types (tables: compared by value)."""
    from onnx import AttributeProto, helper

    for node in graph.node:
        told: dict[str, object] = {}
        for one in node.attribute:
            if one.type == AttributeProto.GRAPH:
                told[one.name] = tuple(nodes(one.g))
            elif one.type == AttributeProto.TENSOR:
                small = one.t.raw_data if len(one.t.raw_data) < 100 else b""
                told[one.name] = (one.t.data_type, tuple(one.t.dims), small)
            else:
                told[one.name] = helper.get_attribute_value(one)
        yield node.op_type, node.domain, node.name, tuple(node.input), tuple(node.output), sorted(told.items())


def values(told: Any) -> list[tuple[str, int, list[str]]]:
    """Name, type and dimensions of inputs or outputs."""
    return [
        (v.name, v.type.tensor_type.elem_type, [d.dim_param or str(d.dim_value) for d in v.type.tensor_type.shape.dim])
        for v in told
    ]


def arrays(folder: Path) -> dict[str, NDArray[Any]]:
    """Every initializer, and the constants of the branches of LongRoPE."""
    import onnx as package
    from onnx import numpy_helper

    model = package.load(folder / "model.onnx")
    found = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    for node in model.graph.node:
        for branch in (one.g for one in node.attribute if one.g.node):
            found |= {one.output[0]: numpy_helper.to_array(one.attribute[0].t) for one in branch.node}
    return found


@with_builder
@pairs
def test_the_graph_is_the_builders(built: Path, ours: Ours, name: str, quantization: str) -> None:
    import onnx as package

    theirs = package.load(built / name / quantization / "model.onnx", load_external_data=False)
    mine = package.load(ours(name, quantization) / "model.onnx", load_external_data=False)
    assert list(nodes(mine.graph)) == list(nodes(theirs.graph))
    assert values(mine.graph.input) == values(theirs.graph.input)
    assert values(mine.graph.output) == values(theirs.graph.output)
    assert mine.ir_version == theirs.ir_version
    assert list(mine.opset_import) == list(theirs.opset_import)
    config = [
        json.loads((at / onnx.CONFIG).read_text()) for at in (ours(name, quantization), built / name / quantization)
    ]
    assert config[0] == config[1]


@with_builder
@pairs
def test_the_weights_are_the_builders(built: Path, ours: Ours, name: str, quantization: str) -> None:
    """Blocks and scales to the bit; rotary tables to the rounding of an angle, which grows with the position."""
    theirs, mine = arrays(built / name / quantization), arrays(ours(name, quantization))
    assert set(mine) == set(theirs)
    for key, array in theirs.items():
        assert mine[key].dtype == array.dtype
        if "_cache" in key:
            np.testing.assert_allclose(mine[key], array, atol=1e-3 if quantization == "fp16" else 1e-4)
        else:
            np.testing.assert_array_equal(mine[key], array, key)


def walk(folder: Path, prompt: list[int], then: list[int]) -> NDArray[np.float32]:
    """Logits after a prompt and after each of some tokens."""
    import onnxruntime_genai as genai

    model = genai.Model(str(folder))
    parameters = genai.GeneratorParams(model)
    parameters.set_search_options(max_length=len(prompt) + len(then) + 1)
    generator = genai.Generator(model, parameters)
    found = []
    for tokens in (prompt, *([token] for token in then)):
        generator.append_tokens(np.array(tokens, np.int32))
        found.append(np.array(generator.get_logits(), np.float32).reshape(-1))
    return np.stack(found)


def runnable(folder: Path, target: Path) -> Path:
    """The builder's folder without its notes on shapes inside the graph.

    Where keys and values are repeated (fp16, shared heads) the notes are wrong and ONNX Runtime 1.32 stops at the
    second step: it takes the length of the whole cache for that of the new tokens.
    """
    import onnx as package

    shutil.copytree(folder, target)
    model = package.load(target / onnx.MODEL, load_external_data=False)
    del model.graph.value_info[:]
    package.save(model, target / onnx.MODEL)
    return target


def walks(mine: Path, theirs: Path, prompt: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Logits of both, in units of the spread of theirs."""
    tokens = np.random.default_rng(prompt).integers(3, 416, prompt + 4).tolist()
    found = walk(mine, tokens[:prompt], tokens[prompt:]), walk(theirs, tokens[:prompt], tokens[prompt:])
    assert all(np.isfinite(one).all() for one in found)
    spread = float(found[1].std())
    assert spread > 0.5
    return found[0] / spread, found[1] / spread


PROMPTS = (12, 62, 80)  # before, across and past the switch of LongRoPE at 64


@with_builder
@pairs
def test_logits_are_the_builders(built: Path, ours: Ours, tmp_path: Path, name: str, quantization: str) -> None:
    """Accuracy level 4 rounds activations to int8: where an angle rounds differently, a whole step may flip."""
    level_4 = plan_onnx.quantizations()[quantization][1] == 4
    tolerance = 0.1 if level_4 else 5e-3 if quantization == "fp16" else 1e-4
    theirs = runnable(built / name / quantization, tmp_path / "theirs")
    for prompt in PROMPTS:
        np.testing.assert_allclose(*walks(ours(name, quantization), theirs, prompt), rtol=0, atol=tolerance)


@with_builder
@pairs
def test_logits_are_the_builders_to_the_bit_on_its_tables(
    built: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, quantization: str
) -> None:
    """Rotary tables are all that torch and numpy round differently."""
    from safetensors.numpy import load_file

    stored, tables = load_file(built / name / "hf" / "model.safetensors"), arrays(built / name / quantization)
    monkeypatch.setattr(weights, "table", lambda plan, table, rope: tables[table])
    onnx.write(planned(name, quantization), tmp_path / "mine", stored.__getitem__)
    theirs = runnable(built / name / quantization, tmp_path / "theirs")
    for prompt in PROMPTS:
        np.testing.assert_array_equal(*walks(tmp_path / "mine", theirs, prompt))


@with_builder
def test_the_builders_own_fp16_stops_where_heads_are_shared(built: Path) -> None:
    """When this fails, ``runnable`` has done its duty."""
    with pytest.raises(RuntimeError, match="Shape mismatch attempting to re-use buffer"):
        walk(built / "phi-4" / "fp16", [3, 4, 5], [6])


@with_builder
def test_the_factors_of_longrope_reach_the_tables(built: Path, tmp_path: Path) -> None:
    """Other factors, other logits, on the side of the switch that they are for."""
    from safetensors.numpy import load_file

    name = "phi-3.5-mini-instruct"
    stored = load_file(built / name / "hf" / "model.safetensors")
    one, two = (1.0,) * 32, (2.0,) * 32
    for at, rope in {"one": (one, one), "long": (one, two), "short": (two, one)}.items():
        onnx.write(planned(name, "fp32"), tmp_path / at, stored.__getitem__, rope)
    tokens = list(range(3, 90))

    def logits(at: str, count: int) -> NDArray[np.float32]:
        return walk(tmp_path / at, tokens[:count], [])

    for count, same, other in ((60, "long", "short"), (80, "short", "long")):
        np.testing.assert_array_equal(logits("one", count), logits(same, count))
        assert np.abs(logits("one", count) - logits(other, count)).max() > 0.1


# ------------------------------------------------------------------ plans


@pytest.mark.parametrize("name", DENSE)
@pytest.mark.parametrize("quantization", QUANTIZATIONS)
def test_plans_tell_the_bytes_on_disk(tmp_path: Path, name: str, quantization: str) -> None:
    wanted = planned(name, quantization)
    onnx.write(wanted, tmp_path / "model")
    assert size(tmp_path / "model") == wanted.file_bytes
    stored = sum(array.nbytes for array in arrays(tmp_path / "model").values())
    assert stored == wanted.weights_bytes


@pytest.mark.parametrize("name", ["phi-2", "phi-4-mini-instruct", "phi-3-medium-128k-instruct"])
@pytest.mark.parametrize("quantization", QUANTIZATIONS)
def test_graphs_of_true_shapes_fit_the_plan(name: str, quantization: str) -> None:
    wanted = plans.plan(catalog.variant(name), quantization, None, fmt="onnx")
    branches = sum(tensor.bytes for tensor in wanted.tensors if plan_onnx.is_branch(tensor))

    def nothing(_: str) -> NDArray[np.float32]:
        return np.zeros((1, 1), np.float32)

    model = onnx.with_places(wanted, graph.model(wanted, nothing))
    assert model.ByteSize() + branches + plan_onnx.PADDING_BYTES < plan_onnx.graph_bytes(wanted)


@pytest.mark.parametrize("name", DENSE)
def test_parameters_are_the_model_cards(name: str) -> None:
    variant = catalog.variant(name)
    for quantization in QUANTIZATIONS:
        found = plans.plan(variant, quantization, None, fmt="onnx")
        shape = plan_onnx.shape_of(found)
        twice = shape.vocab * shape.hidden if shape.tied and quantization == "int8" else 0
        assert found.parameters - twice == variant.parameters
        assert found.tied == (shape.tied and quantization != "int8")


def test_what_a_token_reads_of_phi_4_mini() -> None:
    """Every matrix once, the tied head once, of the rotary tables and an untied embedding next to nothing."""
    wanted = plans.plan(catalog.variant("phi-4-mini-instruct"), "int4", None, fmt="onnx")
    tables = sum(tensor.bytes for tensor in wanted.tensors if "_cache_" in tensor.name)
    assert wanted.read_bytes_per_token == wanted.weights_bytes - tables
    untied = plans.plan(catalog.variant("phi-4"), "int4", None, fmt="onnx")
    assert untied.weights_bytes - untied.read_bytes_per_token > 100352 * 5120 * 4


def test_the_docs_tell_the_planned_sizes() -> None:
    text = (HERE.parent / "docs" / "synthetic.md").read_text(encoding="utf-8")
    for quantization in QUANTIZATIONS:
        sizes = [
            plans.plan(catalog.variant(name), quantization, None, fmt="onnx").file_bytes
            for name in ("phi-3-mini-4k-instruct", "phi-4-mini-instruct", "phi-4")
        ]
        row = next(line for line in text.splitlines() if line.startswith(f"| `{quantization}` | "))
        assert row.endswith("".join(f" | {size / 1e9:.2f} GB" for size in sizes) + " |")
    for name in ("phi-4", "phi-4-reasoning", "phi-3.5-mini-instruct", "phi-4-mini-reasoning"):
        assert f"| {plans.plan(catalog.variant(name), 'int4', None, fmt='onnx').disk_bytes:,} |" in text


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("phi-3.5-moe-instruct", "mixture of experts"),
        ("phi-4-multimodal-instruct", "several ONNX graphs"),
        ("phi-3-small-8k-instruct", "block-sparse attention"),
        ("phi-silica", "undisclosed"),
    ],
)
def test_objections_say_why(name: str, words: str) -> None:
    variant = catalog.variant(name)
    assert words in str(plans.objection(variant, "onnx"))
    with pytest.raises(PhibenchError, match=words):
        plans.plan(variant, "int4", None, fmt="onnx")


def test_unknown_quantizations_and_layers_are_named() -> None:
    variant = catalog.variant("phi-4")
    with pytest.raises(PhibenchError, match="unknown ONNX quantization 'int5'; did you mean 'int"):
        plans.plan(variant, "int5", None, fmt="onnx")
    with pytest.raises(PhibenchError, match="phi-4 has 40 layers; --layers 41"):
        plans.plan(variant, "int4", 41, fmt="onnx")


def test_the_catalog_lists_what_can_be_planned() -> None:
    assert sorted(q.id for q in catalog.quantizations("onnx")) == sorted(QUANTIZATIONS)
    for one in catalog.quantizations("onnx"):
        assert one.bits == plan_onnx.BITS[plan_onnx.quantizations()[one.id][0]]


# ------------------------------------------------------------------ the bytes


@pairs
def test_no_two_tensors_are_alike(tmp_path: Path, name: str, quantization: str) -> None:
    """ONNX Runtime keeps equal initializers once; the memory of a whole model would come out too low."""
    onnx.write(planned(name, quantization), tmp_path / "model")
    found = [hashlib.sha256(array.tobytes()).digest() for array in arrays(tmp_path / "model").values()]
    assert len(set(found)) == len(found)


def test_no_two_tensors_of_phi_4_mini_are_alike() -> None:
    """Each begins at another place of the pool, at the true shape, too."""
    wanted = plans.plan(catalog.variant("phi-4-mini-instruct"), "int4", None, fmt="onnx")
    noise = weights.Noise(wanted)
    learnt = [(index, tensor) for index, tensor in enumerate(wanted.tensors) if not plan_onnx.is_branch(tensor)]
    found = [bytes(next(iter(noise.chunks(tensor, index)))[:4096]) for index, tensor in learnt]
    assert len(set(found)) == len(found) == 226


@pytest.mark.parametrize("quantization", QUANTIZATIONS)
def test_the_writer_holds_a_tile_at_a_time(quantization: str) -> None:
    """Pieces of a tensor are views of one pool, whatever the tensor weighs."""
    wanted = plans.plan(catalog.variant("phi-4"), quantization, None, fmt="onnx")
    noise = weights.Noise(wanted)
    for index, tensor in enumerate(wanted.tensors):
        if "_cache" in tensor.name:
            continue
        pieces = [len(piece) for piece in noise.chunks(tensor, index)]
        assert sum(pieces) == tensor.bytes
        assert max(pieces) <= 9_000_000


@pytest.mark.parametrize("name", ["phi-4", "phi-4-mini-instruct"])
def test_embeddings_tower_over_the_layers(name: str) -> None:
    """Also where the head is the embedding."""
    wanted = planned(name, "fp32")
    noise, spread = weights.Noise(wanted), {}
    for index, tensor in enumerate(wanted.tensors):
        if len(tensor.shape) == 2 and "_cache" not in tensor.name:
            spread[tensor.name] = float(np.frombuffer(next(iter(noise.chunks(tensor, index))), np.float32).std())
    assert spread.pop(wanted.embedding) == pytest.approx(1.0, rel=0.05)
    assert list(spread.values()) == pytest.approx([0.02] * len(spread), rel=0.05)


@settings(deadline=None)
@given(st.binary(min_size=1, max_size=40), st.integers(0, 200), st.integers(0, 1000))
def test_tiles_go_round_the_pool(pool: bytes, count: int, start: int) -> None:
    found = b"".join(bytes(piece) for piece in fill.tiled(memoryview(pool), count, start))
    assert found == bytes(pool[(start + place) % len(pool)] for place in range(count))


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(1, 4), st.sampled_from(["int4", "int8"]), st.integers(0, 1000))
def test_quantizing_keeps_the_weights(rows: int, blocks: int, kind: str, seed: int) -> None:
    """Within half a step of the scale: 16 or 256 levels between -max and max of a block, the last one left out."""
    drawn = np.random.default_rng(seed).standard_normal((rows, 32 * blocks), np.float32)
    packed, scales = weights.quantize(kind, drawn)
    if kind == "int4":
        levels = np.stack([packed & 15, packed >> 4], -1).reshape(rows, blocks, 32).astype(np.float32) - 8
    else:
        levels = packed.astype(np.float32) - 128
    error = np.abs(levels * scales[..., None] - drawn.reshape(rows, blocks, 32))
    assert (error <= np.abs(scales[..., None]) * 1.001).all()


@pairs
def test_synthetic_folders_run(tmp_path: Path, name: str, quantization: str) -> None:
    onnx.write(planned(name, quantization), tmp_path / "model")
    found = walk(tmp_path / "model", list(range(3, 70)), [5, 6])
    assert found.shape == (3, 416)
    assert np.isfinite(found).all()
    assert (found.std(axis=1) > 0).all()


# ------------------------------------------------------------------ the cache


def test_what_is_in_the_cache_is_not_written_again() -> None:
    variant, told = builder.narrow("phi-4-mini-instruct"), list[tuple[int, int]]()
    assert synth.write_bytes(variant, "int4", "onnx", 1) == planned("phi-4-mini-instruct", "int4", 1).file_bytes
    first = onnx.ensure(variant, "int4", 1, lambda done, total: told.append((done, total)))
    assert told[-1] == (first.bytes, first.bytes) == (size(Path(first.path)),) * 2
    assert (first.weights, first.layers, first.facts) == ("synthetic", 1, FACTS)
    assert onnx.cached(variant, "int4", 1) == Path(first.path)
    assert synth.write_bytes(variant, "int4", "onnx", 1) == 0
    told.clear()
    assert synth.ensure(variant, "int4", "onnx", 1, lambda *state: told.append(state)) == first
    assert told == []
    others = {onnx.ensure(variant, quantization).path for quantization in QUANTIZATIONS}
    assert len(others | {first.path}) == 6
    assert {path for path, _, _ in cache.entries()} == {Path(path) for path in others | {first.path}}
    assert cache.clear() > 0
    assert onnx.cached(variant, "int4", 1) is None


def test_what_is_used_goes_last() -> None:
    variant = builder.narrow("phi-4")
    first, second = (Path(onnx.ensure(variant, quantization).path) for quantization in ("int4", "int8"))
    os.utime(first, (1, 1))
    assert [path for path, _, _ in cache.entries()] == [first, second]
    onnx.ensure(variant, "int4")
    assert [path for path, _, _ in cache.entries()] == [second, first]


def test_the_folder_says_what_it_is(tmp_path: Path) -> None:
    folder = Path(onnx.ensure(builder.narrow("phi-4"), "int4-acc0", 1).path)
    assert json.loads((folder / plan_onnx.ABOUT).read_text()) == {
        "synthetic": True,
        "variant": "phi-4",
        "quantization": "int4-acc0",
        "layers": 1,
        "of_layers": 2,
        "facts": FACTS,
    }


def test_a_cut_folder_is_written_anew() -> None:
    variant = builder.narrow("phi-4")
    folder = Path(onnx.ensure(variant, "int4").path)
    whole = (folder / onnx.DATA).read_bytes()
    os.truncate(folder / onnx.DATA, 1000)
    assert onnx.cached(variant, "int4") is None
    assert Path(onnx.ensure(variant, "int4").path) == folder
    assert (folder / onnx.DATA).read_bytes() == whole
    (folder / onnx.MODEL).unlink()
    assert onnx.cached(variant, "int4") is None
    onnx.ensure(variant, "int4")
    assert onnx.cached(variant, "int4") == folder


def test_ctrl_c_leaves_nothing() -> None:
    def interrupt(done: int, total: int) -> None:
        if done > total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        onnx.ensure(builder.narrow("phi-4"), "int4", None, interrupt)
    assert list(cache.folder("onnx").iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="RLIMIT_FSIZE is POSIX")
def test_a_disk_that_fills_up_leaves_nothing() -> None:
    done = child(
        """
        import resource
        from phibench.core.errors import PhibenchError
        from phibench.synth import cache
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        try:
            onnx.ensure(narrow("phi-4"), "fp32")
        except PhibenchError as error:
            print(error.exit_code, list(cache.folder("onnx").iterdir()), error)
        """
    )
    assert done.stdout.startswith("1 [] cannot write"), done
    assert "; the folder needs " in done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
def test_what_a_killed_process_left_is_cleaned() -> None:
    done = child(
        """
        import os, signal
        onnx.ensure(narrow("phi-4"), "int4", None, lambda done, total: os.kill(os.getpid(), signal.SIGKILL))
        """
    )
    assert done.returncode == -signal.SIGKILL
    assert [path.suffix for path in cache.folder("onnx").iterdir()] == [".part"]
    assert cache.entries() == ()
    folder = Path(onnx.ensure(builder.narrow("phi-4"), "int8").path)
    assert list(cache.folder("onnx").iterdir()) == [folder]


def test_without_the_packages_the_remedy_is_said() -> None:
    """And nothing is evicted for what cannot be written."""
    done = child(
        """
        import os
        sys.modules["onnx"] = None
        from phibench.catalog import plans as plan
        from phibench.core.errors import PhibenchError
        from phibench.synth import cache
        cache.folder("onnx").mkdir(parents=True)
        (cache.folder("onnx") / "old").mkdir()
        (cache.folder("onnx") / "old" / "model.onnx").write_bytes(bytes(100))
        os.environ["PHIBENCH_CACHE_LIMIT"] = str(plan.plan(narrow("phi-4"), "int4", fmt="onnx").file_bytes)
        try:
            onnx.ensure(narrow("phi-4"), "int4")
        except PhibenchError as error:
            print(error.exit_code, len(cache.entries()), error)
        """
    )
    assert done.stdout == f"1 1 onnx is not installed: {extras.line('onnxruntime')}\n", done
