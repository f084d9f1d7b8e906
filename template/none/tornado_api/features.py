"""What this app serves besides its document and its health checks."""

from .application import Feature
from .openapi import About

ABOUT = About("Tandem", "What this API is for.", "/api/")
FEATURES: list[Feature] = []
