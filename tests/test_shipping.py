"""What is handed on: the wheel holds the package and all that it needs, nothing else, and is made the same twice."""

from __future__ import annotations

import hashlib
import tarfile
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"
GROUP = "[console_scripts]\nmezzotint = mezzotint.cli.main:main"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A wheel, the same again a day later, and an sdist."""
    builders = pytest.importorskip("hatchling.builders.wheel"), pytest.importorskip("hatchling.builders.sdist")
    found = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOURCE_DATE_EPOCH", "1700000000")
        for place, kind in (("one", "Wheel"), ("two", "Wheel"), ("sdist", "Sdist")):
            builder = getattr(builders[kind == "Sdist"], f"{kind}Builder")(str(ROOT))
            (artifact,) = builder.build(directory=str(tmp_path_factory.mktemp(place)), versions=["standard"])
            found.append(Path(artifact))
    return found[0], found[1], found[2]


def test_two_builds_are_equal(built: tuple[Path, Path, Path]) -> None:
    one, two = (hashlib.sha256(path.read_bytes()).hexdigest() for path in built[:2])
    assert one == two


def test_the_wheel_is_the_package_and_nothing_else(built: tuple[Path, Path, Path]) -> None:
    names = set(ZipFile(built[0]).namelist())
    ours = {
        path.relative_to(SOURCE).as_posix()
        for path in (SOURCE / "mezzotint").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    about = {name for name in names if ".dist-info/" in name}
    assert names - about == ours
    assert "mezzotint/py.typed" in ours
    assert "mezzotint/evaluate/judges/bistro/model.safetensors" in ours
    assert "mezzotint/serve/page/index.html" in ours
    assert {name.rpartition("/")[2] for name in about} == {"METADATA", "WHEEL", "RECORD", "LICENSE", "entry_points.txt"}


def test_the_wheel_says_what_it_is(built: tuple[Path, Path, Path]) -> None:
    wheel = ZipFile(built[0])
    text = {name.rpartition("/")[2]: wheel.read(name).decode() for name in wheel.namelist() if ".dist-info/" in name}
    assert GROUP in text["entry_points.txt"]
    assert "License-Expression: Apache-2.0" in text["METADATA"]
    assert "Requires-Dist: torch<3,>=2.7" in text["METADATA"]
    assert "Root-Is-Purelib: true" in text["WHEEL"]


def test_the_sdist_has_what_the_tests_need(built: tuple[Path, Path, Path]) -> None:
    with tarfile.open(built[2]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    needed = {"README.md", "constraints.txt", "Makefile", "mkdocs.yml", "src/mezzotint/py.typed", "pages/__main__.py"}
    assert needed <= names
    assert {"benchmarks/METRICS.md", "tests/kept/format-1/mdlm/model.safetensors", "docs/index.md"} <= names
    assert not [name for name in names if name.startswith(("runs", "build", "dist", ".git/"))]
