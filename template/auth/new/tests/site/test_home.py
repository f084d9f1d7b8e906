import threading
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.test import Client
from home.models import Wave
from redis import Redis

from tests import servers
from tests.site.test_unavailable import locked


def key_of(page: str) -> str:
    return page.partition('name="key" value="')[2].partition('"')[0]


def test_the_page_shows_how_many_waves_there_are(client: Client, user: User, django_assert_num_queries: Any) -> None:
    for key in "123":
        Wave.objects.create(user=user, key=key)
    with django_assert_num_queries(1):
        page = client.get("/").content.decode()
    assert "3 waves" in page
    assert 'data-version="3"' in page
    assert "Log in to wave" in page
    assert "csrfmiddlewaretoken" not in page


def test_a_wave_counts_and_leads_back(member: Client, user: User) -> None:
    key = key_of(member.get("/").content.decode())
    assert len(key) == 32
    response = member.post("/waves/", {"key": key})
    assert (response.status_code, response.headers["Location"]) == (302, "/")
    assert list(Wave.objects.values_list("user", "key")) == [(user.pk, key)]
    page = member.get("/").content.decode()
    assert "1 wave<" in page
    assert key_of(page) != key


def test_a_wave_sent_again_is_the_same_wave(member: Client) -> None:
    assert [member.post("/waves/", {"key": key}).status_code for key in ("1", "1", "2")] == [302] * 3
    assert sorted(Wave.objects.values_list("key", flat=True)) == ["1", "2"]


def test_the_key_is_the_users_own(member: Client) -> None:
    Wave.objects.create(user=User.objects.create(username="other"), key="1")
    member.post("/waves/", {"key": "1"})
    assert Wave.objects.count() == 2


@pytest.mark.parametrize("form", [{}, {"key": ""}, {"key": "x" * 65}])
def test_a_wave_without_a_key_is_a_400(member: Client, form: dict[str, str]) -> None:
    assert member.post("/waves/", form).status_code == 400
    assert not Wave.objects.exists()


def test_waving_needs_a_login_and_leads_back(client: Client, db: None) -> None:
    response = client.post("/waves/", {"key": "1"})
    assert response.headers["Location"] == "/accounts/login/?next=/"
    assert not Wave.objects.exists()


def test_waving_is_a_post(member: Client) -> None:
    assert member.get("/waves/").status_code == 405


def test_waves_outlive_their_user(user: User) -> None:
    Wave.objects.create(user=user, key="1")
    user.delete()
    assert Wave.objects.get().user is None


@pytest.mark.parametrize("path", ["", "?q=mel"])
def test_waves_can_only_be_looked_at(admin_client: Client, user: User, path: str) -> None:
    wave = Wave.objects.create(user=user, key="1")
    assert "mel" in admin_client.get(f"/admin/home/wave/{path}").content.decode()
    assert 'name="_save"' not in admin_client.get(f"/admin/home/wave/{wave.pk}/change/").content.decode()
    assert admin_client.get("/admin/home/wave/add/").status_code == 403
    assert admin_client.post(f"/admin/home/wave/{wave.pk}/delete/", {"post": "yes"}).status_code == 403
    # Their user's deletion is not stopped by that.
    admin_client.post(f"/admin/auth/user/{user.pk}/delete/", {"post": "yes"})
    assert Wave.objects.get().user is None


@pytest.mark.django_db(transaction=True)
def test_of_one_wave_sent_many_times_at_once_one_counts(user: User) -> None:
    barrier, outcomes = threading.Barrier(8), []

    def wave() -> None:
        client = Client()
        client.force_login(user)
        barrier.wait(timeout=10)
        outcomes.append(client.post("/waves/", {"key": "1"}).status_code)
        connection.close()

    threads = [threading.Thread(target=wave) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert outcomes == [302] * 8
    assert Wave.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_wave_is_published_after_its_commit(user: User, settings: Any, new_bus: None) -> None:
    with servers.redis() as settings.REDIS_URL, Redis.from_url(settings.REDIS_URL) as redis, redis.pubsub() as channel:
        channel.subscribe("changes")
        assert channel.get_message(timeout=5)["type"] == "subscribe"
        with transaction.atomic():
            Wave.objects.create(user=user, key="1")
            assert channel.get_message(timeout=0.2) is None
        assert channel.get_message(timeout=5)["data"] == b"0"


@pytest.mark.django_db(transaction=True)
def test_a_wave_counts_without_the_bus(
    member: Client, settings: Any, new_bus: None, caplog: pytest.LogCaptureFixture
) -> None:
    settings.REDIS_URL = f"redis://127.0.0.1:{servers.free_port()}/0"
    assert member.post("/waves/", {"key": "1"}).status_code == 302
    assert Wave.objects.count() == 1
    assert "not published" in caplog.text


@pytest.mark.django_db(transaction=True)
def test_a_wave_that_waits_for_a_lock(member: Client) -> None:
    member.raise_request_exception = False
    with locked("home_wave"):
        answer = member.post("/waves/", {"key": "1"})
        assert answer.status_code == 503
        assert "Back in a moment" in answer.content.decode()
        assert member.get("/").status_code == 200  # reading goes on
    assert not Wave.objects.exists()
    assert member.post("/waves/", {"key": "1"}).status_code == 302
