"""Texts each written by itself, side by side: no shape that a network sees depends on what else is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, TypeVar

from mezzotint import Draft

if TYPE_CHECKING:
    from mezzotint import Run, Task

T = TypeVar("T")


def drafts_one_by_one(run: Run, tasks: Sequence[Task]) -> Iterator[Draft]:
    """The drafts of tasks of one text each as those of one task; every text goes a step further in each."""
    latest: list[Draft] = []
    for moment in zip_longest(*(_drafts_of(run, task) for task in tasks)):
        latest = [new or old for new, old in zip_longest(moment, latest)]
        yield _merge(latest)


def _drafts_of(run: Run, task: Task) -> Iterator[Draft]:
    return (draft for [draft] in run.together([task]))


def _merge(drafts: Sequence[Draft]) -> Draft:
    done = all(draft.done for draft in drafts)
    return Draft(
        step=max(draft.step for draft in drafts),
        steps=drafts[0].steps,
        t=_concatenate(draft.t for draft in drafts),
        rows=_concatenate(draft.rows for draft in drafts),
        nfe=_concatenate(draft.nfe for draft in drafts),
        done=done,
        samples=_concatenate(draft.samples for draft in drafts) if done else [],
    )


def _concatenate(lists: Iterable[Sequence[T]]) -> list[T]:
    return [item for each in lists for item in each]
