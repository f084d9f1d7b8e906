import io
import resource
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from accounts.models import User
from django.conf import settings as site_settings
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from PIL import Image
from polls.models import Question
from polls.pictures import MAX_MB

WIDE = (640, 400)


def encoded(image: Image.Image, format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def ask(member: Client, content: bytes, name: str = "cat.png", kind: str = "image/png") -> Any:
    upload = SimpleUploadedFile(name, content, content_type=kind)
    return member.post("/questions/new/", {"text": "Which?", "choices": "one\ntwo", "picture": upload})


def stored() -> Path:
    return Path(Question.objects.get().picture.path)


@pytest.mark.parametrize(
    ("format", "mode"),
    [("JPEG", "RGB"), ("JPEG", "CMYK"), ("PNG", "RGBA"), ("PNG", "P"), ("PNG", "I;16"), ("WEBP", "RGB"), ("GIF", "P")],
)
def test_a_picture_is_redrawn(member: Client, format: str, mode: str) -> None:
    original = encoded(Image.new(mode, WIDE), format)
    assert ask(member, original, name="../../my cat.php").status_code == 302
    with Image.open(stored()) as picture:
        assert (picture.format, picture.size) == ("WEBP", WIDE)
    assert stored().parent == site_settings.MEDIA_ROOT / "pictures"
    assert len(stored().stem) == 32
    assert "cat" not in stored().name
    page = member.get(f"/questions/{Question.objects.get().pk}/").content.decode()
    assert f'src="/media/pictures/{stored().name}"' in page


def test_a_picture_as_large_as_a_camera_makes_is_made_smaller(member: Client) -> None:
    ask(member, encoded(Image.new("RGB", (8000, 6000)), "JPEG"))
    with Image.open(stored()) as picture:
        assert picture.size == (1600, 1200)


def test_a_picture_is_turned_upright_and_its_metadata_dropped(member: Client) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # a phone held upright: turn it by 90°
    exif[0x010E] = "where I live"
    image = Image.new("RGB", WIDE, "white")
    image.paste("black", (0, 0, 320, 400))  # the left half, which is the upper half when upright
    ask(member, encoded(image, "JPEG", exif=exif))
    with Image.open(stored()) as picture:
        assert picture.size == (400, 640)
        assert not picture.getexif()
        assert sum(picture.convert("L").getpixel((200, 100)) < 32 for _ in (1,))  # type: ignore[operator]
    assert b"where I live" not in stored().read_bytes()


def with_exif(exif: bytes) -> bytes:
    """A picture, white above black, with this block of EXIF data."""
    image = Image.new("RGB", WIDE, "white")
    image.paste("black", (0, 200, 640, 400))
    jpeg = encoded(image, "JPEG")
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 8) + b"Exif\0\0" + exif + jpeg[2:]


# Orientation: upside down. XResolution: -5/1 as SRATIONAL.
NEGATIVE = struct.pack("<2sHIH", b"II", 42, 8, 2) + struct.pack("<HHII", 0x0112, 3, 1, 3)
NEGATIVE += struct.pack("<HHIII", 0x011A, 10, 1, 38, 0) + struct.pack("<ii", -5, 1)


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's
@pytest.mark.parametrize(
    ("exif", "upper"), [(NEGATIVE, 0), (b"II*", 255), (b"nonsense", 255), (b"", 255), (NEGATIVE[:20], 255)]
)
def test_exif_data_with_a_fault_does_not_matter(member: Client, exif: bytes, upper: int) -> None:
    assert ask(member, with_exif(exif), "cat.jpg", "image/jpeg").status_code == 302
    with Image.open(stored()) as picture:
        assert abs(picture.convert("L").getpixel((320, 100)) - upper) < 32  # type: ignore[operator]


@pytest.mark.parametrize("format", ["PNG", "WEBP", "JPEG"])
def test_exif_data_that_is_none_does_not_matter(member: Client, format: str) -> None:
    assert ask(member, encoded(Image.new("RGB", WIDE), format, exif=b"Exif\0\0nonsense")).status_code == 302


def test_a_picture_of_16_bits_keeps_its_greys(member: Client) -> None:
    gradient = Image.frombytes("I;16", (256, 16), b"".join(struct.pack("<H", 257 * x) for x in range(256)) * 16)
    ask(member, encoded(gradient, "PNG"))
    with Image.open(stored()) as picture:
        greys = [picture.convert("L").getpixel((x, 8)) for x in (0, 64, 128, 192, 255)]
    assert all(abs(grey - x) < 6 for grey, x in zip(greys, (0, 64, 128, 192, 255), strict=True)), greys  # type: ignore[operator]


def test_a_user_stores_so_many_pictures(member: Client, user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("polls.forms.PICTURES_PER_USER", 1)
    assert ask(member, PNG).status_code == 302
    answer = ask(member, PNG)
    assert answer.status_code == 507
    assert "which is the limit" in answer.content.decode()
    Question.objects.create(text="Another user's?", picture="pictures/x.webp")
    Question.objects.update(picture="")
    assert ask(member, PNG).status_code == 302


def test_an_animation_becomes_its_first_frame(member: Client) -> None:
    frames = [Image.new("RGB", WIDE, colour) for colour in ("red", "blue")]
    ask(member, encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    with Image.open(stored()) as picture:
        assert getattr(picture, "n_frames", 1) == 1
        assert picture.convert("RGB").getpixel((5, 5))[0] > 200  # type: ignore[index]


def bomb() -> bytes:
    """A PNG of a few hundred bytes that claims 50,000 × 50,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


def large_jpeg(side: int, scans: int = 0) -> bytes:
    """A progressive JPEG of a few kB that claims so many pixels on each side, with so many scans more."""
    jpeg = encoded(Image.new("CMYK", (64, 64)), "JPEG", progressive=True)
    size, last, end = jpeg.index(b"\xff\xc2") + 5, jpeg.rindex(b"\xff\xda"), len(jpeg) - 2
    jpeg = jpeg[:end] + jpeg[last:end] * scans + jpeg[end:]
    return jpeg[:size] + struct.pack(">HH", side, side) + jpeg[size + 4 :]


PNG = encoded(Image.effect_noise(WIDE, 50), "PNG")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"not a picture", "not a JPEG, PNG, WebP or GIF"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>", "not a JPEG, PNG, WebP or GIF"),
        (encoded(Image.new("RGB", WIDE), "BMP"), "not a JPEG, PNG, WebP or GIF"),
        (encoded(Image.new("RGB", WIDE), "TIFF"), "not a JPEG, PNG, WebP or GIF"),
        (PNG[: len(PNG) // 2], "not a JPEG, PNG, WebP or GIF"),
        (b"", "empty"),
        (PNG + bytes(MAX_MB * 1024 * 1024), f"larger than {MAX_MB} MB"),
        (encoded(Image.new("L", (6000, 4000)), "PNG"), "more than 16 megapixels"),
        (large_jpeg(8_000), "more than 50 megapixels"),
        (large_jpeg(64, scans=50), "not a JPEG, PNG, WebP or GIF"),
        (bomb(), "JPEG, PNG, WebP or GIF"),
    ],
    ids=["text", "svg", "bmp", "tiff", "half", "empty", "large", "24 megapixels", "memory", "time", "bomb"],
)
def test_a_file_that_is_no_picture_is_shown_at_its_field(member: Client, content: bytes, message: str) -> None:
    page = ask(member, content).content.decode()
    assert message in page.partition('id="id_picture_error"')[2].partition("</ul>")[0]
    assert not Question.objects.exists()


def test_a_picture_is_deleted_with_its_question(member: Client, django_capture_on_commit_callbacks: Any) -> None:
    ask(member, PNG)
    path = stored()
    assert path.exists()
    with django_capture_on_commit_callbacks(execute=True):
        Question.objects.all().delete()
    assert not path.exists()


@contextmanager
def no_room() -> Iterator[None]:
    """In the block the kernel takes the first 20 kB of a file, and no more: a disk that is full, for root too."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def files() -> list[Path]:
    return list((site_settings.MEDIA_ROOT / "pictures").glob("*"))


def test_a_full_disk_is_shown_at_the_picture_field(member: Client, caplog: pytest.LogCaptureFixture) -> None:
    ask(member, PNG)
    assert stored().stat().st_size > 20_000, "there is something to cut off"
    Question.objects.all().delete()
    before = files()
    with no_room():
        answer = ask(member, PNG)
    assert answer.status_code == 507
    page = answer.content.decode()
    assert "has no room for the picture" in page.partition('id="id_picture_error"')[2].partition("</ul>")[0]
    assert 'value="Which?"' in page
    assert "one\ntwo</textarea>" in page
    assert not Question.objects.exists()
    assert files() == before
    assert "picture not stored: [Errno 27] File too large" in caplog.text
    assert ask(member, PNG).status_code == 302


def test_no_directory_for_pictures(member: Client, settings: Any, tmp_path: Path) -> None:
    settings.MEDIA_ROOT = tmp_path
    (tmp_path / "pictures").touch()
    assert ask(member, PNG).status_code == 507
    assert not Question.objects.exists()
