"""Specimens as GraphQL: variables in, results out."""

import base64
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from support.specimen import Specimen, duration_of, timestamp_of, timestamp_text

SDL: Final = Path(__file__).parents[1] / "schemas" / "specimen.graphql"
TREE: Final = 5
"""How deep trees are asked for."""

_PLAIN: Final = ("id", "small", "flag", "label", "hue", "parts", "origin", "card", "rank", "nickname", "tree")
_SPECIAL: Final = {float("inf"): "Infinity", float("-inf"): "-Infinity"}
_TREE: Final = "{ name children " * (TREE - 1) + "{ name }" + " }" * (TREE - 1)
SELECTION: Final = (
    "{ id small big huge ratio flag label blob price at took hue tags { key value } sizes { key value } SerialNumbers "
    f"parts {{ name count }} origin {{ city zip }} card cash {{ currency units }} rank nickname tree {_TREE} }}"
)
RECEIPT: Final = "{ topic partition offset id }"


def variables(specimen: Specimen) -> dict[str, Any]:
    """64-bit integers both as text and as numbers, for both must be understood."""
    value: dict[str, Any] = {name: specimen[name] for name in _PLAIN if name in specimen}
    value |= {
        "big": str(specimen["big"]),
        "huge": specimen["huge"],
        "ratio": _SPECIAL.get(specimen["ratio"], specimen["ratio"]),
        "blob": base64.b64encode(specimen["blob"]).decode(),
        "tags": _entries(specimen["tags"]),
        "sizes": _entries(specimen["sizes"]),
        "SerialNumbers": list(specimen["serial_numbers"]),
    }
    if "price" in specimen:
        value["price"] = f"{specimen['price']:f}"
    if "at" in specimen:
        value["at"] = timestamp_text(specimen["at"], hours=2)
    if "took" in specimen:
        seconds, fraction = divmod(abs(specimen["took"]), 10**9)
        value["took"] = f"{'-' if specimen['took'] < 0 else ''}PT{seconds}.{fraction:09d}S"
    if "cash" in specimen:
        value["cash"] = {"currency": specimen["cash"]["currency"], "units": str(specimen["cash"]["units"])}
    return value


def _entries(table: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": value} for key, value in table.items()]


def result(specimen: Specimen) -> dict[str, Any]:
    """As a resolver returns it."""
    value = variables(specimen)
    return {**value, "huge": str(specimen["huge"]), "SerialNumbers": [str(n) for n in specimen["serial_numbers"]]}


def specimen_of(value: dict[str, Any], *, sent: bool) -> Specimen:
    """sent: it came as variables, in which null and absence are two things; in a result they are one."""
    given = {name: member for name, member in value.items() if member is not None or (sent and name == "nickname")}
    specimen = {name: given.pop(name) for name in ("id", "small", "flag", "label")}
    specimen["big"] = int(given.pop("big"))
    specimen["huge"] = int(given.pop("huge"))
    specimen["ratio"] = float(given.pop("ratio"))
    specimen["blob"] = base64.b64decode(given.pop("blob"), validate=True)
    specimen["tags"] = {entry["key"]: entry["value"] for entry in given.pop("tags", [])}
    specimen["sizes"] = {entry["key"]: _integer(entry["value"]) for entry in given.pop("sizes", [])}
    specimen["serial_numbers"] = [_integer(number) for number in given.pop("SerialNumbers", [])]
    specimen["parts"] = [{"name": part["name"], "count": part["count"]} for part in given.pop("parts", [])]
    for name in ("card", "rank", "nickname", "hue"):
        if name in given:
            specimen[name] = given.pop(name)
    if "price" in given:
        assert isinstance(given["price"], str)
        specimen["price"] = Decimal(given.pop("price"))
    if "at" in given:
        specimen["at"] = timestamp_of(given.pop("at"))
    if "took" in given:
        specimen["took"] = duration_of(given.pop("took"))
    if "origin" in given:
        specimen["origin"] = {name: text for name, text in given.pop("origin").items() if text is not None}
    if "cash" in given:
        cash = given.pop("cash")
        specimen["cash"] = {"currency": cash["currency"], "units": _integer(cash["units"])}
    if "tree" in given:
        specimen["tree"] = _node(given.pop("tree"))
    assert not given, f"members that the contract does not have: {given}"
    return specimen


def _integer(value: Any) -> int:
    assert isinstance(value, str), f"{value!r}: a 64-bit integer is written as text"
    return int(value)


def _node(value: dict[str, Any]) -> dict[str, Any]:
    return {"name": value["name"], "children": [_node(child) for child in value.get("children") or ()]}
