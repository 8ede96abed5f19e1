"""The stream of a worker whose items are answers, or parts of one, as they are: nothing is decoded or cut."""

from __future__ import annotations

import abc

from dynamo_fe._cext.stream_codec import OutputItem
from dynamo_fe.pipeline.delta import Piece
from dynamo_fe.pipeline.worker_stream import WorkerStream
from dynamo_fe.protocol.errors import RequestError


class WholeItems(WorkerStream):
    """What the siblings for text and for tensors have in common.

    Such an answer never moves to another worker once a part of it was shown: there are no tokens to go on from.
    """

    __slots__ = ()

    @abc.abstractmethod
    def _read(self, item: OutputItem, first: bool) -> Piece | None:
        """The piece that an item makes, None for none. Raises RequestError for an error item, and for what is none."""

    def on_items(self, items: list[OutputItem]) -> None:
        """Takes what one socket read brought."""
        if self.ended:
            return
        pieces: list[Piece] = []
        try:
            for item in items:
                piece = self._read(item, self._first and not pieces)
                if piece is not None:
                    pieces.append(piece)
            self._hand_over(pieces)
        except RequestError as error:
            error.first_event = self._first and not pieces
            self._hand_over(pieces)
            self._fail(error, tell_worker=True)
        except Exception as error:
            self._break_off(error)

    def on_end(self, error: RequestError | None) -> None:
        """The stream ended: None after its final marker."""
        if self.ended:
            return
        if error is not None:
            self._fail(error, tell_worker=False)
        else:
            self._finish(None, tell_worker=False)

    def move(self) -> None:
        """Never asked for: see the class."""
        raise NotImplementedError

    def complete(self) -> None:
        """Ends the answer here."""
        self._finish(None, tell_worker=True)
