##@ Prove it
TEST += test-browser
ALL := $(TEST) test-native test-faults test-compose test-hosts $(ALL)
test-all: .venv-dev ## Run all tests, two hours; each part by itself:
	@.venv/bin/python -m tests.run $(ALL)

# The servers' configuration needs no database.
QUICK += tests/config

test-native: .venv-dev ## Test the stack on this machine, and the commands that the documents show
	.venv/bin/pytest tests/stack tests/native tests/dev tests/docs tests/parts

test-browser: .venv-dev ## Use the site in Chromium, as a visitor does
	.venv/bin/pytest tests/browser

test-faults: .venv-dev ## Release, restart, kill and break the stack under load, on PostgreSQL with Redis
	.venv/bin/pytest tests/stack --data=postgresql
	.venv/bin/pytest tests/scenarios tests/chaos --short --data=postgresql

test-compose: .venv-dev ## Test the stack in containers, if there is a Docker engine; as root
	.venv/bin/pytest tests/compose
	.venv/bin/pytest tests/stack tests/dev tests/parts --stack=compose
	.venv/bin/pytest tests/scenarios --short --stack=compose

test-hosts: .venv-dev ## Boot, provision and deploy to hosts, one and five; as root, with systemd-nspawn
	.venv/bin/pytest tests/stack tests/scenarios tests/hosts --short --stack=hosts

chaos: .venv-dev ## Restarts, kills, outages and overload under load, and the table of what clients saw; ten minutes
	.venv/bin/pytest tests/scenarios tests/chaos --data=postgresql
