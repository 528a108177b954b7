"""Failure codes as gRPC has them: the same sixteen."""

from collections.abc import Mapping
from typing import Final

import grpc

from gateway.status import Code

TO_WIRE: Final[Mapping[Code, grpc.StatusCode]] = {Code(status.value[0]): status for status in grpc.StatusCode}
FROM_WIRE: Final[Mapping[grpc.StatusCode, Code]] = {status: code for code, status in TO_WIRE.items()}
