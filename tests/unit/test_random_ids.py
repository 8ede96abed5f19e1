"""Identifiers of requests and streams."""

import uuid

from dynamo_fe.ops.random_ids import RandomIds


def test_ids_are_version_4_uuids_and_never_repeat_across_the_pool() -> None:
    ids = RandomIds()
    made = [ids.uuid4() for _ in range(1000)]
    assert len(set(made)) == 1000
    for text in made:
        parsed = uuid.UUID(text)
        assert (str(parsed), parsed.version, parsed.variant) == (text, 4, uuid.RFC_4122)
