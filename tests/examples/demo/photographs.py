"""Small real photographs, made where a test needs them."""

import io
import random

from PIL import ExifTags, Image


def picture(width: int = 320, height: int = 240, *, mode: str = "RGB") -> Image.Image:
    """Colours that run into one another, with the grain of a sensor: nothing flat to compress."""
    grain = Image.frombytes("L", (width, height), random.Random(7).randbytes(width * height))
    slope = Image.linear_gradient("L").resize((width, height))
    bands = (slope, Image.blend(slope, grain, 0.2), slope.transpose(Image.Transpose.ROTATE_180))
    if mode == "RGBA":
        return Image.merge("RGBA", (*bands, slope))
    return Image.merge("RGB", bands).convert(mode)


def encoded(image: Image.Image, format: str = "JPEG", exif: Image.Exif | None = None) -> bytes:
    data = io.BytesIO()
    # As bytes: an Exif that holds nothing but a place counts as false, and would be left out.
    written = b"" if exif is None else exif.tobytes()
    image.save(data, format, quality=95, exif=written)
    return data.getvalue()


def decoded(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def somewhere(south: bool = False) -> Image.Exif:
    """What a telephone writes into a photograph: where it was."""
    exif = Image.Exif()
    tags = ExifTags.GPS
    place: dict[int, object] = {
        tags.GPSLatitudeRef: "S" if south else "N",
        tags.GPSLatitude: (10.0, 30.0, 0.0),
        tags.GPSLongitudeRef: "E",
        tags.GPSLongitude: (106.0, 45.0, 36.0),
    }
    exif.get_ifd(ExifTags.IFD.GPSInfo).update(place)
    return exif
