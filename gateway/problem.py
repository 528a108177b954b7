"""Problem: what is wrong with a configuration, where, and what to write instead."""

from collections.abc import Sequence

import msgspec


class Problem(msgspec.Struct, frozen=True):
    """fatal: False for a loss that `check` reports and `check --strict` refuses."""

    message: str
    file: str = ""
    line: int = 0
    column: int = 0
    path: str = ""
    hint: str = ""
    fatal: bool = True

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:{self.column}: " if self.line else f"{self.file}: " if self.file else ""
        path = f"{self.path}: " if self.path else ""
        hint = f" ({self.hint})" if self.hint else ""
        return f"{where}{path}{self.message}{hint}"


class ConfigError(Exception):
    """Everything that is wrong, at once."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = tuple(problems)
