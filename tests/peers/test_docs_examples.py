"""Every example of docs/protocols does what its page shows."""

import shutil
from pathlib import Path

import pytest
from support import kafka_brokers, rabbitmq_broker
from support.doc_examples import ROOT, Served, differs, read

from demo.addresses import USUAL_PORTS

PAGES = sorted((ROOT / "docs" / "protocols").glob("*.md"))


@pytest.mark.parametrize("file", PAGES, ids=lambda file: file.stem)
async def test_example(file: Path, tmp_path: Path) -> None:
    for tool in ("bash", "curl"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    page = read(file)
    brokers = {}
    if f":{USUAL_PORTS['kafka']}" in page.text:
        brokers[USUAL_PORTS["kafka"]] = str(kafka_brokers.running_broker(""))
    if f":{USUAL_PORTS['rabbit']}" in page.text:
        brokers[USUAL_PORTS["rabbit"]] = rabbitmq_broker.running_broker()
    served = Served(page, tmp_path, brokers)
    async with served.serving():
        wrong = [
            f"$ {command.text}{difference}"
            for command in page.commands
            if (difference := differs(served.here(command.output), await served.run(command)))
        ]
    assert not wrong, "\n".join(wrong)
