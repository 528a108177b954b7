"""Specimens as JSON, in the forms that the contract on the other side gives it: proto's, XSD's or Thrift's names."""

import base64
import json
from decimal import Decimal
from enum import Enum
from typing import Any, Final

from support.specimen import Specimen, duration_of, timestamp_of, timestamp_text


class Dialect(Enum):
    """(name of serial_numbers, prefix of enum names, whether zero values may be left out)."""

    PROTO = ("serialNumbers", "HUE_", True)
    XSD = ("SerialNumbers", "", False)
    THRIFT = ("serial_numbers", "", False)  # which has no unsigned integers: huge is text


_PLAIN: Final = ("id", "small", "flag", "label", "tags", "parts", "origin", "card", "rank", "nickname", "tree")
_ZERO: Final = {"id": "", "small": 0, "big": 0, "huge": 0, "ratio": 0.0, "flag": False, "label": "", "blob": ""}
_SPECIAL: Final = {float("inf"): "Infinity", float("-inf"): "-Infinity"}


def to_json(specimen: Specimen, dialect: Dialect) -> Any:
    """64-bit integers both as text and as numbers, for both must be understood."""
    serial, prefix, _ = dialect.value
    value: dict[str, Any] = {name: specimen[name] for name in _PLAIN if name in specimen}
    value |= {
        "big": str(specimen["big"]),
        "huge": str(specimen["huge"]) if dialect is Dialect.THRIFT else specimen["huge"],
        "ratio": _SPECIAL.get(specimen["ratio"], specimen["ratio"]),
        "blob": base64.b64encode(specimen["blob"]).decode(),
        "sizes": {name: str(size) for name, size in specimen["sizes"].items()},
        serial: list(specimen["serial_numbers"]),
    }
    if "price" in specimen:
        value["price"] = f"{specimen['price']:f}"
    if "at" in specimen:
        value["at"] = timestamp_text(specimen["at"])
    if "took" in specimen:
        seconds, fraction = divmod(abs(specimen["took"]), 10**9)
        value["took"] = f"{'-' if specimen['took'] < 0 else ''}{seconds}.{fraction:09d}s"
    if "hue" in specimen:
        value["hue"] = prefix + specimen["hue"]
    if "cash" in specimen:
        value["cash"] = {"currency": specimen["cash"]["currency"], "units": str(specimen["cash"]["units"])}
    return value


def from_json(value: Any, dialect: Dialect) -> Specimen:
    """Fails for members that the contract does not have, and for those that must be there and are not."""
    serial, prefix, sparse = dialect.value
    given = {**_ZERO, **value} if sparse else dict(value)
    specimen = {name: given.pop(name) for name in ("id", "small", "flag", "label")}
    specimen["big"] = _integer(given.pop("big"))
    specimen["huge"] = _integer(given.pop("huge"))
    specimen["ratio"] = float(given.pop("ratio"))
    specimen["blob"] = base64.b64decode(given.pop("blob"), validate=True)
    specimen["tags"] = given.pop("tags", {})
    specimen["sizes"] = {name: _integer(size) for name, size in given.pop("sizes", {}).items()}
    specimen["serial_numbers"] = [_integer(number) for number in given.pop(serial, [])]
    parts = [_defaulted(part, {"name": "", "count": 0}, dialect) for part in given.pop("parts", [])]
    specimen["parts"] = [{**part, "count": _integer(part["count"])} for part in parts]
    for name in ("card", "rank", "nickname"):
        if name in given:
            specimen[name] = given.pop(name)
    if "price" in given:
        assert isinstance(given["price"], str)
        specimen["price"] = Decimal(given.pop("price"))
    if "at" in given:
        specimen["at"] = timestamp_of(given.pop("at"))
    if "took" in given:
        specimen["took"] = duration_of(given.pop("took"))
    if "hue" in given:
        hue = given.pop("hue")
        assert hue.startswith(prefix), hue
        specimen["hue"] = hue.removeprefix(prefix)
    if "origin" in given:
        specimen["origin"] = _defaulted(given.pop("origin"), {"city": ""}, dialect)
    if "cash" in given:
        cash = _defaulted(given.pop("cash"), {"currency": "", "units": 0}, dialect)
        specimen["cash"] = {**cash, "units": _integer(cash["units"])}
    if "tree" in given:
        specimen["tree"] = _node(given.pop("tree"), dialect)
    assert not given, f"members that the contract does not have: {given}"
    return specimen


def dumps(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def _integer(value: Any) -> int:
    assert not isinstance(value, float), f"{value!r}: an integer went through a float"
    return int(value)


def _defaulted(value: dict[str, Any], zero: dict[str, Any], dialect: Dialect) -> dict[str, Any]:
    return {**zero, **value} if dialect.value[2] else dict(value)


def _node(value: dict[str, Any], dialect: Dialect) -> dict[str, Any]:
    node = _defaulted(value, {"name": ""}, dialect)
    return {"name": node["name"], "children": [_node(child, dialect) for child in node.get("children", [])]}
