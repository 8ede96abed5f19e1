"""What a model record is to this frontend: a card that can be served and the set it belongs to, or a refusal."""

from __future__ import annotations

import struct
from typing import NamedTuple

from dynamo_fe.models.checksum import mdc_sum
from dynamo_fe.models.servable import card_key, load_key, refusal
from dynamo_fe.protocol.card import ModelCard, ModelRecord
from dynamo_fe.protocol.instance import instance_key


class SetId(NamedTuple):
    """What makes workers one set."""

    model: str
    namespace: str
    component: str
    endpoint: str
    model_type: str
    worker_type: str

    def __str__(self) -> str:
        return f"model {self.model} ({self.namespace}/{self.component}/{self.endpoint})"


class Refused(NamedTuple):
    """A card that is not served, and why. `names` is empty when not even its name could be read, `record` None when it
    is not to be believed."""

    where: str
    names: tuple[str, ...]
    reason: str
    record: ModelRecord | None = None


class Accepted(NamedTuple):
    """A card that can be served. `load_key` names the loaded model it can share with others."""

    record: ModelRecord
    checksum: str
    load_key: str
    set_id: SetId
    instance_key: str


def judge(key: str, record: ModelRecord) -> Accepted | Refused:
    """The record that stands under `key`, with what it belongs to worked out once: a set is gone through with every
    change in it.
    """
    card = record.card_json
    names = names_of(card)
    if key != card_key(record):
        return Refused(key, names, f"the record belongs to {card_key(record)}")
    reason = refusal(record)
    if reason is not None:
        return Refused(key, names, reason, record)
    try:
        checksum, key_of_load = mdc_sum(card), load_key(card)
    except (ValueError, TypeError, struct.error) as error:
        return Refused(key, names, f"the card has no checksum: {error}")
    place = (record.namespace, record.component, record.endpoint)
    set_id = SetId(card.display_name, *place, "|".join(sorted(card.model_types())), card.worker_type or "")
    return Accepted(record, checksum, key_of_load, set_id, instance_key(*place, record.instance_id))


def spoken(card: Refused) -> str:
    """What a refused card is called in messages."""
    return f"model {card.names[0]}" if card.names else f"record {card.where}"


def distinct(cards: list[Refused]) -> list[Refused]:
    """One of each kind: a thousand workers with the same unusable card are one reason."""
    return list({(card.names or (card.where,), card.reason): card for card in cards}.values())


def names_of(card: ModelCard) -> tuple[str, ...]:
    """The name of a model and its aliases."""
    return (card.display_name, *(card.aliases or ()))


def names(card: Accepted | Refused) -> tuple[str, ...]:
    """The same of a judged card; empty when it could not be read."""
    return card.names if isinstance(card, Refused) else names_of(card.record.card_json)
