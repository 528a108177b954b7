"""Executes GraphQL requests: parsed, judged, validated, then resolved. graphql-core is behind it."""

from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterable, Mapping
from contextlib import aclosing
from inspect import isawaitable
from math import isinf
from typing import Any, Final

import msgspec
from graphql import (
    DocumentNode,
    ExecutionResult,
    FieldNode,
    FloatValueNode,
    GraphQLError,
    GraphQLFloat,
    GraphQLSchema,
    IntValueNode,
    OperationDefinitionNode,
    OperationType,
    ValidationRule,
    get_named_type,
    get_operation_ast,
    parse,
    specified_rules,
    validate,
)
from graphql.execution import (
    Executor,
    create_source_event_stream,
    execute_root_selection_set,
    map_source_to_response_event,
)
from graphql.validation import NoSchemaIntrospectionCustomRule

from gateway.codecs.graphql.error import (
    BAD_REQUEST,
    PARSE_FAILED,
    TO_EXTENSION,
    RequestError,
    error,
    error_of,
    request_error,
)
from gateway.codecs.graphql.executable import member, type_resolver
from gateway.codecs.graphql.limits import COMMENTS, Limits, check
from gateway.codecs.graphql.request import GraphqlRequest
from gateway.status import Code

CACHED: Final = 256
CACHED_BYTES: Final = 16 * 1024
ERRORS: Final = 20  # told of one document


class Operation(msgspec.Struct, frozen=True):
    """What a request asks for; its document is valid."""

    document: DocumentNode
    kind: OperationType
    request: GraphqlRequest

    @property
    def mutates(self) -> bool:
        return self.kind is OperationType.MUTATION

    @property
    def subscribes(self) -> bool:
        return self.kind is OperationType.SUBSCRIPTION


class Engine:
    """One schema, bound to its resolvers.

    members: as type_resolver() takes them. pending: why some fields are not in the schema yet; empty when all are.
    """

    def __init__(
        self,
        schema: GraphQLSchema,
        limits: Limits,
        *,
        introspection: bool,
        members: Mapping[tuple[str, str], str],
        pending: str,
    ) -> None:
        self._schema = schema
        self._limits = limits
        self._introspection = introspection
        self._pending = pending
        self._type_of = type_resolver(members)
        self._rules = [*specified_rules, _OwnArgumentsRule, _FiniteFloatsRule]
        if not introspection:
            self._rules.append(NoSchemaIntrospectionCustomRule)
        self._documents: OrderedDict[str, DocumentNode] = OrderedDict()

    def prepare(self, request: GraphqlRequest) -> Operation:
        """Raises RequestError for a document that is malformed, over the limits or invalid."""
        document = self._documents.get(request.query)
        if document is None:
            document = self._judge(request.query)
            if len(request.query) <= CACHED_BYTES:
                self._documents[request.query] = document
                if len(self._documents) > CACHED:
                    self._documents.popitem(last=False)
        else:
            self._documents.move_to_end(request.query)
        node = get_operation_ast(document, request.operation)
        if node is None:
            raise RequestError([error(_no_operation(document, request.operation), BAD_REQUEST)])
        return Operation(document, node.operation, request)

    def _judge(self, query: str) -> DocumentNode:
        try:
            document = parse(query, max_lexical_tokens=self._limits.tokens, max_comments=COMMENTS)
        except GraphQLError as found:
            raise request_error([found], PARSE_FAILED) from None
        check(document, self._limits)
        problems = validate(
            self._schema, document, self._rules, max_errors=ERRORS, hide_suggestions=not self._introspection
        )
        if problems and self._pending:
            raise RequestError([error(self._pending, TO_EXTENSION[Code.UNAVAILABLE])], Code.UNAVAILABLE)
        if problems:
            raise request_error(problems)
        return document

    async def execute(self, operation: Operation, caller: Any) -> dict[str, Any]:
        """The response to a query or mutation. Raises RequestError for variables that don't fit.

        caller: who asks, as the resolvers know it.
        """
        result = execute_root_selection_set(self._executor(operation, caller))
        return response(await result if isawaitable(result) else result)

    async def subscribe(self, operation: Operation, caller: Any) -> AsyncGenerator[dict[str, Any], None]:
        """The responses to a subscription. Raises RequestError, and the Failure that ends the events."""
        executor = self._executor(operation, caller)
        started = create_source_event_stream(executor)
        source: AsyncIterable[Any] | ExecutionResult = await started if isawaitable(started) else started
        if isinstance(source, ExecutionResult):
            raise request_error(source.errors or (), TO_EXTENSION[Code.INVALID_ARGUMENT])
        async with aclosing(map_source_to_response_event(executor, source)) as results:
            async for result in results:
                yield response(result)

    def _executor(self, operation: Operation, caller: Any) -> Executor[Any]:
        request = operation.request
        try:
            executor = Executor.build(
                self._schema,
                operation.document,
                context_value=caller,
                raw_variable_values=dict(request.variables),
                operation_name=request.operation,
                field_resolver=member,
                type_resolver=self._type_of,
                hide_suggestions=not self._introspection,
            )
        except RecursionError:
            text = "the variables are nested too deeply"
            raise RequestError([error(text, TO_EXTENSION[Code.INVALID_ARGUMENT])]) from None
        if isinstance(executor, list):
            raise request_error(executor, TO_EXTENSION[Code.INVALID_ARGUMENT])
        return executor


def response(result: ExecutionResult) -> dict[str, Any]:
    if not result.errors:
        return {"data": result.data}
    return {"errors": [error_of(one, TO_EXTENSION[Code.INTERNAL]) for one in result.errors], "data": result.data}


def _no_operation(document: DocumentNode, name: str | None) -> str:
    if name:
        return f"the document has no operation {name[:100]}"
    count = sum(isinstance(node, OperationDefinitionNode) for node in document.definitions)
    return "operationName must say which operation to execute" if count else "the document has no operation"


class _OwnArgumentsRule(ValidationRule):
    """A reply comes whole from its route: arguments of the fields inside it would change nothing."""

    def enter_field(self, node: FieldNode, *_: Any) -> None:
        parent = self.context.get_parent_type()
        if not node.arguments or parent is None or parent.name.startswith("__"):
            return
        schema = self.context.schema
        if parent not in (schema.query_type, schema.mutation_type, schema.subscription_type):
            name = f"{parent.name}.{node.name.value}"
            self.report_error(GraphQLError(f"arguments of {name} are not served here", node.arguments[0]))


class _FiniteFloatsRule(ValidationRule):
    """The engine makes infinity of a literal that is out of a Float's range."""

    def enter_int_value(self, node: IntValueNode, *_: Any) -> None:
        self._check(node)

    def enter_float_value(self, node: FloatValueNode, *_: Any) -> None:
        self._check(node)

    def _check(self, node: IntValueNode | FloatValueNode) -> None:
        expected = self.context.get_input_type()
        if expected is not None and get_named_type(expected) is GraphQLFloat and isinf(float(node.value)):
            self.report_error(GraphQLError("Float cannot represent a number out of its range", node))
