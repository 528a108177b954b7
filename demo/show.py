"""Show: the whole demo, from the first port to the last process."""

import asyncio
import logging
import signal
from itertools import count
from typing import Final

import grpc

from demo import addresses
from demo.caller import Caller
from demo.process import StartError
from demo.report import Report, UnexpectedError
from demo.scene import Scene, SkippedError
from demo.screen import Screen
from demo.stage import Stage
from demo.step import Step
from demo.tour import GROUPS

STEP_SECONDS: Final = 20.0
INTERRUPTED: Final = 130


async def show(*, once: bool) -> int:
    """The exit code: 0, 1 where a step failed or nothing came up, 130 where `once` was interrupted."""
    # Clients that wait for a broker to come up tell so on standard error.
    for client in ("aiokafka", "aiormq"):
        logging.getLogger(client).setLevel(logging.CRITICAL)
    screen = Screen()
    found, notes = addresses.choose(free=once)
    screen.header(found)
    for note in notes:
        screen.note(note)
    try:
        stage = Stage(found, screen.progress)
    except StartError as error:
        screen.trouble(str(error), "")
        return 1
    _on_signals(stage)
    try:
        async with stage:
            screen.done()
            passed = await _tour(stage, screen)
            if once:
                return 0 if passed else 1
            screen.invitation(found)
            stage.gateway.listener = screen.log
            return await _serve(stage, screen)
    except StartError as error:
        screen.trouble(str(error), "")
        return 1
    except OSError as error:
        screen.trouble(f"a backend can't start: {error}", "")
        return 1
    except asyncio.CancelledError:
        screen.say("\nEnded; nothing is left running.")
        return INTERRUPTED if once else 0
    finally:
        screen.done()


def _on_signals(stage: Stage) -> None:
    """The first one ends the demo in order, the next ones at once."""
    loop = asyncio.get_running_loop()
    main = asyncio.current_task()

    def end() -> None:
        if main is not None and not main.cancelling():
            main.cancel()
        else:
            stage.kill()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, end)


async def _tour(stage: Stage, screen: Screen) -> bool:
    loop = asyncio.get_running_loop()
    start = loop.time()
    failures: list[str] = []
    skipped: list[str] = []
    numbers = count(1)
    async with Caller(stage.addresses) as caller:
        scene = Scene(stage, caller)
        for group in GROUPS:
            screen.group(group.title)
            for step in group.steps:
                number = next(numbers)
                screen.working(f"{number:>2}. {step.title}")
                try:
                    failure = await _step(step, scene)
                except SkippedError as missing:
                    screen.skipped(number, step, str(missing))
                    skipped.append(str(missing))
                    continue
                screen.step(number, step, caller.report, failure)
                if failure:
                    failures.append(f"step {number}, {step.title} ({step.route}): {failure}")
    screen.verdict(next(numbers) - 1, failures, skipped, loop.time() - start)
    if failures:
        screen.trouble(
            "the end of the gateway's log:", "\n".join(f"  {line}" for line in list(stage.gateway.log)[-10:])
        )
    return not failures


async def _step(step: Step, scene: Scene) -> str:
    """Why the step failed, or empty. Raises SkippedError."""
    scene.caller.report = Report()
    scene.stage.orders.inbox.clear()
    try:
        async with asyncio.timeout(STEP_SECONDS):
            await step.run(scene)
    except (UnexpectedError, StartError) as error:
        return str(error)
    except SkippedError:
        raise
    except grpc.aio.AioRpcError as error:
        return f"gRPC status {error.code().name}: {error.details()}"
    except TimeoutError:
        return f"expected within {STEP_SECONDS:.0f} s, got nothing"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


async def _serve(stage: Stage, screen: Screen) -> int:
    """Until a signal, or the end of a part that should not end."""
    ends = {asyncio.create_task(process.ended()): process for process in stage.processes}
    try:
        done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in ends:
            task.cancel()
    process = ends[done.pop()]
    screen.trouble(f"{process.name} has ended:", "\n".join(f"  {line}" for line in list(process.log)[-10:]))
    return 1
