"""From words to the records of `flags.py`, with errors of one sentence and the nearest spelling.

argparse does the splitting. It is given no defaults and nothing that is required: those belong to the dataclass, and
leaving them out means that a misspelt flag is always reported before what is missing because of it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, Field, fields
from itertools import takewhile
from shutil import get_terminal_size
from typing import Any, ClassVar, NoReturn, Protocol, TypeVar

from mezzotint import UsageError, unknown
from mezzotint.cli.flags import Misspelt


class Command(Protocol):
    """A frozen dataclass of flags; its docstring is its sentence of help."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]
    example: ClassVar[str]


C = TypeVar("C", bound=Command)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


def parse(command: type[C], name: str, words: Sequence[str]) -> C:
    """The record that the words spell. Raises UsageError, without importing anything heavy."""
    parser = _parser(command, name)
    try:
        found, rest = parser.parse_known_intermixed_args(list(_hyphenated(words)))
    except argparse.ArgumentError as error:
        raise UsageError(_mismatch(command, str(error.argument_name))) from None
    _refuse(command, name, rest)
    given = {key: tuple(item) if isinstance(item, list) else item for key, item in vars(found).items()}
    _require(command, name, given)
    return command(**given)


def asks_help(words: Sequence[str]) -> bool:
    """Whether -h or --help is among the flags."""
    return any(word in ("-h", "--help") for word in takewhile(lambda word: word != "--", words))


def help_of(command: type[Command], name: str) -> str:
    """The page of one command."""
    return _parser(command, name).format_help()


def overview(commands: Mapping[str, type[Command]]) -> str:
    """The page of all commands."""
    width = max(map(len, commands)) + 2
    lines = [f"  {name:<{width}}{_sentence(command)}" for name, command in commands.items()]
    head = "usage: mezzotint COMMAND ...\n\nGenerate text by denoising: train, watch, sample, fill in, score.\n"
    return "\n".join([head, "commands:", *lines, "", "`mezzotint COMMAND --help` lists a command's flags.", ""])


def flag_names(command: type[Command]) -> list[str]:
    """Every flag of a command, as it is typed."""
    return [_name(f) for f in fields(command) if not _is_word(f)]


def _parser(command: type[Command], name: str) -> argparse.ArgumentParser:
    parser = _Parser(
        prog=f"mezzotint {name}", usage=_usage(command, name), description=_sentence(command),
        epilog=f"example: {command.example}", formatter_class=_page, argument_default=argparse.SUPPRESS,
        add_help=False, allow_abbrev=False, exit_on_error=False,
    )  # fmt: skip
    groups = {True: parser.add_argument_group("words"), False: parser.add_argument_group("flags")}
    for f in fields(command):
        argument = dict(f.metadata["argument"])
        argument["help"] = (argument["help"] + _shown(f.default)).replace("%", "%%")
        if "type" in argument:
            argument["type"] = _checked(_name(f), argument["type"])
        if not _is_word(f):
            argument.update(dest=f.name, default=argparse.SUPPRESS)
        groups[_is_word(f)].add_argument(_name(f), **argument)
    return parser


def _page(prog: str) -> argparse.HelpFormatter:
    return argparse.HelpFormatter(prog, max_help_position=30, width=min(100, get_terminal_size().columns - 2))


def _usage(command: type[Command], name: str) -> str:
    """The words, and the flags that cannot be left out."""
    parts = []
    for f in fields(command):
        metavar = f.metadata["argument"].get("metavar")
        part = metavar if _is_word(f) else f"{_name(f)} {metavar}"
        if f.default is MISSING or _is_word(f):
            parts.append(part if f.default is MISSING else f"[{part}]")
    return " ".join(["mezzotint", name, *parts, "[flags]"])


def _shown(default: Any) -> str:
    if default is MISSING or default in (None, ()) or isinstance(default, bool):
        return ""
    return f" (default {default:g})" if isinstance(default, float) else f" (default {default})"


def _checked(name: str, read: Callable[[str], Any]) -> Callable[[str], Any]:
    def convert(text: str) -> Any:
        try:
            return read(text)
        except Misspelt as misspelt:
            raise unknown(name.lstrip("-"), text, misspelt.known) from None
        except ValueError as expected:
            raise UsageError(f"{name} must be {expected}, not '{text}'") from None

    return convert


def _hyphenated(words: Sequence[str]) -> Iterable[str]:
    """--max_steps is --max-steps."""
    flags = True
    for word in words:
        flags = flags and word != "--"
        name, equals, content = word.partition("=")
        yield name.replace("_", "-") + equals + content if flags and word.startswith("--") else word


def _mismatch(command: type[Command], name: str) -> str:
    takes_value = {_name(f): "type" in f.metadata["argument"] for f in fields(command)}
    if takes_value.get(name):
        return f"{name} needs a value; one that begins with '-' is written {name}=VALUE"
    return f"{name} takes no value"


def _refuse(command: type[Command], name: str, rest: Sequence[str]) -> None:
    for word in rest:
        if word.startswith("-") and len(word) > 1 and " " not in word:
            raise unknown("flag", word.partition("=")[0], flag_names(command))
    if rest:
        raise UsageError(f"'{rest[0]}' is one word too many for `mezzotint {name}`; as in `{command.example}`")


def _require(command: type[Command], name: str, given: Mapping[str, Any]) -> None:
    for f in fields(command):
        if f.default is MISSING and f.name not in given:
            missing = f.metadata["argument"]["metavar"] if _is_word(f) else _name(f)
            raise UsageError(f"`mezzotint {name}` needs {missing}; as in `{command.example}`")


def _sentence(command: type[Command]) -> str:
    return str(command.__doc__).partition("\n")[0]


def _is_word(f: Field[Any]) -> bool:
    return f.metadata["argument"].get("nargs") == "?"


def _name(f: Field[Any]) -> str:
    if _is_word(f):
        return f.name
    return f"-{f.name}" if len(f.name) == 1 else "--" + f.name.replace("_", "-")
