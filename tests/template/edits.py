"""Eleven small edits of the sources, as a maintainer would make them. Each is a function of the repository's folder."""

import re
import subprocess
import sys
from pathlib import Path


def replace(file: Path, pattern: str, new: str) -> None:
    """Replace the first match of a regular expression, which has to be there."""
    text, count = re.subn(pattern, new, file.read_text(), count=1, flags=re.MULTILINE)
    assert count, f"{file} does not match {pattern}"
    file.write_text(text)


def rename_function(folder: Path) -> None:
    files = [file for file in folder.glob("tests/**/*.py") if "free_port" in file.read_text()]
    assert len(files) >= 11
    for file in files:
        file.write_text(re.sub(r"\bfree_port\b", "reserve_port", file.read_text()))
    ruff = str(Path(sys.executable).with_name("ruff"))
    for command in (["check", "--quiet", "--select=I", "--fix"], ["format", "--quiet"]):
        subprocess.run([ruff, *command, *files], cwd=folder, check=True)


def reword_readme(folder: Path) -> None:
    replace(folder / "README.md", r"^(# .*\n\n)\w.*", r"\1This is how to run Python on the web, in production.")


def add_uwsgi_threads(folder: Path) -> None:
    replace(folder / "deploy/uwsgi/site.ini", r"^master = true$", "master = true\nthreads = 2")


def add_setting(folder: Path) -> None:
    replace(folder / ".env.example", r"\Z", "\n# The name of this deployment, for logs.\nDEPLOYMENT=local\n")
    for settings in ("django_site/config/settings.py", "tornado_api/settings.py"):
        replace(folder / settings, r"^(    LOG_LEVEL = .*)$", r'\1\n    DEPLOYMENT = env.str("DEPLOYMENT", "local")')


def raise_upload_limit(folder: Path) -> None:
    replace(folder / ".env.example", "^UPLOAD_LIMIT_MB=6$", "UPLOAD_LIMIT_MB=20")


def add_third_instance(folder: Path) -> None:
    file = folder / "deploy/apps.toml"
    file.write_text(file.read_text().replace('["a", "b"]', '["a", "b", "c"]'))


def reword_compose_comment(folder: Path) -> None:
    replace(folder / "docker-compose.yml", "^# .*", "# Containers for one machine.")


def change_nginx_timeout(folder: Path) -> None:
    replace(folder / "nginx/nginx.conf", "client_header_timeout 10s", "client_header_timeout 12s")


def add_make_target(folder: Path) -> None:
    replace(folder / "Makefile", r"^(destroy: .*)$", r"hello: ## Greet\n\t@echo hello\n\n\1")


def call_another_helper(folder: Path) -> None:
    replace(folder / "deploy/core/nginx.py", r"^(from deploy.core.console import Failed)$", r"\1, ok")
    replace(folder / "deploy/core/nginx.py", r'print\("reloaded"\)', 'ok("reloaded")')


def mention_watchers(folder: Path) -> None:
    replace(folder / "nginx/nginx.conf", r"^events \{$", "# Watchers hold most of these connections.\nevents {")


EDITS = {
    edit.__name__: edit
    for edit in (
        rename_function,
        reword_readme,
        add_uwsgi_threads,
        add_setting,
        raise_upload_limit,
        add_third_instance,
        reword_compose_comment,
        change_nginx_timeout,
        add_make_target,
        call_another_helper,
        mention_watchers,
    )
}
