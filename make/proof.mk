##@ Prove it
TEST += test-browser
REST := test-hosts test-native test-compose test-faults test-releases test-pages test-interrupted $(REST)
test-all: .venv-dev ## Run all tests, about an hour; each part by itself:
	@.venv/bin/python -m tests.run $(TEST) $(REST)

# The servers' configuration needs no database.
QUICK += tests/config

# What differs between targets: how services start, become ready and are reached. Their nginx has the same files.
TARGET = $(foreach test,health maintenance serving tls,$(wildcard tests/stack/test_$(test).py tests/stack/*/test_$(test).py))

test-native: .venv-dev ## Test the stack on this machine, and the commands that the documents show
	.venv/bin/pytest -n 3 --dist loadscope tests/stack tests/native tests/dev tests/docs tests/parts tests/scenarios/site

test-interrupted: .venv-dev ## Interrupt `make up` at random moments
	.venv/bin/pytest -n 3 tests/interrupted

test-browser: .venv-dev ## Use the site in Chromium, as a visitor does
	.venv/bin/pytest tests/browser --short

test-pages: .venv-dev ## Check each page in Chromium, narrow and wide, light and dark
	.venv/bin/pytest tests/browser -m long

# The tests of the stack that use the database, which is SQLite in test-native.
DATA = $(filter %/test_health.py,$(TARGET)) tests/stack/test_metrics.py $(filter-out %/test_cache.py,$(wildcard tests/stack/*/polls/test_*.py))

test-faults: .venv-dev ## Release, restart, kill and break the stack under load, on PostgreSQL with Redis
	.venv/bin/pytest $(DATA) tests/scenarios tests/chaos --short --data=postgresql

test-compose: .venv-dev ## Test the stack in containers, if there is a Docker engine; as root
	.venv/bin/pytest $(TARGET) tests/compose --ignore=tests/compose/chaos --stack=compose

test-releases: .venv-dev ## Release, restart, kill and edit the stack in containers, under load; as root
	.venv/bin/pytest tests/dev tests/parts tests/scenarios tests/compose/chaos --short --stack=compose

test-hosts: .venv-dev ## Boot, provision and deploy to hosts, one and five; as root, with systemd-nspawn
	.venv/bin/pytest $(TARGET) tests/hosts tests/scenarios --short --stack=hosts

chaos: .venv-dev ## Restarts, kills, outages and overload under load, and the table of what clients saw; ten minutes
	.venv/bin/pytest tests/scenarios tests/chaos --data=postgresql

lint-code: lint-prose
lint-prose:
	python3 -m tests.docs.prose
