"""Shrinking, checking and naming pictures, as functions of their bytes."""

import hashlib

import pytest
from PIL import ExifTags, Image

from toril.demo import pictures
from toril.demo.pictures import PictureRefused, check_policy, check_term, content_name, optimize

from .photographs import decoded, encoded, picture, somewhere


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_a_picture_becomes_a_smaller_webp(format: str) -> None:
    original = encoded(picture(), format)

    small = optimize(original)

    assert len(small) < len(original)
    assert (decoded(small).format, decoded(small).size) == ("WEBP", (320, 240))


def test_its_longest_side_becomes_1280_pixels() -> None:
    assert decoded(optimize(encoded(picture(2000, 500)))).size == (1280, 320)


def test_what_would_grow_stays_as_it_is() -> None:
    flat = encoded(Image.new("P", (320, 240)), "PNG")

    assert optimize(flat) == flat


def test_a_picture_on_its_side_is_turned_upright() -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6

    assert decoded(optimize(encoded(picture(320, 240), exif=exif))).size == (240, 320)


def test_what_is_transparent_stays_so() -> None:
    assert decoded(optimize(encoded(picture(mode="RGBA"), "PNG"))).mode == "RGBA"


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "RGB"])
def test_pictures_of_every_mode_can_be_shrunk(mode: str) -> None:
    format = "JPEG" if mode in ("L", "CMYK") else "PNG"

    assert decoded(optimize(encoded(picture(1600, 1200, mode=mode), format))).size == (1280, 960)


def test_a_picture_that_was_cut_short_cannot_be_shrunk() -> None:
    whole = encoded(picture())

    with pytest.raises(OSError, match="truncated"):
        optimize(whole[: len(whole) // 2])


@pytest.mark.parametrize("what", [optimize, check_term, check_policy, content_name])
def test_what_is_no_picture_is_refused_everywhere(what: object) -> None:
    with pytest.raises(PictureRefused, match="it is no picture that begins as JPEG, PNG, WEBP do"):
        what(b"Dear diary")  # type: ignore[operator]


def test_an_ordinary_picture_passes_both_checks() -> None:
    check_term(encoded(picture()))
    check_policy(encoded(picture()))


def test_too_many_bytes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "MAX_BYTES", 1_000)
    data = encoded(picture())

    with pytest.raises(PictureRefused, match=f"it has {len(data):,} bytes, 1,000 are allowed"):
        check_term(data)


def test_too_many_pixels_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "MAX_PIXELS", 76_799)

    with pytest.raises(PictureRefused, match="it has 76,800 pixels, 76,799 are allowed"):
        check_term(encoded(picture(320, 240)))


def test_a_picture_made_to_fill_the_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1_000)

    with pytest.raises(PictureRefused, match="far more pixels"):
        check_term(encoded(picture(320, 240)))


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_a_photograph_that_tells_a_place_is_refused(format: str) -> None:
    with pytest.raises(PictureRefused) as refusal:
        check_policy(encoded(picture(), format, somewhere()))

    assert str(refusal.value) == ("its EXIF data tells where it was taken (10.5000, 106.7600)")


def test_south_is_negative() -> None:
    with pytest.raises(PictureRefused, match=r"\(-10\.5000, 106\.7600\)"):
        check_policy(encoded(picture(), exif=somewhere(south=True)))


def test_a_place_that_cannot_be_read_is_refused_without_it() -> None:
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitude] = 10.0

    with pytest.raises(PictureRefused) as refusal:
        check_policy(encoded(picture(), exif=exif))

    assert str(refusal.value) == "its EXIF data tells where it was taken"


def test_exif_without_a_place_passes() -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6

    check_policy(encoded(picture(), exif=exif))


def test_the_small_picture_tells_no_place() -> None:
    check_policy(optimize(encoded(picture(), exif=somewhere())))


def test_a_name_is_the_hash_of_the_content() -> None:
    data = encoded(picture(), "PNG")

    assert content_name(data) == f"{hashlib.sha256(data).hexdigest()}.png"
