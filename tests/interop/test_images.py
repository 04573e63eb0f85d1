"""Images that SimpleITK and nibabel write: the binary must see the grid and the values that
SimpleITK sees, and SimpleITK and nibabel must see what the binary writes."""

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

MM = 1e-5
SIZE = (7, 6, 5)


def rotation(*angles):
    transform = sitk.Euler3DTransform()
    transform.SetRotation(*angles)
    return np.array(transform.GetMatrix()).reshape(3, 3)


OBLIQUE = rotation(0.3, -0.2, 0.9)
FLIPPED = np.diag([-1.0, 1.0, -1.0])
LEFT_HANDED = OBLIQUE @ np.diag([1, 1, -1])
PERMUTED = np.array([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]])


def samples(dtype):
    """Values that differ everywhere, over as much of the type's range as f32 holds exactly."""
    count = np.prod(SIZE)
    if np.issubdtype(dtype, np.floating):
        return np.linspace(-3.5, 7.25, count).astype(dtype).reshape(SIZE[::-1])
    low, high = max(np.iinfo(dtype).min, -(1 << 20)), min(np.iinfo(dtype).max, 1 << 20)
    return np.linspace(low, high, count).astype(dtype).reshape(SIZE[::-1])


def image(direction=np.eye(3), dtype=np.float32, spacing=(0.7, 1.3, 2.9)):
    made = sitk.GetImageFromArray(samples(dtype))
    made.SetSpacing(spacing)
    made.SetOrigin((-31.7, 12.3, 80))
    made.SetDirection(direction.ravel())
    return made


def with_sitk(name, **keywords):
    compress = keywords.pop("compress", False)

    def write(folder):
        path = folder / name
        sitk.WriteImage(image(**keywords), str(path), compress)
        return path

    return write


RAS = np.diag([-1.0, -1.0, 1.0])


def nifti(data, direction=OBLIQUE, spacing=(0.7, 1.3, 2.9), origin=(31.7, -12.3, 80), **header):
    """A nibabel image; `sform` and `qform` are the codes."""
    affine = np.eye(4)
    affine[:3, :3] = RAS @ direction @ np.diag(spacing)
    affine[:3, 3] = origin
    kind = nib.Nifti1Header(endianness=header.get("endianness", "<"))
    made = nib.Nifti1Image(data, affine, kind, dtype=data.dtype)
    made.set_sform(affine, header.get("sform", 1))
    made.set_qform(affine, header.get("qform", 1))
    made.header.set_xyzt_units(header.get("units", "mm"))
    return made


def with_nibabel(name, change=lambda made: made, dtype=np.int16, extra=(), **keywords):
    def write(folder):
        path = folder / name
        data = samples(dtype).T.reshape(SIZE + extra)
        nib.save(change(nifti(data, **keywords)), path)
        return path

    return write


def scaled(slope, intercept):
    """Keeps the stored numbers and lets the header scale them."""

    def change(made):
        made.header.set_slope_inter(slope, intercept)
        stored = np.asarray(made.dataobj)
        made._dataobj = stored * slope + intercept
        return made

    return change


INTEGERS = [np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32, np.uint64, np.int64]
CASES = {
    "oblique": with_sitk("a.nii.gz", direction=OBLIQUE),
    "left-handed": with_sitk("a.nii", direction=LEFT_HANDED),
    "flipped": with_sitk("a.nii.gz", direction=FLIPPED),
    "permuted": with_sitk("a.nii.gz", direction=PERMUTED),
    "anisotropic": with_sitk("a.nii.gz", spacing=(0.3, 0.3, 12.5)),
    "mha": with_sitk("a.mha", direction=OBLIQUE),
    "mha-left-handed-compressed": with_sitk("a.mha", direction=LEFT_HANDED, compress=True),
    "mhd": with_sitk("a.mhd", direction=PERMUTED),
    "mhd-compressed": with_sitk("a.mhd", direction=OBLIQUE, compress=True),
    "int16-slope": with_nibabel("a.nii.gz", scaled(0.25, -7.5)),
    "uint8-slope-negative": with_nibabel("a.nii.gz", scaled(-2.0, 300.0), np.uint8),
    "one-frame": with_nibabel("a.nii.gz", extra=(1,)),
    "one-frame-5d": with_nibabel("a.nii", extra=(1, 1)),
    "big-endian": with_nibabel("a.nii", dtype=np.dtype(">i2"), endianness=">"),
    "big-endian-float": with_nibabel("a.nii.gz", dtype=np.dtype(">f4"), endianness=">"),
    "qform-only": with_nibabel("a.nii.gz", sform=0),
    "qform-only-left-handed": with_nibabel("a.nii.gz", sform=0, direction=LEFT_HANDED),
    "sform-only": with_nibabel("a.nii.gz", qform=0),
    "sform-standard-space": with_nibabel("a.nii.gz", sform=4, qform=0),
    "meters": with_nibabel(
        "a.nii.gz", units="meter", spacing=(7e-4, 13e-4, 29e-4), origin=(0.03, -0.01, 0.08)
    ),
    "micrometers": with_nibabel("a.nii.gz", units="micron", spacing=(700, 1300, 2900)),
    "unknown-unit": with_nibabel("a.nii.gz", units="unknown"),
}
CASES |= {f"nifti-{np.dtype(t)}": with_sitk("a.nii.gz", dtype=t) for t in [*INTEGERS, np.float64]}
CASES |= {f"mha-{np.dtype(t)}": with_sitk("a.mha", dtype=t) for t in [*INTEGERS, np.float64]}


def no_orientation(folder):
    path = with_nibabel("a.nii")(folder)
    header = bytearray(path.read_bytes())
    header[252:256] = bytes(4)
    path.write_bytes(header)
    return path


CASES["no-orientation"] = no_orientation


@pytest.fixture(params=CASES, scope="module")
def case(request, tmp_path_factory):
    path = CASES[request.param](tmp_path_factory.mktemp(request.param))
    return path, sitk.ReadImage(str(path))


def same_place(spacing, origin, direction, theirs):
    np.testing.assert_allclose(spacing, theirs.GetSpacing()[:3], atol=MM, rtol=0)
    np.testing.assert_allclose(origin, theirs.GetOrigin()[:3], atol=MM, rtol=0)
    size = theirs.GetDimension()
    expected = np.array(theirs.GetDirection()).reshape(size, size)[:3, :3]
    np.testing.assert_allclose(np.array(direction), expected, atol=1e-6, rtol=0)


def test_info_agrees_with_simpleitk(intraop, case):
    path, theirs = case
    facts = intraop.json("info", path)
    assert facts["file"] == str(path)
    assert tuple(facts["size"]) == SIZE == theirs.GetSize()[:3]
    same_place(facts["spacing_mm"], facts["origin_mm"], facts["direction"], theirs)
    values = sitk.GetArrayFromImage(theirs)
    assert facts["scalar_type"] == values.dtype.name
    np.testing.assert_allclose([facts["min"], facts["max"]], [values.min(), values.max()], rtol=1e-6)


@pytest.mark.parametrize("ending", ["nii", "nii.gz", "mha", "mhd"])
def test_what_is_written_is_what_was_read(intraop, case, ending, tmp_path):
    path, theirs = case
    identity, out = tmp_path / "identity.tfm", tmp_path / f"out.{ending}"
    sitk.WriteTransform(sitk.AffineTransform(3), str(identity))
    intraop.output("apply", "--affine", identity, "--image", path, "--reference", path, "--out", out)
    ours = sitk.ReadImage(str(out))
    direction = np.array(ours.GetDirection()).reshape(3, 3)
    same_place(ours.GetSpacing(), ours.GetOrigin(), direction, theirs)
    expected = sitk.GetArrayFromImage(theirs).reshape(SIZE[::-1])
    values = sitk.GetArrayFromImage(ours)
    assert values.dtype == expected.dtype.newbyteorder("=")
    # Resampling on the same grid may leave a rounding error, so not bit by bit.
    values, expected = values.astype(float), expected.astype(float)
    np.testing.assert_allclose(values, expected, rtol=0, atol=1e-6 * np.ptp(expected))
    if ending.startswith("nii"):
        by_nibabel = nib.load(out)
        np.testing.assert_allclose(by_nibabel.get_fdata().T, values, rtol=1e-6)
        affine = np.eye(4)
        affine[:3, :3] = RAS @ direction @ np.diag(ours.GetSpacing())
        affine[:3, 3] = RAS @ ours.GetOrigin()
        np.testing.assert_allclose(by_nibabel.affine, affine, rtol=1e-6, atol=MM)
        np.testing.assert_allclose(by_nibabel.get_qform(), affine, rtol=1e-5, atol=1e-3)


def test_four_dimensions_are_refused(intraop, tmp_path):
    path = tmp_path / "frames.nii.gz"
    nib.save(nib.Nifti1Image(np.zeros(SIZE + (2,), np.int16), np.eye(4)), path)
    result = intraop.run("info", path)
    assert result.returncode == 2
    assert str(path) in result.stderr and "3-D" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_two_dimensions_are_no_volume(intraop, tmp_path):
    path = tmp_path / "frame.mha"
    sitk.WriteImage(sitk.Image(4, 4, sitk.sitkUInt8), str(path))
    identity, out = tmp_path / "identity.tfm", tmp_path / "out.mha"
    sitk.WriteTransform(sitk.AffineTransform(3), str(identity))
    arguments = ["--affine", identity, "--image", path, "--reference", path, "--out", out]
    result = intraop.run("apply", *arguments)
    assert result.returncode == 2 and "3-D" in result.stderr
    assert intraop.json("info", path)["frames"] == 1
