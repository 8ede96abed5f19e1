"""What the texts of models become, against the corpus of the real frontend's captures and the formats' definitions."""

from __future__ import annotations

import pytest

from dynamo_fe.parsers.grammar import grammar
from dynamo_fe.parsers.machine import Machine
from tests.support.parser_compare import aggregate, check
from tests.support.parser_records import cuts, deltas, plan_of, read, record_files, records, whole

# The corpus contradicts itself or its specification here; what we do instead is the reason.
DIFFERENT = {
    "reasoning-granite/text-before-open": "text before an opener has gone out as content when the opener comes",
    "reasoning-granite/close-without-open": "a marker is dropped, not replaced by a blank as in a capture in one piece",
    "reasoning-minimax_m3/close-without-open": "text that flowed as content does not become reasoning afterwards",
    "minimax_m2/coerce-ref-45": "a reference in a schema is followed",
}
# Their calls have no marker of their own, so that text in brackets may be held while it can become one.
MARKERLESS = {"llama3_json", "default", "xlam", "pythonic", "llama4_pythonic", "mistral", "nemotron_deci"}


@pytest.mark.parametrize("file", record_files())
def test_every_cut_of_a_text_becomes_the_message(file: str) -> None:
    wrong = {}
    for record in records(file):
        plan, reason = plan_of(record), record["engine_finish_reason"]
        found: list[str] = []
        for pieces in cuts(record):
            events, finish = read(plan, pieces, reason)
            for shown in (events, whole(events)):
                result, breaches = aggregate(deltas(shown, finish))
                found += [*check(record, result), *breaches]
        if bool(found) != (record["id"] in DIFFERENT):
            wrong[record["id"]] = found[:3]
    assert not wrong


@pytest.mark.parametrize("file", record_files())
def test_text_without_markers_flows(file: str) -> None:
    """No more is ever held back than may still become a marker."""
    for record in records(file):
        expected, text = record["expected"], record.get("input") or "".join(record.get("chunks", ()))
        plan = plan_of(record)
        bare = plan.tool_parser in MARKERLESS and text.lstrip().startswith(("[", "{"))
        if expected["tool_calls"] or expected["reasoning"] or expected["content"] != text or bare or plan.forced:
            continue
        markers = grammar(plan.tool_parser, plan.reasoning_parser).content.markers
        if any(marker in text for marker in markers.words if len(marker) > 1):
            continue
        machine = Machine(plan)
        shown = 0
        for at, char in enumerate(text, 1):
            shown += sum(len(event.text) for event in machine.push(char) if hasattr(event, "text"))
            most = 40 if plan.tool_parser in MARKERLESS else markers.longest - 1
            assert at - shown <= max(most, 0), (record["id"], text[shown:at])
