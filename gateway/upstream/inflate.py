"""Undo a provider's compression in bounded pieces: a small answer that unpacks to gigabytes never does so at once."""

import zlib

_PIECE_BYTES = 64 * 1024
_MAX_MEMBERS = 64  # of one gzip body; real ones have one


class CorruptBodyError(Exception):
    """The bytes are not what the content-encoding says, or end too early."""


class Inflater:
    """One body. Feed what came, take pieces while `pending`, and ask `complete` at the end."""

    def __init__(self, encoding: str) -> None:
        self._gzip = encoding != "deflate"
        self._decoder: zlib._Decompress | None = None
        self._rest = b""
        self._members = 0

    @property
    def pending(self) -> bool:
        """Whether output may be had from what was fed already."""
        return bool(self._rest)

    @property
    def complete(self) -> bool:
        """Whether the body may end here. An empty one may: answers to HEAD name an encoding too."""
        return self._decoder is None or (self._decoder.eof and not self._rest)

    def feed(self, data: bytes) -> bytes:
        """At most 64 KB of plain bytes; b"" means more input is needed. Raises CorruptBodyError."""
        data = self._rest + data
        try:
            decoder = self._current(data)
            piece = decoder.decompress(data, _PIECE_BYTES)
        except zlib.error as error:
            raise CorruptBodyError from error
        self._rest = decoder.unused_data if decoder.eof else decoder.unconsumed_tail
        return piece

    def _current(self, data: bytes) -> "zlib._Decompress":
        if self._decoder is None or self._decoder.eof:
            self._members += 1
            if self._members > _MAX_MEMBERS or (self._members > 1 and not self._gzip):
                raise CorruptBodyError
            self._decoder = zlib.decompressobj(self._window(data))
        return self._decoder

    def _window(self, data: bytes) -> int:
        if self._gzip:
            return 16 + zlib.MAX_WBITS
        # "deflate" means zlib (RFC 9110 8.4.1.2), yet some servers send it raw; zlib's first byte ends in 8.
        return zlib.MAX_WBITS if data[0] & 0x0F == 8 else -zlib.MAX_WBITS
