"""Which price a call gets: none where it cannot be measured in what the model is paid by."""

from pathlib import Path

import pytest

import gateway
from gateway.core.prices import PriceTable
from gateway.core.rates import Unit
from gateway.core.selection import Catalog
from gateway.core.upstreams import Upstream

DATA = Path(gateway.__file__).parent / "data" / "models.json"
MAIN = Upstream("main", "openai", "http://127.0.0.1:1/v1", "")


@pytest.mark.parametrize(
    ("model", "unit", "is_priced"),
    [
        ("gpt-4o", None, True),
        ("whisper-1", None, False),
        ("whisper-1", Unit.AUDIO, True),
        ("whisper-1", Unit.CHARACTERS, False),
        ("gpt-4o-transcribe", Unit.AUDIO, True),
        ("tts-1", Unit.CHARACTERS, True),
        ("gpt-image-1", Unit.IMAGES, True),
        ("painter", Unit.IMAGES, True),
        ("painter", None, False),
        ("no-such-model", Unit.IMAGES, False),
    ],
)
def test_price_is_found_only_for_calls_that_are_measured_in_its_units(
    model: str, unit: Unit | None, is_priced: bool
) -> None:
    catalog = Catalog((MAIN,), {}, PriceTable.from_json(DATA.read_bytes(), {"painter": {"image": "0.04"}}))
    for _ in range(2):  # found, then remembered
        assert (catalog.find("openai", model, unit=unit).price is not None) is is_priced
