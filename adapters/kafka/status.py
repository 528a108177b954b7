"""Kafka's errors and the gateway's codes. https://kafka.apache.org/protocol.html#protocol_error_codes"""

from collections.abc import Mapping
from typing import Final

from aiokafka import errors

from gateway.status import Code, Disposition, Failure, disposition

TO_WIRE: Final[Mapping[Code, Disposition]] = {code: disposition(code) for code in Code}
"""What becomes of a consumed record whose route failed. Kafka has no error replies: where a record asks for a reply, a
failure is told as gateway.net.broker.reply has it."""

_UNREACHABLE: Final = "the Kafka brokers can't be reached"
_BUSY: Final = "the Kafka brokers can't take the message now"
# What the brokers refuse the gateway itself is no fault of the caller or of its message: an operator mends it, and the
# message is worth another try.
_FORBIDDEN: Final = "the gateway may not do this at the Kafka brokers"
_LOGIN: Final = "the Kafka brokers refuse the gateway's login"
_TOO_LARGE: Final = "the message is larger than the Kafka brokers take"
_BROKEN: Final = "the Kafka brokers found the message broken"

FROM_WIRE: Final[Mapping[type[Exception], tuple[Code, str]]] = {
    errors.MessageSizeTooLargeError: (Code.INVALID_ARGUMENT, _TOO_LARGE),
    errors.RecordListTooLargeError: (Code.INVALID_ARGUMENT, _TOO_LARGE),
    errors.InvalidTimestampError: (Code.INVALID_ARGUMENT, _BROKEN),
    errors.CorruptRecordException: (Code.DATA_LOSS, _BROKEN),
    errors.PolicyViolationError: (Code.INVALID_ARGUMENT, "the message is against the Kafka brokers' policy"),
    errors.InvalidTopicError: (Code.NOT_FOUND, "the topic's name is not valid"),
    errors.UnknownTopicOrPartitionError: (Code.NOT_FOUND, "the topic does not exist"),
    errors.TopicAuthorizationFailedError: (Code.UNAVAILABLE, _FORBIDDEN),
    errors.GroupAuthorizationFailedError: (Code.UNAVAILABLE, _FORBIDDEN),
    errors.ClusterAuthorizationFailedError: (Code.UNAVAILABLE, _FORBIDDEN),
    errors.AuthenticationFailedError: (Code.UNAVAILABLE, _LOGIN),
    errors.AuthenticationMethodNotSupported: (Code.UNAVAILABLE, _LOGIN),
    errors.SaslAuthenticationFailed: (Code.UNAVAILABLE, _LOGIN),
    errors.UnsupportedSaslMechanismError: (Code.UNAVAILABLE, _LOGIN),
    errors.IllegalSaslStateError: (Code.UNAVAILABLE, _LOGIN),
    errors.QuotaViolationError: (Code.RESOURCE_EXHAUSTED, _BUSY),
    errors.NotEnoughReplicasError: (Code.UNAVAILABLE, _BUSY),
    errors.NotEnoughReplicasAfterAppendError: (Code.UNAVAILABLE, _BUSY),
    errors.KafkaTimeoutError: (Code.UNAVAILABLE, _BUSY),
    errors.RequestTimedOutError: (Code.UNAVAILABLE, _BUSY),
    errors.KafkaStorageError: (Code.UNAVAILABLE, _BUSY),
    errors.OutOfOrderSequenceNumber: (Code.UNAVAILABLE, _BUSY),
    errors.ProducerFenced: (Code.UNAVAILABLE, _BUSY),
    errors.KafkaError: (Code.UNAVAILABLE, _UNREACHABLE),
}
"""A client's or broker's error by its class or the nearest base of it."""


def failure(error: errors.KafkaError, *, sent: bool = True) -> Failure:
    """The Failure of an error, in words that name no host."""
    kind = next(kind for kind in type(error).__mro__ if kind in FROM_WIRE)
    return Failure(*FROM_WIRE[kind], sent=sent)


def unreachable(*, sent: bool = False) -> Failure:
    """No broker answers."""
    return Failure(Code.UNAVAILABLE, _UNREACHABLE, sent=sent)
