"""E-mail through an SMTP server, one connection per letter. Blocking, so it is done in a thread.

`smtps://` speaks TLS from the start. `smtp://` begins TLS where the server offers it; a password is never sent without.
"""

import asyncio
import smtplib
import ssl
from datetime import UTC, datetime
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime

from gateway.core.notices import Notice, subject_of, text_of
from gateway.couriers.courier import NotDelivered
from gateway.couriers.destinations import MailServer

TIMEOUT_SECONDS = 15.0
"""For each step of the conversation."""


class MailCourier:
    """Sends letters through one server, from one address. `context` says whom TLS trusts, by default the system's."""

    def __init__(self, server: MailServer, sender: str, context: ssl.SSLContext | None = None) -> None:
        self._server = server
        self._sender = sender
        self._context = context

    async def send(self, notice: Notice, recipients: tuple[str, ...], now: float) -> None:
        """Send one letter to all recipients. Some of them refused by the server is a success, all is not."""
        try:
            letter = letter_of(notice, self._sender, recipients, now)
            await asyncio.to_thread(self._send, letter, recipients)
        except (OSError, smtplib.SMTPException, ValueError, MessageError) as error:
            raise NotDelivered(f"{self._server.host}: {type(error).__name__} {_words(error)}".rstrip()) from error

    async def close(self) -> None:
        """Nothing stays open."""

    def _send(self, letter: EmailMessage, recipients: tuple[str, ...]) -> None:
        server, context = self._server, self._context or ssl.create_default_context()
        if server.tls:
            client: smtplib.SMTP = smtplib.SMTP_SSL(server.host, server.port, timeout=TIMEOUT_SECONDS, context=context)
        else:
            client = smtplib.SMTP(server.host, server.port, timeout=TIMEOUT_SECONDS)
        with client:
            client.ehlo()
            if not server.tls and client.has_extn("starttls"):
                client.starttls(context=context)
                client.ehlo()
            elif not server.tls and server.user:
                raise NotDelivered(f"{server.host}: it offers no TLS, so the password was not sent")
            if server.user:
                client.login(server.user, server.password)
            client.send_message(letter, self._sender, recipients)


def letter_of(notice: Notice, sender: str, recipients: tuple[str, ...], now: float) -> EmailMessage:
    """Write the letter. Its Message-ID is that of the notice, so a mailbox can tell a second copy."""
    letter = EmailMessage()
    letter["From"] = Address(addr_spec=sender)
    letter["To"] = [Address(addr_spec=recipient) for recipient in recipients]
    letter["Subject"] = "".join(character if character.isprintable() else "?" for character in subject_of(notice))
    letter["Date"] = format_datetime(datetime.fromtimestamp(now, UTC))
    letter["Message-ID"] = f"<{notice.id}@{sender.rpartition('@')[2]}>"
    letter["Auto-Submitted"] = "auto-generated"
    letter.set_content(text_of(notice))
    return letter


def _words(error: Exception) -> str:
    """Return what may be logged of an error: what servers say may name people, so only their codes."""
    if isinstance(error, smtplib.SMTPException):
        return str(error.smtp_code) if isinstance(error, smtplib.SMTPResponseException) else ""
    return str(error) if isinstance(error, OSError) else ""
