"""Text and tokens of the tiny model, as the report cases write them."""

from __future__ import annotations

from typing import Any

MARKERS = (
    "<s> </s> <|user|> <|assistant|> <|system|> <|end|> <think> </think> <tool_call> </tool_call> <unk> <pad> <|tool|> "
    "<|image|> <|x0|> <|x1|>"
).split()
MERGED = ["he", "ll", "hell", "hello", "or", "ld", " w", " wor", " world", "ST", "OP", "STOP", "en", "end", " end"]
FIRST_BYTE, FIRST_MERGED = len(MARKERS), 272


def encode(text: str, whole_markers: bool = True) -> list[int]:
    """Markers as their token, all else as single bytes."""
    ids: list[int] = []
    while text:
        marker = next((mark for mark in MARKERS if whole_markers and text.startswith(mark)), None)
        if marker is not None:
            ids.append(MARKERS.index(marker))
            text = text[len(marker) :]
        else:
            ids += [FIRST_BYTE + byte for byte in text[0].encode("utf-8", "surrogatepass")]
            text = text[1:]
    return ids


def decode(ids: list[int]) -> str:
    """The text of ids; unknown ones are nothing."""
    raw = b""
    for token in ids:
        if token < FIRST_BYTE:
            raw += MARKERS[token].encode()
        elif token < FIRST_MERGED:
            raw += bytes([token - FIRST_BYTE])
        elif token < FIRST_MERGED + len(MERGED):
            raw += MERGED[token - FIRST_MERGED].encode()
    return raw.decode("utf-8", "replace")


def expanded(says: list[Any]) -> list[Any]:
    """`worker_says` of a case as the items of the scripted worker."""
    items: list[Any] = []
    for entry in says:
        if isinstance(entry, str):
            entry = {"text": entry}
        if not isinstance(entry, dict):
            items.append(entry)
        elif "end" in entry:
            more = {key: value for key, value in entry.items() if key != "end"}
            items.append({"token_ids": [], "finish_reason": entry["end"]} | more)
        elif ("text" in entry or "plain" in entry) and "token_ids" not in entry and "!raw" not in entry:
            ids = encode(entry["text"]) if "text" in entry else encode(entry["plain"], whole_markers=False)
            step = entry.get("step") or max(1, len(ids))
            more = {key: value for key, value in entry.items() if key not in ("text", "plain", "step")}
            items += [{"token_ids": ids[at : at + step]} | more for at in range(0, len(ids), step)]
        else:
            items.append({key: value for key, value in entry.items() if key != "!raw"})
    return items
