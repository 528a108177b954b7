"""The command line: run, check, explain, routes, schema, and what other packages add under `gateway.commands`."""

import asyncio
import gc
import json
import logging
import sys
from collections.abc import Coroutine
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any

import typer
import uvloop
from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.syntax import Syntax
from rich.table import Table

from gateway import config as configuration
from gateway.compile import Plan, compile_plan
from gateway.document import load
from gateway.link import Explanation
from gateway.net.network import Network
from gateway.observe import Metrics
from gateway.problem import ConfigError, Problem
from gateway.routes_schema import routes_schema
from gateway.runtime import Runtime

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Protocol translation gateway.")
out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

ConfigFile = Annotated[Path, typer.Option("--config", "-c", help="The routes.yaml to use.", envvar="GATEWAY_CONFIG")]
_DEFAULT = Path("routes.yaml")


@app.command()
def run(config: ConfigFile = _DEFAULT) -> None:
    """Serve routes.yaml until SIGTERM or Ctrl-C, then drain."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    # What libraries tell of themselves is not for operators, unless it is a warning.
    logging.getLogger("gateway").setLevel(logging.INFO)
    # A call leaves few cycles behind: looking for them after each 700 new objects takes a tenth of a small call's time.
    gc.set_threshold(20_000, 50, 100)
    try:
        _run(_serve(config))
    except ConfigError as error:
        _print_problems(error.problems)
        raise typer.Exit(1) from None
    except OSError as error:
        err.print(f"[bold red]error[/] {escape(str(error))}")
        raise typer.Exit(1) from None


async def _serve(config: Path) -> None:
    await Runtime(config).serve()


@app.command()
def check(
    config: ConfigFile = _DEFAULT,
    strict: Annotated[bool, typer.Option("--strict", help="Fail on losses, too.")] = False,
) -> None:
    """Report every problem and every loss with file, line and hint; exit 1 if there is any problem."""
    try:
        plan = _run(_plan(config))
    except ConfigError as error:
        _print_problems(error.problems)
        raise typer.Exit(1) from None
    _print_problems(plan.losses)
    for route, why in plan.pending.items():
        err.print(f"[yellow]pending[/] route {escape(route)}: its contract can't be had now: {escape(why)}")
    if strict and plan.losses:
        raise typer.Exit(1)
    out.print(f"[green]ok[/] {len(plan.config.endpoints)} endpoints, {len(plan.config.routes)} routes")


@app.command()
def explain(route: Annotated[str, typer.Argument(help="The route's name.")], config: ConfigFile = _DEFAULT) -> None:
    """Show what a route was compiled to, generated code included."""
    try:
        plan = _run(_plan(config))
    except ConfigError as error:
        _print_problems(error.problems)
        raise typer.Exit(1) from None
    explanation = plan.explanations.get(route)
    if explanation is None:
        known = ", ".join(plan.config.routes)
        why = plan.pending.get(route)
        err.print(
            f"[bold red]error[/] route {escape(route)} is pending: {escape(why)}"
            if why
            else f"[bold red]error[/] there is no route {escape(route)}; there is {escape(known)}"
        )
        raise typer.Exit(1)
    _print_explanation(explanation)


@app.command()
def routes(config: ConfigFile = _DEFAULT) -> None:
    """List the routes."""
    try:
        plan = _run(_plan(config))
    except ConfigError as error:
        _print_problems(error.problems)
        raise typer.Exit(1) from None
    for name in (*plan.explanations, *(name for name in plan.pending if name not in plan.explanations)):
        explanation = plan.explanations.get(name)
        if explanation is None:
            out.print(
                f"[bold]{escape(name)}[/]  [yellow]pending: {escape(plan.pending.get(name, ''))}[/]", soft_wrap=True
            )
        else:
            out.print(f"[bold]{escape(name)}[/]  [dim]{_patterns(explanation)}[/]", soft_wrap=True)
            out.print(f"  from  {escape(explanation.source)}", soft_wrap=True)
            out.print(f"  to    {escape(explanation.target)}", soft_wrap=True)


@app.command()
def schema() -> None:
    """Print the JSON Schema of routes.yaml."""
    sys.stdout.write(json.dumps(routes_schema(), indent=2) + "\n")


async def _plan(config: Path) -> Plan:
    read = configuration.read(load(config))
    return await compile_plan(read, Network(config.parent), Metrics(), None)


def _run(main: Coroutine[Any, Any, Any]) -> Any:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


def _print_problems(problems: "tuple[Problem, ...] | list[Problem]") -> None:
    for problem in problems:
        kind = "[bold red]error[/]" if problem.fatal else "[yellow]loss[/] "
        where = f"{problem.file}:{problem.line}:{problem.column}" if problem.line else problem.file
        hint = f"\n        [cyan]hint:[/] {escape(problem.hint)}" if problem.hint else ""
        path = f"[bold]{escape(problem.path)}[/]: " if problem.path else ""
        err.print(f"{kind} {escape(where)}  {path}{escape(problem.message)}{hint}", soft_wrap=True)


def _patterns(explanation: Explanation) -> str:
    theirs, ours = explanation.source_pattern.label, explanation.target_pattern.label
    return theirs if theirs == ours else f"{theirs} -> {ours}"


def _print_explanation(explanation: Explanation) -> None:
    table = Table.grid(padding=(0, 2))
    table.add_row("[bold]from[/]", escape(explanation.source))
    table.add_row("[bold]to[/]", escape(explanation.target))
    table.add_row("[bold]pattern[/]", _patterns(explanation))
    table.add_row("[bold]request[/]", escape(explanation.request))
    table.add_row("[bold]reply[/]", escape(explanation.reply))
    bounded = explanation.deadline != float("inf")
    table.add_row(
        "[bold]deadline[/]", f"{explanation.deadline:g} s" if bounded else "none: a stream has only its route's"
    )
    if explanation.silence < float("inf"):
        table.add_row("[bold]silence[/]", f"{explanation.silence:g} s")
    out.print(Panel(table, title=escape(explanation.route), title_align="left"))
    for source in explanation.generated:
        code = source.strip() + "\n"
        if out.is_terminal:
            out.print(Syntax(code, "python", background_color="default", word_wrap=True))
        else:
            sys.stdout.write(code + "\n")
    _print_problems(explanation.losses)


def main() -> None:
    """The console script."""
    for point in entry_points(group="gateway.commands"):
        app.command(name=point.name)(point.load())
    app()
