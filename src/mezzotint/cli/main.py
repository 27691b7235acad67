"""The entry point: which command, what went wrong, which exit status.

0 done · 1 what was checked does not hold · 2 the call or what it names is wrong, said in one line · 130 interrupted
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

import mezzotint
from mezzotint import MezzotintError, UsageError, unknown
from mezzotint.cli import checking, flags, generating, latent, output, runs, training
from mezzotint.cli.demo import demo
from mezzotint.cli.draw import say
from mezzotint.cli.parse import Command, asks_help, help_of, overview, parse

COMMANDS: Mapping[str, tuple[type[Command], Callable[[Any], int]]] = {
    "demo": (flags.Demo, demo),
    "train": (flags.Train, training.train),
    "train-embeddings": (flags.TrainEmbeddings, training.train_embeddings),
    "train-control": (flags.TrainControl, training.train_control),
    "resume": (flags.Resume, training.resume),
    "distill": (flags.Distill, training.distill),
    "finetune": (flags.Finetune, training.finetune),
    "sample": (flags.Sample, generating.sample),
    "infill": (flags.Infill, generating.infill),
    "control": (flags.Control, generating.control),
    "translate": (flags.Translate, generating.translate),
    "evaluate": (flags.Evaluate, checking.evaluate),
    "compare": (flags.Compare, checking.compare),
    "doctor": (flags.Doctor, checking.doctor),
    "reproduce": (flags.Reproduce, checking.reproduce),
    "latent sample": (flags.LatentSample, latent.sample),
    "latent prior": (flags.LatentPrior, latent.prior),
    "latent walk": (flags.LatentWalk, latent.walk),
    "latent analogy": (flags.LatentAnalogy, latent.analogy),
    "latent transfer": (flags.LatentTransfer, latent.transfer),
    "quantize": (flags.Quantize, runs.quantize),
    "import": (flags.Import, runs.import_run),
    "serve": (flags.Serve, runs.serve),
    "systems": (flags.Systems, runs.systems),
}

TOGETHER = ("train", "train-embeddings", "resume", "distill", "finetune", "sample", "evaluate")
"""What several processes of one launch can do together."""

WRONG_CALL = 2

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What the system says where there is no room left."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    try:
        status = _run(sys.argv[1:] if argv is None else argv)
        if sys.stdout is not None:
            sys.stdout.flush()
        return status
    except MezzotintError as error:
        if mezzotint.should_report(error):
            say("mezzotint: " + " ".join(str(error).splitlines()), whoever=True)
        return WRONG_CALL
    except KeyboardInterrupt:
        say("mezzotint: interrupted")
        return output.INTERRUPTED
    except BrokenPipeError:
        return 0  # whoever read the output has enough
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        say(f"mezzotint: the output cannot be written: {error.strerror}")
        return WRONG_CALL


def _run(arguments: Sequence[str]) -> int:
    name = arguments[0] if arguments else "--help"
    if name in ("-h", "--help", "help"):
        print(overview({name: kind for name, (kind, _) in COMMANDS.items()}), end="")
        return 0
    if name == "--version":
        print(f"mezzotint {version('mezzotint')}")
        return 0
    if " ".join(arguments[:2]) in COMMANDS:
        name, arguments = " ".join(arguments[:2]), arguments[1:]
    elif followed := [full.removeprefix(f"{name} ") for full in COMMANDS if full.startswith(f"{name} ")]:
        raise UsageError(f"`mezzotint {name}` is followed by {', '.join(followed[:-1])} or {followed[-1]}")
    if name not in COMMANDS:
        raise unknown("command", name, COMMANDS)
    kind, command = COMMANDS[name]
    if asks_help(arguments[1:]):
        print(help_of(kind, name), end="")
        return 0
    if name not in TOGETHER and mezzotint.launched().size > 1:
        raise UsageError(f"`mezzotint {name}` is for one process; several can {', '.join(TOGETHER)}")
    return command(parse(kind, name, arguments[1:]))


if __name__ == "__main__":
    sys.exit(main())
