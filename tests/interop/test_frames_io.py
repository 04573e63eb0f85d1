"""Frames of files that Pillow, OpenCV and SimpleITK write or come from real scanners: the library
must give the pixels and pixel sizes that these see."""

import os
import subprocess

import cv2
import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image
from pictures import JPEG_COLOR, JPEG_GRAY, colors, only, same, scene

GRAY, RGB = scene(), colors()
ALPHA = scene(seed=2)
PNGS = {
    "gray": Image.fromarray(GRAY),
    "bits": Image.fromarray(GRAY > 100),
    "palette": Image.fromarray(RGB).quantize(13),
    "rgb": Image.fromarray(RGB),
    "rgba": Image.fromarray(np.dstack([RGB, ALPHA])),
}


@pytest.mark.parametrize("kind", PNGS)
def test_png(read, tmp_path, kind):
    path = tmp_path / "a.png"
    PNGS[kind].save(path, dpi=(300, 300))
    found, spacing = only(read(path))
    mode = {"bits": "L", "palette": "RGB"}.get(kind, PNGS[kind].mode)
    same(found, np.asarray(PNGS[kind].convert(mode)))
    assert spacing is None


@pytest.mark.parametrize("bits", [2, 4])
def test_png_of_few_bits(read, tmp_path, bits):
    path = tmp_path / "a.png"
    picture = Image.fromarray(GRAY >> (8 - bits), "P")
    levels = np.arange(1 << bits) * (255 // ((1 << bits) - 1))
    picture.putpalette(np.repeat(levels.astype("u1"), 3).tobytes())
    picture.save(path, bits=bits)
    same(only(read(path))[0], np.asarray(picture.convert("RGB")))


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_png_of_16_bits(read, tmp_path, channels):
    path = tmp_path / "a.png"
    frame = np.random.default_rng(1).integers(0, 65536, (17, 23, channels)).astype("u2")
    frame = frame[..., 0] if channels == 1 else frame
    swapped = frame if channels == 1 else np.dstack([frame[..., 2::-1], frame[..., 3:]])
    cv2.imwrite(str(path), swapped)
    same(only(read(path))[0], frame)


def test_gray_with_opacity(read, tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(np.dstack([GRAY, ALPHA]), "LA").save(path)
    same(only(read(path))[0], np.dstack([GRAY, GRAY, GRAY, ALPHA]))
    Image.fromarray(np.dstack([GRAY, np.full_like(GRAY, 255)]), "LA").save(path)
    same(only(read(path))[0], GRAY)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}], ids=str)
@pytest.mark.parametrize("name", ["gray", "rgb"])
def test_jpeg(read, tmp_path, name, options):
    path = tmp_path / "a.jpg"
    PNGS[name].save(path, quality=92, dpi=(300, 300), **options)
    found, spacing = only(read(path))
    same(found, np.asarray(Image.open(path)), JPEG_GRAY if name == "gray" else JPEG_COLOR)
    assert spacing is None


@pytest.mark.parametrize("ending", ["jpg", "png"])
@pytest.mark.parametrize("code", range(1, 9))
def test_exif_orientation_is_opencvs(read, tmp_path, code, ending):
    path = tmp_path / f"a.{ending}"
    exif = Image.Exif()
    exif[274] = code
    PNGS["gray"].save(path, quality=92, exif=exif)
    same(only(read(path))[0], cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), JPEG_GRAY)


def test_a_name_without_ending(read, tmp_path):
    for name in ["PNG", "JPEG"]:
        path = tmp_path / name
        PNGS["gray"].save(path, name)
        same(only(read(path))[0], GRAY, 3)


def test_a_cut_picture_is_no_picture(intraop, tmp_path):
    for name in ["a.png", "a.jpg"]:
        path = tmp_path / name
        PNGS["rgb"].save(path)
        whole = path.read_bytes()
        for part in [0.1, 0.5, 0.9, 0.98]:
            path.write_bytes(whole[: int(part * len(whole))])
            result = intraop.run("info", path)
            assert result.returncode == 2, f"{part} of {name}: {result.stdout}"
            assert len(result.stderr.splitlines()) == 1 and str(path) in result.stderr


# MetaImage


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("ending", ["mha", "mhd"])
@pytest.mark.parametrize("dtype", ["u1", "u2", "i2", "f4", "f8", "i4"])
def test_metaimage_sequences(read, tmp_path, dtype, ending, compressed):
    path = tmp_path / f"a.{ending}"
    values = (np.random.default_rng(2).random((5, 11, 13)) * 200 - (dtype[0] != "u") * 99).astype(dtype)
    image = sitk.GetImageFromArray(values)
    image.SetSpacing((0.2, 0.3, 1))
    sitk.WriteImage(image, str(path), compressed)
    frames = read(path)
    assert len(frames) == 5
    for (found, spacing), expected in zip(frames, values):
        same(found, expected if dtype in ("u1", "u2") else expected.astype("f4"))
        assert spacing == pytest.approx([0.2, 0.3])


def test_metaimage_of_one_frame_and_of_colors(read, tmp_path):
    path = tmp_path / "a.mha"
    sitk.WriteImage(sitk.GetImageFromArray(GRAY), str(path))
    found, spacing = only(read(path))
    same(found, GRAY)
    assert spacing is None, "1 1 says nothing"
    sitk.WriteImage(sitk.GetImageFromArray(RGB, isVector=True), str(path), True)
    same(only(read(path))[0], RGB)


TO_MF = {
    "MF": lambda a: a,
    "MFA": lambda a: a,
    "UF": lambda a: a[:, ::-1],
    "MN": lambda a: a[::-1],
    "UN": lambda a: a[::-1, ::-1],
    # Columns lead away from the transducer, rows along it.
    "FM": lambda a: a.T,
    "FU": lambda a: a.T[:, ::-1],
    "NM": lambda a: a.T[::-1],
    "NU": lambda a: a.T[::-1, ::-1],
}


@pytest.mark.parametrize("orientation", TO_MF)
def test_orientation_of_plus(read, tmp_path, orientation):
    path = tmp_path / "a.mha"
    header = (
        "ObjectType = Image\nNDims = 3\nDimSize = 54 41 1\nElementSpacing = 0.2 0.3 1\n"
        f"UltrasoundImageOrientation = {orientation}\nElementType = MET_UCHAR\nElementDataFile = LOCAL\n"
    )
    path.write_bytes(header.encode() + GRAY.tobytes())
    found, spacing = only(read(path))
    same(found, TO_MF[orientation](GRAY))
    assert spacing == ([0.2, 0.3] if orientation[0] in "MU" else [0.3, 0.2])


def test_plus_sequences(read, data):
    if not data:
        pytest.skip("data not present")
    files = sorted((data / "us_sequences").glob("*.igs.mha"))
    assert files
    for path in files:
        theirs = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
        program = os.environ["INTRAOP_FRAME_READER"]
        out = subprocess.run([program, path, os.devnull], capture_output=True, text=True)
        assert out.returncode == 0, out.stderr
        assert len(out.stdout.splitlines()) == len(theirs)


def test_plus_pixels(data, tmp_path, read):
    if not data:
        pytest.skip("data not present")
    source = data / "us_sequences/SegmentationTest_BKMedical_RandomStepperMotionData2_Trimmed.igs.mha"
    path = tmp_path / "a.igs.mha"
    path.symlink_to(source)
    theirs = sitk.GetArrayFromImage(sitk.ReadImage(str(source)))
    for (found, spacing), expected in zip(read(path), theirs, strict=True):
        same(found, expected)
        assert spacing is None


def test_real_pictures(data, tmp_path, read):
    if not data:
        pytest.skip("data not present")
    pictures = sorted((data / "fetal_head/images").glob("*"))[:2]
    pictures += sorted((data / "tongue_us/labeled-data").glob("*/*.png"))[:2]
    pictures += sorted((data / "fundus").rglob("*.jpg"))[:1]
    assert len(pictures) > 3
    for source in pictures:
        path = tmp_path / source.name
        path.symlink_to(source)
        theirs = np.asarray(Image.open(source))
        same(only(read(path))[0], theirs, 0 if source.suffix == ".png" else 12)
