"""Which cards the demo makes: one for each photograph, and two that must not come through.

Never here: making them.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import ExifTags, Image

from . import pictures

BROKEN, LOCATED = "broken.jpg", "holiday.jpg"
_SOMEWHERE: dict[int, object] = {
    ExifTags.GPS.GPSLatitudeRef: "N",
    ExifTags.GPS.GPSLatitude: (48.0, 51.0, 30.24),
    ExifTags.GPS.GPSLongitudeRef: "E",
    ExifTags.GPS.GPSLongitude: (2.0, 17.0, 40.2),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CardPlan:
    """A picture to make a card of, and the state in which that card must end."""

    file: Path
    expected: str


def make_plans(photos: Sequence[Path], folder: Path) -> list[CardPlan]:
    """Plan a card for each photograph, and two among them whose pictures are made in `folder`.

    One is a photograph that was cut short, the other tells where it was taken.
    """
    picture = _first_sound(photos)
    broken, located = folder / BROKEN, folder / LOCATED
    broken.write_bytes(_cut_short(picture))
    located.write_bytes(_with_location(picture))
    plans = [CardPlan(file=photo, expected=_expected(photo.read_bytes())) for photo in photos]
    plans.insert(len(plans) // 3, CardPlan(file=broken, expected="failed"))
    plans.insert(2 * len(plans) // 3, CardPlan(file=located, expected="refused"))
    return plans


def _expected(data: bytes) -> str:
    try:
        pictures.check_term(data)
        pictures.check_policy(data)
    except pictures.PictureRefused:
        return "refused"
    return "uploaded"


def _first_sound(photos: Sequence[Path]) -> Image.Image:
    """Decode the first photograph that can be decoded; where none can, paint something."""
    for photo in photos:
        try:
            with Image.open(photo, formats=pictures.FORMATS) as picture:
                picture.thumbnail((pictures.LONGEST_SIDE, pictures.LONGEST_SIDE))
                return picture.convert("RGB")
        except (OSError, SyntaxError, Image.DecompressionBombError):
            continue
    return Image.linear_gradient("L").convert("RGB")


def _cut_short(picture: Image.Image) -> bytes:
    whole = _jpeg(picture, Image.Exif())
    return whole[: len(whole) * 3 // 5]


def _with_location(picture: Image.Image) -> bytes:
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.GPSInfo).update(_SOMEWHERE)
    return _jpeg(picture, exif)


def _jpeg(picture: Image.Image, exif: Image.Exif) -> bytes:
    jpeg = io.BytesIO()
    picture.save(jpeg, "JPEG", quality=92, exif=exif)
    return jpeg.getvalue()
