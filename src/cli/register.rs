use std::path::{Path, PathBuf};

use crate::io::{self, FieldConvention, Point, ScalarType};
use crate::probe::{Stage, timed};
use crate::registration::{Case, CaseResult, Report, register_case};
use crate::{Error, Result, display, package, phantom};

use super::output::Output;
use super::{Registration, Run, Watch, print_json, to_json};

/// Register MOVING to FIXED: warped image, field, inverse field, preview and report
#[derive(clap::Args)]
pub(super) struct Register {
    /// The image that stays (.nii, .nii.gz, .mha, .mhd)
    #[arg(required_unless_present = "demo")]
    fixed: Option<PathBuf>,
    /// The image that is brought to it
    #[arg(required_unless_present = "demo")]
    moving: Option<PathBuf>,
    /// Model: a name (see `intraop models list`), a folder or a tar
    #[arg(long, required_unless_present = "demo")]
    model: Option<String>,
    /// Folder for the results
    #[arg(long)]
    out: PathBuf,
    /// Use a built-in phantom pair and model: needs no data
    #[arg(long, conflicts_with_all = ["fixed", "moving", "fixed_labels", "moving_labels", "fixed_points", "moving_points"])]
    demo: bool,
    /// Labels on the fixed image's grid, to measure overlap with
    #[arg(long, value_name = "F")]
    fixed_labels: Option<PathBuf>,
    /// Labels on the moving image's grid, to warp
    #[arg(long, value_name = "L")]
    moving_labels: Option<PathBuf>,
    /// Points of the fixed image (CSV x,y,z in LPS mm, or .mrk.json), to measure the error with
    #[arg(long, value_name = "P")]
    fixed_points: Option<PathBuf>,
    /// Points of the moving image, to carry to the fixed image
    #[arg(long, value_name = "P")]
    moving_points: Option<PathBuf>,
    #[command(flatten)]
    registration: Registration,
    /// How to write the fields: itk (= ants), metaimage, voxelmorph, learn2reg
    #[arg(long, value_name = "C", default_value = "itk")]
    field_convention: FieldConvention,
    #[command(flatten)]
    run: Run,
    /// Print report.json to stdout
    #[arg(long)]
    json: bool,
}

/// A case and what is needed to write its results as they came.
struct Input {
    case: Case,
    scalar: ScalarType,
    moving_points: Vec<Point>,
}

impl Register {
    pub fn run(&self) -> Result<()> {
        let mut watch = Watch::new();
        let options = self.registration.options()?;
        let output = Output::create(&self.out)?;
        let model = self.model.as_deref().unwrap_or(package::DEMO);
        let session = self.run.session(model, &mut watch)?;
        let input = timed(&mut watch, Stage::Read, || self.read())?;
        let result = register_case(&session, &input.case, &options, &mut watch)
            .map_err(|e| self.with_file(e))?;
        self.write(&output, &input, &result, &mut watch)?;
        let total = watch.start.elapsed();
        let report = Report::new(&session, result.measures, &watch.times, total);
        let path = output.path("report.json");
        io::write_atomically(&path, |w| writeln!(w, "{}", to_json(&report)))?;
        super::check_interrupt()?;
        output.commit()?;
        for warning in &report.measures.warnings {
            log::warn!("{warning}");
        }
        if self.json {
            print_json(&report);
        } else {
            println!("{}", summary(&report, &self.out));
        }
        Ok(())
    }

    /// The library does not know the files of the images it complains about.
    fn with_file(&self, error: Error) -> Error {
        let Error::Unusable { name, problem, advice } = error else { return error };
        let file = |path: &Option<PathBuf>| path.as_ref().map(|p| p.display().to_string());
        let file = match name.as_str() {
            "fixed image" => file(&self.fixed),
            "moving image" => file(&self.moving),
            "fixed labels" => file(&self.fixed_labels),
            "moving labels" => file(&self.moving_labels),
            "moving points" => file(&self.moving_points),
            "initial transform" => self.registration.init.clone(),
            "fixed and moving image" => match (&self.fixed, &self.moving) {
                (Some(f), Some(m)) => Some(format!("{} and {}", f.display(), m.display())),
                _ => None,
            },
            _ => None,
        };
        Error::Unusable { name: file.unwrap_or(name), problem, advice }
    }

    fn title(&self) -> String {
        let name = |path: &Option<PathBuf>| {
            let name = path.as_ref().and_then(|p| p.file_name());
            name.map_or("phantom".into(), |n| n.to_string_lossy().into_owned())
        };
        format!("{} <- {}", name(&self.fixed), name(&self.moving))
    }

    fn read(&self) -> Result<Input> {
        let (Some(fixed), Some(moving)) = (&self.fixed, &self.moving) else {
            return Ok(demo());
        };
        let labels = |path: &Option<PathBuf>| path.as_deref().map(io::read_labels).transpose();
        let points = |path: &Option<PathBuf>| path.as_deref().map(io::read_points).transpose();
        let positions = |points: &Vec<Point>| points.iter().map(|p| p.position).collect();
        let moving_points = points(&self.moving_points)?;
        let case = Case {
            fixed: io::read_volume(fixed)?,
            moving: io::read_volume(moving)?,
            fixed_labels: labels(&self.fixed_labels)?,
            moving_labels: labels(&self.moving_labels)?,
            fixed_points: points(&self.fixed_points)?.as_ref().map(positions),
            moving_points: moving_points.as_ref().map(positions),
        };
        let (_, scalar) = io::read_geometry(moving)?;
        Ok(Input { case, scalar, moving_points: moving_points.unwrap_or_default() })
    }

    fn write(
        &self,
        output: &Output,
        input: &Input,
        result: &CaseResult,
        watch: &mut Watch,
    ) -> Result<()> {
        let convention = self.field_convention;
        let field_path = |stem: &str| output.path(&io::field_file_name(convention, stem));
        timed(watch, Stage::Write, || {
            io::write_volume(&output.path("warped.nii.gz"), &result.warped, input.scalar)
        })?;
        timed(watch, Stage::Write, || {
            io::write_field(&field_path("field"), &result.registered.field, convention)
        })?;
        timed(watch, Stage::Write, || {
            io::write_field(&field_path("inverse_field"), &result.inverse.field, convention)
        })?;
        timed(watch, Stage::Write, || {
            io::write_transform(&output.path("affine.tfm"), &result.registered.affine)?;
            if let Some(labels) = &result.warped_labels {
                io::write_labels(&output.path("warped_labels.nii.gz"), labels)?;
            }
            if let Some(positions) = &result.warped_points {
                let points = input.moving_points.iter().zip(positions);
                let points: Vec<Point> =
                    points.map(|(p, at)| Point { position: *at, name: p.name.clone() }).collect();
                io::write_points(&output.path("warped_points.csv"), &points)?;
            }
            write_preview(&output.path("preview.png"), &self.title(), input, result)
        })
    }
}

fn demo() -> Input {
    let pair = phantom::pair(DEMO_SEED, &phantom::Options::default());
    let named = |(i, p): (usize, &[f64; 3])| Point { name: Some(format!("P{i}")), position: *p };
    let moving_points = pair.moving_points.iter().enumerate().map(named).collect();
    let case = Case {
        fixed: pair.fixed,
        moving: pair.moving,
        fixed_labels: Some(pair.fixed_labels),
        moving_labels: Some(pair.moving_labels),
        fixed_points: Some(pair.fixed_points),
        moving_points: Some(pair.moving_points),
    };
    Input { case, scalar: ScalarType::F32, moving_points }
}

/// Not among the seeds that the demo's model was trained with.
const DEMO_SEED: u64 = 20;

fn write_preview(path: &Path, title: &str, input: &Input, result: &CaseResult) -> Result<()> {
    let image = display::registration_preview(&display::Preview {
        fixed: &input.case.fixed,
        moving: &result.before,
        warped: &result.warped,
        field: &result.registered.field,
        initial: &result.registered.initial,
        fixed_labels: input.case.fixed_labels.as_ref(),
        warped_labels: result.warped_labels.as_ref(),
        title,
        lines: &[figures(&result.measures)],
    });
    io::write_atomically(path, |w| display::write_png(&image, w))
}

/// The result's figures in a line.
fn figures(m: &crate::registration::Measures) -> String {
    let mut parts = Vec::new();
    if let (Some(before), Some(after)) = (m.ncc.before, m.ncc.after) {
        parts.push(format!("NCC {before:.3} -> {after:.3}"));
    }
    if let Some(dice) = &m.dice {
        parts.push(format!("Dice {:.3} -> {:.3}", dice.mean_before, dice.mean_after));
    }
    if let Some(tre) = &m.tre_mm {
        parts.push(format!("TRE {:.2} -> {:.2} mm", tre.before, tre.after));
    }
    parts.push(format!("folding {:.3} %", m.folding_percent));
    parts.push(format!("largest displacement {:.1} mm", m.max_displacement_mm));
    parts.join("   ")
}

fn summary(report: &Report, out: &Path) -> String {
    let total = report.stages_ms["total"];
    let infer = report.stages_ms["infer"];
    format!(
        "{}\n{total:.0} ms in all, {infer:.0} ms in the networks, {} threads\nresults in {}",
        figures(&report.measures),
        report.threads,
        out.display()
    )
}
