"""Texts each written by itself, side by side: no shape that a network sees depends on what else is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, TypeVar

from mezzotint import Draft

if TYPE_CHECKING:
    from mezzotint import Run, Task

T = TypeVar("T")


def singly(run: Run, tasks: Sequence[Task]) -> Iterator[Draft]:
    """The drafts of tasks of one text each as those of one task, every text a step further in each."""
    latest: list[Draft] = []
    for moment in zip_longest(*(_alone(run, task) for task in tasks)):
        latest = [new or old for new, old in zip_longest(moment, latest)]
        yield _joined(latest)


def _alone(run: Run, task: Task) -> Iterator[Draft]:
    return (draft for [draft] in run.together([task]))


def _joined(drafts: Sequence[Draft]) -> Draft:
    done = all(draft.done for draft in drafts)
    return Draft(
        step=max(draft.step for draft in drafts),
        steps=drafts[0].steps,
        t=_all(draft.t for draft in drafts),
        rows=_all(draft.rows for draft in drafts),
        nfe=_all(draft.nfe for draft in drafts),
        done=done,
        samples=_all(draft.samples for draft in drafts) if done else [],
    )


def _all(lists: Iterable[Sequence[T]]) -> list[T]:
    return [one for some in lists for one in some]
