"""Fields and transforms that other tools write, applied to points: each must land where the
tool's own convention says."""

import csv

import ants
import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

SIZE = (9, 8, 7)
SPACING = np.array([1.5, 2.0, 2.5])
ORIGIN = np.array([-20.0, 15.0, 4.0])

euler = sitk.Euler3DTransform()
euler.SetRotation(0.2, 0.1, -0.4)
DIRECTION = np.array(euler.GetMatrix()).reshape(3, 3)
COLUMNS = DIRECTION * SPACING

# Displacement in mm as a linear function of the index: trilinear interpolation is exact.
SLOPE = np.array([[0.1, -0.2, 0.05], [0.3, 0.1, -0.1], [-0.15, 0.2, 0.1]])
SHIFT = np.array([1.0, -2.0, 0.5])

INDICES = np.array([[0, 0, 0], [8, 7, 6], [2.25, 3.5, 4.75], [7.9, 0.1, 3]])
POINTS = INDICES @ COLUMNS.T + ORIGIN


def displacements():
    """(x, y, z, 3), LPS mm."""
    index = np.stack(np.meshgrid(*map(np.arange, SIZE), indexing="ij"), axis=-1)
    return index @ SLOPE.T + SHIFT


def by_sitk(path):
    field = sitk.GetImageFromArray(displacements().transpose(2, 1, 0, 3).astype("f4"), isVector=True)
    field.SetSpacing(SPACING)
    field.SetOrigin(ORIGIN)
    field.SetDirection(DIRECTION.ravel())
    sitk.WriteImage(field, str(path))


def by_ants(path):
    field = ants.from_numpy(
        displacements().astype("f4"),
        origin=ORIGIN.tolist(),
        spacing=SPACING.tolist(),
        direction=DIRECTION,
        has_components=True,
    )
    ants.image_write(field, str(path))


def in_voxels(path):
    """Steps along the array axes, as VoxelMorph and Learn2Reg keep them."""
    steps = displacements() @ np.linalg.inv(COLUMNS).T
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = COLUMNS, ORIGIN
    ras = np.diag([-1.0, -1, 1, 1]) @ affine
    nib.save(nib.Nifti1Image(steps.astype("f4"), ras), path)


FIELDS = {
    "itk-sitk": ("itk", "f.nii.gz", by_sitk),
    "itk-ants": ("ants", "f.nii.gz", by_ants),
    "itk-mha": ("itk", "f.mha", by_sitk),
    "metaimage": ("metaimage", "f.mhd", by_sitk),
    "voxelmorph": ("voxelmorph", "f.nii.gz", in_voxels),
    "learn2reg": ("learn2reg", "f.nii.gz", in_voxels),
}


def apply_to_points(intraop, folder, *transform):
    source, out = folder / "in.csv", folder / "out.csv"
    with source.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["x", "y", "z", "t", "label"])
        rows.writerows([*map(repr, map(float, p)), 0, i] for i, p in enumerate(POINTS))
    intraop.output("apply", *transform, "--points", source, "--out", out)
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == [str(i) for i in range(len(POINTS))]
    return np.array([[float(row[axis]) for axis in "xyz"] for row in rows])


@pytest.mark.parametrize("case", FIELDS)
def test_field_of_every_convention(intraop, tmp_path, case):
    convention, name, write = FIELDS[case]
    path = tmp_path / name
    write(path)
    moved = apply_to_points(intraop, tmp_path, "--field", path, "--field-convention", convention)
    np.testing.assert_allclose(moved, POINTS + INDICES @ SLOPE.T + SHIFT, atol=1e-4, rtol=0)


def versor():
    return sitk.VersorRigid3DTransform((1, 1, 0), 0.4, (3, 2, 1), (1, 0, 2))


def similarity():
    made = sitk.Similarity3DTransform()
    made.SetScale(1.3)
    made.SetRotation((0, 1, 1), 0.7)
    made.SetTranslation((1, -1, 2))
    made.SetCenter((2, 2, 2))
    return made


def affine():
    made = sitk.AffineTransform(3)
    made.SetMatrix((DIRECTION + SLOPE).ravel())
    made.SetTranslation((4, 5, 6))
    made.SetCenter((-3, 2, 9))
    return made


TRANSFORMS = {
    "euler": sitk.Euler3DTransform((4, 5, 6), 0.1, 0.2, 0.3, (1, 2, 3)),
    "versor": versor(),
    "similarity": similarity(),
    "affine": affine(),
    "translation": sitk.TranslationTransform(3, (1, -2, 3)),
    "composite": sitk.CompositeTransform([versor(), affine(), similarity()]),
}


@pytest.mark.parametrize("kind", TRANSFORMS)
def test_transform_of_every_kind(intraop, tmp_path, kind):
    path = tmp_path / "t.tfm"
    sitk.WriteTransform(TRANSFORMS[kind], str(path))
    expected = [TRANSFORMS[kind].TransformPoint(p.tolist()) for p in POINTS]
    moved = apply_to_points(intraop, tmp_path, "--affine", path)
    np.testing.assert_allclose(moved, expected, atol=1e-9, rtol=0)
