"""Thrift IDL text -> its syntax tree. https://thrift.apache.org/docs/idl

Annotations are kept wherever they stand; doc comments are those of Apache's compiler, /** ... */.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final, TypeAlias, TypeVar

BASE_TYPES: Final = frozenset({"bool", "byte", "i8", "i16", "i32", "i64", "double", "string", "binary", "uuid"})
_CONTAINERS: Final = {"list": 1, "set": 1, "map": 2}
_TOKEN: Final = re.compile(
    r"""(?P<space>\s+|//[^\n]*|\#[^\n]*|/\*\*/|/\*(?!\*)(?s:.*?)\*/)
    |(?P<doc>/\*\*(?s:.*?)\*/)
    |(?P<literal>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
    |(?P<double>[+-]?(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[+-]?[0-9]+[eE][+-]?[0-9]+)
    |(?P<integer>[+-]?(?:0[xX][0-9a-fA-F]+|[0-9]+))
    |(?P<name>[A-Za-z_][A-Za-z0-9_.]*)
    |(?P<symbol>[:;,=*{}()<>\[\]&])""",
    re.VERBOSE,
)
_ESCAPE: Final = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\", '"': '"', "'": "'"}
_N = TypeVar("_N")


class ThriftError(ValueError):
    """The file can't be read, or the contract can't be carried; the text says where and why."""


class Requiredness(Enum):
    REQUIRED = "required"
    OPTIONAL = "optional"
    DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Name:
    """A reference to a constant or an enumeration's value."""

    text: str
    line: int


Constant: TypeAlias = "bool | int | float | str | Name | list[Constant] | Pairs"


@dataclass(frozen=True, slots=True)
class Pairs:
    """A constant map, or a struct by its members' names."""

    items: "Sequence[tuple[Constant, Constant]]"


@dataclass(frozen=True, slots=True)
class TypeNode:
    """name: a base type, list, set, map, or the name of a definition. arguments: of a container."""

    name: str
    arguments: "Sequence[TypeNode]"
    annotations: Mapping[str, str]
    line: int


@dataclass(frozen=True, slots=True)
class FieldNode:
    id: int
    name: str
    type: TypeNode
    requiredness: Requiredness
    default: "Constant | None"
    annotations: Mapping[str, str]
    doc: str
    line: int


@dataclass(frozen=True, slots=True)
class TypedefNode:
    name: str
    type: TypeNode
    line: int


@dataclass(frozen=True, slots=True)
class ConstNode:
    name: str
    type: TypeNode
    value: Constant
    line: int


@dataclass(frozen=True, slots=True)
class EnumNode:
    name: str
    numbers: Mapping[str, int]
    line: int


@dataclass(frozen=True, slots=True)
class StructNode:
    """kind: struct, union or exception."""

    kind: str
    name: str
    fields: Sequence[FieldNode]
    doc: str
    line: int


@dataclass(frozen=True, slots=True)
class FunctionNode:
    """reply: None for void."""

    name: str
    oneway: bool
    reply: TypeNode | None
    arguments: Sequence[FieldNode]
    throws: Sequence[FieldNode]
    doc: str
    line: int


@dataclass(frozen=True, slots=True)
class ServiceNode:
    """extends: the base service's name, or empty."""

    name: str
    extends: str
    functions: Sequence[FunctionNode]
    doc: str
    line: int


Definition: TypeAlias = TypedefNode | ConstNode | EnumNode | StructNode | ServiceNode


@dataclass(frozen=True, slots=True)
class Document:
    """One file. includes: as written, in order."""

    path: Path
    text: str
    includes: Sequence[str]
    definitions: Mapping[str, Definition]

    @property
    def program(self) -> str:
        """The name by which other files refer to what is in this one."""
        return self.path.stem


def read_document(path: Path) -> Document:
    """Raises ThriftError."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ThriftError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ThriftError(f"{path}: the file is not UTF-8") from error
    return _Parser(path, text).document()


@dataclass(frozen=True, slots=True)
class _Token:
    """doc: the doc comment right before it."""

    kind: str
    text: str
    at: int
    doc: str = ""


class _Parser:
    def __init__(self, path: Path, text: str) -> None:
        self._path = path
        self._text = text
        self._tokens = self._split()
        self._at = 0

    def document(self) -> Document:
        includes: list[str] = []
        while self._next.text in ("include", "cpp_include", "namespace"):
            match self._take().text:
                case "include":
                    includes.append(self._literal())
                case "cpp_include":
                    self._literal()
                case _:
                    self._take()  # the language, or *
                    self._name()
                    self._annotations()
            self._separator()
        definitions: dict[str, Definition] = {}
        while self._next.kind != "end":
            definition = self._definition()
            if definition.name in definitions:
                raise self._error(f"{definition.name} is defined twice", line=definition.line)
            definitions[definition.name] = definition
            self._separator()
        return Document(self._path, self._text, includes, definitions)

    # -- tokens

    def _split(self) -> list[_Token]:
        tokens: list[_Token] = []
        at, doc = 0, ""
        while at < len(self._text):
            match = _TOKEN.match(self._text, at)
            if match is None:
                raise self._error(f"unexpected {self._text[at]!r}", line=self._text.count("\n", 0, at) + 1)
            kind = match.lastgroup or ""
            if kind == "doc":
                doc = _doc(match[0])
            elif kind != "space":
                tokens.append(_Token(kind, match[0], at, doc))
                doc = ""
            at = match.end()
        tokens.append(_Token("end", "the end of the file", at))
        return tokens

    @property
    def _next(self) -> _Token:
        return self._tokens[self._at]

    def _take(self) -> _Token:
        token = self._tokens[self._at]
        if token.kind != "end":
            self._at += 1
        return token

    def _line(self, token: _Token) -> int:
        return self._text.count("\n", 0, token.at) + 1

    def _error(self, message: str, *, line: int = 0) -> ThriftError:
        return ThriftError(f"{self._path}:{line or self._line(self._next)}: {message}")

    def _skip(self, text: str) -> bool:
        """Whether the next token was this one, which is then taken."""
        found = self._next.text == text and self._next.kind in ("symbol", "name")
        if found:
            self._at += 1
        return found

    def _expect(self, text: str) -> None:
        if not self._skip(text):
            raise self._error(f"{text} expected, not {self._next.text}")

    def _name(self) -> str:
        if self._next.kind != "name":
            raise self._error(f"a name expected, not {self._next.text}")
        return self._take().text

    def _literal(self) -> str:
        if self._next.kind != "literal":
            raise self._error(f"a quoted text expected, not {self._next.text}")
        return re.sub(r"\\(.)", lambda found: _ESCAPE.get(found[1], found[0]), self._take().text[1:-1])

    def _integer(self) -> int:
        if self._next.kind != "integer":
            raise self._error(f"an integer expected, not {self._next.text}")
        text = self._take().text
        return int(text, 16) if "x" in text.lower() else int(text)

    def _separator(self) -> None:
        if self._next.text in (",", ";"):
            self._take()

    def _annotations(self) -> Mapping[str, str]:
        found: dict[str, str] = {}
        if self._skip("("):
            while not self._skip(")"):
                name = self._name()
                found[name] = self._literal() if self._skip("=") else ""
                self._separator()
        return found

    def _members(self, open_: str, close: str, member: Callable[[], _N]) -> list[_N]:
        self._expect(open_)
        found = []
        while not self._skip(close):
            if self._next.kind == "end":
                raise self._error(f"{close} expected, not {self._next.text}")
            found.append(member())
            self._separator()
        return found

    # -- definitions

    def _definition(self) -> Definition:
        token = self._take()
        line = self._line(token)
        match token.text:
            case "typedef":
                aliased = self._type()
                name = self._name()
                return TypedefNode(name, _annotated(aliased, self._annotations()), line)
            case "const":
                type_ = self._type()
                name = self._name()
                self._expect("=")
                value = self._constant()
                self._annotations()
                return ConstNode(name, type_, value, line)
            case "enum":
                return self._enum(line)
            case "struct" | "union" | "exception":
                name = self._name()
                fields = self._fields("{", "}")
                self._annotations()
                return StructNode(token.text, name, fields, token.doc, line)
            case "service":
                name = self._name()
                extends = self._name() if self._skip("extends") else ""
                functions = self._members("{", "}", self._function)
                self._unique([(function.name, function.line) for function in functions], name)
                self._annotations()
                return ServiceNode(name, extends, functions, token.doc, line)
            case _:
                raise self._error(f"a definition expected, not {token.text}", line=line)

    def _enum(self, line: int) -> EnumNode:
        name = self._name()
        numbers: dict[str, int] = {}
        following = 0

        def member() -> None:
            nonlocal following
            label = self._name()
            if label in numbers:
                raise self._error(f"{name}.{label} is there twice")
            numbers[label] = self._integer() if self._skip("=") else following
            following = numbers[label] + 1
            if not -(2**31) <= numbers[label] < 2**31:
                raise self._error(f"{name}.{label} is out of the range of i32")
            self._annotations()

        self._members("{", "}", member)
        self._annotations()
        if not numbers:
            raise self._error(f"the enum {name} has no values", line=line)
        return EnumNode(name, numbers, line)

    def _function(self) -> FunctionNode:
        token = self._next
        oneway = self._skip("oneway")
        reply = None if self._skip("void") else self._type()
        name = self._name()
        arguments = self._fields("(", ")")
        throws = self._fields("(", ")") if self._skip("throws") else []
        self._annotations()
        line = self._line(token)
        if oneway and (reply is not None or throws):
            raise self._error(f"the oneway function {name} can't reply", line=line)
        return FunctionNode(name, oneway, reply, arguments, throws, token.doc, line)

    def _fields(self, open_: str, close: str) -> list[FieldNode]:
        implicit = 0

        def field() -> FieldNode:
            nonlocal implicit
            token = self._next
            if token.kind == "integer":
                number = self._integer()
                self._expect(":")
            else:
                implicit -= 1
                number = implicit
            if not -(2**15) <= number < 2**15:
                raise self._error(f"the field id {number} is out of the range of i16", line=self._line(token))
            requiredness = Requiredness.DEFAULT
            if self._skip("required"):
                requiredness = Requiredness.REQUIRED
            elif self._skip("optional"):
                requiredness = Requiredness.OPTIONAL
            type_ = self._type()
            self._skip("&")
            name = self._name()
            default = self._constant() if self._skip("=") else None
            annotations = self._annotations()
            return FieldNode(number, name, type_, requiredness, default, annotations, token.doc, self._line(token))

        fields = self._members(open_, close, field)
        self._unique([(one.name, one.line) for one in fields], "the field")
        self._unique([(one.id, one.line) for one in fields], "the field id")
        return fields

    def _unique(self, keys: Sequence[tuple[object, int]], what: str) -> None:
        seen: set[object] = set()
        for key, line in keys:
            if key in seen:
                raise self._error(f"{what} {key} is there twice", line=line)
            seen.add(key)

    def _type(self) -> TypeNode:
        line = self._line(self._next)
        name = self._name()
        arguments: list[TypeNode] = []
        if name in _CONTAINERS:
            if self._skip("cpp_type"):
                self._literal()
            self._expect("<")
            for index in range(_CONTAINERS[name]):
                if index:
                    self._expect(",")
                arguments.append(self._type())
            self._expect(">")
        return TypeNode(name, arguments, self._annotations(), line)

    def _constant(self) -> Constant:
        token = self._next
        match token.kind:
            case "integer":
                return self._integer()
            case "double":
                return float(self._take().text)
            case "literal":
                return self._literal()
            case "name":
                self._take()
                if token.text in ("true", "false"):
                    return token.text == "true"
                return Name(token.text, self._line(token))
            case _ if token.text == "[":
                return self._members("[", "]", self._constant)
            case _ if token.text == "{":
                return Pairs(self._members("{", "}", self._pair))
            case _:
                raise self._error(f"a value expected, not {token.text}")

    def _pair(self) -> tuple[Constant, Constant]:
        key = self._constant()
        self._expect(":")
        return key, self._constant()


def _annotated(node: TypeNode, annotations: Mapping[str, str]) -> TypeNode:
    return TypeNode(node.name, node.arguments, {**node.annotations, **annotations}, node.line)


def _doc(comment: str) -> str:
    lines = [line.strip().removeprefix("*").strip() for line in comment[3:-2].splitlines()]
    return "\n".join(lines).strip()
