"""Letters through a real mail server: what they say, and that a password never travels in the clear."""

import ssl
from pathlib import Path

import pytest

from gateway.core.limits import Interval, Metric, Scope
from gateway.core.notices import Notice
from gateway.couriers.courier import NotDelivered
from gateway.couriers.destinations import MailServer
from gateway.couriers.mail import MailCourier
from tests.mailbox import running_mailbox

CERTIFICATES = Path(__file__).parents[1] / "upstream" / "certificates"
NOW = 1_700_000_000
TO = ("ops@example.com", "ada@example.com")
NOTICE = Notice(
    "spend_alert", "alert_1", Scope.PROJECT, "proj_1", Metric.COST, Interval.MONTH, 1_698_796_800, 20_000_000_000,
    20_500_000_000, NOW, name="Suche\r\nBcc: evil@example.com <b>é</b>", recipients=TO, subject_prefix="[Büro]",
)  # fmt: skip


def courier(port: int, *, tls: bool = False, user: str = "", trusting: bool = True) -> MailCourier:
    context = ssl.create_default_context(cafile=str(CERTIFICATES / "authority.pem")) if trusting else None
    server = MailServer("127.0.0.1", port, tls, user, "p:assword" if user else "")
    return MailCourier(server, "gateway@example.org", context)


def certificate() -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(CERTIFICATES / "server.pem")
    return context


async def test_letter_says_whose_spending_it_is_and_nothing_slips_into_its_headers() -> None:
    async with running_mailbox() as mailbox:
        await courier(mailbox.port).send(NOTICE, TO, NOW)
        letter = await mailbox.letter()
    assert (letter.sender, letter.recipients, letter.tls) == ("gateway@example.org", TO, False)
    message = letter.message
    assert str(message["Subject"]) == ("[Büro] Project Suche??Bcc: evil@example.com <b>é</b> has spent $20 this month")
    assert set(message.keys()) == {
        "From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "Content-Type", "Content-Transfer-Encoding",
        "MIME-Version",
    }  # fmt: skip
    assert message["Message-ID"] == f"<{NOTICE.id}@example.org>"
    text = message.get_content()
    assert "has spent $20.5 since 2023-11-01 00:00 UTC; the month ends 2023-12-01 00:00 UTC." in text
    assert message.get_content_type() == "text/plain" and "proj_1" in text


@pytest.mark.parametrize("from_the_start", [True, False])
async def test_password_travels_in_tls_only(from_the_start: bool) -> None:
    async with running_mailbox(certificate(), from_the_start=from_the_start) as mailbox:
        await courier(mailbox.port, tls=from_the_start, user="us er").send(NOTICE, TO, NOW)
        letter = await mailbox.letter()
    assert (letter.tls, letter.login) == (True, ("us er", "p:assword"))


async def test_password_is_not_sent_to_a_server_without_tls() -> None:
    async with running_mailbox() as mailbox:
        with pytest.raises(NotDelivered, match="no TLS"):
            await courier(mailbox.port, user="user").send(NOTICE, TO, NOW)
        assert mailbox.letters == []


@pytest.mark.parametrize("from_the_start", [True, False])
async def test_server_whose_certificate_nobody_vouches_for_gets_nothing(from_the_start: bool) -> None:
    async with running_mailbox(certificate(), from_the_start=from_the_start) as mailbox:
        with pytest.raises(NotDelivered, match="CERTIFICATE_VERIFY_FAILED"):
            await courier(mailbox.port, tls=from_the_start, user="user", trusting=False).send(NOTICE, TO, NOW)
        assert mailbox.letters == []


async def test_refused_letter_is_not_delivered_and_says_only_the_code() -> None:
    async with running_mailbox() as mailbox:
        mailbox.failures.append("451 try gateway@example.org later")
        with pytest.raises(NotDelivered) as failure:
            await courier(mailbox.port).send(NOTICE, TO, NOW)
        assert str(failure.value) == "127.0.0.1: SMTPSenderRefused 451"


async def test_one_recipient_who_is_unknown_does_not_keep_the_letter_from_the_others() -> None:
    async with running_mailbox() as mailbox:
        mailbox.refused = frozenset({TO[0]})
        await courier(mailbox.port).send(NOTICE, TO, NOW)
        assert (await mailbox.letter()).recipients == TO[1:]
        mailbox.refused = frozenset(TO)
        with pytest.raises(NotDelivered):
            await courier(mailbox.port).send(NOTICE, TO, NOW)


async def test_server_that_is_not_there_is_no_delivery() -> None:
    with pytest.raises(NotDelivered, match="ConnectionRefusedError"):
        await courier(1).send(NOTICE, TO, NOW)


async def test_recipient_that_no_header_can_hold_is_no_delivery() -> None:
    async with running_mailbox() as mailbox:
        with pytest.raises(NotDelivered):
            await courier(mailbox.port).send(NOTICE, ("a,b@example.com",), NOW)
        assert mailbox.letters == []
