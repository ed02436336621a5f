"""Mails go out one by one, are tried again when a server refuses them, and none is lost."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any, ClassVar

import pytest
from django.core import mail
from django.utils import timezone, translation

from django_token_pricing import notifications, tokens
from django_token_pricing.adapters import TokensNotice, WarningNotice
from django_token_pricing.choices import DeliveryStatus
from django_token_pricing.models import AuditEvent, Notification
from django_token_pricing.notifications import Delivery, outbox
from tests import world
from tests.notifications import rules
from tests.notifications.smtp import Server, mail_server

pytestmark = pytest.mark.django_db


class Died(BaseException):
    """As if the process had been killed."""


class Host:
    """An adapter of a host that does as it is told."""

    answers: ClassVar[list[Any]] = []
    told: ClassVar[list[WarningNotice]] = []

    def notify(self, notice: TokensNotice) -> bool:
        return True

    def warn(self, notice: WarningNotice) -> Any:
        self.told.append(notice)
        answer = self.answers.pop(0) if self.answers else True
        if isinstance(answer, BaseException):
            raise answer
        return answer


class OlderHost:
    """One that was written before there were warnings."""

    def notify(self, notice: TokensNotice) -> bool:
        return True


@pytest.fixture
def host(settings: Any) -> Iterator[type[Host]]:
    settings.TOKEN_PRICING = {"NOTIFICATION_ADAPTER": f"{__name__}.Host"}
    yield Host
    Host.answers.clear()
    Host.told.clear()


@pytest.fixture
def server(settings: Any) -> Iterator[Server]:
    with mail_server() as server:
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", server.port
        yield server


def warned(number: int = 1) -> list[Any]:
    """Users who were just warned."""
    rules.low(10)
    users = world.new_users(number)
    world.with_addresses(users)
    for user in users:
        tokens.grant(user, 100, source="plan")
        rules.use(user, 95)
    rules.scan()
    return users


def row() -> Notification:
    return Notification.objects.get()


def later(**length: float) -> None:
    """Let this much time pass for all mails."""
    for one in Notification.objects.exclude(mail_at=None):
        Notification.objects.filter(pk=one.pk).update(mail_at=one.mail_at - timedelta(**length))


def test_the_user_gets_a_mail_once(server: Server) -> None:
    user = warned()[0]
    assert notifications.deliver() == Delivery(sent=1)
    assert notifications.deliver() == Delivery()
    message = server.mails[0]
    assert (message["To"], message["Subject"]) == (user.get_username(), "You have 5 tokens left")
    assert "That is 5% of the 100 that you were granted." in str(message.get_payload())
    assert (row().mail, row().tries, row().problem) == (DeliveryStatus.SENT, 1, "")


def test_a_server_that_refuses_is_asked_again_later(server: Server) -> None:
    warned()
    server.is_refusing = True
    assert notifications.deliver() == Delivery(waiting=1)
    assert (row().mail, row().tries) == (DeliveryStatus.WAITING, 1)
    assert "not now" in row().problem
    assert notifications.deliver() == Delivery()
    later(minutes=6)
    server.is_refusing = False
    assert notifications.deliver() == Delivery(sent=1)
    assert (row().mail, row().tries, row().problem, len(server.mails)) == (DeliveryStatus.SENT, 2, "", 1)


def test_after_five_tries_over_a_day_it_is_given_up_until_somebody_says_so(server: Server) -> None:
    operator = rules.operator()
    warned()
    server.is_refusing = True
    for _try in range(4):
        assert notifications.deliver() == Delivery(waiting=1)
        later(hours=20)
    assert notifications.deliver() == Delivery(failed=1)
    later(days=9)
    assert notifications.deliver() == Delivery()
    assert timedelta(hours=20) < sum(outbox.WAITS, timedelta()) <= timedelta(days=1)
    server.is_refusing = False
    assert notifications.retry(Notification.objects.all(), actor=operator) == 1
    assert notifications.retry(Notification.objects.all(), actor=operator) == 0
    assert notifications.deliver() == Delivery(sent=1)
    event = AuditEvent.objects.get(action="notifications.retry")
    assert (event.actor, event.count) == (operator, 1)


def test_no_server_at_all_is_a_recorded_failure(settings: Any, server: Server) -> None:
    warned()
    settings.EMAIL_PORT = 1
    assert notifications.deliver() == Delivery(waiting=1)
    assert row().problem


def test_who_has_no_address_is_not_waited_for() -> None:
    user = warned()[0]
    type(user).objects.filter(pk=user.pk).update(email="")
    assert notifications.deliver() == Delivery(unreachable=1)
    assert (row().mail, row().problem) == (
        DeliveryStatus.NONE,
        "There is no way to reach the user, such as no e-mail address.",
    )
    assert len(rules.titles(user)) == 1


def test_who_is_not_active_gets_no_mail() -> None:
    user = warned()[0]
    type(user).objects.filter(pk=user.pk).update(is_active=False)
    assert notifications.deliver() == Delivery(unreachable=1)
    assert mail.outbox == []


def test_a_user_who_was_deleted_is_passed_over() -> None:
    one, other = warned(2)
    one.delete()
    assert notifications.deliver() == Delivery(sent=1)
    assert mail.outbox[0].to == [other.get_username()]


def test_a_hosts_adapter_gets_words_and_figures(host: type[Host]) -> None:
    user = warned()[0]
    assert notifications.deliver() == Delivery(sent=1)
    assert host.told == [
        WarningNotice(
            user=user,
            kind="low",
            title="You have 5 tokens left",
            text="That is 5% of the 100 that you were granted.",
            facts={"available": 5, "granted": 100},
            is_for_operator=False,
        )
    ]
    assert mail.outbox == []


def test_what_an_adapter_raises_stops_nobody_else(host: type[Host]) -> None:
    warned(3)
    host.answers += [RuntimeError("no\0 push"), True, False]
    assert notifications.deliver() == Delivery(sent=1, waiting=1, unreachable=1)
    assert Notification.objects.get(mail=DeliveryStatus.WAITING).problem == "no push"


@pytest.mark.parametrize("answer", [None, 1, "yes"])
def test_an_adapter_that_talks_nonsense_is_not_asked_again(host: type[Host], answer: Any) -> None:
    warned()
    host.answers += [answer]
    assert notifications.deliver() == Delivery(failed=1)
    assert repr(answer) in row().problem
    later(days=2)
    assert notifications.deliver() == Delivery()


def test_for_an_adapter_without_warnings_mails_go_out(settings: Any) -> None:
    settings.TOKEN_PRICING = {"NOTIFICATION_ADAPTER": f"{__name__}.OlderHost"}
    user = warned()[0]
    assert notifications.deliver() == Delivery(sent=1)
    assert mail.outbox[0].to == [user.get_username()]


def test_a_worker_that_dies_while_it_sends_loses_nothing(host: type[Host]) -> None:
    warned(2)
    host.answers += [Died()]
    with pytest.raises(Died):
        notifications.deliver()
    # The other worker sends the rest, and leaves what the dead one had for a while.
    assert notifications.deliver() == Delivery(sent=1)
    assert notifications.deliver() == Delivery()
    later(minutes=16)
    assert notifications.deliver() == Delivery(sent=1)
    assert len(host.told) == 3


def test_mails_speak_the_language_of_the_user(monkeypatch: pytest.MonkeyPatch, host: type[Host]) -> None:
    user = warned()[0]
    heard: list[str | None] = []
    monkeypatch.setattr(host, "warn", lambda self, notice: not heard.append(translation.get_language()))
    monkeypatch.setattr(type(user), "language", "de", raising=False)
    with translation.override("fr"):
        notifications.deliver()
        monkeypatch.setattr(type(user), "language", "no such", raising=False)
        Notification.objects.update(mail=DeliveryStatus.WAITING, mail_at=timezone.now())
        notifications.deliver()
    assert heard == ["de", "en"]


def test_operators_get_mails_as_well() -> None:
    operator = rules.operator()
    world.with_addresses([operator])
    rules.low(10, tells_user=False, tells_admins=True)
    user = world.new_user()
    tokens.grant(user, 100, source="plan")
    rules.use(user, 95)
    rules.scan()
    assert notifications.deliver() == Delivery(sent=1)
    assert mail.outbox[0].subject == f"{user.get_username()} has little left"
    assert "Left: 5 of 100. The warning: at most 10% is left." in mail.outbox[0].body
