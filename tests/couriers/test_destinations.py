"""Settings of the ways to tell people something: half of one stops the start, and no secret shows."""

import pytest

from gateway.couriers.destinations import MailServer
from gateway.settings import SettingsError, load_settings

MAIL = {"GATEWAY_SMTP_URL": "smtp://us%40er:p%2Fw@mail.example.com", "GATEWAY_SMTP_FROM": "gateway@example.com"}
HOOK = {"GATEWAY_WEBHOOK_URL": "https://hooks.example.com/x?y=z", "GATEWAY_WEBHOOK_SECRET": "0123456789abcdef"}


def test_mail_and_webhook_are_read() -> None:
    settings = load_settings({**MAIL, **HOOK, "GATEWAY_ALERT_RECIPIENTS": "a@example.com, b@example.com"})
    assert settings.smtp_server == MailServer("mail.example.com", 587, False, "us@er", "p/w")
    assert settings.alert_recipients == ("a@example.com", "b@example.com")
    assert (settings.webhook_url, settings.webhook_private) == ("https://hooks.example.com/x?y=z", False)
    assert {"p/w", "0123456789abcdef"} <= set(settings.secrets)
    assert "p/w" not in repr(settings) and "0123456789abcdef" not in repr(settings)


def test_tls_from_the_start_has_a_port_of_its_own() -> None:
    settings = load_settings({**MAIL, "GATEWAY_SMTP_URL": "smtps://mail.example.com"})
    assert settings.smtp_server == MailServer("mail.example.com", 465, True)


def test_percents_are_sorted_and_may_be_none() -> None:
    assert load_settings({}).budget_percents == (80, 100)
    assert load_settings({"GATEWAY_BUDGET_PERCENTS": "100, 50,50"}).budget_percents == (50, 100)
    assert load_settings({"GATEWAY_BUDGET_PERCENTS": "none"}).budget_percents == ()


@pytest.mark.parametrize(
    ("environment", "complaint"),
    [
        ({"GATEWAY_SMTP_URL": "smtp://mail.example.com"}, "GATEWAY_SMTP_FROM"),
        ({"GATEWAY_ALERT_RECIPIENTS": "a@example.com"}, "GATEWAY_SMTP_URL"),
        ({**MAIL, "GATEWAY_SMTP_URL": "http://mail.example.com"}, "GATEWAY_SMTP_URL must be smtp"),
        ({**MAIL, "GATEWAY_SMTP_URL": "smtp://:password@mail.example.com"}, "GATEWAY_SMTP_URL must be smtp"),
        ({**MAIL, "GATEWAY_SMTP_URL": "smtp://user:p%C3%A4ss@mail.example.com"}, "in ASCII"),
        ({**MAIL, "GATEWAY_SMTP_URL": "smtp://mail.example.com:port"}, "GATEWAY_SMTP_URL must be smtp"),
        ({**MAIL, "GATEWAY_SMTP_FROM": "a@example.com, b@example.com"}, "GATEWAY_SMTP_FROM must be"),
        ({**MAIL, "GATEWAY_ALERT_RECIPIENTS": "ada"}, "GATEWAY_ALERT_RECIPIENTS must be"),
        ({**MAIL, "GATEWAY_ALERT_RECIPIENTS": "a@b.cd, jörg@b.cd"}, "GATEWAY_ALERT_RECIPIENTS must be"),
        ({"GATEWAY_WEBHOOK_URL": "https://hooks.example.com"}, "GATEWAY_WEBHOOK_SECRET"),
        ({**HOOK, "GATEWAY_WEBHOOK_SECRET": "short"}, "GATEWAY_WEBHOOK_SECRET must be"),
        ({**HOOK, "GATEWAY_WEBHOOK_SECRET": "whsec_not base64"}, "GATEWAY_WEBHOOK_SECRET must be"),
        ({**HOOK, "GATEWAY_WEBHOOK_URL": "http://hooks.example.com"}, "GATEWAY_WEBHOOK_PRIVATE"),
        ({**HOOK, "GATEWAY_WEBHOOK_URL": "https://user:pw@hooks.example.com"}, "GATEWAY_WEBHOOK_URL must be"),
        ({**HOOK, "GATEWAY_WEBHOOK_URL": "file:///etc/passwd"}, "GATEWAY_WEBHOOK_URL must be"),
        ({**HOOK, "GATEWAY_WEBHOOK_URL": "https://"}, "GATEWAY_WEBHOOK_URL must be"),
        ({"GATEWAY_BUDGET_PERCENTS": "0"}, "GATEWAY_BUDGET_PERCENTS must be"),
        ({"GATEWAY_BUDGET_PERCENTS": "80%"}, "GATEWAY_BUDGET_PERCENTS must be"),
        ({"GATEWAY_ALERT_SECONDS": "0"}, "GATEWAY_ALERT_SECONDS must be"),
    ],
)  # fmt: skip
def test_setting_that_cannot_be_is_named(environment: dict[str, str], complaint: str) -> None:
    with pytest.raises(SettingsError, match=complaint) as failure:
        load_settings(environment)
    assert "short" not in str(failure.value) and "0123456789abcdef" not in str(failure.value)
