//! What must fit together in a package for frames.

use super::frames::{Measurement, MeasurementKind, View};
use super::manifest::{Head, HeadKind, Manifest, Units};

/// Of what something is wrong, what was expected, what was found.
pub(super) type Defect = (String, String, String);

/// What does not fit together in a package for frames.
pub(super) fn defect(m: &Manifest) -> Option<Defect> {
    let input = &m.graphs[0].inputs[0];
    if input.num_channels != 1 {
        let found = input.num_channels.to_string();
        return Some(("graphs.inputs.num_channels".into(), "1 for frames".into(), found));
    }
    let (landmarks, masks) = (m.landmarks(), m.masks());
    let measurements: Vec<&str> = m.measurements.iter().map(|m| m.name.as_str()).collect();
    let lists = [("landmarks", &landmarks), ("masks", &masks), ("measurements", &measurements)];
    let (classes, views) = (m.classes(), m.views.iter().map(|v| v.name.as_str()).collect());
    for (list, names) in lists.into_iter().chain([("classes", &classes), ("views", &views)]) {
        if let Some(odd) = names.iter().find(|name| name.chars().any(char::is_control)) {
            return Some((list.into(), "names to be read".into(), format!("{odd:?}")));
        }
        if let Some(twice) = (1..names.len()).find(|i| names[..*i].contains(&names[*i])) {
            return Some((list.into(), "each name once".into(), format!("{} twice", names[twice])));
        }
    }
    // They become parts of files' names.
    let plain = |name: &&str| {
        name.chars().all(|c| c.is_alphanumeric() || "-_ ".contains(c)) && *name != "overlay"
    };
    if let Some(odd) = masks.iter().find(|name| !plain(name)) {
        let expected = "masks named with letters, digits, - and _, none of them \"overlay\"";
        return Some(("masks".into(), expected.into(), format!("{odd:?}")));
    }
    if m.heads(HeadKind::Classes).count() > 1 {
        return Some(("graphs.heads".into(), "at most one of kind classes".into(), "more".into()));
    }
    let measured = m.measurements.iter().find_map(|one| one.defect(&landmarks, &masks));
    measured.or_else(|| {
        let classes = m.classes();
        m.views.iter().find_map(|view| view.defect(&classes, lists))
    })
}

impl Measurement {
    fn defect(&self, landmarks: &[&str], masks: &[&str]) -> Option<Defect> {
        let field = |key: &str| format!("measurements.{}.{key}", self.name);
        let mask = self.of.len() == 1 && masks.contains(&self.of[0].as_str());
        let points = match self.kind {
            MeasurementKind::Distance => 2,
            MeasurementKind::Angle => 3,
            _ => 4,
        };
        let known = self.of.iter().all(|name| landmarks.contains(&name.as_str()));
        if !(mask && points == 4 || known && self.of.len() == points) {
            let or = if points == 4 { " or one mask" } else { "" };
            let expected = format!("{points} landmarks{or}, by name");
            return Some((field("of"), expected, format!("{:?}", self.of)));
        }
        let [low, high] = self.plausible?;
        (low > high || low.is_nan() || high.is_nan()).then(|| {
            let expected = "the least and the largest value".into();
            (field("plausible"), expected, format!("[{low}, {high}]"))
        })
    }
}

impl View {
    fn defect(&self, classes: &[&str], known: [(&str, &Vec<&str>); 3]) -> Option<Defect> {
        let field = |key: &str| format!("views.{}.{key}", self.name);
        if !classes.contains(&self.name.as_str()) {
            let expected = format!("one of the classes {classes:?}");
            return Some((field("name"), expected, format!("{:?}", self.name)));
        }
        if !(0.0..=1.0).contains(&self.threshold) {
            return Some((field("threshold"), "0 to 1".into(), self.threshold.to_string()));
        }
        let lists = [&self.landmarks, &self.masks, &self.measurements];
        known.into_iter().zip(lists).find_map(|((key, known), list)| {
            let stranger = list.iter().find(|name| !known.contains(&name.as_str()))?;
            Some((field(key), format!("of {known:?}"), format!("{stranger:?}")))
        })
    }
}

/// What is wrong with a head that finds things in frames, for an input of this shape (y, x).
pub(super) fn head_defect(head: &Head, input: &[usize]) -> Option<(&'static str, String, String)> {
    let per_name = if head.kind == HeadKind::Coordinates { 2 } else { 1 };
    if head.num_channels != per_name * head.channel_def.len() || head.num_channels == 0 {
        let expected = format!("a name for every {per_name} of {} channels", head.num_channels);
        return Some(("channel_def", expected, format!("{:?}", head.channel_def)));
    }
    let found = format!("{:?}", head.spatial_shape);
    let maps = matches!(head.kind, HeadKind::Heatmaps | HeadKind::Mask);
    if maps {
        let factor = |(n, of): (&usize, &usize)| (*n > 0 && of % n == 0).then(|| of / n);
        let factors: Vec<_> = head.spatial_shape.iter().zip(input).map(factor).collect();
        let whole = factors.first().is_some_and(|f| f.is_some() && factors.iter().all(|g| g == f));
        if head.spatial_shape.len() != input.len() || !whole {
            let expected = format!("a whole fraction of the input's {input:?}");
            return Some(("spatial_shape", expected, found));
        }
    } else if !head.spatial_shape.is_empty() {
        return Some(("spatial_shape", "none".into(), found));
    }
    if head.kind == HeadKind::Coordinates && head.units != Some(Units::Pixels) {
        return Some(("units", "pixels".into(), format!("{:?}", head.units)));
    }
    if head.peak.is_some() && head.kind != HeadKind::Heatmaps {
        return Some(("peak", "only for heatmaps".into(), format!("{:?}", head.kind)));
    }
    if head.region.is_some() && head.kind != HeadKind::Mask {
        return Some(("region", "only for masks".into(), format!("{:?}", head.kind)));
    }
    let peak = head.peak.unwrap_or_default();
    let low = !peak.threshold.is_finite() || peak.threshold <= 0.0;
    if low || peak.sigma.is_some_and(|s| !(0.1..=100.0).contains(&s)) {
        let expected = "a threshold above 0, a sigma of 0.1 to 100".into();
        return Some(("peak", expected, format!("{peak:?}")));
    }
    let region = head.region.unwrap_or_default();
    let inside = region.threshold > 0.0 && region.threshold < 1.0;
    (!inside || !(0.0..=1.0).contains(&region.smallest)).then(|| {
        let expected = "a threshold between 0 and 1, a smallest share of 0 to 1".into();
        ("region", expected, format!("{region:?}"))
    })
}
