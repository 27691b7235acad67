"""The rules of ARCHITECTURE.md, read from the source without importing it.

A rule is a function from the modules of a tree to its faults. It has to find none in ours, and exactly the one in each
small tree of `BROKEN`: a rule that nothing can break proves nothing.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src/mezzotint"

GROUPS = (
    ("types", "errors", "rng"),
    ("spec", "hub"),
    ("data", "space", "process", "net"),
    ("objective", "sampler", "guidance"),
    ("distill",),
    ("systems",),
    ("training", "evaluate"),
    ("recipes",),
    ("checks",),
    ("settings",),
    ("backbone", "latent", "plans", "prepare", "tasks", "vectors"),
    ("course", "drafts"),
    ("classifiers",),
    ("launch", "run", "importing"),
    ("descendants",),
    ("film", "held_out", "judge", "translation"),
    ("assess",),
    ("claims", "comparison", "doctor"),
    ("serve", "cli"),
    ("__main__",),
)
RANK = {package: rank for rank, group in enumerate(GROUPS) for package in group}
SURFACES = GROUPS[-2]
SIDEWAYS = {("space", "net")}
VARIANTS = {("systems.qe_cdlm", "systems.diffusion_lm")}
"""(A, B): the paper of A defines it as B with one part changed."""
NAMED_ONLY = {("types", "rng"), ("types", "spec")}
TORCH_FREE = ("", "types", "errors", "spec", "cli.main")
CITING = ("systems", "objective", "sampler", "process")
NAMELESS = {"utils", "util", "common", "helpers", "misc"}
PICKLERS = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
HEAVY = ("torch", "transformers", "datasets", "pyarrow", "huggingface_hub", "matplotlib", "sacrebleu", "mauve")
DEEPEST = 2
LONGEST = 80


@dataclass(frozen=True)
class Import:
    """One imported thing: a module by its whole name, or a `name` in a module that is not itself a module."""

    module: str
    line: int
    name: str = ""
    lazy: bool = False
    """Inside a function."""
    typed: bool = False
    """Under `if TYPE_CHECKING`."""


@dataclass(frozen=True)
class Module:
    """One file; `name` is dotted and starts below `mezzotint`, "" for the root's __init__."""

    name: str
    text: str
    is_package: bool

    @property
    def package(self) -> str:
        return self.name.partition(".")[0]

    @property
    def folder(self) -> str:
        return self.name if self.is_package else self.name.rpartition(".")[0]

    @cached_property
    def nodes(self) -> list[tuple[ast.stmt | ast.expr, bool, bool]]:
        """Every node, with whether it stands in a function and under `if TYPE_CHECKING`."""
        return list(_walk(ast.parse(self.text), lazy=False, typed=False))

    def at(self, line: int) -> str:
        return f"{self.name or '__init__'}:{line}"


Tree = Mapping[str, Module]
Rule = Callable[[Tree], Iterator[str]]


def tree_of(files: Mapping[str, str]) -> Tree:
    found = {}
    for path, text in files.items():
        parts = Path(path).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_package else parts)
        found[name] = Module(name, text, is_package)
    return found


@cache
def ours() -> Tree:
    return tree_of({str(p.relative_to(SOURCE)): p.read_text(encoding="utf-8") for p in sorted(SOURCE.rglob("*.py"))})


# --- what a file imports ---


def imports(module: Module, tree: Tree) -> Iterator[Import]:
    for node, lazy, typed in module.nodes:
        for target, name in _named(node, module):
            whole = f"{target}.{name}" if name else target
            if _below(whole) in tree:
                yield Import(whole, node.lineno, "", lazy, typed)
            else:
                yield Import(target, node.lineno, name, lazy, typed)


def _walk(node: ast.AST, lazy: bool, typed: bool) -> Iterator[tuple[ast.stmt | ast.expr, bool, bool]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt | ast.expr):
            yield child, lazy, typed
        inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        guard = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
        yield from _walk(child, lazy or inside, typed or guard)


def _named(node: ast.AST, module: Module) -> Iterator[tuple[str, str]]:
    if isinstance(node, ast.Import):
        yield from ((alias.name, "") for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = _absolute(node, module)
        yield from ((base, alias.name) for alias in node.names)
    elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
        yield from ((word.value, "") for word in node.args[:1] if isinstance(word, ast.Constant))


def _absolute(node: ast.ImportFrom, module: Module) -> str:
    if not node.level:
        return node.module or ""
    parents = ["mezzotint", *filter(None, module.folder.split("."))]
    kept = parents[: len(parents) - node.level + 1]
    return ".".join([*kept, *filter(None, [node.module])])


def _below(module: str) -> str | None:
    """The name below `mezzotint`; None for a module that is not ours."""
    return None if module.split(".")[0] != "mezzotint" else module.partition(".")[2]


# --- the rules ---


def every_package_has_a_place(tree: Tree) -> Iterator[str]:
    for module in tree.values():
        if module.name and module.package not in RANK:
            yield f"{module.name}: '{module.package}' stands in no group"


def imports_point_one_way(tree: Tree) -> Iterator[str]:
    for module in tree.values():
        if not module.name or module.package in SURFACES:
            continue
        for found in imports(module, tree):
            target = _below(found.module)
            if target is not None and not _may(module.package, target.partition(".")[0], found):
                yield f"{module.at(found.line)} imports {found.module} {found.name}".rstrip()


def _may(here: str, there: str, found: Import) -> bool:
    if not there:
        return found.name == "__version__"
    if here == there or (here, there) in SIDEWAYS:
        return True
    if (here, there) in NAMED_ONLY:
        return found.typed
    return RANK.get(there, len(GROUPS)) < RANK.get(here, 0)


def systems_stand_apart(tree: Tree) -> Iterator[str]:
    for module in tree.values():
        if module.package != "systems" or module.is_package:
            continue
        for found in imports(module, tree):
            other = _below(found.module)
            if (
                found.module.startswith("mezzotint.systems.")
                and other != module.name
                and (module.name, other) not in VARIANTS
            ):
                yield f"{module.at(found.line)} imports {found.module}"


def surfaces_use_the_public_face(tree: Tree) -> Iterator[str]:
    face = public_names(tree)
    for module in tree.values():
        if module.package not in SURFACES:
            continue
        for found in imports(module, tree):
            target = _below(found.module)
            inside = target is not None and target.partition(".")[0] == module.package
            exported = target is not None and (found.name or target) in {*face, ""} and "." not in target
            if target is not None and not inside and not exported:
                yield f"{module.at(found.line)} imports {found.module} {found.name}".rstrip()
        for node, _, _ in module.nodes:
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "mezzotint" and node.attr not in face:
                yield f"{module.at(node.lineno)} uses mezzotint.{node.attr}, which is not exported"


def public_names(tree: Tree) -> set[str]:
    """What the root's __all__ lists; it has to be a literal."""
    for node, _, _ in tree[""].nodes if "" in tree else ():
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return set(ast.literal_eval(node.value))
    return set()


def no_torch_before_it_is_needed(tree: Tree) -> Iterator[str]:
    for start in TORCH_FREE:
        for name in sorted(_loaded(start, tree)):
            for found in imports(tree[name], tree):
                heavy = found.module.split(".")[0] in HEAVY
                if heavy and not found.lazy and not found.typed:
                    yield f"{tree[name].at(found.line)} imports {found.module}, and {start or '__init__'} loads it"


def _loaded(start: str, tree: Tree) -> set[str]:
    """The modules that importing `start` loads, parents included."""
    seen: set[str] = set()
    todo = [start] if start in tree else [name for name in tree if name.startswith(f"{start}.")]
    while todo:
        name = todo.pop()
        if name in seen or name not in tree:
            continue
        seen.add(name)
        at_once = (found.module for found in imports(tree[name], tree) if not found.lazy and not found.typed)
        todo += [below for below in map(_below, at_once) if below is not None]
        todo += [name.rpartition(".")[0]]
    return seen


def everything_is_named(tree: Tree) -> Iterator[str]:
    for module in tree.values():
        if NAMELESS & set(module.name.split(".")):
            yield f"{module.name} says nothing of what is in it"


def inheritance_is_shallow(tree: Tree) -> Iterator[str]:
    bases: dict[str, set[str]] = {}
    for module in tree.values():
        for node, _, _ in module.nodes:
            if isinstance(node, ast.ClassDef):
                named = (base.value if isinstance(base, ast.Subscript) else base for base in node.bases)
                bases.setdefault(node.name, set()).update(ast.unparse(base).split(".")[-1] for base in named)

    def depth(name: str, above: frozenset[str] = frozenset()) -> int:
        if name not in bases or name in above:
            return 0
        return 1 + max((depth(base, above | {name}) for base in bases[name]), default=0)

    yield from (f"class {name} is {depth(name)} deep" for name in bases if depth(name) > DEEPEST)


def nothing_is_unpickled_or_evaluated(tree: Tree) -> Iterator[str]:
    for module in tree.values():
        for found in imports(module, tree):
            if found.module.split(".")[0] in (
                "pickle",
                "cPickle",
                "cloudpickle",
                "dill",
                "joblib",
                "marshal",
                "shelve",
            ):
                yield f"{module.at(found.line)} imports {found.module}"
        for node, _, _ in module.nodes:
            if isinstance(node, ast.Call) and _is_unsafe(node):
                yield f"{module.at(node.lineno)} calls {ast.unparse(node)}"


def _is_unsafe(call: ast.Call) -> bool:
    true = {word.arg for word in call.keywords if isinstance(word.value, ast.Constant) and word.value.value is True}
    name = ast.unparse(call.func)
    return name in ("eval", "exec") or (name == "torch.load" and "weights_only" not in true) or "allow_pickle" in true


def methods_name_their_source(tree: Tree) -> Iterator[str]:
    for module in tree.values():
        top = "\n".join(module.text.splitlines()[:10])
        if module.package in CITING and not module.is_package and not re.search(r"\b(19|20)\d\d\b|arXiv|§", top):
            yield f"{module.name} names no paper in its first ten lines"


def functions_are_short(tree: Tree) -> Iterator[str]:
    for module in tree.values():
        for node, _, _ in module.nodes:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and _lines(node) > LONGEST:
                yield f"{module.at(node.lineno)} {node.name} has {_lines(node)} lines"


def _lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    said = ast.get_docstring(node, clean=False)
    return (node.end_lineno or node.lineno) - node.lineno + 1 - (said.count("\n") + 1 if said else 0)


RULES: tuple[Rule, ...] = (
    every_package_has_a_place,
    imports_point_one_way,
    systems_stand_apart,
    surfaces_use_the_public_face,
    no_torch_before_it_is_needed,
    everything_is_named,
    inheritance_is_shallow,
    nothing_is_unpickled_or_evaluated,
    methods_name_their_source,
    functions_are_short,
)

FACE = '__all__ = ["load"]\n'
BROKEN: tuple[tuple[Rule, dict[str, str]], ...] = (
    (every_package_has_a_place, {"engine.py": ""}),
    (imports_point_one_way, {"process/a.py": "from mezzotint.sampler import drive"}),
    (imports_point_one_way, {"process/a.py": "def f():\n    import mezzotint.net.transformer"}),
    (imports_point_one_way, {"net/a.py": "from mezzotint.space.ids import Ids"}),
    (imports_point_one_way, {"spec/a.py": "from ..data import lengths"}),
    (imports_point_one_way, {"data/a.py": "from mezzotint import load"}),
    (imports_point_one_way, {"data/a.py": "import mezzotint"}),
    (imports_point_one_way, {"types.py": "from mezzotint.rng import Rng"}),
    (imports_point_one_way, {"net/a.py": "if TYPE_CHECKING:\n    from mezzotint.systems.mdlm import MDLM"}),
    (imports_point_one_way, {"net/a.py": "import_module('mezzotint.run')"}),
    (systems_stand_apart, {"systems/a.py": "from mezzotint.systems.b import B", "systems/b.py": ""}),
    (systems_stand_apart, {"systems/a.py": "from . import b", "systems/b.py": ""}),
    (surfaces_use_the_public_face, {"__init__.py": FACE, "cli/a.py": "from mezzotint.errors import UsageError"}),
    (surfaces_use_the_public_face, {"__init__.py": FACE, "cli/a.py": "from mezzotint import sample"}),
    (surfaces_use_the_public_face, {"__init__.py": FACE, "run.py": "", "cli/a.py": "from mezzotint import run"}),
    (surfaces_use_the_public_face, {"__init__.py": FACE, "cli/a.py": "import mezzotint\nmezzotint.run.load()"}),
    (surfaces_use_the_public_face, {"__init__.py": FACE, "serve/a.py": "from mezzotint.cli.draw import film"}),
    (no_torch_before_it_is_needed, {"types.py": "import torch"}),
    (
        no_torch_before_it_is_needed,
        {"spec/a.py": "from mezzotint.rng import Rng", "rng.py": "from torch import Tensor"},
    ),
    (no_torch_before_it_is_needed, {"cli/main.py": "from mezzotint.cli import draw", "cli/draw.py": "import torch.nn"}),
    (everything_is_named, {"net/utils.py": ""}),
    (everything_is_named, {"helpers/nets.py": ""}),
    (inheritance_is_shallow, {"a.py": "class A: ...\nclass B(A): ...", "b.py": "class C(a.B[int]): ..."}),
    (nothing_is_unpickled_or_evaluated, {"a.py": "import pickle"}),
    (nothing_is_unpickled_or_evaluated, {"a.py": "def f(x):\n    return eval(x)"}),
    (nothing_is_unpickled_or_evaluated, {"a.py": "torch.load(path)"}),
    (nothing_is_unpickled_or_evaluated, {"a.py": "torch.load(path, weights_only=False)"}),
    (nothing_is_unpickled_or_evaluated, {"a.py": "np.load(path, allow_pickle=True)"}),
    (methods_name_their_source, {"sampler/a.py": '"""Reveals tokens."""\n'}),
    (functions_are_short, {"a.py": "def f():\n" + "    x = 1\n" * 80}),
)
SOUND = {
    "__init__.py": FACE + "def __getattr__(name):\n    from mezzotint import run\n    return run.load",
    "types.py": "if TYPE_CHECKING:\n    import torch\n    from mezzotint.rng import Rng",
    "rng.py": "import torch",
    "space/ids.py": "from mezzotint.net import layer\nfrom mezzotint.space import latent",
    "net/layer.py": "import torch\nclass A(torch.nn.Module): ...\nclass B(A): ...",
    "systems/__init__.py": "from mezzotint.systems import a",
    "systems/a.py": '"""A. Author 2024."""\nfrom ..rng import Rng\nfrom mezzotint.space.ids import Ids\nnet.eval()',
    "run.py": "from mezzotint.systems import a\ntorch.load(path, weights_only=True)\nmezzotint.__version__",
    "cli/main.py": "import mezzotint\nfrom mezzotint import load\nfrom mezzotint.cli import draw\nmezzotint.load(1)",
    "cli/draw.py": "def f():\n    import torch" + "\n    x = 1" * 70,
}


def named(rule: Rule) -> str:
    return rule.__name__


@pytest.mark.parametrize("rule", RULES, ids=named)
def test_the_tree_keeps_the_rule(rule: Rule) -> None:
    tree = ours()
    assert "types" in tree
    faults = list(rule(tree))
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize(("rule", "files"), BROKEN, ids=[f"{named(rule)}-{i}" for i, (rule, _) in enumerate(BROKEN)])
def test_the_rule_notices(rule: Rule, files: dict[str, str]) -> None:
    assert len(list(rule(tree_of(files)))) == 1


@pytest.mark.parametrize("rule", RULES, ids=named)
def test_the_rule_lets_a_sound_tree_pass(rule: Rule) -> None:
    assert list(rule(tree_of(SOUND))) == []


def test_every_rule_is_seen_to_fail() -> None:
    assert {rule for rule, _ in BROKEN} == set(RULES)


def test_the_public_face_is_sorted_and_whole() -> None:
    import mezzotint

    tables = [value for name, value in vars(mezzotint).items() if isinstance(value, dict) and not name.startswith("__")]
    homes = {module for table in tables for module in table.values() if isinstance(module, str)}
    lazy = {name for table in tables for name, module in table.items() if isinstance(module, str)}
    assert homes, "there is no table that says where exported names live"
    assert mezzotint.__all__ == sorted(mezzotint.__all__)
    assert lazy == set(mezzotint.__all__)
    assert set(mezzotint.__all__) == set(dir(mezzotint))
    for name in mezzotint.__all__:
        assert getattr(mezzotint, name) is not None


LOOK = """
import importlib, mezzotint, sys
for name in sys.argv[2:]:
    ways = [lambda: importlib.import_module("mezzotint." + name), lambda: getattr(mezzotint, name)]
    for way in ways if sys.argv[1] == "package" else reversed(ways):
        way()
    print(name, type(getattr(mezzotint, name)).__name__)
"""


@pytest.mark.parametrize("first", ["package", "export"])
def test_a_package_of_the_same_name_hides_no_export(first: str) -> None:
    """Importing mezzotint.training.loop binds mezzotint.train to the package, which must not reach the caller."""
    both = sorted(public_names(ours()) & set(ours()))
    done = subprocess.run([sys.executable, "-c", LOOK, first, *both], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"{name} function" for name in both]
