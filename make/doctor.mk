##@ Find faults
doctor: ## Find what is wrong with this machine or the stack, and how to fix it (INVENTORY=…)
	@$(DEPLOY) doctor --inventory "$(INVENTORY)"
