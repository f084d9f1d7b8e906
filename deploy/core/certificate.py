"""A certificate and its key, checked as nginx will read them. Standard library only."""

import re
import ssl
import tempfile
from pathlib import Path

CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.S)
PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----")


def why_no_pair(certificate: Path, key: Path) -> str:
    """Return why nginx cannot serve with a certificate and its key, both files of PEM; empty if it can."""
    texts = []
    for path in (certificate, key):
        try:
            texts.append(path.read_text(errors="replace"))
        except OSError as error:
            return f"{path}: {error.strerror}"
    found = CERTIFICATE.findall(texts[0])
    if not found:
        return f"{certificate} has no certificate: should be PEM, with a line that says BEGIN CERTIFICATE"
    if not PRIVATE_KEY.search(texts[1]):
        return f"{key} has no private key: should be PEM, with a line that says BEGIN PRIVATE KEY"
    reason, has_pass_phrase = load(certificate, key)
    if has_pass_phrase:
        remove = f"openssl pkey -in {key} -out NEW_FILE"
        return f"{key} has a pass phrase, which nginx would ask for at each start: remove it with `{remove}`"
    # The second is for a key of another kind.
    if "MISMATCH" in reason or reason == "NO_CERTIFICATE_ASSIGNED":
        with tempfile.NamedTemporaryFile("w", suffix=".pem") as alone:
            for other in found[1:]:
                alone.seek(0)
                alone.truncate()
                alone.write(other)
                alone.flush()
                if not load(Path(alone.name), key)[0]:
                    return f"{certificate}: wrong order: the certificate of {key} comes first, then that of its issuer"
        return f"{key} is not the key of {certificate}: replace both by a certificate and the key that it was made for"
    return f"{certificate} and {key} cannot be used: {reason.replace('_', ' ').lower()}" if reason else ""


def why_no_authorities(file: Path) -> str:
    """Return why no certificate can be verified by the authorities in a file of PEM; empty if one can."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(file)
    except ssl.SSLError:
        return f"{file} has no certificate: should be PEM, with a line that says BEGIN CERTIFICATE"
    except OSError as error:
        return f"{file}: {error.strerror}"
    return ""


def load(certificate: Path, key: Path) -> tuple[str, bool]:
    """Return OpenSSL's reason not to load a pair, empty if there is none, and whether the key has a pass phrase."""
    asked = []

    def pass_phrase() -> str:
        asked.append(key)
        return "-"

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, pass_phrase)
    except ssl.SSLError as error:
        return error.reason or str(error), bool(asked)
    return "", False
