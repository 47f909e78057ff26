"""What an address looks like: no letter fails because of one that was taken, and nobody's real one is refused."""

import re

import pytest

from gateway.core.emails import EMAIL, MAILBOX, RECIPIENT
from gateway.core.limits import Interval, Metric, Scope
from gateway.core.notices import Notice
from gateway.couriers.mail import letter_of

NOTICE = Notice(
    "budget", "lim_1", Scope.PROJECT, "proj_1", Metric.COST, Interval.MONTH, 0, 5, 5, 1, percent=80, limit=6
)
TAKEN = (
    "ann@example.com", "o'neil+tag@mail.example.co.uk", "a.b_c-d@x-y.example", "=1+1@example.com", "a@1.example",
    "root/cron@example.com", "a@xn--bcher-kva.example", "Ann@EXAMPLE.com", "a@under_score.example",
)  # fmt: skip
WITH_ACCENTS = ("jörg@example.com", "ann@bücher.example", "用户@例子.广告")
REFUSED = (
    "", "ann", "ann@", "@example.com", "a b@example.com", "ann@example.com\n", "a@b.cd@e.fg", "a@b..cd",
    "<script>@b.cd", "a;b@c.de", "a,b@c.de", "(x)@c.de", "a:b@c.de", "a@-b.cd", "a@b-.cd", ".a@b.cd", "a.@b.cd",
    "a..b@c.de", '"a"@b.cd', 'a"b@c.de', "a\\b@c.de", "a@b.cd.", "a@b.cd:25", "a@[127.0.0.1]", "a@b.c/d",
    "a@b.c\u200bd",
    "\u202ea@b.cd", "a\x00@b.cd", "Ann <a@b.cd>", "a@b.cd,e@f.gh", "a\xa0b@c.de",
)  # fmt: skip


@pytest.mark.parametrize("address", TAKEN)
def test_address_that_is_taken_fits_on_a_letter(address: str) -> None:
    assert re.match(EMAIL, address) and re.match(RECIPIENT, address) and re.match(MAILBOX, address)
    (written,) = letter_of(NOTICE, "gateway@example.com", (address,), 1.0)["To"].addresses
    assert written.addr_spec == address and address.isascii()


@pytest.mark.parametrize("address", WITH_ACCENTS)
def test_person_may_have_an_address_that_not_every_server_takes(address: str) -> None:
    assert re.match(EMAIL, address) and not re.match(RECIPIENT, address)


@pytest.mark.parametrize("address", REFUSED)
def test_address_that_is_none_is_refused(address: str) -> None:
    assert not any(re.match(pattern, address) for pattern in (EMAIL, RECIPIENT, MAILBOX))


def test_mailbox_may_be_on_a_machine_of_ones_own() -> None:
    assert re.match(MAILBOX, "root@localhost")
    assert not re.match(RECIPIENT, "root@localhost") and not re.match(EMAIL, "root@localhost")
