import pytest
from django.conf import settings
from django.test import Client


@pytest.mark.parametrize("path", ["", "auth/user/", "auth/user/add/"])
def test_the_admin_has_its_pages(admin_client: Client, path: str) -> None:
    page = admin_client.get(f"/admin/{path}")
    assert page.status_code == 200
    assert settings.TITLE in page.content.decode()


def test_the_admin_is_for_staff(member: Client) -> None:
    assert member.get("/admin/").status_code == 302
