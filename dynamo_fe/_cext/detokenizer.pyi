"""Token ids to text for byte-level BPE, by a table of each token's bytes."""

class DecodeTable:
    """The bytes of every token of a byte-level BPE vocabulary, and which tokens are special. Immutable."""

    def __init__(self, tokens: list[bytes], special: set[int]) -> None:
        """`tokens[id]` are the bytes of a token; ids in `special` are dropped when special tokens are skipped."""

    @staticmethod
    def from_vocabulary(vocab_json: bytes, added: list[tuple[int, bytes]], special: set[int]) -> DecodeTable:
        """Read the object ``model.vocab`` of a tokenizer.json, spelling → id, without the GIL.

        Spellings use the byte alphabet of byte-level BPE; one with a character outside of it stands for its own UTF-8,
        as in the ByteLevel decoder of Hugging Face. `added` tokens (id, UTF-8 of the content) take the place of the
        vocabulary's and are spelled alike.

        Raises:
            ValueError: not such an object, or an id out of range.
        """

    def __len__(self) -> int:
        """One more than the largest id."""

    def token_bytes(self, token_id: int, /) -> bytes:
        """The bytes of a token; empty for an id that is not in the vocabulary."""

    def is_special(self, token_id: int, /) -> bool: ...

class Detokenizer:
    """Text of one choice, token by token; a character whose bytes have not all come is held back, and so is U+FFFD at
    the end of the text (256 of them) until other text follows it, as the Hugging Face decoder streams.

    All texts returned and the final `flush` joined equal the decoding of all ids at once: bytes that cannot be UTF-8
    come out as U+FFFD, one for each maximal prefix of a sequence. Unknown ids decode to nothing.
    """

    def __init__(self, table: DecodeTable, skip_special: bool) -> None: ...
    @property
    def held_bytes(self) -> int:
        """How many bytes of an unfinished character are held back, at most 3."""

    def push(self, ids: list[int], /) -> str:
        """The text that is complete now, "" if none.

        Raises:
            TypeError: an id is not an integer; nothing of the batch has been taken then.
        """

    def flush(self) -> str:
        """What was held back, as U+FFFD; "" if nothing. The next push begins anew."""

    def forget_replaced(self) -> None:
        """Drop the U+FFFD that are held back: they belong to text that is not to be given out."""
