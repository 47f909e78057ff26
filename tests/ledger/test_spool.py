"""The spool file: full, torn, adopted."""

import os
from pathlib import Path

import pytest

from gateway.core.limits import Metric
from gateway.ledger.entries import Figures, Grant, Settlement
from gateway.ledger.spool import Spool, SpoolFull
from tests.ledger import books
from tests.ledger.books import ending, limit
from tests.ledger.running import running

SMALL_BYTES = 4_096
AT = 1_700_000_000 * books.SECOND


def ended(number: int) -> Settlement:
    return books.settlement(books.reservation(f"req_{number}", (), 1), AT + number, ())


def abandon(spool: Spool) -> None:
    """Let its lock go without closing it in order, as the end of a process does."""
    os.close(spool._file)


def dead(folder: Path, settlements: list[Settlement]) -> Path:
    """Leave a spool behind as a killed process does: nothing is closed in order, but its lock is gone."""
    spool = Spool(folder, "dead", SMALL_BYTES)
    if settlements:
        spool.append(settlements)
    abandon(spool)
    return spool.path


def adopted(folder: Path) -> list[Settlement]:
    living = Spool(folder, "living", SMALL_BYTES)
    try:
        return [settlement for one in living.adopt() for settlement in one.settlements]
    finally:
        living.close()


def test_spool_gives_back_what_was_appended(tmp_path: Path) -> None:
    expected = [ended(number) for number in range(5)]
    dead(tmp_path, expected)

    assert adopted(tmp_path) == expected


def test_spool_of_a_living_process_is_not_adopted(tmp_path: Path) -> None:
    living = Spool(tmp_path, "one", SMALL_BYTES)
    living.append([ended(1)])
    try:
        assert adopted(tmp_path) == []
    finally:
        living.close()


def test_spool_that_was_cleared_is_empty_and_holds_what_came_after(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "dead", SMALL_BYTES)
    spool.append([ended(number) for number in range(5)])
    spool.clear()
    spool.append([ended(9)])
    abandon(spool)

    assert adopted(tmp_path) == [ended(9)]


def test_spool_that_is_full_takes_nothing_of_the_rest(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "dead", SMALL_BYTES)
    kept = 0
    with pytest.raises(SpoolFull):
        while True:
            spool.append([ended(kept)])
            kept += 1
    with pytest.raises(SpoolFull):
        spool.append([ended(100), ended(101)])
    abandon(spool)

    assert adopted(tmp_path) == [ended(number) for number in range(kept)]


@pytest.mark.parametrize("broken", ["cut", "flipped"])
def test_spool_whose_last_record_is_torn_gives_those_before(tmp_path: Path, broken: str) -> None:
    path = dead(tmp_path, [ended(1), ended(2), ended(3)])
    whole = path.read_bytes()
    end = len(whole.rstrip(b"\0"))
    torn = whole[: end - 20] if broken == "cut" else whole[: end - 20] + b"\xff" + whole[end - 19 :]
    path.write_bytes(torn)

    assert adopted(tmp_path) == [ended(1), ended(2)]


def test_spool_torn_anywhere_gives_a_prefix(tmp_path: Path) -> None:
    path = dead(tmp_path, [ended(1), ended(2)])
    whole = path.read_bytes()
    for length in range(0, len(whole.rstrip(b"\0")), 7):
        path.write_bytes(whole[:length] + os.urandom(64))

        found = adopted(tmp_path)

        assert found == [ended(1), ended(2)][: len(found)]


def test_spool_that_ends_empty_leaves_no_file(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "one", SMALL_BYTES)
    spool.append([ended(1)])
    spool.clear()
    spool.close()
    spool.close()

    assert list(tmp_path.iterdir()) == []


def test_spool_leaves_out_what_no_record_can_hold(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "dead", SMALL_BYTES)
    impossible = books.settlement(
        books.reservation("req_bad", (), 1, model="gpt-\ud800"), AT, (), books.figures(input_tokens=2**64)
    )

    assert spool.append([ended(1), impossible, ended(2)]) == 2

    abandon(spool)
    assert adopted(tmp_path) == [ended(1), ended(2)]


async def test_start_replays_a_dead_spool_once(database_url: str, tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    async with running(database_url, folder, owner="first") as desk:
        await desk.add_limits(limit(Metric.TOKENS, 1_000))
        done, lost = await desk.admitted(), await desk.admitted()
        await desk.ledger.settle(ending(*done))
        # Both are in the file of a process that died after one of them was committed, and before it could clear it.
        dead(folder, [ending(*done), ending(*lost)])

    for owner in ("second", "third"):
        async with running(database_url, folder, owner=owner) as desk:
            assert sorted(await desk.entries()) == [(one.request_id, "final") for one, _ in (done, lost)]
            assert desk.spools() == [f"{owner}.spool"]
            assert await desk.reader.one("SELECT used FROM counter") == 60
            assert await books.differences(desk.reader) == []


async def test_start_with_an_impossible_record_keeps_it_aside(database_url: str, tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    folder.mkdir()
    figures = Figures(requests=1, input_tokens=2**63)
    impossible = books.settlement(books.reservation("req_bad", (), 1), AT, (), figures)
    dead(folder, [impossible])

    async with running(database_url, folder) as desk:
        assert desk.spools() == ["dead.refused", "us.spool"]
        asked = desk.asked()
        assert isinstance(await desk.ledger.reserve(asked), Grant)
