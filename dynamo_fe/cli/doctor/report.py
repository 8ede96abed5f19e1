"""All checks in turn, each with the time it may take."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Final

from dynamo_fe.cli.doctor.clock import check_clock
from dynamo_fe.cli.doctor.cluster import check_cluster, check_nats
from dynamo_fe.cli.doctor.finding import Finding
from dynamo_fe.cli.doctor.host import check_files, check_port, check_temporary_folder
from dynamo_fe.cli.doctor.kubernetes import check_kubernetes
from dynamo_fe.cli.preflight import configuration

_PATIENCE_SECS: Final = 8.0


async def examine(argv: Sequence[str], environ: Mapping[str, str]) -> list[Finding]:
    """The findings about the configuration that serve would have. Raises ConfigError when it would have none."""
    # What the parts that are tried out have to say goes into the findings.
    logging.disable(logging.CRITICAL)
    loaded = configuration(argv, environ)
    settings = loaded.settings
    findings = [Finding("warn", "configuration", warning) for warning in loaded.warnings]
    findings = findings or [Finding("ok", "configuration", "it can be served")]
    findings += [check_port(settings), check_files(settings), check_temporary_folder()]
    for check in (check_clock, check_kubernetes, check_cluster, check_nats):
        try:
            async with asyncio.timeout(_PATIENCE_SECS):
                findings += await check(settings)
        except TimeoutError:
            name = check.__name__.removeprefix("check_")
            findings.append(Finding("fail", name, f"no answer within {_PATIENCE_SECS:g} s", "see whether it is up"))
    return findings
