"""What all tests share."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

pytest_plugins = ["support.certificates", "support.kafka_brokers", "support.rabbitmq_broker"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write what tests/golden expects anew")
    parser.addoption("--matrix", metavar="FILE", help="write the matrix of pairs from the results to this file")
