"""What XML adds to the type IR: where a field stands in its element and how its text is read."""

from dataclasses import dataclass
from enum import Enum
from typing import Final

from gateway.schema.idl.xml.document import XSD
from gateway.schema.types import (
    ANY,
    BOOL,
    BYTES,
    DATE,
    DECIMAL,
    DURATION,
    FLOAT32,
    FLOAT64,
    INT32,
    INT64,
    INTEGER,
    STRING,
    TIME,
    TIMESTAMP,
    UINT32,
    UINT64,
    Enumeration,
    List,
    Record,
    Scalar,
    Type,
)

ENCODING: Final = "http://schemas.xmlsoap.org/soap/encoding/"
DERIVATION: Final = "xsi:type"
"""Name of the Choice between the derived types that may stand in for a record's own."""

Facet = tuple[str, str]


class Place(Enum):
    """Where in the element of its record a field stands."""

    ELEMENT = "child element"
    ATTRIBUTE = "attribute"
    TEXT = "the element's own text"
    WILDCARD = "any child element that no other field takes"
    GROUP = "a run of child elements that belong together"
    DERIVED = "what a derived type (xsi:type) adds"


class Space(Enum):
    """XSD's whiteSpace facet (XML Schema 1.0 part 2, 4.3.6)."""

    PRESERVE = "preserve"
    REPLACE = "replace"
    COLLAPSE = "collapse"


@dataclass(frozen=True, slots=True)
class Simple:
    """A simple type.

    item: the type of the value, or of each value of a list.
    builtin: local name of the XSD type that it is, or is derived from.
    facets: constraints by name, as (name, value); the patterns of one step of derivation are one, joined by |.
    listed: xsd:list, values separated by white space.
    """

    item: Scalar | Enumeration
    builtin: str
    facets: tuple[Facet, ...] = ()
    space: Space = Space.COLLAPSE
    listed: bool = False

    @property
    def type(self) -> Type:
        return List(self.item) if self.listed else self.item

    @property
    def hex(self) -> bool:
        return self.builtin == "hexBinary"


@dataclass(frozen=True, slots=True, kw_only=True)
class XmlHint:
    """Field.wire of a field that came from XSD.

    tag: name of the element or attribute in Clark notation, {namespace}local; of the derived type for DERIVED.
    simple: how its text is read; None where the type is a Record, or ANY.
    minimum, maximum: how often the element may occur; None is unbounded.
    empty: text that an empty element stands for (XSD's element default).
    fixed: the only text that is valid.
    namespaces: of a WILDCARD only: those that it takes ("" is none); empty takes all, "!x" takes all but x and none.
    entry: of a Map only: tag of the repeated entry element, and the Record of its key and value.
    wrapper: of a repeated element only: tag of the one element that they stand in; empty where they stand in the
        record's own.
    """

    place: Place
    tag: str = ""
    simple: Simple | None = None
    minimum: int = 1
    maximum: int | None = 1
    empty: str | None = None
    fixed: str | None = None
    namespaces: tuple[str, ...] = ()
    entry: tuple[str, Record] | None = None
    wrapper: str = ""

    @property
    def repeated(self) -> bool:
        return self.maximum is None or self.maximum > 1


@dataclass(frozen=True, slots=True, kw_only=True)
class XmlRecord:
    """Record.wire of a record that came from XSD or is the message of an operation.

    tag: the element that it is when it is a message, in Clark notation; empty when there is no such element.
    type: Clark name of its complex type; empty when that is anonymous.
    typed: whether each element tells its type (xsi:type), as rpc/encoded wants it.
    """

    tag: str = ""
    type: str = ""
    typed: bool = False


def _simple(item: Scalar, builtin: str, space: Space = Space.COLLAPSE, **facets: int) -> Simple:
    return Simple(item, builtin, tuple((name, str(value)) for name, value in facets.items()), space)


_STRINGS: Final = (
    "token language Name NCName ID IDREF NMTOKEN ENTITY anyURI QName NOTATION gYear gYearMonth gMonth gMonthDay gDay"
)
_LISTS: Final = {"IDREFS": "IDREF", "NMTOKENS": "NMTOKEN", "ENTITIES": "ENTITY"}

BUILTIN: Final[dict[str, Simple]] = {
    **{name: _simple(STRING, name) for name in _STRINGS.split()},
    **{name: Simple(STRING, item, listed=True) for name, item in _LISTS.items()},
    "string": _simple(STRING, "string", Space.PRESERVE),
    "anySimpleType": _simple(STRING, "string", Space.PRESERVE),
    "anyAtomicType": _simple(STRING, "string", Space.PRESERVE),
    "normalizedString": _simple(STRING, "normalizedString", Space.REPLACE),
    "boolean": _simple(BOOL, "boolean"),
    "decimal": _simple(DECIMAL, "decimal"),
    "float": _simple(FLOAT32, "float"),
    "double": _simple(FLOAT64, "double"),
    "duration": _simple(DURATION, "duration"),
    "dayTimeDuration": _simple(DURATION, "duration"),
    "dateTime": _simple(TIMESTAMP, "dateTime"),
    "dateTimeStamp": _simple(TIMESTAMP, "dateTime"),
    "time": _simple(TIME, "time"),
    "date": _simple(DATE, "date"),
    "hexBinary": _simple(BYTES, "hexBinary"),
    "base64Binary": _simple(BYTES, "base64Binary"),
    "integer": _simple(INTEGER, "integer"),
    "nonPositiveInteger": _simple(INTEGER, "nonPositiveInteger", maxInclusive=0),
    "negativeInteger": _simple(INTEGER, "negativeInteger", maxInclusive=-1),
    "nonNegativeInteger": _simple(INTEGER, "nonNegativeInteger", minInclusive=0),
    "positiveInteger": _simple(INTEGER, "positiveInteger", minInclusive=1),
    "long": _simple(INT64, "long"),
    "int": _simple(INT32, "int"),
    "short": _simple(INT32, "short", minInclusive=-(2**15), maxInclusive=2**15 - 1),
    "byte": _simple(INT32, "byte", minInclusive=-(2**7), maxInclusive=2**7 - 1),
    "unsignedLong": _simple(UINT64, "unsignedLong"),
    "unsignedInt": _simple(UINT32, "unsignedInt"),
    "unsignedShort": _simple(UINT32, "unsignedShort", maxInclusive=2**16 - 1),
    "unsignedByte": _simple(UINT32, "unsignedByte", maxInclusive=2**8 - 1),
}
"""XSD's built-in simple types by local name."""

ANY_TYPE: Final = f"{{{XSD}}}anyType"
ANY_SIMPLE: Final = Simple(ANY, "anyType", space=Space.PRESERVE)
"""An element of type anyType: simple content whose xsi:type says what it is; text where it says nothing."""
