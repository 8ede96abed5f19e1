"""A complete list, whatever its size."""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec

from dynamo_fe.discovery.kube_client import KubeClient
from dynamo_fe.discovery.kube_objects import ObjectError, Page, read
from dynamo_fe.discovery.kube_paths import Resource

_PAGE_OBJECTS: Final = 500


async def list_all(client: KubeClient, resource: Resource) -> tuple[list[msgspec.Raw], str]:
    """All pages, and the version to watch from: the first page's, since what happens meanwhile then comes twice.

    Raises `KubeError`, and `ObjectError` for what is no list.
    """
    query = {"limit": str(_PAGE_OBJECTS)} | resource.selectors
    items: list[msgspec.Raw] = []
    version = ""
    while True:
        page = read(await client.get(resource.path, query), Page)
        version = version or page.metadata.resource_version
        if not version:
            raise ObjectError("it has no resourceVersion")
        items += page.items or []
        if not page.metadata.more:
            return items, version
        query["continue"] = page.metadata.more
        await asyncio.sleep(0)
