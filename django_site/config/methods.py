"""Which methods a view takes."""

from collections.abc import Callable
from typing import Any, TypeVar

from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe

View = TypeVar("View", bound=Callable[..., Any])


def read_only(view: View) -> View:
    """Make a view answer 405 to everything but GET and HEAD.

    Django checks the token of a form before it runs a view, so with `require_safe` alone a POST without one gets a 403.
    """
    return csrf_exempt(require_safe(view))
