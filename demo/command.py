"""`gateway demo`. All else is imported when it runs: every `gateway` command loads this file."""

import asyncio
from typing import Annotated

import typer


def demo(
    once: Annotated[
        bool, typer.Option("--once", help="Only the tour, on free ports; exit 0 if every check held, else 1.")
    ] = False,
) -> None:
    """Serve the shipped routes.yaml with brokers and small backends, and walk through every protocol."""
    try:
        from demo.show import show
    except ModuleNotFoundError as error:
        typer.echo(f"error the demo needs {error.name}: pip install 'protocol-gateway[demo]'", err=True)
        raise typer.Exit(1) from None
    raise typer.Exit(asyncio.run(show(once=once)))
