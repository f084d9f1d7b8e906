"""The pages of a site that the page /api/ links to. Empty: this project has no site."""

HOME = ""
# Where people create tokens. Without a page, use `python -m tornado_api.token`.
TOKENS = ""
