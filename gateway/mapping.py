"""Field maps: the rules of a route, typed against both contracts and compiled into one generated function.

An untyped side takes its type from the other one through the rules: a JSON caller in front of a gRPC method is
checked as strictly as a gRPC one.
"""

import copy
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from msgspec import UNSET

from gateway.codecs.json.format import read
from gateway.conversion import Converter, Finding, arms_check
from gateway.message import Header
from gateway.rules import Const, Each, Format, From, Nested, Path, Rule, When, placeholders
from gateway.schema.names import convention, suggestion
from gateway.schema.types import (
    ANY,
    BOOL,
    INT32,
    INTEGER,
    STRING,
    Field,
    Kind,
    List,
    Map,
    Record,
    Scalar,
    Type,
)
from gateway.schema.values import struct_of
from gateway.status import Failure, invalid

Rules = Mapping[str, Rule]
Apply = Callable[[Any, Mapping[str, Any], Sequence[Header], bytes | None], Any]
"""(body value, params, headers, key) -> target value."""


@dataclass(slots=True)
class Translation:
    """A compiled mapping.

    apply: None where the value passes as it is.
    headers, params: the metadata names that it reads.
    text: the generated source, for `explain`.
    """

    source: Type
    target: Type
    apply: Apply | None
    headers: frozenset[str]
    params: frozenset[str]
    findings: list[Finding]
    text: str = ""


@dataclass(slots=True)
class _Use:
    """Which parts of a source value the rules read."""

    whole: bool = False
    parts: dict[str, "_Use"] = field(default_factory=dict)
    items: "_Use | None" = None

    def at(self, steps: Sequence[str | int]) -> "_Use":
        use = self
        for step in steps:
            if isinstance(step, int):
                use.items = use.items or _Use()
                use = use.items
            else:
                use = use.parts.setdefault(step, _Use())
        return use

    def each(self) -> "_Use":
        self.items = self.items or _Use()
        return self.items


@dataclass(frozen=True, slots=True)
class _Value:
    """A source expression: python makes a value of the type, or U where `optional`, or None where `nullable`."""

    type: Type
    python: str
    optional: bool = False
    nullable: bool = False


def compile_mapping(
    rules: Rules | None,
    source: Type | None,
    target: Type | None,
    params: Mapping[str, Type],
    title: str,
    *,
    certain: Collection[str] = (),
) -> Translation:
    """Rules between two types. Never raises for what the rules get wrong: that is in the findings.

    certain: the params that are never absent.
    """
    if not rules:
        source, target = source or target or ANY, target or source or ANY
        if source is target or source == target:
            return Translation(source, target, None, frozenset(), frozenset(), [])
        rules = {}
    elif source is None:
        source = _infer_source(rules, target)
    compiler = _Compiler(source, params, certain)
    if target is None:
        target = compiler.infer_target(rules, source, title)
    return compiler.compile(rules, target, title)


def compile_sources(
    sources: Mapping[str, str], source: Type, params: Mapping[str, Type], certain: Collection[str]
) -> Translation:
    """Metadata computed from the request: name -> source path, as a function that makes name -> text or None."""
    compiler = _Compiler(source, params, certain)
    return compiler.compile_sources(sources)


class _Compiler:
    def __init__(self, source: Type, params: Mapping[str, Type], certain: Collection[str] = ()) -> None:
        self.source = source
        self._certain = certain
        self.converter = Converter()
        self._params = params
        self._read_headers: set[str] = set()
        self._read_params: set[str] = set()
        self._use = _Use()
        self._functions = 0

    def compile(self, rules: Rules, target: Type, title: str) -> Translation:
        converter = self.converter
        if rules and isinstance(target, Record):
            value = self._fill(rules, target, self.source, self._use, "$")
            self._report_unused(self.source, self._use, "$")
        elif rules:
            converter.refuse("$", f"{target} has no fields to map")
            value = "U"
        else:
            value = converter.expression(self.source, target, "s", "$")
        converter.function(f"def apply(s, p, h, k):\n    r = s\n    return {value}")
        apply: Apply | None = None
        text = ""
        if not any(finding.fatal for finding in converter.findings):
            scope, text = converter.build(title)
            apply = scope["apply"]
        return Translation(
            self.source,
            target,
            apply,
            frozenset(self._read_headers),
            frozenset(self._read_params),
            converter.findings,
            text,
        )

    def compile_sources(self, sources: Mapping[str, str]) -> Translation:
        converter = self.converter
        wanted = Field("value", STRING)
        entries = []
        for name, path in sources.items():
            value = self._path(Path(path), self.source, _Use())
            python = (
                f"{converter.constant(_text)}({value.python}, {path!r})"
                if value.type == ANY
                else self._assign(value, wanted, path)
            )
            entries.append(f"{name!r}: {python}")
        converter.function(f"def apply(s, p, h, k):\n    r = s\n    return {{{', '.join(entries)}}}")
        apply: Apply | None = None
        if not any(finding.fatal for finding in converter.findings):
            apply = converter.build("address")[0]["apply"]
        fatal = [finding for finding in converter.findings if finding.fatal]
        return Translation(
            self.source, STRING, apply, frozenset(self._read_headers), frozenset(self._read_params), fatal
        )

    # -- targets

    def _fill(self, rules: Rules, target: Record, source: Type, use: _Use, at: str) -> str:
        """Python for a value of the target, rules first and the rest by name from the current value."""
        converter = self.converter
        by_rule = self._rules_by_field(rules, target, at)
        by_name = converter.fields_by_convention(source, at) if isinstance(source, Record) else {}
        arguments = []
        filled = {convention(name) for name in by_rule}
        for target_field in target.fields:
            rule = by_rule.get(target_field.name)
            if rule is not None:
                python = self._rule(rule, target_field, source, use, f"{at}.{target_field.name}")
                arguments.append(f"{target_field.attr}={python}")
        for target_field in target.fields:
            name = target_field.name
            if name in by_rule:
                continue
            # A source field that the rules take apart does not come by name as well.
            match = by_name.get(convention(name))
            if match is None or use.parts.get(match.name):
                converter.unfilled(target, target_field, f"{at}.{name}")
                continue
            use.at([match.name]).whole = True
            filled.add(convention(name))
            python = converter.filled(match, target_field, f"s.{match.attr}", f"$.{match.name}")
            arguments.append(f"{target_field.attr}={python}")
        converter.require_choices(target, filled, at)
        value = f"{converter.constant(struct_of(target))}({', '.join(arguments)})"
        if any(choice for choice in target.choices):
            value = f"{converter.constant(arms_check(target))}({value})"
        return value

    def _rules_by_field(self, rules: Rules, target: Record, at: str) -> dict[str, Rule]:
        names = {convention(name.name): name.name for name in target.fields}
        found: dict[str, Rule] = {}
        for name, rule in rules.items():
            known = name if target.field(name) is not None else names.get(convention(name))
            if known is None:
                hint = suggestion(name, [entry.name for entry in target.fields])
                self.converter.refuse(f"{at}.{name}", f"{target} has no field {name}", hint)
            elif known in found:
                self.converter.refuse(f"{at}.{name}", f"{known} is mapped twice")
            else:
                found[known] = rule
        return found

    def _rule(self, rule: Rule, target: Field, source: Type, use: _Use, at: str) -> str:
        """Python for the target field's value."""
        python = self._unconditional(rule, target, source, use, at)
        when = None if isinstance(rule, str) else rule.when
        if when is None:
            return python
        return f"({python} if {self._condition(when, source, use)} else {self.converter.absent(target, at)})"

    def _unconditional(self, rule: Rule, target: Field, source: Type, use: _Use, at: str) -> str:
        converter = self.converter
        match rule:
            case str():
                return self._assign(self._path(Path(rule), source, use), target, rule)
            case From():
                return self._from(rule, target, source, use)
            case Const(const=const):
                return self._constant(const, target, at)
            case Format(format=format_):
                text = _Value(STRING, self._format(format_, source, use, at))
                return self._assign(text, target, at)
            case Nested(map=rules):
                if not isinstance(target.type, Record):
                    converter.refuse(at, f"{target.type} has no fields to map")
                    return "U"
                return self._fill(rules, target.type, source, use, at)
            case Each():
                return self._each(rule, target, source, use, at)

    def _each(self, rule: Each, target: Field, source: Type, use: _Use, at: str) -> str:
        converter = self.converter
        items = self._path(Path(rule.each), source, use, whole=False)
        if not isinstance(target.type, List):
            converter.refuse(at, f"{target.type} is no list, `each` fills lists")
            return "U"
        nulls = False
        if items.type == ANY:
            item: Type = ANY
        elif isinstance(items.type, List):
            item, nulls = items.type.item, items.type.nullable
        else:
            converter.refuse(at, f"{rule.each} is {items.type}, `each` takes a list")
            return "U"
        inner_use = self._use_of(Path(rule.each), use).each()
        wanted = target.type.item
        if rule.map and isinstance(wanted, Record):
            inner = self._fill(rule.map, wanted, item, inner_use, f"{at}[]")
        else:
            inner_use.whole = True
            inner = converter.expression(item, wanted, "s", f"{rule.each}[]")
        name = f"each_{self._functions}"
        self._functions += 1
        converter.function(f"def {name}(s, r, p, h, k):\n    return {inner}")
        listed = "v"
        if items.type == ANY:
            listed = f"{converter.constant(_listed)}(v, {rule.each!r})"
        elif nulls:
            converter.lose(f"{rule.each}[]", "a null item is refused")
            listed = f"no_nulls(v, {rule.each!r})"
        converter_list = f"[{name}(x, r, p, h, k) for x in {listed}]"
        value = _Value(target.type, items.python, items.optional, items.nullable)
        return self._assign(value, target, rule.each, converted=converter_list)

    def _from(self, rule: From, target: Field, source: Type, use: _Use) -> str:
        converter = self.converter
        value = self._path(Path(rule.source), source, use)
        at = rule.source
        if rule.enum is not None:
            table = {}
            for key, wanted in rule.enum.items():
                table[_key(key, value.type)] = self._plain(wanted, target.type, at)
            converted = f"{converter.constant(_lookup)}(v, {converter.constant(table)}, {at!r})"
            value = _Value(target.type, value.python, value.optional, value.nullable)
        else:
            converted = converter.expression(value.type, target.type, "v", at)
        if rule.default is None:
            return self._assign(value, target, at, converted=converted)
        default = self._fresh(self._plain(rule.default, target.type, at))
        return f"({default} if (v := {value.python}) is U or v is None else {converted})"

    def _assign(self, value: _Value, target: Field, at: str, converted: str = "") -> str:
        """As Converter.filled, for any expression."""
        stand_in = Field("value", value.type, required=not value.optional, nullable=value.nullable, default=UNSET)
        if not converted:
            return self.converter.filled(stand_in, target, value.python, at)
        tests = ["(v := {}) is U"] if value.optional else []
        if value.nullable:
            tests.append("v is None" if tests else "(v := {}) is None")
        if not tests:
            return f"({converted} if (v := {value.python}) is not U else U)"
        condition = " or ".join(tests).format(value.python)
        return f"({self.converter.absent(target, at)} if {condition} else {converted})"

    def _constant(self, const: Any, target: Field, at: str) -> str:
        if const is None:
            if not target.nullable and target.type != ANY:
                self.converter.refuse(at, f"null does not fit {target.name}, which is not nullable")
            return "None"
        return self._fresh(self._plain(const, target.type, at))

    def _fresh(self, value: Any) -> str:
        name = self.converter.constant(value)
        if isinstance(value, str | int | float | bytes | Decimal):
            return name
        # An encoder may change what it is given, so each call gets a value of its own.
        return f"{self.converter.constant(copy.deepcopy)}({name})"

    def _plain(self, value: Any, type_: Type, at: str) -> Any:
        try:
            return read(type_, _decimal(value))
        except Failure as failure:
            self.converter.refuse(at, f"the constant does not fit {type_}: {failure.text}")
            return None

    def _format(self, format_: str, source: Type, use: _Use, at: str) -> str:
        parts = []
        try:
            pieces = placeholders(format_)
        except ValueError as error:
            self.converter.refuse(at, str(error))
            return "''"
        for part in pieces:
            if isinstance(part, str):
                parts.append(repr(part))
                continue
            value = self._path(part, source, use)
            wanted = Field("value", STRING, required=True)
            if value.type == ANY:
                parts.append(f"{self.converter.constant(_shown)}({value.python}, {part.text!r})")
            else:
                parts.append(self._assign(value, wanted, part.text))
        return f"({' + '.join(parts)})" if parts else "''"

    def _condition(self, when: When, source: Type, use: _Use) -> str:
        value = self._path(Path(when.path), source, use)
        options = when.equals if isinstance(when.equals, list) else [when.equals]
        plain = [option if option is None else self._plain(option, value.type, when.path) for option in options]
        return f"({value.python}) in {self.converter.constant(tuple(plain))}"

    # -- sources

    def _use_of(self, path: Path, use: _Use) -> _Use:
        return (self._use if path.scope == "root" else use).at(path.steps)

    def _path(self, path: Path, source: Type, use: _Use, *, whole: bool = True) -> _Value:
        name = str(path.steps[0]) if path.steps else ""
        match path.scope:
            case "params":
                if name not in self._params:
                    near = ", ".join(self._params) or "none"
                    self.converter.refuse(path.text, f"there is no parameter {name} here", f"there is: {near}")
                self._read_params.add(name)
                return _Value(self._params.get(name, STRING), f"p.get({name!r}, U)", optional=name not in self._certain)
            case "headers":
                self._read_headers.add(name.lower())
                return _Value(STRING, f"{self.converter.constant(_header)}(h, {name.lower()!r})", optional=True)
            case "key":
                return _Value(STRING, f"{self.converter.constant(_key_text)}(k)", optional=True)
            case "root":
                source, use, start = self.source, self._use, "r"
            case _:
                start = "s"
        if whole:
            use.at(path.steps).whole = True
        return self._navigate(path, source, start)

    def _navigate(self, path: Path, source: Type, start: str) -> _Value:
        """Python that walks the steps; U where any of them is absent."""
        lines: list[str] = []
        type_, optional, nullable = source, False, False
        for step in path.steps:
            guard = []
            if optional:
                guard.append("v is U")
            if nullable:
                guard.append("v is None")
            if guard:
                lines.append(f"    if {' or '.join(guard)}: return U")
            always = not guard
            found = self._step(type_, step)
            if found is None:
                self._no_such(path, type_, step)
                return _Value(ANY, "U", optional=True)
            type_, python, step_optional, nullable = found
            optional = step_optional or not always or optional
            lines.append(f"    v = {python}")
        if not lines:
            return _Value(source, start)
        if not any("return U" in line for line in lines) and all(line.startswith("    v = v.") for line in lines):
            chain = "".join(line.removeprefix("    v = v") for line in lines)
            return _Value(type_, start + chain, optional, nullable)
        name = f"path_{self._functions}"
        self._functions += 1
        self.converter.function("\n".join([f"def {name}(v):", *lines, "    return v"]))
        return _Value(type_, f"{name}({start})", optional, nullable)

    def _step(self, type_: Type, step: str | int) -> tuple[Type, str, bool, bool] | None:
        """(type, python from v, may be absent, may be null)"""
        match type_:
            case Scalar(Kind.ANY):
                return ANY, f"{self.converter.constant(_any_step)}(v, {step!r})", True, True
            case Record() if isinstance(step, str):
                found = type_.field(step) or next(
                    (entry for entry in type_.fields if convention(entry.name) == convention(step)), None
                )
                if found is None:
                    return None
                absent = not found.required and found.default is UNSET
                return found.type, f"v.{found.attr}", absent, found.nullable
            case List(item, nullable) if isinstance(step, int):
                return item, f"(v[{step}] if len(v) > {step} else U)", True, nullable
            case Map(key, value) if isinstance(step, str) and key == STRING:
                return value, f"v.get({step!r}, U)", True, False
            case _:
                return None

    def _no_such(self, path: Path, type_: Type, step: str | int) -> None:
        hint = ""
        if isinstance(type_, Record):
            hint = suggestion(str(step), [entry.name for entry in type_.fields])
        elif isinstance(type_, List):
            hint = "take an item, as [0], or map the list with `each`"
        self.converter.refuse(path.text, f"{type_} has no {step}", hint)

    def _report_unused(self, type_: Type, use: _Use, at: str) -> None:
        if use.whole:
            return
        match type_:
            case Record():
                for entry in type_.fields:
                    part = next((u for n, u in use.parts.items() if convention(n) == convention(entry.name)), None)
                    if part is None:
                        self.converter.lose(f"{at}.{entry.name}", "dropped: the mapping does not use it")
                    else:
                        self._report_unused(entry.type, part, f"{at}.{entry.name}")
            case List(item) if use.items is not None:
                self._report_unused(item, use.items, f"{at}[]")
            case _:
                pass

    # -- inference

    def infer_target(self, rules: Rules, source: Type, name: str) -> Record:
        """The record that the rules describe, for an untyped target."""
        fields = []
        for target, rule in rules.items():
            value = self._infer(rule, source, target)
            conditional = not isinstance(rule, str) and rule.when is not None
            defaulted = isinstance(rule, From) and rule.default is not None
            required = not conditional and (defaulted or not value.optional)
            fields.append(Field(target, value.type, required=required, nullable=value.nullable and not defaulted))
        return Record(name, fields)

    def _infer(self, rule: Rule, source: Type, name: str) -> _Value:
        scratch = _Compiler(self.source, self._params, self._certain)
        match rule:
            case str():
                return scratch._path(Path(rule), source, _Use())
            case From():
                value = scratch._path(Path(rule.source), source, _Use())
                if rule.enum is not None:
                    first = next(iter(rule.enum.values()), "")
                    return _Value(_type_of(first), "", value.optional, value.nullable)
                return value
            case Const(const=const):
                return _Value(_type_of(const), "")
            case Format():
                return _Value(STRING, "")
            case Nested(map=rules):
                return _Value(self.infer_target(rules, source, name), "")
            case Each():
                items = scratch._path(Path(rule.each), source, _Use())
                item: Type = items.type.item if isinstance(items.type, List) else ANY
                wanted: Type = self.infer_target(rule.map, item, name) if rule.map else item
                return _Value(List(wanted), "", items.optional, items.nullable)


# -- the type of an untyped source


class _Shape:
    """What the rules say about a part of an untyped source."""

    def __init__(self) -> None:
        self.type: Type | None = None
        self.required = False
        self.nullable = False
        self.members: dict[str, _Shape] = {}
        self.item: _Shape | None = None

    def at(self, steps: Sequence[str | int]) -> "_Shape":
        shape = self
        for step in steps:
            if isinstance(step, int):
                shape.item = shape.item or _Shape()
                shape = shape.item
            else:
                shape = shape.members.setdefault(step, _Shape())
        return shape

    def want(self, type_: Type, *, required: bool = False, nullable: bool = False) -> None:
        self.type = type_ if self.type in (None, type_) else ANY
        self.required = self.required or required
        self.nullable = self.nullable or nullable

    def build(self, name: str) -> Type:
        if (self.members or self.item) and self.type is not None:
            return ANY
        if self.item is not None:
            return ANY if self.members else List(self.item.build(f"{name}.item"))
        if not self.members:
            return self.type or ANY
        return Record(
            name,
            [
                Field(
                    member,
                    shape.build(f"{name}.{member}"),
                    required=shape.is_required(),
                    nullable=shape.nullable,
                    default=UNSET,
                )
                for member, shape in self.members.items()
            ],
        )

    def is_required(self) -> bool:
        return self.required or any(shape.is_required() for shape in self.members.values())


def _infer_source(rules: Rules, target: Type | None) -> Type:
    root = _Shape()
    _shape(rules, target, root, root)
    if isinstance(target, Record) and root.item is None and root.type is None:
        mapped = {convention(name) for name in rules}
        taken = {convention(name) for name in root.members}
        inferred = root.build(f"{target.name}.source")
        fields = list(inferred.fields) if isinstance(inferred, Record) else []
        rest = [
            entry
            for entry in target.fields
            if convention(entry.name) not in mapped and convention(entry.name) not in taken
        ]
        choices = [choice for choice in target.choices if any(entry.choice == choice.name for entry in rest)]
        return Record(f"{target.name}.source", [*fields, *rest], choices=choices)
    return root.build("source")


def _shape(rules: Rules, target: Type | None, here: _Shape, root: _Shape) -> None:
    fields = {convention(entry.name): entry for entry in target.fields} if isinstance(target, Record) else {}
    for name, rule in rules.items():
        entry = fields.get(convention(name)) or Field(name, ANY)
        _shape_rule(rule, entry, here, root)


def _shape_rule(rule: Rule, entry: Field, here: _Shape, root: _Shape) -> None:
    def place(text: str) -> _Shape | None:
        path = Path(text)
        if path.scope not in ("", "root"):
            return None
        return (root if path.scope == "root" else here).at(path.steps)

    when = None if isinstance(rule, str) else rule.when
    if when is not None and (shape := place(when.path)) is not None:
        shape.want(ANY)
    required = entry.required and when is None
    match rule:
        case str():
            if (shape := place(rule)) is not None:
                shape.want(entry.type, required=required, nullable=entry.nullable)
        case From():
            if (shape := place(rule.source)) is not None:
                shape.want(STRING if rule.enum is not None else entry.type, required=required and rule.default is None)
        case Format():
            try:
                parts = placeholders(rule.format)
            except ValueError:
                return
            for part in parts:
                if isinstance(part, Path) and (shape := place(part.text)) is not None:
                    shape.want(ANY, required=required)
        case Nested(map=rules):
            _shape(rules, entry.type, here, root)
        case Each():
            shape = place(rule.each)
            if shape is None:
                return
            shape.item = shape.item or _Shape()
            shape.required = shape.required or required
            wanted = entry.type.item if isinstance(entry.type, List) else None
            if rule.map:
                _shape(rule.map, wanted, shape.item, root)
                if isinstance(wanted, Record):
                    _rest(rule.map, wanted, shape.item)
            else:
                shape.item.want(wanted or ANY)
        case Const():
            pass


def _rest(rules: Rules, target: Record, here: _Shape) -> None:
    """The fields of an item that no rule fills come by name."""
    mapped = {convention(name) for name in rules}
    taken = {convention(name) for name in here.members}
    for entry in target.fields:
        name = convention(entry.name)
        if name not in mapped and name not in taken:
            here.members[entry.name] = shape = _Shape()
            shape.want(entry.type, required=entry.required, nullable=entry.nullable)


def _type_of(const: Any) -> Type:
    match const:
        case bool():
            return BOOL
        case int():
            return INT32 if -(2**31) <= const < 2**31 else INTEGER
        case str():
            return STRING
        case _:
            return ANY


# -- run time


def _any_step(value: Any, step: str | int) -> Any:
    if isinstance(step, str):
        return value.get(step, UNSET) if isinstance(value, dict) else UNSET
    return value[step] if isinstance(value, list) and len(value) > step else UNSET


def _header(headers: Sequence[Header], name: str) -> Any:
    for known, value in headers:
        if known == name:
            return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    return UNSET


def _key_text(key: bytes | None) -> Any:
    if key is None:
        return UNSET
    try:
        return key.decode()
    except UnicodeDecodeError:
        raise invalid("the key is not UTF-8 text", "$key") from None


def _listed(value: Any, path: str) -> list[Any]:
    if not isinstance(value, list):
        raise invalid("an array is expected", path)
    return value


def _lookup(value: Any, table: Mapping[Any, Any], path: str) -> Any:
    try:
        return copy.copy(table[value])
    except (KeyError, TypeError):
        raise invalid(f"{value!r} is not in the table of {', '.join(map(str, table))}", path) from None


def _shown(value: Any, path: str) -> str:
    if value is UNSET or value is None:
        raise invalid("missing required field", path)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | Decimal):
        return str(value)
    raise invalid("text or a number is expected", path)


def _text(value: Any, path: str) -> Any:
    return value if value is UNSET or value is None else _shown(value, path)


def _key(text: str, type_: Type) -> Any:
    """The key of an enum table as the source's plain value."""
    if isinstance(type_, Scalar) and type_ not in (STRING, ANY):
        try:
            return read(type_, text)
        except Failure:
            return text == "true" if type_ == BOOL else text
    return text


def _decimal(value: Any) -> Any:
    """YAML's floats as JSON would have given them."""
    match value:
        case float():
            return Decimal(repr(value))
        case list():
            return [_decimal(item) for item in value]
        case dict():
            return {str(name): _decimal(item) for name, item in value.items()}
        case _:
            return value
