"""Decides which names one file's images get, from what is known of each name. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from importing.naming.stored_names import NameChoices


class NameState(Enum):
    """What is known of one name of one patient, as seen by one instance."""

    FREE = auto()
    """No image has it."""
    OURS = auto()
    """The history has it for this instance, and XieHe lists it."""
    CLAIMED_BEFORE = auto()
    """XieHe lists it, and an earlier run gave it to this instance without having uploaded it."""
    REMOVED = auto()
    """We uploaded this instance under it, and XieHe does not list it any more."""
    UNKNOWN = auto()
    """XieHe lists it, and the history knows nothing of it."""
    OTHERS = auto()
    """It belongs to another instance."""


_MINE = frozenset({NameState.OURS, NameState.CLAIMED_BEFORE, NameState.REMOVED})


@dataclass(frozen=True, slots=True)
class NameDecision:
    """The chosen name keys, one per frame, with the state of each; ``suffixed``: the plain name was not available."""

    keys: tuple[str, ...]
    states: tuple[NameState, ...]
    suffixed: bool


def decide_names(
    choices: NameChoices, state_of: Callable[[str], NameState], *, reupload_removed: bool = False
) -> NameDecision:
    """Chooses the names of a file.

    A file that has one of its own suffixed names already keeps it, unless the plain one is known to be its own.
    Otherwise the plain name is taken, also if XieHe has it and the history does not know it (first come, first
    served). A name of another instance is never taken. Former names are kept if they are taken, and never newly given.
    """
    new = [_look(keys, keys is not choices.plain, state_of) for keys in choices.ordered]
    former = [_look(keys, number > 0, state_of) for number, keys in enumerate(choices.former)]
    if reupload_removed:
        former = [decision for decision in former if NameState.REMOVED not in decision.states]
    open_to_us = [decision for decision in (*new, *former) if NameState.OTHERS not in decision.states]
    for decision in open_to_us:
        if _MINE.intersection(decision.states):
            return decision
    unknown = [decision for decision in open_to_us if NameState.UNKNOWN in decision.states]
    for decision in (*(own for own in unknown if own.suffixed), *(known for known in unknown if known in former)):
        return decision
    return next((decision for decision in open_to_us if decision in new), new[-1])


def _look(keys: tuple[str, ...], suffixed: bool, state_of: Callable[[str], NameState]) -> NameDecision:
    return NameDecision(keys, tuple(state_of(key) for key in keys), suffixed)
