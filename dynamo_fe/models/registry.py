"""What is served: model cards and instances from discovery, joined, loaded, and kept up to date."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable, Collection
from typing import Any, Final

import msgspec

from dynamo_fe.discovery.base import Delete, Discovery, Event, Put
from dynamo_fe.discovery.store_view import GRACE_SECS, Change, StoreView
from dynamo_fe.models.judgement import Accepted, Refused, distinct, judge, spoken
from dynamo_fe.models.loads import Load, ModelLoads
from dynamo_fe.models.namespaces import NamespaceFilter
from dynamo_fe.models.readiness import model_readiness, namespace_readiness
from dynamo_fe.models.servable import CARDS_PREFIX
from dynamo_fe.models.served import ServedModel
from dynamo_fe.models.worker_sets import WorkerSet, WorkerSets
from dynamo_fe.protocol.card import ModelCard, decode_model_record
from dynamo_fe.protocol.instance import INSTANCES_PREFIX, Instance, RecordError, parse_instance

log = logging.getLogger("dynamo_fe.models")

__all__ = ["ModelRegistry", "WorkerSet"]

# a model's files are loaded in a second or less once they are here
LOAD_WAIT_SECS: Final = 3.0


class ModelRegistry:
    """Follows discovery until it is closed. All methods belong to one event loop and none of them blocks.

    `on_instance_removed` hears of every worker that requests could have gone to, at once when it leaves discovery or
    changes its address. `on_change` is called whenever what is served may have changed. Workers on a transport that
    is not in `transports` do not count as live. `remark` says what of a card does not have its effect, if anything; its
    model is served all the same.
    """

    def __init__(
        self,
        discovery: Discovery,
        load: Load,
        namespaces: NamespaceFilter,
        on_instance_removed: Callable[[int], None],
        *,
        on_change: Callable[[], None] | None = None,
        transports: frozenset[str] = frozenset({"tcp"}),
        remark: Callable[[ModelCard], str | None] = lambda card: None,
        grace_secs: float = GRACE_SECS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._discovery = discovery
        self._namespaces = namespaces
        # by the key of a card that is not shown
        self._outside: dict[str, str] = {}
        self._on_instance_removed = on_instance_removed
        self._on_change = on_change
        self._transports = transports
        self._remark = remark
        self._remarks: dict[str, str] = {}
        self._clock = clock
        self._card_view = StoreView(grace_secs)
        self._instance_view = StoreView(grace_secs)
        self._instances: dict[str, tuple[Instance, bytes]] = {}
        self._broken: dict[str, str] = {}
        self._sets = WorkerSets()
        self._loads = ModelLoads(load, self._load_changed)
        self._tasks: list[asyncio.Task[None]] = []
        self._settled = asyncio.Event()
        self._expiry: asyncio.TimerHandle | None = None

    async def run(self) -> None:
        """Follows discovery; returns after `close()`."""
        self._tasks = [
            asyncio.create_task(self._follow(CARDS_PREFIX, self._card_view, self._change_card), name="cards"),
            asyncio.create_task(
                self._follow(INSTANCES_PREFIX, self._instance_view, self._change_instance), name="instances"
            ),
        ]
        try:
            await asyncio.gather(*self._tasks)
        except asyncio.CancelledError:
            current = asyncio.current_task()
            if current is not None and current.cancelling():
                raise
        finally:
            for task in self._tasks:
                task.cancel()

    async def close(self) -> None:
        """Stops following and lets the models go."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None
        await self._loads.close()

    @property
    def listed(self) -> bool:
        """Whether discovery has been read: before that, nothing is known to be absent."""
        return self._card_view.listed and self._instance_view.listed

    async def first_view(self, connect_secs: float, load_secs: float) -> None:
        """Returns when what discovery holds is served or refused.

        At most after `connect_secs` while discovery has not been read, and `load_secs` while models are being loaded.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(connect_secs):
                await self._until(lambda: self.listed)
            async with asyncio.timeout(load_secs):
                await self._until(lambda: not self._loads.running)

    async def loaded(self, name: str) -> None:
        """Returns when a model of that name is served or none is being loaded whose workers are there, at most after
        LOAD_WAIT_SECS: a process beside this one may have loaded and listed it a moment earlier.
        """

        def settled() -> bool:
            return bool(self._sets.find(name)) or not any(map(self._loads.is_first_try, self._sets.awaited(name)))

        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOAD_WAIT_SECS):
                await self._until(settled)

    def find(self, name: str) -> list[WorkerSet]:
        """The sets that would serve a request for that name or alias now. Not to be changed by the caller."""
        return self._sets.find(name)

    def sets(self) -> list[WorkerSet]:
        """All sets that would serve requests now."""
        return self._sets.live()

    def choose(self, name: str, model_type: str, instance_id: int | None) -> ServedModel | None:
        """The model a request for that name and endpoint (`Chat`, `Completions`) is prepared for. Namespaces may serve
        different ones under a name: then that of the instance, or any by the number of its workers. None: not served.
        """
        sets = [entry for entry in self._sets.find(name) if model_type in entry.served.card.model_types()]
        if len(sets) > 1:
            named = [entry for entry in sets if instance_id in entry.instances]
            sets = named or random.choices(sets, [len(entry.instances) for entry in sets])
        return sets[0].served if sets else None

    def known(self, name: str) -> bool:
        """Whether a card goes by that name, served or not: tells "not ready" from "not found"."""
        return self._sets.known(name)

    def types(self, name: str) -> Collection[str]:
        """The model types (`Chat`, `Completions`, `TensorBased`) that go by that name or alias, served or not."""
        return self._sets.types(name)

    def serves_type(self, model_type: str) -> bool:
        """Whether a model of that type (`Chat`, `Completions`) has been announced, ready or not."""
        return self._sets.announced(model_type)

    def models(self) -> list[ServedModel]:
        """The models that would be served now, each once."""
        return list(dict.fromkeys(self.listing().values()))

    def listing(self) -> dict[str, ServedModel]:
        """The same by every name they are served under: primary names and aliases."""
        return self._sets.listing()

    def instances(self) -> list[tuple[Instance, bytes]]:
        """Every instance in discovery, of all namespaces, with its record as it stands in the store."""
        return list(self._instances.values())

    def endpoints(self) -> set[str]:
        """The endpoints, as `namespace/component/endpoint`, that models are served by. Workers have others beside them,
        as for what their KV caches hold.
        """
        return self._sets.endpoints()

    def suspect(self, instance_id: int) -> None:
        """Requests found nobody there: an instance that lives on only because the store lost it is given up."""
        if self._drop_unconfirmed(lambda instance: instance.instance_id == instance_id):
            self._settle()

    def announced(self) -> dict[str, tuple[ModelCard, bool]]:
        """Every model whose card is accepted, by its primary name: a card of it, and whether it would be served now."""
        return {name: (card, bool(self._sets.find(name))) for name, card in self._sets.cards().items()}

    def readiness(self, name: str, out: Collection[int] = ()) -> dict[str, Any] | None:
        """The answer of `/v1/models/{name}/ready`: by namespace the worker types that are there and those that are
        missing, the instances `out` left out. None when no card goes by that name. It says ready only for what would be
        served.
        """
        if not self._sets.known(name):
            return None
        serving = {entry.namespace for entry in self._sets.find(name)}
        parts = {
            namespace: namespace_readiness(stages, None if namespace in serving else self._obstacle(name, namespace))
            for namespace, stages in self._sets.stages(name, out).items()
        }
        return model_readiness(name, parts)

    def _obstacle(self, name: str, namespace: str) -> str:
        """Why a model whose workers are all there is not served in a namespace."""
        for card in self._sets.refused():
            if card.record is not None and card.record.namespace == namespace and name in card.names:
                return card.reason
        for set_id, wanted in self._sets.waiting():
            if (set_id.model, set_id.namespace) == (name, namespace):
                return self._loads.reason(wanted) or "loading"
        return "loading"

    def discovery_status(self) -> dict[str, Any]:
        """How discovery fares: its backend, whether it is connected and for how many seconds that has been so, in words
        where it is, and `view_age_secs`, for how long nothing has confirmed the view (null: not known)."""
        status: dict[str, Any] = msgspec.to_builtins(self._discovery.status())
        return status

    def reasons(self) -> list[str]:
        """What is not as it should be, for an operator. Models may be served all the same."""
        status = self._discovery.status()
        reasons = [] if status.connected else [f"discovery ({status.backend}) is not connected: {status.detail}"]
        if status.connected and not self.listed:
            reasons.append(f"discovery ({status.backend}) has not been read yet")
        reasons += [f"{spoken(card)}: {card.reason}" for card in distinct(self._sets.refused())]
        for set_id, wanted in self._sets.waiting():
            reasons.append(f"{set_id}: {self._loads.reason(wanted) or 'no live instance'}")
        reasons += [f"{set_id}: missing worker types: {', '.join(types)}" for set_id, types in self._sets.unmet()]
        for set_id, count, why in self._sets.rejected():
            workers = "1 worker" if count == 1 else f"{count} workers"
            reasons.append(f"{set_id}: {workers} rejected: another checksum" + (f": {why}" if why else ""))
        reasons += [f"instance {text}" for text in self._broken.values()]
        reasons += self._discovery.remarks()
        reasons += sorted(set(self._remarks.values()))
        if not reasons and not self.models():
            reasons.append("no model is registered in discovery" + self._elsewhere())
        return reasons

    def _elsewhere(self) -> str:
        """Where models are that this frontend was told not to show."""
        named = sorted(set(self._outside.values()))
        return f", but in namespaces that are left out: {', '.join(named)}" if named else ""

    async def _follow(self, prefix: str, view: StoreView, change: Callable[[Change], None]) -> None:
        async for batch in self._discovery.watch(prefix):
            for event in batch:
                self._apply(view, event, change)
            self._settle()

    def _apply(self, view: StoreView, event: Event, change: Callable[[Change], None]) -> None:
        for item in view.apply(event, self._clock()):
            self._guarded(change, item)

    def _guarded(self, change: Callable[[Change], None], item: Change) -> None:
        try:
            change(item)
        except Exception:
            # One record must not end the watch that all others depend on.
            log.exception("record %s could not be taken in", item.key)

    def _change_card(self, change: Change) -> None:
        self._remarks.pop(change.key, None)
        self._outside.pop(change.key, None)
        if isinstance(change, Delete):
            self._sets.delete_card(change.key)
            return
        card = self._read_card(change)
        if card is None:
            self._sets.delete_card(change.key)
            return
        if isinstance(card, Refused):
            if not any((other.names, other.reason) == (card.names, card.reason) for other in self._sets.refused()):
                log.warning("%s is not served: %s", spoken(card), card.reason)
        else:
            self._loads.retry(card.load_key)
            self._note_remark(change.key, card.record.card_json)
        self._sets.put_card(change.key, card)

    def _note_remark(self, key: str, card: ModelCard) -> None:
        remark = self._remark(card)
        if remark is None:
            return
        text = f"model {card.display_name}: {remark}"
        if text not in self._remarks.values():
            log.warning("%s", text)
        self._remarks[key] = text

    def _read_card(self, change: Put) -> Accepted | Refused | None:
        """None: a namespace that this frontend does not show."""
        namespace = change.key.removeprefix(CARDS_PREFIX).partition("/")[0]
        if not self._namespaces.shows(namespace):
            self._outside[change.key] = namespace
            return None
        try:
            record = decode_model_record(change.value)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return Refused(change.key, (), f"the record cannot be read: {error}")
        return judge(change.key, record)

    def _change_instance(self, change: Change) -> None:
        self._broken.pop(change.key, None)
        instance: Instance | None = None
        if isinstance(change, Put):
            try:
                instance = parse_instance(change.key, change.value)
            except RecordError as error:
                log.warning("instance %s", error)
                self._broken[change.key] = str(error)
            else:
                self._instances[change.key] = (instance, change.value)
                self._drop_replaced(instance)
        if instance is not None and instance.transport not in self._transports:
            text = f"{change.key}: transport {instance.transport} is not supported yet by this version"
            log.warning("instance %s", text)
            self._broken[change.key] = text
            instance = None
        elif instance is None:
            self._instances.pop(change.key, None)
        if instance is not None:
            gone = self._sets.put_instance(instance)
        else:
            gone = self._sets.delete_instance(change.key)
        if gone is not None:
            self._on_instance_removed(gone.instance_id)

    def _drop_replaced(self, instance: Instance) -> None:
        """A worker that registered anew under another id stands where the store's loss left its old one."""
        place = (instance.namespace, instance.component, instance.endpoint, instance.host, instance.port)
        self._drop_unconfirmed(
            lambda old: (
                old.instance_id != instance.instance_id
                and bool(old.host)
                and (old.namespace, old.component, old.endpoint, old.host, old.port) == place
            )
        )

    def _drop_unconfirmed(self, matches: Callable[[Instance], bool]) -> bool:
        dropped = False
        for key in self._instance_view.unconfirmed():
            entry = self._instances.get(key)
            if entry is None or not matches(entry[0]):
                continue
            dropped = True
            log.info("instance %s is given up: the store lost it and nobody answers for it", key)
            for change in self._instance_view.drop(key):
                self._guarded(self._change_instance, change)
            for change in self._card_view.drop(CARDS_PREFIX + key.removeprefix(INSTANCES_PREFIX)):
                self._guarded(self._change_card, change)
        return dropped

    def _load_changed(self, load_key: str) -> None:
        self._sets.loads_changed([load_key])
        self._settle()

    def _settle(self) -> None:
        self._sets.settle(self._loads.loaded)
        self._loads.want(self._sets.wanted())
        self._arm_expiry()
        self._settled.set()
        if self._on_change is not None:
            self._on_change()

    async def _until(self, holds: Callable[[], bool]) -> None:
        while not holds():
            self._settled.clear()
            await self._settled.wait()

    def _arm_expiry(self) -> None:
        deadlines = [view.next_deadline() for view in (self._card_view, self._instance_view)]
        due = min((deadline for deadline in deadlines if deadline is not None), default=None)
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None
        if due is not None:
            delay_secs = max(due - self._clock(), 0.0)
            self._expiry = asyncio.get_running_loop().call_later(delay_secs, self._expire)

    def _expire(self) -> None:
        now = self._clock()
        for item in self._instance_view.expire(now):
            log.info("instance %s is given up: the store never got it back", item.key)
            self._guarded(self._change_instance, item)
        for item in self._card_view.expire(now):
            self._guarded(self._change_card, item)
        self._settle()
