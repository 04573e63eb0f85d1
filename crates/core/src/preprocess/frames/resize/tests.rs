use proptest::prelude::*;

use super::*;

const ALL: [Interpolation; 3] = [Interpolation::Linear, Interpolation::Cubic, Interpolation::Area];

fn resized<T: Resizable>(
    simd: Simd,
    frame: &Frame<T>,
    to: [usize; 2],
    by: Interpolation,
) -> Frame<T> {
    let [width, height] = to;
    Resize { width, height, interpolation: by, keep_aspect: false }.apply(simd, frame)
}

#[test]
fn pixels_are_opencvs() {
    // OpenCV 5.0.0, without IPP: cv2.resize of this frame of 7 by 5 to 4 by 3 and to 9 by 6. The
    // first eight columns of a bicubic row are its vector code's, the ninth its scalar code's.
    let frame = Frame::new(7, 5, (0..35).map(|i| (i * i * 7 % 251) as u8).collect());
    let smaller: [[u8; 12]; 3] = [
        [45, 49, 106, 82, 99, 33, 10, 31, 150, 87, 130, 92],
        [46, 47, 112, 85, 102, 31, 9, 32, 154, 89, 136, 96],
        [57, 70, 109, 87, 105, 71, 49, 66, 142, 105, 129, 100],
    ];
    let larger: [[u8; 9]; 3] = [
        [217, 148, 74, 64, 201, 153, 114, 82, 60],
        [232, 159, 43, 47, 211, 167, 108, 72, 57],
        [217, 143, 76, 50, 201, 149, 113, 84, 60],
    ];
    for simd in Simd::all() {
        for (i, by) in ALL.into_iter().enumerate() {
            assert_eq!(resized(simd, &frame, [4, 3], by).data, smaller[i], "{simd} {by:?}");
            let last_row = &resized(simd, &frame, [9, 6], by).data[45..];
            assert_eq!(last_row, larger[i], "{simd} {by:?}");
        }
    }
}

#[test]
fn the_aspect_and_the_size_of_a_pixel_are_kept() {
    let mut frame = Frame::filled(800, 540, 0u8);
    frame.spacing = Some([0.1, 0.2]);
    let by = Interpolation::Area;
    let resize = Resize { width: 256, height: 256, interpolation: by, keep_aspect: true };
    let small = resize.apply(Simd::SCALAR, &frame);
    assert_eq!(small.size(), [256, 173]);
    let [x, y] = small.spacing.unwrap();
    assert!((x - 0.1 * 800.0 / 256.0).abs() < 1e-12 && (y - 0.2 * 540.0 / 173.0).abs() < 1e-12);
    assert_eq!(Resize { width: 9, height: 1, ..resize }.size([1, 1000]), [1, 1]);
}

fn frames() -> impl Strategy<Value = (Frame<u16>, [usize; 2])> {
    let side = || prop_oneof![1..9usize, 1..150usize];
    // Whole ratios, too, which are computed otherwise.
    let target = |from: usize| prop_oneof![2 => 1..160usize, 1 => (1..5usize).prop_map(move |k| (from / k).max(1))];
    (side(), side()).prop_flat_map(move |(w, h)| {
        let data = prop::collection::vec(any::<u16>(), w * h);
        (data.prop_map(move |data| Frame::new(w, h, data)), [target(w), target(h)])
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..Default::default() })]
    #[test]
    fn every_level_gives_the_oracles_bits((words, to) in frames()) {
        let bytes = words.with(words.data.iter().map(|v| *v as u8).collect());
        let reals = words.with(words.data.iter().map(|v| f32::from(*v) - 1e3).collect());
        for by in ALL {
            let expected = (
                resized(Simd::SCALAR, &bytes, to, by),
                resized(Simd::SCALAR, &words, to, by),
                resized(Simd::SCALAR, &reals, to, by),
            );
            for simd in Simd::all() {
                let found = (
                    resized(simd, &bytes, to, by),
                    resized(simd, &words, to, by),
                    resized(simd, &reals, to, by),
                );
                prop_assert_eq!(&found, &expected, "{} {:?}", simd, by);
            }
        }
    }
}
