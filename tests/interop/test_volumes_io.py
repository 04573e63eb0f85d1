"""NRRD files and folders with a DICOM series, written by SimpleITK and pydicom: the binary must see
the grid and the values that SimpleITK sees, and say what is wrong with an incomplete series."""

import shutil

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
    generate_uid,
)
from test_images import FLIPPED, LEFT_HANDED, OBLIQUE, PERMUTED, image, same_place

DIRECTIONS = {"plain": np.eye(3), "oblique": OBLIQUE, "flipped": FLIPPED, "left": LEFT_HANDED, "permuted": PERMUTED}
TYPES = [np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32, np.uint64, np.int64, np.float32, np.float64]


def agrees(intraop, path, theirs, tmp_path):
    """Geometry, type and every value."""
    facts = intraop.json("info", path)
    assert tuple(facts["size"]) == theirs.GetSize()
    same_place(facts["spacing_mm"], facts["origin_mm"], facts["direction"], theirs)
    values = sitk.GetArrayFromImage(theirs)
    np.testing.assert_allclose([facts["min"], facts["max"]], [values.min(), values.max()], rtol=1e-6)
    identity, out = tmp_path / "identity.tfm", tmp_path / "out.mha"
    sitk.WriteTransform(sitk.AffineTransform(3), str(identity))
    intraop.output("apply", "--affine", identity, "--image", path, "--reference", path, "--out", out)
    ours = sitk.GetArrayFromImage(sitk.ReadImage(str(out)))
    np.testing.assert_allclose(ours.astype(float), values.astype(float), rtol=0, atol=1e-6 * np.ptp(values.astype(float)))
    return facts


@pytest.mark.parametrize("compress", [False, True], ids=["raw", "gzip"])
@pytest.mark.parametrize("direction", DIRECTIONS.values(), ids=DIRECTIONS)
def test_nrrd_geometry(intraop, tmp_path, direction, compress):
    path = tmp_path / "a.nrrd"
    sitk.WriteImage(image(direction), str(path), compress)
    agrees(intraop, path, sitk.ReadImage(str(path)), tmp_path)


@pytest.mark.parametrize("dtype", TYPES, ids=lambda t: np.dtype(t).name)
def test_nrrd_types(intraop, tmp_path, dtype):
    path = tmp_path / "a.nrrd"
    sitk.WriteImage(image(dtype=dtype), str(path), True)
    facts = agrees(intraop, path, sitk.ReadImage(str(path)), tmp_path)
    assert facts["scalar_type"] == np.dtype(dtype).name


def nrrd(path, *lines, data=None, dtype="<i2"):
    values = np.arange(60, dtype=dtype)
    header = ["NRRD0004", "# a comment", "type: short", "dimension: 3", "sizes: 5 4 3", "encoding: raw", *lines]
    tail = b"" if any("data file" in line for line in lines) else values.tobytes()
    path.write_bytes("\n".join([*header, "", ""]).encode() + (tail if data is None else data))
    return path


PLACED = "space directions: (0.5,0,0) (0,0.6,0.1) (0,-0.2,2)", "space origin: (1,2,3)"


@pytest.mark.parametrize("space", ["left-posterior-superior", "right-anterior-superior", "left-anterior-superior", "LPS", "RAS", "LAS"])
def test_nrrd_spaces(intraop, tmp_path, space):
    path = nrrd(tmp_path / "a.nrrd", f"space: {space}", *PLACED, "endian: little", "kinds: domain domain domain", "key:=value")
    agrees(intraop, path, sitk.ReadImage(str(path)), tmp_path)


def test_nrrd_big_endian_detached_and_spacings(intraop, tmp_path):
    path = nrrd(tmp_path / "big.nrrd", "space: LPS", *PLACED, "endian: big", data=np.arange(60, dtype=">i2").tobytes())
    agrees(intraop, path, sitk.ReadImage(str(path)), tmp_path)
    (tmp_path / "a.raw").write_bytes(np.arange(60, dtype="<i2").tobytes())
    path = nrrd(tmp_path / "a.nhdr", "space: LPS", *PLACED, "endian: little", "data file: a.raw")
    agrees(intraop, path, sitk.ReadImage(str(path)), tmp_path)
    path = nrrd(tmp_path / "spacings.nrrd", "spacings: 0.5 0.6 2", "endian: little")
    agrees(intraop, path, sitk.ReadImage(str(path)), tmp_path)


def test_labels_from_nrrd(intraop, tmp_path):
    labels = image(dtype=np.int16) > 0
    path, identity, out = tmp_path / "a.nrrd", tmp_path / "identity.tfm", tmp_path / "out.mha"
    sitk.WriteImage(labels, str(path), True)
    sitk.WriteTransform(sitk.AffineTransform(3), str(identity))
    intraop.output("apply", "--affine", identity, "--labels", path, "--reference", path, "--out", out)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(out))), sitk.GetArrayFromImage(labels))


# DICOM series

STEP = (0.7, 1.3, 2.5)
STUDY, PLACE = generate_uid(), generate_uid()


def series(folder, count=7, direction=OBLIQUE, syntax=ExplicitVRLittleEndian, uid=None, positions=None, dtype="i2", **more):
    """A CT of `count` slices of 6×5 pixels, whose names are in no order; returns its files from
    the first slice to the last. `more` are attributes, or functions of the slice's number."""
    folder.mkdir(exist_ok=True)
    uid = uid or generate_uid()
    random = np.random.default_rng(4)
    files = []
    for i in range(count):
        file = Dataset()
        file.file_meta = FileMetaDataset()
        file.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian if syntax == RLELossless else syntax
        file.file_meta.MediaStorageSOPClassUID = file.SOPClassUID = CTImageStorage
        file.file_meta.MediaStorageSOPInstanceUID = file.SOPInstanceUID = generate_uid()
        file.PatientName, file.PatientID, file.PatientBirthDate = "Doe^Jane", "secret-17", "19700101"
        file.Modality, file.SeriesNumber, file.InstanceNumber = "CT", 4, i + 1
        file.SeriesInstanceUID = uid
        file.StudyInstanceUID, file.FrameOfReferenceUID = STUDY, PLACE
        file.Rows, file.Columns, file.SamplesPerPixel = 6, 5, 1
        file.PhotometricInterpretation = "MONOCHROME2"
        file.PixelSpacing = [STEP[1], STEP[0]]
        file.ImageOrientationPatient = [float(f"{v:.12g}") for v in direction.T[:2].ravel()]
        place = np.array((-31.7, 12.3, 80)) + direction[:, 2] * STEP[2] * (positions[i] if positions else i)
        file.ImagePositionPatient = [float(f"{v:.12g}") for v in place]
        file.BitsAllocated = file.BitsStored = 16
        file.HighBit, file.PixelRepresentation = 15, int(dtype == "i2")
        file.RescaleSlope, file.RescaleIntercept = "1", "0"
        for name, value in more.items():
            setattr(file, name, value(i) if callable(value) else value)
        values = random.integers(0, 3000, (6, 5)).astype(dtype)
        file.PixelData = values.tobytes()
        file["PixelData"].VR = "OW"
        if syntax == RLELossless:
            file.compress(RLELossless)
        path = folder / f"{random.integers(1 << 30):x}-{uid[-4:]}"
        file.save_as(path, enforce_file_format=True)
        files.append(path)
    return files


def by_simpleitk(folder):
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    return reader.Execute()


@pytest.mark.parametrize("direction", [np.eye(3), OBLIQUE, FLIPPED @ OBLIQUE], ids=["plain", "oblique", "turned"])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless], ids=["ex", "im", "rle"])
def test_series(intraop, tmp_path, direction, syntax):
    folder = tmp_path / "ct"
    series(folder, direction=direction, syntax=syntax)
    (folder / "README.txt").write_text("not an image")
    theirs = folder
    if syntax == RLELossless:
        # GDCM does not take pydicom's; the same slices uncompressed.
        theirs = tmp_path / "uncompressed"
        series(theirs, direction=direction)
    facts = agrees(intraop, folder, by_simpleitk(theirs), tmp_path)
    assert facts["scalar_type"] == "int16"


SCALINGS = {
    "hounsfield": ({"RescaleIntercept": "-1024", "dtype": "u2", "BitsStored": 12, "HighBit": 11}, "int16"),
    "fraction": ({"RescaleSlope": "0.25", "RescaleIntercept": "-7.5"}, "float32"),
    "per slice": ({"RescaleSlope": lambda i: str(1 + i / 4), "dtype": "u2"}, "float32"),
}


@pytest.mark.parametrize("case", SCALINGS)
def test_rescaled_series(intraop, tmp_path, case):
    more, scalar = SCALINGS[case]
    folder = tmp_path / "ct"
    files = series(folder, **more)
    facts = intraop.json("info", folder)
    assert facts["scalar_type"] == scalar
    # By pydicom, because GDCM may scale a whole series as its first slice.
    values = []
    for path in files:
        file = pydicom.dcmread(path)
        values.append(file.pixel_array * float(file.RescaleSlope) + float(file.RescaleIntercept))
    theirs = sitk.GetImageFromArray(np.stack(values))
    theirs.CopyInformation(by_simpleitk(folder))
    agrees(intraop, folder, theirs, tmp_path)


def refused(intraop, folder, *parts):
    result = intraop.run("info", folder)
    assert result.returncode == 2, result.stdout
    for part in [str(folder), *parts]:
        assert part in result.stderr, result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not any(secret in result.stderr for secret in ["Doe", "secret", "1970"])


def test_incomplete_and_mixed_folders(intraop, tmp_path):
    folder = tmp_path / "missing"
    files = series(folder)
    files[3].unlink()
    refused(intraop, folder, "gap of 5.000 mm", '"3"', '"5"')

    folder = tmp_path / "uneven"
    series(folder, positions=[0, 1, 2, 3.2, 4.4, 5.5, 6.5])
    refused(intraop, folder, "equally far apart")

    folder = tmp_path / "twice"
    series(folder, positions=[0, 1, 2, 2, 3, 4, 5])
    refused(intraop, folder, "own place")

    folder = tmp_path / "two"
    series(folder, uid="1.2.3")
    series(folder, uid="1.2.4", count=4, SeriesNumber=9, Modality="MR")
    refused(intraop, folder, "1.2.3", "1.2.4", "7 slices", "4 slices", "MR")

    folder = tmp_path / "tilted"
    tilted = OBLIQUE.copy()
    tilted[:, 2] = OBLIQUE @ [0, np.sin(0.2), np.cos(0.2)]
    series(folder, direction=tilted)
    refused(intraop, folder, "tilt of 11.5 degrees")

    folder = tmp_path / "shifted"
    series(folder, direction=np.eye(3), ImagePositionPatient=lambda i: [1.5 if i == 2 else 0, 0, 2.5 * i])
    refused(intraop, folder, "1.500 mm away")

    folder = tmp_path / "sizes"
    series(folder, PixelSpacing=lambda i: [1.3, 0.7 if i < 5 else 0.8])
    refused(intraop, folder, "another PixelSpacing")

    folder = tmp_path / "single"
    series(folder, count=1)
    refused(intraop, folder, "at least 2")

    folder = tmp_path / "enhanced"
    series(folder, NumberOfFrames=2, PixelData=lambda i: b"")
    refused(intraop, folder, "multi-frame")

    folder = tmp_path / "empty"
    folder.mkdir()
    refused(intraop, folder, "no DICOM file")

    folder = tmp_path / "scout"
    series(folder, uid="1.2.3")
    series(folder, uid="1.2.5", count=1, ImagePositionPatient=None)
    refused(intraop, folder, "one DICOM series", "1.2.5")

    folder = tmp_path / "cut"
    files = series(folder)
    files[2].write_bytes(files[2].read_bytes()[:-20])
    refused(intraop, folder, files[2].name, "truncated")


def test_rounded_positions_are_one_series(intraop, tmp_path):
    folder = tmp_path / "ct"
    series(folder, direction=np.eye(3), count=20, ImagePositionPatient=lambda i: [-31.7, 12.3, round(80 + 0.625 * i, 2)])
    agrees(intraop, folder, by_simpleitk(folder), tmp_path)
    shutil.rmtree(folder)
