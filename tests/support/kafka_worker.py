"""A gateway process that consumes and can be killed: one line on stdout for each record that its route took.

python kafka_worker.py BOOTSTRAP TOPIC GROUP MAX_IN_FLIGHT SECONDS_PER_RECORD [SETTING=VALUE ...]
"""

import asyncio
import os
import sys

from gateway.message import Message
from support.handler import Handler
from support.kafka_gateway import consuming, endpoint, source


async def main() -> None:
    bootstrap, topic, group, window, seconds, *settings = sys.argv[1:]

    async def outcome(request: Message) -> None:
        await asyncio.sleep(float(seconds))
        # One write of one short line: whole or not at all, also when the process is killed.
        os.write(1, b"%s %s\n" % (request.key or b"-", request.body))

    address = source(topic, group=group, max_in_flight=int(window), **dict(text.split("=") for text in settings))
    async with consuming(endpoint(bootstrap), address, Handler(outcome)):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
