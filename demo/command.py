"""`gateway demo`. All else is imported when it runs: every `gateway` command loads this file."""

import asyncio
from typing import Annotated

import typer


def demo(
    once: Annotated[
        bool, typer.Option("--once", help="Only the tour, on free ports; exit 0 if every check held, else 1.")
    ] = False,
) -> None:
    """Serve the shipped routes.yaml with a broker and small backends, and walk through every translation."""
    from demo.show import show

    raise typer.Exit(asyncio.run(show(once=once)))
