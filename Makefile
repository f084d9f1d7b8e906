# The front door: `make` lists what it can do. Variables given to it, as in `make up PORT=9000`, reach the commands.
.DEFAULT_GOAL := help
.PHONY: help up down restart status logs manage destroy dev test chaos test-data test-stack test-compose lint format .venv-tests

help:
	@awk 'BEGIN {FS = ":.*## "; print "make …"} \
		/^##@/ {printf "\n%s\n", substr($$0, 5)} \
		/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

##@ Run
up: ## Start everything, or apply what changed (PORT=8000, STACK=compose|native)
	@python3 -m deploy up

down: ## Stop everything; data stays
	@python3 -m deploy down

restart: ## Both apps, one instance after the other, with no request failed (APP=site, api, nginx)
	@python3 -m deploy restart --app "$(APP)"

status: ## What runs: state, since when, memory
	@python3 -m deploy status

logs: ## Follow the logs (APP=site, api, nginx, site-a, …)
	@python3 -m deploy logs --app "$(APP)"

manage: ## Django's manage.py with the stack's settings (ARGS="changepassword admin")
	@python3 -m deploy manage --arguments "$(ARGS)"

destroy: ## Stop everything and delete the data, after asking
	@python3 -m deploy destroy

##@ Work
dev: ## The stack for work on the code: reloads on save, debug pages, logs; in containers
	@python3 -m deploy dev

test: lint test-data test-stack test-compose ## All tests and linters, half an hour; each part by itself:
test-data: .venv-tests ## The apps' own tests, on SQLite and on PostgreSQL with Redis
	.venv/bin/pytest tests/site tests/api tests/config
	.venv/bin/pytest tests/site tests/api --data=postgresql

test-stack: .venv-tests ## The running stack through nginx, and in a browser, on both
	.venv/bin/pytest tests/stack tests/native tests/browser
	.venv/bin/pytest tests/chaos/test_planned.py --short
	.venv/bin/pytest tests/stack --data=postgresql
	.venv/bin/pytest tests/chaos --short --data=postgresql

test-compose: .venv-tests ## The stack in containers, where a Docker engine answers; as root
	.venv/bin/pytest tests/compose
	.venv/bin/pytest tests/stack --stack=compose

chaos: .venv-tests ## Restarts, kills, outages and overload under load, and the table of what clients saw; ten minutes
	.venv/bin/pytest tests/chaos --data=postgresql

lint: .venv-tests ## ruff, mypy, djlint, hadolint, shellcheck, docker compose config
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/djlint --quiet --lint django_site
	.venv/bin/hadolint deploy/docker/*.Dockerfile tests/compose/bases.d/*/Dockerfile
	@if docker compose version >/dev/null 2>&1; then docker compose config --quiet; \
	  else echo "docker compose config skipped: there is no docker compose"; [ -z "$$CI" ]; fi
	@if command -v shellcheck >/dev/null; then git ls-files --cached --others --exclude-standard | xargs grep -lE '^#!.*\b(ba)?sh$$' | xargs -r shellcheck; \
	  else echo "shellcheck skipped: apt-get install shellcheck"; [ -z "$$CI" ]; fi

format: .venv-tests ## Lay out the code as the linters want it
	.venv/bin/ruff check --fix
	.venv/bin/ruff format

.venv-tests:
	@python3 -m deploy.native.preflight --tests
