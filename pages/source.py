"""What is read from the source as text: the sentences below a class's fields, comments, docstrings, imports."""

from __future__ import annotations

import ast
import inspect
import io
import textwrap
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from benchmarks.rows import ROOT

SOURCE = ROOT / "src"


def attribute_docs(kind: type) -> dict[str, str]:
    """The docstring below each field of a class, with those of its bases."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__[:-1]):
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        assert isinstance(tree, ast.ClassDef)
        for field, below in zip(tree.body, tree.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and _is_text(below):
                found[field.target.id] = ast.literal_eval(below.value)  # type: ignore[attr-defined]
    return found


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def path_of(module: str) -> Path | None:
    """Where a module of ours stands, or None."""
    path = SOURCE.joinpath(*module.split("."))
    return next((found for found in (path.with_suffix(".py"), path / "__init__.py") if found.exists()), None)


@cache
def imports(module: str) -> tuple[str, ...]:
    """The modules of ours that a module imports."""
    path = path_of(module)
    if path is None:
        return ()
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mezzotint."):
            names.append(str(node.module))
            names += [f"{node.module}.{alias.name}" for alias in node.names if path_of(f"{node.module}.{alias.name}")]
    return tuple(dict.fromkeys(names))


def passages(path: Path) -> Iterator[str]:
    """Every docstring and every block of comments of a file, as paragraphs without their marks."""
    block: list[str] = []
    last = -1
    for token in tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline):
        if token.type == tokenize.COMMENT:
            if token.start[0] != last + 1 and block:
                yield "\n".join(block)
                block = []
            block.append(token.string.lstrip("# "))
            last = token.start[0]
        elif token.type == tokenize.STRING and token.string.startswith('"""'):
            yield inspect.cleandoc(ast.literal_eval(token.string))
    if block:
        yield "\n".join(block)
