"""What an image costs in prompt tokens, by model. An image behind a URL is never fetched: it costs the most it can.

Sources: OpenAI's vision guide for the tile and patch formulas (tile models agree with API-recorded pairs; patch models
are estimates, their bills have been seen to differ); Anthropic's and Google's vision pages for theirs.
"""

import math
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction

from gateway.tokens.dimensions import Dimensions, read_dimensions

_TILE_PIXELS = 512
_FIT_PIXELS = 2048
_SHORT_SIDE_PIXELS = 768
# The most tiles an image can have after it was fitted: 2048 x 768.
UNSEEN_IMAGE_TILES = 8
_PATCH_PIXELS = 32
# The most patches an image can have, and what one of unknown size is held at.
PATCH_CAP = 1536
_CLAUDE_PIXELS_PER_TOKEN = 750
# Larger images are scaled down first: to 1568 pixels a side, and to about 2576 by the tokenizer generation of 2026.
_CLAUDE_IMAGE_CAP = 1_600
_CLAUDE_NEW_IMAGE_CAP = 4_784
_GEMINI_TILE_TOKENS = 258
_GEMINI_TILE_PIXELS = 768
_GEMINI_SMALL_PIXELS = 384
# Larger images are scaled into 3072 x 3072 first.
_GEMINI_TILE_CAP = 16
# Models from 3 on give each image the same, by default as many as their high media resolution has.
_GEMINI_3_IMAGE_TOKENS = 1_120


@dataclass(frozen=True, slots=True)
class Image:
    """`dimensions` None when they cannot be seen from here; `low_detail`: the client asked for the small version."""

    dimensions: Dimensions | None
    low_detail: bool


class Scheme(Enum):
    """How a family of models turns pixels into tokens."""

    TILES = "tiles"
    PATCHES = "patches"
    CLAUDE = "claude"
    GEMINI = "gemini"
    FLAT = "flat"


@dataclass(frozen=True, slots=True)
class ImageRule:
    """`base` and `tile` are tokens (TILES, FLAT); `multiplier_percent` applies to patches; `cap` is tokens (CLAUDE)."""

    scheme: Scheme
    base: int = 0
    tile: int = 0
    multiplier_percent: int = 100
    cap: int = 0


def _tiles(base: int, tile: int) -> ImageRule:
    return ImageRule(Scheme.TILES, base=base, tile=tile)


def _patches(multiplier_percent: int) -> ImageRule:
    return ImageRule(Scheme.PATCHES, multiplier_percent=multiplier_percent)


CLAUDE_IMAGES = ImageRule(Scheme.CLAUDE, cap=_CLAUDE_IMAGE_CAP)
CLAUDE_NEW_IMAGES = ImageRule(Scheme.CLAUDE, cap=_CLAUDE_NEW_IMAGE_CAP)
GEMINI_IMAGES = ImageRule(Scheme.GEMINI)
GEMINI_3_IMAGES = ImageRule(Scheme.FLAT, base=_GEMINI_3_IMAGE_TOKENS)

_DEFAULT = _tiles(85, 170)
# The first prefix that fits a model's base name decides, so the longer ones stand first.
_OPENAI_RULES: tuple[tuple[str, ImageRule], ...] = (
    ("gpt-4o-mini", _tiles(2833, 5667)),
    ("gpt-4.1-mini", _patches(162)),
    ("gpt-4.1-nano", _patches(246)),
    ("o4-mini", _patches(172)),
    ("o1", _tiles(75, 150)),
    ("o3", _tiles(75, 150)),
    ("gpt-5-mini", _patches(162)),
    ("gpt-5-nano", _patches(246)),
    ("gpt-5.4-mini", _patches(162)),
    ("gpt-5.4-nano", _patches(246)),
    ("gpt-5.1", _tiles(70, 140)),
    ("gpt-5.", _patches(120)),
    ("gpt-5", _tiles(70, 140)),
    ("computer-use-preview", _tiles(65, 129)),
)


def read_image(url: str, detail: str) -> Image:
    """An image part's URL and detail; a URL that is not a readable data URL gives an image of unknown size."""
    return Image(read_dimensions(url), low_detail=detail == "low")


def openai_image_rule(base_model: str) -> ImageRule:
    """The rule of an OpenAI model by its base name; gpt-4o's for those that are not known."""
    return next((rule for prefix, rule in _OPENAI_RULES if base_model.startswith(prefix)), _DEFAULT)


def is_exact(image: Image, rule: ImageRule) -> bool:
    """Whether the count is what the provider bills: only tiles of a known size, or of low detail, are."""
    return rule.scheme is Scheme.TILES and (image.low_detail or image.dimensions is not None)


def image_tokens(image: Image, rule: ImageRule) -> int:
    """Prompt tokens of one image; of one that cannot be seen, the most that its detail allows."""
    match rule.scheme:
        case Scheme.TILES:
            tiles = _tile_count(image.dimensions) if image.dimensions else UNSEEN_IMAGE_TILES
            return rule.base if image.low_detail else rule.base + rule.tile * tiles
        case Scheme.PATCHES:
            patches = _patch_count(image.dimensions) if image.dimensions else PATCH_CAP
            return -(-patches * rule.multiplier_percent // 100)
        case Scheme.CLAUDE:
            return _claude_tokens(image.dimensions, rule.cap)
        case Scheme.GEMINI:
            return _gemini_tokens(image.dimensions)
        case Scheme.FLAT:
            return rule.base


def _tile_count(size: Dimensions) -> int:
    """512-pixel tiles after fitting into 2048 x 2048 and then the short side into 768; nothing is ever enlarged."""
    scale = min(Fraction(1), Fraction(_FIT_PIXELS, max(size)))
    scale *= min(Fraction(1), _SHORT_SIDE_PIXELS / (min(size) * scale))
    return math.prod(math.ceil(side * scale / _TILE_PIXELS) for side in size)


def _patch_count(size: Dimensions) -> int:
    """32-pixel patches; above the cap the image shrinks to the area of the cap, then to whole patches on one side."""
    patches = math.prod(-(-side // _PATCH_PIXELS) for side in size)
    if patches <= PATCH_CAP:
        return patches
    shrink = math.sqrt(PATCH_CAP * _PATCH_PIXELS**2 / math.prod(size))
    sides = [side * shrink / _PATCH_PIXELS for side in size]
    refit = min(max(1, math.floor(side)) / side for side in sides)
    # The refitted side is a whole number; a rounding error above it must not add a row.
    return min(PATCH_CAP, math.prod(max(1, math.ceil(side * refit - 1e-6)) for side in sides))


def _claude_tokens(size: Dimensions | None, cap: int) -> int:
    return cap if size is None else min(cap, -(-math.prod(size) // _CLAUDE_PIXELS_PER_TOKEN))


def _gemini_tokens(size: Dimensions | None) -> int:
    if size is None:
        return _GEMINI_TILE_CAP * _GEMINI_TILE_TOKENS
    if max(size) <= _GEMINI_SMALL_PIXELS:
        return _GEMINI_TILE_TOKENS
    tiles = math.prod(-(-side // _GEMINI_TILE_PIXELS) for side in size)
    return min(_GEMINI_TILE_CAP, tiles) * _GEMINI_TILE_TOKENS
