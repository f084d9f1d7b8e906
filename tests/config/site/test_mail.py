"""Mail over TLS: the certificate of the server is verified."""

import ssl
from pathlib import Path

import pytest
from django.core.mail import EmailMessage, get_connection
from jobs.settings import PORTS, parse_mail_server

from deploy.core import alertmanager
from tests.faults import self_signed
from tests.site.jobs.smtp import smtp_server


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["smtp+tls", "smtp+ssl"])
def test_a_certificate_is_verified(scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = self_signed(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(files["TLS_CERTIFICATE"], files["TLS_KEY"])
    tls = {"tls_context": context, "require_starttls": True} if scheme == "smtp+tls" else {"ssl_context": context}
    with smtp_server(**tls) as server:
        arguments = parse_mail_server(server.url.replace("smtp", scheme))
        mail = EmailMessage("Hello", "", "shop@example.org", ["mel@example.org"])
        with pytest.raises(ssl.SSLCertVerificationError):
            get_connection(**arguments).send_messages([mail])
        monkeypatch.setenv("SSL_CERT_FILE", files["TLS_CERTIFICATE"])
        assert get_connection(**arguments).send_messages([mail]) == 1
        assert [to for to, _ in server.received] == ["mel@example.org"]


def test_the_deployment_has_the_same_default_ports() -> None:
    assert alertmanager.PORTS == PORTS
