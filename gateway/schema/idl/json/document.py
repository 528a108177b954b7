"""JSON and YAML contract files, safely: bounded, nothing remote is fetched, files that they refer to are taken in."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

import msgspec
import yaml

SIZE: Final = 16 * 1024 * 1024
NODES: Final = 1_000_000
NESTING: Final = 256
FILES: Final = "x-files"
"""The member of a loaded document that holds the other files that it refers to."""

Pointer = tuple[str, ...]

_DATA: Final = frozenset({"example", "examples", "default", "enum", "const"})
"""Keywords whose values are data, in which a $ref is no reference."""
_NAMED: Final = frozenset(
    {
        "properties",
        "patternProperties",
        "$defs",
        "definitions",
        "dependentSchemas",
        "schemas",
        "responses",
        "parameters",
    }
)
"""Keywords whose members are named by the author, so that a member called `example` is no example."""


class JsonDocumentError(ValueError):
    """A file that can't be read or that refers to what is not there.

    pointer: where, as a URI fragment such as #/components/schemas/Order.
    """

    def __init__(self, message: str, pointer: Pointer = (), hint: str = "") -> None:
        super().__init__(f"{fragment(pointer)}: {message}" if pointer else message)
        self.message = message
        self.pointer = pointer
        self.hint = hint


def fragment(pointer: Pointer) -> str:
    """The pointer as RFC 6901 writes it in a URI."""
    return "#" + "".join("/" + step.replace("~", "~0").replace("/", "~1") for step in pointer)


def parse_fragment(reference: str) -> Pointer:
    """The pointer of "#/a/b". Raises ValueError for anything else."""
    if reference in ("#", ""):
        return ()
    if not reference.startswith("#/"):
        raise ValueError(f"{reference!r} is not a JSON pointer")
    return tuple(unquote(step).replace("~1", "/").replace("~0", "~") for step in reference[2:].split("/"))


def at(document: Any, pointer: Pointer) -> Any:
    """What the pointer points to. Raises JsonDocumentError."""
    value = document
    for step in pointer:
        if isinstance(value, Mapping) and step in value:
            value = value[step]
        elif isinstance(value, list) and step.isdigit() and int(step) < len(value):
            value = value[int(step)]
        else:
            raise JsonDocumentError("there is nothing here", pointer)
    return value


def load(path: Path) -> dict[str, Any]:
    """A document whose references are all local.

    A relative reference leads to a file in the document's own folder or below it, which is taken in under FILES; one
    that leads out of it, or to another host, is refused. Raises JsonDocumentError.
    """
    return _Loader(path).load()


class _Loader:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._folder = path.parent.resolve()
        self._files: dict[str, Any] = {}
        self._identity = ""

    def load(self) -> dict[str, Any]:
        document = _read(self._path)
        if not isinstance(document, dict):
            raise JsonDocumentError(f"{self._path.name}: an object is expected")
        self._identity = str(document.get("$id", "")).rstrip("#")
        self._localise(document, self._path.name, ())
        if self._files:
            document[FILES] = self._files
        return document

    def _localise(self, document: Any, file: str, prefix: Pointer) -> None:
        for node, where in _references(document, ()):
            reference = node["$ref"]
            try:
                node["$ref"] = self._local(reference, file, prefix)
            except ValueError as error:
                raise JsonDocumentError(str(error), (*where, "$ref")) from None

    def _local(self, reference: str, file: str, prefix: Pointer) -> str:
        name, _, pointer = reference.partition("#")
        if self._identity and name == self._identity:
            name, file, prefix = "", self._path.name, ()
        if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:|//", name):
            raise ValueError(f"{reference!r} is remote, which is never fetched; save it beside the document")
        inside = parse_fragment("#" + pointer)
        if not name:
            return fragment((*prefix, *inside))
        target = (self._folder / file).parent / unquote(name)
        try:
            other = str(target.resolve().relative_to(self._folder))
        except ValueError:
            raise ValueError(f"{reference!r} leads out of the document's folder") from None
        if other == self._path.name:
            return fragment(inside)
        if other not in self._files:
            self._files[other] = content = _read(target)
            self._localise(content, other, (FILES, other))
        return fragment((FILES, other, *inside))


def _read(path: Path) -> Any:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise JsonDocumentError(f"{path.name} can't be read: {error.strerror}") from None
    if len(content) > SIZE:
        raise JsonDocumentError(f"{path.name} is larger than {SIZE} bytes")
    try:
        if path.suffix.lower() in (".yaml", ".yml"):
            return _Tree().plain(yaml.load(content, Loader=_YamlLoader), 0)  # noqa: S506  a safe loader's subclass
        return _Tree().plain(msgspec.json.decode(content), 0)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        raise JsonDocumentError(f"{path.name}{where} is not YAML: {error.problem}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise JsonDocumentError(f"{path.name} can't be parsed: {str(error).splitlines()[0]}") from None


class _YamlLoader(yaml.CSafeLoader):
    """YAML's JSON schema (YAML 1.2, 10.2): no dates, and neither `on` nor `no` is a boolean."""


_YamlLoader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"null|Null|NULL|~|", "nN~\0"),
    ("int", r"[-+]?[0-9]+", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("merge", r"<<", "<"),
):
    _YamlLoader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}",
        re.compile(f"(?:{_pattern})$"),
        ["" if first == "\0" else first for first in _first],
    )


class _Tree:
    """Copies what a parser made into a tree of plain JSON values: aliases expanded, keys text, all of it bounded."""

    def __init__(self) -> None:
        self._nodes = 0

    def plain(self, value: Any, depth: int) -> Any:
        self._nodes += 1
        if self._nodes > NODES or depth > NESTING:
            raise JsonDocumentError("too large or too deep once its aliases are expanded")
        match value:
            case dict():
                return {_key(key): self.plain(item, depth + 1) for key, item in value.items()}
            case list():
                return [self.plain(item, depth + 1) for item in value]
            case None | bool() | int() | float() | str():
                return value
            case _:
                raise JsonDocumentError(f"{value!r} has no form in JSON")


def _key(key: Any) -> str:
    if isinstance(key, bool):
        return "true" if key else "false"
    return str(key)


def _references(value: Any, where: Pointer) -> Iterator[tuple[dict[str, Any], Pointer]]:
    """Every object with a $ref, and where it is."""
    match value:
        case dict():
            if isinstance(value.get("$ref"), str):
                yield value, where
            named = bool(where) and where[-1] in _NAMED
            for key, item in value.items():
                if named or key not in _DATA:
                    yield from _references(item, (*where, key))
        case list():
            for index, item in enumerate(value):
                yield from _references(item, (*where, str(index)))
        case _:
            pass
