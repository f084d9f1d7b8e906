from config.env import read
from environs import validate

SHAPES = {"PICTURES_PER_USER": "a whole number from 0"}

with read(SHAPES) as env:
    PICTURES_PER_USER = env.int("PICTURES_PER_USER", 100, validate=validate.Range(0))
