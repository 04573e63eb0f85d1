"""The field that `intraop register` writes, applied by other tools and by plain numpy."""

import json

import ants
import numpy as np
import pytest
import SimpleITK as sitk


def blobs(size, seed):
    """A smooth random volume (z, y, x) with some structure."""
    random = np.random.default_rng(seed)
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in size[::-1]), indexing="ij")
    volume = np.clip(1.2 - 1.5 * np.sqrt(x**2 + y**2 + z**2), 0, 1)
    for _ in range(12):
        c, w = random.uniform(-0.6, 0.6, 3), random.uniform(0.1, 0.3)
        d = (x - c[0]) ** 2 + (y - c[1]) ** 2 + (z - c[2]) ** 2
        volume += random.uniform(-0.5, 0.7) * np.exp(-d / (2 * w**2))
    return (1000 * volume).astype(np.float32)


def image(array, spacing, origin, angles):
    out = sitk.GetImageFromArray(array)
    out.SetSpacing(spacing)
    out.SetOrigin(origin)
    rotation = sitk.Euler3DTransform((0, 0, 0), *angles)
    out.SetDirection(rotation.GetMatrix())
    return out


def synthetic(folder):
    """Two oblique, anisotropic volumes of different grids."""
    fixed = image(blobs((60, 52, 44), 1), (1.1, 1.2, 1.5), (10, -20, 30), (0.2, -0.1, 0.3))
    moving = image(blobs((50, 64, 40), 1), (1.2, 1.0, 1.6), (12, -25, 33), (-0.1, 0.1, 0.25))
    sitk.WriteImage(fixed, str(folder / "fixed.nii.gz"))
    sitk.WriteImage(moving, str(folder / "moving.nii.gz"))
    return folder / "fixed.nii.gz", folder / "moving.nii.gz", "demo", ["--init", "centers"]


def hippocampus(data):
    images = sorted((data / "hippocampus/val/images").iterdir())
    return images[0], images[1], "hippocampus", []


@pytest.fixture(params=["synthetic", "hippocampus"])
def registered(request, intraop, data, tmp_path):
    if request.param == "synthetic":
        fixed, moving, model, more = synthetic(tmp_path)
    elif data is None:
        pytest.skip("data not present")
    else:
        fixed, moving, model, more = hippocampus(data)
    out = tmp_path / "out"
    command = ["register", fixed, moving, "--model", model, "--out", out, *more]
    intraop.output(*command)
    return fixed, moving, out, command


def disagreement(ours, theirs, inside):
    """Mean absolute difference over voxels that map inside, as a share of the range."""
    return np.abs(ours - theirs)[inside].mean() / np.ptp(ours)


def inside_moving(field, moving):
    """Which voxels map inside the moving image, at least half a voxel from its border."""
    u = sitk.GetArrayFromImage(field)
    z, y, x = np.meshgrid(*(np.arange(n) for n in u.shape[:3]), indexing="ij")
    index = np.stack([x, y, z], -1).astype(float)
    q = index * field.GetSpacing() @ np.reshape(field.GetDirection(), (3, 3)).T
    q = q + field.GetOrigin() + u - moving.GetOrigin()
    index = (q @ np.reshape(moving.GetDirection(), (3, 3))) / moving.GetSpacing()
    return ((index >= 0) & (index <= np.array(moving.GetSize()) - 1)).all(-1), index


def test_simpleitk_applies_the_field_and_gets_our_image(registered):
    fixed, moving, out, _ = registered
    moving = sitk.ReadImage(str(moving), sitk.sitkFloat32)
    reference = sitk.ReadImage(str(fixed), sitk.sitkFloat32)
    field = sitk.ReadImage(str(out / "field.nii.gz"))
    assert field.GetNumberOfComponentsPerPixel() == 3 and field.GetDimension() == 3
    np.testing.assert_allclose(field.GetOrigin(), reference.GetOrigin(), atol=1e-4)
    np.testing.assert_allclose(field.GetDirection(), reference.GetDirection(), atol=1e-5)
    inside, _ = inside_moving(field, moving)
    transform = sitk.DisplacementFieldTransform(sitk.Cast(field, sitk.sitkVectorFloat64))
    theirs = sitk.Resample(moving, reference, transform, sitk.sitkLinear, 0.0)
    ours = sitk.ReadImage(str(out / "warped.nii.gz"), sitk.sitkFloat32)
    share = disagreement(sitk.GetArrayFromImage(ours), sitk.GetArrayFromImage(theirs), inside)
    assert inside.mean() > 0.3 and share < 0.005, share


def test_ants_applies_the_field_and_gets_our_image(registered):
    fixed, moving, out, _ = registered
    theirs = ants.apply_transforms(
        fixed=ants.image_read(str(fixed)),
        moving=ants.image_read(str(moving)),
        transformlist=[str(out / "field.nii.gz")],
        interpolator="linear",
    )
    ours = ants.image_read(str(out / "warped.nii.gz"))
    inside, _ = inside_moving(
        sitk.ReadImage(str(out / "field.nii.gz")), sitk.ReadImage(str(moving))
    )
    share = disagreement(ours.numpy(), theirs.numpy(), inside.transpose(2, 1, 0))
    assert inside.mean() > 0.3 and share < 0.005, share


def test_the_affine_file_is_an_itk_transform(registered, intraop):
    fixed, moving, out, command = registered
    intraop.output(*command, "--affine-only")
    transform = sitk.ReadTransform(str(out / "affine.tfm"))
    moving = sitk.ReadImage(str(moving), sitk.sitkFloat32)
    reference = sitk.ReadImage(str(fixed), sitk.sitkFloat32)
    theirs = sitk.GetArrayFromImage(sitk.Resample(moving, reference, transform, sitk.sitkLinear))
    ours = sitk.GetArrayFromImage(sitk.ReadImage(str(out / "warped.nii.gz"), sitk.sitkFloat32))
    inside, _ = inside_moving(sitk.ReadImage(str(out / "field.nii.gz")), moving)
    assert disagreement(ours, theirs, inside) < 0.005


def test_voxel_conventions_against_numpy(registered, intraop):
    """VoxelMorph's and Learn2Reg's fields: voxels of the fixed grid, index axes."""
    import nibabel
    from scipy.ndimage import map_coordinates

    fixed, moving, out, command = registered
    itk = sitk.ReadImage(str(out / "field.nii.gz"))
    u = sitk.GetArrayFromImage(itk).transpose(2, 1, 0, 3)  # (x, y, z, 3), mm LPS
    rows = np.reshape(itk.GetDirection(), (3, 3))
    voxels = u @ rows / itk.GetSpacing()  # Dᵀ u, D orthogonal, then per axis
    for convention in ["voxelmorph", "learn2reg"]:
        intraop.output(*command, "--field-convention", convention)
        theirs = np.asarray(nibabel.load(out / "field.nii.gz").dataobj).squeeze()
        assert theirs.shape == voxels.shape
        np.testing.assert_allclose(theirs, voxels, atol=2e-3)
    # Applied as Learn2Reg does, on the moving image resampled to the fixed grid. The second
    # interpolation and the cut at the fixed grid cost something, hence the looser bound.
    reference = sitk.ReadImage(str(fixed), sitk.sitkFloat32)
    resampled = sitk.Resample(sitk.ReadImage(str(moving), sitk.sitkFloat32), reference)
    array = sitk.GetArrayFromImage(resampled).transpose(2, 1, 0)
    index = np.moveaxis(theirs, -1, 0) + np.indices(array.shape)
    warped = map_coordinates(array, index, order=1, cval=np.nan)
    ours = sitk.GetArrayFromImage(sitk.ReadImage(str(out / "warped.nii.gz"), sitk.sitkFloat32))
    ours = ours.transpose(2, 1, 0)
    inside = inside_moving(itk, sitk.ReadImage(str(moving)))[0].transpose(2, 1, 0)
    assert disagreement(ours, warped, inside & np.isfinite(warped)) < 0.03


def test_metaimage_field_is_read_by_simpleitk(registered, intraop):
    _, _, out, command = registered
    nifti = sitk.ReadImage(str(out / "field.nii.gz"))
    intraop.output(*command, "--field-convention", "metaimage")
    meta = sitk.ReadImage(str(out / "field.mha"))
    np.testing.assert_allclose(meta.GetDirection(), nifti.GetDirection(), atol=1e-5)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(meta), sitk.GetArrayFromImage(nifti))


def test_inverse_field_and_points(registered, intraop, tmp_path):
    """T⁻¹(T(p)) = p through the written files, and moving points land on their fixed points."""
    _, _, out, command = registered
    field = sitk.ReadImage(str(out / "field.nii.gz"), sitk.sitkVectorFloat64)
    inverse = sitk.ReadImage(str(out / "inverse_field.nii.gz"), sitk.sitkVectorFloat64)
    # A transform takes its field's pixels away, hence the copy.
    forward = sitk.DisplacementFieldTransform(sitk.Image(field))
    back = sitk.DisplacementFieldTransform(sitk.Image(inverse))
    middle = np.array(field.GetSize()) / 2
    fixed_points = [
        field.TransformContinuousIndexToPhysicalPoint((middle + offset).tolist())
        for offset in np.random.default_rng(3).uniform(-0.2, 0.2, (20, 3)) * field.GetSize()
    ]
    moving_points = [forward.TransformPoint(p) for p in fixed_points]
    # At its own voxels the inverse is exact up to the iteration's tolerance, but where the field
    # has a kink the iteration may end before (its residual is in the report): one in twenty…
    nearest = [inverse.TransformPhysicalPointToIndex(q) for q in moving_points]
    voxels = [inverse.TransformIndexToPhysicalPoint(i) for i in nearest]
    errors = [
        np.linalg.norm(np.subtract(forward.TransformPoint(back.TransformPoint(q)), q))
        for q in voxels
    ]
    assert np.mean(np.greater(errors, 0.01)) <= 0.05, errors
    # … and between them as good as interpolating it is.
    errors = [
        np.linalg.norm(np.subtract(back.TransformPoint(q), p))
        for p, q in zip(fixed_points, moving_points)
    ]
    assert np.mean(errors) < 0.2 * max(field.GetSpacing()), errors
    for name, points in [("fixed", fixed_points), ("moving", moving_points)]:
        rows = "\n".join(",".join(f"{v:.6f}" for v in p) for p in points)
        (tmp_path / f"{name}.csv").write_text(f"x,y,z\n{rows}\n")
    more = ["--fixed-points", tmp_path / "fixed.csv", "--moving-points", tmp_path / "moving.csv"]
    intraop.output(*command, *more)
    tre = json.loads((out / "report.json").read_text())["tre_mm"]
    assert tre["after"] < 0.05, tre
    lines = (out / "warped_points.csv").read_text().splitlines()
    columns = lines[0].split(",")
    carried = np.array([[float(line.split(",")[columns.index(a)]) for a in "xyz"] for line in lines[1:]])
    assert np.linalg.norm(carried - fixed_points, axis=1).max() < 0.1


def test_metrics_of_the_report_against_simpleitk_and_scipy(intraop, data, tmp_path):
    if data is None:
        pytest.skip("data not present")
    fixed, moving, model, _ = hippocampus(data)
    labels = [str(p).replace("images", "labels") for p in (fixed, moving)]
    out = tmp_path / "out"
    more = ["--fixed-labels", labels[0], "--moving-labels", labels[1]]
    intraop.output("register", fixed, moving, "--model", model, "--out", out, *more)
    report = json.loads((out / "report.json").read_text())
    truth = sitk.ReadImage(labels[0], sitk.sitkInt32)
    warped = sitk.ReadImage(str(out / "warped_labels.nii.gz"), sitk.sitkInt32)
    warped.CopyInformation(truth)
    overlap = sitk.LabelOverlapMeasuresImageFilter()
    overlap.Execute(truth, warped)
    for label in (1, 2):
        ours = report["dice"]["after"][str(label)]
        assert abs(ours - overlap.GetDiceCoefficient(label)) < 1e-6
        assert abs(report["hd95_mm"]["after"][str(label)] - hd95(truth, warped, label)) < 1e-3
    jaccard = np.mean([overlap.GetJaccardCoefficient(label) for label in (1, 2)])
    assert abs(report["jaccard"]["after"] - jaccard) < 1e-6
    field = sitk.ReadImage(str(out / "field.nii.gz"))
    # ITK's filter knows spacing but not direction: give it the field along the image's own axes.
    own = sitk.GetArrayFromImage(field) @ np.reshape(field.GetDirection(), (3, 3))
    own = sitk.GetImageFromArray(own, isVector=True)
    own.SetSpacing(field.GetSpacing())
    determinant = sitk.GetArrayFromImage(sitk.DisplacementFieldJacobianDeterminant(own))
    # ITK treats the border otherwise, so bounds as wide as the border's share of the voxels.
    log = np.log(np.clip(determinant[1:-1, 1:-1, 1:-1], 1e-9, 1e9))
    assert abs(log.std() - report["sd_log_jacobian"]) < 0.1 * report["sd_log_jacobian"]


def hd95(a, b, label):
    from scipy.ndimage import binary_erosion, distance_transform_edt

    masks = [sitk.GetArrayFromImage(i) == label for i in (a, b)]
    surfaces = [m & ~binary_erosion(m) for m in masks]
    spacing = a.GetSpacing()[::-1]
    distances = [distance_transform_edt(~s, sampling=spacing) for s in surfaces]
    return max(
        np.percentile(distances[1][surfaces[0]], 95), np.percentile(distances[0][surfaces[1]], 95)
    )
