"""How many tokens a picture of a size becomes, by the way a family of models cuts it up.

Source: the image processors of these models on Hugging Face, with the deviations of Dynamo 1.6.1, whose counts the
tests compare. Sizes are (width, height) in pixels.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Final

_F32: Final = struct.Struct("<f")
# a picture that is longer than this many times its height is not resized
_QWEN_MOST_RATIO: Final = 200
_LLAVA_SIDE: Final = 336
_LLAVA_PATCH: Final = 14
_LLAVA_NEXT_GRIDS: Final = ((336, 672), (672, 336), (672, 672), (1008, 336), (336, 1008))
_PHI3_TILE: Final = 336
_PHI3_CROPS: Final = 16
_PHI3_TILE_TOKENS: Final = 144
_LLAMA4_PATCH: Final = 14


@dataclass(frozen=True, slots=True)
class Qwen:
    """Qwen-VL and what follows it: resized to whole squares of `patch * merge` within bounds of area, a token a
    square.
    """

    patch: int
    merge: int
    min_pixels: int
    max_pixels: int

    def tokens(self, width: int, height: int) -> int:
        """Of one picture."""
        square = self.patch * self.merge
        if max(width, height) > _QWEN_MOST_RATIO * min(width, height):
            return 1
        rows, columns = max(round(height / square), 1), max(round(width / square), 1)
        if rows * columns * square * square > self.max_pixels:
            shrink = math.sqrt(height * width / self.max_pixels)
            rows, columns = max(int(height / shrink / square), 1), max(int(width / shrink / square), 1)
        elif rows * columns * square * square < self.min_pixels:
            grow = math.sqrt(self.min_pixels / (height * width))
            rows, columns = math.ceil(height * grow / square), math.ceil(width * grow / square)
        return rows * columns


@dataclass(frozen=True, slots=True)
class Llava:
    """LLaVA 1.5: every picture becomes one square."""

    side: int
    patch: int

    def tokens(self, width: int, height: int) -> int:
        """Of one picture."""
        return (self.side // self.patch) ** 2


@dataclass(frozen=True, slots=True)
class LlavaNext:
    """LLaVA-NeXT: the whole as one square, and it again in the best of several grids, a token more at each row's end.

    In single precision, as the original reckons.
    """

    def tokens(self, width: int, height: int) -> int:
        """Of one picture."""
        best, most, least_waste = (0, 0), 0, 1 << 32
        for grid in _LLAVA_NEXT_GRIDS:
            scale = min(_f32(grid[0] / width), _f32(grid[1] / height))
            area = grid[0] * grid[1]
            used = min(width * height, int(_f32(width * scale)) * int(_f32(height * scale)))
            if used > most or (used == most and area - used < least_waste):
                best, most, least_waste = grid, used, area - used
        columns, rows = _unpadded(best[0] // _LLAVA_PATCH, best[1] // _LLAVA_PATCH, width, height)
        return (_LLAVA_SIDE // _LLAVA_PATCH) ** 2 + (columns + 1) * rows


def _unpadded(columns: int, rows: int, width: int, height: int) -> tuple[int, int]:
    """What of a grid the picture covers, once its proportions are kept."""
    if _f32(width / height) > _f32(columns / rows):
        covered = int(_f32(height * _f32(columns / width)))
        return columns, rows - 2 * ((rows - covered) // 2)
    covered = int(_f32(width * _f32(rows / height)))
    return columns - 2 * ((columns - covered) // 2), rows


@dataclass(frozen=True, slots=True)
class Llama4:
    """Llama 4: the canvas of at most `most_tiles` tiles that fits best; several have the whole as one tile more."""

    tile: int
    most_tiles: int

    def tokens(self, width: int, height: int) -> int:
        """Of one picture."""
        scales = [
            (min(columns * self.tile / width, rows * self.tile / height), rows * columns)
            for tiles in range(1, self.most_tiles + 1)
            for rows, columns in _factors(tiles)
        ]
        larger = [scale for scale, _ in scales if scale >= 1]
        wanted = min(larger) if larger else max(scale for scale, _ in scales)
        count = min(tiles for scale, tiles in scales if abs(scale - wanted) < 1e-9)
        return (count + (count > 1)) * (self.tile // _LLAMA4_PATCH) ** 2


def _factors(number: int) -> list[tuple[int, int]]:
    return [(factor, number // factor) for factor in range(1, number + 1) if number % factor == 0]


@dataclass(frozen=True, slots=True)
class Kimi:
    """Kimi K2.5: shrunk to bounds of patches in all and on a side, then filled up to whole squares."""

    patch: int
    merge: int
    most_patches: int
    most_on_side: int

    def tokens(self, width: int, height: int) -> int:
        """Of one picture."""
        square, side = self.patch * self.merge, self.most_on_side * self.patch
        patches = max(width // self.patch, 1) * max(height // self.patch, 1)
        scale = min(1.0, math.sqrt(self.most_patches / patches), side / width, side / height)
        columns, rows = (-(-min(max(int(length * scale), 1), side) // square) for length in (width, height))
        return rows * columns


@dataclass(frozen=True, slots=True)
class Phi3:
    """Phi-3-vision: laid out in tiles, as many as fit, and once more as one tile; a token at each row's end."""

    def tokens(self, width: int, height: int) -> int:
        """Of one picture."""
        ratio = max(width, height) / min(width, height)
        columns = 1
        while (columns + 1) * math.ceil((columns + 1) / ratio) <= _PHI3_CROPS:
            columns += 1
        rows = math.ceil(int(columns * _PHI3_TILE / ratio) / _PHI3_TILE)
        if width < height:
            rows, columns = columns, rows
        return (rows * columns + 1) * _PHI3_TILE_TOKENS + 1 + (rows + 1) * _PHI3_TILE_TOKENS // 12


@dataclass(frozen=True, slots=True)
class Inkling:
    """Inkling: patches of the size as it is, or scaled by `scale` up to `longest`, with a column more."""

    patch: int
    scale: float | None
    longest: int | None

    def tokens(self, width: int, height: int) -> int:
        """Of one picture."""
        if self.scale is not None:
            edge = max(width, height)
            target = edge * self.scale
            if self.longest is not None:
                target = min(target, max(self.longest, edge))
            ratio = target / edge
            width, height = (max(math.floor(length * ratio + 0.5), 1) for length in (width, height))
        return -(-height // self.patch) * (width // self.patch + 1)


def _f32(number: float) -> float:
    """Rounded to single precision."""
    rounded: float = _F32.unpack(_F32.pack(number))[0]
    return rounded
