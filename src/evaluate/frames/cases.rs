use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use csv::StringRecord;

use super::columns::{self, BOX, ELLIPSE, FRAME, IMAGE, PIXEL, VIEW};
use crate::image::{Ellipse, is_pixel_size};
use crate::package::Manifest;
use crate::{Error, Result};

/// One line of a cases CSV for frames. The path is ready to open.
#[derive(Debug, Clone, PartialEq)]
pub struct FrameCase {
    pub image: PathBuf,
    /// Its number in a clip, from 0.
    pub frame: usize,
    /// Along x and y; `None` where the CSV does not say.
    pub mm_per_px: Option<[f64; 2]>,
    /// `None` where there is nothing to be found.
    pub truth: Option<Truth>,
}

/// What a line says is to be found: any part of it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Truth {
    /// (x, y) in pixels, by name.
    pub landmarks: BTreeMap<String, [f64; 2]>,
    pub outline: Option<Outline>,
    /// In mm, mm² or degrees, by name.
    pub measurements: BTreeMap<String, f64>,
    pub view: Option<String>,
}

/// The outline of what a mask shows.
#[derive(Debug, Clone, PartialEq)]
pub enum Outline {
    /// An ellipse in millimeters from the center of the first pixel.
    Ellipse(Ellipse),
    /// The ellipse inscribed in the box of this name, in pixels.
    Box { name: String, ellipse: Ellipse },
}

impl FrameCase {
    /// The frame as a report calls it.
    pub fn name(&self) -> String {
        let file = self.image.file_name().unwrap_or_default().to_string_lossy();
        if self.frame == 0 { file.into() } else { format!("{file}, frame {}", self.frame) }
    }
}

/// Reads the cases of a package for frames; relative paths start at the CSV's folder.
/// docs/evaluation.md has the columns; there may be no truth where none is needed.
///
/// # Errors
/// [`Error::Unreadable`]; [`Error::Malformed`] naming the line and the column.
pub fn read_frame_cases(
    path: &Path,
    manifest: &Manifest,
    need_truth: bool,
) -> Result<Vec<FrameCase>> {
    let malformed = |e: csv::Error| {
        let line = e.position().map_or(1, csv::Position::line);
        let expected = "a CSV with a header and as many values in each line";
        let advice = "docs/evaluation.md has the columns";
        Error::malformed(path, format!("line {line}"), expected, e.to_string(), advice)
    };
    let file = crate::io::open_regular(path)?;
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(file);
    let header = reader.headers().map_err(malformed)?;
    let columns = columns::check(path, header, manifest, need_truth)?;
    let mut cases = Vec::new();
    for record in reader.records() {
        let record = record.map_err(malformed)?;
        cases.push(Line { path, columns: &columns, record: &record }.case(manifest)?);
    }
    if cases.is_empty() {
        let advice = "add a line per frame";
        return Err(Error::malformed(path, "cases", "at least one frame", "none", advice));
    }
    Ok(cases)
}

struct Line<'a> {
    path: &'a Path,
    /// Where each column stands, by its name in lower case.
    columns: &'a HashMap<String, usize>,
    record: &'a StringRecord,
}

impl Line<'_> {
    fn case(&self, manifest: &Manifest) -> Result<FrameCase> {
        let folder = self.path.parent().unwrap_or(Path::new(""));
        let image = folder.join(self.text(IMAGE).unwrap_or_default());
        if !image.is_file() {
            return Err(self.wrong(IMAGE, "a file that is there", "correct the path"));
        }
        let frame = match self.text(FRAME).map(str::parse) {
            None => 0,
            Some(Ok(number)) => number,
            Some(Err(_)) => return Err(self.wrong(FRAME, "a whole number from 0", "correct it")),
        };
        let blank = columns::of_truth(self.columns).all(|name| self.text(name).is_none());
        let truth = if blank { None } else { Some(self.truth(manifest)?) };
        Ok(FrameCase { image, frame, mm_per_px: self.pixel_size()?, truth })
    }

    fn truth(&self, manifest: &Manifest) -> Result<Truth> {
        let mut truth = Truth { outline: self.outline()?, ..Truth::default() };
        for name in manifest.landmarks() {
            if let Some(at) = self.numbers(&["x", "y"].map(|axis| format!("{name}_{axis}_px")))? {
                truth.landmarks.insert(name.into(), at);
            }
        }
        for wanted in &manifest.measurements {
            if let Some(value) = self.number(&columns::of_measurement(wanted))? {
                truth.measurements.insert(wanted.name.clone(), value);
            }
        }
        if let Some(view) = self.text(VIEW) {
            let classes = manifest.classes();
            if !classes.contains(&view) {
                let expected = format!("one of the package's classes {classes:?}");
                return Err(self.wrong(VIEW, &expected, "correct it or leave it blank"));
            }
            truth.view = Some(view.into());
        }
        Ok(truth)
    }

    fn outline(&self) -> Result<Option<Outline>> {
        let shaped = |center, [a, b]: [f64; 2], angle, column: &str| {
            // The map brings the long axis to the front.
            let ellipse = Ellipse { center, semi_axes: [a, b], angle };
            let ellipse = ellipse.mapped([[1.0, 0.0], [0.0, 1.0]], [0.0; 2]);
            let ellipse = ellipse.filter(|_| a > 0.0 && b > 0.0);
            ellipse.ok_or_else(|| self.wrong(column, "above 0", "correct the size"))
        };
        let mut outlines = Vec::new();
        if let Some([x, y, a, b, angle]) = self.numbers(&ELLIPSE.map(String::from))? {
            outlines.push(Outline::Ellipse(shaped([x, y], [a, b], angle, ELLIPSE[2])?));
        }
        for name in columns::boxes(self.columns) {
            let columns = BOX.map(|ending| format!("{name}{ending}"));
            if let Some([x, y, width, height]) = self.numbers(&columns)? {
                let semi_axes = [width / 2.0, height / 2.0];
                let ellipse = shaped([x, y], semi_axes, 0.0, &columns[2])?;
                if !outlines.is_empty() {
                    return Err(self.wrong(&columns[2], "one outline in a line", "leave one"));
                }
                outlines.push(Outline::Box { name: name.into(), ellipse });
            }
        }
        Ok(outlines.pop())
    }

    /// One number for both axes, or `x;y`.
    fn pixel_size(&self) -> Result<Option<[f64; 2]>> {
        let Some(text) = self.text(PIXEL) else { return Ok(None) };
        let numbers: Vec<Option<f64>> = text.split(';').map(|n| n.trim().parse().ok()).collect();
        let size = match numbers[..] {
            [Some(both)] => [both; 2],
            [Some(x), Some(y)] => [x, y],
            _ => [f64::NAN; 2],
        };
        if is_pixel_size(size) {
            return Ok(Some(size));
        }
        Err(self.wrong(
            PIXEL,
            "0.0001 to 100, or two numbers as x;y",
            "correct it or leave it blank",
        ))
    }

    /// All of these columns or none.
    fn numbers<const N: usize>(&self, names: &[String; N]) -> Result<Option<[f64; N]>> {
        let mut found = [0.0; N];
        let mut missing = None;
        for (value, name) in found.iter_mut().zip(names) {
            match self.number(name)? {
                Some(number) => *value = number,
                None => missing = Some(name),
            }
        }
        let Some(missing) = missing else { return Ok(Some(found)) };
        // What a landmark and a box share says nothing of the box alone.
        let rest = if N == BOX.len() { &names[2..] } else { &names[..] };
        match rest.iter().any(|name| self.text(name).is_some()) {
            true => Err(self.wrong(missing, "a number, as beside it", "fill it in")),
            false => Ok(None),
        }
    }

    fn number(&self, name: &str) -> Result<Option<f64>> {
        let Some(text) = self.text(name) else { return Ok(None) };
        match text.parse() {
            Ok(number) if f64::is_finite(number) => Ok(Some(number)),
            _ => Err(self.wrong(name, "a number", "correct it or leave it blank")),
        }
    }

    /// `None` where it is blank or there is no such column.
    fn text(&self, name: &str) -> Option<&str> {
        let column = self.columns.get(&name.to_lowercase())?;
        self.record.get(*column).filter(|text| !text.is_empty())
    }

    fn wrong(&self, column: &str, expected: &str, advice: &str) -> Error {
        let line = self.record.position().map_or(0, csv::Position::line);
        let found = self.text(column).map_or("nothing".into(), |text| format!("{text:?}"));
        Error::malformed(self.path, format!("line {line}, {column}"), expected, found, advice)
    }
}
