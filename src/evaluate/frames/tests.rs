use std::path::PathBuf;

use super::*;
use crate::image::Ellipse;
use crate::package::Manifest;

/// Landmarks a to d and z, masks `masks`, and these measurements.
fn manifest(masks: &[&str], measurements: &str) -> Manifest {
    let head = |name: &str, kind: &str, channels: &str, count: usize| {
        format!(
            "[[graphs.heads]]\nname = \"{name}\"\nkind = \"{kind}\"\nnum_channels = {count}\n\
             spatial_shape = [48, 64]\ndtype = \"float32\"\nchannel_def = {channels}\n"
        )
    };
    let mut text = String::from(
        "schema = 1\nname = \"m\"\nversion = \"1\"\ntask = \"landmarks\"\ndescription = \"\"\n\
         license = \"MIT\"\nintended_use = \"\"\nprecision = \"f32\"\n[[graphs]]\nname = \"g\"\n\
         file = \"g\"\nsha256 = \"\"\n[[graphs.inputs]]\nname = \"i\"\nnum_channels = 1\n\
         spatial_shape = [48, 64]\ndtype = \"float32\"\nchannel_def = [\"i\"]\n\
         modality = [\"US\"]\n",
    );
    text += &head("h", "heatmaps", "[\"a\", \"b\", \"c\", \"d\", \"z\"]", 5);
    text += &head("k", "classes", "[\"head\", \"other\"]", 2);
    if !masks.is_empty() {
        text += &head("m", "mask", &format!("{masks:?}"), masks.len());
    }
    text += measurements;
    text += "[golden]\nfile = \"\"\nsha256 = \"\"\n";
    toml::from_str(&text).unwrap()
}

const HC: &str = "[[measurements]]\nname = \"HC\"\nkind = \"circumference\"\nof = [\"skull\"]\n";
const OFD: &str =
    "[[measurements]]\nname = \"OFD\"\nkind = \"long_axis\"\nof = [\"a\", \"b\", \"c\", \"d\"]\n";
const TILT: &str =
    "[[measurements]]\nname = \"tilt\"\nkind = \"angle\"\nof = [\"a\", \"z\", \"b\"]\n";

fn read_as(manifest: &Manifest, csv: &str) -> crate::Result<Vec<FrameCase>> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("i.png"), "").unwrap();
    let path = folder.path().join("cases.csv");
    std::fs::write(&path, csv).unwrap();
    let mut cases = read_frame_cases(&path, manifest, true)?;
    for case in &mut cases {
        case.image = case.image.strip_prefix(folder.path()).unwrap().to_owned();
    }
    Ok(cases)
}

fn read(csv: &str) -> crate::Result<Vec<FrameCase>> {
    read_as(&manifest(&["skull"], &[HC, OFD, TILT].concat()), csv)
}

#[test]
fn every_column_is_read() {
    let csv = "image, MM_per_px, frame, a_x_px, a_y_px, hc_mm, tilt_deg, view, split\n\
               i.png, 0.1;0.2, 3, 1.5, -2, 180, 45, head, val\n\
               i.png, 0.1, , , , , , ,\n";
    let cases = read(csv).unwrap();
    let truth = Truth {
        landmarks: [("a".to_owned(), [1.5, -2.0])].into(),
        outline: None,
        measurements: [("HC".to_owned(), 180.0), ("tilt".to_owned(), 45.0)].into(),
        view: Some("head".into()),
    };
    let image = PathBuf::from("i.png");
    let first = FrameCase {
        image: image.clone(),
        frame: 3,
        mm_per_px: Some([0.1, 0.2]),
        truth: Some(truth),
    };
    let second = FrameCase { image, frame: 0, mm_per_px: Some([0.1; 2]), truth: None };
    assert_eq!(cases, [first, second]);
}

#[test]
fn outlines_are_ellipses_in_millimeters_or_boxes_in_pixels() {
    let csv = "image,center_x_mm,center_y_mm,semi_a_mm,semi_b_mm,angle_rad,\
               disc_x_px,disc_y_px,disc_w_px,disc_h_px\n\
               i.png,10,20,3,5,0,,,,\ni.png,,,,,,8,9,6,4\ni.png,,,,,,,,,\n";
    let cases = read(csv).unwrap();
    let outline = |i: usize| cases[i].truth.as_ref()?.outline.clone();
    let Some(Outline::Ellipse(ellipse)) = outline(0) else { panic!("no ellipse") };
    // semi_b is the long axis, down.
    assert!((ellipse.semi_axes[0] - 5.0).abs() < 1e-9 && ellipse.center == [10.0, 20.0]);
    assert!((ellipse.angle.abs() - std::f64::consts::FRAC_PI_2).abs() < 1e-9);
    let Some(Outline::Box { name, ellipse }) = outline(1) else { panic!("no box") };
    assert_eq!((name.as_str(), ellipse.center), ("disc", [8.0, 9.0]));
    assert!((ellipse.semi_axes[0] - 3.0).abs() < 1e-9 && (ellipse.semi_axes[1] - 2.0).abs() < 1e-9);
    assert_eq!(outline(2), None);
}

#[test]
fn what_is_malformed_is_named() {
    let line = |csv: &str| read(csv).unwrap_err().to_string();
    for (csv, parts) in [
        ("img,view\ni.png,head\n", &["line 1", "\"image\""][..]),
        ("imgae,view\ni.png,head\n", &["line 1", "\"image\"", "\"imgae\""]),
        ("image,view,mm_per_pixel\ni.png,head,1\n", &["\"mm_per_px\"", "\"mm_per_pixel\""]),
        ("image,view,View\ni.png,head,head\n", &["line 1", "twice"]),
        ("image,e_x_px\ni.png,1\n", &["\"e_x_px\"", "\"a\"", "skull", "hc_mm"]),
        ("image,mm_per_px\ni.png,1\n", &["line 1", "at least one column of truth"]),
        ("image,view\n", &["at least one frame"]),
        ("image,view\ni.png\n", &["line 2"]),
        ("image,view\ni.png,head\n,head\n", &["line 3, image", "nothing"]),
        ("image,view\nno.png,head\n", &["line 2, image", "a file that is there", "no.png"]),
        ("image,view\ni.png,heed\n", &["line 2, view", "head", "\"heed\""]),
        ("image,view,frame\ni.png,head,-1\n", &["line 2, frame", "\"-1\""]),
        ("image,view,mm_per_px\ni.png,head,0\n", &["line 2, mm_per_px", "\"0\""]),
        ("image,view,mm_per_px\ni.png,head,1;2;3\n", &["line 2, mm_per_px"]),
        ("image,a_x_px,a_y_px\ni.png,1,\n", &["line 2, a_y_px", "nothing"]),
        ("image,a_x_px,a_y_px\ni.png,1,nan\n", &["line 2, a_y_px", "\"nan\""]),
        ("image,hc_mm\ni.png,1e999\n", &["line 2, hc_mm"]),
        ("image,center_x_mm,semi_a_mm\ni.png,1,2\n", &["line 2, angle_rad"]),
        (
            "image,k_x_px,k_y_px,k_w_px,k_h_px\ni.png,1,1,-2,2\n",
            &["line 2, k_w_px", "above 0", "\"-2\""],
        ),
    ] {
        let error = line(csv);
        assert!(error.contains("cases.csv"), "{error}");
        for part in parts {
            assert!(error.contains(part), "{part:?} is missing in: {error}");
        }
    }
}

/// 25 and 15 mm, in pixels of 0.5 mm.
fn ellipse() -> Truth {
    let ellipse = Ellipse { center: [40.0, 30.0], semi_axes: [25.0, 15.0], angle: 0.3 };
    Truth { outline: Some(Outline::Ellipse(ellipse)), ..Truth::default() }
}

#[test]
fn the_manifest_says_what_an_ellipse_is_the_truth_of() {
    let manifest = manifest(&["skull", "brain"], &[HC, OFD, TILT].concat());
    let rules = Rules::new(&manifest, &[]).unwrap();
    let mm = Some([0.5, 0.5]);
    let mut truth = ellipse();
    let expected = rules.expected(&truth, mm, "i").unwrap();
    let region = expected.region.unwrap();
    assert_eq!((region.mask.as_deref(), region.as_ellipse), (Some("skull"), true));
    let in_pixels = Ellipse { center: [80.0, 60.0], semi_axes: [50.0, 30.0], angle: 0.3 };
    for (name, end) in ["a", "b", "c", "d"].iter().zip(in_pixels.ends()) {
        let found = expected.landmarks[*name];
        assert!((found[0] - end[0]).hypot(found[1] - end[1]) < 1e-9, "{name}");
    }
    assert_eq!(expected.landmarks.len(), 4);
    let around = Ellipse { semi_axes: [25.0, 15.0], ..in_pixels }.circumference();
    let [hc, ofd] = ["HC", "OFD"].map(|name| expected.measurements[name]);
    assert!((hc.0 - around).abs() < 1e-9 && (ofd.0 - 50.0).abs() < 1e-9);
    assert_eq!((hc.1, ofd.1, expected.measurements.len()), ("mm", "mm", 2));
    // What is told wins; an angle follows from landmarks.
    truth.measurements.insert("HC".into(), 130.0);
    truth.landmarks.insert("a".into(), [10.0, 20.0]);
    truth.landmarks.insert("z".into(), [0.0, 0.0]);
    let expected = rules.expected(&truth, mm, "i").unwrap();
    assert_eq!(
        (expected.measurements["HC"], expected.landmarks["a"]),
        ((130.0, "mm"), [10.0, 20.0])
    );
    let b = in_pixels.ends()[1];
    let angle = (20f64.atan2(10.0) - b[1].atan2(b[0])).abs().to_degrees();
    let tilt = expected.measurements["tilt"];
    assert!((tilt.0 - angle).abs() < 1e-9 && tilt.1 == "deg", "{tilt:?} {angle}");
    // Without a pixel size there are no millimeters.
    let error = rules.expected(&truth, None, "i.png").unwrap_err().to_string();
    assert!(error.contains("i.png") && error.contains("mm_per_px"), "{error}");
}

#[test]
fn an_outline_that_fits_nothing_or_several_things_is_refused() {
    let case = |truth: Truth| FrameCase {
        image: "i.png".into(),
        frame: 0,
        mm_per_px: None,
        truth: Some(truth),
    };
    let boxed = |name: &str| {
        let ellipse = Ellipse { center: [9.0; 2], semi_axes: [3.0, 2.0], angle: 0.0 };
        let outline = Some(Outline::Box { name: name.into(), ellipse });
        Truth { outline, ..Truth::default() }
    };
    let refused = |manifest: &Manifest, truth: Truth| {
        Rules::new(manifest, &[case(truth)]).err().map(|e| e.to_string()).unwrap_or_default()
    };
    let second = HC.replace("HC", "AC").replace("skull", "belly");
    let both = manifest(&["skull", "belly"], &[HC, &second].concat());
    assert!(refused(&both, ellipse()).contains("several things"));
    assert_eq!(refused(&both, boxed("belly")), "");
    assert!(refused(&both, boxed("disc")).contains("\"disc\""));
    let none = manifest(&[], TILT);
    assert!(refused(&none, ellipse()).contains("nothing that it finds"));
    // One mask needs no name, and no measurement.
    let one = manifest(&["skull"], "");
    assert_eq!((refused(&one, ellipse()), refused(&one, boxed("disc"))), ("".into(), "".into()));
    let expected = Rules::new(&one, &[]).unwrap().expected(&boxed("disc"), None, "i").unwrap();
    let region = expected.region.unwrap();
    assert_eq!((region.mask.as_deref(), region.as_ellipse), (Some("skull"), false));
}
