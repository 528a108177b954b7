"""Lists of texts, of which routes.yaml may write a single one as it is: topic: orders, topic: [orders, returns]."""

from typing import Annotated, Any, TypeVar, get_args

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

T = TypeVar("T")


class _One:
    """Takes a text for the only item."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        items = handler(source)
        either = core_schema.union_schema([handler.generate_schema(get_args(source)[0]), items])
        return core_schema.no_info_before_validator_function(_listed, items, json_schema_input_schema=either)


def _listed(value: object) -> object:
    return (value,) if isinstance(value, str) else value


Listed = Annotated[tuple[T, ...], _One()]
