"""The site's pages that the page /api/ links to. A project without the site has another version of this file."""

HOME = "/"
# Where people create tokens.
TOKENS = "/accounts/tokens/"
