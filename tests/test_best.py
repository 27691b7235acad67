"""The mean of the best validations: by hand, and the same for a run that was cut off; nothing where it is not asked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import mezzotint
from mezzotint.errors import UsageError
from mezzotint.spec.training import TrainingSpec
from mezzotint.training.best import Best
from mezzotint.training.folder import steps_saved

TINY = {"dim": "16", "depth": "1", "heads": "2", "batch": "8", "validations": "6", "lr": "0.02", "ema": "0.5"}


def weights(value: float) -> dict[str, torch.Tensor]:
    return {"model.a": torch.full((2, 3), value), "model.n": torch.tensor(int(value))}


def test_the_mean_is_that_of_the_lowest_bounds(tmp_path: Path) -> None:
    best = Best(tmp_path, 2)
    assert best.mean() is None
    for step, valid in ((1, 3.0), (2, 1.0), (3, float("nan")), (4, 2.0), (5, 2.0)):
        best.add(step, valid, weights(float(10**step)))
    assert best.steps() == [2, 5, 4, 1, 3]
    found = best.mean()
    assert found["model.a"].tolist() == [[(10**2 + 10**5) / 2] * 3] * 2 and found["model.a"].dtype == torch.float32
    assert int(found["model.n"]) == 10**2
    best.prune()
    assert sorted(p.name for p in (tmp_path / "best").iterdir()) == ["2.safetensors", "5.safetensors"]


def test_what_came_after_a_checkpoint_or_is_damaged_is_forgotten(tmp_path: Path) -> None:
    best = Best(tmp_path, 3)
    for step in (1, 2, 3, 4):
        best.add(step, float(-step), weights(step))
    (tmp_path / "best/2.safetensors").write_bytes(b"half of a file")
    (tmp_path / "best/.1.safetensors.77").write_bytes(b"")
    best.forget_after(3)
    assert best.steps() == [3, 1] and len(list((tmp_path / "best").iterdir())) == 2


def test_half_precision_is_averaged_in_double(tmp_path: Path) -> None:
    best = Best(tmp_path, 2)
    for step in range(2):
        best.add(step, 0.0, {"model.a": torch.tensor([60000.0], dtype=torch.float16)})  # twice that is infinite
    assert best.mean()["model.a"].tolist() == [60000] and best.mean()["model.a"].dtype == torch.float16


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("text")
    words = ["the", "a", "old", "new", "river", "pub", "near", "by"]
    lines = [" ".join(words[(i * k + k) % 8] for k in range(1, 4 + i % 5)) for i in range(60)]
    (folder / "a.txt").write_text("\n".join(lines) + "\n")
    return folder / "a.txt"


def train(text: Path, out: Path, **settings: str):
    return mezzotint.train("ar", [text], out=out, max_steps=12, save_every=4, settings=TINY | settings, device="cpu")


def test_the_model_is_the_mean_of_the_best_also_when_it_was_cut_off(text, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("MEZZOTINT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("mezzotint.course.report", lambda run: run)
    kept: dict[int, dict[str, torch.Tensor]] = {}
    add = Best.add
    monkeypatch.setattr(
        Best, "add", lambda self, step, valid, w: kept.update({step: {k: v.clone() for k, v in w.items()}})
        or add(self, step, valid, w),
    )  # fmt: skip
    list(train(text, tmp_path / "whole", average_best="2"))
    log = [json.loads(line) for line in (tmp_path / "whole/log.jsonl").read_text().splitlines()]
    valid = {record["step"]: record["valid"] for record in log if "valid" in record}
    assert set(valid) == set(kept) and len(valid) == 6
    best = sorted(valid, key=valid.__getitem__)[:2]
    model = load_file(tmp_path / "whole/model.safetensors")
    for name, tensor in model.items():
        torch.testing.assert_close(tensor, torch.stack([kept[step][name] for step in best]).mean(0))
    ema = load_file(tmp_path / "whole/checkpoints/12/ema.safetensors")
    assert any(not torch.equal(model[k], ema[k]) for k in ema)
    assert sorted(p.stem for p in (tmp_path / "whole/best").iterdir()) == sorted(map(str, best))
    # Left between two checkpoints, with a validation after the last one.
    for record in train(text, tmp_path / "cut", average_best="2"):
        if record.step >= 6:
            break
    assert steps_saved(tmp_path / "cut") == [4]
    # None is given up before the run is saved without it.
    assert {p.stem for p in (tmp_path / "cut/best").iterdir()} == {"2", "4", "6"}
    list(mezzotint.resume(tmp_path / "cut", device="cpu"))
    again = load_file(tmp_path / "cut/model.safetensors")
    assert all(torch.equal(model[k], again[k]) for k in model)
    mezzotint.load(tmp_path / "cut").generate(1)


def test_nothing_is_kept_where_it_is_not_asked_for(text, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("MEZZOTINT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("mezzotint.course.report", lambda run: run)
    list(train(text, tmp_path / "run", average_best="0"))
    assert not (tmp_path / "run/best").exists()
    model, ema = (load_file(tmp_path / "run" / f) for f in ("model.safetensors", "checkpoints/12/ema.safetensors"))
    assert all(torch.equal(model[k], ema[k]) for k in ema)
    with pytest.raises(UsageError, match="average_best must not be negative"):
        TrainingSpec(batch=1, lr=1.0, average_best=-1)
