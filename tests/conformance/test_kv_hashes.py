"""Block hashes, against what the released library computes (tests/fixtures/kv/hash_vectors.json)."""

from __future__ import annotations

import json
from array import array
from pathlib import Path
from typing import Any

import pytest

from dynamo_fe._cext.block_hash import block_seed, local_hashes, sequence_hashes
from dynamo_fe.routing.tracking_hash import TrackingKey, tracking_seeds

VECTORS = json.loads((Path(__file__).parent.parent / "fixtures" / "kv" / "hash_vectors.json").read_text())
PUBLIC = {vector["name"]: vector for vector in VECTORS["vectors"]}
KEYED = VECTORS["keyed_tracking_vectors"]


def mm_hashes(vector: dict[str, Any]) -> list[list[int] | None] | None:
    infos = vector["block_mm_infos"]
    return infos and [info and [seen["mm_hash"] for seen in info["mm_objects"]] for info in infos]


@pytest.mark.parametrize("name", PUBLIC)
def test_public_hashes(name: str) -> None:
    vector = PUBLIC[name]
    seed = block_seed(vector["lora_name"], vector["cache_namespace"])
    local = local_hashes(
        array("I", vector["tokens"]), vector["block_size"], seed, vector["is_eagle"], mm_hashes(vector)
    )
    assert seed == int(vector["seed"])
    assert [str(number) for number in local] == vector["local_hashes"]
    assert [str(number) for number in sequence_hashes(local)] == vector["sequence_hashes"]


@pytest.mark.parametrize("number", range(len(KEYED)))
def test_keyed_tracking_hashes(number: int) -> None:
    vector = KEYED[number]
    eagle = vector.get("is_eagle", False)
    seed, chain_seed = tracking_seeds(
        TrackingKey(bytes.fromhex(vector["key_hex"]), vector["key_id"]),
        model_name=vector["model_name"],
        routing_group=vector["routing_group"],
        block_tokens=vector["block_size"],
        cache_namespace=vector.get("cache_salt"),
        lora_name=vector.get("lora_name"),
        eagle=eagle,
    )
    local = local_hashes(array("I", vector["token_ids"]), vector["block_size"], seed, eagle)
    assert [str(number) for number in sequence_hashes(local, chain_seed)] == vector["sequence_hashes"]


def test_a_key_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes, this one has 31"):
        TrackingKey(b"k" * 31, "2026-01")
