"""The two messages that every variant translates. No field has its default value: whether such are printed differs."""

import json
from typing import Any, Final
from xml.sax.saxutils import escape

NAMESPACE: Final = "urn:bench:v1"
_STATUS: Final = ("STATUS_PLACED", "STATUS_PAID", "STATUS_SHIPPED")

SMALL: Final[dict[str, Any]] = {
    "orderId": "o-2041177",
    "customerId": "c-7781",
    "quantity": 3,
    "totalCents": "129900",
    "paid": True,
    "status": "STATUS_PAID",
}

ORDER: Final[dict[str, Any]] = {
    "orderId": "o-2041178",
    "customerId": "c-7782",
    "totalCents": "9007199254740993",
    "discount": 0.125,
    "paid": True,
    "status": "STATUS_PLACED",
    "notes": ["leave at the door", "Grüße aus Köln", "call first"],
    "labels": {"channel": "web", "region": "eu-west", "campaign": "autumn"},
    "lines": [
        {
            "sku": f"SKU-{number:05d}",
            "title": f"Ceramic mug, blue, size {number}",
            "quantity": 1 + number % 7,
            "unitCents": str(1299 + number),
            "weight": 0.3125 + number / 8,
            "gift": True,
            "status": _STATUS[number % 3],
            "lots": [number + 1, number + 300],
        }
        for number in range(60)
    ],
}

MESSAGES: Final = {"small": SMALL, "order": ORDER}


def to_json(message: dict[str, Any]) -> bytes:
    return json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode()


def to_soap(operation: str, message: dict[str, Any]) -> bytes:
    """A SOAP 1.1 envelope, document/literal wrapped."""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<soap:Envelope xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/"><soap:Body>'
        f'<{operation} xmlns="{NAMESPACE}">{_members(message)}</{operation}>'
        "</soap:Body></soap:Envelope>"
    ).encode()


def _members(message: dict[str, Any]) -> str:
    return "".join(_element(name, value) for name, value in message.items())


def _element(name: str, value: Any) -> str:
    match value:
        case list():
            return "".join(_element(name, item) for item in value)
        case dict() if name == "labels":
            entries = [f"<entry>{_members({'key': key, 'value': text})}</entry>" for key, text in value.items()]
            return f"<{name}>{''.join(entries)}</{name}>"
        case dict():
            return f"<{name}>{_members(value)}</{name}>"
        case bool():
            return f"<{name}>{'true' if value else 'false'}</{name}>"
        case _:
            return f"<{name}>{escape(str(value))}</{name}>"
