"""The soak in short. `make soak MINUTES=60` runs it for an hour; GATEWAY_SOAK_SEED gives a run its luck again."""

import os
import random
import sys
from pathlib import Path

from tests.proof.soak import soak
from tests.provider import Provider

SECONDS = 15.0


async def test_ledger_is_right_after_mixed_traffic_under_faults(
    database_url: str, provider: Provider, tmp_path: Path
) -> None:
    seed = int(os.environ.get("GATEWAY_SOAK_SEED") or random.randrange(10**6))
    report = await soak(database_url, tmp_path, provider, SECONDS, seed)
    sys.stdout.write(f"{report}\n")
    assert report.wrong == [], report
    assert report.whole > 0, report
