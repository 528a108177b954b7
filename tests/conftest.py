"""What all tests share."""

import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

sys.path.insert(0, str(Path(__file__).parent))

# How fast examples are made and run says nothing of the code: the machine may be busy.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

pytest_plugins = ["support.certificates", "support.kafka_brokers", "support.rabbitmq_broker"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write what tests/golden expects anew")
    parser.addoption("--matrix", metavar="FILE", help="write the matrix of pairs from the results to this file")
