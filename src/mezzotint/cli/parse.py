"""From words to the records of `flags`, with errors of one sentence and the nearest spelling.

argparse does the splitting. It is given no defaults and nothing that is required: those belong to the dataclass, and
leaving them out means that a misspelt flag is always reported before what is missing because of it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, fields
from itertools import takewhile
from shutil import get_terminal_size
from typing import Any, ClassVar, NoReturn, Protocol, TypeVar, get_type_hints

from mezzotint import UsageError, unknown
from mezzotint.cli.flags.readers import Argument, Misspelt


class Command(Protocol):
    """A frozen dataclass of flags; its docstring is its sentence of help."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]
    example: ClassVar[str]


C = TypeVar("C", bound=Command)


@dataclass(frozen=True)
class _Parameter:
    """One field as it is typed."""

    field: str
    default: Any
    argument: Argument

    @property
    def is_positional(self) -> bool:
        return self.argument.get("nargs") in ("?", "*")

    @property
    def is_required(self) -> bool:
        return self.default is MISSING

    @property
    def name(self) -> str:
        if self.is_positional:
            return self.field
        return f"-{self.field}" if len(self.field) == 1 else "--" + self.field.replace("_", "-")

    @property
    def help(self) -> str:
        """With the default, where there is one to tell; `%` is argparse's own sign."""
        default = f"{self.default:g}" if isinstance(self.default, float) else str(self.default)
        has_default = not (self.is_required or self.default in (None, ()) or isinstance(self.default, bool))
        return (str(self.argument["help"]) + (f" (default {default})" if has_default else "")).replace("%", "%%")


def _parameters(command: type[Command]) -> list[_Parameter]:
    hints = get_type_hints(command, include_extras=True)
    return [_Parameter(f.name, f.default, hints[f.name].__metadata__[0]) for f in fields(command)]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


def parse(command: type[C], name: str, arguments: Sequence[str]) -> C:
    """The record that the arguments spell. Raises UsageError, without importing anything heavy."""
    parser = _parser(command, name)
    try:
        namespace, rest = parser.parse_known_intermixed_args(list(_hyphenate(arguments)))
    except argparse.ArgumentError as error:
        raise UsageError(_mismatch(command, str(error.argument_name))) from None
    _refuse(command, name, rest)
    present = {key: item for key, item in vars(namespace).items() if item is not None}
    given = {key: tuple(item) if isinstance(item, list) else item for key, item in present.items()}
    _require(command, name, given)
    return command(**given)


def asks_help(arguments: Sequence[str]) -> bool:
    """Whether -h or --help is among the flags."""
    return any(word in ("-h", "--help") for word in takewhile(lambda word: word != "--", arguments))


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
    return [parameter.name for parameter in _parameters(command) if not parameter.is_positional]


def _parser(command: type[Command], name: str) -> argparse.ArgumentParser:
    parser = _Parser(
        prog=f"mezzotint {name}", usage=_usage(command, name), description=_sentence(command),
        epilog=f"example: {command.example}", formatter_class=_page,
        add_help=False, allow_abbrev=False, exit_on_error=False,
    )  # fmt: skip
    groups = {True: parser.add_argument_group("words"), False: parser.add_argument_group("flags")}
    for parameter in _parameters(command):
        argument = parameter.argument | {"help": parameter.help}
        if "type" in argument:
            argument["type"] = _converter(parameter.name, argument["type"])
        # An absent word is None, not suppressed: argparse would read the marker of absence as if it had been typed.
        argument |= (
            {"default": None} if parameter.is_positional else {"dest": parameter.field, "default": argparse.SUPPRESS}
        )
        groups[parameter.is_positional].add_argument(parameter.name, **argument)
    return parser


def _page(prog: str) -> argparse.HelpFormatter:
    return argparse.HelpFormatter(prog, max_help_position=30, width=min(100, get_terminal_size().columns - 2))


def _usage(command: type[Command], name: str) -> str:
    """The words, and the flags that cannot be left out."""
    parts = []
    for parameter in _parameters(command):
        if parameter.is_positional:
            parts.append(
                parameter.argument["metavar"] if parameter.is_required else f"[{parameter.argument['metavar']}]"
            )
        elif parameter.is_required:
            parts.append(f"{parameter.name} {parameter.argument['metavar']}")
    return " ".join(["mezzotint", name, *parts, "[flags]"])


def _converter(name: str, read: Callable[[str], Any]) -> Callable[[str], Any]:
    def convert(text: str) -> Any:
        try:
            return read(text)
        except Misspelt as misspelt:
            raise unknown(name.lstrip("-"), text, misspelt.known) from None
        except ValueError as expected:
            raise UsageError(f"{name} must be {expected}, not '{text}'") from None

    return convert


def _hyphenate(arguments: Sequence[str]) -> Iterable[str]:
    """--max_steps is --max-steps."""
    flags = True
    for word in arguments:
        flags = flags and word != "--"
        name, equals, content = word.partition("=")
        yield name.replace("_", "-") + equals + content if flags and word.startswith("--") else word


def _mismatch(command: type[Command], name: str) -> str:
    takes_value = {parameter.name: "type" in parameter.argument for parameter in _parameters(command)}
    if takes_value[name]:
        return f"{name} needs a value; one that begins with '-' is written {name}=VALUE"
    return f"{name} takes no value"


def _refuse(command: type[Command], name: str, rest: Sequence[str]) -> None:
    for word in rest:
        if word.startswith("-") and len(word) > 1 and " " not in word:
            raise unknown("flag", word.partition("=")[0], flag_names(command))
    if rest:
        raise UsageError(f"'{rest[0]}' is one word too many for `mezzotint {name}`; as in `{command.example}`")


def _require(command: type[Command], name: str, given: Mapping[str, Any]) -> None:
    for parameter in _parameters(command):
        if parameter.is_required and parameter.field not in given:
            missing = parameter.argument["metavar"] if parameter.is_positional else parameter.name
            raise UsageError(f"`mezzotint {name}` needs {missing}; as in `{command.example}`")


def _sentence(command: type[Command]) -> str:
    return str(command.__doc__).partition("\n")[0]
