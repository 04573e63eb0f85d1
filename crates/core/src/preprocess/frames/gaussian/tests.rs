use super::*;

#[test]
fn an_impulse_becomes_a_gaussian_and_a_constant_stays() {
    let mut frame = Frame::filled(150, 31, 0.0f32);
    frame.data[15 * 150 + 70] = 1.0;
    let smooth = Gaussian { sigma_px: 2.0 }.apply(Simd::detect(), &frame);
    assert!((smooth.data.iter().sum::<f32>() - 1.0).abs() < 1e-5);
    let at = |x: usize, y: usize| smooth.data[y * 150 + x];
    for (x, y) in [(71, 15), (70, 17), (68, 12)] {
        let (dx, dy) = (x as f32 - 70.0, y as f32 - 15.0);
        let expected = (-(dx * dx + dy * dy) / 8.0).exp();
        assert!((at(x, y) / at(70, 15) - expected).abs() < 1e-5);
    }
    for size in [[1, 1], [3, 2], [64, 1], [129, 5]] {
        for (sigma_px, value) in [(0.01, 255u8), (0.5, 255), (3.0, 200), (80.0, 255), (80.0, 1)] {
            let flat = Frame::filled(size[0], size[1], value);
            assert_eq!(Gaussian { sigma_px }.apply(Simd::detect(), &flat), flat, "{sigma_px}");
        }
    }
}

#[test]
fn bytes_are_near_reals_and_the_same_at_every_level() {
    for (width, height) in [(1, 1), (70, 9), (131, 40)] {
        let noise = (0..width * height).map(|i: usize| (i * i * 31 % 257 * (i % 3 / 2)) as u8);
        let bytes = Frame::new(width, height, noise.collect());
        let reals = bytes.with(bytes.data.iter().map(|v| f32::from(*v)).collect());
        for sigma_px in [0.01, 0.3, 1.0, 1.5, 4.0, 20.0, 100.0] {
            let gaussian = Gaussian { sigma_px };
            let oracle = gaussian.apply(Simd::SCALAR, &bytes);
            let exact = gaussian.apply(Simd::SCALAR, &reals);
            for (found, exact) in oracle.data.iter().zip(&exact.data) {
                assert!((f32::from(*found) - exact).abs() <= 1.0, "σ {sigma_px}: {found} {exact}");
            }
            for simd in Simd::all() {
                assert_eq!(gaussian.apply(simd, &bytes), oracle, "{simd}, σ {sigma_px}");
                assert_eq!(gaussian.apply(simd, &reals), exact, "{simd}, σ {sigma_px}");
            }
        }
    }
}
