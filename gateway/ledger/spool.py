"""The spool: where settlements wait, durably, while the database does not take them.

One preallocated file per process on the data volume, locked while its process lives. A record is its length and CRC-32
(4 bytes each, big-endian) and the settlement in MessagePack; a length of 0 ends the file. A start adopts the files
whose lock is free. Replaying is safe at any time, because a settlement counts once.
"""

import fcntl
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from gateway.ledger.entries import Settlement

SIZE_BYTES = 16 * 1024 * 1024
_HEAD = struct.Struct(">II")
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Settlement)


class SpoolFull(Exception):
    """No room is left; the settlement is in memory only."""


class Spool:
    """This process's spool file. Methods block on the disk: call them in a thread."""

    def __init__(self, folder: Path, owner: str, size_bytes: int = SIZE_BYTES) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._size = size_bytes
        self._end = 0
        self.path = folder / f"{owner}.spool"
        # Nobody sees the file under its name before it is locked: another process that starts could adopt it.
        unseen = folder / f"{owner}.new"
        self._file = os.open(unseen, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # The room is taken now, so that a disk that fills up later cannot take it away.
        os.posix_fallocate(self._file, 0, size_bytes)
        unseen.rename(self.path)

    def append(self, settlements: Sequence[Settlement]) -> int:
        """Write the settlements and sync them; return how many. Raises SpoolFull, and then none of them was written.

        A value that no record can hold leaves only its own settlement out: the database will refuse it too.
        """
        records = [record for record in map(_record, settlements) if record is not None]
        room = b"".join(records)
        if self._end + len(room) + _HEAD.size > self._size:
            raise SpoolFull
        os.pwrite(self._file, room + bytes(_HEAD.size), self._end)
        os.fdatasync(self._file)
        self._end += len(room)
        return len(records)

    def clear(self) -> None:
        """Forget all records: the database has them."""
        os.pwrite(self._file, bytes(_HEAD.size), 0)
        os.fdatasync(self._file)
        self._end = 0

    def close(self) -> None:
        """Remove the file if it is empty, keep it for the next start if not. Idempotent."""
        if self._file < 0:
            return
        if self._end == 0:
            self.path.unlink(missing_ok=True)
        os.close(self._file)
        self._file = -1

    def adopt(self) -> list["Adopted"]:
        """Lock and return the spools that dead processes left in the folder."""
        others = (path for path in sorted(self._folder.glob("*.spool")) if path != self.path)
        return [adopted for adopted in map(_adopt, others) if adopted is not None]


class Adopted:
    """A dead process's spool, locked by us until it is discarded or set aside."""

    def __init__(self, path: Path, file: int) -> None:
        self.path = path
        self._file = file
        self.settlements = tuple(_records(os.pread(file, os.fstat(file).st_size, 0)))

    def discard(self) -> None:
        """Remove the file; its settlements are in the database."""
        self.path.unlink(missing_ok=True)
        os.close(self._file)

    def set_aside(self) -> Path:
        """Keep the file under a name that no start adopts; return it."""
        kept = self.path.rename(self.path.with_suffix(".refused"))
        os.close(self._file)
        return kept


def _adopt(path: Path) -> Adopted | None:
    """Lock a spool; None if its process lives, or if another start has replayed and removed it."""
    try:
        file = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        return None
    if os.fstat(file).st_nlink == 0:
        os.close(file)
        return None
    return Adopted(path, file)


def _record(settlement: Settlement) -> bytes | None:
    try:
        payload = _encoder.encode(settlement)
    except (ValueError, OverflowError):  # a lone surrogate, an integer beyond 64 bits
        return None
    return _HEAD.pack(len(payload), zlib.crc32(payload)) + payload


def _records(data: bytes) -> Iterator[Settlement]:
    """Read records up to the end mark or the first torn one: what was torn was never acknowledged."""
    at = 0
    while at + _HEAD.size <= len(data):
        length, checksum = _HEAD.unpack_from(data, at)
        payload = data[at + _HEAD.size : at + _HEAD.size + length]
        if length == 0 or len(payload) < length or zlib.crc32(payload) != checksum:
            return
        yield _decoder.decode(payload)
        at += _HEAD.size + length
