//! Landmarks: CSV, and 3D Slicer's `.mrk.json` and `.fcsv`.

use std::path::Path;

use serde_json::{Value, json};

use super::source::{quoted, read_text};
use super::write_atomically;
use crate::{Error, Result};

const MAX_BYTES: u64 = 1 << 24;

/// The schema that Slicer wants a markups file to name.
const SCHEMA: &str = "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/\
    Markups/Resources/Schema/markups-schema-v1.0.3.json#";

/// A landmark.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    pub name: Option<String>,
    /// x, y, z in LPS millimeters.
    pub position: [f64; 3],
}

/// Reads landmarks; the ending chooses the format.
///
/// - `.json`: Slicer markups; `coordinateSystem` LPS or RAS is honored, points that are not
///   placed yet are left out.
/// - `.fcsv`: Slicer's older table; RAS unless it says LPS.
/// - else CSV in LPS millimeters: columns `x`, `y`, `z` and optionally `name` or `label` by header
///   (others, as ANTs' `t`, are passed over), or three columns of numbers and no header.
///
/// # Errors
/// An unreadable file, missing columns, a coordinate that is not a finite number, no point at all.
pub fn read_points(path: &Path) -> Result<Vec<Point>> {
    let text = read_text(path, MAX_BYTES)?;
    let points = match ending(path).as_str() {
        "json" => markups(path, &text)?,
        "fcsv" => fcsv(path, &text)?,
        _ => table(path, &text, None)?,
    };
    match points.is_empty() {
        false => Ok(points),
        true => Err(wrong(path, "points", "at least one", "none", "check the file")),
    }
}

fn ending(path: &Path) -> String {
    path.extension().unwrap_or_default().to_string_lossy().to_lowercase()
}

fn wrong(
    path: &Path,
    what: impl Into<String>,
    expected: &str,
    found: impl Into<String>,
    advice: &str,
) -> Error {
    Error::malformed(path, what, expected, found, advice)
}

/// Where a table's values stand.
struct Columns {
    position: [usize; 3],
    name: Option<usize>,
}

impl Columns {
    fn from_header<'a>(path: &Path, header: impl Iterator<Item = &'a str>) -> Result<Columns> {
        let header: Vec<String> = header.map(|h| h.trim().to_lowercase()).collect();
        let find = |name: &str| header.iter().position(|h| h == name);
        let [Some(x), Some(y), Some(z)] = ["x", "y", "z"].map(find) else {
            let found = quoted(&header.join(", "));
            let advice = "name the columns in the first line";
            return Err(wrong(
                path,
                "columns",
                "x, y, z (or exactly three of numbers)",
                found,
                advice,
            ));
        };
        Ok(Columns { position: [x, y, z], name: find("name").or_else(|| find("label")) })
    }
}

fn number(text: &str) -> Option<f64> {
    text.parse().ok().filter(|v: &f64| v.is_finite())
}

/// A CSV; its first line is the header unless `columns` are known or it is three numbers.
fn table(path: &Path, text: &str, mut columns: Option<Columns>) -> Result<Vec<Point>> {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .comment(Some(b'#'))
        .trim(csv::Trim::All)
        .from_reader(text.trim_start_matches('\u{feff}').as_bytes());
    let mut points = Vec::new();
    for record in reader.records() {
        let record = record
            .map_err(|e| wrong(path, "table", "CSV", e.to_string(), "export the table again"))?;
        let columns = match &columns {
            Some(columns) => columns,
            None if record.len() == 3 && record.iter().all(|v| number(v).is_some()) => {
                columns.insert(Columns { position: [0, 1, 2], name: None })
            }
            None => {
                columns = Some(Columns::from_header(path, record.iter())?);
                continue;
            }
        };
        let mut position = [0.0; 3];
        for (axis, value) in position.iter_mut().enumerate() {
            let text = record.get(columns.position[axis]).unwrap_or("");
            *value = number(text).ok_or_else(|| {
                let line = record.position().map_or(0, |p| p.line());
                let what = format!("{} in line {line}", ["x", "y", "z"][axis]);
                wrong(path, what, "a finite number", quoted(text), "correct it")
            })?;
        }
        let name = columns.name.and_then(|c| record.get(c)).filter(|n| !n.is_empty());
        points.push(Point { name: name.map(str::to_owned), position });
    }
    Ok(points)
}

/// Slicer up to 4.11: a CSV whose comments tell the coordinate system and the columns.
fn fcsv(path: &Path, text: &str) -> Result<Vec<Point>> {
    let comment = |key: &str| {
        text.lines()
            .filter_map(|l| l.strip_prefix('#')?.split_once('='))
            .find_map(|(k, v)| (k.trim() == key).then_some(v.trim()))
    };
    let header = comment("columns").unwrap_or("id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label");
    let columns = Columns::from_header(path, header.split(','))?;
    let sign = match comment("CoordinateSystem") {
        Some("LPS" | "1") => 1.0,
        None | Some("RAS" | "0") => -1.0,
        Some(other) => return Err(wrong_system(path, other)),
    };
    Ok(to_lps(table(path, text, Some(columns))?, sign))
}

fn wrong_system(path: &Path, found: &str) -> Error {
    wrong(path, "coordinate system", "LPS or RAS", quoted(found), "save the points in LPS")
}

fn to_lps(mut points: Vec<Point>, sign: f64) -> Vec<Point> {
    for point in &mut points {
        point.position[0] *= sign;
        point.position[1] *= sign;
    }
    points
}

/// Slicer's markups, schema
/// <https://github.com/Slicer/Slicer/blob/main/Modules/Loadable/Markups/Resources/Schema>.
fn markups(path: &Path, text: &str) -> Result<Vec<Point>> {
    let advice = "save the markups again";
    let json: Value = serde_json::from_str(text)
        .map_err(|e| wrong(path, "content", "JSON", e.to_string(), advice))?;
    let lists = json["markups"].as_array();
    let lists = lists.ok_or_else(|| wrong(path, "markups", "a list", "none", advice))?;
    let mut points = Vec::new();
    for list in lists {
        let sign = match &list["coordinateSystem"] {
            Value::Null => 1.0,
            Value::String(s) if s == "LPS" => 1.0,
            Value::String(s) if s == "RAS" => -1.0,
            Value::String(other) => return Err(wrong_system(path, other)),
            other => return Err(wrong_system(path, &other.to_string())),
        };
        let placed = list["controlPoints"].as_array().into_iter().flatten().filter(|p| {
            let status = p["positionStatus"].as_str();
            status.is_none_or(|s| s == "defined")
        });
        let points_here: Result<Vec<Point>> = placed.map(|p| control_point(path, p)).collect();
        points.extend(to_lps(points_here?, sign));
    }
    Ok(points)
}

fn control_point(path: &Path, point: &Value) -> Result<Point> {
    let name = point["label"].as_str().filter(|n| !n.is_empty()).map(str::to_owned);
    let numbers: Option<Vec<f64>> = point["position"]
        .as_array()
        .and_then(|p| p.iter().map(|v| v.as_f64().filter(|v| v.is_finite())).collect());
    let position = numbers.and_then(|p| <[f64; 3]>::try_from(p).ok()).ok_or_else(|| {
        let of = name.as_deref().map_or("a control point".into(), quoted);
        let (what, found) = (format!("position of {of}"), quoted(&point["position"].to_string()));
        wrong(path, what, "three finite numbers", found, "place it again")
    })?;
    Ok(Point { name, position })
}

/// Writes landmarks in LPS millimeters; the ending chooses the format.
///
/// - `.csv`, `.txt`: CSV with the columns `x,y,z`, and `name` if any has one.
/// - `.json`, as in `.mrk.json`: Slicer markups, one list of fiducials.
///
/// # Errors
/// Another ending, a place that cannot be written.
pub fn write_points(path: &Path, points: &[Point]) -> Result<()> {
    match ending(path).as_str() {
        "csv" | "txt" => write_table(path, points),
        "json" => write_markups(path, points),
        _ => Err(wrong(
            path,
            "name of a list of points",
            "an ending .csv, .txt or .json (.mrk.json)",
            format!("{:?}", path.file_name().unwrap_or_default()),
            "choose a name that ends so",
        )),
    }
}

fn write_markups(path: &Path, points: &[Point]) -> Result<()> {
    let control_point = |point: &Point| {
        let label = point.name.as_deref().unwrap_or_default();
        json!({"label": label, "position": point.position, "positionStatus": "defined"})
    };
    let control_points: Vec<Value> = points.iter().map(control_point).collect();
    let list = json!({
        "type": "Fiducial",
        "coordinateSystem": "LPS",
        "coordinateUnits": "mm",
        "controlPoints": control_points,
    });
    let file = json!({"@schema": SCHEMA, "markups": [list]});
    write_atomically(path, |out| Ok(serde_json::to_writer_pretty(out, &file)?))
}

fn write_table(path: &Path, points: &[Point]) -> Result<()> {
    let named = points.iter().any(|p| p.name.is_some());
    write_atomically(path, |out| {
        let mut table = csv::Writer::from_writer(out);
        table.write_record(["x", "y", "z"].into_iter().chain(named.then_some("name")))?;
        for point in points {
            let mut row = point.position.map(|v| v.to_string()).to_vec();
            row.extend(named.then(|| point.name.clone().unwrap_or_default()));
            table.write_record(row)?;
        }
        table.flush()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, text: &str) -> Result<Vec<Point>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        read_points(&path)
    }

    fn point(name: Option<&str>, position: [f64; 3]) -> Point {
        Point { name: name.map(str::to_owned), position }
    }

    #[test]
    fn tables_with_and_without_header() {
        let named = read("p.csv", "Label, Z ,y,x,t\ntip,3,2,1,0\n,6,5,4,0\n").unwrap();
        assert_eq!(named, [point(Some("tip"), [1.0, 2.0, 3.0]), point(None, [4.0, 5.0, 6.0])]);
        let bare = read("p.txt", "1,2,3\r\n-4.5,5e1,6\r\n").unwrap();
        assert_eq!(bare, [point(None, [1.0, 2.0, 3.0]), point(None, [-4.5, 50.0, 6.0])]);
    }

    #[test]
    fn slicers_files_are_turned_to_lps() {
        let json = r#"{"markups": [{"coordinateSystem": "RAS", "controlPoints": [
            {"label": "F-1", "position": [1, 2, 3], "positionStatus": "defined"},
            {"label": "F-2", "position": [0, 0, 0], "positionStatus": "undefined"}]}]}"#;
        let expected = [point(Some("F-1"), [-1.0, -2.0, 3.0])];
        assert_eq!(read("a.mrk.json", json).unwrap(), expected);
        let lps = json.replace("RAS", "LPS");
        assert_eq!(read("a.mrk.json", &lps).unwrap()[0].position, [1.0, 2.0, 3.0]);
        let fcsv = "# Markups fiducial file version = 4.10\n# CoordinateSystem = 0\n\
            # columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID\n\
            vtkMRMLMarkupsFiducialNode_0,1,2,3,0,0,0,1,1,1,0,F-1,,\n";
        assert_eq!(read("a.fcsv", fcsv).unwrap(), expected);
        let lps = fcsv.replace("System = 0", "System = LPS");
        assert_eq!(read("a.fcsv", &lps).unwrap()[0].position, [1.0, 2.0, 3.0]);
    }

    #[test]
    fn written_points_come_back_exactly() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.csv");
        let points = [point(Some("a, \"b\""), [0.1, -1e-9, 1.0 / 3.0]), point(None, [4.0; 3])];
        write_points(&path, &points).unwrap();
        assert_eq!(read_points(&path).unwrap(), points);
        write_points(&path, &points[1..]).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "x,y,z\n4,4,4\n");
    }

    #[test]
    fn markups_come_back_as_slicer_keeps_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.mrk.JSON");
        let points = [point(Some("a \"b\" ü"), [0.5, -1e-9, 2.25]), point(None, [4.0; 3])];
        write_points(&path, &points).unwrap();
        assert_eq!(read_points(&path).unwrap(), points);
        let file: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let list = &file["markups"][0];
        assert_eq!((&list["type"], &list["coordinateSystem"]), (&json!("Fiducial"), &json!("LPS")));
        assert_eq!(list["controlPoints"][1]["positionStatus"], "defined");
    }

    #[test]
    fn other_endings_are_not_written() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["p.fcsv", "p", "p.mha"] {
            let path = folder.path().join(name);
            let error = write_points(&path, &[point(None, [4.0; 3])]).unwrap_err().to_string();
            assert!(error.contains(".csv, .txt or .json (.mrk.json)"), "{error}");
            assert!(!path.exists());
        }
    }

    #[test]
    fn what_is_wrong_is_told_by_place() {
        let refused = |name: &str, text: &str, expected: &str| {
            let error = read(name, text).unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains(name), "{expected}: {error}");
        };
        refused("p.csv", "", "at least one");
        refused("p.csv", "x,y\n1,2\n", "expected x, y, z");
        refused("p.csv", "1,2,3,4\n", "expected x, y, z");
        refused("p.csv", "x,y,z\n1,2,3\n1,two,3\n", "y in line 3: expected a finite number");
        refused("p.csv", "x,y,z\n1,2\n", "z in line 2");
        refused("p.csv", "x,y,z\n1,2,inf\n", "finite");
        refused("p.json", "{", "JSON");
        refused("p.json", "{}", "markups");
        refused("p.json", r#"{"markups":[{"coordinateSystem":"XYZ"}]}"#, "LPS or RAS");
        let short = r#"{"markups":[{"controlPoints":[{"label":"A","position":[1,2]}]}]}"#;
        refused("p.json", short, "position of \"A\"");
    }
}
