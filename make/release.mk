##@ Release
release: ## Date the changelog, set the version, commit and tag (VERSION=1.2.3)
	@python3 -m make.versions release --version="$(VERSION)"
