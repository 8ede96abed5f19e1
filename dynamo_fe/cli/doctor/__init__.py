"""`dynamo-fe doctor`: looks at everything that serving needs. `checks` finds, this says and counts."""

import asyncio
import json
import os
from collections.abc import Sequence

from dynamo_fe.cli.exit_codes import DOCTOR_FOUND_A_FAILURE
from dynamo_fe.cli.refusal import refuse
from dynamo_fe.config import ConfigError


def doctor(argv: Sequence[str]) -> int:
    """One line a finding; exit code 3 when something fails."""
    from dynamo_fe.cli.doctor.report import examine

    try:
        findings = asyncio.run(examine([word for word in argv if word != "--json"], os.environ))
    except ConfigError as error:
        return refuse(error)
    if "--json" in argv:
        print(json.dumps([finding._asdict() for finding in findings], indent=2))
    else:
        for finding in findings:
            remedy = f" -> {finding.remedy}" if finding.remedy else ""
            print(f"{finding.verdict:<4}  {finding.what}: {finding.text}{remedy}")
    return DOCTOR_FOUND_A_FAILURE if any(finding.verdict == "fail" for finding in findings) else 0
