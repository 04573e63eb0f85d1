use nalgebra::{Matrix3, Rotation3};

use super::*;

fn small() -> Options {
    Options { geometry: Geometry::new([24, 20, 28], [2.5, 3.0, 2.0]), ..Options::default() }
}

fn oblique() -> Geometry {
    Geometry {
        origin: Vector3::new(-30.0, 12.0, 70.0),
        direction: Rotation3::from_euler_angles(0.4, -0.3, 0.8).into_inner(),
        ..small().geometry
    }
}

/// Trilinear, replicating the border.
fn interpolate<T: Copy>(volume: &Volume<T>, p: Vector3<f64>, value: impl Fn(T) -> f64) -> f64 {
    let size = volume.geometry.size;
    let p = [0, 1, 2].map(|i| p[i].clamp(0.0, size[i] as f64 - 1.0));
    let corners = (0..8usize).map(|corner| {
        let mut weight = 1.0;
        let at: [usize; 3] = std::array::from_fn(|i| {
            let low = p[i].floor();
            let up = corner >> i & 1;
            weight *= if up == 1 { p[i] - low } else { 1.0 - (p[i] - low) };
            (low as usize + up).min(size[i] - 1)
        });
        weight * value(volume.at(at[0], at[1], at[2]))
    });
    corners.sum()
}

/// Dice of every label from 1 to 5.
fn dice(a: &[i32], b: &[i32]) -> [f64; 5] {
    [1, 2, 3, 4, 5].map(|label| {
        let both = a.iter().zip(b).filter(|(x, y)| **x == label && **y == label).count();
        let size = |v: &[i32]| v.iter().filter(|x| **x == label).count();
        2.0 * both as f64 / (size(a) + size(b)) as f64
    })
}

fn correlation(a: &[f32], b: &[f64]) -> f64 {
    let n = a.len() as f64;
    let a: Vec<f64> = a.iter().map(|v| f64::from(*v)).collect();
    let mean = |v: &[f64]| v.iter().sum::<f64>() / n;
    let (ma, mb) = (mean(&a), mean(b));
    let sum =
        |f: &dyn Fn(f64, f64) -> f64| a.iter().zip(b).map(|(x, y)| f(x - ma, y - mb)).sum::<f64>();
    sum(&|x, y| x * y) / (sum(&|x, _| x * x) * sum(&|_, y| y * y)).sqrt()
}

/// Where every fixed voxel lies in the moving image, as a continuous index.
fn matches(pair: &Pair) -> Vec<Vector3<f64>> {
    let geometry = &pair.fixed.geometry;
    let (to_world, to_index) = (geometry.index_to_world(), geometry.world_to_index());
    let [nx, ny, _] = geometry.size;
    let place = |(i, u): (usize, &[f32; 3])| {
        let index = Vector3::new(i % nx, i / nx % ny, i / (nx * ny)).cast::<f64>();
        to_index.apply(to_world.apply(index) + Vector3::from(*u).cast())
    };
    pair.field.data.iter().enumerate().map(place).collect()
}

/// Smallest Jacobian determinant of an axis-aligned field by central differences.
fn smallest_determinant(field: &Field) -> f64 {
    let ([nx, ny, nz], spacing) = (field.geometry.size, field.geometry.spacing);
    let mut smallest = f64::MAX;
    for (z, y, x) in
        (1..nz - 1).flat_map(|z| (1..ny - 1).flat_map(move |y| (1..nx - 1).map(move |x| (z, y, x))))
    {
        let slope = |axis: usize| {
            let mut at = [[x, y, z]; 2];
            at[0][axis] += 1;
            at[1][axis] -= 1;
            let [up, down] = at.map(|[x, y, z]| Vector3::from(field.at(x, y, z)).cast::<f64>());
            (up - down) / (2.0 * spacing[axis])
        };
        let gradient = Matrix3::from_columns(&[slope(0), slope(1), slope(2)]);
        smallest = smallest.min((Matrix3::identity() + gradient).determinant());
    }
    smallest
}

#[test]
fn a_seed_gives_the_same_for_ever() {
    let p = pair(1, &Options::default());
    let near = |found: f64, expected: f64| {
        assert!((found - expected).abs() < 1e-5, "{found} instead of {expected}");
    };
    near(p.fixed.at(20, 31, 40).into(), 0.6303519);
    near(p.fixed.at(33, 20, 28).into(), 0.3261338);
    near(p.moving.at(20, 31, 40).into(), 0.4792084);
    near(p.moving.at(45, 30, 30).into(), 0.3747595);
    let [first, second] = [p.field.at(20, 31, 40), p.field.at(63, 0, 10)];
    let expected = [-3.6653192, 1.7650119, -2.5608854, -1.8393881, -5.691143, 4.913363];
    first.iter().chain(&second).zip(expected).for_each(|(u, e)| near((*u).into(), e));
    let points = p.fixed_points[23].iter().chain(&p.moving_points[23]);
    let expected = [28.6338803, 37.3769270, 25.4914656, 31.7344924, 39.4901077, 20.0103657];
    points.zip(expected).for_each(|(x, e)| near(*x, e));
    let count = |v: &LabelMap| [1, 2, 3, 4, 5].map(|l| v.data.iter().filter(|x| **x == l).count());
    assert_eq!(count(&p.fixed_labels), [34478, 1380, 3125, 1658, 478]);
    assert_eq!(count(&p.moving_labels), [40639, 2154, 3219, 1962, 759]);
}

#[test]
fn the_field_explains_the_pair_and_nothing_else_does() {
    let mut before = Vec::new();
    for seed in 0..6 {
        let p = pair(seed, &Options::default());
        let places = matches(&p);
        let nearest = |q: &Vector3<f64>| {
            let [x, y, z] = [0, 1, 2].map(|i| q[i].round().clamp(0.0, 63.0) as usize);
            p.moving_labels.at(x, y, z)
        };
        let warped_labels: Vec<i32> = places.iter().map(nearest).collect();
        let warped: Vec<f64> =
            places.iter().map(|q| interpolate(&p.moving, *q, f64::from)).collect();
        let unmoved: Vec<f64> = p.moving.data.iter().map(|v| f64::from(*v)).collect();
        let after = dice(&p.fixed_labels.data, &warped_labels);
        assert!(after.iter().all(|d| *d > 0.9), "seed {seed}: {after:?}");
        assert!(correlation(&p.fixed.data, &warped) > 0.95, "seed {seed}");
        assert!(correlation(&p.fixed.data, &unmoved) < 0.9, "seed {seed}");
        before.extend(dice(&p.fixed_labels.data, &p.moving_labels.data));
    }
    let mean = before.iter().sum::<f64>() / before.len() as f64;
    assert!((0.4..0.65).contains(&mean), "{mean}");
}

#[test]
fn no_option_makes_space_fold() {
    for (seed, deformation_mm, affine) in [(3, 9.0, 1.0), (4, 100.0, 1.0), (5, 20.0, 6.0)] {
        let p = pair(seed, &Options { deformation_mm, affine, ..Options::default() });
        let smallest = smallest_determinant(&p.field);
        assert!(smallest > 0.3, "seed {seed}: {smallest}");
        // Far from affine, whose determinant is the same everywhere.
        assert!(smallest < 0.7, "seed {seed}: {smallest}");
    }
}

#[test]
fn bits_do_not_depend_on_the_thread_count() {
    let with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| pair(9, &small()))
    };
    let (a, b) = (with(1), with(3));
    assert_eq!((a.fixed, a.moving, a.field), (b.fixed, b.moving, b.field));
    assert_eq!((a.fixed_labels, a.moving_labels), (b.fixed_labels, b.moving_labels));
    assert_eq!((a.fixed_points, a.moving_points), (b.fixed_points, b.moving_points));
}

#[test]
fn a_tilted_grid_shows_the_same_with_the_field_tilted_too() {
    let straight = pair(2, &small());
    let tilted = pair(2, &Options { geometry: oblique(), ..small() });
    assert_eq!(straight.fixed.data, tilted.fixed.data);
    assert_eq!(straight.moving_labels.data, tilted.moving_labels.data);
    for (u, v) in straight.field.data.iter().zip(&tilted.field.data) {
        let expected = oblique().direction * Vector3::from(*u).cast::<f64>();
        assert!((expected - Vector3::from(*v).cast()).norm() < 1e-4);
    }
}

#[test]
fn points_follow_the_field() {
    let p = pair(2, &Options { geometry: oblique(), ..small() });
    assert_eq!((p.fixed_points.len(), p.moving_points.len()), (POINTS, POINTS));
    let to_index = p.field.geometry.world_to_index();
    for (fixed, moving) in p.fixed_points.iter().zip(&p.moving_points) {
        let index = to_index.apply(Vector3::from(*fixed));
        for axis in 0..3 {
            let u = interpolate(&p.field, index, |u| f64::from(u[axis]));
            assert!((fixed[axis] + u - moving[axis]).abs() < 0.3, "{fixed:?} {moving:?} {u}");
        }
    }
}

#[test]
fn options_change_only_what_they_name() {
    let still = Options { deformation_mm: 0.0, affine: 0.0, noise: 0.0, ..small() };
    let (still, usual) = (pair(6, &still), pair(6, &small()));
    assert_eq!(still.fixed, still.moving);
    assert_eq!(still.fixed_points, still.moving_points);
    assert!(still.field.data.iter().all(|u| *u == [0.0; 3]));
    assert_eq!(still.moving_labels, usual.moving_labels);
    let noise = usual.moving.data.iter().zip(&still.moving.data).filter(|(_, clean)| **clean > 0.2);
    let (sum, n) = noise.fold((0.0, 0), |(s, n), (a, b)| (s + f64::from(a - b).powi(2), n + 1));
    assert!(((sum / f64::from(n)).sqrt() - 0.03).abs() < 0.002);
}

#[test]
fn an_anatomy_out_of_sight_has_no_points() {
    let far = Options { affine: 1e3, deformation_mm: 0.0, ..small() };
    assert_eq!(pair(1, &far).fixed_points.len(), 0);
}
