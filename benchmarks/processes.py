"""How far the training of two processes is from that of one: `python -m benchmarks.processes` (minutes, two cores).

The same 20 steps of the same recipe in one process and, by torchrun, in two, with copies of the weights and with shards
of them (FSDP2); then samples of the one-process run written by two, but for systems that write from sources. One thread
a process. Speeds are not compared: two processes on two cores have no more of the machine than one with two threads.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from safetensors.torch import load_file

import mezzotint
from benchmarks.rows import Row, record
from mezzotint.training.folder import MODEL
from mezzotint.types import Can

ROOT = Path("runs/processes")
STEPS, BATCH, TEXTS = 20, 64, 64
ALONE = [sys.executable, "-m", "mezzotint"]
PAIR = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "mezzotint"]
SETTINGS = {"copies": [], "shards": ["--set", "shard=true"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cards = {card.name: card for card in mezzotint.cards()}
    parser.add_argument("--systems", nargs="+", choices=cards, default=list(cards))
    systems = parser.parse_args().systems
    shutil.rmtree(ROOT, ignore_errors=True)
    for card in (cards[name] for name in systems):
        one = train(ALONE, card, "one", [])
        for weights, more in SETTINGS.items():
            if weights == "shards" and (card.teachers or card.backbone):
                continue  # refused: it has not been tried with networks that are not trained
            two = train(PAIR, card, weights, more)
            record(
                row(card.name, f"processes=2,weights={weights}", name, value) for name, value in differences(one, two)
            )
        if Can.TRANSLATE not in card.can:
            texts = [sample(launcher, one) for launcher in (ALONE, PAIR)]
            assert len(texts[0]) == len(texts[1]) == TEXTS
            share = sum(a == b for a, b in zip(*texts, strict=True)) / TEXTS
            record([row(card.name, "processes=2,task=sample", "exact_match", share, n=TEXTS, steps=32)])


def run(words: list[str]) -> str:
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(words, check=True, env=env, stdout=subprocess.PIPE, text=True).stdout


def train(launcher: list[str], card: mezzotint.Card, name: str, more: list[str]) -> Path:
    """The run of STEPS steps, each of them logged and validated."""
    out = ROOT / f"{card.name}-{name}"
    flags = ["--out", str(out), "--max-steps", str(STEPS), "--batch-size", str(BATCH)]
    settings = ["--set", f"validations={STEPS}", "--set", "precision=fp32", "--device", "cpu"]
    run([*launcher, *start_command(card), *flags, *settings, *more])
    return out


def start_command(card: mezzotint.Card) -> list[str]:
    """The words that begin a system's training: on bistro, or on what it starts from, which is trained first."""
    if card.teachers:
        return ["distill", str(base("mdlm"))]
    return ["train", card.name, "--data", "bistro", *(["--backbone", str(base("ar"))] if card.backbone else [])]


def base(system: str) -> Path:
    """A run for others to start from."""
    out = ROOT / f"{system}-base"
    if not out.exists():
        run([*ALONE, "train", system, "--data", "bistro", "--out", str(out), "--max-steps", str(STEPS)])
    return out


def sample(launcher: list[str], out: Path) -> list[str]:
    """The texts that a run writes."""
    return run([*launcher, "sample", str(out), "-n", str(TEXTS), "--json", "--device", "cpu"]).splitlines()


def differences(one: Path, two: Path) -> Iterator[tuple[str, float]]:
    """The largest relative differences of losses and held-out bounds, and the largest difference of a weight."""
    logs = [[json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()] for out in (one, two)]
    assert all([r["step"] for r in log] == list(range(1, STEPS + 1)) for log in logs)
    for name, key in (("loss_difference", "loss"), ("valid_difference", "valid")):
        yield name, max(abs(b[key] / a[key] - 1) for a, b in zip(*logs, strict=True))
    a, b = (load_file(out / MODEL) for out in (one, two))
    yield "weight_difference", max(float((a[name] - b[name]).abs().max()) for name in a)


def row(system: str, variant: str, metric: str, value: float, n: int = STEPS, steps: int | None = None) -> Row:
    print(f"{system} {variant}: {metric} {value:.3g}", flush=True)
    return Row(
        benchmark="two-processes", system=system, variant=variant, metric=metric, value=value,
        n=n, steps=steps, batch=BATCH, seed=0, size="tiny", precision="fp32",
    )  # fmt: skip


if __name__ == "__main__":
    main()
