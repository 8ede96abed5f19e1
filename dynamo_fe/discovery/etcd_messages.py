"""etcd's v3 messages and methods, over descriptors that the build took from the etcd3 package.

Their own descriptor pool: nothing here meets the definitions of another package in the same process.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pool, message_factory

from dynamo_fe.discovery._etcd_descriptors import FILES

_pool = descriptor_pool.DescriptorPool()
for _serialized in FILES:
    _pool.AddSerializedFile(_serialized)


def _message(name: str) -> Any:
    return message_factory.GetMessageClass(_pool.FindMessageTypeByName(name))


Compare = _message("etcdserverpb.Compare")
KeyValue = _message("mvccpb.KeyValue")
RequestOp = _message("etcdserverpb.RequestOp")

AuthenticateRequest = _message("etcdserverpb.AuthenticateRequest")
DeleteRangeRequest = _message("etcdserverpb.DeleteRangeRequest")
LeaseGrantRequest = _message("etcdserverpb.LeaseGrantRequest")
LeaseKeepAliveRequest = _message("etcdserverpb.LeaseKeepAliveRequest")
LeaseRevokeRequest = _message("etcdserverpb.LeaseRevokeRequest")
PutRequest = _message("etcdserverpb.PutRequest")
RangeRequest = _message("etcdserverpb.RangeRequest")
TxnRequest = _message("etcdserverpb.TxnRequest")
WatchCreateRequest = _message("etcdserverpb.WatchCreateRequest")
WatchRequest = _message("etcdserverpb.WatchRequest")

# mvccpb.Event.EventType
EVENT_DELETE = 1

# Full method name -> class of the answer.
ANSWERS: dict[str, Any] = {
    "/etcdserverpb.Auth/Authenticate": _message("etcdserverpb.AuthenticateResponse"),
    "/etcdserverpb.KV/DeleteRange": _message("etcdserverpb.DeleteRangeResponse"),
    "/etcdserverpb.KV/Range": _message("etcdserverpb.RangeResponse"),
    "/etcdserverpb.KV/Txn": _message("etcdserverpb.TxnResponse"),
    "/etcdserverpb.Lease/LeaseGrant": _message("etcdserverpb.LeaseGrantResponse"),
    "/etcdserverpb.Lease/LeaseKeepAlive": _message("etcdserverpb.LeaseKeepAliveResponse"),
    "/etcdserverpb.Lease/LeaseRevoke": _message("etcdserverpb.LeaseRevokeResponse"),
    "/etcdserverpb.Watch/Watch": _message("etcdserverpb.WatchResponse"),
}


def prefix_end(prefix: bytes) -> bytes:
    """The first key after all that start with `prefix`; b"\\0" means "to the end"."""
    trimmed = prefix.rstrip(b"\xff")
    return trimmed[:-1] + bytes([trimmed[-1] + 1]) if trimmed else b"\0"
