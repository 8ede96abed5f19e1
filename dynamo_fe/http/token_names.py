"""How the tokens of logprobs are written: as text, or as `token_id:N` where the request asks for that."""

from __future__ import annotations

from dynamo_fe.models.tokenizer import TextTokenizer
from dynamo_fe.pipeline.delta import TokenLogprob
from dynamo_fe.protocol.openai import ChatRequest, CompletionRequest
from dynamo_fe.protocol.worker import TopLogprob

_REPLACEMENT = "�"


class TokenNames:
    """Names the tokens of one answer. Special tokens that the text leaves out have no text here either."""

    def __init__(self, tokenizer: TextTokenizer, request: ChatRequest | CompletionRequest) -> None:
        self._tokenizer = tokenizer
        self._as_ids = request.return_tokens_as_token_ids is True
        # a chat request that wants none of the alternatives gets none, not even the sampled token among them
        self.tops_wanted = not (isinstance(request, ChatRequest) and request.top_logprobs == 0)
        self._skip_special = request.skip_special_tokens is not False

    def name(self, sampled: TokenLogprob) -> str:
        """The sampled token; the worker's own name for it, if its list has one."""
        if not self._as_ids:
            for entry in sampled.top or ():
                if entry.token_id == sampled.token_id and entry.token is not None:
                    return entry.token
            if sampled.dropped:
                return ""
        return self._of(sampled.token_id)

    def top_name(self, entry: TopLogprob) -> str:
        """One alternative."""
        return entry.token if entry.token is not None and not self._as_ids else self._of(entry.token_id)

    def bytes_of(self, token_id: int, name: str, given: list[int] | None = None) -> list[int] | None:
        """The token's UTF-8: of a part of a character its own bytes, None for no text."""
        if given is not None and not self._as_ids:
            return given
        if not name:
            return None
        if _REPLACEMENT in name and not self._as_ids:
            return list(self._tokenizer.token_bytes(token_id)) or None
        return list(name.encode())

    def _of(self, token_id: int) -> str:
        if self._as_ids:
            return f"token_id:{token_id}"
        if self._skip_special and self._tokenizer.is_special(token_id):
            return ""
        return self._tokenizer.token_text(token_id)
