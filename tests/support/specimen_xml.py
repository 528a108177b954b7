"""Specimens as XML of specimen.xsd: built and read with lxml, judged by libxml2's validator, and as zeep takes them."""

import base64
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from lxml import etree

from support.specimen import Specimen, duration_of, duration_text, timestamp_of, timestamp_text

NAMESPACE: Final = "urn:test:specimen"
XSI_NIL: Final = "{http://www.w3.org/2001/XMLSchema-instance}nil"
SCHEMA: Final = etree.XMLSchema(etree.parse(Path(__file__).parents[1] / "schemas" / "specimen.xsd"))

_ORDER: Final = (
    "small", "big", "huge", "ratio", "flag", "label", "blob", "price", "at", "took", "hue", "tags", "sizes",
    "serial_numbers", "parts", "origin", "card", "cash", "rank", "nickname", "tree",
)  # fmt: skip
_SPECIAL: Final = {"inf": "INF", "-inf": "-INF"}


def tag(name: str) -> str:
    return f"{{{NAMESPACE}}}{name}"


def fill(element: Any, specimen: Specimen) -> Any:
    """The element as a specimen, with other lexical forms than the gateway's own: zones, days, zeros."""
    element.set("id", specimen["id"])
    for name in _ORDER:
        if name in specimen:
            _add(element, name, specimen[name])
    return element


def fill_batch(element: Any, specimens: list[Specimen]) -> Any:
    for specimen in specimens:
        fill(etree.SubElement(element, tag("specimens")), specimen)
    return element


def _add(element: Any, name: str, value: Any) -> None:
    match name:
        case "serial_numbers":
            for number in value:
                etree.SubElement(element, tag("SerialNumbers")).text = f"+{number}" if number > 0 else str(number)
        case "parts":
            for part in value:
                _members(etree.SubElement(element, tag("parts")), part)
        case "tags" | "sizes":
            table = etree.SubElement(element, tag(name))
            for key, entry in value.items():
                _members(etree.SubElement(table, tag("entry")), {"key": key, "value": entry})
        case "origin" | "cash":
            _members(etree.SubElement(element, tag(name)), value)
        case "tree":
            _grow(etree.SubElement(element, tag(name)), value)
        case "nickname" if value is None:
            etree.SubElement(element, tag(name)).set(XSI_NIL, "true")
        case _:
            etree.SubElement(element, tag(name)).text = _text(name, value)


def _members(element: Any, values: dict[str, Any]) -> None:
    for name, value in values.items():
        etree.SubElement(element, tag(name)).text = str(value)


def _grow(element: Any, node: dict[str, Any]) -> None:
    etree.SubElement(element, tag("name")).text = node["name"]
    for child in node["children"]:
        _grow(etree.SubElement(element, tag("children")), child)


def _text(name: str, value: Any) -> str:
    match name:
        case "ratio":
            return _SPECIAL.get(str(value), repr(value))
        case "flag":
            return "1" if value else "0"
        case "blob":
            return base64.b64encode(value).decode()
        case "price":
            return f"{value:f}"
        case "at":
            return timestamp_text(value, hours=2)
        case "took":
            return duration_text(value)
        case _:
            return str(value)


def specimen_of(element: Any) -> Specimen:
    """Fails for what the schema does not allow."""
    specimen: Specimen = {"id": element.get("id"), "tags": {}, "sizes": {}, "serial_numbers": [], "parts": []}
    for child in element:
        name = etree.QName(child).localname
        match name:
            case "SerialNumbers":
                specimen["serial_numbers"].append(int(child.text))
            case "parts":
                part = _strings(child)
                specimen["parts"].append({**part, "count": int(part["count"])})
            case "tags":
                specimen["tags"] = dict(_entries(child))
            case "sizes":
                specimen["sizes"] = {key: int(size) for key, size in _entries(child)}
            case "origin":
                specimen["origin"] = _strings(child)
            case "cash":
                cash = _strings(child)
                specimen["cash"] = {**cash, "units": int(cash["units"])}
            case "tree":
                specimen["tree"] = _node(child)
            case "nickname" if child.get(XSI_NIL) == "true":
                specimen["nickname"] = None
            case _:
                specimen[name] = _value(name, child.text or "")
    return specimen


def _value(name: str, text: str) -> Any:
    match name:
        case "small" | "big" | "huge" | "rank":
            return int(text)
        case "ratio":
            return float(text)
        case "flag":
            return {"true": True, "false": False}[text]
        case "blob":
            return base64.b64decode(text, validate=True)
        case "price":
            return Decimal(text)
        case "at":
            return timestamp_of(text)
        case "took":
            return duration_of(text)
        case _:
            return text


def _strings(element: Any) -> dict[str, Any]:
    return {etree.QName(child).localname: child.text or "" for child in element}


def _entries(element: Any) -> list[tuple[str, str]]:
    return [(entry[0].text or "", entry[1].text or "") for entry in element]


def _node(element: Any) -> dict[str, Any]:
    return {"name": element[0].text or "", "children": [_node(child) for child in element[1:]]}


def zeep_arguments(specimen: Specimen, nil: Any) -> dict[str, Any]:
    """Keyword arguments of zeep's, with something else for what is beyond_zeep. nil: zeep.xsd.Nil."""
    arguments: dict[str, Any] = {name: specimen[name] for name in _ORDER if name in specimen}
    arguments["id"] = specimen["id"]
    arguments["SerialNumbers"] = arguments.pop("serial_numbers")
    for name in ("tags", "sizes"):
        arguments[name] = {"entry": [{"key": key, "value": value} for key, value in specimen[name].items()]}
    if "at" in specimen:
        arguments["at"] = timestamp_text(specimen["at"])
    arguments |= {name: stand_in for name, stand_in in (("took", "PT0S"), ("card", "some")) if name in specimen}
    arguments["ratio"] = _SPECIAL.get(str(specimen["ratio"]), repr(specimen["ratio"]))
    if specimen.get("nickname", "") is None:
        arguments["nickname"] = nil
    return arguments


def beyond_zeep(specimen: Specimen) -> dict[str, str]:
    """Texts by element that zeep gets wrong: it cuts durations at microseconds and drops an empty arm of a choice."""
    return {name: _text(name, specimen[name]) for name in ("took", "card") if name in specimen}
