##@ Keep up
update: .venv-update ## Merge the template's newer version into this project; look at it with git diff (VERSION=…)
	.venv/bin/copier update --trust --skip-answered $(if $(VERSION),--vcs-ref="$(VERSION)")

.venv-update:
	@$(DEPLOY) install --group update
