"""What is booked on one rank, shown to the choice and to sibling processes at every change."""

from dynamo_fe._cext.routing_score import Candidates

class BookedLoad:
    """`all` and `own` are the blocks, by weight, that the tree of active blocks counts here, of every known request and
    of this process's alone; whoever changes them calls `refresh`, or another method, afterwards. `extra`, `extra_own`
    are the blocks of requests that nobody can share.
    """

    all: float
    own: float
    @property
    def extra(self) -> float: ...
    @property
    def extra_own(self) -> float: ...
    @property
    def prefill_tokens(self) -> int: ...
    @property
    def prefill_own(self) -> int: ...
    @property
    def requests(self) -> int: ...
    @property
    def requests_own(self) -> int: ...
    @property
    def active_blocks(self) -> int:
        """Blocks of all requests known here, rounded to nearest, halves up."""
    def __init__(self, memory: memoryview | None = None) -> None:
        """`memory`: three u64 in which siblings read this process's part (prompt tokens, blocks in millionths,
        requests); it must stay where it is for as long as this lives.

        Raises ValueError for another size, TypeError or BufferError for what cannot be written to.
        """
    def show_in(self, columns: Candidates, row: int) -> None:
        """From now on that row shows the load. Raises IndexError: there is no such row."""
    def refresh(self) -> None:
        """Shows the load as it is."""
    def book(self, private_blocks: float, prefill_tokens: int, own: bool) -> None:
        """A request comes."""
    def prefill_done(self, tokens: int, own: bool) -> None:
        """So many prompt tokens of a request are computed."""
    def grow(self, blocks: float, own: bool) -> None:
        """A request has so many private blocks more, or fewer."""
    def release(self, private_blocks: float, prefill_tokens: int, own: bool) -> None:
        """A request goes, with all that it had left; with the last one all blocks are 0 again."""
