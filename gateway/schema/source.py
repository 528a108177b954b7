"""Generated code: every compiled codec and mapping is Python source that tracebacks and `explain` can show."""

import itertools
import linecache
from collections.abc import Mapping
from typing import Any

_serial = itertools.count(1)


def build(name: str, source: str, namespace: Mapping[str, Any]) -> dict[str, Any]:
    """Execute generated source in a copy of the namespace and return what it defines, names included.

    The source is registered in linecache, so a traceback through it shows its lines.
    """
    filename = f"<generated {name} {next(_serial)}>"
    scope: dict[str, Any] = dict(namespace)
    exec(compile(source, filename, "exec"), scope)  # noqa: S102  the source is ours: no input reaches it unquoted
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    return scope
