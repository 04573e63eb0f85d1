//! From a folder, a tar or the binary itself to a checked package.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::frame_rules;
use super::{GoldenCase, Head, HeadKind, Input, Manifest, SCHEMA, Task, Units};
use crate::io::open_regular;
use crate::preprocess::{self, GridSpec, Step};
use crate::{Error, Result};

/// The manifest's name in every package.
pub const MANIFEST: &str = "package.toml";

/// No file of a package may be larger; networks for this runtime are a few megabytes.
pub const LARGEST_FILE: u64 = 1 << 30;

/// A package whose manifest is consistent and whose files have the stated hashes.
#[derive(Debug, Clone)]
pub struct Package {
    pub manifest: Manifest,
    /// Where it came from, for messages.
    pub path: PathBuf,
    files: BTreeMap<String, Vec<u8>>,
}

impl Package {
    /// Loads a folder, or a tar of one (the manifest at its top or one folder down).
    ///
    /// # Errors
    /// [`Error::Unreadable`], and [`Error::Package`] naming the field that is wrong.
    pub fn load(path: &Path) -> Result<Self> {
        if path.is_dir() {
            let read = |name: &str| read_file(&path.join(name));
            let manifest = parse(path, &read(MANIFEST)?)?;
            let names = file_names(&manifest).map(|name| {
                inside_package(path, name)?;
                Ok((name.to_string(), read(name)?))
            });
            let files = names.collect::<Result<_>>()?;
            return Package { manifest, path: path.to_owned(), files }.checked();
        }
        let mut entries = read_tar(path)?;
        let manifest = entries.remove(MANIFEST).ok_or_else(|| {
            wrong(path, MANIFEST, "the manifest", "no such file", "pack the folder's content")
        })?;
        Self::from_files(path, &manifest, entries)
    }

    /// A package from bytes in memory: those inside the binary, or an unpacked tar.
    ///
    /// # Errors
    /// [`Error::Package`] naming the field that is wrong.
    pub fn from_files(
        path: &Path,
        manifest: &[u8],
        files: BTreeMap<String, Vec<u8>>,
    ) -> Result<Self> {
        let manifest = parse(path, manifest)?;
        for name in file_names(&manifest) {
            if !files.contains_key(name) {
                return Err(wrong(path, name, "a file of the package", "none", "pack it again"));
            }
        }
        Package { manifest, path: path.to_owned(), files }.checked()
    }

    /// The bytes of a file that the manifest names.
    pub fn file(&self, name: &str) -> &[u8] {
        &self.files[name]
    }

    /// The files that the manifest does not name, such as the model card and the license; of a
    /// folder those at its top.
    ///
    /// # Errors
    /// [`Error::Unreadable`], and [`Error::Package`] for a file of more than 1 GiB.
    pub fn other_files(&self) -> Result<BTreeMap<String, Vec<u8>>> {
        let unreadable = |source| Error::Unreadable { path: self.path.clone(), source };
        let named: Vec<&str> = file_names(&self.manifest).chain([MANIFEST]).collect();
        if !self.path.is_dir() {
            let other = |(name, _): &(&String, &Vec<u8>)| !named.contains(&name.as_str());
            let files = self.files.iter().filter(other);
            return Ok(files.map(|(name, bytes)| (name.clone(), bytes.clone())).collect());
        }
        let mut files = BTreeMap::new();
        for entry in self.path.read_dir().map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.path().is_file() && !named.contains(&name.as_str()) {
                files.insert(name, read_file(&entry.path())?);
            }
        }
        Ok(files)
    }

    /// The golden case.
    ///
    /// # Errors
    /// [`Error::Package`] when the file is not a golden case.
    pub fn golden(&self) -> Result<GoldenCase> {
        let name = &self.manifest.golden.file;
        serde_json::from_slice(self.file(name))
            .map_err(|e| wrong(&self.path, name, "a golden case", e, "export the package again"))
    }

    /// How volumes are laid on the package's grid, and its size, x, y, z.
    ///
    /// # Errors
    /// [`Error::Package`] for a package for frames, which has no such grid.
    pub fn grid(&self) -> Result<(&GridSpec, [usize; 3])> {
        // Checked on loading: every package has a graph with an input.
        let shape = &self.manifest.graphs[0].inputs[0].spatial_shape;
        match (&self.manifest.grid, &shape[..]) {
            (Some(grid), [z, y, x]) => Ok((grid, [*x, *y, *z])),
            _ => Err(wrong(&self.path, "grid", "a package for volumes", "none", "use another")),
        }
    }

    fn checked(self) -> Result<Self> {
        let hashes = (self.manifest.graphs.iter().map(|g| (&g.file, &g.sha256)))
            .chain([(&self.manifest.golden.file, &self.manifest.golden.sha256)]);
        for (name, expected) in hashes {
            let found = sha256(self.file(name));
            if found != *expected {
                return Err(wrong(
                    &self.path,
                    format!("sha256 of {name}"),
                    expected,
                    found,
                    "the file was changed or damaged: fetch the package again",
                ));
            }
        }
        Ok(self)
    }
}

/// SHA-256 as lower-case hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

fn wrong(
    package: &Path,
    field: impl Into<String>,
    expected: impl Into<String>,
    found: impl ToString,
    advice: &str,
) -> Error {
    Error::Package {
        package: package.to_owned(),
        field: field.into().into_boxed_str(),
        expected: expected.into(),
        found: found.to_string(),
        advice: advice.into(),
    }
}

fn file_names(manifest: &Manifest) -> impl Iterator<Item = &str> {
    let graphs = manifest.graphs.iter().map(|g| g.file.as_str());
    graphs.chain([manifest.golden.file.as_str()])
}

/// Refuses names that lead out of the package.
fn inside_package(package: &Path, name: &str) -> Result<()> {
    let plain = Path::new(name).components().all(|c| matches!(c, std::path::Component::Normal(_)));
    let real = |p: &Path| p.canonicalize().unwrap_or_else(|_| p.to_owned());
    if plain && real(&package.join(name)).starts_with(real(package)) {
        return Ok(());
    }
    Err(wrong(package, "file", "a path inside the package", name, "move the file there"))
}

pub fn read_file(path: &Path) -> Result<Vec<u8>> {
    let unreadable = |source| Error::Unreadable { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    open_regular(path)?.take(LARGEST_FILE + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > LARGEST_FILE {
        return Err(wrong(path, "size", "at most 1 GiB", "more", "use a smaller network"));
    }
    Ok(bytes)
}

fn read_tar(path: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    // tar's own messages show the bytes that it did not understand.
    let broken = |_: std::io::Error| {
        wrong(path, "tar", "a package folder or a tar of one", "no whole tar", "check the path")
    };
    let file = open_regular(path)?;
    let mut files = BTreeMap::new();
    for entry in tar::Archive::new(file).entries().map_err(broken)? {
        let entry = entry.map_err(broken)?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let name = entry.path().map_err(broken)?.to_string_lossy().into_owned();
        let mut bytes = Vec::new();
        entry.take(LARGEST_FILE).read_to_end(&mut bytes).map_err(broken)?;
        files.insert(name.trim_start_matches("./").to_string(), bytes);
    }
    // `tar c folder` puts everything one folder down.
    if !files.contains_key(MANIFEST) {
        let inner = files.keys().find_map(|n| n.strip_suffix(&format!("/{MANIFEST}")));
        if let Some(top) = inner.map(|top| format!("{top}/")) {
            files = files
                .into_iter()
                .filter_map(|(n, bytes)| Some((n.strip_prefix(&top)?.to_string(), bytes)))
                .collect();
        }
    }
    Ok(files)
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Manifest> {
    let text = std::str::from_utf8(bytes)
        .map_err(|e| wrong(path, MANIFEST, "UTF-8 text", e, "save it as UTF-8"))?;
    let manifest: Manifest = toml::from_str(text).map_err(|e| {
        let line = e.span().map_or(0, |s| text[..s.start].matches('\n').count() + 1);
        let found = e.message().replace('\n', " ");
        let field = format!("{MANIFEST} line {line}");
        wrong(path, field, "a manifest as docs/packages.md describes", found, "correct it")
    })?;
    check(path, &manifest)?;
    Ok(manifest)
}

/// What the types cannot say: counts, shapes and names that must fit each other.
fn check(path: &Path, m: &Manifest) -> Result<()> {
    let fail = |field: String, expected: &str, found: String| {
        Err(wrong(path, field, expected, found, "correct package.toml"))
    };
    if m.schema != SCHEMA {
        return fail("schema".into(), "1", m.schema.to_string());
    }
    if let Some(grid) = &m.grid
        && !grid.spacing_mm.iter().all(|s| s.is_finite() && *s > 0.0)
    {
        let found = format!("{:?}", grid.spacing_mm);
        return fail("grid.spacing_mm".into(), "positive numbers", found);
    }
    let Some(first) = m.graphs.first().and_then(|g| g.inputs.first()) else {
        return fail("graphs".into(), "at least one graph with an input", "none".into());
    };
    if (first.spatial_shape.len() == 3) != m.grid.is_some() {
        let expected = "[grid] for volumes (z, y, x), none for frames (y, x)";
        let found = if m.grid.is_some() { "[grid] for frames" } else { "none for volumes" };
        return fail("grid".into(), expected, found.into());
    }
    if let Some((field, expected, found)) = step_defect(&m.preprocess, m.grid.is_some()) {
        return fail(field, expected, found);
    }
    for graph in &m.graphs {
        let at = |field: &str| format!("graphs.{}.{field}", graph.name);
        if graph.inputs.len() != 1 || graph.heads.is_empty() {
            let found = format!("{} inputs, {} heads", graph.inputs.len(), graph.heads.len());
            return fail(at("inputs"), "one input and at least one head", found);
        }
        let input = &graph.inputs[0];
        if let Some((field, expected, found)) = input_defect(input) {
            return fail(at(&format!("inputs.{}.{field}", input.name)), &expected, found);
        }
        if input.spatial_shape != first.spatial_shape {
            let found = format!("{:?} beside {:?}", input.spatial_shape, first.spatial_shape);
            return fail(at("inputs.spatial_shape"), "the same grid for every graph", found);
        }
        for head in &graph.heads {
            if let Some((field, expected, found)) = head_defect(head, input) {
                return fail(at(&format!("heads.{}.{field}", head.name)), &expected, found);
            }
        }
    }
    if m.task == Task::Registration {
        return check_registration(path, m);
    }
    let defect = if m.grid.is_none() { frame_rules::defect(m) } else { None };
    defect.map_or(Ok(()), |(field, expected, found)| fail(field, &expected, found))
}

/// What is wrong with the preprocessing: of what, what was expected, what was found.
fn step_defect(steps: &[Step], volumes: bool) -> Option<(String, &'static str, String)> {
    let of_frames = |step: &Step| !matches!(step, Step::Normalize(_));
    if let Some(at) = steps.iter().position(of_frames).filter(|_| volumes) {
        let found = format!("{:?}", steps[at]);
        return Some((format!("preprocess, step {}", at + 1), "normalize, for volumes", found));
    }
    let (at, (what, expected, found)) = preprocess::defect(steps)?;
    Some((format!("preprocess, step {}, {what}", at + 1), expected, found))
}

type Defect = (&'static str, String, String);

fn input_defect(input: &Input) -> Option<Defect> {
    let shape = &input.spatial_shape;
    // Larger inputs than this could not be computed on anything this runtime is for.
    let voxels = shape.iter().try_fold(1usize, |n, s| n.checked_mul(*s)).unwrap_or(usize::MAX);
    if !(2..=3).contains(&shape.len()) || voxels == 0 || voxels > 1 << 28 || input.num_channels > 64
    {
        let expected = "axes (z, y, x) or (y, x), at most 2^28 voxels and 64 channels";
        return Some(("spatial_shape", expected.into(), format!("{shape:?}")));
    }
    let per_channel =
        input.channel_def.len() == input.num_channels && input.modality.len() == input.num_channels;
    if !per_channel {
        let expected = format!("channel_def and modality of {} entries", input.num_channels);
        let found = format!("{:?} and {:?}", input.channel_def, input.modality);
        return Some(("channel_def", expected, found));
    }
    None
}

fn head_defect(head: &Head, input: &Input) -> Option<Defect> {
    match head.kind {
        HeadKind::Displacement => {
            let mut axes = head.channel_def.clone();
            axes.sort();
            if head.num_channels != 3 || axes != ["x", "y", "z"] {
                let found = format!("{} of {:?}", head.num_channels, head.channel_def);
                return Some(("channel_def", "3 channels: x, y and z once each".into(), found));
            }
            if head.units != Some(Units::Voxels) {
                return Some(("units", "voxels".into(), format!("{:?}", head.units)));
            }
            (head.spatial_shape != input.spatial_shape).then(|| {
                let expected = format!("the input's {:?}", input.spatial_shape);
                ("spatial_shape", expected, format!("{:?}", head.spatial_shape))
            })
        }
        HeadKind::Affine => {
            (head.num_channels != 12 || !head.spatial_shape.is_empty()).then(|| {
                let found = format!("{} channels, {:?}", head.num_channels, head.spatial_shape);
                ("num_channels", "12, without spatial_shape".into(), found)
            })
        }
        _ => frame_rules::head_defect(head, &input.spatial_shape),
    }
}

/// A registration package is at most one affine graph, then displacement graphs; each sees
/// (fixed, moving) and has one head.
fn check_registration(path: &Path, m: &Manifest) -> Result<()> {
    let fail = |field: String, expected: &str, found: String| {
        Err(wrong(path, field, expected, found, "correct package.toml"))
    };
    for (i, graph) in m.graphs.iter().enumerate() {
        let field = format!("graphs.{}", graph.name);
        if graph.inputs[0].spatial_shape.len() != 3 {
            let found = format!("{:?}", graph.inputs[0].spatial_shape);
            return fail(field + ".inputs.spatial_shape", "three axes (z, y, x)", found);
        }
        if graph.inputs[0].channel_def != ["fixed", "moving"] {
            let found = format!("{:?}", graph.inputs[0].channel_def);
            return fail(field + ".inputs.channel_def", "[\"fixed\", \"moving\"]", found);
        }
        let kinds: Vec<HeadKind> = graph.heads.iter().map(|h| h.kind).collect();
        match kinds[..] {
            [HeadKind::Displacement] => {}
            [HeadKind::Affine] if i == 0 => {}
            _ => {
                let expected = "one displacement head, or in the first graph one affine head";
                return fail(field + ".heads", expected, format!("{kinds:?}"));
            }
        }
    }
    Ok(())
}
