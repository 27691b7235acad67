"""What all tests stand on: products in float32, on processors with arithmetic in bf16, too.

Processes of tests/pair.py do the same; others that a test starts go by their own lights.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def in_full() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mezzotint.training.device.multiplies_bf16", lambda device: False)
        yield
