"""Who may see the stack page."""

from config.env import read
from environs import validate

SHAPES = {"STACK_PAGE": "staff or everybody"}

with read(SHAPES) as env:
    OPEN = env.str("STACK_PAGE", "staff", validate=validate.OneOf(["staff", "everybody"])) == "everybody"
