##@ Compare
LAB = .venv/bin/python -m lab
lab: .venv-lab ## Deploy the site in every way there is and measure them, half an hour; or one way (MODE=…, JOB=…)
	@$(if $(MODE),$(LAB) look --mode "$(MODE)" --job "$(JOB)",$(LAB) measure --rounds "$(ROUNDS)")

lab-list: .venv-lab ## List the ways: which are available here, and what the others need
	@$(LAB) list

bench: .venv-dev ## Measure the figures of docs/performance.md beside their peers; five minutes
	@.venv/bin/python -m lab.bench

REST += test-lab
test-lab: .venv-dev ## Start every mode of the lab, and test the verdicts of its report
	.venv/bin/pytest tests/lab

.venv-lab:
	@$(DEPLOY) install --group lab

# Packages without a wheel need gcc, and the headers of Python and libev.
INCLUDE = $(shell python3 -c 'import sysconfig; print(sysconfig.get_path("include"))')
.venv-dev: DEV_GROUPS = $(if $(and $(shell command -v gcc),$(wildcard $(INCLUDE)/Python.h),$(wildcard /usr/include/ev.h)),lab-built)
