"""How XieHe's database compares text: blind to case, accents and width, but not to a trailing space."""

from __future__ import annotations

import unicodedata

_WILDCARDS = "%_\\"
_NEVER_STORED = "\ue000"


def fold(text: str) -> str:
    """Two texts are equal to the database when their folded forms are equal."""
    decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    return "".join(character for character in decomposed if not unicodedata.combining(character))


def like_pattern(search: str) -> str:
    """The LIKE pattern (escape character: backslash) of a substring search over folded text.

    `%` and `_` stay live, as XieHe doesn't escape them. A backslash escapes what follows it, so `a\\b` looks for
    `ab`; and a doubled one finds nothing, since a backslash cannot be searched. Full-width wildcards are plain text.
    """
    undoubled = search.replace("\\\\", _NEVER_STORED)
    return "%" + "".join(_folded_for_like(character) for character in undoubled) + "%"


def _folded_for_like(character: str) -> str:
    folded = fold(character)
    if character not in _WILDCARDS and folded in tuple(_WILDCARDS):
        return "\\" + folded
    return folded
