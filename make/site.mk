##@ The site
manage: ## Run Django's manage.py with the stack's settings (ARGS="changepassword admin"; INVENTORY=…)
	@$(DEPLOY) manage --inventory "$(INVENTORY)"

lint-code: lint-site
lint-site: .venv-dev
	.venv/bin/djlint --quiet --lint django_site
