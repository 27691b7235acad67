"""Train a judge: an `ar` run of its own seed, kept in bf16 with no more than it takes to score.

    python -m benchmarks.judge bistro           writes src/mezzotint/evaluate/judges/bistro
    python -m benchmarks.judge e2e              writes benchmarks/judges/e2e
    python -m benchmarks.judge prose            writes runs/judges/prose-bf16 (too large to be committed)
    python -m benchmarks.judge roc              writes runs/judges/roc-bf16 (its texts are not ours to pass on)
    python -m benchmarks.judge ptb              writes runs/judges/ptb-bf16 (likewise)
    python -m benchmarks.judge yelp             writes runs/judges/yelp-bf16 (likewise)
    python -m benchmarks.judge protein-short    writes runs/judges/protein-short-bf16; likewise protein

The training run lies in runs/judges/ and goes on where it stopped. The steps were chosen on the valid split; those of
roc and protein not yet, those of ptb are e2e's, and those of yelp are what five minutes of a processor have room for.
"""

from __future__ import annotations

import argparse
import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

import mezzotint
from benchmarks.data import corpus_files
from mezzotint.cli.allocator import keep_memory
from mezzotint.training.export import without_paths

SEED = 101


@dataclass(frozen=True)
class Recipe:
    """What a judge is trained on, and for how long."""

    steps: int
    kept: Path
    layout: str = "texts"
    settings: dict[str, str] = field(default_factory=dict)


RECIPES = {
    "bistro": Recipe(3000, Path("src/mezzotint/evaluate/judges/bistro")),
    "e2e": Recipe(2500, Path("benchmarks/judges/e2e")),
    "ptb": Recipe(2500, Path("runs/judges/ptb-bf16")),
    "yelp": Recipe(1500, Path("runs/judges/yelp-bf16")),
    "prose": Recipe(
        2000,
        Path("runs/judges/prose-bf16"),
        "windows",
        {
            "dim": "256",
            "depth": "6",
            "heads": "4",
            "canvas": "128",
            "batch": "16",
            "lr": "1e-3",
            "neighbours": "5",
            "validations": "5",
        },
    ),
    "protein": Recipe(10_000, Path("runs/judges/protein-bf16"), settings={"canvas": "512", "batch": "32"}),
    "protein-short": Recipe(1000, Path("runs/judges/protein-short-bf16"), settings={"canvas": "128", "batch": "32"}),
    "roc": Recipe(1000, Path("runs/judges/roc-bf16"), settings={"batch": "32", "canvas": "128"}),
}


def train(name: str) -> Path:
    """The finished run of a judge, trained or continued."""
    recipe, out = RECIPES[name], Path("runs/judges") / name
    data = corpus_files(name)
    records = (
        mezzotint.resume(out)
        if out.exists()
        else mezzotint.train(
            "ar", [data.train], valid=data.valid and [data.valid], out=out, layout=recipe.layout,
            max_steps=recipe.steps, seed=SEED, settings=recipe.settings, tokenizer=data.tokenizer,
        )
    )  # fmt: skip
    for record in records:
        if record.valid is not None:
            print(f"{name}: step {record.step}, valid {record.valid:.4f} nats a symbol", flush=True)
    return out


def keep(run: Path, kept: Path) -> None:
    """The run's configuration, tokenizer and averaged weights, these in bf16."""
    if not mezzotint.is_finished(run):
        raise SystemExit(f"{run} is not finished; the same command goes on with it")
    kept.mkdir(parents=True, exist_ok=True)
    tensors = {k: v.to(torch.bfloat16) for k, v in load_file(run / "model.safetensors").items()}
    save_file(tensors, kept / "model.safetensors")
    shutil.copyfile(run / "tokenizer.json", kept / "tokenizer.json")
    config = without_paths(json.loads((run / "config.json").read_text()))
    (kept / "config.json").write_text(json.dumps(config, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=sorted(RECIPES))
    chosen = parser.parse_args().name
    keep_memory()
    keep(train(chosen), RECIPES[chosen].kept)
