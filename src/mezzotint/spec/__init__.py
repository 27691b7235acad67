"""Specs: frozen dataclasses that say what to build. They import no torch and build nothing.

A spec validates itself, goes to JSON and comes back, and takes `--set key=value` with types from its own fields.
"""

from mezzotint.spec.base import Size, Spec

__all__ = ["Size", "Spec"]
