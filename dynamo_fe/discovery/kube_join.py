"""Workers' records joined with the readiness of their pods: the entries that count, in etcd's spelling. No I/O.

A record counts while a pod of its name is ready and is the one that owns the record.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

import msgspec

from dynamo_fe.discovery.base import Delete, Put
from dynamo_fe.discovery.kube_entries import WorkerRecord, read_record
from dynamo_fe.discovery.kube_objects import Record, read
from dynamo_fe.discovery.kube_readiness import PodState, Readiness

USED: Final = "used"
# Why a record is left out; the last of them only on its own.
STATES: Final = (USED, "no_endpoint", "not_ready", "conflict", "no_owner", "uid_mismatch", "invalid")

Change = Put | Delete


class Verdict(msgspec.Struct, frozen=True):
    """`state` is one of `STATES`, `reason` says it to an operator (empty for one that is used)."""

    state: str
    reason: str = ""


class Judged(msgspec.Struct, frozen=True):
    """What came of a record; `faults`: what could not be read of it."""

    name: str
    verdict: Verdict
    faults: tuple[str, ...]

    @property
    def remark(self) -> str:
        """For an operator; empty when there is nothing to say."""
        if self.verdict.reason:
            return f"worker {self.name} is left out: {self.verdict.reason}"
        return f"worker {self.name}: {'; '.join(self.faults)}" if self.faults else ""


class Join:
    """Told of objects as they come and go, says what changes for those who follow the entries."""

    def __init__(self, readiness: Readiness) -> None:
        self.readiness = readiness
        self._records: dict[str, WorkerRecord] = {}
        self._verdicts: dict[str, Verdict] = {}
        self._shown: dict[str, dict[str, bytes]] = {}
        self._holders: dict[str, dict[str, bytes]] = {}
        self._leaving: dict[str, frozenset[int]] = {}

    def put_record(self, raw: msgspec.Raw) -> list[Change]:
        """Raises `ObjectError` for an object that is not one; an invalid record is taken in as that."""
        record = read(raw, Record)
        name = record.metadata.name
        self._records[name] = read_record(record, self._records.get(name))
        return self._judge(name)

    def remove_record(self, name: str) -> list[Change]:
        """The record is gone."""
        self._records.pop(name, None)
        return self._judge(name)

    def settle(self, names: set[str]) -> list[Change]:
        """The readiness of these names has changed."""
        return [change for name in names for change in self._judge(name)]

    def records(self) -> set[str]:
        """The names of the records that are known."""
        return set(self._records)

    def entries(self, prefix: str) -> dict[str, bytes]:
        """What counts now below a prefix."""
        return {key: next(reversed(values.values())) for key, values in self._holders.items() if key.startswith(prefix)}

    def leaving(self) -> frozenset[int]:
        """Instances in pods that are being deleted: still there, but others are to be preferred."""
        return frozenset().union(*self._leaving.values()) if self._leaving else frozenset()

    def counts(self) -> dict[str, int]:
        """Records by state, every state named."""
        return dict.fromkeys(STATES, 0) | Counter(verdict.state for verdict in self._verdicts.values())

    def judged(self) -> list[Judged]:
        """Every record that is known, by name."""
        return [Judged(name, each, self._records[name].faults) for name, each in sorted(self._verdicts.items())]

    def remarks(self) -> list[str]:
        """Every record that is left out or cannot be read in full, and why."""
        return [each.remark for each in self.judged() if each.remark]

    def _judge(self, name: str) -> list[Change]:
        record = self._records.get(name)
        if record is None:
            self._verdicts.pop(name, None)
            self._leaving.pop(name, None)
            return self._show(name, {})
        state = self.readiness.state(name)
        verdict = self._verdicts[name] = judge(record, state)
        entries = record.entries() if verdict.state == USED else {}
        if entries and state is not None and state.terminating:
            self._leaving[name] = _instances(entries)
        else:
            self._leaving.pop(name, None)
        return self._show(name, entries)

    def _show(self, name: str, entries: dict[str, bytes]) -> list[Change]:
        before = self._shown.pop(name, {})
        if entries:
            self._shown[name] = entries
        changes: list[Change] = []
        for key in before.keys() - entries.keys():
            holders = self._holders[key]
            del holders[name]
            if holders:
                changes.append(Put(key, next(reversed(holders.values()))))
            else:
                del self._holders[key]
                changes.append(Delete(key))
        for key, value in entries.items():
            if before.get(key) != value:
                self._holders.setdefault(key, {})[name] = value
                changes.append(Put(key, value))
        return changes


def judge(record: WorkerRecord, state: PodState | None) -> Verdict:
    """Whether a record counts, with what the cluster says of the pod of its name."""
    if not record.places and record.faults:
        return Verdict("invalid", "; ".join(record.faults))
    if state is None:
        return Verdict("no_endpoint", "no EndpointSlice names its pod, or no pod has that name")
    if not state.uids:
        return Verdict("not_ready", "its pod is being deleted" if state.terminating else "its pod is not ready")
    if len(state.uids) > 1:
        return Verdict("conflict", f"EndpointSlices name different pods for it: {', '.join(sorted(state.uids))}")
    if record.pod_uid is None:
        return Verdict("no_owner", "its record is owned by no Pod")
    (uid,) = state.uids
    if record.pod_uid != uid:
        return Verdict("uid_mismatch", f"its record is of pod uid {record.pod_uid}, the ready pod has uid {uid}")
    return Verdict(USED)


def _instances(entries: dict[str, bytes]) -> frozenset[int]:
    """Ids as they end the keys of endpoints."""
    ids = (key.rpartition("/")[2] for key in entries if key.startswith("v1/instances/"))
    return frozenset(int(text, 16) for text in ids)
