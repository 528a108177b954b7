"""Tour: steps for all translations of the shipped routes.yaml, with real calls and checked replies."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from demo.step import Step
from demo.steps import amqp, events, graphql, http, kafka, soap, tcp, thrift, udp, websocket


class Group(NamedTuple):
    """Steps of the same protocols."""

    title: str
    steps: Sequence[Step]


# In this order: some steps go on with the order that an earlier one placed.
GROUPS: Final = (
    Group("HTTP and gRPC", http.STEPS),
    Group("SOAP", soap.STEPS),
    Group("GraphQL", graphql.STEPS),
    Group("Thrift", thrift.STEPS),
    Group("TCP", tcp.STEPS),
    Group("UDP", udp.STEPS),
    Group("WebSocket", websocket.STEPS),
    Group("Events and webhooks", events.STEPS),
    Group("Kafka", kafka.STEPS),
    Group("AMQP: RabbitMQ", amqp.STEPS),
)
STEPS: Final = tuple(step for group in GROUPS for step in group.steps)
