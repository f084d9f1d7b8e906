# The front door: `make` lists what it can do. Variables given to it, as in `make up PORT=9000`, reach the commands.
.DEFAULT_GOAL := help
# Every target is a command.
.PHONY: $(shell awk -F: '/^[.a-z-]+:/ {print $$1}' Makefile $(wildcard make/*.mk))

help:
	@awk 'BEGIN {FS = ":.*## "; print "make …"} \
		/^##@/ {printf "\n%s\n", substr($$0, 5)} \
		/^[a-z-]+:.*## / {printf "  %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

##@ Run
DEPLOY = python3 -E -m deploy
up: ## Start everything, or apply what changed (PORT=8000, STACK=compose|native)
	@$(DEPLOY) up

down: ## Stop everything; data stays (INVENTORY=… for hosts)
	@$(DEPLOY) down --inventory "$(INVENTORY)"

restart: ## Rolling restart with no failed request (APP=an app or nginx; INVENTORY=…)
	@$(DEPLOY) restart --app "$(APP)" --inventory "$(INVENTORY)"

status: ## Show each service: state, memory, requests (WATCH=1 each second, with rates; INVENTORY=…)
	@$(DEPLOY) status --watch "$(WATCH)" --inventory "$(INVENTORY)"

logs: ## Follow the logs (APP=an app, an instance or nginx; INVENTORY=…)
	@$(DEPLOY) logs --app "$(APP)" --inventory "$(INVENTORY)"

maintenance: ## Answer visitors with 503 (make maintenance on), or serve them again (make maintenance off)
	@$(DEPLOY) maintenance --state "$(filter on off,$(MAKECMDGOALS))" --inventory "$(INVENTORY)"
on off: maintenance; @:

backup: ## Back up the database and the uploads now, to BACKUP_URL (INVENTORY=…)
	@$(DEPLOY) backup --inventory "$(INVENTORY)"

restore: ## Restore the newest backup, or of a time in UTC (TO='2026-11-29 12:00'); over live data FORCE=yes (INVENTORY=…)
	@$(DEPLOY) restore --inventory "$(INVENTORY)" --to "$(TO)" --origin "$(FROM)" --force "$(FORCE)"

restore-drill: ## Restore the newest backup beside the database and compare them (INVENTORY=…)
	@$(DEPLOY) restore-drill --inventory "$(INVENTORY)"

destroy: ## Stop everything and delete the data, after asking
	@$(DEPLOY) destroy

push: ## Build the images and push them to a registry (IMAGE=registry.example.org/team/shop, RELEASE=the commit)
	@$(DEPLOY) push

##@ Deploy to hosts: INVENTORY is a name in deploy/ansible/inventories, or a path
HOSTS = $(DEPLOY) $@ --target hosts --inventory "$(INVENTORY)"

secrets: ## Make the secrets that an inventory lacks, encrypted
	@$(HOSTS)

provision: ## Prepare bare hosts for releases
	@$(HOSTS)

deploy: ## Deploy a release with no failed request; a failed deploy is rolled back (REF=HEAD, BATCH=1)
	@$(HOSTS) --ref "$(REF)" --batch "$(BATCH)"

rollback: ## Go back to the previous release, or another (RELEASE=…)
	@$(HOSTS) --release "$(RELEASE)" --force "$(FORCE)" --batch "$(BATCH)"

drain: ## Stop the services on one of several hosts with no failed request (HOST=…)
	@$(HOSTS) --host "$(HOST)"

upgrade-hosts: ## Upgrade the operating system of each host and reboot it, one at a time (FORCE=yes does not ask)
	@$(HOSTS) --force "$(FORCE)"

switchover: ## Make the synchronous standby of a cluster of PostgreSQL the primary
	@$(HOSTS)

move-data: ## Replace the database by that of another inventory, which accepts no more writes (FROM=…)
	@$(HOSTS) --source "$(FROM)" --force "$(FORCE)"

fleet: ## Show each host: release, services, disk, newest backup
	@$(HOSTS)

##@ Work
dev: ## Start the stack for work on the code: reloads on save, debug pages, logs
	@$(DEPLOY) dev

check: .venv-dev ## Run the linters of the code and the tests that start no process: after each edit
	@.venv/bin/python -m tests.run lint-code test-quick

# Two run at a time, because they often wait. The longest begin first.
TEST = test-sqlite test-postgresql lint test-stack
test: .venv-dev ## Run everything that a change should pass before it is committed
	@.venv/bin/python -m tests.run $(TEST)

# The tests of each app. Projects differ in their apps.
APP_TESTS = $(wildcard $(addprefix tests/,site api))
QUICK = $(APP_TESTS)
test-quick: .venv-dev
	.venv/bin/pytest -n 2 $(QUICK) -m "not slow"

# More processes than cores: these tests often wait.
test-sqlite: .venv-dev
	.venv/bin/pytest -n 4 $(QUICK)

test-postgresql: .venv-dev
	.venv/bin/pytest -n 4 $(APP_TESTS) --data=postgresql

test-stack: .venv-dev ## Start the stack, test it through nginx, and restart it under load
	.venv/bin/pytest tests/smoke

lint-code: .venv-dev
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy

# Not DL3008, pinned versions of apt's packages: Debian deletes old versions, so a pinned build fails at the next update.
lint: lint-code ## Run ruff, mypy, hadolint, ansible-lint, shellcheck, docker compose config
	git ls-files '*Dockerfile' | xargs .venv/bin/hadolint --ignore DL3008
	ANSIBLE_CONFIG=deploy/ansible/ansible.cfg .venv/bin/ansible-lint -q
	@if docker compose version >/dev/null 2>&1; then COMPOSE_FILE=docker-compose.yml docker compose config --quiet; \
	  else echo "docker compose config skipped: there is no docker compose"; [ -z "$$CI" ]; fi
	@if command -v shellcheck >/dev/null; then git ls-files --cached --others --exclude-standard ':!deploy/ansible/**/templates/*' | xargs grep -lE '^#!.*\b(ba)?sh$$' | xargs -r shellcheck; \
	  else echo "shellcheck skipped: apt-get install shellcheck"; [ -z "$$CI" ]; fi

format: .venv-dev ## Lay out the code as the linters want it
	.venv/bin/ruff check --fix
	.venv/bin/ruff format

.venv-dev:
	@$(DEPLOY) install --group dev $(DEV_GROUPS)

# One file for each removable part. A part adds commands, and steps to `lint` and `test`.
-include make/*.mk
