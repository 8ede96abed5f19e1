"""The policy file that the man page shows, given to the real frontend and to ours."""

from __future__ import annotations

import re

from dynamo_fe.cli.policy_help import EXAMPLE
from tests.support.asking import HELLO, ask
from tests.support.cluster import Cluster

COUNTED = re.compile(r'^dynamo_frontend_router_admission_\w+{.*policy_class="([^"]*)".*} [1-9]', re.MULTILINE)


def test_both_frontends_serve_by_it(cluster: Cluster) -> None:
    cluster.mock_worker("--speedup-ratio", "0", "--no-kv-events")
    policy = cluster.home / "policy.yaml"
    policy.write_text(EXAMPLE)
    arguments = ("--router-mode", "kv", "--no-router-kv-events", "--router-policy-config", str(policy))
    for frontend in (cluster.real_frontend("mock", arguments=arguments), cluster.frontend("mock", arguments=arguments)):
        for family in ("chat", "batch", "nobody's"):
            body = {"model": "mock", "messages": HELLO, "max_tokens": 1}
            headers = {"x-dynamo-meta-policy-class": family}
            status, text = ask(f"{frontend.url}/v1/chat/completions", body, headers)
            assert status == 200, text
        page = ask(f"{frontend.url}/metrics")[1]
        assert set(COUNTED.findall(page)) == {"chat", "batch"}
