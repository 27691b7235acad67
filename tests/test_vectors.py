"""Vectors that were learned elsewhere: they arrive to the bit, stay, and what cannot serve is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import mezzotint
from mezzotint.data.tokenizer import Tokenizer
from mezzotint.errors import HubError, MezzotintError, RunError, UsageError
from mezzotint.space.embedding import principal
from mezzotint.training.folder import CHECKPOINTS, EMBEDDINGS, steps_saved
from mezzotint.vectors import vectors_of
from tests.fake_hub import reach, serving
from tests.test_foreign import source as tokenizer_made_elsewhere

TINY = {"dim": "16", "depth": "1", "heads": "2", "batch": "8", "validations": "1"}
WORDS = ["the", "a", "old", "new", "river", "pub", "near", "by", "is", "was", "cold", "warm"]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A folder with a text and three runs on it: narrow, wide, and one that fills whole canvases."""
    root = tmp_path_factory.mktemp("vectors")
    patch = pytest.MonkeyPatch()
    patch.setenv("MEZZOTINT_CACHE", str(root / "cache"))
    lines = [" ".join(WORDS[(i * k + k) % 12] for k in range(1, 3 + i % 7)) for i in range(120)]
    (root / "texts.txt").write_text("\n".join(lines) + "\n")
    narrow = {"factor": "6", "tied": "true"}
    made(root, "narrow", "mdlm", settings=narrow)
    made(root, "whole", "mdlm", settings=narrow | {"ending": "fill"})
    made(root, "ar", "ar")
    yield root
    patch.undo()


def begun(root: Path, name: str, system: str = "sed", **more):
    settings = TINY | more.pop("settings", {})
    how = {"max_steps": 6, "save_every": 3} | more
    return mezzotint.train(system, [root / "texts.txt"], out=root / name, settings=settings, **how)


def made(root: Path, name: str, system: str = "sed", **more) -> dict[str, torch.Tensor]:
    list(begun(root, name, system, **more))
    return load_file(root / name / "model.safetensors")


def model(folder: Path, table: torch.Tensor, name: str = "transformer.wte.weight", **beside: torch.Tensor) -> Path:
    """A model of Hugging Face, as far as anybody looks."""
    folder.mkdir(parents=True)
    (folder / "tokenizer.json").write_text(tokenizer_made_elsewhere("gpt2"))
    (folder / "config.json").write_text('{"model_type": "gpt2"}')
    save_file({name: table, "transformer.wpe.weight": torch.ones(3, 4), **beside}, folder / "model.safetensors")
    return folder


def drawn(width: int, rows: int = 500) -> torch.Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(1)) + 2


def test_a_narrow_lookup_is_taken_as_it_is_and_stays(root):
    learned = load_file(root / "narrow" / "model.safetensors")["model.embed.weight"]
    weights = made(root, "taken", embeddings=root / "narrow", settings={"width": "6"})
    assert torch.equal(weights["model.space.table"], learned[:-1]) and len(learned) == 3 + 12 + 1
    run, other = mezzotint.load(root / "taken"), mezzotint.load(root / "narrow")
    assert run.tokenizer.fingerprint == other.tokenizer.fingerprint
    assert torch.allclose(run.system.net.space.vectors.norm(dim=-1), torch.full((15,), 6**0.5), atol=1e-6)
    assert run.config["spec"]["table"] == "pretrained"
    assert run.config["data"]["embeddings"] == {
        "source": str(root / "narrow"), "sha256": other.weights_sha256, "width": 6, "principal": False,
    }  # fmt: skip
    assert not torch.equal(weights["model.space.readout"], run.system.net.space.vectors), "the read-out is trained"
    assert run.generate(2)


def test_only_the_table_differs_from_a_run_with_a_random_one(root):
    """Before the first step: so that the arms of an ablation begin with equal networks."""
    from mezzotint.launch import build_trainer
    from mezzotint.spec.recipe import Recipe
    from mezzotint.spec.sed import SEDSpec
    from mezzotint.spec.training import TrainingSpec
    from mezzotint.training.checkpoint import named

    config = json.loads((root / "narrow" / "config.json").read_text())
    net = config["spec"]["net"] | {"factor": 0}
    spec = SEDSpec.from_json({"vocab": 15, "canvas": 8, "ending": "length", "net": net, "width": 6})
    recipe, table = Recipe(spec, TrainingSpec(batch=8, lr=1e-3)), drawn(6, 15)
    random, given = (
        named(build_trainer("sed", recipe, None, 0, "cpu", table=given).system.players) for given in (None, table)
    )
    assert {name for name in random if not torch.equal(random[name], given[name])} == {
        "model.space.table", "model.space.readout",
    }  # fmt: skip
    assert torch.equal(given["model.space.table"], table)


@pytest.mark.parametrize("saved", [True, False])
def test_a_run_goes_on_to_the_bit_where_its_vectors_came_from_is_gone(root, tmp_path, saved):
    shutil.copytree(root / "narrow", tmp_path / "narrow")
    (tmp_path / "texts.txt").write_text((root / "texts.txt").read_text())
    how = {"embeddings": tmp_path / "narrow", "settings": {"width": "4"}}
    made(tmp_path, "whole", **how)
    for progress in begun(tmp_path, "cut", **how):
        if progress.step >= 3:
            break  # as a kill would
    assert steps_saved(tmp_path / "cut") == [3]
    if not saved:
        shutil.rmtree(tmp_path / "cut" / CHECKPOINTS)
        (tmp_path / "cut" / "model.safetensors").unlink()
    shutil.rmtree(tmp_path / "narrow")
    list(mezzotint.resume(tmp_path / "cut"))
    for name in ("optimiser.safetensors", "ema.safetensors", "weights.safetensors"):
        one, two = (load_file(tmp_path / run / CHECKPOINTS / "6" / name) for run in ("whole", "cut"))
        assert one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)
    assert torch.equal(load_file(tmp_path / "cut" / EMBEDDINGS)["table"], one["model.space.table"])


def test_a_wider_table_is_read_along_its_principal_axes(root):
    wide = load_file(root / "ar" / "model.safetensors")["model.embed.weight"]
    weights = made(root, "from ar", embeddings=root / "ar", settings={"width": "5"})
    assert torch.equal(weights["model.space.table"], principal(wide, 5))
    assert mezzotint.load(root / "from ar").config["data"]["embeddings"]["principal"] is True
    again = vectors_of(root / "from ar")
    assert torch.equal(again.table, weights["model.space.table"]), "a run of sed is a source too"


@pytest.mark.parametrize("name", ["transformer.wte.weight", "bert.embeddings.word_embeddings.weight", "shared.weight"])
def test_a_model_made_elsewhere_gives_its_input_table_and_its_tokenizer(tmp_path, name):
    table = drawn(7)
    folder = model(tmp_path / "gpt2", table.half(), name)
    found = vectors_of(folder)
    assert found.tokenizer.fingerprint == Tokenizer.foreign(folder).fingerprint
    assert torch.equal(found.table, table.half().float()[: found.tokenizer.size])


def test_a_run_with_a_model_s_vectors_writes_with_its_tokenizer(root, tmp_path):
    folder = model(tmp_path / "gpt2", drawn(7))
    weights = made(root, "from gpt2", embeddings=folder, settings={"width": "4"})
    run = mezzotint.load(root / "from gpt2")
    size = run.tokenizer.size
    assert run.tokenizer.is_foreign and torch.equal(weights["model.space.table"], principal(drawn(7)[:size], 4))
    assert run.generate(1, prefix="the old")[0].text.startswith("the old")
    run.save_pretrained(tmp_path / "published")
    published = json.loads((tmp_path / "published" / "config.json").read_text())
    assert published["data"]["embeddings"]["source"] == "gpt2" and str(tmp_path) not in json.dumps(published)
    assert "principal axes of gpt2" in (tmp_path / "published" / "README.md").read_text()
    assert not (tmp_path / "published" / EMBEDDINGS).exists()
    assert mezzotint.load(tmp_path / "published").generate(2)


def sharded(folder: Path) -> Path:
    """The same model in two files, with an index of what is where."""
    tensors = load_file(folder / "model.safetensors")
    places = {name: f"model-{i}.safetensors" for i, name in enumerate(sorted(tensors))}
    for name, file in places.items():
        save_file({name: tensors[name]}, folder / file)
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    return folder


def test_a_model_in_several_files_is_read_by_its_index(tmp_path):
    whole, parts = model(tmp_path / "whole", drawn(7)), sharded(model(tmp_path / "parts", drawn(7)))
    assert torch.equal(vectors_of(whole).table, vectors_of(parts).table)


def test_a_hub_is_asked_for_the_one_file_that_holds_the_table(tmp_path, monkeypatch):
    folder = sharded(model(tmp_path / "parts", drawn(7)))
    with serving() as hub:
        reach(hub, monkeypatch, tmp_path)
        hub.repo("models/jane/parts", {path.name: path.read_bytes() for path in folder.iterdir()})
        found = vectors_of("jane/parts")
        assert torch.equal(found.table, drawn(7)[: found.tokenizer.size])
        assert (found.source, found.name) == ("jane/parts", "jane/parts")
        asked = " ".join(hub.asked)
        assert "model-1.safetensors" in asked and "model-0.safetensors" not in asked
        with pytest.raises(HubError, match="nobody/there"):
            vectors_of("nobody/there")


def cases(root: Path, folder: Path):
    zero = drawn(4)
    zero[5] = 0
    return {
        "narrow": (root / "narrow", {"width": "7"}, UsageError, "are 6 wide, and 7 is more; set width=6"),
        "unseen": (root / "narrow", {"ending": "fill"}, UsageError, "never seen an end or padding"),
        "nothing": (folder / "none", {}, RunError, "there is no run or model at"),
        "no weights": (root, {}, RunError, r"has no model\.safetensors"),
        "short": (model(folder / "short", drawn(7, 99)), {}, RunError, "has 99 vectors, and its tokenizer knows"),
        "zero": (model(folder / "zero", zero), {"width": "4"}, UsageError, "vectors of no length"),
        "unnamed": (model(folder / "unnamed", drawn(7), "x.weight"), {}, RunError, "no table of token vectors"),
    }


@pytest.mark.parametrize("case", ["narrow", "unseen", "nothing", "no weights", "short", "zero", "unnamed"])
def test_what_cannot_serve_is_refused_before_anything_is_written(root, tmp_path, case):
    embeddings, settings, error, sentence = cases(root, tmp_path)[case]
    with pytest.raises(error, match=sentence):
        begun(root, "refused", embeddings=embeddings, settings={"width": "5"} | settings)
    assert not (root / "refused").exists()


def test_another_tokenizer_than_that_of_the_vectors_is_refused(root):
    with pytest.raises(UsageError, match="the vectors of narrow are those of its own tokenizer"):
        begun(root, "refused", embeddings=root / "narrow", tokenizer="bpe")
    made(root, "same", embeddings=root / "narrow", tokenizer=str(root / "narrow"), settings={"width": "6"})


@pytest.mark.parametrize(
    ("system", "settings", "sentence"),
    [
        ("mdlm", {}, "mdlm takes no vectors of others"),
        ("sed", {"table": "learned"}, "a pretrained table, not a learned one"),
    ],
)
def test_systems_and_tables_that_take_none_say_so(root, system, settings, sentence):
    with pytest.raises(UsageError, match=sentence):
        begun(root, "refused", system, embeddings=root / "narrow", settings=settings)


@pytest.mark.parametrize("damage", ["missing", "empty"])
def test_a_table_that_is_lost_is_named(root, tmp_path, damage):
    for _ in begun(root, "lost", embeddings=root / "narrow", settings={"width": "6"}):
        break
    shutil.move(root / "lost", tmp_path / "lost")
    (tmp_path / "lost" / EMBEDDINGS).unlink()
    if damage == "empty":
        save_file({"other": torch.ones(1)}, tmp_path / "lost" / EMBEDDINGS)
    with pytest.raises(MezzotintError, match=r"embeddings\.safetensors is (missing|damaged)"):
        list(mezzotint.resume(tmp_path / "lost"))


def test_vectors_that_have_seen_whole_canvases_serve_them(root):
    weights = made(root, "filled", embeddings=root / "whole", settings={"width": "6", "ending": "fill"})
    assert torch.equal(weights["model.space.table"], vectors_of(root / "whole").table)
