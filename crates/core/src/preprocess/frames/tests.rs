use super::*;
use crate::image::{Frame, Pixels};
use crate::preprocess::{Normalize, Step};
use intraop_engine::Simd;

fn run(steps: &[Step], pixels: &Pixels) -> crate::Result<Prepared> {
    FramePipeline::new(steps, Simd::detect())?.run(pixels, "test")
}

fn list(toml: &str) -> Vec<Step> {
    #[derive(serde::Deserialize)]
    struct Manifest {
        preprocess: Vec<Step>,
    }
    toml::from_str::<Manifest>(toml).unwrap().preprocess
}

/// A gradient with some structure, so that no step meets a special case.
fn gradient(width: usize, height: usize) -> Frame<u8> {
    let data = (0..width * height).map(|i| ((i % width) * 3 + (i / width) * 5 + i * i % 7) as u8);
    Frame::new(width, height, data.collect())
}

#[test]
fn a_manifests_list_is_run_and_its_points_lead_back() {
    let steps = list(
        r#"
        preprocess = [
            { op = "grayscale" },
            { op = "crop", x = 10, y = 20, width = 80, height = 40 },
            { op = "clahe", clip_limit = 2.0, tiles = [8, 8] },
            { op = "gamma", gamma = 0.8 },
            { op = "gaussian", sigma_px = 0.7 },
            { op = "resize", width = 64, height = 64, interpolation = "area", keep_aspect = true },
            { op = "pad", width = 64, height = 64 },
            { op = "normalize", method = "percentile", low = 1.0, high = 99.0 },
        ]"#,
    );
    let gray = gradient(120, 90);
    let prepared = run(&steps, &Pixels::Gray8(gray.clone())).unwrap();
    assert_eq!(prepared.frame.size(), [64, 64]);
    assert!(prepared.frame.data.iter().all(|v| (0.0..=1.0).contains(v)));
    // 80 × 40 became 64 × 32, with 16 rows above: the crop's outline is the padded frame's.
    let [x, y] = prepared.transform.to_original([-0.5, 15.5]);
    assert!((x - 9.5).abs() < 1e-9 && (y - 19.5).abs() < 1e-9, "{x} {y}");
    let [x, y] = prepared.transform.to_original([63.5, 47.5]);
    assert!((x - 89.5).abs() < 1e-9 && (y - 59.5).abs() < 1e-9, "{x} {y}");
    // Gray is the same in colors, with opacity or not.
    let rgb = gray.with(gray.data.iter().map(|v| [*v; 3]).collect());
    assert_eq!(run(&steps, &Pixels::Rgb8(rgb)).unwrap(), prepared);
    let rgba = gray.with(gray.data.iter().map(|v| [*v, *v, *v, 9]).collect());
    assert_eq!(run(&steps, &Pixels::Rgba8(rgba)).unwrap(), prepared);
}

#[test]
fn collected_steps_give_the_bits_of_single_ones() {
    let gamma = |gamma| Step::Gamma(Gamma { gamma });
    let scale = Step::Normalize(Normalize::Percentile { low: 2.0, high: 98.0 });
    let steps = [gamma(0.6), gamma(1.7), scale, gamma(0.9), Step::Normalize(Normalize::ZScore)];
    let frame = gradient(67, 31);
    let collected = run(&steps, &Pixels::Gray8(frame.clone())).unwrap().frame;
    let mut single = frame;
    for step in &steps[..2] {
        let real = run(std::slice::from_ref(step), &Pixels::Gray8(single.clone())).unwrap().frame;
        single = real.with(real.data.iter().map(|v| *v as u8).collect());
    }
    let mut reals = run(&steps[2..3], &Pixels::Gray8(single)).unwrap().frame;
    reals = run(&steps[3..4], &Pixels::Float(reals)).unwrap().frame;
    reals = run(&steps[4..], &Pixels::Float(reals)).unwrap().frame;
    // The mean is summed in another order.
    let same = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-6;
    assert!(collected.data.iter().zip(&reals.data).all(same));
}

#[test]
fn sixteen_bits_and_windows() {
    let window = Step::Normalize(Normalize::Window { low: 1000.0, high: 3000.0 });
    let frame = Frame::new(4, 1, vec![0u16, 1500, 3000, 65535]);
    let found = run(&[window], &Pixels::Gray16(frame)).unwrap().frame;
    assert_eq!(found.data, [0.0, 0.25, 1.0, 1.0]);
}

#[test]
fn bad_frames_are_refused_or_go_through_but_never_panic() {
    let steps = |clip_limit| {
        let tiles = [3, 5];
        let by = Interpolation::Cubic;
        vec![
            Step::Clahe(Clahe { clip_limit, tiles }),
            Step::Resize(Resize { width: 9, height: 7, interpolation: by, keep_aspect: false }),
            Step::Gaussian(Gaussian { sigma_px: 1.0 }),
            Step::Normalize(Normalize::Window { low: 0.0, high: 255.0 }),
        ]
    };
    for (width, height) in [(1, 1), (1, 9), (9, 1), (40, 30)] {
        for value in [0, 255] {
            let flat = Pixels::Gray8(Frame::filled(width, height, value));
            assert!(run(&steps(1e30), &flat).is_ok());
            assert!(run(&steps(1e-30), &flat).is_ok());
            let normalized = run(&[Step::Normalize(Normalize::MinMax)], &flat);
            assert!(normalized.unwrap_err().to_string().contains("same value"));
        }
    }
    let empty = Pixels::Gray8(Frame::new(0, 0, Vec::new()));
    assert!(run(&[], &empty).unwrap_err().to_string().contains("0×0"));
    let short = Pixels::Float(Frame { width: 2, height: 2, spacing: None, data: vec![0.0; 3] });
    assert!(run(&[], &short).unwrap_err().to_string().contains("3 samples"));
    let colors = Pixels::Rgb16(Frame::filled(2, 2, [1, 2, 3]));
    assert!(run(&[], &colors).unwrap_err().to_string().contains("grayscale"));
    let reals = Pixels::Float(Frame::filled(2, 2, 0.5));
    assert!(run(&steps(2.0), &reals).unwrap_err().to_string().contains("clahe"));
    let nan = Pixels::Float(Frame::filled(2, 2, f32::NAN));
    assert!(run(&[Step::Normalize(Normalize::ZScore)], &nan).is_err());
}

#[test]
fn nonsense_in_a_list_is_refused_by_name() {
    let resize = |width, height| {
        let interpolation = Interpolation::Linear;
        Step::Resize(Resize { width, height, interpolation, keep_aspect: false })
    };
    let clahe = |clip_limit, tiles| Step::Clahe(Clahe { clip_limit, tiles });
    let cases = [
        (vec![clahe(0.0, [8, 8])], "clip_limit"),
        (vec![clahe(f64::NAN, [8, 8])], "clip_limit"),
        (vec![clahe(2.0, [0, 8])], "tiles"),
        (vec![Step::Normalize(Normalize::ZScore), clahe(2.0, [8, 8])], "before normalize"),
        (vec![resize(0, 5)], "0 × 5"),
        (vec![resize(usize::MAX, 2)], "pixels"),
        (vec![Step::Gamma(Gamma { gamma: -1.0 })], "gamma"),
        (vec![Step::Gaussian(Gaussian { sigma_px: 1e9 })], "sigma_px"),
        (vec![resize(2, 2), Step::Grayscale], "first in the list"),
        (vec![Step::Normalize(Normalize::Percentile { low: 99.0, high: 1.0 })], "low < high"),
        (vec![Step::Normalize(Normalize::Window { low: 1.0, high: 1.0 })], "low < high"),
    ];
    for (steps, part) in cases {
        let message = FramePipeline::new(&steps, Simd::SCALAR).unwrap_err().to_string();
        assert!(message.contains(part), "{message}");
    }
}
