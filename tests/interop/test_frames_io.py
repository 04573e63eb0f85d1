"""Frames of files that Pillow, OpenCV, SimpleITK and pydicom write or come from real scanners: the
library must give the pixels and pixel sizes that these see."""

import json
import os
import subprocess

import cv2
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import apply_color_lut, convert_color_space
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
    UltrasoundMultiFrameImageStorage,
    generate_uid,
)

# The decoders' inverse cosine transforms and their interpolation of colours round differently.
JPEG_GRAY, JPEG_COLOUR = 2, 6


@pytest.fixture(scope="module")
def read():
    program = os.environ.get("INTRAOP_FRAME_READER")
    assert program, "set INTRAOP_FRAME_READER to the example frame_reader"
    program = os.path.abspath(program)

    def read(path):
        out = f"{path}.samples"
        run = subprocess.run([program, path, out], capture_output=True, text=True, timeout=60)
        assert run.returncode == 0, run.stderr
        samples, frames = open(out, "rb").read(), []
        for facts in map(json.loads, run.stdout.splitlines()):
            dtype, shape = np.dtype(facts["dtype"]), facts["shape"]
            count = int(np.prod(shape)) * dtype.itemsize
            frame = np.frombuffer(samples[:count], dtype).reshape(shape)
            frames.append((frame[..., 0] if shape[2] == 1 else frame, facts["spacing"]))
            samples = samples[count:]
        assert not samples
        return frames

    return read


def scene(height=41, width=54, seed=0):
    """Smooth, so that lossy coding keeps it, with a corner that no flip leaves in place."""
    y, x = np.mgrid[:height, :width]
    gray = (np.sin(x / 7 + seed) + np.cos(y / 9) + 2) * 60
    gray[: height // 4, : width // 3] = 220
    return cv2.GaussianBlur(gray, (0, 0), 1.5).astype("u1")


def colours(**size):
    gray = scene(**size)
    return np.stack([gray, gray[::-1], 255 - gray], -1)


def only(frames):
    [(frame, spacing)] = frames
    return frame, spacing


def same(found, expected, within=0):
    assert found.dtype == expected.dtype and found.shape == expected.shape
    assert np.abs(found.astype("f8") - expected.astype("f8")).max() <= within


GRAY, RGB = scene(), colours()
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
    same(found, np.asarray(Image.open(path)), JPEG_GRAY if name == "gray" else JPEG_COLOUR)
    assert spacing is None


@pytest.mark.parametrize("code", range(1, 9))
def test_exif_orientation_is_opencvs(read, tmp_path, code):
    path = tmp_path / "a.jpg"
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


def test_metaimage_of_one_frame_and_of_colours(read, tmp_path):
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


# DICOM


def dicom(path, frames, photometric="MONOCHROME2", syntax=ExplicitVRLittleEndian, pixels=None, **more):
    """Writes `frames` (frames, rows, columns[, 3]); `pixels` are encoded frames."""
    file = Dataset()
    file.file_meta = FileMetaDataset()
    file.file_meta.TransferSyntaxUID = syntax
    file.file_meta.MediaStorageSOPClassUID = UltrasoundMultiFrameImageStorage
    file.file_meta.MediaStorageSOPInstanceUID = file.SOPInstanceUID = generate_uid()
    file.SOPClassUID = UltrasoundMultiFrameImageStorage
    file.PatientName = "Doe^Jane"
    file.PatientID = "secret-17"
    file.Modality = "US"
    file.Rows, file.Columns = frames.shape[1:3]
    file.NumberOfFrames = len(frames)
    file.SamplesPerPixel = 3 if frames.ndim == 4 else 1
    if frames.ndim == 4:
        file.PlanarConfiguration = 0
    file.PhotometricInterpretation = photometric
    file.BitsAllocated = file.BitsStored = 8 * frames.itemsize
    file.HighBit = file.BitsStored - 1
    file.PixelRepresentation = int(frames.dtype.kind == "i")
    for name, value in more.items():
        setattr(file, name, value)
    if syntax == RLELossless:
        file.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        file.PixelData = frames.tobytes()
        file["PixelData"].VR = "OB"
        file.compress(RLELossless)
    elif pixels is not None:
        file.PixelData = encapsulate(pixels)
        file["PixelData"].is_undefined_length = True
    else:
        file.PixelData = frames.tobytes() + bytes(frames.nbytes % 2)
    if "PixelData" in file:
        file["PixelData"].VR = "OB" if frames.itemsize == 1 else "OW"
    file.save_as(path, enforce_file_format=True)
    return path


CLIP = np.stack([scene(seed=i) for i in range(3)])
COLOUR_CLIP = np.stack([colours(seed=i) for i in range(3)])
SYNTAXES = {
    "explicit": ExplicitVRLittleEndian,
    "implicit": ImplicitVRLittleEndian,
    "deflated": DeflatedExplicitVRLittleEndian,
    "rle": RLELossless,
}
syntaxes = pytest.mark.parametrize("syntax", SYNTAXES.values(), ids=SYNTAXES)


def agree(read, path, expected, within=0):
    frames = read(path)
    assert len(frames) == len(expected)
    for (found, _), frame in zip(frames, expected):
        same(found, frame, within)


@syntaxes
@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_dicom_gray(read, tmp_path, syntax, dtype):
    clip = CLIP.astype(dtype) * (1 if dtype == "u1" else 257)
    path = dicom(tmp_path / "a.dcm", clip, syntax=syntax)
    agree(read, path, clip)
    agree(read, path, pydicom.dcmread(path).pixel_array)
    path = dicom(tmp_path / "b", clip, "MONOCHROME1", syntax)
    agree(read, path, np.iinfo(dtype).max - clip)


@syntaxes
@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL"])
@pytest.mark.parametrize("planar", [0, 1])
def test_dicom_colours(read, tmp_path, syntax, photometric, planar):
    clip = COLOUR_CLIP
    stored = convert_color_space(clip, "RGB", photometric) if photometric != "RGB" else clip
    expected = clip
    if photometric != "RGB":
        expected = convert_color_space(stored, photometric, "RGB")
    if planar and syntax != RLELossless:
        bare = np.ascontiguousarray(stored.transpose(0, 3, 1, 2))
        file = dicom(tmp_path / "a.dcm", stored, photometric, syntax, PlanarConfiguration=1)
        again = pydicom.dcmread(file)
        again.PixelData = bare.tobytes()
        again["PixelData"].VR = "OB"
        again.save_as(file)
    else:
        file = dicom(tmp_path / "a.dcm", stored, photometric, syntax)
    agree(read, file, expected, 0 if photometric == "RGB" else 1)


def test_dicom_ybr_full_422_uncompressed(read, tmp_path):
    rgb = np.repeat(COLOUR_CLIP[:, :, ::2], 2, axis=2)
    ybr = convert_color_space(rgb, "RGB", "YBR_FULL")
    packed = np.stack([ybr[:, :, ::2, 0], ybr[:, :, 1::2, 0], ybr[:, :, ::2, 1], ybr[:, :, ::2, 2]], -1)
    path = dicom(tmp_path / "a.dcm", ybr, "YBR_FULL_422")
    file = pydicom.dcmread(path)
    file.PixelData = packed.tobytes()
    file["PixelData"].VR = "OB"
    file.save_as(path)
    agree(read, path, convert_color_space(ybr, "YBR_FULL", "RGB"), 1)


def jpegs(frames, folder, **options):
    streams = []
    for frame in frames:
        path = folder / "frame.jpg"
        Image.fromarray(frame).save(path, quality=92, **options)
        streams.append(path.read_bytes())
    return streams


def opened(streams, folder):
    frames = []
    for stream in streams:
        path = folder / "frame.jpg"
        path.write_bytes(stream)
        frames.append(np.asarray(Image.open(path)))
    return np.stack(frames)


def without_app0(stream):
    """Many scanners' streams have no JFIF marker."""
    assert stream[2:4] == b"\xff\xe0"
    return stream[:2] + stream[4 + int.from_bytes(stream[4:6], "big"):]


def test_dicom_jpeg(read, tmp_path):
    streams = jpegs(CLIP, tmp_path)
    path = dicom(tmp_path / "a.dcm", CLIP, syntax=JPEGBaseline8Bit, pixels=streams)
    agree(read, path, opened(streams, tmp_path), JPEG_GRAY)


@pytest.mark.parametrize("marked", [True, False], ids=["jfif", "unmarked"])
@pytest.mark.parametrize("subsampling", [0, 1])
def test_dicom_jpeg_ybr_becomes_rgb_once(read, tmp_path, marked, subsampling):
    streams = jpegs(COLOUR_CLIP, tmp_path, subsampling=subsampling)
    expected = opened(streams, tmp_path)
    if not marked:
        streams = [without_app0(s) for s in streams]
    path = dicom(tmp_path / "a.dcm", COLOUR_CLIP, "YBR_FULL_422", JPEGBaseline8Bit, streams)
    agree(read, path, expected, JPEG_COLOUR)


def test_dicom_jpeg_rgb_stays_rgb(read, tmp_path):
    # Pillow's keep_rgb stores the channels as they are, with Adobe's marker or none.
    streams = jpegs(COLOUR_CLIP, tmp_path, keep_rgb=True)
    path = dicom(tmp_path / "a.dcm", COLOUR_CLIP, "RGB", JPEGBaseline8Bit, streams)
    agree(read, path, COLOUR_CLIP, 8)


def test_dicom_jpeg_in_several_fragments(read, tmp_path):
    streams = jpegs(CLIP, tmp_path)
    path = dicom(tmp_path / "a.dcm", CLIP, syntax=JPEGBaseline8Bit, pixels=streams)
    file = pydicom.dcmread(path)
    file.PixelData = encapsulate(streams, fragments_per_frame=3)
    file["PixelData"].is_undefined_length = True
    file.save_as(path)
    agree(read, path, opened(streams, tmp_path), JPEG_GRAY)


@pytest.mark.parametrize("bits", [8, 16])
def test_dicom_palette(read, tmp_path, bits):
    table = np.random.default_rng(3).integers(0, 1 << bits, (3, 200)).astype("u2")
    data = {}
    for name, entries in zip(["Red", "Green", "Blue"], table):
        data[f"{name}PaletteColorLookupTableDescriptor"] = [200, 20, bits]
        packed = entries.astype("u1") if bits == 8 else entries
        data[f"{name}PaletteColorLookupTableData"] = packed.tobytes()
    path = dicom(tmp_path / "a.dcm", CLIP, "PALETTE COLOR", **data)
    expected = apply_color_lut(CLIP, pydicom.dcmread(path))
    agree(read, path, expected.astype("u1" if bits == 8 else "u2"))


def test_dicom_values(read, tmp_path):
    clip = (CLIP.astype("i2") - 100) * 3
    path = dicom(tmp_path / "a.dcm", clip, RescaleSlope="0.5", RescaleIntercept="-7")
    agree(read, path, (clip * 0.5 - 7).astype("f4"))
    agree(read, dicom(path, clip), clip.astype("f4"))
    # 12 bits of 16; what lies above them is not of the picture.
    clip = CLIP.astype("u2") * 16
    dirty = clip | 0xA000
    agree(read, dicom(path, dirty, BitsStored=12, HighBit=11), clip)


# Pixel sizes


def region(x=0.05, y=0.04, **more):
    item = Dataset()
    item.RegionSpatialFormat, item.RegionDataType, item.RegionFlags = 1, 1, 0
    item.RegionLocationMinX0, item.RegionLocationMinY0 = 0, 0
    item.RegionLocationMaxX1, item.RegionLocationMaxY1 = 53, 40
    item.PhysicalUnitsXDirection = item.PhysicalUnitsYDirection = 3
    item.PhysicalDeltaX, item.PhysicalDeltaY = x, y
    for name, value in more.items():
        setattr(item, name, value)
    return item


def regions(*items, **more):
    return {"SequenceOfUltrasoundRegions": Sequence(items), **more}


DOPPLER = region(0.3, 0.3, RegionSpatialFormat=3, PhysicalUnitsXDirection=4, PhysicalUnitsYDirection=7)
SPACINGS = {
    "region": (regions(region()), [0.5, 0.4]),
    "negative delta": (regions(region(0.05, -0.04)), [0.5, 0.4]),
    "two that agree": (regions(region(), region()), [0.5, 0.4]),
    "beside doppler": (regions(DOPPLER, region()), [0.5, 0.4]),
    "region before PixelSpacing": (regions(region(), PixelSpacing=[9, 9]), [0.5, 0.4]),
    "two that differ": (regions(region(), region(0.06)), None),
    "differ, with PixelSpacing": (regions(region(), region(0.06), PixelSpacing=[0.3, 0.2]), None),
    "zero": (regions(region(0.0)), None),
    "not a number": (regions(region(float("nan"))), None),
    "infinite": (regions(region(float("inf"))), None),
    "too small": (regions(region(1e-5)), None),
    "too large": (regions(region(6.0)), None),
    "no delta": (regions(region(PhysicalDeltaX=None)), None),
    "only doppler": (regions(DOPPLER), None),
    "PixelSpacing, rows first": ({"PixelSpacing": [0.3, 0.2]}, [0.2, 0.3]),
    "PixelSpacing of 0": ({"PixelSpacing": [0, 0]}, None),
    "the detector's": ({"ImagerPixelSpacing": [0.3, 0.2]}, None),
    "nothing": ({}, None),
}


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian], ids=["ex", "im"])
@pytest.mark.parametrize("case", SPACINGS)
def test_pixel_sizes(read, intraop, tmp_path, case, syntax):
    attributes, expected = SPACINGS[case]
    path = dicom(tmp_path / "a.dcm", CLIP, syntax=syntax, **attributes)
    for _, spacing in read(path):
        assert spacing == (expected and pytest.approx(expected))
    result = intraop.run("info", path, "--json")
    assert result.returncode == 0
    assert json.loads(result.stdout)["spacing_mm"] == (expected and pytest.approx(expected))
    warned = "no pixel size" in result.stderr
    assert warned == (expected is None and case not in ("only doppler", "nothing", "the detector's"))
    assert "Doe" not in result.stderr + result.stdout and "secret" not in result.stderr + result.stdout


def test_info_of_frames(intraop, tmp_path):
    path = dicom(tmp_path / "a.dcm", COLOUR_CLIP, "RGB", **regions(region()))
    assert intraop.json("info", path) == {
        "file": str(path),
        "size": [54, 41],
        "frames": 3,
        "spacing_mm": pytest.approx([0.5, 0.4]),
        "scalar_type": "uint8",
        "colour": "rgb",
    }
    assert "3 frames of 54×41 pixels" in intraop.output("info", path)


def test_what_is_not_decoded_says_what_to_do(intraop, tmp_path):
    for syntax, name in [(JPEG2000Lossless, "JPEG 2000"), ("1.2.840.10008.1.2.4.80", "JPEG-LS"),
                         ("1.2.840.10008.1.2.4.102", "MPEG-4"), ("1.2.840.10008.1.2.4.201", "High-Throughput")]:
        path = dicom(tmp_path / "a.dcm", CLIP, syntax=pydicom.uid.UID(syntax), pixels=[b"\0\0"] * 3)
        result = intraop.run("info", path)
        assert result.returncode == 2
        assert name in result.stderr and "gdcmconv" in result.stderr and "Doe" not in result.stderr
        assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("change", [{"Rows": 0}, {"Columns": 65535, "Rows": 65535}, {"NumberOfFrames": 2**31 - 1},
                                    {"BitsAllocated": 32}, {"BitsStored": 17}, {"Rows": 400}])
@syntaxes
def test_dicom_headers_that_lie(intraop, tmp_path, change, syntax):
    path = dicom(tmp_path / "a.dcm", CLIP, syntax=syntax)
    file = pydicom.dcmread(path)
    for name, value in change.items():
        setattr(file, name, value)
    file.save_as(path)
    result = intraop.run("info", path)
    assert result.returncode == 2 and str(path) in result.stderr
    assert len([line for line in result.stderr.splitlines() if "WARN" not in line]) == 1
