use proptest::prelude::*;

use super::*;

/// Looks up given indices and keeps the values.
struct Listed {
    indices: Vec<[f64; 3]>,
    values: Vec<[f32; 2]>,
}

impl Row<2> for Listed {
    fn at(&mut self, x: usize, indices: &mut [Lanes<f64>; 3]) {
        let block = load(&self.indices, x);
        for (axis, lanes) in indices.iter_mut().enumerate() {
            *lanes = block.map(|index| index[axis]);
        }
    }

    fn put(&mut self, x: usize, values: &[Lanes<f32>; 2]) {
        let block = std::array::from_fn(|i| [values[0][i], values[1][i]]);
        store(&mut self.values, x, &block);
    }
}

fn look_up(simd: Simd, source: &Source<2>, indices: &[[f64; 3]]) -> Vec<[f32; 2]> {
    let values = vec![[f32::NAN; 2]; indices.len()];
    let mut row = Listed { indices: indices.to_vec(), values };
    resample(simd, source, indices.len(), &mut row);
    row.values
}

/// The trilinear value in f64 throughout, as a weighted sum of the eight corners.
fn exact(size: [usize; 3], data: &[f32], index: [f64; 3]) -> f64 {
    let mut sum = 0.0;
    for corner in 0..8 {
        let (mut weight, mut offset, mut stride) = (1.0, 0, 1);
        for axis in 0..3 {
            let last = (size[axis] - 1) as f64;
            let at = if index[axis].is_nan() { 0.0 } else { index[axis].clamp(0.0, last) };
            let upper = corner >> axis & 1 == 1;
            weight *= if upper { at.fract() } else { 1.0 - at.fract() };
            offset += (at.floor() as usize + usize::from(upper)).min(size[axis] - 1) * stride;
            stride *= size[axis];
        }
        sum += weight * f64::from(data[offset]);
    }
    sum
}

fn whole() -> impl Strategy<Value = f64> {
    (-2..14i32).prop_map(f64::from)
}

fn index() -> impl Strategy<Value = f64> {
    prop_oneof![
        6 => -3.0..15.0,
        2 => whole(),
        1 => (0..14i32).prop_map(|i| f64::from(i).next_down()),
        1 => prop::sample::select(vec![
            f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300, -1e300, 1e-300, -0.0, 4e9, -4e9,
        ]),
    ]
}

type Images = ([usize; 3], [Vec<f32>; 2]);

fn images() -> impl Strategy<Value = Images> {
    (1..13usize, 1..8usize, 1..7usize).prop_flat_map(|(x, y, z)| {
        let plane = || prop::collection::vec(-1e3..1e3f32, x * y * z);
        (Just([x, y, z]), [plane(), plane()])
    })
}

proptest! {
    #[test]
    fn every_level_gives_the_numbers_of_the_oracle_and_that_the_trilinear_value(
        (size, planes) in images(),
        indices in prop_oneof![
            4 => prop::collection::vec([index(), index(), index()], 1..80),
            1 => prop::collection::vec([whole(), whole(), whole()], 1..80),
        ],
    ) {
        let source = Source::new(size, [&planes[0], &planes[1]]);
        let oracle = look_up(Simd::SCALAR, &source, &indices);
        for (values, index) in oracle.iter().zip(&indices) {
            for (value, plane) in values.iter().zip(&planes) {
                let largest = plane.iter().fold(0.0f32, |m, v| m.max(v.abs()));
                let error = (f64::from(*value) - exact(size, plane, *index)).abs();
                prop_assert!(error <= f64::from(largest) * 2f64.powi(-19), "{error} {index:?}");
            }
        }
        for simd in Simd::all() {
            prop_assert_eq!(&look_up(simd, &source, &indices), &oracle, "{}", simd);
        }
    }
}

#[test]
fn far_from_the_origin_the_fraction_is_as_exact_as_near() {
    let size = [70_000, 2, 2];
    let data: Vec<f32> = (0..size[0] * 4).map(|i| (i % 2) as f32).collect();
    let source = Source::new(size, [data.as_slice(); 2]);
    for simd in Simd::all() {
        let values = look_up(simd, &source, &[[2.1, 0.0, 0.0], [69_000.1, 0.0, 0.0]]);
        assert!(values.iter().flatten().all(|v| (v - 0.1).abs() < 1e-7), "{simd} {values:?}");
    }
}
