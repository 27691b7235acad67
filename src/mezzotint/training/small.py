"""A run made small: the same folder with weights of few values, and without what only training needs."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from mezzotint.net.quantized import FEW
from mezzotint.spec.quantize import Few
from mezzotint.training import folder as files
from mezzotint.training.checkpoint import read_tensors
from mezzotint.training.quantized_file import write_few


def write_quantized(
    run: Path, out: Path, config: Mapping[str, Any], modules: Mapping[str, nn.Module], weights: Few
) -> None:
    """Write the run folder `out`, whole or not at all; RunError where it holds something already or cannot be made."""
    files.check_new(out)
    tensors = read_tensors(run / files.MODEL)  # as they were trained; the modules may be in fewer digits
    with files.atomic_folder(out) as aside:
        for name in (files.TOKENIZER, files.LENGTHS, files.LOG):
            if (run / name).exists():
                shutil.copyfile(run / name, aside / name)
        write_few(aside / files.MODEL, tensors, modules, FEW[weights]())
        # Not to be trained on: what was rounded away is gone.
        files.put_json(aside / files.CONFIG, {**config, "training": None, "packed": weights.value})
