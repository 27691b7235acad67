"""Every help text of the command."""

from __future__ import annotations

import os

from mezzotint.cli.main import COMMANDS
from mezzotint.cli.parse import help_of, overview

HEAD = """# Commands

Every help text, as `mezzotint COMMAND --help` prints it. Exit status: 0 done, 1 what was checked does not hold
(`doctor`, `reproduce`), 2 the call or what it names is wrong, which is said in one line, 130 interrupted. Texts and
tables that were asked for go to standard output, all else to standard error.

"""


def commands_page() -> str:
    """The whole of docs/commands.md, a hundred columns wide."""
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "102"
    try:
        texts = {f"mezzotint {name}": help_of(kind, name) for name, (kind, _) in COMMANDS.items()}
    finally:
        os.environ.pop("COLUMNS")
        if before is not None:
            os.environ["COLUMNS"] = before
    first = overview({name: kind for name, (kind, _) in COMMANDS.items()})
    parts = [f"## {name}\n\n```text\n{text.rstrip()}\n```\n" for name, text in texts.items()]
    return HEAD + f"```text\n{first.rstrip()}\n```\n\n" + "\n".join(parts)
