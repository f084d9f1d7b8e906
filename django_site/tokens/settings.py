"""The keys of the api's tokens. The site signs with the first one, and the api accepts all of them."""

from config.env import ValidationError, read

SHAPES = {
    "TOKEN_KEYS": "id:secret,id:secret; ids differ, each secret has at least 32 characters, the first one signs",
}


def parse_keys(value: str) -> dict[str, str]:
    pairs = [pair.partition(":")[::2] for pair in value.split(",")]
    if len(dict(pairs)) < len(pairs) or not all(name and len(secret) >= 32 for name, secret in pairs):
        raise ValidationError(SHAPES["TOKEN_KEYS"])
    return dict(pairs)


with read(SHAPES) as env:
    env.add_parser("token_keys", parse_keys)
    TOKEN_KEYS: dict[str, str] = env.token_keys("TOKEN_KEYS")
