"""A Lightning .ckpt, read so that nothing in it can run.

Two gates, each enough by itself. First the pickle is taken apart without being executed: every opcode and every global
that it names has to be on the list of inert.py, which is narrower than torch's own. Then torch's restricted reader
(`weights_only=True`) builds the tensors, with only our stand-ins beside what it admits itself. The list of what torch
admits belongs to the whole process, so two threads should not read such files at once. Tensors are mapped, so that what
is not taken, such as an optimiser's state, is never read.
"""

from __future__ import annotations

import contextlib
import pickletools
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch.serialization import add_safe_globals, clear_safe_globals, get_safe_globals

from mezzotint.errors import RunError
from mezzotint.importing.inert import DICT_GLOBALS, OPCODES, STAND_IN_GLOBALS, TENSOR_GLOBALS, stand_ins
from mezzotint.importing.source import MAX_BYTES, printable

SAFE_TORCH = "2.10"
"""Before this version of torch a file could corrupt memory even under weights_only=True (CVE-2026-24747)."""
ADMITTED = TENSOR_GLOBALS | STAND_IN_GLOBALS | DICT_GLOBALS


def read_pickled(path: Path) -> Mapping[str, Any]:
    """What a checkpoint written by torch.save holds; RunError for anything that is no harmless checkpoint."""
    if torch.__version__ < SAFE_TORCH:
        raise RunError(
            f"{path} is a pickled file, and torch {torch.__version__} reads those unsafely; update it to 2.10 or later"
        )
    _check_pickle(path, _pickle_in(path))
    try:
        with _only_stand_ins(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what torch finds strange is refused, or does not matter
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as e:  # a damaged or hostile file can fail in any way
        raise RunError(f"{path} is damaged: torch cannot read it ({type(e).__name__})") from None
    if not isinstance(content, dict):
        raise RunError(f"{path} holds no weights by name; expected what torch.save writes of a state dict")
    return entries(content)


def entries(value: object) -> dict[str, Any]:
    """The named entries of an unpickled dictionary, whatever attributes the file gave it; none of anything else."""
    return {k: v for k, v in dict.items(value) if isinstance(k, str)} if isinstance(value, dict) else {}


def _pickle_in(path: Path) -> bytes:
    """The pickle in a zip of torch's, which stores everything as it is."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            names = [member.filename for member in members]
            pickles = [member for member in members if member.filename.split("/")[1:] == ["data.pkl"]]
            is_plain = len(set(names)) == len(names) and all(m.compress_type == zipfile.ZIP_STORED for m in members)
            is_script = any(name.endswith("/constants.pkl") for name in names)
            if len(pickles) != 1 or not is_plain or is_script or pickles[0].file_size > MAX_BYTES:
                raise RunError(f"{path} is a zip, but no checkpoint: it does not hold what torch.save writes")
            return archive.read(pickles[0])
    except (zipfile.BadZipFile, EOFError, OSError, ValueError, NotImplementedError, RuntimeError) as error:
        raise RunError(f"{path} is damaged or cut short ({printable(error)}); fetch it again") from None


def _check_pickle(path: Path, pickled: bytes) -> None:
    """RunError unless every opcode and global is admitted. Takes the pickle apart; nothing of it is executed."""
    end: int | None = None
    try:
        for opcode, argument, end in pickletools.genops(pickled):  # noqa: B007
            if opcode.name not in OPCODES:
                raise RunError(f"{path} is refused: torch writes no {opcode.name}, which its pickle uses")
            if opcode.name == "GLOBAL" and argument not in ADMITTED:
                name = printable(str(argument).replace(" ", "."))
                raise RunError(
                    f"{path} is refused: it names {name}, which weights do not need, and nothing of it was run; "
                    "ask for the weights as safetensors"
                )
    except ValueError as error:
        raise RunError(f"{path} is damaged: its pickle breaks off ({printable(error)})") from None
    if end != len(pickled) - 1:
        raise RunError(f"{path} is damaged: something follows its pickle")


@contextlib.contextmanager
def _only_stand_ins() -> Iterator[None]:
    """Nothing but our stand-ins beside torch's own globals, whatever other libraries have admitted."""
    before = get_safe_globals()
    clear_safe_globals()
    try:
        add_safe_globals(stand_ins())
        yield
    finally:
        clear_safe_globals()
        add_safe_globals(before)
