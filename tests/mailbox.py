"""A mail server for tests: a real one on a socket, which keeps the letters it gets and fails as it is told.

async with running_mailbox() as mailbox:
    ...                                  # send to mailbox.port
    letter = await mailbox.letter()      # the next one that came
"""

import asyncio
import base64
import ssl
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP

from tests.patience import PATIENCE_SECONDS


@dataclass(frozen=True)
class Letter:
    """What came: the envelope, the message, and how the connection was."""

    sender: str
    recipients: tuple[str, ...]
    message: EmailMessage
    tls: bool
    login: tuple[str, ...]


@dataclass
class Mailbox:
    """`certificate` lets it speak TLS, from the start or where the client asks. `failures` are answers to MAIL FROM."""

    certificate: ssl.SSLContext | None = None
    from_the_start: bool = False
    port: int = 0
    failures: deque[str] = field(default_factory=deque)
    refused: frozenset[str] = frozenset()
    letters: list[Letter] = field(default_factory=list)
    _fresh: "asyncio.Queue[Letter]" = field(default_factory=asyncio.Queue)

    async def letter(self) -> Letter:
        """Return the next letter that was not yet taken here; wait for it."""
        return await asyncio.wait_for(self._fresh.get(), PATIENCE_SECONDS)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await _Conversation(self, reader, writer).run()
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            return
        finally:
            writer.close()

    def take(self, letter: Letter) -> None:
        self.letters.append(letter)
        self._fresh.put_nowait(letter)


class _Conversation:
    """One connection, command by command."""

    def __init__(self, box: Mailbox, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._box = box
        self._reader = reader
        self._writer = writer
        self._tls = box.from_the_start
        self._login: tuple[str, ...] = ()
        self._sender = ""
        self._recipients: list[str] = []

    async def run(self) -> None:
        self._say("220 mailbox")
        while line := (await self._reader.readline()).decode().strip():
            command, _, rest = line.partition(" ")
            match command.upper():
                case "EHLO":
                    self._greet()
                case "STARTTLS":
                    self._say("220 go on")
                    assert self._box.certificate is not None
                    await self._writer.start_tls(self._box.certificate)
                    self._tls = True
                case "AUTH":
                    self._login = tuple(base64.b64decode(rest.split()[1]).decode().split("\0")[1:])
                    self._say("235 welcome")
                case "MAIL":
                    self._sender = rest.split("<")[1].split(">")[0]
                    self._say(self._box.failures.popleft() if self._box.failures else "250 ok")
                case "RCPT":
                    self._receive(rest.split("<")[1].split(">")[0])
                case "DATA":
                    await self._data()
                case "QUIT":
                    self._say("221 bye")
                    return
                case _:
                    self._say("250 ok")

    def _greet(self) -> None:
        lines = ["mailbox", "AUTH PLAIN"]
        if self._box.certificate is not None and not self._tls:
            lines.append("STARTTLS")
        for line in lines[:-1]:
            self._say(f"250-{line}")
        self._say(f"250 {lines[-1]}")

    def _receive(self, recipient: str) -> None:
        if recipient in self._box.refused:
            self._say("550 nobody here")
        else:
            self._recipients.append(recipient)
            self._say("250 ok")

    async def _data(self) -> None:
        self._say("354 go on")
        content = (await self._reader.readuntil(b"\r\n.\r\n"))[: -len(b".\r\n")]
        message = message_from_bytes(content, policy=SMTP)
        assert isinstance(message, EmailMessage)
        self._box.take(Letter(self._sender, tuple(self._recipients), message, self._tls, self._login))
        self._recipients = []
        self._say("250 taken")

    def _say(self, line: str) -> None:
        self._writer.write(f"{line}\r\n".encode())


@asynccontextmanager
async def running_mailbox(
    certificate: ssl.SSLContext | None = None, *, from_the_start: bool = False
) -> AsyncIterator[Mailbox]:
    """A mail server on a free port."""
    box = Mailbox(certificate, from_the_start)
    context = certificate if from_the_start else None
    server = await asyncio.start_server(box.serve, "127.0.0.1", 0, ssl=context)
    box.port = server.sockets[0].getsockname()[1]
    async with server:
        yield box
