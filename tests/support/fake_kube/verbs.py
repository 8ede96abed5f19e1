"""What the API server does for each verb but watch."""

from __future__ import annotations

import copy
from typing import Any

from tests.support.fake_kube.exchange import Exchange
from tests.support.fake_kube.objects import RESOURCES, Object, api_version, failure, key_of, merged, now
from tests.support.fake_kube.store import Store


async def serve_verb(store: Store, exchange: Exchange, resource: str) -> bool:
    """Returns whether the connection can be used again."""
    request = exchange.request
    verbs = {"list": _list, "get": _get, "delete": _delete, "create": _create, "patch": _write, "update": _write}
    verb = verbs.get(request.verb)
    if verb is None:
        return await exchange.answer(405, failure(405, "method not allowed"))
    return await verb(store, exchange, resource)


async def _list(store: Store, exchange: Exchange, resource: str) -> bool:
    request = exchange.request
    items = store.listed(resource, request.namespace, request.selector)
    start, limit = (int(request.query.get(name) or 0) for name in ("continue", "limit"))
    page = items[start : start + limit] if limit else items[start:]
    metadata: Object = {"resourceVersion": str(store.version)}
    left = len(items) - start - len(page)
    if left > 0:
        metadata |= {"continue": str(start + len(page)), "remainingItemCount": left}
    answer = {"kind": f"{RESOURCES[resource][2]}List", "apiVersion": api_version(resource), "metadata": metadata}
    return await exchange.answer(200, answer | {"items": [_in_list(resource, obj) for obj in page]})


def _in_list(resource: str, obj: Object) -> Object:
    """Inside lists the built-in kinds carry no kind."""
    if RESOURCES[resource][0] == "nvidia.com":
        return obj
    return {name: value for name, value in obj.items() if name not in ("kind", "apiVersion")}


async def _get(store: Store, exchange: Exchange, resource: str) -> bool:
    obj = store.objects[resource].get(_key(exchange))
    return await (exchange.answer(200, obj) if obj else _missing(exchange, resource))


async def _delete(store: Store, exchange: Exchange, resource: str) -> bool:
    key = _key(exchange)
    obj = store.objects[resource].get(key)
    if obj is None:
        return await _missing(exchange, resource)
    wanted = (exchange.request.body or {}).get("preconditions") or {}
    for field in ("uid", "resourceVersion"):
        if wanted.get(field) and wanted[field] != obj["metadata"].get(field):
            return await exchange.answer(409, failure(409, f"Precondition failed: {field}"))
    store.delete(resource, *key)
    details = {"name": key[1], "kind": resource, "uid": obj["metadata"]["uid"]}
    success = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
    return await exchange.answer(200, success)


async def _create(store: Store, exchange: Exchange, resource: str) -> bool:
    body = exchange.request.body
    body["metadata"] |= {"namespace": exchange.request.namespace or "", "generation": 1}
    if key_of(body) in store.objects[resource]:
        text = f'{resource} "{body["metadata"]["name"]}" already exists'
        return await exchange.answer(409, failure(409, text, "AlreadyExists"))
    return await exchange.answer(201, store.put(resource, body))


async def _write(store: Store, exchange: Exchange, resource: str) -> bool:
    """Replaces, patches, or applies; a write that changes nothing leaves the resourceVersion."""
    request = exchange.request
    before = store.objects[resource].get(_key(exchange))
    if request.is_apply and not request.query.get("fieldManager"):
        text = 'PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value'
        return await exchange.answer(400, failure(400, text, "Invalid"))
    if before is None and not request.is_apply and request.verb == "patch":
        return await _missing(exchange, resource)
    if request.verb == "update":
        after = copy.deepcopy(request.body)
    elif request.is_apply:
        after = _applied(store, exchange, resource, before or {})
    else:
        after = merged(before, request.body)
    _keep_identity(exchange, resource, before, after)
    if before is not None and after == before:
        return await exchange.answer(200, before)
    generation = 1
    if before is not None:
        generation = before["metadata"].get("generation", 1) + (after.get("spec") != before.get("spec"))
    after["metadata"]["generation"] = generation
    after["metadata"]["managedFields"] = [_managed(exchange, resource)]
    return await exchange.answer(200 if before else 201, store.put(resource, after))


def _applied(store: Store, exchange: Exchange, resource: str, before: Object) -> Object:
    """Everything that any manager applied last; near enough to server side apply where each has keys of its own."""
    request = exchange.request
    managers = store.applied.setdefault((resource, *_key(exchange)), {})
    managers[request.query["fieldManager"]] = request.body
    after = {name: value for name, value in before.items() if name != "spec"}
    owners: dict[str, Object] = {}
    for body in managers.values():
        after = merged(after, body)
        owners |= {owner["uid"]: owner for owner in body["metadata"].get("ownerReferences", [])}
    after["metadata"]["ownerReferences"] = list(owners.values())
    return after


def _keep_identity(exchange: Exchange, resource: str, before: Object | None, after: Object) -> None:
    """What a client cannot change stays."""
    after["metadata"]["namespace"], after["metadata"]["name"] = _key(exchange)
    for field in ("uid", "creationTimestamp", "resourceVersion", "generation", "managedFields"):
        if before is not None and field in before["metadata"]:
            after["metadata"][field] = before["metadata"][field]
    after["apiVersion"], after["kind"] = api_version(resource), RESOURCES[resource][2]


def _managed(exchange: Exchange, resource: str) -> dict[str, Any]:
    return {
        "manager": exchange.request.query.get("fieldManager", "unknown"),
        "operation": "Apply" if exchange.request.is_apply else "Update",
        "apiVersion": api_version(resource),
        "time": now(),
        "fieldsType": "FieldsV1",
        "fieldsV1": {"f:spec": {"f:data": {}}},
    }


def _key(exchange: Exchange) -> tuple[str, str]:
    return exchange.request.namespace or "", exchange.request.name or ""


async def _missing(exchange: Exchange, resource: str) -> bool:
    group, name = RESOURCES[resource][0], exchange.request.name
    text = f'{resource}.{group} "{name}" not found' if group else f'{resource} "{name}" not found'
    return await exchange.answer(404, failure(404, text, details={"name": name, "group": group, "kind": resource}))
