"""Which families of models are known, by what their files say, and the token that stands for a picture in a prompt.

Source: Dynamo 1.6.1 over the library llm-multimodal 1.9: preprocessor_config.json with the types that it insists on, a
family found by a part of the model's path or of its `model_type`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Final, Protocol

import msgspec

from dynamo_fe.models.pictures.grids import Inkling, Kimi, Llama4, Llava, LlavaNext, Phi3, Qwen

_U32 = Annotated[int, msgspec.Meta(ge=0, le=0xFFFF_FFFF)]
_Count = Annotated[int, msgspec.Meta(ge=0)]
_LLAVA_SIDE: Final = 336
_SIDE_UNSAID: Final = 224
_INKLING_LONGEST: Final = 2048


class Counter(Protocol):
    """Knows how many tokens a picture becomes."""

    def tokens(self, width: int, height: int) -> int:
        """Of one picture of so many pixels."""


class _Processor(msgspec.Struct, kw_only=True):
    """preprocessor_config.json. Fields that nothing here needs are stated for their types: a file in which one is of
    another type is none.
    """

    image_processor_type: str | None = None
    do_convert_rgb: bool | None = None
    do_normalize: bool | None = None
    do_pad: bool | None = None
    do_rescale: bool | None = None
    do_resize: bool | None = None
    do_center_crop: bool | None = None
    image_mean: list[float] | None = None
    image_std: list[float] | None = None
    rescale_factor: float | None = None
    norm_mean: list[float] | None = None
    norm_std: list[float] | None = None
    resample: _Count | None = None
    resampling: _Count | None = None
    size: dict[str, _U32] | None = None
    crop_size: dict[str, _U32] | None = None
    patch_size: int | dict[str, Any] | None = None
    merge_size: _Count | None = None
    min_pixels: _Count | None = None
    max_pixels: _Count | None = None
    temporal_patch_size: _Count | None = None
    num_crops: _Count | None = None
    dynamic_hd: _Count | None = None
    max_image_tiles: _Count | None = None
    num_img_tokens: _Count | None = None
    im_start_token: str | None = None
    im_end_token: str | None = None
    slice_start_token: str | None = None
    slice_end_token: str | None = None
    vision_start_token: str | None = None
    vision_end_token: str | None = None
    media_proc_cfg: Any = None
    in_patch_limit: Any = None
    patch_limit_on_one_side: Any = None
    rescale_image_frac: Any = None
    rescale_image_max_upscaled_long_edge: Any = _INKLING_LONGEST

    def patch(self, default: int) -> int:
        """The side of a patch."""
        given = self.patch_size
        if isinstance(given, dict):
            given = given.get("height")
        elif given is None:
            given = self.nested("patch_size")
        return given if isinstance(given, int) else default

    def nested(self, key: str) -> int | None:
        """A count of Kimi's own part."""
        value = self.media_proc_cfg.get(key) if isinstance(self.media_proc_cfg, dict) else None
        return value if type(value) is int and value >= 0 else None

    def merge(self) -> int:
        """How many patches a side make a token."""
        found = self.merge_size if self.merge_size is not None else self.nested("merge_kernel_size")
        return 2 if found is None else found

    def edge(self, name: str) -> int | None:
        """A length, or an area, of `size`."""
        return None if self.size is None else self.size.get(name)


def _qwen(processor: _Processor, patch: int, least: int, most: int, by_edges: bool) -> Counter:
    low, high = processor.min_pixels, processor.max_pixels
    if by_edges:
        low = processor.edge("shortest_edge") if low is None else low
        high = processor.edge("longest_edge") if high is None else high
    return Qwen(
        processor.patch(patch), processor.merge(), least if low is None else low, most if high is None else high
    )


def _qwen2(processor: _Processor) -> Counter:
    return _qwen(processor, 14, 256 * 28 * 28, 1280 * 28 * 28, by_edges=False)


def _qwen3(processor: _Processor) -> Counter:
    return _qwen(processor, 16, 65_536, 16_777_216, by_edges=True)


def _qwen3_omni(processor: _Processor) -> Counter:
    return _qwen(processor, 16, 3_136, 12_845_056, by_edges=True)


def _llava(processor: _Processor) -> Counter:
    side = _LLAVA_SIDE
    if processor.size is not None:
        side = processor.size.get("height", processor.size.get("shortest_edge", _SIDE_UNSAID))
    return Llava(side, processor.patch(14))


def _llava_next(processor: _Processor) -> Counter:
    return LlavaNext()


def _llama4(processor: _Processor) -> Counter:
    tiles, tile = processor.max_image_tiles, processor.edge("height")
    return Llama4(336 if tile is None else tile, 16 if tiles is None else tiles)


def _kimi(processor: _Processor) -> Counter:
    def limit(own: Any, key: str, default: int) -> int:
        found = own if type(own) is int else processor.nested(key)
        return default if found is None else found

    most_patches = limit(processor.in_patch_limit, "in_patch_limit", 16_384)
    most_on_side = limit(processor.patch_limit_on_one_side, "patch_limit_on_one_side", 512)
    return Kimi(processor.patch(14), processor.merge(), most_patches, most_on_side)


def _phi3(processor: _Processor) -> Counter:
    return Phi3()


def _inkling(processor: _Processor) -> Counter:
    scale, longest = processor.rescale_image_frac, processor.rescale_image_max_upscaled_long_edge
    return Inkling(
        processor.patch(40),
        float(scale) if type(scale) in (int, float) else None,
        longest if type(longest) is int else None,
    )


# by a part of the path or of the model_type; the first that is found counts
_FAMILIES: Final[tuple[tuple[tuple[str, ...], Callable[[_Processor], Counter]], ...]] = (
    (("llava-next", "llava_next", "llava-v1.6"), _llava_next),
    (("llava-1.5", "llava-v1.5"), _llava),
    (("qwen3-omni", "qwen3_omni"), _qwen3_omni),
    (("qwen3-vl", "qwen3_vl", "qwen3.5", "qwen3_5", "qwen3.6", "qwen3_6"), _qwen3),
    (("qwen2-vl", "qwen2_vl", "qwen2.5-vl", "qwen2_5-vl", "qwen2_5_vl"), _qwen2),
    (("phi-3-vision", "phi3-vision", "phi3_v"), _phi3),
    (("llama-4", "llama4"), _llama4),
    (("kimi-k2", "kimi_k2"), _kimi),
    (("inkling",), _inkling),
)


@dataclass(frozen=True, slots=True)
class PictureTokens:
    """What a model makes of pictures. `placeholder_id` is the token that stands for one in a prompt, None where no file
    says it; `bos_id` the one that the model's own processor puts before a prompt with pictures.
    """

    counter: Counter
    placeholder_id: int | None
    bos_id: int | None = None


def counter_of(model_id: str, model_type: str, preprocessor: bytes) -> Counter | None:
    """None for a family that is not known. Raises ValueError for a file that is none."""
    try:
        processor = msgspec.json.decode(preprocessor, type=_Processor)
    except msgspec.MsgspecError as error:
        raise ValueError(f"preprocessor_config.json: {error}") from error
    for name in (model_id.lower(), model_type.lower()):
        for parts, make in _FAMILIES:
            if any(part in name for part in parts):
                return _tried(make(processor))
    return None


def _tried(counter: Counter) -> Counter:
    """The counter, once it is known that its numbers divide. Raises ValueError."""
    try:
        counter.tokens(640, 480)
    except (ArithmeticError, ValueError) as error:
        raise ValueError("preprocessor_config.json: its numbers fit no picture") from error
    return counter


def placeholder_of(model_id: str, config: dict[str, Any]) -> int | str | None:
    """The token that stands for a picture: its id by config.json, for some families its text."""
    given = _id(config.get("image_token_id"))
    if given is not None:
        return given
    name, model_type = model_id.lower(), str(config.get("model_type", "")).lower()
    both = f"{name}\n{model_type}"
    if ("kimi" in name and "k2" in name) or model_type == "kimi_k25":
        return _id(config.get("media_placeholder_token_id"))
    if "llama-4" in both or "llama4" in both:
        return _index(config, "<|image|>")
    if "llava" in both:
        return _index(config, "<image>")
    if "qwen3_omni" in both or "qwen3-omni" in both:
        thinker = config.get("thinker_config")
        return _id(thinker.get("image_token_id")) if isinstance(thinker, dict) else None
    if ("qwen" in name and "vl" in name and "qwen3" not in name) or model_type == "qwen2_vl":
        return _id(config.get("vision_token_id"))
    return None


def _index(config: dict[str, Any], text: str) -> int | str:
    given = _id(config.get("image_token_index"))
    return text if given is None else given


def _id(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value <= 0xFFFF_FFFF else None


def bos_of(tokenizer_config: dict[str, Any]) -> str | None:
    """The text of the token that the model's own processor puts first, None where it puts none."""
    given = tokenizer_config.get("bos_token") if tokenizer_config.get("add_bos_token") is True else None
    if isinstance(given, dict):
        given = given.get("content")
    return given if isinstance(given, str) else None
