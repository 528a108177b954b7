"""The schema with a route behind each field that has one."""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any

import msgspec
from ariadne import ObjectType, SubscriptionType, make_executable_schema
from graphql import GraphQLResolveInfo, GraphQLScalarType, GraphQLSchema, is_specified_scalar_type

from adapters.graphql.scalars import bindable
from gateway.codecs.graphql import TYPENAME
from gateway.message import Context, Header, Message
from gateway.pattern import Count
from gateway.port import Binding
from gateway.schema.idl.graphql import GraphqlSchema
from gateway.schema.idl.json_hint import JsonHint
from gateway.status import Code, Failure


class Caller(msgspec.Struct):
    """Who calls, for all fields of a request. replied: headers that came with the replies."""

    headers: Mapping[str, str]
    peer: str
    trace: str
    replied: list[Header] = []


def executable(schema: GraphqlSchema, bindings: Mapping[str, Binding], forms: JsonHint) -> GraphQLSchema:
    """bindings: by field, such as Query.order. forms: how scalars are written."""
    scalars = [
        bindable(type_.name, schema.types.kind(type_), forms)
        for type_ in schema.schema.type_map.values()
        if isinstance(type_, GraphQLScalarType) and not is_specified_scalar_type(type_)
    ]
    roots: dict[str, ObjectType] = {}
    for name, binding in bindings.items():
        kind, _ = schema.find(name)
        root = schema.schema.get_root_type(kind)
        own = name.partition(".")[2]
        if root is None:
            continue
        if binding.pattern.replies is Count.MANY:
            subscription = roots.setdefault(root.name, _Subscription(root.name))
            if isinstance(subscription, SubscriptionType):
                subscription.set_source(own, _source(binding))
                subscription.set_field(own, _event)
        else:
            roots.setdefault(root.name, ObjectType(root.name)).set_field(own, _resolver(binding))
    return make_executable_schema(schema.sdl, *scalars, *roots.values())


class _Subscription(SubscriptionType):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name


def _resolver(binding: Binding) -> Callable[..., Any]:
    call = binding.service.call
    value_of = _value_of(binding)
    wanted = tuple(binding.headers)

    async def resolve(_: Any, info: GraphQLResolveInfo[Any], **arguments: Any) -> Any:
        caller: Caller = info.context
        reply = await call(Message(arguments, _headers(caller, wanted)), Context(peer=caller.peer, trace=caller.trace))
        caller.replied.extend(reply.headers)
        return value_of(reply.body)

    return resolve


def _source(binding: Binding) -> Callable[..., AsyncGenerator[Any, None]]:
    service = binding.service
    value_of = _value_of(binding)
    wanted = tuple(binding.headers)

    async def events(_: Any, info: GraphQLResolveInfo[Any], **arguments: Any) -> AsyncGenerator[Any, None]:
        caller: Caller = info.context
        message = Message(arguments, _headers(caller, wanted))
        async with aclosing(service.stream(message, None, Context(peer=caller.peer, trace=caller.trace))) as replies:
            async for reply in replies:
                yield value_of(reply.body)

    return events


def _event(value: Any, _: GraphQLResolveInfo[Any], **__: Any) -> Any:
    return value


def _value_of(binding: Binding) -> Callable[[Any], Any]:
    member = binding.contract.wire.member
    return (lambda body: body[member]) if member else (lambda body: body)


def _headers(caller: Caller, wanted: Sequence[str]) -> list[Header]:
    return [(name, value) for name in wanted if (value := caller.headers.get(name)) is not None]


def member(source: Any, info: GraphQLResolveInfo[Any], **_: Any) -> Any:
    """Resolves the fields that no route is behind: members of a reply."""
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
