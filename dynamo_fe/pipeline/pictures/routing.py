"""Pictures in routing: what a request that shows some is hashed as, and what its worker is told of that.

Source: Dynamo 1.6.1, in every router mode: `mm_routing_info` and `extra_args.mm_hashes`, both or neither. Without them
a request is routed by its prompt as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from dynamo_fe.models.served import ServedModel
from dynamo_fe.pipeline.media import Media
from dynamo_fe.pipeline.pictures.expansion import Picture, expanded
from dynamo_fe.pipeline.pictures.header import Size
from dynamo_fe.pipeline.pictures.sizes import Forbidden, PictureSizes, picture_hash
from dynamo_fe.pipeline.refusal import Refusal
from dynamo_fe.protocol.worker_request import PictureRouting, WorkerRequest

_PICTURES: Final = "image_url"


class PictureRouter:
    """One object a process. With `allow_internal` pictures may be at addresses that point inside."""

    def __init__(self, allow_internal: bool) -> None:
        self._sizes = PictureSizes(allow_internal)

    async def add(self, body: WorkerRequest, media: Media, model: ServedModel, processor_kwargs: Any) -> int | None:
        """Adds to the request what is known of its pictures. Returns the tokens that they become, None where that is
        not known. Raises Refusal for a picture at an address that leads inside.
        """
        shown = media.data.get(_PICTURES)
        # a client's own name for a picture says nothing here, and then its address is not looked at
        if not shown or media.uuids:
            return None
        urls = [entry["Url"] for entry in shown]
        known = model.pictures
        try:
            if known is None:
                await self._sizes.check(urls)
                return None
            sizes = await self._sizes.of(urls)
        except Forbidden as error:
            text = "the address of a picture leads to one that is not public"
            raise Refusal.invalid_argument(param="messages", detail=text) from error
        pictures = _pictures(urls, sizes, model)
        # what is asked of the processor may change how it counts
        if pictures is None or processor_kwargs:
            return None
        if known.placeholder_id is not None and media.data.keys() == {_PICTURES}:
            found = expanded(
                body.token_ids, known.placeholder_id, known.bos_id, pictures, model.card.kv_cache_block_size
            )
            if found is not None:
                body.mm_routing_info = PictureRouting(found.token_ids, [], found.length)
                assert isinstance(body.extra_args, dict)
                body.extra_args["mm_hashes"] = [f"{picture.number:016x}" for picture in pictures]
        return sum(picture.tokens for picture in pictures)


def _pictures(urls: Sequence[str], sizes: Sequence[Size | None], model: ServedModel) -> list[Picture] | None:
    """None where the size of one is not known."""
    assert model.pictures is not None
    tokens = model.pictures.counter.tokens
    found = [
        Picture(picture_hash(url), tokens(*size)) for url, size in zip(urls, sizes, strict=True) if size is not None
    ]
    return found if len(found) == len(urls) else None
