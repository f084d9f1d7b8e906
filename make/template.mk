##@ Make it yours
TEMPLATE = .venv/bin/python -m template
new: .venv-template ## Start your own project from this one; prompts for anything you leave out (NAME=, FOLDER=, DOMAIN=, APPS=, SAMPLE=, PROOF=)
	@$(TEMPLATE) new

check-rename: .venv-template ## Check that nothing in a project has this one's name (FOLDER=…)
	@$(TEMPLATE) check-rename

REST += test-template
test-template: .venv-dev ## Make, lint, test, start and update projects
	.venv/bin/pytest tests/template --short

.venv-template:
	@$(DEPLOY) install --group template
