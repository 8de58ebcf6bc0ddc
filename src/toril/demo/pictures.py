"""What is done with a picture, as functions of its bytes: shrink it, check it, name it.

Never here: jobs, files and cards.
"""

import hashlib
import io
import struct
from collections.abc import Iterable

from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

FORMATS = ("JPEG", "PNG", "WEBP")
LONGEST_SIDE = 1280
QUALITY = 80
MAX_BYTES = 25_000_000
MAX_PIXELS = 60_000_000

# What Pillow raises for EXIF data that is damaged.
_BAD_EXIF = (SyntaxError, ValueError, KeyError, OSError, struct.error)


class PictureRefused(ValueError):
    """A picture that no card may have, and why; looking at it again changes nothing."""


def optimize(data: bytes) -> bytes:
    """Shrink a picture to what a card shows: at most 1280 pixels a side, as WebP.

    What makes it no smaller is not kept, so the result is never larger than the original.

    Raises   Refused: it is no picture. OSError: it is incomplete or damaged.
    """
    with _open(data) as picture:
        picture.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
        upright = ImageOps.exif_transpose(picture)
        colours = "RGBA" if upright.has_transparency_data else "RGB"
        small = io.BytesIO()
        upright.convert(colours).save(small, "WEBP", quality=QUALITY)
    return min(small.getvalue(), data, key=len)


def check_term(data: bytes) -> None:
    """Check that a picture can illustrate a card: its format, its bytes and its pixels.

    Raises   Refused.
    """
    if len(data) > MAX_BYTES:
        raise PictureRefused(f"it has {len(data):,} bytes, {MAX_BYTES:,} are allowed")
    with _open(data) as picture:
        pixels = picture.width * picture.height
    if pixels > MAX_PIXELS:
        raise PictureRefused(f"it has {pixels:,} pixels, {MAX_PIXELS:,} are allowed")


def check_policy(data: bytes) -> None:
    """Check that a photograph does not tell where it was taken.

    Raises   Refused.
    """
    with _open(data) as picture:
        try:
            location = picture.getexif().get_ifd(ExifTags.IFD.GPSInfo)
        except _BAD_EXIF as error:
            raise PictureRefused(
                "its EXIF data cannot be read, so it may tell a location"
            ) from error
    if ExifTags.GPS.GPSLatitude in location:
        raise PictureRefused(f"its EXIF data tells where it was taken{_place(location)}")


def content_name(data: bytes) -> str:
    """Name a picture by its content: the same bytes always have the same name.

    Raises   Refused: it is no picture.
    """
    with _open(data) as picture:
        suffix = (picture.format or "").lower()
    return f"{hashlib.sha256(data).hexdigest()}.{suffix}"


def _open(data: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError as error:
        raise PictureRefused(f"it is no picture that begins as {', '.join(FORMATS)} do") from error
    except Image.DecompressionBombError as error:
        raise PictureRefused(f"it has far more pixels than the {MAX_PIXELS:,} allowed") from error


def _place(location: dict[int, object]) -> str:
    """Return latitude and longitude in degrees, as far as they can be read."""
    tags = ExifTags.GPS
    try:
        north = _degrees(location[tags.GPSLatitude], location.get(tags.GPSLatitudeRef) == "S")
        east = _degrees(location[tags.GPSLongitude], location.get(tags.GPSLongitudeRef) == "W")
    except (KeyError, TypeError, ValueError):
        return ""
    return f" ({north:.4f}, {east:.4f})"


def _degrees(parts: object, negative: bool) -> float:
    if not isinstance(parts, Iterable):
        raise TypeError("an angle is degrees, minutes and seconds")
    degrees, minutes, seconds = (float(part) for part in parts)  # pyright: ignore[reportUnknownVariableType,reportUnknownArgumentType]  # checked by float
    angle = degrees + minutes / 60 + seconds / 3600
    return -angle if negative else angle
