"""Joins model cards and instances into what can be served. No I/O.

A **worker set** is all workers of one model with the same namespace, component, endpoint, model type and worker type.
The first card accepted fixes the set's checksum; a worker whose card has another gets no traffic. When the last
accepted worker has gone, a worker that had been rejected founds the set anew. A set serves while its model is loaded, a
worker is live, and the workers it needs beside it are live in its namespace.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from dynamo_fe.models.judgement import Accepted, Refused, SetId, names, names_of
from dynamo_fe.models.readiness import Stage, gather, missing_types
from dynamo_fe.models.servable import AGGREGATED
from dynamo_fe.models.served import ServedModel
from dynamo_fe.protocol.card import ModelCard, ModelRecord
from dynamo_fe.protocol.instance import Instance, instance_key

log = logging.getLogger("dynamo_fe.models")


@dataclass(slots=True, eq=False)
class WorkerSet:
    """Workers that a request for `model` may go to, and by the same ids what each says of itself. `instances` is never
    empty here and neither is changed in place: new dicts come with every change, so that an iteration or a remembered
    dict stays sound."""

    model: str
    namespace: str
    component: str
    endpoint: str
    served: ServedModel
    instances: dict[int, Instance]
    cards: dict[int, ModelCard]

    @property
    def key(self) -> str:
        """Tells the set from the others of its model."""
        return f"{self.namespace}/{self.component}/{self.endpoint}/{self.model}"


@dataclass(slots=True)
class _Group:
    cards: dict[str, Accepted] = field(default_factory=dict)
    founder: Accepted | None = None
    rejected: set[str] = field(default_factory=set)
    live: WorkerSet | None = None
    loaded: ServedModel | None = None  # what `live.served` was made from


class WorkerSets:
    """Fed with cards, instances and loaded models; after each batch of changes `settle()` draws the conclusions."""

    def __init__(self) -> None:
        self._cards: dict[str, Accepted | Refused] = {}
        self._groups: dict[SetId, _Group] = {}
        self._instances: dict[str, Instance] = {}
        self._users: dict[str, dict[str, SetId]] = {}  # instance key -> card key -> its set
        self._routable: set[str] = set()
        self._dirty: set[SetId] = set()
        self._by_name: dict[str, list[WorkerSet]] = {}
        self._known: dict[str, set[str]] = {}

    def put_card(self, key: str, card: Accepted | Refused) -> None:
        """A new card, or a new state of one."""
        self.delete_card(key)
        self._cards[key] = card
        if isinstance(card, Accepted):
            self._groups.setdefault(card.set_id, _Group()).cards[key] = card
            self._users.setdefault(card.instance_key, {})[key] = card.set_id
            if card.instance_key in self._instances:
                self._routable.add(card.instance_key)
            self._touch(card.instance_key)

    def delete_card(self, key: str) -> None:
        """The card is gone."""
        card = self._cards.pop(key, None)
        if not isinstance(card, Accepted):
            return
        group = self._groups[card.set_id]
        del group.cards[key]
        group.rejected.discard(key)
        self._touch(card.instance_key)
        users = self._users[card.instance_key]
        del users[key]
        if not users:
            del self._users[card.instance_key]

    def put_instance(self, instance: Instance) -> Instance | None:
        """A worker's endpoint. Returns the one it replaces if requests could have gone there at another address."""
        before = self._instances.get(instance.key)
        self._instances[instance.key] = instance
        self._touch(instance.key)
        moved = before is not None and _place(before) != _place(instance) and instance.key in self._routable
        if instance.key in self._users:
            self._routable.add(instance.key)
        return before if moved else None

    def delete_instance(self, key: str) -> Instance | None:
        """The endpoint is gone. Returns it if requests could have gone there."""
        instance = self._instances.pop(key, None)
        self._touch(key)
        # Also when its card went first: the two watches are not ordered among each other.
        routable = key in self._routable
        self._routable.discard(key)
        return instance if routable else None

    def settle(self, loaded: Mapping[str, ServedModel]) -> None:
        """Brings the sets up to date. `loaded`: the models at hand, by load key."""
        for set_id in self._dirty:
            self._settle_group(set_id, loaded)
        self._dirty.clear()
        by_name: dict[str, list[WorkerSet]] = {}
        for set_id, group in self._groups.items():
            if group.live is not None and not self._missing_for(set_id, group):
                for name in names_of(group.live.served.card):
                    by_name.setdefault(name, []).append(group.live)
        self._by_name = by_name
        self._known = {}
        for card in self._cards.values():
            types = card.record.card_json.model_types() if isinstance(card, Accepted) else ()
            for name in names(card):
                self._known.setdefault(name, set()).update(types)

    def loads_changed(self, load_keys: Iterable[str]) -> None:
        """The models under these keys were loaded or let go: their sets want settling."""
        changed = set(load_keys)
        for set_id, group in self._groups.items():
            if group.founder is not None and group.founder.load_key in changed:
                self._dirty.add(set_id)

    def find(self, name: str) -> list[WorkerSet]:
        """The sets that would serve a request for that name or alias now."""
        return self._by_name.get(name, [])

    def live(self) -> list[WorkerSet]:
        """All sets that would serve requests now."""
        return list(dict.fromkeys(entry for sets in self._by_name.values() for entry in sets))

    def known(self, name: str) -> bool:
        """Whether any card goes by that name, served or not."""
        return name in self._known

    def types(self, name: str) -> Collection[str]:
        """The model types of all acceptable cards that go by that name, ready or not."""
        return self._known.get(name, ())

    def announced(self, model_type: str) -> bool:
        """Whether any acceptable card is of that model type, ready or not."""
        return any(model_type in set_id.model_type.split("|") for set_id in self._groups)

    def listing(self) -> dict[str, ServedModel]:
        """Every name that would be served now, aliases included, in order of registration."""
        return {name: sets[0].served for name, sets in self._by_name.items()}

    def wanted(self) -> dict[str, ModelCard]:
        """The models that sets want loaded, by load key."""
        founders = (group.founder for group in self._groups.values())
        return {founder.load_key: founder.record.card_json for founder in founders if founder is not None}

    def refused(self) -> list[Refused]:
        """The cards that are not served."""
        return [card for card in self._cards.values() if isinstance(card, Refused)]

    def waiting(self) -> list[tuple[SetId, str]]:
        """The sets that do not serve, with the key of the model they want loaded."""
        return [
            (set_id, group.founder.load_key)
            for set_id, group in self._groups.items()
            if group.live is None and group.founder is not None
        ]

    def awaited(self, name: str) -> list[str]:
        """The keys of the models that are missing for workers that are live to serve under that name or alias."""
        return [
            group.founder.load_key
            for group in self._groups.values()
            if group.live is None and group.founder is not None and name in names(group.founder)
            if any(card.instance_key in self._instances for card in group.cards.values())
        ]

    def rejected(self) -> list[tuple[SetId, int, str]]:
        """The sets with workers that do not fit in, how many, and how they differ, where it is in a common way."""
        found = []
        for set_id, group in self._groups.items():
            if group.rejected:
                differences = sorted({_block_sizes(group, key) for key in group.rejected} - {""})
                found.append((set_id, len(group.rejected), "; ".join(differences)))
        return found

    def unmet(self) -> list[tuple[SetId, list[str]]]:
        """The sets that would serve but for workers of these types, which they need."""
        live = ((set_id, group) for set_id, group in self._groups.items() if group.live is not None)
        return [(set_id, missing) for set_id, group in live if (missing := self._missing_for(set_id, group))]

    def cards(self) -> dict[str, ModelCard]:
        """A card of every model that is not refused, by its primary name, served or not."""
        founders = (group.founder for group in self._groups.values())
        return {founder.set_id.model: founder.record.card_json for founder in founders if founder is not None}

    def endpoints(self) -> set[str]:
        """Where cards that are not refused say that their models' requests go, as `namespace/component/endpoint`."""
        return {f"{set_id.namespace}/{set_id.component}/{set_id.endpoint}" for set_id in self._groups}

    def stages(self, name: str, out: Collection[int] = ()) -> dict[str, dict[str, Stage]]:
        """By namespace and worker type, the workers whose cards go by that name, served or not; the instances `out` do
        not count as live.
        """
        found: dict[str, list[tuple[str, list[list[str]], bool]]] = {}
        for key, record in self._records(name):
            card = record.card_json
            place = instance_key(record.namespace, record.component, record.endpoint, record.instance_id)
            live = place in self._instances and record.instance_id not in out and not self._is_rejected(key)
            found.setdefault(record.namespace, []).append((card.worker_type or AGGREGATED, card.needs, live))
        return {namespace: gather(found[namespace]) for namespace in sorted(found)}

    def _records(self, name: str) -> Iterator[tuple[str, ModelRecord]]:
        for key, card in self._cards.items():
            if card.record is not None and name in names(card):
                yield key, card.record

    def _is_rejected(self, key: str) -> bool:
        card = self._cards[key]
        return isinstance(card, Accepted) and key in self._groups[card.set_id].rejected

    def _missing_for(self, set_id: SetId, group: _Group) -> list[str]:
        """The worker types a set needs and does not have; [] at once for a set that needs nobody."""
        founder = group.founder
        if founder is None or not founder.record.card_json.needs:
            return []
        return missing_types(self.stages(set_id.model).get(set_id.namespace, {}))

    def _settle_group(self, set_id: SetId, loaded: Mapping[str, ServedModel]) -> None:
        group = self._groups.get(set_id)
        if group is None:
            return
        if not group.cards:
            del self._groups[set_id]
            return
        founder = self._founder(set_id, group)
        members = [card for card in group.cards.values() if card.checksum == founder.checksum]
        instances = {
            instance.instance_id: instance
            for card in members
            if (instance := self._instances.get(card.instance_key)) is not None
        }
        cards = {card.record.instance_id: card.record.card_json for card in members}
        model = loaded.get(founder.load_key)
        checksum = self._base_checksum(founder)
        if model is None or not instances:
            group.live = None
        elif group.live is not None and group.loaded is model and group.live.served.mdc_sum == checksum:
            group.live.instances, group.live.cards = instances, {number: cards[number] for number in instances}
        else:
            # The loaded model may be shared with sets of other names: an adapter's is its base's.
            served = replace(model, name=set_id.model, card=founder.record.card_json, mdc_sum=checksum)
            place = (set_id.namespace, set_id.component, set_id.endpoint)
            of_live = {number: cards[number] for number in instances}
            group.live = WorkerSet(set_id.model, *place, served, instances, of_live)
        group.loaded = model

    def _base_checksum(self, founder: Accepted) -> str:
        """What requests carry as `mdc_sum`: an adapter's is that of the model it sits on, where that has a card."""
        if founder.record.card_json.lora is not None:
            for key in self._users.get(founder.instance_key, ()):
                card = self._cards[key]
                if isinstance(card, Accepted) and card.record.card_json.lora is None:
                    return card.checksum
        return founder.checksum

    def _founder(self, set_id: SetId, group: _Group) -> Accepted:
        """The card that the set goes by: kept while any worker is left that is just like it."""
        cards = list(group.cards.values())
        founder = group.founder
        if founder is None or not any(card.load_key == founder.load_key for card in cards):
            like = (card for card in cards if founder is not None and card.checksum == founder.checksum)
            founder = next(like, cards[0])
            group.founder = founder
            group.rejected.clear()
        for key, card in group.cards.items():
            if card.checksum != founder.checksum and key not in group.rejected:
                group.rejected.add(key)
                log.error(
                    "Rejected incompatible workers of model %s: %s has checksum %s, the set goes by %s",
                    set_id.model,
                    card.instance_key,
                    card.checksum,
                    ": ".join(filter(None, (founder.checksum, _block_sizes(group, key)))),
                )
        return founder

    def _touch(self, key: str) -> None:
        """All sets with a card on this worker: an adapter's also depends on the card of its base."""
        self._dirty.update(self._users.get(key, {}).values())


def _block_sizes(group: _Group, key: str) -> str:
    """How those of a worker that was rejected differ from those of the set; empty if they do not."""
    own, wanted = (each and each.record.card_json.kv_cache_block_size for each in (group.cards[key], group.founder))
    return "" if own == wanted else f"KV blocks of {own} tokens, the others' have {wanted}"


def _place(instance: Instance) -> tuple[object, ...]:
    return instance.transport, instance.host, instance.port, instance.path, instance.nats_subject
