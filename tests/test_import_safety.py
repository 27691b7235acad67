"""Nothing in a checkpoint runs: what hostile, foreign and damaged files come to.

Every hostile file would leave a sentinel behind if any of it ran.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import sys
import types
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import mezzotint
from mezzotint.cli.main import main
from mezzotint.errors import RunError
from mezzotint.importing import inert, pickled, source
from mezzotint.importing.pickled import read_pickled
from tests.checkpoints import CONFIG, OMEGACONF, gpt2_json, save_lightning, stubs, weights


class Runs:
    """Pickled, it asks for a call when it is read."""

    def __init__(self, call: Callable[..., object], *words: object) -> None:
        self.call, self.words = call, words

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call, self.words


@pytest.fixture
def sentinel(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "sentinel"
    yield place
    assert not place.exists(), "something in the file ran"


def zipped(path: Path, data: bytes, name: str = "archive/data.pkl", **more: bytes) -> Path:
    """A zip as torch writes it, around some pickle."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for entry, content in {name: data, "archive/version": b"3\n", "archive/byteorder": b"little", **more}.items():
            archive.writestr(entry, content)
    return path


def calling(module: str, name: str, word: str) -> bytes:
    """A pickle of protocol 2 that calls module.name(word)."""
    text = word.encode()
    return b"\x80\x02c" + f"{module}\n{name}\n".encode() + b"X" + struct.pack("<I", len(text)) + text + b"\x85R."


# -- files that would run something ------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["hyper_parameters", "state_dict", "callbacks", "ema"])
def test_a_call_in_a_checkpoint_is_refused_by_name_and_never_made(tmp_path, sentinel, where, capsys):
    bomb = Runs(os.system, f"touch {sentinel}")
    path = save_lightning(tmp_path / "x.ckpt", weights(), tokenizer=gpt2_json(), **{where: {"x": bomb}})
    assert main(["import", str(path), "--out", str(tmp_path / "run")]) == 2
    told = capsys.readouterr().err
    assert "refused: it names posix.system" in told and "nothing of it was run" in told and told.count("\n") == 1
    assert not (tmp_path / "run").exists() and not list(tmp_path.glob(".*"))


SHELL = [("posix", "system"), ("os", "system"), ("subprocess", "getoutput"), ("pty", "spawn"), ("builtins", "eval"),
         ("builtins", "exec"), ("builtins", "getattr"), ("builtins", "__import__"), ("importlib", "import_module"),
         ("torch.serialization", "load"), ("torch.hub", "load"), ("torch.jit", "load"), ("torch", "load"),
         ("torch._tensor", "_rebuild_from_type_v2"), ("torch.storage", "_load_from_bytes"), ("runpy", "run_path"),
         ("omegaconf.omegaconf", "OmegaConf.register_new_resolver"), ("omegaconf", "OmegaConf"),
         ("transformers", "AutoModel.from_pretrained"), ("lightning", "Trainer"), ("pathlib", "PosixPath")]  # fmt: skip


@pytest.mark.parametrize(("module", "name"), SHELL)
def test_whatever_is_not_listed_is_refused(tmp_path, sentinel, module, name):
    path = zipped(tmp_path / "x.ckpt", calling(module, name, f"touch {sentinel}"))
    with pytest.raises(RunError, match=f"refused: it names {module}.{name}, which weights do not need"):
        read_pickled(path)


@pytest.mark.parametrize("protocol", [0, 1, 3, 4, 5])
def test_other_ways_to_name_a_global_are_refused(tmp_path, sentinel, protocol):
    path = zipped(tmp_path / "x.ckpt", pickle.dumps({"x": Runs(os.system, f"touch {sentinel}")}, protocol))
    with pytest.raises(RunError, match="refused"):
        read_pickled(path)


def test_the_second_gate_holds_without_the_first(tmp_path, sentinel, monkeypatch):
    monkeypatch.setattr(pickled, "_check_pickle", lambda path, data: None)
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    for i, data in enumerate(
        [
            calling("posix", "system", f"touch {sentinel}"),
            calling("builtins", "eval", f"open({str(sentinel)!r}, 'w')"),
            pickle.dumps(Runs(os.system, f"touch {sentinel}"), 4),
            calling("pathlib", "Path.touch", str(sentinel)),
        ]
    ):
        with pytest.raises(RunError, match="torch cannot read it"):
            read_pickled(zipped(tmp_path / f"{i}.ckpt", data))


def test_the_first_gate_holds_without_the_second(tmp_path, sentinel, monkeypatch):
    def never(*words: object, **how: object) -> None:
        raise AssertionError("torch was asked to read it")

    monkeypatch.setattr(torch, "load", never)
    path = zipped(tmp_path / "x.ckpt", calling("posix", "system", f"touch {sentinel}"))
    with pytest.raises(RunError, match="refused"):
        read_pickled(path)


def test_what_follows_the_pickle_is_refused(tmp_path, sentinel):
    harmless = pickle.dumps({}, 2)
    path = zipped(tmp_path / "x.ckpt", harmless + calling("posix", "system", f"touch {sentinel}"))
    with pytest.raises(RunError, match="something follows its pickle"):
        read_pickled(path)


# -- what stands in ----------------------------------------------------------------------------------------------------


class Trap(types.ModuleType):
    """A module that must not be looked at."""

    def __getattr__(self, name: str) -> object:
        raise AssertionError(f"{self.__name__}.{name} was looked up")


def test_nothing_of_another_library_is_imported_or_called(tmp_path, sentinel, monkeypatch):
    path = save_lightning(tmp_path / "x.ckpt", weights(), tokenizer=gpt2_json())
    with stubs(*OMEGACONF) as real:
        for kind in real.values():  # were these the classes that are made, this would be noticed

            def touched(*words: object) -> None:
                sentinel.touch()

            kind.__init__ = kind.__setstate__ = touched  # type: ignore[method-assign,assignment,attr-defined]
        before = torch.serialization.get_safe_globals()
        torch.serialization.add_safe_globals([*real.values(), os.system])
        try:
            held = read_pickled(path)
            assert set(torch.serialization.get_safe_globals()) == {*before, *real.values(), os.system}
        finally:
            torch.serialization.clear_safe_globals()
            torch.serialization.add_safe_globals(before)
    assert type(held["hyper_parameters"]["config"]) is inert.StandIn
    for name in ("omegaconf", "omegaconf.dictconfig", "transformers"):
        monkeypatch.setitem(sys.modules, name, Trap(name))
    assert mezzotint.import_checkpoint(path, out=tmp_path / "run").spec.net.heads == CONFIG["model"]["n_heads"]


def test_a_stand_in_keeps_its_state_and_does_nothing():
    made = inert.StandIn(1, "two", object)
    assert made.state is None and not hasattr(made, "__dict__")
    made.__setstate__({"__class__": int, "state": 3})
    assert type(made) is inert.StandIn and made.state == {"__class__": int, "state": 3}
    assert not callable(made)


def test_everything_that_is_admitted_is_a_stand_in_or_makes_tensors():
    """The list does not grow unnoticed: what torch itself would call is spelled out here a second time."""
    assert {name for name in inert.TENSOR_GLOBALS if "Storage" not in name} == {
        "collections OrderedDict", "_codecs encode", "torch._utils _rebuild_tensor_v2",
        "torch._utils _rebuild_parameter",
    }  # fmt: skip
    stood_in = {kind for kind, _ in inert.stand_ins() if isinstance(kind, type)}
    assert stood_in == {inert.StandIn, inert.EmbeddedTokenizer}
    assert [kind(dict) for kind, _ in inert.stand_ins() if not isinstance(kind, type)] == [{}]


class Shadowed:
    """Pickled, a dictionary of weights whose own attributes hide its methods."""

    def __reduce__(self) -> tuple[object, ...]:
        hidden = dict.fromkeys(("items", "keys", "values", "get", "__iter__", "__class__"), 3)
        return OrderedDict, (), hidden, None, iter(weights().items())


def test_attributes_that_a_file_gives_a_dictionary_hide_nothing(tmp_path):
    path = save_lightning(tmp_path / "x.ckpt", weights(), tokenizer=gpt2_json(), state_dict=Shadowed())
    assert vars(read_pickled(path)["state_dict"])["items"] == 3
    mezzotint.import_checkpoint(path, out=tmp_path / "run")
    torch.save(Shadowed(), tmp_path / "bare.ckpt")
    assert read_pickled(tmp_path / "bare.ckpt").keys() == weights().keys()


def test_a_configuration_that_goes_in_circles_is_read(tmp_path):
    circle: dict[str, Any] = {"name": "mdlm"}
    circle["model"] = circle["config"] = circle["algo"] = circle
    state = weights()
    torch.save({"state_dict": state, "hyper_parameters": circle}, tmp_path / "x.ckpt")
    (tmp_path / "tokenizer.json").write_text(gpt2_json())
    imported = mezzotint.import_checkpoint(tmp_path / "x.ckpt", out=tmp_path / "run", length=8, heads=2)
    assert (imported.spec.net.heads, imported.spec.canvas) == (2, 6), "a window of 8 tokens is framed by two"


# -- tensors that are not what they claim ------------------------------------------------------------------------------


def rebuilt(size: tuple[int, ...], stride: tuple[int, ...], offset: int = 0, held: int = 4) -> Any:
    """A tensor whose record says whatever is wanted of a storage of four numbers."""
    storage = torch.arange(4.0).untyped_storage()
    typed = torch.storage.TypedStorage(wrap_storage=storage, dtype=torch.float32, _internal=True)
    return Runs(torch._utils._rebuild_tensor_v2, typed, offset, size, stride, False, OrderedDict())


@pytest.mark.parametrize(
    ("size", "stride", "offset"),
    [
        ((5,), (1,), 0),
        ((4,), (1,), 1),
        ((2,), (1 << 40,), 0),
        ((4,), (1,), -1),
        ((2,), (-1,), 3),
        ((1 << 62,), (1,), 0),
    ],
)
def test_a_tensor_larger_than_its_storage_is_refused(tmp_path, size, stride, offset):
    torch.save({"state_dict": {"x": rebuilt(size, stride, offset)}}, tmp_path / "x.ckpt")
    with pytest.raises(RunError, match="torch cannot read it"):
        read_pickled(tmp_path / "x.ckpt")


def test_numbers_that_the_file_has_no_room_for_are_not_made(tmp_path):
    """Strides of zero make a terabyte of one number; names and shapes are right."""
    vocab, dim, width, depth = 1 << 20, 1 << 16, 128, 1
    from mezzotint.importing.weights import Shape, layout

    names = layout(Shape(vocab, dim, depth, width))
    claimed = {name: rebuilt(size, (0,) * len(size)) for name, (_, size) in names.items()}
    torch.save({"state_dict": claimed}, tmp_path / "x.ckpt")
    with pytest.raises(RunError, match="more numbers than the file has room for"):
        mezzotint.import_checkpoint(tmp_path / "x.ckpt", out=tmp_path / "run", length=8)


def test_a_storage_that_claims_more_than_its_record_is_cut(tmp_path):
    """torch.load maps the file: what lies beyond a record is more of the file, and beyond the file nothing."""
    torch.save({"x": torch.arange(4.0)}, tmp_path / "y.ckpt")
    whole = zipfile.ZipFile(tmp_path / "y.ckpt")
    data = whole.read("y/data.pkl").replace(b"K\x04", b"J\xff\xff\xff\x7f")
    path = zipped(tmp_path / "x.ckpt", data, **{"archive/data/0": whole.read("y/data/0")})
    with pytest.raises(RunError, match="torch cannot read it"):
        read_pickled(path)


@pytest.mark.parametrize(
    "odd", [{"a": 1}, [torch.ones(2)], "text", 3.0, torch.ones(2).to_sparse(), torch.ones(2).bool()]
)
def test_what_is_no_tensor_of_numbers_is_refused(tmp_path, odd):
    torch.save({"state_dict": weights() | {"x": odd}}, tmp_path / "x.ckpt")
    with pytest.raises(RunError, match=r"something else than a tensor of numbers at x|refused: it names torch"):
        mezzotint.import_checkpoint(tmp_path / "x.ckpt", out=tmp_path / "run")


# -- files that are something else -------------------------------------------------------------------------------------


def legacy(path: Path) -> None:
    torch.save(weights(), path, _use_new_zipfile_serialization=False)


def cut(path: Path) -> None:
    save_lightning(path, weights())
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def cut_pickle(path: Path) -> None:
    zipped(path, pickle.dumps({"x": [1, 2, 3]}, 2)[:-4])


def other_zip(path: Path) -> None:
    zipped(path, b"hello", name="archive/hello.txt")


def packed(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}" + b"0" * 10_000_000)


def two_pickles(path: Path) -> None:
    zipped(path, pickle.dumps({}, 2), **{"other/data.pkl": pickle.dumps({}, 2)})


def script(path: Path) -> None:
    zipped(path, pickle.dumps({}, 2), **{"archive/constants.pkl": pickle.dumps((), 2)})


def text(path: Path) -> None:
    path.write_text("weights\n")


def nothing(path: Path) -> None:
    path.touch()


def no_names(path: Path) -> None:
    torch.save([torch.ones(2)], path)


def hidden_behind(path: Path) -> None:
    """A zip with something in front of it, which Python finds and torch does not."""
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}, 2))
    path.write_bytes(b"MZ\x00\x00" + inner.getvalue())


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (legacy, "a pickle as torch wrote them before 1.6, which are not read"),
        (cut, "is damaged or cut short"),
        (cut_pickle, "its pickle breaks off"),
        (other_zip, "is a zip, but no checkpoint"),
        (packed, "is a zip, but no checkpoint"),
        (two_pickles, "is a zip, but no checkpoint|torch cannot read it"),
        (script, "is a zip, but no checkpoint"),
        (text, "is damaged, or no file of weights"),
        (nothing, "is damaged, or no file of weights"),
        (no_names, "holds no weights by name"),
        (hidden_behind, "is damaged, or no file of weights"),
    ],
)
def test_files_that_are_no_checkpoint_are_refused(tmp_path, make, sentence, capsys):
    path = tmp_path / "x.ckpt"
    make(path)
    with pytest.raises(RunError, match=sentence):
        mezzotint.import_checkpoint(path, out=tmp_path / "run")
    assert main(["import", str(path), "--out", str(tmp_path / "run")]) == 2
    assert capsys.readouterr().err.count("\n") == 1 and not (tmp_path / "run").exists()


def test_every_cut_of_a_checkpoint_is_refused(tmp_path):
    whole = save_lightning(tmp_path / "x.ckpt", {"x": torch.ones(3)}).read_bytes()
    for length in range(10, len(whole), max(1, len(whole) // 40)):
        (tmp_path / "y.ckpt").write_bytes(whole[:length])
        with pytest.raises(RunError):
            read_pickled(tmp_path / "y.ckpt")


def test_a_torch_that_reads_unsafely_is_not_asked(tmp_path, monkeypatch):
    path = save_lightning(tmp_path / "x.ckpt", weights())
    for version, refused in (("2.9.1+cpu", True), ("2.10.0", False)):
        monkeypatch.setattr(torch, "__version__", torch.torch_version.TorchVersion(version))
        if refused:
            with pytest.raises(RunError, match=r"torch 2.9.1.* reads those unsafely; update it to 2.10"):
                read_pickled(path)
        else:
            read_pickled(path)


# -- names and folders -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../outside.safetensors", "/etc/passwd", "a/b.safetensors", "x.ckpt", 3, ""])
def test_an_index_names_files_of_its_own_folder_only(tmp_path, name):
    save_file(weights(), tmp_path / "outside.safetensors")
    folder = tmp_path / "hf"
    folder.mkdir()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"x": name}}))
    with pytest.raises(RunError, match=r"should name \.safetensors files of this folder"):
        mezzotint.import_checkpoint(folder, out=tmp_path / "run")


@pytest.mark.parametrize("content", ["[" * 100_000, "[]", "{", "\ud800"])
def test_a_configuration_that_is_none_is_refused(tmp_path, content):
    save_file(weights(), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_bytes(content.encode("utf-8", "surrogatepass"))
    with pytest.raises(RunError, match=r"config\.json is (damaged|no object)"):
        mezzotint.import_checkpoint(tmp_path, out=tmp_path / "run")


def test_names_from_a_file_cannot_command_the_terminal(tmp_path, capsys):
    state = weights() | {"\x1b[2J\x1b]0;gone\x07": torch.ones(1), "a\nb": torch.ones(1), "c" * 5000: torch.ones(1)}
    path = save_lightning(tmp_path / "x.ckpt", state)
    assert main(["import", str(path), "--out", str(tmp_path / "run")]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "\x1b" not in told and "\x07" not in told and len(told) < 1000
    assert r"\x1b[2J" in told
    assert source.printable("\x1b") == r"'\x1b'" and source.printable("blocks.0") == "blocks.0"


def test_a_name_that_is_no_text_is_kept_as_something_that_is(tmp_path):
    state = weights() | {"teacher.\ud800": torch.ones(1), "discriminator.\x9b2J": torch.ones(1)}
    path = save_lightning(tmp_path / "x.ckpt", state, tokenizer=gpt2_json())
    mezzotint.import_checkpoint(path, out=tmp_path / "run")
    kept = (tmp_path / "run" / "import.json").read_text()
    assert set(json.loads(kept)["ignored"]) == {r"'teacher.\ud800'", r"'discriminator.\x9b2J'"} and kept.isascii()


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(RunError, match="is no file"):
        mezzotint.import_checkpoint(tmp_path / "pipe", out=tmp_path / "run")


@pytest.mark.parametrize("depth", [10, 1_000_000])
def test_depth_is_no_trouble(tmp_path, depth):
    path = zipped(tmp_path / "x.ckpt", b"\x80\x02}X\x01\x00\x00\x00x)" + b"\x85" * depth + b"s.")
    assert read_pickled(path).keys() == {"x"}
