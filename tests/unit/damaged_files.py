"""Damage to an SQLite file, page by page: which kinds of pages it has, and what can happen to them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path

PAGE = 4096
"""Bytes of a page; SQLite's default."""
LONG_TEXT = "长" * 6_000
"""A text that fills pages of its own (overflow pages)."""
_B_TREE = {2: "index interior", 5: "table interior", 10: "index leaf", 13: "table leaf"}
"""The first byte of a page, https://www.sqlite.org/fileformat2.html (1.6)."""


def pages_by_kind(path: Path) -> Mapping[str, list[int]]:
    """Numbers of the pages, from 1, without the first, which is the schema's."""
    content = path.read_bytes()
    free = _free_pages(content)
    found: dict[str, list[int]] = defaultdict(list)
    for number in range(2, len(content) // PAGE + 1):
        page = _page(content, number)
        if number in free:
            found["freelist trunk" if free[number] else "freelist leaf"].append(number)
        elif LONG_TEXT.encode()[:30] in page[:300] and page[0] not in _B_TREE:
            found["overflow"].append(number)
        elif page[0] in _B_TREE:
            found[_B_TREE[page[0]]].append(number)
    return found


def _page(content: bytes, number: int) -> bytes:
    return content[(number - 1) * PAGE : number * PAGE]


def _free_pages(content: bytes) -> dict[int, bool]:
    """Whether each is a trunk page."""
    found: dict[int, bool] = {}
    trunk = int.from_bytes(content[32:36], "big")
    while trunk:
        page = _page(content, trunk)
        words = [int.from_bytes(page[at : at + 4], "big") for at in range(0, PAGE, 4)]
        found[trunk] = True
        found.update(dict.fromkeys(words[2 : 2 + words[1]], False))
        trunk = words[0]
    return found


def zeros(page: bytes) -> bytes:
    return bytes(len(page))


def garbage(page: bytes) -> bytes:
    return bytes((at * 151 + 0xA5) % 256 for at in range(len(page)))


def zeros_in_the_middle(page: bytes) -> bytes:
    return page[:1792] + bytes(512) + page[2304:]


def garbage_in_the_middle(page: bytes) -> bytes:
    return page[:1792] + garbage(page)[:512] + page[2304:]


def zeros_at_the_end(page: bytes) -> bytes:
    return page[:3072] + bytes(1024)


DAMAGES: tuple[Callable[[bytes], bytes], ...] = (
    zeros,
    garbage,
    zeros_in_the_middle,
    garbage_in_the_middle,
    zeros_at_the_end,
)


def damage(path: Path, numbers: list[int], change: Callable[[bytes], bytes]) -> None:
    """Write these pages anew."""
    with path.open("r+b") as file:
        for number in numbers:
            file.seek((number - 1) * PAGE)
            page = file.read(PAGE)
            file.seek((number - 1) * PAGE)
            file.write(change(page))
