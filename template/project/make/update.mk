##@ Keep up
update: ## Merge the template's newest version into this project, and show what changed (VERSION=…)
	@python3 -m make.versions update --version="$(VERSION)"
