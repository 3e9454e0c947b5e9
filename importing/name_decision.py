"""Which names one file's pictures get, decided from what is known of each name. Pure: no history, no XieHe in here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from importing.stored_names import NameChoices


class NameState(Enum):
    """What is known of one name of one patient, as seen by one instance."""

    FREE = auto()
    """Nobody has it."""
    OURS = auto()
    """The history has it for this instance, and XieHe lists it."""
    CLAIMED_BEFORE = auto()
    """XieHe lists it, and an earlier run gave it to this instance without having uploaded it."""
    REMOVED = auto()
    """We uploaded this instance under it, and XieHe does not list it any more."""
    STRANGE = auto()
    """XieHe lists it, and the history knows nothing of it."""
    OTHERS = auto()
    """It belongs to another instance."""


_MINE = frozenset({NameState.OURS, NameState.CLAIMED_BEFORE, NameState.REMOVED})


@dataclass(frozen=True, slots=True)
class NameDecision:
    """The chosen name keys, one per frame, with the state of each; ``suffixed``: the plain name was not to be had."""

    keys: tuple[str, ...]
    states: tuple[NameState, ...]
    suffixed: bool


def decide_names(choices: NameChoices, state_of: Callable[[str], NameState]) -> NameDecision:
    """Chooses the names of a file.

    A file that already stands under one of its own suffixed names stays there, unless the plain one is known to be its
    own. Otherwise the plain name is taken, also where XieHe has it and nobody knows whose it is (first come, first
    served); a name of another instance never is.
    """
    decisions = [_look(keys, keys is not choices.plain, state_of) for keys in choices.ordered]
    for decision in decisions:
        if _MINE.intersection(decision.states) and NameState.OTHERS not in decision.states:
            return decision
    for decision in decisions:
        if decision.suffixed and NameState.STRANGE in decision.states and NameState.OTHERS not in decision.states:
            return decision
    for decision in decisions:
        if NameState.OTHERS not in decision.states:
            return decision
    return decisions[-1]


def _look(keys: tuple[str, ...], suffixed: bool, state_of: Callable[[str], NameState]) -> NameDecision:
    return NameDecision(keys, tuple(state_of(key) for key in keys), suffixed)
