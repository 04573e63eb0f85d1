use std::path::{Path, PathBuf};

use intraop::io::{self, FieldConvention, Point, ScalarType};
use intraop::registration::{Case, RegistrationReport, register_case};
use intraop::{Result, Stage, package, phantom, timed};

use crate::options::{Registration, Run};
use crate::output::Output;
use crate::results::{self, Files, Input};
use crate::say::{say, to_json};
use crate::watch::{Watch, check_interrupt};

/// Register MOVING to FIXED: warped image, field, inverse field, preview and report
#[derive(clap::Args)]
pub struct Register {
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

impl Register {
    pub fn run(&self) -> Result<()> {
        let mut watch = Watch::new();
        let options = self.registration.options()?;
        let files = self.files();
        let output = Output::create(&self.out)?;
        output.spare(&results::NAMES, files.all())?;
        let model = self.model.as_deref().unwrap_or(package::DEMO);
        let session = self.run.session(model, &mut watch)?;
        let input = timed(&mut watch, Stage::Read, || {
            if self.demo { Ok(demo()) } else { results::read(&files) }
        })?;
        let result = register_case(&session, &input.case, &options, &mut watch)
            .map_err(|e| files.name(e))?;
        let folder = output.path("");
        let convention = self.field_convention;
        results::write(&folder, &files.title(), &input, &result, convention, &mut watch)?;
        let total = watch.start.elapsed();
        let report = RegistrationReport::new(&session, result.measures, &watch.times, total);
        let path = output.path("report.json");
        io::write_atomically(&path, |w| writeln!(w, "{}", to_json(&report)))?;
        check_interrupt()?;
        output.commit(&results::NAMES)?;
        for warning in &report.measures.warnings {
            log::warn!("{warning}");
        }
        if self.json { say(&to_json(&report)) } else { say(&summary(&report, &self.out)) }
    }

    fn files(&self) -> Files {
        Files {
            fixed: self.fixed.clone(),
            moving: self.moving.clone(),
            fixed_labels: self.fixed_labels.clone(),
            moving_labels: self.moving_labels.clone(),
            fixed_points: self.fixed_points.clone(),
            moving_points: self.moving_points.clone(),
            init: self.registration.init.as_ref().map(PathBuf::from),
        }
    }
}

/// Not among the seeds that the demo's model was trained with.
const DEMO_SEED: u64 = 20;

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

fn summary(report: &RegistrationReport, out: &Path) -> String {
    let total = report.stages_ms["total"];
    let infer = report.stages_ms["infer"];
    format!(
        "{}\n{total:.0} ms in all, {infer:.0} ms in the networks, {} threads\nresults in {}",
        results::figures(&report.measures),
        report.threads,
        out.display()
    )
}
