"""Thumbnails within a fixed amount of memory."""

from __future__ import annotations

from importing.images.thumbnail_cache import Thumbnail, ThumbnailCache


def a_picture(size: int, fill: bytes = b"x") -> Thumbnail:
    return Thumbnail(fill * size, "image/jpeg", kept=True)


def test_what_was_not_asked_for_longest_is_forgotten_first() -> None:
    cache = ThumbnailCache(30)
    for key in "abc":
        cache.put(key, a_picture(10))
    assert cache.get("a") is not None
    cache.put("d", a_picture(10))
    assert [cache.get(key) is not None for key in "abcd"] == [True, False, True, True]


def test_a_large_picture_pushes_out_as_many_as_it_needs() -> None:
    cache = ThumbnailCache(30)
    for key in "abc":
        cache.put(key, a_picture(10))
    cache.put("d", a_picture(25))
    assert [cache.get(key) is not None for key in "abcd"] == [False, False, False, True]
    cache.put("e", a_picture(31))
    assert (cache.get("e"), cache.get("d")) == (None, a_picture(25))


def test_a_picture_that_comes_again_counts_once() -> None:
    cache = ThumbnailCache(30)
    for fill in (b"1", b"2", b"3", b"4"):
        cache.put("a", a_picture(10, fill))
    cache.put("b", a_picture(20))
    assert cache.get("a") == a_picture(10, b"4")
    assert cache.get("b") == a_picture(20)
