"""Route: a compiled Service. The only place that arms a timer, counts, logs and turns surprises into Failures."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing
from time import perf_counter
from typing import Any, Final

import msgspec

from gateway.bridge import Step
from gateway.codecs.format import Unknown
from gateway.codecs.json.format import JsonFormat, read
from gateway.conversion import Converter
from gateway.message import Context, Message
from gateway.net.deadlines import Deadlines
from gateway.observe import AccessLog, RouteMetrics
from gateway.port import Contract, Service
from gateway.reading import Reading
from gateway.schema.names import failure_convention
from gateway.schema.types import Record
from gateway.schema.values import struct_of
from gateway.status import Code, Detail, Failure, as_failure

log = logging.getLogger("gateway.route")

_CONVERTERS: Final = 256
_NEVER: Final = float("inf")


class FailureTranslator:
    """Makes an upstream's failure one in the caller's contract.

    codes: overrides by failure name or by code name, from the route's `errors:`.
    """

    def __init__(self, inbound: Contract, outbound: Contract, codes: Mapping[str, Code]) -> None:
        self._inbound = inbound
        self._outbound = outbound
        self._codes = {failure_convention(name): code for name, code in codes.items()}
        self._converters: dict[str, Callable[[Any], Detail]] = {}

    def translate(self, failure: Failure) -> Failure:
        code = self._codes.get(failure_convention(failure.code.name), failure.code)
        details = []
        for detail in failure.details:
            code = self._codes.get(failure_convention(detail.name), code)
            convert = self._converters.get(detail.name)
            if convert is None:
                convert = self._compile(detail.name)
                if len(self._converters) < _CONVERTERS:  # the peer chooses the names
                    self._converters[detail.name] = convert
            try:
                details.append(convert(detail.value))
            except Failure as misfit:
                log.warning("detail %s can't be translated: %s", detail.name, misfit)
        return Failure(
            code,
            failure.message,
            path=failure.path,
            details=details,
            retry_after=failure.retry_after,
            sent=failure.sent,
            counted=True,
        )

    def _compile(self, name: str) -> Callable[[Any], Detail]:
        source, target = self._outbound.failure(name), self._inbound.failure(name)
        if source is not None and target is not None:
            converter = Converter()
            python = converter.expression(source, target, "s", "$")
            converter.function(f"def convert(s):\n    return {python}")
            if not any(finding.fatal for finding in converter.findings):
                convert = converter.build(f"failure {name}")[0]["convert"]
                target_name = target.name
                return lambda value: Detail(target_name, convert(value))
        if source is not None:
            to_json = _json_of(source)
            return lambda value: Detail(name, to_json(value))
        if target is not None:
            return _typed(name, target)
        return lambda value: Detail(name, value)


def _typed(name: str, target: Record) -> Callable[[Any], Detail]:
    """An untyped upstream's detail as the caller's contract declares it; as it came, where it is not of that type."""

    def convert(value: Any) -> Detail:
        try:
            return Detail(target.name, read(target, value, Unknown.DROP))
        except Failure:
            return Detail(name, value)

    return convert


def _json_of(record: Record) -> Callable[[Any], Any]:
    encode = JsonFormat().encoder(record)
    struct = struct_of(record)
    decode = msgspec.json.decode
    return lambda value: decode(encode(value)) if isinstance(value, struct) else value


class Route:
    """Joins an inbound to an outbound.

    request, reply: the translation of one message each way; used as they are when both sides are unary, else by
        `service`, which is then a Bridge.
    one_reply: a stream's caller may close it after the first reply, which is then the whole of it.
    deadline: seconds that a unary call may take, the caller's own deadline being respected if it is earlier.
    stream_deadline: the same for streams; infinity lets them live as long as the caller.
    endless: no call of the upstream's comes to an end of its own.
    """

    __slots__ = (
        "__weakref__",
        "_access",
        "_bridged",
        "_deadlines",
        "_endless",
        "_failures",
        "_metrics",
        "_one_reply",
        "_readings",
        "_reply",
        "_request",
        "_service",
        "_stopping",
        "_stream_deadline",
        "name",
    )

    def __init__(
        self,
        name: str,
        service: Service,
        *,
        request: Step,
        reply: Step,
        bridged: bool,
        one_reply: bool,
        failures: FailureTranslator,
        deadline: float,
        stream_deadline: float,
        metrics: RouteMetrics,
        access: AccessLog | None,
        endless: bool = False,
    ) -> None:
        self.name = name
        self._service = service
        self._request = request
        self._reply = reply
        self._bridged = bridged
        self._one_reply = one_reply
        self._failures = failures
        self._deadlines = Deadlines(deadline)
        self._stream_deadline = stream_deadline
        self._metrics = metrics
        self._access = access
        self._endless = endless
        self._readings: set[Reading] = set()
        self._stopping = False

    def drain(self) -> None:
        """What has no end of its own is ended; all else may come to its end."""
        if self._endless:
            self.end()

    def end(self) -> None:
        """All calls fail with UNAVAILABLE, those in flight and those that still come."""
        self._stopping = True
        self._deadlines.expire()
        for reading in tuple(self._readings):
            reading.end(_stopped())

    async def call(self, request: Message, context: Context) -> Message:
        context.route = self.name
        armed = self._deadlines.arm(context.deadline)
        context.deadline = armed.at
        metrics = self._metrics
        metrics.in_flight += 1
        code, why = Code.OK, ""
        start = perf_counter()
        try:
            if self._stopping:
                raise _stopped(sent=False)
            if self._bridged:
                return await self._service.call(request, context)
            return self._reply(await self._service.call(self._request(request), context))
        except Failure as failure:
            told = self._failures.translate(failure)
            code, why = told.code, told.text
            raise told from failure
        except asyncio.CancelledError:
            if armed.settle():
                told = _stopped() if self._stopping else self._late()
                code, why = told.code, told.text
                raise told from None
            code, why = Code.CANCELLED, context.departure.why
            raise
        except Exception as error:
            told = self._surprise(error)
            code, why = told.code, told.text
            raise told from None
        finally:
            self._deadlines.disarm(armed)
            metrics.in_flight -= 1
            seconds = perf_counter() - start
            metrics.observe(code, seconds)
            if self._access is not None:
                self._access.write(context, code, seconds, why)

    async def stream(
        self, request: Message, more: AsyncIterator[Message] | None, context: Context
    ) -> AsyncGenerator[Message, None]:
        loop = asyncio.get_running_loop()
        context.route = self.name
        latest = loop.time() + self._stream_deadline
        if context.deadline > latest:
            context.deadline = latest
        metrics = self._metrics
        metrics.in_flight += 1
        code, why, answered = Code.OK, "", False
        start = perf_counter()
        reading = Reading()
        timer = None if context.deadline == _NEVER else loop.call_at(context.deadline, reading.end, self._late())
        self._readings.add(reading)
        if self._stopping:
            reading.end(_stopped(sent=False))
        if more is not None:
            more = self._counted(more)
        try:
            async with aclosing(self._service.stream(request, more, context)) as replies:
                while (reply := await reading.next(replies)) is not None:
                    metrics.messages_out += 1
                    answered = True
                    yield reply
        except Failure as failure:
            told = failure if failure is reading.failure else self._failures.translate(failure)
            code, why = told.code, told.text
            if told is failure:
                raise
            raise told from failure
        except (asyncio.CancelledError, GeneratorExit) as error:
            if not (answered and self._one_reply and isinstance(error, GeneratorExit)):
                code, why = Code.CANCELLED, context.departure.why
            raise
        except Exception as error:
            told = self._surprise(error)
            code, why = told.code, told.text
            raise told from None
        finally:
            if timer is not None:
                timer.cancel()
            self._readings.discard(reading)
            metrics.in_flight -= 1
            seconds = perf_counter() - start
            metrics.observe(code, seconds)
            if self._access is not None:
                self._access.write(context, code, seconds, why)

    async def _counted(self, more: AsyncIterator[Message]) -> AsyncIterator[Message]:
        async for message in more:
            self._metrics.messages_in += 1
            yield message

    def _surprise(self, error: Exception) -> Failure:
        told = as_failure(error, f"in route {self.name}", log)
        told.counted = True
        return told

    def _late(self) -> Failure:
        return Failure(Code.DEADLINE_EXCEEDED, f"no answer within the deadline of route {self.name}", counted=True)


def _stopped(*, sent: bool = True) -> Failure:
    return Failure(Code.UNAVAILABLE, "the gateway is stopping", retry_after=1.0, sent=sent, counted=True)
