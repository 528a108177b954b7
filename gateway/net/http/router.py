"""Path templates in the style of google.api.http, and the router over them.

Template syntax: literal segments, `{name}` (one segment), `{name=a/*/b}` and `{name=**}` (several), `*`, `**`, and a
verb after the last segment (`:cancel`). https://google.aip.dev/127, google/api/http.proto "Path template syntax".
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Generic, TypeVar
from urllib.parse import quote, unquote

H = TypeVar("H")

_VARIABLE = re.compile(r"\{([A-Za-z_][\w.-]*)(?:=([^{}]*))?\}")


class PathTemplate:
    """A parsed template. Raises ValueError, with what is wrong, for a malformed one."""

    __slots__ = ("literal", "names", "pattern", "rank", "text")

    def __init__(self, text: str) -> None:
        if not text.startswith("/"):
            raise ValueError("a path starts with /")
        self.text = text
        self.names: tuple[str, ...] = ()
        self.literal = not any(c in text for c in "{}*")
        expression, rank = self._compile(text)
        self.pattern = re.compile(expression)
        # More literal text first, so that /orders/latest wins over /orders/{id} whichever was declared first.
        self.rank = rank

    def _compile(self, text: str) -> tuple[str, tuple[int, ...]]:
        names: list[str] = []
        out: list[str] = []
        ranks: list[int] = []
        at = 0
        for match in _VARIABLE.finditer(text):
            _literal(text[at : match.start()], out, ranks)
            name, sub = match.groups()
            if name in names:
                raise ValueError(f"{{{name}}} stands twice")
            names.append(name)
            out.append("(" + _wildcards("*" if sub is None else sub, ranks) + ")")
            at = match.end()
        _literal(text[at:], out, ranks)
        self.names = tuple(names)
        return "".join(out), tuple(ranks)

    def match(self, path: str) -> dict[str, str] | None:
        """The captures of a raw (still percent-encoded) path, decoded; None where it does not match."""
        found = self.pattern.fullmatch(path)
        if found is None:
            return None
        return {name: unquote(value, errors="strict") for name, value in zip(self.names, found.groups(), strict=True)}

    def fill(self, params: Mapping[str, Any]) -> str:
        """The path with these captures, percent-encoded; a slash too, unless the variable spans segments.

        Raises KeyError for a capture that is not there.
        """

        def value(variable: re.Match[str]) -> str:
            name, sub = variable.groups()
            return quote(str(params[name]), safe="/" if sub and ("/" in sub or "**" in sub) else "")

        return self.text if self.literal else _VARIABLE.sub(value, self.text)

    def __str__(self) -> str:
        return self.text

    @property
    def shape(self) -> str:
        """Equal for two templates that match the same paths."""
        return self.pattern.pattern


def _literal(text: str, out: list[str], ranks: list[int]) -> None:
    if "{" in text or "}" in text:
        raise ValueError("unbalanced or malformed {variable}")
    out.append(_wildcards(text, ranks))


def _wildcards(text: str, ranks: list[int]) -> str:
    parts = re.split(r"(\*\*|\*)", text)
    out = []
    for part in parts:
        if part == "**":
            ranks.append(2)
            out.append(".*")
        elif part == "*":
            ranks.append(1)
            out.append(r"[^/]+")
        else:
            ranks.extend([0] * part.count("/"))
            out.append(re.escape(part))
    return "".join(out)


class HttpRouter(Generic[H]):
    """Finds a handler by method and path: a dictionary for literal paths, ranked patterns for the rest."""

    def __init__(self, routes: Iterable[tuple[str, PathTemplate, H]]) -> None:
        self._literal: dict[str, dict[str, H]] = {}
        patterns: dict[str, tuple[PathTemplate, dict[str, H]]] = {}
        for method, template, handler in routes:
            if template.literal:
                self._literal.setdefault(template.text, {})[method] = handler
            else:
                patterns.setdefault(template.shape, (template, {}))[1][method] = handler
        self._patterns = sorted(patterns.values(), key=lambda entry: entry[0].rank)

    def find(self, method: str, path: str) -> tuple[H | None, dict[str, str] | None, tuple[str, ...]]:
        """(handler, captures, methods allowed at this path). No handler and no methods: no such path.

        HEAD is served by GET where it has no handler of its own. Raises ValueError for a path that is not UTF-8.
        """
        allowed: tuple[str, ...] = ()
        methods = self._literal.get(path)
        if methods is not None:
            handler = methods.get(method) or (methods.get("GET") if method == "HEAD" else None)
            if handler is not None:
                return handler, None, ()
            allowed = tuple(methods)
        for template, methods in self._patterns:
            captures = template.match(path)
            if captures is not None:
                handler = methods.get(method) or (methods.get("GET") if method == "HEAD" else None)
                if handler is not None:
                    return handler, captures, ()
                allowed += tuple(methods)
        return None, None, allowed
