"""Make the run that comes with the package, and score it: `mezzotint sample` and `mezzotint serve` without a name.

    python -m benchmarks.unconditional bistro --systems mdlm      trains runs/bistro-mdlm for ten minutes
    python -m benchmarks.bundled               writes it into src/mezzotint/bundled/bistro, its weights in float16
    python -m benchmarks.bundled --score       rows of `bundled`: texts that the grammar accepts, by steps
    python -m benchmarks.bundled --further     trains on before it writes, from the averaged weights and with a fresh
                                               optimiser, on eight times as many texts, of which none comes twice

The further training lies in runs/bundled/bistro and goes on where it stopped. What the package holds had none.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Iterator
from math import inf
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save

import mezzotint
from benchmarks.pieces import follow
from benchmarks.rows import ROOT, Row, record
from mezzotint.checks import BISTRO
from mezzotint.cli.allocator import keep_memory
from mezzotint.data import bistro
from mezzotint.training.checkpoint import Checkpoint
from mezzotint.training.checkpoint import save as save_checkpoint
from mezzotint.training.export import publish
from mezzotint.training.folder import digest, put_json

TEXTS, VALID = 168_281, 1_000
STEPS, RATE = 4_500, 1e-3
DATA = Path("runs/data")
FIRST, RUN = Path("runs/bistro-mdlm"), Path("runs/bundled/bistro")
BUNDLED = ROOT / "src" / "mezzotint" / "bundled" / BISTRO
SAMPLINGS: tuple[dict[str, Any], ...] = (
    *({"steps": steps} for steps in (4, 8, 16, 32, 64)),
    {"steps": 32, "temperature": 0.7},
    {"steps": 32, "decoder": "confidence"},
    *({"steps": steps, "decoder": "spread"} for steps in (4, 8, 16, 32)),
    *({"steps": steps, "decoder": "spread", "temperature": 0.6} for steps in (4, 8, 16)),
)
"""What it is asked for where it is scored."""


def text_file(split: str, n: int) -> Path:
    """A file with the first n texts of a split, one a line."""
    path = DATA / f"bistro-{split}-{n}.txt"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{text}\n" for text in bistro.texts(split, n)), encoding="utf-8")
    return path


def start_from(first: Path, run: Path) -> None:
    """A folder in which a training begins with the weights of another run, on TEXTS texts."""
    config = json.loads((first / "config.json").read_text())
    config.pop("published", None)
    train, valid = text_file("train", TEXTS).absolute(), text_file("valid", VALID).absolute()
    sources = [{"path": str(path), "sha256": digest(path), "texts": n} for path, n in ((train, TEXTS), (valid, VALID))]
    config["training"] |= {"max_steps": STEPS, "lr": RATE}
    config["data"] |= {"files": [str(train)], "valid": [str(valid)], "sources": sources, "rows": TEXTS, "notes": []}
    run.mkdir(parents=True)
    for name in ("tokenizer.json", "lengths.json"):
        shutil.copyfile(first / name, run / name)
    put_json(run / "config.json", config)
    weights = {name: tensor.float() for name, tensor in load_file(first / "model.safetensors").items()}
    save_checkpoint(run, Checkpoint(weights, weights, {}, {"step": 0, "elapsed": 0.0, "finished": False}))


def train_further() -> Path:
    """The run that has learned from more texts, trained or continued."""
    if not RUN.exists():
        start_from(FIRST, RUN)
    for _ in follow(RUN.name, mezzotint.resume(RUN), inf):
        pass
    return RUN


def keep(run: Path, out: Path = BUNDLED) -> None:
    """What others need of it, its weights in float16 and its corpus by the name that `--data` knows."""
    if not run.exists() or not mezzotint.is_finished(run):
        raise SystemExit(f"{run} is not trained to its end; python -m benchmarks.unconditional bistro --systems mdlm")
    shutil.rmtree(out, ignore_errors=True)
    publish(run, out, mezzotint.load(run).card, out.name)
    (out / "README.md").unlink()
    weights = {name: tensor.half() for name, tensor in load_file(run / "model.safetensors").items()}
    (out / "model.safetensors").write_bytes(save(weights))
    config = json.loads((out / "config.json").read_text())
    rows = config["data"]["rows"]
    note = f"learned from the first {rows:,} texts of the corpus" + (", not 20,000" if rows != 20_000 else "")
    config["data"] |= {"files": [BISTRO], "valid": [], "sources": [], "notes": [note]}
    (out / "config.json").write_text(json.dumps(config, indent=1, ensure_ascii=False) + "\n")


def scores(n: int) -> Iterator[Row]:
    """How many of its texts the grammar accepts, and how many are told twice."""
    run = mezzotint.load(BUNDLED)
    common: dict[str, Any] = {"benchmark": "bundled", "system": run.card.name, "seed": 0, "batch": 64, "n": n}
    for sampling in SAMPLINGS:
        samples = run.generate(n, seed=0, **sampling)
        texts = [sample.text for sample in samples]
        share = sum(bistro.judge(text).accepted for text in texts) / n
        name = ",".join(f"{name}={sampling[name]}" for name in sorted(sampling) if name != "steps") or "default"
        distinct = len(set(texts)) / n
        options = common | {"variant": name, "steps": sampling["steps"], "nfe": sum(s.nfe for s in samples) / n}
        print(f"{name}, {sampling['steps']} steps: {share:.1%} accepted, {distinct:.1%} distinct", flush=True)
        yield Row(metric="valid_share", value=share, stderr=(share * (1 - share) / n) ** 0.5, **options)
        yield Row(metric="duplicates", value=1 - distinct, **options)
    yield Row(metric="model_mb", value=(BUNDLED / "model.safetensors").stat().st_size / 1e6, **common | {"n": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--score", action="store_true", help="score the run that is kept, and train nothing")
    parser.add_argument("--further", action="store_true", help="train on before it is kept")
    parser.add_argument("-n", type=int, default=1_000)
    given = parser.parse_args()
    keep_memory()
    if given.score:
        record(scores(given.n))
    else:
        keep(train_further() if given.further else FIRST)


if __name__ == "__main__":
    main()
