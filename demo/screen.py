"""Screen: what the demo prints. Colours, boxes and a spinner on a terminal, plain text elsewhere."""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import fields
from io import TextIOWrapper
from pathlib import Path
from typing import Final

from rich.console import Console, Group
from rich.padding import Padding
from rich.panel import Panel
from rich.rule import Rule
from rich.status import Status
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from demo.addresses import HOST, Addresses, split
from demo.caller import ENVELOPE, ORDERS
from demo.report import Kind, Report
from demo.step import Step

LINES: Final = 12
"""Longer texts are cut."""
_ARROWS: Final = {Kind.SENT: ("──▶", "cyan"), Kind.ARRIVED: ("══▶", "magenta"), Kind.REPLIED: ("◀──", "green")}


class Screen:
    def __init__(self) -> None:
        if isinstance(sys.stdout, TextIOWrapper):
            # A locale without arrows gets question marks instead of a traceback.
            sys.stdout.reconfigure(errors="replace")
        self._console = Console(highlight=False)
        self._status: Status | None = None

    def header(self, addresses: Addresses) -> None:
        """What runs where."""
        port = {field.name: _port(getattr(addresses, field.name)) for field in fields(addresses)}
        web, amqp = port["web"], "AMQP_URL" if os.environ.get("AMQP_URL") else port["rabbit"]
        served = [
            f"http, SSE   {web}",
            f"soap        {web}/soap/orders",
            f"graphql     {web}/graphql",
            f"websocket   {web}/rooms",
            f"events      {web}/events",
            f"grpc        {port['grpc']}",
            f"thrift      {port['thrift']}",
            f"tcp         {port['mainframe']}",
            f"udp         {port['sensors']}",
            "kafka       topic orders",
            "amqp        queue returns",
        ]
        called = [
            f"inventory   REST       {port['inventory']}",
            f"legacy      SOAP       {port['legacy']}",
            f"catalog     GraphQL    {port['catalog']}",
            f"carrier     WebSocket  {port['carrier']}",
            f"partner     webhook    {port['partner']}",
            f"orders      gRPC       {port['orders']}",
            f"pricing     Thrift     {port['pricing']}",
            f"warehouse   TCP        {port['warehouse']}",
            f"board       UDP        {port['board']}",
            f"Kafka                  {port['kafka']}",
            f"RabbitMQ               {amqp}",
        ]
        table = Table.grid()
        table.add_row(
            _box("the gateway is called by", *served),
            _arrows(len(served)),
            _box("and calls", *called),
        )
        self._console.print()
        self._console.print(table)
        where = f"All on {HOST}. routes.yaml says who may call whom; admin is at http://{addresses.admin}"
        self._console.print(Text(f"  {where}", style="dim"), soft_wrap=True)

    def note(self, text: str) -> None:
        self._console.print(Text(f"  {text}", style="yellow"), soft_wrap=True)

    def progress(self, text: str) -> None:
        """What takes a while. It vanishes from a terminal with the next output."""
        if not self._console.is_terminal:
            self._console.print(f"  {text} ...", soft_wrap=True)
        elif self._status is None:
            self._status = self._console.status(text)
            self._status.start()
        else:
            self._status.update(text)

    def working(self, text: str) -> None:
        """What is short enough to go without a word where there is no terminal."""
        if self._console.is_terminal:
            self.progress(text)

    def done(self) -> None:
        """End the progress."""
        if self._status is not None:
            self._status.stop()
            self._status = None

    def group(self, title: str) -> None:
        """A heading for the steps that follow."""
        self.done()
        self._console.print()
        self._console.print(Rule(Text(title, style="bold blue"), align="left", style="blue"))

    def step(self, number: int, step: Step, report: Report, failure: str) -> None:
        """A step that is over. failure: why it failed, or empty."""
        self.done()
        title = Text.assemble((f"{number:>2}. {step.title}", "bold"), ("  ", ""), (step.route, "blue"))
        verdict = Text("✗ failed" if failure else "✓", style="bold red" if failure else "bold green")
        if not failure:
            verdict.append(f" {len(report.checked)} checks  {report.seconds * 1000:.1f} ms", style="not bold green")
        heading = Table.grid(expand=True, padding=(0, 1))
        heading.add_column()
        heading.add_column(justify="right")
        heading.add_row(title, verdict)
        self._console.print()
        self._console.print(heading)
        self._indented(Text(step.story, style="italic dim"))
        for kind in Kind:
            for part in report.parts:
                if part.kind is kind:
                    arrow, colour = _ARROWS[kind]
                    self._console.print(Text.assemble("    ", (arrow, f"bold {colour}"), " ", (part.label, colour)))
                    self._text(part.text, part.language)
        if failure:
            self._indented(Text(failure, style="bold red"))

    def skipped(self, number: int, step: Step, missing: str) -> None:
        """A step that can't run here."""
        self.done()
        self._console.print()
        title = Text.assemble((f"{number:>2}. {step.title}", "bold"), ("  ", ""), (step.route, "blue"))
        self._console.print(Text.assemble(title, ("  skipped: ", "yellow"), (missing, "yellow")), soft_wrap=True)

    def verdict(self, steps: int, failures: Sequence[str], skipped: Sequence[str], seconds: float) -> None:
        """All failures, or that there was none; and what is missing for steps that were skipped."""
        self._console.print()
        if failures:
            self._console.print(f"[bold red]✗ {len(failures)} of {steps} steps failed[/]")
        elif skipped:
            passed = steps - len(skipped)
            self._console.print(f"[bold green]✓ {passed} steps passed[/], {len(skipped)} skipped, in {seconds:.1f} s")
        else:
            self._console.print(f"[bold green]✓ all {steps} steps passed[/] in {seconds:.1f} s")
        for missing in dict.fromkeys(skipped):
            self._console.print(Text(f"  {missing}", style="yellow"), soft_wrap=True)
        for failure in failures:
            self._console.print(Text(f"  {failure}", style="red"), soft_wrap=True)

    def trouble(self, title: str, text: str) -> None:
        """What keeps the demo from going on."""
        self.done()
        self._console.print(Text.assemble(("error ", "bold red"), title), soft_wrap=True)
        if text:
            self._console.print(Text(text, style="dim"), soft_wrap=True)

    def invitation(self, addresses: Addresses) -> None:
        """Commands to try, each on one line."""
        self._console.print()
        self._console.print("[bold]Try it[/] from another terminal:")
        for comment, command in _commands(addresses):
            self._console.print()
            self._console.print(Text(f"  # {comment}", style="dim"), soft_wrap=True)
            self._console.print(Text(f"  {command}"), soft_wrap=True)
        self._console.print()
        self._console.print("[bold]Serving.[/] Ctrl-C ends it. Each call shows here as the gateway logs it:")

    def log(self, line: str) -> None:
        """A line of the gateway's log; the access log's are JSON."""
        try:
            entry = json.loads(line)
            good = entry["code"] == "OK"
            text = Text.assemble(
                (f"  {entry['time'][11:19]}  ", "dim"),
                (f"{entry['code']:<20}", "green" if good else "red"),
                (f"{entry['ms']:>8.1f} ms  ", ""),
                (entry["route"], "blue"),
                (f"  {entry.get('message', '')}", "red"),
            )
        except (ValueError, TypeError, KeyError):
            text = Text(f"  {line}", style="dim")
        self._console.print(text, soft_wrap=True)

    def say(self, text: str) -> None:
        self.done()
        self._console.print(text)

    def _indented(self, text: Text) -> None:
        if self._console.is_terminal:
            self._console.print(Padding(text, (0, 0, 0, 4)))
        else:
            self._console.print(Text("    ") + text, soft_wrap=True)

    def _text(self, text: str, language: str) -> None:
        if not text:
            return
        lines = text.splitlines()
        if len(lines) > LINES:
            text = "\n".join([*lines[: LINES - 1], f"... {len(lines) - LINES + 1} more lines"])
        if self._console.is_terminal:
            syntax = Syntax(text, language, theme="ansi_dark", background_color="default", word_wrap=True)
            self._console.print(Padding(syntax, (0, 0, 0, 8)))
        else:
            for line in text.splitlines():
                self._console.print(Text(f"        {line}"), soft_wrap=True)


def _box(title: str, *lines: str) -> Panel:
    return Panel(Group(*lines), title=title, title_align="left", border_style="blue", padding=(0, 1))


def _arrows(count: int) -> Text:
    return Text("\n".join(["", *["▶"] * count]), style="bold")


def _port(address: str) -> str:
    return ":" + address.rpartition(":")[2]


def _command() -> str:
    """The gateway command, as it can be typed here."""
    command = Path(sys.executable).with_name("gateway")
    return str(command.relative_to(Path.cwd()) if command.is_relative_to(Path.cwd()) else command)


def _commands(addresses: Addresses) -> list[tuple[str, str]]:
    web = f"http://{addresses.web}"
    json_type = "-H 'Content-Type: application/json'"
    order = '{"customerId": "c-1", "lines": [{"sku": "TEA", "quantity": 2}]}'
    short = '{"customerId": "c-1", "lines": [{"sku": "POT", "quantity": 9}]}'
    event = '{"status": "SHIPPED", "at": "2025-06-01T12:00:00Z"}'
    envelope = (
        f'<e:Envelope xmlns:e="{ENVELOPE}"><e:Body><PlaceOrder xmlns="{ORDERS}">'
        "<buyer><id>c-1</id></buyer><items><code>CUP</code><qty>1</qty></items></PlaceOrder></e:Body></e:Envelope>"
    )
    query = '{"query": "{ order(orderId: \\"A-1001\\") { status lines { sku } } }"}'
    host, sensors = split(addresses.sensors)
    measured = "cold-1,4.5,2025-06-01T12:00:00Z"
    return [
        ("REST to gRPC", f"curl {json_type} -d '{order}' {web}/orders"),
        ("more than there is, as problem+json", f"curl {json_type} -d '{short}' {web}/orders"),
        ("a gRPC stream as server-sent events", f"curl -N -H 'Accept: text/event-stream' {web}/orders/A-1001/watch"),
        ("the same call from SOAP", f"curl -H 'Content-Type: text/xml' -d '{envelope}' {web}/soap/orders"),
        ("the contract that SOAP clients load", f"curl '{web}/soap/orders?wsdl'"),
        ("and from GraphQL", f"curl {json_type} -d '{query}' {web}/graphql"),
        (
            "REST to GraphQL, to Thrift, to TCP",
            f"curl {web}/products/TEA '{web}/prices/TEA?quantity=10' {web}/shelves/TEA",
        ),
        ("a datagram (in bash)", f"printf '{measured}' > /dev/udp/{host}/{sensors}"),
        ("what became of it", f"curl -N -H 'Accept: text/event-stream' {web}/telemetry/cold-1"),
        ("REST to Kafka, and on to SOAP", f"curl {json_type} -d '{event}' {web}/orders/A-1001/events"),
        ("gRPC to REST", f'grpcurl -plaintext -d \'{{"sku": "POT"}}\' {addresses.grpc} shop.stock.v1.Stock/GetStock'),
        ("how it is going", f"curl http://{addresses.admin}/metrics"),
        ("what a route is compiled to", f"{_command()} explain place-order-from-soap"),
    ]
