"""What can be typed: one frozen dataclass a command, one field a flag.

A field says its type, its default and, as an annotation, how it is typed; `parse.py` turns words into these records.
"""

from __future__ import annotations

from mezzotint.cli.flags.checking import Compare, Doctor, Evaluate, Reproduce
from mezzotint.cli.flags.generating import Control, Infill, Sample, Translate, Writing
from mezzotint.cli.flags.latent import Decoding, LatentAnalogy, LatentPrior, LatentSample, LatentTransfer, LatentWalk
from mezzotint.cli.flags.readers import BUNDLED
from mezzotint.cli.flags.runs import Import, Quantize, Serve, Systems
from mezzotint.cli.flags.training import Demo, Distill, Finetune, Resume, Train, TrainControl, TrainEmbeddings, Training

__all__ = [
    "BUNDLED",
    "Compare",
    "Control",
    "Decoding",
    "Demo",
    "Distill",
    "Doctor",
    "Evaluate",
    "Finetune",
    "Import",
    "Infill",
    "LatentAnalogy",
    "LatentPrior",
    "LatentSample",
    "LatentTransfer",
    "LatentWalk",
    "Quantize",
    "Reproduce",
    "Resume",
    "Sample",
    "Serve",
    "Systems",
    "Train",
    "TrainControl",
    "TrainEmbeddings",
    "Training",
    "Translate",
    "Writing",
]
