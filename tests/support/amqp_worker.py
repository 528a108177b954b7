"""A gateway process that relays from one queue to another and can be killed.

python amqp_worker.py URL FROM TO PREFETCH
"""

import asyncio
import sys

from gateway.message import Context, Message
from gateway.status import Failure
from support.amqp_gateway import consuming, endpoint, publishing, source, target
from support.handler import Handler


async def main() -> None:
    url, incoming, outgoing, prefetch = sys.argv[1:]
    config = endpoint(url, forward_headers=["message-id"])
    async with publishing(config, target(routing_key=outgoing)) as (_, (publish,)):

        async def relay(request: Message) -> Failure | None:
            try:
                await publish.call(Message(request.body, request.headers), Context())
            except Failure as failure:
                return failure
            return None

        async with consuming(config, source(incoming, declare=None, prefetch=int(prefetch)), Handler(relay)):
            print("ready", flush=True)
            await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
