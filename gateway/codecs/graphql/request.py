"""GraphQL requests and responses as JSON, as all transports carry them."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from gateway.codecs.form import parse_form
from gateway.codecs.graphql.error import malformed
from gateway.codecs.json.format import too_deep


class Number(float):
    """A float of a request's JSON that remembers its digits, for the scalars that are none."""

    __slots__ = ("text",)

    def __new__(cls, written: str) -> "Number":
        """Raises ValueError for one that would be infinite."""
        made = super().__new__(cls, written)
        if made - made != 0:
            raise ValueError("a number is out of range; write it as a string")
        made.text = written
        return made

    text: str


_decode: Final = msgspec.json.Decoder(float_hook=Number).decode
_encode: Final = msgspec.json.Encoder(decimal_format="number").encode


class GraphqlRequest(msgspec.Struct, frozen=True):
    """variables: parsed JSON, floats as Numbers."""

    query: str
    operation: str | None
    variables: Mapping[str, Any]


def parse_json(data: bytes | str) -> Any:
    """Floats as Numbers. Raises ValueError with a sentence."""
    data = data.encode() if isinstance(data, str) else data
    if too_deep(data):
        raise ValueError("the JSON is nested too deeply")
    try:
        return _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"malformed JSON: {str(error).removeprefix('JSON is malformed: ')}") from None


def parse_body(body: bytes) -> Any:
    """The JSON of a POST. Raises RequestError."""
    try:
        return parse_json(body)
    except ValueError as problem:
        raise malformed(str(problem)) from None


def parse_query(query: str) -> Mapping[str, Any]:
    """The parameters of a GET, of which two are JSON in text. Raises RequestError."""
    found: dict[str, Any] = dict(parse_form(query.encode())) if query else {}
    for name in ("variables", "extensions"):
        if found.get(name):
            try:
                found[name] = parse_json(found[name])
            except (ValueError, AttributeError, TypeError):
                raise malformed(f"{name} must be a JSON object") from None
        else:
            found.pop(name, None)
    return found


def to_json(value: Any) -> bytes:
    return _encode(value)


def request_of(parameters: Any) -> GraphqlRequest:
    """Of a request's JSON. Raises RequestError."""
    if not isinstance(parameters, dict):
        raise malformed("a JSON object is expected")
    query, variables = parameters.get("query"), parameters.get("variables")
    operation, extensions = parameters.get("operationName"), parameters.get("extensions")
    if not isinstance(query, str) or not query.strip():
        raise malformed("query is missing: the GraphQL document, as a string")
    if not (variables is None or isinstance(variables, dict)):
        raise malformed("variables must be an object")
    if not (operation is None or isinstance(operation, str)):
        raise malformed("operationName must be a string")
    if not (extensions is None or isinstance(extensions, dict)):
        raise malformed("extensions must be an object")
    return GraphqlRequest(query, operation or None, variables or {})
