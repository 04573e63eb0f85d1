"""DICOM that pydicom writes: the library must give the pixels that pydicom sees, and a pixel size
only where the file states one to trust."""

import json

import numpy as np
import pydicom
import pytest
from PIL import Image
from pictures import JPEG_COLOR, JPEG_GRAY, agree, colors, scene
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
COLOR_CLIP = np.stack([colors(seed=i) for i in range(3)])
SYNTAXES = {
    "explicit": ExplicitVRLittleEndian,
    "implicit": ImplicitVRLittleEndian,
    "deflated": DeflatedExplicitVRLittleEndian,
    "rle": RLELossless,
}
syntaxes = pytest.mark.parametrize("syntax", SYNTAXES.values(), ids=SYNTAXES)


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
def test_dicom_colors(read, tmp_path, syntax, photometric, planar):
    clip = COLOR_CLIP
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
    rgb = np.repeat(COLOR_CLIP[:, :, ::2], 2, axis=2)
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
    streams = jpegs(COLOR_CLIP, tmp_path, subsampling=subsampling)
    expected = opened(streams, tmp_path)
    if not marked:
        streams = [without_app0(s) for s in streams]
    path = dicom(tmp_path / "a.dcm", COLOR_CLIP, "YBR_FULL_422", JPEGBaseline8Bit, streams)
    agree(read, path, expected, JPEG_COLOR)


def test_dicom_jpeg_rgb_stays_rgb(read, tmp_path):
    # Pillow's keep_rgb stores the channels as they are, with Adobe's marker or none.
    streams = jpegs(COLOR_CLIP, tmp_path, keep_rgb=True)
    path = dicom(tmp_path / "a.dcm", COLOR_CLIP, "RGB", JPEGBaseline8Bit, streams)
    agree(read, path, COLOR_CLIP, 8)


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
    "the detector's copied": ({"PixelSpacing": [0.3, 0.2], "ImagerPixelSpacing": [0.3, 0.2]}, None),
    "calibrated": ({"PixelSpacing": [0.3, 0.2], "ImagerPixelSpacing": [0.3, 0.2],
                    "PixelSpacingCalibrationType": "FIDUCIAL"}, [0.2, 0.3]),
    "up to the edge": (regions(region(RegionLocationMaxX1=54, RegionLocationMaxY1=41)), [0.5, 0.4]),
    "of a wider frame": (regions(region(RegionLocationMaxX1=55)), None),
    "of a higher frame": (regions(region(RegionLocationMaxY1=42)), None),
    "outside": (regions(region(RegionLocationMinX0=60, RegionLocationMaxX1=90)), None),
    "beside other units": (regions(region(), region(PhysicalUnitsXDirection=0, PhysicalUnitsYDirection=0)), None),
    "doppler and PixelSpacing": (regions(DOPPLER, PixelSpacing=[9, 9]), None),
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
    path = dicom(tmp_path / "a.dcm", COLOR_CLIP, "RGB", **regions(region()))
    assert intraop.json("info", path) == {
        "file": str(path),
        "size": [54, 41],
        "frames": 3,
        "spacing_mm": pytest.approx([0.5, 0.4]),
        "scalar_type": "uint8",
        "color": "rgb",
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
