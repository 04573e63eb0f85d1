use super::{Outcome, Scores};
use crate::package::Manifest;

/// `per_case.csv`, one line per frame in the order given. After the columns of every package come,
/// for each landmark and measurement of the package, those of its own.
///
/// # Errors
/// Those of the writer.
pub fn write_per_case(
    writer: &mut dyn std::io::Write,
    manifest: &Manifest,
    outcomes: &[Outcome],
) -> std::io::Result<()> {
    let mut csv = csv::Writer::from_writer(writer);
    let columns: Vec<(String, Value)> = columns(manifest);
    let ends = |name: &str| name.to_string();
    let header = [ends("image"), ends("frame")].into_iter();
    let header = header.chain(columns.iter().map(|(name, _)| name.clone()));
    csv.write_record(header.chain([ends("error")]))?;
    for Outcome { case, result } in outcomes {
        let mut row = vec![case.image.display().to_string(), case.frame.to_string()];
        let scores = result.as_ref().ok();
        let values = columns.iter().map(|(_, value)| scores.and_then(value).unwrap_or_default());
        row.extend(values);
        row.push(result.as_ref().err().cloned().unwrap_or_default());
        csv.write_record(row)?;
    }
    csv.flush()
}

/// The text of one cell; `None` where it is blank.
type Value = Box<dyn Fn(&Scores) -> Option<String>>;

fn number(value: impl Fn(&Scores) -> Option<f64> + 'static) -> Value {
    Box::new(move |scores| value(scores).map(|v| format!("{v:.6}")))
}

fn columns(manifest: &Manifest) -> Vec<(String, Value)> {
    let mut columns: Vec<(String, Value)> = Vec::new();
    let mut add = |name: &str, value: Value| columns.push((name.to_owned(), value));
    // 1 where something is to be found, and where something was.
    add("expected", Box::new(|s| Some(u8::from(s.expected).to_string())));
    add("found", Box::new(|s| Some(u8::from(s.anything).to_string())));
    if !manifest.classes().is_empty() {
        add("view_truth", Box::new(|s| s.view.truth.clone()));
        add("view", Box::new(|s| s.view.seen.clone()));
    }
    if !manifest.landmarks().is_empty() {
        add("error_px", number(|s| s.mean_error(|e| Some(e.px))));
        add("error_mm", number(|s| s.mean_error(|e| e.mm)));
    }
    if !manifest.masks().is_empty() || !manifest.measurements.is_empty() {
        add("dice", number(|s| Some(s.region?.dice)));
        add("mask_dice", number(|s| s.region?.mask_dice));
        add("hd95_mm", number(|s| s.region.filter(|r| r.mm)?.hd95));
        add("hd95_px", number(|s| s.region.filter(|r| !r.mm)?.hd95));
    }
    for stage in ["infer", "total"] {
        add(&format!("{stage}_ms"), number(move |s| s.stages_ms.get(stage).copied()));
    }
    for name in manifest.landmarks() {
        let error = |name: String| move |s: &Scores| s.landmarks.get(&name)?.error;
        let (px, mm, share) = (error(name.into()), error(name.into()), error(name.into()));
        add(&format!("{name}_error_px"), number(move |s| Some(px(s)?.px)));
        add(&format!("{name}_error_mm"), number(move |s| mm(s)?.mm));
        add(&format!("{name}_error_normalized"), number(move |s| Some(share(s)?.normalized)));
    }
    for wanted in &manifest.measurements {
        let score = |name: String| move |s: &Scores| s.measurements.get(&name).cloned();
        let [value, sd, truth, difference, unit] = [(); 5].map(|()| score(wanted.name.clone()));
        let name = &wanted.name;
        add(name, number(move |s| value(s)?.value));
        add(&format!("{name}_sd"), number(move |s| sd(s)?.sd));
        add(&format!("{name}_truth"), number(move |s| truth(s)?.truth));
        add(&format!("{name}_difference"), number(move |s| difference(s)?.difference()));
        add(&format!("{name}_unit"), Box::new(move |s| Some(unit(s)?.unit.to_owned())));
    }
    columns
}
