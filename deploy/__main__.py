"""`make up` and the commands beside it, in containers or on the machine itself.

`up` takes containers where a Docker engine answers, unless STACK says which; what is up already stays what it is, and
the other commands are for that. Runs on the system's own Python with nothing but the standard library.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

from deploy.docker.stack import PARTS, Stack, engine, preflight
from deploy.env import ENV_FILE, VAR, faults
from deploy.native.preflight import is_up
from deploy.terminal import Failed

PYTHON = ".venv/bin/python"
# Which stack `up` was last for, `compose` or `native`.
CHOSEN = VAR / "stack"


def in_containers() -> bool:
    """It is up so."""
    return bool(engine()[0]) and any(Stack().running(part) for part in PARTS)


def choose() -> tuple[str, str]:
    """The stack that `up` is for, and why."""
    if forced := os.environ.get("STACK"):
        if forced not in ("compose", "native"):
            raise Failed(f"STACK is {forced!r}: it is compose or native, or left out, and then found out")
        return forced, "STACK says so"
    if is_up():
        return "native", "as it is up already"
    versions, why = engine()
    return "compose" if versions else "native", why


def check_settings() -> None:
    if found := faults():
        raise Failed(
            "\n✗ ".join([*found, f"Each is explained in .env.example; mend it in {ENV_FILE}, or where it is given"])
        )


def up() -> str:
    stack, why = choose()
    print(f"Stack: {stack} ({why})", flush=True)
    check_settings()
    if stack == "compose":
        running = in_containers()
        try:
            preflight(running)
        except Failed as failed:
            # Somebody's first `make up` without a network, say.
            if os.environ.get("STACK") or running:
                raise
            print(f"  ✗ {failed}\nStack: native (compose's images cannot be had)", flush=True)
            stack = "native"
    if stack == "native" and subprocess.run([sys.executable, "-m", "deploy.native.preflight"], check=False).returncode:
        raise SystemExit(1)
    return stack


def dev() -> str:
    versions, why = engine()
    if not versions:
        raise Failed(
            f"{why}. `make dev` is in containers, and needs Docker's engine with compose: "
            "https://docs.docker.com/engine/install/. `make up` does without"
        )
    if is_up():
        raise Failed("the stack runs on this machine itself: `make down` first")
    check_settings()
    preflight(in_containers())
    return "compose"


def doctor() -> NoReturn:
    """By the stack's Python where there is one that runs, which has the packages that some of it needs."""
    stack = CHOSEN.read_text() if CHOSEN.exists() and not os.environ.get("STACK") else choose()[0]
    runs = Path(PYTHON).exists() and subprocess.run([PYTHON, "-c", ""], check=False).returncode == 0
    python = PYTHON if runs else sys.executable
    os.execv(python, [python, "-m", "deploy.doctor", stack])


def main() -> None:
    try:
        if sys.argv[1] == "doctor":
            doctor()
        if begin := {"up": up, "dev": dev}.get(sys.argv[1]):
            stack = begin()
            VAR.mkdir(parents=True, exist_ok=True)
            CHOSEN.write_text(stack)
        else:
            stack = os.environ.get("STACK") or (CHOSEN.read_text() if CHOSEN.exists() else "")
    except Failed as failed:
        raise SystemExit(f"\n✗ {failed}") from None
    if not stack:
        print("Nothing has run here yet. `make up` starts it.")
        raise SystemExit(3)
    python, package = (PYTHON, "deploy.native") if stack == "native" else (sys.executable, "deploy.docker")
    os.execv(python, [python, "-m", package, *sys.argv[1:]])


if __name__ == "__main__":
    main()
