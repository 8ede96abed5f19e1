"""`dynamo-fe doctor`: looks at everything that serving needs. `checks` finds, this says and counts."""

import asyncio
import json
import os
from collections.abc import Iterable, Sequence
from typing import Final

from dynamo_fe.cli.doctor.finding import Finding
from dynamo_fe.cli.exit_codes import DOCTOR_FOUND_A_FAILURE
from dynamo_fe.cli.refusal import refuse
from dynamo_fe.config import ConfigError

_REMEDY: Final = "mend it there; dynamo-fe check-config says whether it can be served then"


def doctor(argv: Sequence[str]) -> int:
    """One line a finding; exit code 3 when something fails, that of serve when there is no configuration to look at."""
    from dynamo_fe.cli.doctor.report import examine

    try:
        findings = asyncio.run(examine([word for word in argv if word != "--json"], os.environ))
    except ConfigError as error:
        if "--json" in argv:
            _print_json([Finding("fail", "configuration", str(error), _REMEDY)])
            return error.exit_code
        return refuse(error)
    if "--json" in argv:
        _print_json(findings)
    else:
        for finding in findings:
            remedy = f" -> {finding.remedy}" if finding.remedy else ""
            print(f"{finding.verdict:<4}  {finding.what}: {finding.text}{remedy}")
    return DOCTOR_FOUND_A_FAILURE if any(finding.verdict == "fail" for finding in findings) else 0


def _print_json(findings: Iterable[Finding]) -> None:
    print(json.dumps([finding._asdict() for finding in findings], indent=2))
