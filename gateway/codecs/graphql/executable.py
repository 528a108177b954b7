"""The schema with a resolver behind each root field that has one."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Any

from ariadne import ObjectType, SubscriptionType, make_executable_schema
from graphql import GraphQLResolveInfo, GraphQLScalarType, GraphQLSchema, is_specified_scalar_type

from gateway.codecs.graphql.format import TYPENAME
from gateway.codecs.graphql.scalars import bindable
from gateway.schema.idl.graphql.reader import GraphqlSchema
from gateway.schema.idl.json.hint import JsonHint
from gateway.status import Code, Failure

Resolve = Callable[[Mapping[str, Any], Any], Awaitable[Any]]
"""(arguments, caller) -> the field's value, as GraphqlFormat writes it. Raises Failure."""

Subscribe = Callable[[Mapping[str, Any], Any], AsyncGenerator[Any, None]]
"""The same of a subscription's field: the value of each event."""


def executable(
    schema: GraphqlSchema, resolvers: Mapping[str, Resolve], sources: Mapping[str, Subscribe], forms: JsonHint
) -> GraphQLSchema:
    """resolvers, sources: by field, such as Query.order. forms: how scalars are written."""
    scalars = [
        bindable(type_.name, schema.types.kind(type_), forms)
        for type_ in schema.schema.type_map.values()
        if isinstance(type_, GraphQLScalarType) and not is_specified_scalar_type(type_)
    ]
    roots: dict[str, ObjectType] = {}
    for name, resolve in resolvers.items():
        root, own = _root(schema, name)
        roots.setdefault(root, ObjectType(root)).set_field(own, _resolver(resolve))
    for name, subscribe in sources.items():
        root, own = _root(schema, name)
        subscription = roots.setdefault(root, _Subscription(root))
        if isinstance(subscription, SubscriptionType):
            subscription.set_source(own, _source(subscribe))
            subscription.set_field(own, _event)
    return make_executable_schema(schema.sdl, *scalars, *roots.values())


def _root(schema: GraphqlSchema, name: str) -> tuple[str, str]:
    """(the root type's name, the field's)"""
    kind, _ = schema.find(name)
    root = schema.schema.get_root_type(kind)
    if root is None:
        raise KeyError(name)
    return root.name, name.partition(".")[2]


class _Subscription(SubscriptionType):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name


def _resolver(resolve: Resolve) -> Callable[..., Any]:
    def field(_: Any, info: GraphQLResolveInfo[Any], **arguments: Any) -> Awaitable[Any]:
        return resolve(arguments, info.context)

    return field


def _source(subscribe: Subscribe) -> Callable[..., AsyncGenerator[Any, None]]:
    def events(_: Any, info: GraphQLResolveInfo[Any], **arguments: Any) -> AsyncGenerator[Any, None]:
        return subscribe(arguments, info.context)

    return events


def _event(value: Any, _: GraphQLResolveInfo[Any], **__: Any) -> Any:
    return value


def member(source: Any, info: GraphQLResolveInfo[Any], **_: Any) -> Any:
    """Resolves the fields that have no resolver: members of a reply."""
    if source is None:
        name = f"{info.parent_type.name}.{info.field_name}"
        raise Failure(Code.UNIMPLEMENTED, f"no route serves {name}", sent=False)
    return source.get(info.field_name)


def type_resolver(members: Mapping[tuple[str, str], str]) -> Callable[[Any, Any, Any], str]:
    """Resolves interfaces and unions. members: (union, arm) -> its type, where that is not called as the arm."""

    def type_of(value: Any, _: GraphQLResolveInfo[Any], abstract: Any) -> str:
        arm: str = value[TYPENAME]
        return members.get((abstract.name, arm), arm)

    return type_of
