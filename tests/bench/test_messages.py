"""A benchmark that embeds the same texts again and again says once that they were cut, in each of its processes."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest

from fastrag_quant.bench.messages import log_each_message_once

CODE = """
import logging
from fastrag_quant.bench.messages import log_each_message_once
{configure}
log_each_message_once()
logger = logging.getLogger("fastrag_quant.embedder")
for count in (1, 2):
    logger.warning("%d texts were cut", count)
    logger.warning("something else")
"""


@pytest.mark.parametrize(
    "configure", ["", "logging.basicConfig(format='%(message)s')"], ids=["unconfigured", "configured"]
)
def test_each_kind_of_message_passes_once(configure: str):
    process = subprocess.run(
        [sys.executable, "-c", CODE.format(configure=configure)], capture_output=True, text=True, check=True
    )

    assert process.stderr.splitlines() == ["1 texts were cut", "something else"]


def test_messages_pass_again_once_the_command_is_over(caplog: pytest.LogCaptureFixture):
    logger = logging.getLogger("fastrag_quant.embedder")
    with log_each_message_once():
        logger.warning("said twice")
        logger.warning("said twice")

    logger.warning("said twice")

    assert [record.message for record in caplog.records] == ["said twice", "said twice"]
