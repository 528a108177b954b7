"""OpenAPI documents: the contract of an endpoint that has one, and what is served at /openapi.json."""

import asyncio
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final, get_args

import msgspec

from adapters.http.config import BODYLESS, HttpEndpoint, HttpSource, HttpTarget, Method
from gateway.net.http.media_type import JSON
from gateway.net.http.negotiation import MEDIA_TYPES, format_of
from gateway.net.http.router import PathTemplate
from gateway.net.http.server import Handler, HttpReply, HttpRequest
from gateway.pattern import Count
from gateway.port import Binding, ContractError
from gateway.schema.idl.json.document import JsonDocumentError
from gateway.schema.idl.json.hint import JsonHint
from gateway.schema.idl.json.openapi import HttpBinding, OpenApi
from gateway.schema.idl.json.openapi_writer import Served, openapi
from gateway.schema.types import Operation

DOCUMENT_PATH: Final = "/openapi.json"


class Wire(msgspec.Struct, frozen=True):
    """An address resolved: Contract.wire. operation: None where the endpoint has no document."""

    method: str
    template: PathTemplate
    operation: Operation | None = None

    @property
    def binding(self) -> HttpBinding | None:
        return None if self.operation is None else self.operation.wire

    @property
    def body(self) -> str:
        """The name of the format that the document has for the body."""
        return (self.binding and format_of(self.binding.media_type)) or "json"

    @property
    def reply(self) -> str:
        """The same for the reply's body."""
        return (self.binding and format_of(self.binding.reply_media_type)) or "json"


class Api:
    """The document of an endpoint, if it has one."""

    def __init__(self, endpoint: HttpEndpoint, path: Path | None) -> None:
        self._endpoint = endpoint
        self._path = path
        self._openapi: OpenApi | None = None

    async def load(self) -> None:
        """Raises ContractError."""
        if self._path is None:
            return
        try:
            self._openapi = await asyncio.to_thread(OpenApi.load, self._path)
        except JsonDocumentError as error:
            raise ContractError(str(error), field=("openapi",), hint=error.hint) from None

    @property
    def document(self) -> dict[str, Any] | None:
        return None if self._openapi is None else self._openapi.document

    def resolve(self, address: HttpSource | HttpTarget) -> Wire:
        """Raises ContractError."""
        if self._openapi is None:
            if address.path is None:
                hint = "give openapi: to the endpoint, or method: and path: here"
                raise ContractError("the endpoint has no OpenAPI document", field=("operation",), hint=hint)
            return Wire(address.method, PathTemplate(address.path))
        try:
            if address.operation is not None:
                operation = self._openapi.operation(address.operation)
            else:
                operation = self._openapi.find(address.method, str(address.path))
        except JsonDocumentError as error:
            field = "path" if address.operation is None else "operation"
            raise ContractError(str(error), field=(field,), hint=error.hint) from None
        binding: HttpBinding = operation.wire
        if binding.method not in get_args(Method):
            raise ContractError(f"{binding.method} is not served or called", field=("operation",))
        return Wire(binding.method, PathTemplate(binding.path), operation)


def document_handler(title: str, endpoint: HttpEndpoint, api: Api, bindings: Sequence[Binding]) -> Handler:
    """Serves the endpoint's own document, or else the one that its routes make."""
    made: bytes | None = None

    async def handle(request: HttpRequest) -> HttpReply:
        nonlocal made
        if made is None:
            made = msgspec.json.encode(_served(api.document) or _derived(title, endpoint, bindings))
        return HttpReply(200, (("Content-Type", JSON),), made)

    return handle


def _served(document: dict[str, Any] | None) -> dict[str, Any] | None:
    """Its paths are served here, whatever servers it names."""
    return document and {key: value for key, value in document.items() if key != "servers"}


def _derived(title: str, endpoint: HttpEndpoint, bindings: Sequence[Binding]) -> dict[str, Any]:
    served = [_operation(binding) for binding in bindings]
    forms = JsonHint(int64=endpoint.int64, decimal=endpoint.decimal)
    return openapi(title, "1", served, forms, declared=False)


def _operation(binding: Binding) -> Served:
    wire: Wire = binding.contract.wire
    return Served(
        name=binding.route,
        method=wire.method,
        path=wire.template.text,
        captures=wire.template.names,
        request=binding.request,
        reply=binding.reply,
        query=wire.method in BODYLESS,
        params=sorted(binding.params - set(wire.template.names)),
        many_requests=binding.pattern.requests is Count.MANY,
        many_replies=binding.pattern.replies is Count.MANY,
        request_types=_media_types({request for request, _ in binding.variants} - {binding.contract.format.name}),
        reply_types=_media_types({reply for _, reply in binding.variants} - {binding.contract.replies.name}),
        status=202 if binding.accepted else 204 if binding.pattern.replies is Count.NONE else 200,
    )


def _media_types(formats: Iterable[str]) -> list[str]:
    return [MEDIA_TYPES[name][0] for name in sorted(formats)]
