"""The files that a contract consists of."""

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from gateway.schema.idl.xml.document import Element, XmlError, parse_xml


class XsdError(ValueError):
    """The schema can't be read. The text says where (file:line) and what to do."""


class Library:
    """The files that a contract consists of. Nothing is fetched from anywhere else.

    include: further folders that imports may come from, also those that are named by URL.
    """

    def __init__(self, first: Path, include: Sequence[Path] = ()) -> None:
        self._roots = (first.parent.resolve(), *(folder.resolve() for folder in include))

    def find(self, location: str, near: Path) -> Path | None:
        """The file that an import in `near` means, or None: not there, or beyond the folders."""
        if urlsplit(location).scheme:
            name = urlsplit(location).path.rpartition("/")[2]
            candidates = [root / name for root in self._roots] if name else []
        else:
            candidates = [near.parent / location, *(root / location for root in self._roots)]
        for candidate in candidates:
            path = candidate.resolve()
            if path.is_file() and any(path.is_relative_to(root) for root in self._roots):
                return path
        return None

    def read(self, path: Path) -> Element:
        """Raises XsdError."""
        try:
            return parse_xml(path.read_bytes())
        except OSError as error:
            raise XsdError(f"{path}: {error.strerror or 'it cannot be read'}") from error
        except XmlError as error:
            raise XsdError(f"{path}: {error}") from error
