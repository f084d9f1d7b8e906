"""The project's own Django apps, in the order of INSTALLED_APPS, each with the prefix of its URLs."""

APPS = {
    "polls": "",
    "tokens": "accounts/tokens/",
    "accounts": "accounts/",
    "stack": "stack/",
}
