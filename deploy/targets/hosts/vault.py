"""The secrets of an inventory, in a file that ansible-vault encrypts. It runs on the controller."""

import os
import secrets
from pathlib import Path

import yaml

from deploy.core.settings import SECRETS

from .fleet import Fleet


def make_secrets(fleet: Fleet) -> None:
    """Add the secrets that the inventory lacks, and the vault's password if there is none."""
    if not fleet.password.exists() and "ANSIBLE_VAULT_PASSWORD_FILE" not in os.environ:
        fleet.password.touch(mode=0o600)
        fleet.password.write_text(secrets.token_urlsafe(32) + "\n")
        print(f"The vault's password is in {fleet.password}. Keep it private, and outside the repository.")
    file = fleet.directory / "group_vars/all/secrets.yml"
    contents = read(fleet, file)
    known: dict[str, str] = contents.setdefault("secrets", {})
    made = {name: make() for name, make in SECRETS.items() if name not in known}
    if not made:
        print(f"{file} has all secrets already.")
        return
    known.update(made)
    file.parent.mkdir(parents=True, exist_ok=True)
    fleet.ansible("vault", "encrypt", "--output", str(file), "-", text=yaml.safe_dump(contents))
    print(f"{', '.join(made)} made in {file}, which is encrypted. Commit it.")


def read(fleet: Fleet, file: Path) -> dict[str, dict[str, str]]:
    return yaml.safe_load(fleet.ansible("vault", "view", str(file))) or {} if file.exists() else {}
