"""Ids and random text: their shape, order and spread."""

import re
from datetime import UTC
from itertools import pairwise

from gateway.core.ids import BASE62
from gateway.sources import SystemClock, new_request_id, random_base62
from tests.patience import PATIENCE_SECONDS


def test_request_id_is_prefixed_base62_of_constant_length() -> None:
    assert all(re.fullmatch(r"req_[0-9A-Za-z]{22}", new_request_id()) for _ in range(1000))


def test_request_ids_are_unique_and_sort_by_their_microsecond() -> None:
    ids = [new_request_id() for _ in range(10_000)]
    assert len(set(ids)) == len(ids)
    moments = [request_id[:14] for request_id in ids]
    assert all(earlier <= later for earlier, later in pairwise(moments))


def test_random_base62_has_the_length_asked_for() -> None:
    assert [len(random_base62(length)) for length in (0, 1, 10, 32, 1000)] == [0, 1, 10, 32, 1000]


def test_random_base62_favours_no_character() -> None:
    drawn = random_base62(620_000)
    counts = [drawn.count(character) for character in BASE62]
    assert sum(counts) == len(drawn)
    # 10,000 of each expected, standard deviation 99: eight of them is never, 25 % (an unfair draw) is far outside.
    assert max(abs(count - 10_000) for count in counts) < 800


def test_system_clock_tells_the_same_moment_twice() -> None:
    clock = SystemClock()
    moment = clock.utc_now()
    assert moment.tzinfo is UTC
    assert abs(clock.now() - moment.timestamp()) < PATIENCE_SECONDS
    assert clock.monotonic() <= clock.monotonic()
