"""Who this process is to Kubernetes: its pod, and the name and number under which Dynamo would know it.

Source of names, files and hash: Dynamo 1.6.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

PODINFO = Path("/etc/podinfo")

_WORD_BITS = 64
_WORD = (1 << _WORD_BITS) - 1
_ID_MASK = (1 << 53) - 1
# What `main` is called does not tell containers apart: it goes by the pod's name alone.
_MAIN_CONTAINER = "main"


class Identity(msgspec.Struct, frozen=True):
    """`container` is None in pod mode, where one record stands for the whole pod."""

    pod_name: str
    pod_uid: str
    namespace: str
    container: str | None = None

    @property
    def record_name(self) -> str:
        """The name of this process's DynamoWorkerMetadata."""
        return record_name(self.pod_name, self.container)

    @property
    def instance_id(self) -> int:
        """The number that a worker of this record serves under: the same after every restart."""
        return instance_id(self.record_name)


def read_identity(environment: Mapping[str, str], podinfo: Path = PODINFO) -> Identity:
    """From the files of the downward API, else from the variables. Raises `ValueError` naming what is missing."""
    pod_name = _value(environment, podinfo, "POD_NAME")
    pod_uid = _value(environment, podinfo, "POD_UID")
    missing = [name for name, value in (("POD_NAME", pod_name), ("POD_UID", pod_uid)) if not value]
    if missing:
        raise ValueError(f"kubernetes discovery needs {' and '.join(missing)} in the environment (or in {podinfo})")
    container = environment.get("CONTAINER_NAME", "").strip() if container_mode(environment) else None
    if container == "":
        raise ValueError("DYN_KUBE_DISCOVERY_MODE=container needs CONTAINER_NAME in the environment")
    return Identity(pod_name, pod_uid, _value(environment, podinfo, "POD_NAMESPACE") or "default", container)


def container_mode(environment: Mapping[str, str]) -> bool:
    """Whether each container registers for itself. Raises `ValueError` for a mode that there is not."""
    mode = environment.get("DYN_KUBE_DISCOVERY_MODE") or "pod"
    if mode not in ("pod", "container"):
        raise ValueError(f"DYN_KUBE_DISCOVERY_MODE is {mode!r}; it can be pod or container")
    return mode == "container"


def record_name(pod_name: str, container: str | None) -> str:
    """The record of a pod, or in container mode of one container in it."""
    return pod_name if container in (None, _MAIN_CONTAINER) else f"{pod_name}-{container}"


def instance_id(name: str) -> int:
    """53 bits of SipHash-1-3 with a zero key over the name and a closing `ff`, as Rust hashes a string."""
    return _siphash13(name.encode() + b"\xff") & _ID_MASK


def _value(environment: Mapping[str, str], podinfo: Path, variable: str) -> str:
    try:
        text = (podinfo / variable.lower()).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        text = ""
    return text or environment.get(variable, "").strip()


def _rotated(word: int, bits: int) -> int:
    return (word << bits | word >> (_WORD_BITS - bits)) & _WORD


def _round(a: int, b: int, c: int, d: int) -> tuple[int, int, int, int]:
    a = (a + b) & _WORD
    b = _rotated(b, 13) ^ a
    c = (c + d) & _WORD
    d = _rotated(d, 16) ^ c
    a = (_rotated(a, 32) + d) & _WORD
    d = _rotated(d, 21) ^ a
    c = (c + b) & _WORD
    b = _rotated(b, 17) ^ c
    return a, b, _rotated(c, 32), d


def _siphash13(data: bytes) -> int:
    state = (0x736F6D6570736575, 0x646F72616E646F6D, 0x6C7967656E657261, 0x7465646279746573)
    whole = len(data) - len(data) % 8
    tail = (len(data) & 0xFF) << 56 | int.from_bytes(data[whole:], "little")
    for word in [*(int.from_bytes(data[at : at + 8], "little") for at in range(0, whole, 8)), tail]:
        a, b, c, d = state
        a, b, c, d = _round(a, b, c, d ^ word)
        state = (a ^ word, b, c, d)
    a, b, c, d = state
    state = (a, b, c ^ 0xFF, d)
    for _ in range(3):
        state = _round(*state)
    return state[0] ^ state[1] ^ state[2] ^ state[3]
