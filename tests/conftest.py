"""What all tests stand on: products in float32, on processors with arithmetic in bf16, too.

Processes of tests/pair.py do the same; others that a test starts go by their own lights.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of the test's own."""
    monkeypatch.setenv("MEZZOTINT_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="session", autouse=True)
def in_full() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mezzotint.training.device.multiplies_bf16", lambda device: False)
        yield
