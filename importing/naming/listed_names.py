"""Matches XieHe's list of one patient's images with the rows of our index. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from domain.content_etag import equal_content
from importing.naming.name_decision import NameState
from importing.naming.stored_names import name_key
from models import ImportedImage, RemoteImage


class PatientNames:
    """Which row of the index owns which listed image, and which names are free.

    A row owns the image that has its id, whatever XieHe calls that image by now. A row without a listed id is in XieHe
    if an image of its name is listed that no other row owns.
    """

    def __init__(self, listed: Iterable[RemoteImage] = (), rows: Iterable[ImportedImage] = ()) -> None:
        self._rows = {row.name_key: row for row in rows}
        self._by_id: dict[int, RemoteImage] = {}
        self._by_key: dict[str, tuple[RemoteImage, ...]] = {}
        self._owners: dict[int, ImportedImage] = {}
        for image in listed:
            self._list(image)
        for row in self._rows.values():
            self._own(row)

    def __len__(self) -> int:
        """How many names are kept in memory."""
        return len(self._by_key) + len(self._rows)

    def state(
        self, key: str, instance: str, other_names: Collection[str] = (), taken: Collection[int] = ()
    ) -> NameState:
        """What is known of a name, as seen by an instance.

        ``other_names`` count as this one if the index does not know it. Images in ``taken`` are another file's.
        """
        row = self._rows.get(key)
        if row is not None and (row.uploaded_by_us or self.has(row)):
            return self._state_of_row(row, instance)
        if self.unknown_image(key, other_names, taken) is not None:
            return NameState.UNKNOWN
        return NameState.OTHERS if key in self._by_key else NameState.FREE

    def _state_of_row(self, row: ImportedImage, instance: str) -> NameState:
        if row.instance != instance:
            return NameState.OTHERS
        if not self.has(row):
            return NameState.REMOVED
        return NameState.OURS if row.uploaded_by_us else NameState.CLAIMED_BEFORE

    def has(self, row: ImportedImage) -> bool:
        """Whether XieHe lists the image of a row."""
        if row.image_file_id and self._owners.get(row.image_file_id) is row:
            return True
        return bool(self._unowned(name_key(row.stored_name)))

    def unknown_image(
        self, key: str, other_names: Collection[str] = (), taken: Collection[int] = ()
    ) -> RemoteImage | None:
        """The image without a row that XieHe lists under a name, or else under one of the others."""
        exact = (image for name in other_names for image in self._left_by_row(name_key(name)) if image.filename == name)
        return next((image for image in (*self._unowned(key), *exact) if image.image_file_id not in taken), None)

    def is_listed(self, key: str, other_names: Collection[str] = ()) -> bool:
        """Whether XieHe lists the name, one of the others, or the renamed image of its row."""
        row = self._rows.get(key)
        return key in self._by_key or (row is not None and self.has(row)) or bool(self.unknown_image(key, other_names))

    def find(self, image_file_id: int | None, key: str, row: ImportedImage | None) -> RemoteImage | None:
        """The listed image of that id, or else of that name, unless it belongs to another row."""
        candidates = (self._by_id.get(image_file_id or 0), *self._by_key.get(key, ()))
        ours = (None, row)
        return next((image for image in candidates if image and self._owners.get(image.image_file_id) in ours), None)

    def ids_at(self, key: str) -> tuple[int, ...]:
        """The ids of all images that XieHe lists under a name."""
        return tuple(image.image_file_id for image in self._by_key.get(key, ()))

    def row_of(self, key: str) -> ImportedImage | None:
        """The index row of a name."""
        return self._rows.get(key)

    def new_name_of(self, row: ImportedImage) -> str | None:
        """What XieHe calls the image of a row by now, or None if that is its stored name."""
        image = self._by_id.get(row.image_file_id or 0)
        if image is None or self._owners.get(image.image_file_id) is not row or image.filename == row.stored_name:
            return None
        return image.filename

    def remember(self, row: ImportedImage) -> None:
        """Notes that an image is in XieHe under a name."""
        self._rows[row.name_key] = row
        key = name_key(row.stored_name)
        if row.image_file_id not in self._by_id and not self._unowned(key):
            self._list(RemoteImage(row.image_file_id or 0, row.stored_name, row.jpg_size, row.storage_etag))
        self._own(row)

    def _list(self, image: RemoteImage) -> None:
        key = name_key(image.filename)
        self._by_key[key] = (image, *self._by_key.get(key, ()))  # the newest first
        if image.image_file_id:  # a planned image has none, nor one of C1/C2 that was just uploaded
            self._by_id[image.image_file_id] = image

    def _own(self, row: ImportedImage) -> None:
        """Gives the row its image. The row whose name agrees too comes before one that has the id alone."""
        image = self._by_id.get(row.image_file_id or 0)
        if image is None:
            return
        if name_key(image.filename) == name_key(row.stored_name):
            self._owners[image.image_file_id] = row
        elif may_be_renamed(row, image):
            self._owners.setdefault(image.image_file_id, row)

    def _left_by_row(self, key: str) -> list[RemoteImage]:
        """The unowned images of a name but one, if the name's own row has none by its id and so owns one by name."""
        row, unowned = self._rows.get(key), self._unowned(key)
        return unowned[1:] if row is not None and self._owners.get(row.image_file_id or 0) is not row else unowned

    def _unowned(self, key: str) -> list[RemoteImage]:
        return [image for image in self._by_key.get(key, ()) if image.image_file_id not in self._owners]


def may_be_renamed(row: ImportedImage, image: RemoteImage) -> bool:
    """Whether an image of a row's id but of another name can be the row's: XieHe gives ids anew after it was emptied.

    False if size or content are known to differ.
    """
    if None not in (row.jpg_size, image.size_bytes) and row.jpg_size != image.size_bytes:
        return False
    return equal_content(row.storage_etag, image.storage_etag) is not False
