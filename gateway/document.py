"""A YAML document with the position of each value and its environment variables filled in."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from gateway.problem import ConfigError, Problem

Keys = tuple[str | int, ...]

SIZE: Final = 8 * 1024 * 1024
NODES: Final = 1_000_000
_VARIABLE: Final = re.compile(r"\$\$|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")


class _Loader(yaml.CSafeLoader):
    pass


class Document:
    """data: the values. Positions are asked by path of keys."""

    def __init__(self, file: str, data: Any, marks: Mapping[Keys, tuple[int, int]]) -> None:
        self.file = file
        self.data = data
        self._marks = marks

    def has(self, keys: Sequence[str | int]) -> bool:
        """Whether there is a value at these keys."""
        return tuple(keys) in self._marks

    def problem(self, keys: Sequence[str | int], message: str, hint: str = "", *, fatal: bool = True) -> Problem:
        """A problem at the value of these keys, or at the nearest one above it that exists."""
        at = tuple(keys)
        while at and at not in self._marks:
            at = at[:-1]
        line, column = self._marks.get(at, (1, 1))
        return Problem(message, self.file, line, column, dotted(keys), hint, fatal)


def dotted(keys: Sequence[str | int]) -> str:
    """routes.place-order.to.method; indices in brackets."""
    text = ""
    for key in keys:
        text += f"[{key}]" if isinstance(key, int) else f".{key}" if text else key
    return text


def load(path: Path, environment: Mapping[str, str] | None = None) -> Document:
    """Read and fill in ${VAR} and ${VAR:-default}; $$ is a dollar sign. Raises ConfigError with all problems."""
    file = str(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError([Problem(f"can't be read: {error.strerror}", file)]) from None
    if len(content) > SIZE:
        raise ConfigError([Problem(f"larger than {SIZE} bytes", file)])
    return parse(content, file, os.environ if environment is None else environment)


def parse(content: bytes, file: str, environment: Mapping[str, str]) -> Document:
    """As load, of content in memory."""
    try:
        root = yaml.compose(content.decode(), Loader=_Loader)
    except UnicodeDecodeError:
        raise ConfigError([Problem("not valid UTF-8", file)]) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        message = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise ConfigError([Problem(f"not YAML: {message}", file, line, column)]) from None
    if root is None:
        raise ConfigError([Problem("the file is empty", file, hint="see the shipped routes.yaml")])
    builder = _Builder(file, environment)
    data = builder.value(root, ())
    if builder.problems:
        raise ConfigError(builder.problems)
    return Document(file, data, builder.marks)


class _Builder:
    def __init__(self, file: str, environment: Mapping[str, str]) -> None:
        self.marks: dict[Keys, tuple[int, int]] = {}
        self.problems: list[Problem] = []
        self._file = file
        self._environment = environment
        self._resolver = _Loader("")
        self._nodes = 0

    def value(self, node: yaml.Node, keys: Keys) -> Any:
        self._nodes += 1
        if self._nodes > NODES or len(keys) > 64:
            # Aliases can make a small file huge.
            raise ConfigError([Problem("too large or too deep once its aliases are expanded", self._file)])
        self.marks.setdefault(keys, self._at(node))
        match node:
            case yaml.MappingNode():
                return self._mapping(node, keys)
            case yaml.SequenceNode():
                return [self.value(item, (*keys, index)) for index, item in enumerate(node.value)]
            case yaml.ScalarNode():
                return self._scalar(node, keys)
            case _:
                raise TypeError(type(node))

    def _mapping(self, node: yaml.MappingNode, keys: Keys) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._report(key_node, keys, "a key must be text")
                continue
            key = key_node.value
            if key in found:
                self._report(key_node, (*keys, key), "given twice")
            self.marks[(*keys, key)] = self._at(key_node)
            found[key] = self.value(value_node, (*keys, key))
        return found

    def _scalar(self, node: yaml.ScalarNode, keys: Keys) -> Any:
        text: str = node.value
        filled = _VARIABLE.sub(lambda match: self._fill(match, node, keys), text) if "$" in text else text
        if filled != text and node.style is None:
            # An unquoted ${PORT} may be a number.
            tag = self._resolver.resolve(yaml.ScalarNode, filled, (True, False))  # type: ignore[no-untyped-call]
            node = yaml.ScalarNode(tag, filled, node.start_mark, node.end_mark)
        elif filled != text:
            node = yaml.ScalarNode(node.tag, filled, node.start_mark, node.end_mark)
        if node.tag in ("tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:value"):
            return filled
        try:
            return self._resolver.construct_object(node)
        except (yaml.YAMLError, ValueError) as error:
            self._report(node, keys, f"not a value: {getattr(error, 'problem', error)}")
            return None

    def _fill(self, match: re.Match[str], node: yaml.Node, keys: Keys) -> str:
        name, default = match.groups()
        if name is None:
            return "$"
        value = self._environment.get(name) or default
        if value is None:
            self._report(
                node, keys, f"environment variable {name} is not set", f"set it, or write ${{{name}:-default}}"
            )
            return ""
        return value

    def _report(self, node: yaml.Node, keys: Keys, message: str, hint: str = "") -> None:
        line, column = self._at(node)
        self.problems.append(Problem(message, self._file, line, column, dotted(keys), hint))

    @staticmethod
    def _at(node: yaml.Node) -> tuple[int, int]:
        return node.start_mark.line + 1, node.start_mark.column + 1
