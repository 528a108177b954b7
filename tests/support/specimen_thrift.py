"""Specimens as thriftpy2's objects of specimen.thrift."""

import json
from decimal import Decimal
from typing import Any, Final

from support.specimen import Specimen, timestamp_of, timestamp_text

_PLAIN: Final = (
    "id", "small", "big", "ratio", "flag", "label", "blob", "took", "tags", "sizes", "serial_numbers", "card", "rank",
)  # fmt: skip


def to_thrift(given: Specimen, module: Any) -> Any:
    """module: what thriftpy2 made of specimen.thrift."""
    value = module.Specimen(**{name: given[name] for name in _PLAIN if name in given})
    value.huge = str(given["huge"])
    value.parts = [module.Part(**part) for part in given["parts"]]
    if "price" in given:
        value.price = f"{given['price']:f}"
    if "at" in given:
        value.at = timestamp_text(given["at"])
    if "hue" in given:
        value.hue = getattr(module.Hue, given["hue"])
    if "origin" in given:
        value.origin = module.Place(**given["origin"])
    if "cash" in given:
        value.cash = module.Money(**given["cash"])
    if "nickname" in given:
        value.nickname = json.dumps(given["nickname"])
    if "tree" in given:
        value.tree = _grown(given["tree"], module)
    return value


def from_thrift(value: Any, module: Any) -> Specimen:
    given = {name: found for name in _PLAIN if (found := getattr(value, name)) is not None}
    given["blob"] = bytes(value.blob)  # thriftpy2 may give a view
    given["huge"] = int(value.huge)
    given["parts"] = [{"name": part.name, "count": part.count} for part in value.parts]
    if value.price is not None:
        given["price"] = Decimal(value.price)
    if value.at is not None:
        given["at"] = timestamp_of(value.at)
    if value.hue is not None:
        given["hue"] = module.Hue._VALUES_TO_NAMES[value.hue]
    if value.origin is not None:
        given["origin"] = {name: text for name in ("city", "zip") if (text := getattr(value.origin, name)) is not None}
    if value.cash is not None:
        given["cash"] = {"currency": value.cash.currency, "units": value.cash.units}
    if value.nickname is not None:
        given["nickname"] = json.loads(value.nickname)
    if value.tree is not None:
        given["tree"] = _node(value.tree)
    return given


def _grown(given: dict[str, Any], module: Any) -> Any:
    return module.Node(name=given["name"], children=[_grown(child, module) for child in given["children"]])


def _node(value: Any) -> dict[str, Any]:
    return {"name": value.name, "children": [_node(child) for child in value.children or ()]}
