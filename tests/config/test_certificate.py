"""Certificates and keys as people have them: nginx accepts a pair exactly if nothing is said about it."""

import subprocess
from pathlib import Path

import pytest

from deploy.core.certificate import why_no_pair
from tests.servers import program

pytestmark = pytest.mark.slow

# nginx makes these directories, and an ordinary user may not make Debian's.
TEMPORARY = "".join(f"{each}_temp_path {{0}}/{each}; " for each in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
NGINX = "pid {0}/pid; error_log stderr; events {{}} http {{ access_log off; " + TEMPORARY
NGINX += 'server {{ listen unix:{0}/sock ssl; ssl_certificate "{1}"; ssl_certificate_key "{2}"; }} }}'


def openssl(*words: str | Path) -> None:
    subprocess.run([program("openssl", "openssl"), *words], check=True, capture_output=True)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority, a certificate by it, keys of several kinds, and files that are none of that."""
    made = tmp_path_factory.mktemp("pem")
    for name in ("ca", "own", "other"):
        key = ["-newkey", "rsa:2048", "-nodes", "-keyout", str(made / f"{name}.key")]
        openssl("req", "-x509", *key, "-subj", f"/CN={name}", "-out", made / f"{name}.pem")
    openssl("ecparam", "-name", "prime256v1", "-genkey", "-out", made / "curve.key")
    openssl("req", "-x509", "-key", made / "curve.key", "-subj", "/CN=curve", "-out", made / "curve.pem")
    openssl("pkey", "-in", made / "own.key", "-aes256", "-passout", "pass:x", "-out", made / "phrase.key")
    openssl(
        "rsa", "-in", made / "own.key", "-traditional", "-aes128", "-passout", "pass:x", "-out", made / "old-phrase.key"
    )
    openssl("rsa", "-in", made / "own.key", "-traditional", "-out", made / "old.key")
    openssl("x509", "-in", made / "own.pem", "-outform", "DER", "-out", made / "binary.pem")
    own, ca = ((made / f"{name}.pem").read_text() for name in ("own", "ca"))
    for name, text in {
        "chain.pem": own + ca,
        "backwards.pem": ca + own,
        "both.pem": own + (made / "own.key").read_text(),
        "windows.pem": own.replace("\n", "\r\n"),
        "text.pem": f"Certificate of the shop\n{own}\nThat was it\n",
        "cut.pem": own[:200],
        "cut.key": (made / "own.key").read_text()[:200],
        "empty.pem": "",
        "page.pem": "<html>Not found</html>",
    }.items():
        (made / name).write_text(text)
    return made


@pytest.mark.parametrize(
    ("certificate", "key", "said"),
    [
        ("own.pem", "own.key", ""),
        ("own.pem", "old.key", ""),
        ("curve.pem", "curve.key", ""),
        ("chain.pem", "own.key", ""),
        ("both.pem", "both.pem", ""),
        ("windows.pem", "own.key", ""),
        ("text.pem", "own.key", ""),
        ("backwards.pem", "own.key", "backwards.pem: wrong order: the certificate of "),
        ("own.pem", "other.key", "other.key is not the key of "),
        ("own.pem", "curve.key", "curve.key is not the key of "),
        ("own.pem", "phrase.key", "phrase.key has a pass phrase"),
        ("own.pem", "old-phrase.key", "old-phrase.key has a pass phrase"),
        ("binary.pem", "own.key", "binary.pem has no certificate"),
        ("empty.pem", "own.key", "empty.pem has no certificate"),
        ("page.pem", "own.key", "page.pem has no certificate"),
        ("own.key", "own.pem", "own.key has no certificate"),
        ("cut.pem", "own.key", "cut.pem has no certificate"),
        ("own.pem", "own.pem", "own.pem has no private key"),
        ("own.pem", "cut.key", "own.pem and "),
        ("own.pem", ".", "Is a directory"),
        ("none.pem", "own.key", "none.pem: No such file or directory"),
    ],
)
def test_what_nginx_says(files: Path, certificate: str, key: str, said: str) -> None:
    found = why_no_pair(files / certificate, files / key)
    assert (said in found) if said else found == "", found
    configuration = files / "nginx.conf"
    configuration.write_text(NGINX.format(files, files / certificate, files / key))
    nginx = [program("nginx", "nginx"), "-t", "-q", "-p", str(files), "-e", "stderr", "-c", str(configuration)]
    done = subprocess.run(nginx, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=20)
    # It starts with a key of another kind, and then no client can connect.
    assert (done.returncode == 0) == (found == "" or key == "curve.key"), done.stderr
