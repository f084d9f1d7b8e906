"""Who may see the stack page."""

import pytest
from accounts.models import User
from django.test import Client

PAGE, LIVE = "/stack/", "/stack/live"


def test_strangers_log_in_first(client: Client) -> None:
    assert client.get(PAGE).headers["Location"] == f"/accounts/login/?next={PAGE}"
    assert client.get(LIVE).status_code == 403


def test_others_than_staff_may_not_see_it(member: Client) -> None:
    assert [member.get(path).status_code for path in (PAGE, LIVE)] == [403, 403]
    assert PAGE not in member.get("/accounts/").content.decode()


def test_staff_see_it(member: Client, user: User) -> None:
    User.objects.filter(pk=user.pk).update(is_staff=True)
    assert f'href="{PAGE}"' in member.get("/accounts/").content.decode()
    for path in (PAGE, LIVE):
        assert "no-store" in member.get(path).headers["Cache-Control"]
    assert member.get(LIVE).headers["X-Accel-Redirect"] == "/_stack/live"


def test_it_may_be_open(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stack.views.OPEN", True)
    assert [client.get(path).status_code for path in (PAGE, LIVE)] == [200, 200]
