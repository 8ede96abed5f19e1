"""The pictures of a request are counted, none as well, under the original's names."""

from __future__ import annotations

import asyncio
import re

from tests.support.cluster import Cluster
from tests.support.verdicts import chat, http


async def test_media_of_chat_requests(cluster: Cluster) -> None:
    await asyncio.to_thread(cluster.scripted_worker, "tiny")
    frontend = await asyncio.to_thread(cluster.frontend, "tiny")
    picture = {"type": "image_url", "image_url": {"url": "http://pictures.test/a.png"}}
    shown = [{"role": "user", "content": [{"type": "text", "text": "hi"}, picture, picture]}]
    async with http(frontend.url) as client:
        verdicts = [await chat(client, True, model="tiny"), await chat(client, True, model="tiny", messages=shown)]
        page = (await client.get("/metrics")).text
    assert [verdict.status for verdict in verdicts] == [200, 200]
    sums = re.findall(r'^dynamo_frontend_(\w+)_per_request_sum{model="tiny"} (\d+)$', page, re.MULTILINE)
    counts = re.findall(r'^dynamo_frontend_(\w+)_per_request_count{model="tiny"} (\d+)$', page, re.MULTILINE)
    assert dict(sums) == {"images": "2", "videos": "0", "audio": "0", "image_tokens": "0"}
    # of this model it is not known what it makes of pictures
    assert dict(counts) == {"images": "2", "videos": "2", "audio": "2", "image_tokens": "0"}
