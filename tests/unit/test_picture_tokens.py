"""How many tokens pictures become, by the files of a model: numbers that Dynamo 1.6.1 sent to its workers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dynamo_fe.models.pictures.families import bos_of, counter_of, placeholder_of
from dynamo_fe.pipeline.pictures.expansion import Picture, expanded
from tests.support.pictures import QWEN

SIZES = [(1, 1), (56, 84), (280, 140), (1000, 500), (4000, 3000), (30, 7000), (640, 480), (400, 400), (65535, 400)]
KIMI = {"patch_size": 14, "merge_kernel_size": 2, "in_patch_limit": 4096, "patch_limit_on_one_side": 100}
EDGES = {"size": {"shortest_edge": 65536, "longest_edge": 200000}, "patch_size": 16, "min_pixels": None}
ONE_LLAVA = [576] * len(SIZES)


@pytest.mark.parametrize(
    ("model_id", "model_type", "preprocessor", "tokens"),
    [
        ("m", "qwen2_vl", QWEN, [4, 6, 50, 648, 15301, 1, 391, 196, 16380]),
        ("m", "qwen2_5_vl", {}, [256, 280, 276, 648, 1230, 1, 391, 256, 914]),
        ("m", "qwen3_vl", EDGES, [64, 70, 72, 171, 192, 1, 192, 144, 178]),
        ("org/Qwen3-VL-2B", "qwen2_vl", {}, [64, 70, 72, 496, 11750, 1, 300, 144, 16380]),
        ("m", "qwen3_omni_moe", QWEN, [4, 6, 50, 648, 15301, 1, 391, 196, 16380]),
        ("llava-1.5-7b", "llava", {"size": {"shortest_edge": 336}}, ONE_LLAVA),
        ("m", "llava_next", {}, [1176, 1476, 876, 1752, 2340, 648, 2340, 2928, 576]),
        ("m", "llama4", {"size": {"height": 336}}, [576, 576, 576, 4032, 7488, 9792, 2880, 2880, 9792]),
        ("m", "kimi_k25", {"media_proc_cfg": KIMI}, [1, 6, 50, 648, 1036, 50, 414, 225, 50]),
        ("m", "phi3_v", {"num_crops": 4}, [2509, 1933, 2353, 2353, 1921, 2653, 1921, 2509, 2473]),
        ("m", "inkling", {"patch_size": 40}, [1, 6, 32, 338, 7575, 175, 204, 110, 16390]),
        ("m", "inkling", {"rescale_image_frac": 2.0}, [1, 15, 105, 1275, 7575, 175, 792, 420, 16390]),
    ],
)
def test_as_the_original_counts(
    model_id: str, model_type: str, preprocessor: dict[str, Any], tokens: list[int]
) -> None:
    counter = counter_of(model_id, model_type, json.dumps(preprocessor).encode())
    assert counter is not None
    assert [counter.tokens(*size) for size in SIZES] == tokens


def test_other_families_are_not_known() -> None:
    assert counter_of("gemma", "gemma3", b"{}") is None
    assert counter_of("org/llava", "llava", b"{}") is None


@pytest.mark.parametrize(
    "preprocessor",
    [
        b"{",
        b"[]",
        b'{"min_pixels": "x"}',
        b'{"size": 336}',
        b'{"patch_size": 0}',
        b'{"merge_size": -1}',
        b'{"resampling": "x"}',
    ],
)
def test_a_file_that_is_none_is_refused(preprocessor: bytes) -> None:
    with pytest.raises(ValueError, match="preprocessor_config"):
        counter_of("m", "qwen2_vl", preprocessor)


@pytest.mark.parametrize(
    ("model_id", "config", "placeholder"),
    [
        ("m", {"model_type": "any", "image_token_id": 7}, 7),
        ("m", {"model_type": "qwen2_vl", "vision_token_id": 8}, 8),
        ("Qwen2.5-VL", {"model_type": "qwen2_5_vl", "vision_token_id": 8}, 8),
        ("m", {"model_type": "qwen3_vl"}, None),
        ("m", {"model_type": "llava_next", "image_token_index": 9}, 9),
        ("m", {"model_type": "llava"}, "<image>"),
        ("m", {"model_type": "llama4"}, "<|image|>"),
        ("m", {"model_type": "kimi_k25", "media_placeholder_token_id": 5}, 5),
        ("m", {"model_type": "qwen3_omni_moe", "thinker_config": {"image_token_id": 6}}, 6),
        ("m", {"model_type": "inkling_mm_model"}, None),
        ("m", {"image_token_id": "7"}, None),
    ],
)
def test_the_token_that_stands_for_a_picture(
    model_id: str, config: dict[str, Any], placeholder: int | str | None
) -> None:
    assert placeholder_of(model_id, config) == placeholder


def test_the_token_before_a_prompt() -> None:
    assert bos_of({"add_bos_token": True, "bos_token": "<s>"}) == "<s>"
    assert bos_of({"add_bos_token": True, "bos_token": {"content": "<s>"}}) == "<s>"
    assert bos_of({"add_bos_token": False, "bos_token": "<s>"}) is None
    assert bos_of({"bos_token": "<s>"}) is None


def test_each_picture_takes_its_placeholders_place() -> None:
    first, second = Picture(0x1234, 2), Picture((5 << 60) + 7, 3)
    found = expanded([10, 99, 11, 99, 12], 99, 1, [first, second], 4)
    fill = 1_000_000 + 0x1234
    assert found is not None
    assert found.token_ids == [1, 10, fill, fill, 11, *[1_000_007] * 3, 12, 0, 0, 0]
    assert found.length == 9
    assert expanded([99], 99, None, [Picture(0, 4)], 4) == ([1_000_000] * 4, 4)


@pytest.mark.parametrize(
    ("token_ids", "pictures", "block_tokens"),
    [
        pytest.param([99, 99], 1, 4, id="more placeholders"),
        pytest.param([10], 1, 4, id="no placeholder"),
        pytest.param([99], 1, 0, id="no blocks"),
        pytest.param([99] * 70, 70, 4, id="more than a request is worth"),
    ],
)
def test_else_the_prompt_stays_as_it_is(token_ids: list[int], pictures: int, block_tokens: int) -> None:
    assert expanded(token_ids, 99, None, [Picture(1, 16_384)] * pictures, block_tokens) is None
