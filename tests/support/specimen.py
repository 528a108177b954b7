"""Specimens as the pair suite knows them, apart from any protocol: dicts of Python values, absent members left out.

at, took: nanoseconds. nickname: may be None, which is not the same as absent. card, cash: at most one of them. Each
test peer turns them into its own library's values and back; nothing here comes from the gateway.
"""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from hypothesis import strategies as st

Specimen = dict[str, Any]

SECOND: Final = 10**9
DETAIL: Final = {"sku": "tea", "available": 2**53 + 1}
"""The declared failure, OutOfStock, that backends answer a refused specimen with."""
REFUSED: Final = "refuse this"
"""The label of specimens that every backend refuses."""
REFUSED_BYTES: Final = 32 * 1024
"""Size of their blob: a backend that knows no data refuses them for their size."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DURATION: Final = re.compile(r"(-)?P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)(\.\d+)?S)?)?")


def specimen(number: int = 0) -> Specimen:
    """One with every member, and hard values in all of them."""
    return {
        "id": f"s-{number} <&\"'>",
        "small": -(2**31) + number,
        "big": 2**53 + 1 + number,
        "huge": 2**64 - 1 - number,
        "ratio": 0.1 + number,
        "flag": True,
        "label": f"näher \U0001f980 <b>&amp;</b>\n\t{number}",
        "blob": bytes(range(256)),
        "price": Decimal("123456789012345678901.10"),
        "at": 1_767_225_599_123_456_789 + number,
        "took": -90_061_000_000_001,
        "hue": "DARK_BLUE",
        "tags": {"a": "1", "": "empty", "ü b": ""},
        "sizes": {"max": 2**63 - 1, "min": -(2**63)},
        "serial_numbers": [2**62 + number],
        "parts": [{"name": "only one", "count": 2**32 - 1}],
        "origin": {"city": "", "zip": "01099"},
        "cash": {"currency": "EUR", "units": 0},
        "rank": 0,
        "nickname": None,
        "tree": {"name": "root", "children": [{"name": "twig", "children": [{"name": "leaf", "children": []}]}]},
    }


def bare() -> Specimen:
    """One in which everything is absent or zero."""
    return {
        "id": "",
        "small": 0,
        "big": 0,
        "huge": 0,
        "ratio": 0.0,
        "flag": False,
        "label": "",
        "blob": b"",
        "tags": {},
        "sizes": {},
        "serial_numbers": [],
        "parts": [],
    }


def refused() -> Specimen:
    return {**bare(), "id": "refused", "label": REFUSED, "blob": b"\xff" * REFUSED_BYTES}


def answered(request: Specimen, number: int = 0) -> Specimen:
    """What a backend makes of a specimen, and can't be mistaken for what it was sent."""
    return {**request, "label": f"{request['label']}/{number}"}


def without_nulls(value: Any) -> Any:
    """The same without members that are null."""
    match value:
        case dict():
            return {name: without_nulls(member) for name, member in value.items() if member is not None}
        case list():
            return [without_nulls(item) for item in value]
        case _:
            return value


def exact(value: Any) -> Any:
    """Equal for what is equal to the last bit: Python's == takes True for 1 and -0.0 for 0.0."""
    match value:
        case dict():
            return {name: exact(member) for name, member in value.items()}
        case list():
            return [exact(item) for item in value]
        case Decimal():
            return ("Decimal", value)
        case _:
            return (type(value).__name__, repr(value))


_TEXT: Final = st.text(
    st.one_of(
        st.characters(codec="utf-8", exclude_categories=("Cc", "Cs"), exclude_characters="\ufffe\uffff"),
        st.sampled_from("\n\t\r<>&'\"]"),
    ),
    max_size=12,
)
"""What XML 1.0 can carry."""
_INT64: Final = st.one_of(
    st.integers(-(2**63), 2**63 - 1), st.sampled_from((0, 2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63)))
)
_DAY: Final = 86_400 * SECOND
_NODES: Final = st.recursive(
    st.builds(lambda name: {"name": name, "children": []}, _TEXT),
    lambda inner: st.fixed_dictionaries({"name": _TEXT, "children": st.lists(inner, max_size=2)}),
    max_leaves=5,
)


def _one_arm(drawn: tuple[Specimen, str, Any]) -> Specimen:
    whole, arm, value = drawn
    return {**whole, arm: value} if arm else whole


SPECIMENS: Final = st.tuples(
    st.fixed_dictionaries(
        {
            "id": _TEXT,
            "small": st.integers(-(2**31), 2**31 - 1),
            "big": _INT64,
            "huge": st.one_of(st.integers(0, 2**64 - 1), st.sampled_from((2**53 + 1, 2**64 - 1))),
            "ratio": st.floats(allow_nan=False),
            "flag": st.booleans(),
            "label": _TEXT,
            "blob": st.binary(max_size=40),
            "tags": st.dictionaries(_TEXT, _TEXT, max_size=3),
            "sizes": st.dictionaries(_TEXT, _INT64, max_size=3),
            "serial_numbers": st.lists(_INT64, max_size=3),
            "parts": st.lists(st.fixed_dictionaries({"name": _TEXT, "count": st.integers(0, 2**32 - 1)}), max_size=3),
        },
        optional={
            "price": st.builds(
                lambda digits, places: Decimal(digits).scaleb(-places),
                st.integers(-(10**27), 10**27),
                st.integers(0, 9),
            ),
            "at": st.integers(-719_000 * _DAY, 2_900_000 * _DAY),
            "took": st.integers(-(10**18), 10**18),
            "hue": st.sampled_from(("RED", "DARK_BLUE")),
            "origin": st.fixed_dictionaries({"city": _TEXT}, optional={"zip": _TEXT}),
            "rank": st.integers(-(2**31), 2**31 - 1),
            "nickname": st.one_of(st.none(), _TEXT),
            "tree": _NODES,
        },
    ),
    st.shared(st.sampled_from(("", "card", "cash")), key="arm"),
    st.shared(st.sampled_from(("", "card", "cash")), key="arm").flatmap(
        lambda arm: st.fixed_dictionaries({"currency": _TEXT, "units": _INT64}) if arm == "cash" else _TEXT
    ),
).map(_one_arm)


def timestamp_text(nanoseconds: int, hours: int = 0) -> str:
    """RFC 3339 with nine digits, in the zone so many hours east."""
    seconds, fraction = divmod(nanoseconds, SECOND)
    local = _EPOCH + timedelta(seconds=seconds, hours=hours)
    zone = f"+{hours:02d}:00" if hours else "Z"
    return f"{local.year:04d}{local:-%m-%dT%H:%M:%S}.{fraction:09d}{zone}"


def timestamp_of(text: str) -> int:
    """Nanoseconds of RFC 3339 or xsd:dateTime in UTC."""
    match = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z", text)
    assert match is not None, text
    since = datetime.fromisoformat(match[1]).replace(tzinfo=UTC) - _EPOCH
    return (since.days * 86_400 + since.seconds) * SECOND + int((match[2] or "").ljust(9, "0"))


def duration_text(nanoseconds: int) -> str:
    """xsd:duration, in days and seconds."""
    days, rest = divmod(abs(nanoseconds), _DAY)
    seconds, fraction = divmod(rest, SECOND)
    return f"{'-' if nanoseconds < 0 else ''}P{days}DT{seconds}.{fraction:09d}S"


def duration_of(text: str) -> int:
    """Nanoseconds of xsd:duration, or of protobuf's JSON form (1.5s)."""
    found = _DURATION.fullmatch(re.sub(r"^(-?)(\d+(?:\.\d+)?)s$", r"\1PT\2S", text))
    assert found is not None, text
    sign, days, hours, minutes, seconds, fraction = found.groups()
    whole = int(days or 0) * 86_400 + int(hours or 0) * 3600 + int(minutes or 0) * 60 + int(seconds or 0)
    value = whole * SECOND + int((fraction or ".")[1:].ljust(9, "0"))
    return -value if sign else value
