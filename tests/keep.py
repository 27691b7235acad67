"""Makes the runs of tests/kept: python -m tests.keep

Runs of a few kilobytes in today's format, each with what it wrote then. They are made once for a format and never
again: test_kept.py asks every later version to read them or to refuse them with a sentence.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import mezzotint
from mezzotint.training.folder import FORMAT

KEPT = Path(__file__).parent / "kept"
LINES = ["a cold pub .", "the old pub is near .", "a warm , new pub is by the river .", "the river is cold ."]
TINY = {"dim": "8", "depth": "1", "heads": "2", "batch": "4", "validations": "1"}
RUNS = {
    "mdlm": {},
    "ar": {},
    "sed": {"width": "4"},
    "difformer": {"width": "4", "hidden": "8"},
}
"""The systems and their settings. Beside them `stopped`: mdlm, killed after the second of four steps."""


def keep(root: Path) -> None:
    """Write all runs into a folder that is not there yet."""
    root.mkdir(parents=True)
    (root / "texts.txt").write_text("".join(f"{line}\n" for line in LINES * 5), encoding="utf-8")
    pairs = [json.dumps({"from": line, "to": line.upper()}) for line in LINES * 5]
    (root / "pairs.jsonl").write_text("\n".join(pairs) + "\n", encoding="utf-8")
    for name, settings in RUNS.items():
        sides: dict[str, Any] = {"source": "from", "target": "to"} if name == "difformer" else {}
        data = root / ("pairs.jsonl" if sides else "texts.txt")
        how: Any = {"max_steps": 2, "settings": TINY | settings, **sides}
        list(mezzotint.train(name, [data], out=root / name, **how))
        (root / name / "said.json").write_text(json.dumps(said(root / name), indent=1) + "\n", encoding="utf-8")
        shutil.rmtree(root / name / "checkpoints")
    short: Any = {"max_steps": 4, "save_every": 2, "settings": TINY}
    list(mezzotint.train("mdlm", [root / "texts.txt"], out=root / "stopped", **short))
    shutil.rmtree(root / "stopped" / "checkpoints" / "4")
    (root / "stopped" / "model.safetensors").unlink()
    for path in root.glob("*/config.json"):
        config = json.loads(path.read_text(encoding="utf-8"))
        config["data"]["files"] = [Path(file).name for file in config["data"]["files"]]
        path.write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    for path in [*root.glob("*/report.html"), *root.glob("*/log.jsonl")]:
        path.unlink()


def said(folder: Path) -> list[str]:
    """What a run writes for seed 0."""
    run = mezzotint.load(folder)
    if folder.name == "difformer":
        return [text.text for text in mezzotint.translate(run, LINES[:2], steps=4)]
    return [sample.text for sample in run.generate(n=3, steps=4)]


if __name__ == "__main__":
    with TemporaryDirectory() as cache:
        os.environ["MEZZOTINT_CACHE"] = cache
        to = KEPT / f"format-{FORMAT}"
        if to.exists():
            sys.exit(f"{to} is there; the runs of a format are made once")
        keep(to)
