"""What all tests stand on: products in float32, on processors with arithmetic in bf16, too; and shared runs.

Processes of tests/pair.py do the same; others that a test starts go by their own lights.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from mezzotint import Run


@pytest.fixture
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of the test's own."""
    monkeypatch.setenv("MEZZOTINT_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="session", autouse=True)
def in_full() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mezzotint.training.device.multiplies_bf16", lambda device: False)
        yield


@pytest.fixture(scope="session")
def served_runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """A run of each kind that the server and its page know, for the tests of both; nobody writes into their folders."""
    from tests.trained import few, latent, translator

    root = tmp_path_factory.mktemp("runs")
    made = few(root, [("mdlm", "mdlm", {}), ("ar", "ar", {})])
    return made | {"vae": latent(root, made["ar"]), "de-en": translator(root)}
