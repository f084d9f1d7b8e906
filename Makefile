# The front door: `make` lists what it can do. Variables given to it, as in `make up PORT=9000`, reach the commands.
.DEFAULT_GOAL := help
# Every target is a command.
.PHONY: $(shell awk -F: '/^[.a-z-]+:/ {print $$1}' $(firstword $(MAKEFILE_LIST)))

help:
	@awk 'BEGIN {FS = ":.*## "; print "make …"} \
		/^##@/ {printf "\n%s\n", substr($$0, 5)} \
		/^[a-z-]+:.*## / {printf "  %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

##@ Run
DEPLOY = python3 -m deploy
up: ## Start everything, or apply what changed (PORT=8000, STACK=compose|native)
	@$(DEPLOY) up

down: ## Stop everything; data stays (INVENTORY=… for hosts)
	@$(DEPLOY) down --inventory "$(INVENTORY)"

restart: ## Rolling restart with no failed request (APP=site, api, nginx; INVENTORY=…)
	@$(DEPLOY) restart --app "$(APP)" --inventory "$(INVENTORY)"

status: ## Show each service: state, memory, requests (INVENTORY=…)
	@$(DEPLOY) status --inventory "$(INVENTORY)"

logs: ## Follow the logs (APP=site, api, nginx, site-a, …; INVENTORY=…)
	@$(DEPLOY) logs --app "$(APP)" --inventory "$(INVENTORY)"

doctor: ## Find what is wrong with this machine or the stack, and how to fix it (INVENTORY=…)
	@$(DEPLOY) doctor --inventory "$(INVENTORY)"

manage: ## Run Django's manage.py with the stack's settings (ARGS="changepassword admin"; INVENTORY=…)
	@$(DEPLOY) manage --arguments "$(ARGS)" --inventory "$(INVENTORY)"

destroy: ## Stop everything and delete the data, after asking
	@$(DEPLOY) destroy

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

drain: ## Stop the apps on one of several hosts with no failed request (HOST=…)
	@$(HOSTS) --host "$(HOST)"

backup: ## Back up the database and the uploads now, and copy the backup to backups/
	@$(HOSTS)

restore: ## Restore the newest backup, or another (BACKUP=…); over live data with FORCE=yes
	@$(HOSTS) --backup "$(BACKUP)" --force "$(FORCE)"

restore-drill: ## Restore the newest backup into a scratch database and compare it
	@$(HOSTS)

fleet: ## Show each host: release, services, disk, newest backup
	@$(HOSTS)

##@ Make it yours
new: ## Start your own project from this one
	@echo "make new is being rebuilt; it returns with this repository's next version"; exit 1

##@ Work
LAB = .venv/bin/python -m lab
dev: ## The stack for work on the code: reloads on save, debug pages, logs; in containers
	@$(DEPLOY) dev

test: lint test-data test-lab test-stack test-compose test-vm ## All tests and linters, an hour; each part by itself:
test-data: test-sqlite test-postgresql ## The apps' own tests, on SQLite and on PostgreSQL with Redis
test-sqlite: .venv-tests
	.venv/bin/pytest tests/site tests/api tests/config
test-postgresql: .venv-tests
	.venv/bin/pytest tests/site tests/api --data=postgresql

test-lab: .venv-tests ## Every mode of the lab, started and asked; and the verdicts of its report
	.venv/bin/pytest tests/lab

test-stack: .venv-tests ## The running stack through nginx, and in a browser, on both
	.venv/bin/pytest tests/stack tests/native tests/docs tests/browser
	.venv/bin/pytest tests/chaos/test_planned.py --short
	.venv/bin/pytest tests/stack --data=postgresql
	.venv/bin/pytest tests/chaos --short --data=postgresql

test-compose: .venv-tests ## The stack in containers, where a Docker engine answers; as root
	.venv/bin/pytest tests/compose
	.venv/bin/pytest tests/stack --stack=compose

test-vm: .venv-tests ## Hosts booted whole, provisioned and deployed to, on one and on five; as root, where systemd-nspawn is
	.venv/bin/pytest tests/stack tests/vm --stack=vm --short

chaos: .venv-tests ## Restarts, kills, outages and overload under load, and the table of what clients saw; ten minutes
	.venv/bin/pytest tests/chaos --data=postgresql

lab: .venv-lab ## The site deployed every way there is, measured side by side, half an hour; or one way (MODE=…, JOB=…)
	@$(if $(MODE),$(LAB) look --mode "$(MODE)" --job "$(JOB)",$(LAB) measure --rounds "$(ROUNDS)")

lab-list: .venv-lab ## The ways: which are available here, and what the others need
	@$(LAB) list

lint: .venv-tests ## ruff, mypy, djlint, hadolint, ansible-lint, shellcheck, docker compose config
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/djlint --quiet --lint django_site
	.venv/bin/hadolint deploy/docker/*.Dockerfile tests/compose/bases.d/*/Dockerfile
	ANSIBLE_CONFIG=deploy/ansible/ansible.cfg .venv/bin/ansible-lint -q
	@if docker compose version >/dev/null 2>&1; then docker compose config --quiet; \
	  else echo "docker compose config skipped: there is no docker compose"; [ -z "$$CI" ]; fi
	@if command -v shellcheck >/dev/null; then git ls-files --cached --others --exclude-standard ':!deploy/ansible/**/templates/*' | xargs grep -lE '^#!.*\b(ba)?sh$$' | xargs -r shellcheck; \
	  else echo "shellcheck skipped: apt-get install shellcheck"; [ -z "$$CI" ]; fi

format: .venv-tests ## Lay out the code as the linters want it
	.venv/bin/ruff check --fix
	.venv/bin/ruff format

.venv-tests:
	@$(DEPLOY) install --group dev

.venv-lab:
	@$(DEPLOY) install --group lab
