use super::picture::Rgb;

pub(super) const BACKGROUND: Rgb = Rgb([18, 20, 24]);
pub(super) const TEXT: Rgb = Rgb([226, 228, 232]);
pub(super) const FAINT_TEXT: Rgb = Rgb([148, 154, 164]);
pub(super) const WARNING: Rgb = Rgb([255, 176, 64]);
pub(super) const FIXED_OUTLINE: Rgb = Rgb([255, 255, 255]);
pub(super) const GRID: Rgb = Rgb([110, 231, 200]);
pub(super) const FOLD: Rgb = Rgb([255, 40, 60]);

/// Bright, mutually distinct colors that stand out on gray levels. None is near white, which
/// marks the fixed image's outlines.
const LABELS: [Rgb; 10] = [
    Rgb([255, 159, 28]),
    Rgb([46, 196, 255]),
    Rgb([140, 230, 70]),
    Rgb([255, 89, 150]),
    Rgb([255, 221, 60]),
    Rgb([170, 130, 255]),
    Rgb([45, 215, 170]),
    Rgb([255, 110, 80]),
    Rgb([105, 150, 255]),
    Rgb([215, 130, 225]),
];

/// The color of label number `label`; numbers ten apart share one.
pub(super) fn of_label(label: i32) -> Rgb {
    LABELS[(label - 1).rem_euclid(LABELS.len() as i32) as usize]
}

/// `value` (0 black to 1 white) as a gray level.
pub(super) fn gray(value: f32) -> Rgb {
    Rgb([(value.clamp(0.0, 1.0) * 255.0).round() as u8; 3])
}

/// Diverging map of -1 to 1: blue, near black at 0, red. A dark middle lets what differs shine,
/// and both ends grow in lightness alike, so that neither sign looks worse.
pub(super) fn diverging(value: f32) -> Rgb {
    const NEGATIVE: [Rgb; 3] = [Rgb([24, 24, 27]), Rgb([38, 110, 200]), Rgb([178, 222, 255])];
    const POSITIVE: [Rgb; 3] = [Rgb([24, 24, 27]), Rgb([205, 66, 44]), Rgb([255, 212, 168])];
    let stops = if value < 0.0 { &NEGATIVE } else { &POSITIVE };
    let t = value.abs().min(1.0) * 2.0;
    if t < 1.0 { mix(stops[0], stops[1], t) } else { mix(stops[1], stops[2], t - 1.0) }
}

/// `over` laid on `under` with opacity `alpha` (0 to 1).
pub(super) fn mix(under: Rgb, over: Rgb, alpha: f32) -> Rgb {
    let blend = |u: u8, o: u8| (f32::from(u) + (f32::from(o) - f32::from(u)) * alpha).round() as u8;
    Rgb(std::array::from_fn(|c| blend(under.0[c], over.0[c])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_diverging_map_is_dark_in_the_middle_and_saturates_at_its_ends() {
        let light = |v: f32| diverging(v).0.iter().map(|c| u32::from(*c)).sum::<u32>();
        for v in [0.1, 0.4, 0.7] {
            assert!(light(v + 0.3) > light(v) && light(-v - 0.3) > light(-v));
        }
        assert!(diverging(0.5).0[0] > diverging(0.5).0[2]);
        assert!(diverging(-0.5).0[0] < diverging(-0.5).0[2]);
        assert_eq!((diverging(7.0), diverging(-7.0)), (diverging(1.0), diverging(-1.0)));
    }

    #[test]
    fn any_label_number_has_a_color() {
        assert_ne!(of_label(1), of_label(2));
        assert_eq!(of_label(1), of_label(11));
        of_label(i32::MAX);
        of_label(-5);
    }
}
