//! Packages: lookup, verification, and what is said of broken ones.

use std::path::{Path, PathBuf};

use crate::common::{ROOT, fails, intraop, ok, run};

/// A copy of the demo's package to break.
fn copy() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy");
    std::fs::create_dir(&copy).unwrap();
    for entry in Path::new(ROOT).join("models/demo").read_dir().unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, copy.join(path.file_name().unwrap())).unwrap();
    }
    (folder, copy)
}

fn edit(package: &Path, from: &str, to: &str) {
    let path = package.join("package.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{from:?} is not in the manifest:\n{text}");
    std::fs::write(path, text.replacen(from, to, 1)).unwrap();
}

fn verify(package: &Path) -> std::process::Output {
    run(["models".as_ref(), "verify".as_ref(), package.as_os_str()])
}

#[test]
fn packages_are_found_by_name_path_and_in_the_binary() {
    assert!(ok(&run(["models", "list"])).contains("demo"));
    assert!(ok(&run(["models", "verify", "demo"])).contains("are right"));
    let (folder, package) = copy();
    ok(&verify(&package));
    // By name in $INTRAOP_MODELS, also from a folder without models; and the one in the binary.
    let elsewhere = tempfile::tempdir().unwrap();
    let mut command = intraop();
    command.current_dir(&elsewhere).args(["models", "verify", "copy"]);
    fails(&command.output().unwrap(), 2, &["model copy: not found in", "INTRAOP_MODELS"]);
    ok(&command.env("INTRAOP_MODELS", folder.path()).output().unwrap());
    let builtin = intraop().current_dir(&elsewhere).args(["models", "verify", "demo"]).output();
    ok(&builtin.unwrap());
    let shown = ok(&run(["models", "show", "demo", "--json"]));
    let manifest: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(manifest["task"], "registration");
    fails(&run(["models", "verify", "/no/such/package"]), 2, &["/no/such/package: not found"]);
}

/// Manifests of before American spelling.
#[test]
fn old_spellings_load() {
    let (_folder, package) = copy();
    edit(&package, "op = \"normalize\"", "op = \"normalise\"");
    edit(&package, "initial = \"header\"", "initial = \"centres\"");
    ok(&verify(&package));
}

#[test]
fn a_tar_is_a_package_too() {
    let (folder, package) = copy();
    for (name, arguments) in [("folder.tar", vec!["copy"]), ("flat.tar", vec!["-C", "copy", "."])] {
        let tar = folder.path().join(name);
        let status = std::process::Command::new("tar")
            .current_dir(folder.path())
            .arg("cf")
            .arg(&tar)
            .args(arguments)
            .status();
        assert!(status.unwrap().success());
        ok(&verify(&tar));
    }
    let garbage = folder.path().join("garbage.tar");
    std::fs::write(&garbage, [7u8; 3000]).unwrap();
    fails(&verify(&garbage), 2, &["garbage.tar: tar", "found no whole tar"]);
    std::fs::remove_file(package.join("flow1.onnx")).unwrap();
    fails(&verify(&package), 2, &["flow1.onnx: cannot be read"]);
}

#[test]
fn errors_name_the_field() {
    let cases: [(&str, &str, &[&str]); 7] = [
        ("schema = 1", "schema = 9", &["schema: expected 1, found 9"]),
        ("task = ", "tusk = ", &["package.toml line", "tusk"]),
        ("kind = \"affine\"", "kind = \"weather\"", &["package.toml line", "weather"]),
        ("file = \"flow1.onnx\"", "file = \"../flow1.onnx\"", &["inside the package"]),
        ("units = \"voxels\"", "units = \"pixels\"", &["units: expected voxels"]),
        ("name = \"flow\"", "name = \"flew\"", &["heads: expected flow", "flew"]),
        ("orientation = \"LPS\"", "orientation = \"LLS\"", &["package.toml line", "LLS"]),
    ];
    for (from, to, parts) in cases {
        let (_folder, package) = copy();
        edit(&package, from, to);
        fails(&verify(&package), 2, parts);
    }
}

#[test]
fn changed_files_and_other_shapes_are_refused() {
    let (_folder, package) = copy();
    let onnx = package.join("flow1.onnx");
    let mut bytes = std::fs::read(&onnx).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&onnx, &bytes).unwrap();
    fails(&verify(&package), 2, &["sha256 of flow1.onnx", "damaged"]);

    let (_folder, package) = copy();
    let path = package.join("package.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("64", "48")).unwrap();
    // The hashes hold a 64 too, so only shapes are replaced here.
    let text = std::fs::read_to_string(&path).unwrap();
    let original =
        std::fs::read_to_string(Path::new(ROOT).join("models/demo/package.toml")).unwrap();
    let restored: Vec<String> = text
        .lines()
        .zip(original.lines())
        .map(|(new, old)| if old.contains("sha256") { old.into() } else { new.into() })
        .collect();
    std::fs::write(&path, restored.join("\n")).unwrap();
    fails(&verify(&package), 2, &["as in affine.onnx", "48", "64"]);

    let (_folder, package) = copy();
    std::fs::write(package.join("flow1.onnx"), b"not a network").unwrap();
    rehash(&package, "flow1.onnx");
    fails(&verify(&package), 1, &["flow1.onnx", "models verify"]);
}

#[test]
fn a_golden_case_that_is_not_met_is_exit_code_3() {
    let (_folder, package) = copy();
    let path = package.join("golden.json");
    let mut golden: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    let value = &mut golden["outputs"]["flow1"]["flow"]["values"][40];
    *value = serde_json::json!(value.as_f64().unwrap() + 1.0);
    std::fs::write(&path, golden.to_string()).unwrap();
    rehash(&package, "golden.json");
    fails(&verify(&package), 3, &["check not met", "flow1"]);
}

/// Writes the true hash of a changed file into the manifest.
fn rehash(package: &Path, name: &str) {
    let hash = intraop::package::sha256(&std::fs::read(package.join(name)).unwrap());
    let path = package.join("package.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let at = text.find(&format!("file = \"{name}\"")).unwrap();
    let start = at + text[at..].find("sha256 = \"").unwrap() + "sha256 = \"".len();
    let mut text = text;
    text.replace_range(start..start + 64, &hash);
    std::fs::write(path, text).unwrap();
}

/// The manifest's shape already holds what later tasks need: a package for frames loads and can be
/// shown; only registering with it is refused.
#[test]
fn a_manifest_for_frames_loads() {
    let (folder, package) = copy();
    let text = std::fs::read_to_string(package.join("package.toml")).unwrap();
    let golden = text.find("[golden]").unwrap();
    let preamble =
        text[..text.find("[grid]").unwrap()].replace("\"registration\"", "\"landmarks\"");
    let input = |channel: &str| {
        format!(
            "[[graphs.inputs]]\nname = \"pair\"\nnum_channels = 1\nspatial_shape = [256, 256]\n\
             dtype = \"float32\"\nchannel_def = [\"{channel}\"]\nmodality = [\"US\"]\n"
        )
    };
    let maps = "num_channels = 2\nspatial_shape = [64, 64]";
    let units = "num_channels = 4\nunits = \"pixels\"";
    let heads: String = [
        ("heatmaps", maps),
        ("coordinates", units),
        ("mask", maps),
        ("classes", "num_channels = 2"),
    ]
    .map(|(kind, keys)| {
        format!(
            "[[graphs.heads]]\nname = \"{kind}\"\nkind = \"{kind}\"\n{keys}\n\
             dtype = \"float32\"\nchannel_def = [\"{kind} a\", \"{kind} b\"]\n"
        )
    })
    .concat();
    let hash = intraop::package::sha256(&std::fs::read(package.join("flow1.onnx")).unwrap());
    let graph = format!("[[graphs]]\nname = \"net\"\nfile = \"flow1.onnx\"\nsha256 = \"{hash}\"\n");
    let manifest = format!("{preamble}{graph}{}{heads}{}", input("image"), &text[golden..]);
    std::fs::write(package.join("package.toml"), manifest).unwrap();
    let shown = ok(&run(["models".as_ref(), "show".as_ref(), package.as_os_str()]));
    assert!(shown.contains("Landmarks") && shown.contains("Heatmaps"), "{shown}");
    let mut command = intraop();
    command.args(["register", "a.nii", "b.nii", "--model"]).arg(&package);
    let out = folder.path().join("out");
    fails(&command.arg("--out").arg(&out).output().unwrap(), 2, &["copy"]);
    assert!(!out.exists());
}

/// What a plain build says of operators that only the fallback engine runs, and of the import.
#[cfg(not(feature = "full"))]
#[test]
fn a_plain_build_says_how_to_build_a_full_one() {
    use crate::common::dots;
    use prost::Message;
    let folder = tempfile::tempdir().unwrap();
    dots::write(folder.path());
    let mut model = dots::onnx();
    let nodes = &mut model.graph.as_mut().unwrap().node;
    nodes.iter_mut().find(|n| n.op_type == "Relu").unwrap().op_type = "Softsign".into();
    std::fs::write(folder.path().join("dots.onnx"), model.encode_to_vec()).unwrap();
    rehash(folder.path(), "dots.onnx");
    fails(&verify(folder.path()), 1, &["Softsign", "cargo build --release --features full"]);
    let import = run(["models", "import", "net.onnx", "--out", "never", "--head", "y=mask"]);
    let again = "cargo run --release --features full -- models import net.onnx --out never";
    fails(&import, 2, &[again]);
}
