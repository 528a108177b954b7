"""Every example of the docs does what its page shows."""

import shutil
from pathlib import Path

import pytest
from support import kafka_brokers, rabbitmq_broker
from support.doc_examples import ROOT, Example, Served, differs, read

from demo.addresses import USUAL_PORTS

PROTOCOLS = sorted((ROOT / "docs" / "protocols").glob("*.md"))
PAGES = {file: read(file) for file in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *PROTOCOLS)}
EXAMPLES = [
    pytest.param(example, id=f"{file.stem}-{number}" if number else file.stem)
    for file, examples in PAGES.items()
    for number, example in enumerate(examples)
]


def test_every_protocol_has_one() -> None:
    assert [file.stem for file in PROTOCOLS if not PAGES[file]] == []


@pytest.mark.parametrize("example", EXAMPLES)
async def test_example(example: Example, tmp_path: Path) -> None:
    for tool in ("bash", "curl"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    brokers = {}
    if f":{USUAL_PORTS['kafka']}" in example.text:
        brokers[USUAL_PORTS["kafka"]] = str(kafka_brokers.running_broker(""))
    if f":{USUAL_PORTS['rabbit']}" in example.text:
        brokers[USUAL_PORTS["rabbit"]] = rabbitmq_broker.running_broker()
    served = Served(example, tmp_path, brokers)
    async with served.serving():
        wrong = [
            f"$ {command.text}{difference}"
            for command in example.commands
            if (difference := differs(served.here(command.output), await served.run(command)))
        ]
    assert not wrong, "\n".join(wrong)
