//! Finding a package by path or by name.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{MANIFEST, Package};
use crate::{Error, Result};

/// The package inside the binary, for the demo.
pub const DEMO: &str = "demo";

/// The folders in which names are looked up, in this order.
fn folders() -> Vec<PathBuf> {
    let own = std::env::var_os("INTRAOP_MODELS");
    let own = own.iter().flat_map(std::env::split_paths).filter(|p| !p.as_os_str().is_empty());
    own.chain(["models".into(), "/usr/share/intraop/models".into()]).collect()
}

/// The package at a path, or by name in `$INTRAOP_MODELS` (folders separated by `:`),
/// `./models`, `/usr/share/intraop/models`, or inside the binary.
///
/// # Errors
/// [`Error::ModelNotFound`] with the places looked in, and those of [`Package::load`].
pub fn find(name: &str) -> Result<Package> {
    let path = Path::new(name);
    let is_name = path.components().count() == 1 && !name.starts_with('.');
    if !is_name || path.join(MANIFEST).is_file() || path.is_file() {
        return match path.exists() {
            true => Package::load(path),
            false => Err(not_found(name, vec![name.to_string()])),
        };
    }
    for folder in folders() {
        for candidate in [folder.join(name), folder.join(format!("{name}.tar"))] {
            if candidate.exists() {
                return Package::load(&candidate);
            }
        }
    }
    if name == DEMO {
        return builtin();
    }
    let mut places: Vec<String> = folders().iter().map(|f| f.display().to_string()).collect();
    places.push("the packages inside the binary".into());
    Err(not_found(name, places))
}

fn not_found(name: &str, looked_in: Vec<String>) -> Error {
    Error::ModelNotFound { name: name.into(), looked_in }
}

/// Every package that [`find`] would find by name, the first of each name; broken ones as errors.
pub fn list() -> Vec<(String, Result<Package>)> {
    let mut found = BTreeMap::new();
    for folder in folders() {
        let Ok(entries) = folder.read_dir() else { continue };
        for path in entries.flatten().map(|e| e.path()) {
            let is_tar = path.extension().is_some_and(|e| e == "tar");
            if !is_tar && !path.join(MANIFEST).is_file() {
                continue;
            }
            let name = if is_tar { path.file_stem() } else { path.file_name() };
            let name = name.unwrap_or_default().to_string_lossy().into_owned();
            found.entry(name).or_insert_with(|| Package::load(&path));
        }
    }
    found.entry(DEMO.into()).or_insert_with(builtin);
    found.into_iter().collect()
}

/// The demo's package, compiled into the binary.
fn builtin() -> Result<Package> {
    macro_rules! file {
        ($name:literal) => {
            include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/demo/", $name))
        };
    }
    let files: [(&str, &[u8]); 3] = [
        ("affine.onnx", file!("affine.onnx")),
        ("flow1.onnx", file!("flow1.onnx")),
        ("golden.json", file!("golden.json")),
    ];
    let files = files.map(|(name, bytes)| (name.to_string(), bytes.to_vec()));
    Package::from_files(Path::new("<inside the binary>/demo"), file!("package.toml"), files.into())
}
