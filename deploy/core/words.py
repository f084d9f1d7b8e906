"""Fill in the words in capitals and braces, for example ${CORES}, of a configuration file."""

import string
from collections.abc import Mapping


class Words(string.Template):
    """Only ${WORDS} are filled in. nginx's own $variables stay as they are."""

    pattern = r"\$\{(?P<braced>[A-Z_]+)\}|(?P<escaped>(?!))|(?P<named>(?!))|(?P<invalid>(?!))"  # type: ignore[assignment]


def fill_in(text: str, words: Mapping[str, str]) -> str:
    """Raises KeyError with the name of a word that is not in `words`."""
    return Words(text).substitute(words)
