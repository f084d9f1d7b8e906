"""A picture to upload."""

import io

from PIL import Image

buffer = io.BytesIO()
Image.new("RGB", (640, 400), "teal").save(buffer, "PNG")
PNG = buffer.getvalue()
