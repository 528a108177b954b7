"""Conversion of plain values from one type to another, by convention of names, as generated source.

Lossless or loud: what a pair of types can't keep is collected as a Finding while the route is compiled, and a value
that does not fit is refused at run time with its path.
"""

import builtins
import copy
import keyword
import math
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Final

import msgspec
from msgspec import UNSET

from gateway.codecs.json.format import JsonFormat, read
from gateway.schema import text
from gateway.schema.names import convention, enum_convention
from gateway.schema.source import build
from gateway.schema.types import (
    FLOATS,
    INTEGER_RANGE,
    INTEGERS,
    Enumeration,
    Field,
    Kind,
    List,
    Map,
    Record,
    Scalar,
    Type,
)
from gateway.schema.values import struct_of
from gateway.status import invalid


class Finding(msgspec.Struct, frozen=True):
    """What compiling a translation found. path: where in the target or source, as $.lines[].sku.

    fatal: the route can't be served so; otherwise it is a loss that `check` reports.
    """

    path: str
    message: str
    hint: str = ""
    fatal: bool = False


_LOCALS: Final = frozenset(
    {"s", "r", "p", "h", "k", "v", "x", "key", "apply", "convert", *keyword.kwlist, *dir(builtins)}
)
"""Names that the generated functions use themselves."""


class Converter:
    """Collects generated functions that share one namespace, and the findings on the way."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self._names: dict[tuple[int, int], str] = {}
        self._kept: list[Any] = []  # records by whose id functions are known
        self._source: list[str] = []
        self._namespace: dict[str, Any] = dict(_NAMESPACE)

    def constant(self, value: Any) -> str:
        """A name for the value in the generated source."""
        # Types and functions go by their own names, so that `explain` reads well.
        name = getattr(value, "__name__", "constant").lstrip("_")
        if name in self._namespace and self._namespace[name] is value:
            return name
        if name in self._namespace or name in _LOCALS or not name.isidentifier() or name[-1].isdigit():
            name = f"{name if name.isidentifier() else 'constant'}_{len(self._namespace)}"
        self._namespace[name] = value
        return name

    def function(self, lines: str) -> None:
        """Add a generated function."""
        self._source.append(lines)

    def build(self, title: str) -> tuple[dict[str, Any], str]:
        """(everything defined by name, the source)."""
        source = "\n\n".join(self._source) + "\n"
        return build(title, source, self._namespace), source

    def lose(self, path: str, message: str, hint: str = "") -> None:
        self.findings.append(Finding(path, message, hint))

    def refuse(self, path: str, message: str, hint: str = "") -> None:
        self.findings.append(Finding(path, message, hint, fatal=True))

    def expression(self, source: Type, target: Type, value: str, path: str) -> str:
        """Python that makes `value`, a plain value of source, one of target."""
        if source == target:
            return value
        match source, target:
            case _, Scalar(Kind.ANY):
                return f"{self.constant(_to_any(source))}({value})"
            case Scalar(Kind.ANY), _:
                return f"read({self.constant(target)}, {value}, path={path!r})"
            case Scalar(), Scalar():
                return self._scalar(source.kind, target.kind, value, path)
            case Enumeration(), Enumeration():
                return self._enum(source, target, value, path)
            case Enumeration(), Scalar(Kind.STRING):
                return f"str({value})"
            case Enumeration(), Scalar(kind) if kind in INTEGERS:
                numbers = self.constant(dict(source.numbers))
                return f"{numbers}.get({value}, {value})"
            case Scalar(Kind.STRING), Enumeration():
                self.lose(path, f"text that is no name of {target} is refused")
                table = enum_convention(target.name, target.numbers) | {name: name for name in target.numbers}
                return f"named({value}, {self.constant(table)}, {str(target)!r}, {path!r})"
            case Scalar(kind), Enumeration() if kind in INTEGERS:
                return f"read({self.constant(target)}, {value}, path={path!r})"
            case List(item), List(wanted):
                return self._list(source, target, item, wanted, value, path)
            case Map(), Map():
                return self._map(source, target, value, path)
            case Record(), Record():
                return f"{self._record(source, target, path)}({value})"
            case List(), _:
                self.refuse(path, f"a list can't fill the single {target}", "take one item, as $.items[0]")
            case _, List():
                self.refuse(path, f"a single {source} can't fill a list", "map it with {each: ..., map: ...}")
            case _:
                self.refuse(path, f"{source} can't become {target}")
        return value

    def _scalar(self, source: Kind, target: Kind, value: str, path: str) -> str:
        match source, target:
            case _, Kind.STRING:
                return f"format_{source.value}({value})"
            case Kind.STRING, _:
                self.lose(path, f"text that is not a valid {target.value} is refused")
                return f"parsed({value}, parse_{target.value}, {path!r})"
            case (low, high) if low in INTEGERS and high in INTEGERS:
                if high is Kind.INTEGER or (low is not Kind.INTEGER and _within(low, high)):
                    return value
                self.lose(path, f"{source.value} narrows to {target.value}: what is out of its range is refused")
                return f"fit_{target.value}({value}, {path!r})"
            case (low, high) if low in INTEGERS and high in FLOATS:
                if (low in (Kind.INT32, Kind.UINT32)) and high is Kind.FLOAT64:
                    return f"float({value})"
                self.lose(path, f"{source.value} becomes {target.value}: what it can't hold exactly is refused")
                return f"exact_{target.value}({value}, {path!r})"
            case (low, Kind.DECIMAL) if low in INTEGERS:
                return f"Decimal({value})"
            case Kind.FLOAT32, Kind.DECIMAL:
                return f"decimal_of_float(shortest_float32({value}), {path!r})"
            case Kind.FLOAT64, Kind.DECIMAL:
                return f"decimal_of_float({value}, {path!r})"
            case (Kind.DECIMAL, high) if high in FLOATS:
                self.lose(path, f"decimal becomes {target.value}: digits that it can't hold are lost")
                return f"near_{target.value}({value}, {path!r})"
            case ((Kind.DECIMAL | Kind.FLOAT32 | Kind.FLOAT64), high) if high in INTEGERS:
                self.lose(path, f"{source.value} becomes {target.value}: fractions are refused")
                return f"read({self.constant(Scalar(target))}, decimal_of_float({value}, {path!r}), path={path!r})"
            case Kind.FLOAT32, Kind.FLOAT64:
                return f"shortest_float32({value})"
            case Kind.FLOAT64, Kind.FLOAT32:
                self.lose(path, "float64 becomes float32: digits that it can't hold are lost")
                return f"near_float32({value}, {path!r})"
        hint = (
            "declare the unit: map it in the other contract as a timestamp"
            if Kind.TIMESTAMP in (source, target)
            else ""
        )
        self.refuse(path, f"{source.value} can't become {target.value}", hint)
        return value

    def _enum(self, source: Enumeration, target: Enumeration, value: str, path: str) -> str:
        wanted = enum_convention(target.name, target.numbers)
        table = {
            name: name if name in target.numbers else wanted[key]
            for key, name in enum_convention(source.name, source.numbers).items()
            if name in target.numbers or key in wanted
        }
        missing = [name for name in source.numbers if name not in table]
        if not table:
            self.refuse(path, f"{source} and {target} have no name in common", "give a table: {from: ..., enum: {...}}")
        elif missing:
            self.lose(path, f"{', '.join(missing)} of {source} has no counterpart in {target}: it is refused")
        named = f"named({value}, {self.constant(table)}, {str(target)!r}, {path!r})"
        if source.open and target.open:
            return f"({value} if {value}.__class__ is int else {named})"
        return named

    def _list(self, source: List, target: List, item: Type, wanted: Type, value: str, path: str) -> str:
        inner = self.expression(item, wanted, "x", f"{path}[]")
        if source.nullable and not target.nullable:
            self.lose(f"{path}[]", "a null item is refused")
            return f"[{inner} for x in no_nulls({value}, {path!r})]"
        if inner == "x":
            return value
        return f"[{'None if x is None else ' if source.nullable else ''}{inner} for x in {value}]"

    def _map(self, source: Map, target: Map, value: str, path: str) -> str:
        key = self.expression(source.key, target.key, "key", f"{path}.(key)")
        inner = self.expression(source.value, target.value, "x", f"{path}.*")
        if (key, inner) == ("key", "x"):
            return value
        converted = f"{{{key}: {inner} for key, x in {value}.items()}}"
        # "1" and "01" are two texts and one number.
        return converted if key == "key" else f"all_of({value}, {converted}, {path!r})"

    def _record(self, source: Record, target: Record, path: str) -> str:
        name = self._names.get((id(source), id(target)))
        if name is not None:
            return name
        name = self._names[id(source), id(target)] = f"convert_{len(self._names)}"
        self._kept.append((source, target))
        by_name = self.fields_by_convention(source, path)
        arguments = []
        for field in target.fields:
            match = by_name.pop(convention(field.name), None)
            if match is None:
                self.unfilled(target, field, f"{path}.{field.name}")
            else:
                arguments.append(f"{field.attr}={self.filled(match, field, f's.{match.attr}', f'{path}.{match.name}')}")
        for unused in by_name.values():
            self.lose(f"{path}.{unused.name}", f"dropped: {target} has no field for it")
        self.require_choices(target, {convention(field.name) for field in source.fields}, path)
        made = f"{self.constant(struct_of(target))}({', '.join(arguments)})"
        if not _keeps_choices(source, target):
            made = f"{self.constant(arms_check(target))}({made})"
        self.function(f"def {name}(s):\n    return {made}")
        return name

    def fields_by_convention(self, record: Record, path: str) -> dict[str, Field]:
        """Fields by their conventional name; a collision is refused."""
        fields: dict[str, Field] = {}
        for field in record.fields:
            other = fields.setdefault(convention(field.name), field)
            if other is not field:
                self.refuse(path, f"{other.name} and {field.name} of {record} are one name by convention", "map both")
        return fields

    def unfilled(self, record: Record, field: Field, path: str) -> None:
        """Nothing fills this field: fatal where it is required."""
        if field.required:
            self.refuse(path, f"{field.name} of {record} is required and nothing fills it", f"map {field.name}")

    def require_choices(self, record: Record, filled: set[str], path: str) -> None:
        for choice in record.choices:
            arms = [field.name for field in record.fields if field.choice == choice.name]
            if choice.required and not any(convention(arm) in filled for arm in arms):
                self.refuse(path, f"one of {', '.join(arms)} of {record} is required and nothing fills it", "map one")

    def filled(self, source: Field, target: Field, value: str, path: str) -> str:
        """Python that fills a target field from a source field's value, absence and null included."""
        absent = self.absent(target, path)
        tests = []
        if not source.required and source.default is UNSET:
            if target.required:
                self.lose(path, f"required by the target as {target.name}, optional here: refused when absent")
            tests.append("{} is U")
        if source.nullable and not target.nullable:
            if source.default is not None:  # else null is but how that contract says it
                self.lose(path, "null becomes absent")
            tests.append("{} is None")
        if dropped := self._unspecified(source, target):
            tests.append(f"{{}} == {dropped!r}")
        if source.nullable and target.nullable:
            nothing = f"None if {{}} is None else {absent} if {{}} is U else "
            tests = []
        else:
            nothing = ""
        if not tests and not nothing:
            return self.expression(source.type, target.type, value, path)
        converted = self.expression(source.type, target.type, "v", path)
        if nothing:
            return f"({nothing.format(f'(v := {value})', 'v')}{converted})"
        if converted == "v" and absent == "U" and tests == ["{} is U"]:
            return value
        first, *others = tests
        condition = " or ".join([first.format(f"(v := {value})"), *(test.format("v") for test in others)])
        return f"({absent} if {condition} else {converted})"

    def _unspecified(self, source: Field, target: Field) -> str:
        """The source enumeration's zero value, where it stands for absence and the target has no name for it."""
        if isinstance(source.type, Enumeration) and isinstance(target.type, Enumeration) and not target.required:
            default = source.default
            if isinstance(default, str) and default not in target.type.numbers:
                names = enum_convention(source.type.name, source.type.numbers)
                key = next(key for key, name in names.items() if name == default)
                if key not in enum_convention(target.type.name, target.type.numbers):
                    return default
        return ""

    def absent(self, target: Field, path: str) -> str:
        """Python for the field's value when its source is absent."""
        if target.required:
            return f"missing({path!r})"
        if target.default is UNSET:
            return "U"
        if target.default is None or isinstance(target.default, list | dict):
            return repr(target.default)
        return self.constant(target.default)


def _within(low: Kind, high: Kind) -> bool:
    return INTEGER_RANGE[high][0] <= INTEGER_RANGE[low][0] and INTEGER_RANGE[low][1] <= INTEGER_RANGE[high][1]


def _keeps_choices(source: Record, target: Record) -> bool:
    """Whether a value of the source always sets as many arms of each choice of the target as it may."""
    by_name = {convention(field.name): field for field in source.fields}
    for choice in target.choices:
        arms = [by_name.get(convention(field.name)) for field in target.fields if field.choice == choice.name]
        theirs = {arm.choice for arm in arms if arm is not None}
        if len(theirs) > 1 or "" in theirs:
            return False
        if choice.required:
            known = next((known for known in source.choices if known.name in theirs), None)
            whole = sum(field.choice in theirs for field in source.fields) == sum(arm is not None for arm in arms)
            if known is None or not known.required or not whole:
                return False
    return True


def arms_check(record: Record) -> Callable[[Any], Any]:
    """Returns the value that it is given. Raises Failure(INVALID_ARGUMENT) for too many or too few arms of a choice."""
    groups = [(choice, [entry for entry in record.fields if entry.choice == choice.name]) for choice in record.choices]

    def one_of(value: Any) -> Any:
        for choice, arms in groups:
            set_ = [arm.name for arm in arms if getattr(value, arm.attr) is not UNSET]
            if len(set_) > 1:
                raise invalid(f"{' and '.join(set_)} are both set, only one of them may be", "$")
            if choice.required and not set_:
                raise invalid(f"one of {', '.join(arm.name for arm in arms)} must be set", "$")
        return value

    return one_of


def _to_any(type_: Type) -> Callable[[Any], Any]:
    encode = JsonFormat().encoder(type_)
    decode = msgspec.json.Decoder(float_hook=Decimal).decode

    def convert(value: Any) -> Any:
        # The encoder may change what it is given, and another rule may read the same value.
        return decode(encode(copy.deepcopy(value)))

    return convert


def _missing(path: str) -> Any:
    raise invalid("missing required field", path)


def _parsed(value: str, parse: Callable[[str], Any], path: str) -> Any:
    try:
        return parse(value)
    except ValueError as error:
        raise invalid(str(error), path) from None


def _named(value: Any, table: Mapping[str, str], target: str, path: str) -> str:
    name = table.get(value) or table.get(convention(str(value)))
    if name is None:
        raise invalid(f"{value!r} has no counterpart in {target}", path)
    return name


def _fit(kind: Kind) -> Callable[[int, str], int]:
    low, high = INTEGER_RANGE[kind]

    def fit(value: int, path: str) -> int:
        if not low <= value <= high:
            raise invalid(f"{value} is out of the range of {kind.value}", path)
        return value

    return fit


def _exact_float64(value: int, path: str) -> float:
    try:
        number = float(value)
    except OverflowError:
        number = float("inf")
    if number - number != 0 or int(number) != value:
        raise invalid(f"{value} can't be held exactly by a float64", path)
    return number


def _exact_float32(value: int, path: str) -> float:
    if abs(value) > 2**24:
        raise invalid(f"{value} can't be held exactly by a float32", path)
    return float(value)


def _near(kind: Kind, limit: float) -> Callable[[float | Decimal, str], float]:
    def near(value: float | Decimal, path: str) -> float:
        number = float(value)
        # What is infinite already stays so; what is finite must not become it.
        if not -limit < number < limit and (isinstance(value, Decimal) or math.isfinite(value)):
            raise invalid(f"{value} is out of the range of {kind.value}", path)
        return number

    return near


def _all_of(source: Mapping[Any, Any], converted: dict[Any, Any], path: str) -> dict[Any, Any]:
    if len(converted) != len(source):
        raise invalid("two keys of the map become one", path)
    return converted


def _decimal_of_float(value: float | Decimal, path: str) -> Decimal:
    number = value if isinstance(value, Decimal) else Decimal(repr(value))
    if not number.is_finite():
        raise invalid(f"{value} is not a finite number", path)
    return number


def _no_nulls(values: list[Any], path: str) -> list[Any]:
    for index, value in enumerate(values):
        if value is None:
            raise invalid("must not be null", f"{path}[{index}]")
    return values


_NAMESPACE: Final[dict[str, Any]] = {
    "U": UNSET,
    "Decimal": Decimal,
    "read": read,
    "missing": _missing,
    "parsed": _parsed,
    "named": _named,
    "no_nulls": _no_nulls,
    "exact_float32": _exact_float32,
    "exact_float64": _exact_float64,
    "decimal_of_float": _decimal_of_float,
    "near_float32": _near(Kind.FLOAT32, 3.4028235677973366e38),  # the least double that rounds to infinity
    "near_float64": _near(Kind.FLOAT64, float("inf")),
    "all_of": _all_of,
    "shortest_float32": text.shortest_float32,
    **{f"fit_{kind.value}": _fit(kind) for kind in INTEGER_RANGE},
    **{f"parse_{kind.value}": parse for kind, parse in text.PARSE.items()},
    **{f"format_{kind.value}": format_ for kind, format_ in text.FORMAT.items()},
}
