"""Simple types as text: XSD's lexical forms, white space and facets (XML Schema 1.0 part 2)."""

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

from gateway.schema.idl.xml.hint import Simple, Space
from gateway.schema.text import FORMAT, PARSE
from gateway.schema.types import Enumeration, Kind, Scalar

Parse = Callable[[str], Any]
Write = Callable[[Any], str]

_ILLEGAL: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_BLANK: Final = re.compile(r"[ \t\r\n]+")
_REPLACE: Final = {9: " ", 10: " ", 13: " "}


def parser(simple: Simple) -> Parse:
    """Text of an element or attribute -> plain value. Raises ValueError with a sentence for the caller."""
    parse = _item_parser(simple)
    if simple.listed:
        lengths = [facet for facet in simple.facets if facet[0] in _LENGTHS]
        check = _checks(lengths, "value(s)")

        def parse_list(text: str) -> list[Any]:
            values = [parse(item) for item in text.split()]
            check(values)
            return values

        return parse_list
    if simple.space is Space.COLLAPSE:
        return lambda text: parse(collapsed(text))
    if simple.space is Space.REPLACE:
        return lambda text: parse(text.translate(_REPLACE))
    return parse


def collapsed(text: str) -> str:
    return _BLANK.sub(" ", text).strip(" ")


def _item_parser(simple: Simple) -> Parse:
    item = simple.item
    facets = [facet for facet in simple.facets if not (simple.listed and facet[0] in _LENGTHS)]
    if isinstance(item, Enumeration):
        return lambda text: _name(text, item)
    parse = _bytes_parser(simple.hex) if item.kind is Kind.BYTES else PARSE[item.kind]
    patterns = [_pattern(value) for name, value in facets if name == "pattern"]
    bounds = _checks([facet for facet in facets if facet[0] != "pattern"], _unit(item))
    if not facets:
        return parse

    def parse_checked(text: str) -> Any:
        for pattern in patterns:
            if pattern.fullmatch(text) is None:
                raise ValueError(f"{_shown(text)} does not have the form that the schema demands")
        value = parse(text)
        bounds(value)
        return value

    return parse_checked


def _name(text: str, enumeration: Enumeration) -> str:
    if text not in enumeration.numbers:
        names = ", ".join(list(enumeration.numbers)[:20])
        raise ValueError(f"{_shown(text)} is none of {names}")
    return text


def _bytes_parser(hexadecimal: bool) -> Parse:
    if hexadecimal:
        return _parse_hex
    return lambda text: PARSE[Kind.BYTES](text.replace(" ", ""))


def _parse_hex(text: str) -> bytes:
    try:
        if " " in text:
            raise ValueError
        return bytes.fromhex(text)
    except ValueError:
        raise ValueError("this is not hexadecimal") from None


def _unit(item: Scalar) -> str:
    return "byte(s)" if item.kind is Kind.BYTES else "character(s)"


_LENGTHS: Final = ("length", "minLength", "maxLength")


def _checks(facets: list[tuple[str, str]], unit: str) -> Callable[[Any], None]:
    checks = [_check(name, value, unit) for name, value in facets]

    def check(value: Any) -> None:
        for one in checks:
            one(value)

    return check


def _check(name: str, limit: str, unit: str) -> Callable[[Any], None]:
    """One facet as a function that raises ValueError; facets of values that have no order here check nothing."""

    def demand(holds: Callable[[Any], bool], sentence: str) -> Callable[[Any], None]:
        def check(value: Any) -> None:
            if not holds(value):
                raise ValueError(sentence)

        return check

    match name:
        case "length":
            return demand(lambda value: len(value) == int(limit), f"there must be exactly {limit} {unit}")
        case "minLength":
            return demand(lambda value: len(value) >= int(limit), f"there must be at least {limit} {unit}")
        case "maxLength":
            return demand(lambda value: len(value) <= int(limit), f"there may be at most {limit} {unit}")
        case "totalDigits":
            return demand(lambda value: _digits(value)[0] <= int(limit), f"there may be at most {limit} digits")
        case "fractionDigits":
            return demand(
                lambda value: _digits(value)[1] <= int(limit), f"there may be at most {limit} digits after the point"
            )
    bound = _number(limit)
    if bound is None:
        return lambda value: None
    number = bound
    match name:
        case "minInclusive":
            return demand(lambda value: not _numeric(value) or value >= number, f"it must be at least {limit}")
        case "maxInclusive":
            return demand(lambda value: not _numeric(value) or value <= number, f"it must be at most {limit}")
        case "minExclusive":
            return demand(lambda value: not _numeric(value) or value > number, f"it must be more than {limit}")
        case _:
            return demand(lambda value: not _numeric(value) or value < number, f"it must be less than {limit}")


def _number(text: str) -> Decimal | None:
    try:
        return PARSE[Kind.DECIMAL](text)  # type: ignore[no-any-return]
    except ValueError:
        return None


def _numeric(value: Any) -> bool:
    return isinstance(value, int | float | Decimal)


def _digits(value: Any) -> tuple[int, int]:
    """(all digits, digits after the point) without zeros that mean nothing."""
    text = format(Decimal(value), "f").lstrip("-")
    whole, _, fraction = text.partition(".")
    fraction = fraction.rstrip("0")
    return len(whole.lstrip("0")) + len(fraction), len(fraction)


_CLASSES: Final = {"\\i": "[A-Za-z_:]", "\\c": r"[\w.:-]"}
_EVERYTHING: Final = re.compile(".*", re.DOTALL)


def _pattern(text: str) -> "re.Pattern[str]":
    r"""XSD's regular expression (part 2, appendix F) as Python's, where it is one.

    Category escapes (\p), class subtraction and multi-character escapes in a class are not checked at all; neither are
    patterns with nested quantifiers, which Python's backtracking engine could be held up with.
    """
    if "\\p" in text or "\\P" in text or "-[" in text or re.search(r"[+*}]\)[+*{]", text):
        return _EVERYTHING
    out = re.sub(r"\\[ic]", lambda found: _CLASSES[found[0]], text).replace("^", r"\^") if "[" not in text else text
    try:
        return re.compile(out.replace("$", r"\$"))
    except re.error:
        return _EVERYTHING


def writer(simple: Simple) -> Write:
    """Plain value -> escaped text. Raises ValueError with a sentence."""
    write = _item_writer(simple)
    if simple.listed:
        return lambda values: " ".join([_listable(write(value)) for value in values])
    return write


def _listable(text: str) -> str:
    if not text or _BLANK.search(text):
        raise ValueError(f"{_shown(text)} can't be an item of a list that white space separates")
    return text


def _item_writer(simple: Simple) -> Write:
    item = simple.item
    if isinstance(item, Enumeration):
        texts = {name: escape(name) for name in item.numbers}

        def write_name(value: Any) -> str:
            try:
                return texts[value]
            except (KeyError, TypeError):
                raise ValueError(f"{value!r} is none of {', '.join(list(texts)[:20])}") from None

        return write_name
    if simple.hex:
        return lambda value: value.hex().upper()
    if item.kind in (Kind.STRING, Kind.DATE, Kind.TIME, Kind.ANY):
        return escape
    return FORMAT[item.kind]


def escape(text: str) -> str:
    """Text for an element or a double-quoted attribute. Raises ValueError for what XML 1.0 has no form for."""
    if text.isprintable() and "&" not in text and "<" not in text and ">" not in text and '"' not in text:
        return text
    if _ILLEGAL.search(text) is not None:
        raise ValueError("the text has a character that XML 1.0 can't carry")
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
    # A parser turns a bare CR into LF, and tabs and line ends of attributes into spaces.
    return text.replace("\r", "&#13;").replace("\n", "&#10;").replace("\t", "&#9;")


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")
