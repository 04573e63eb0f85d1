use std::path::PathBuf;

use intraop::quantize::{self, LayerChoice, Options, Range, Table};
use intraop::{Error, Result, io, package};

use crate::options::Run;
use crate::output::Output;
use crate::say::say;
use crate::watch::{Watch, check_interrupt};

/// Make an int8 package of an f32 one: standard QDQ, which onnxruntime runs too
#[derive(clap::Args)]
pub struct Quantize {
    /// f32 model: a name (see `intraop models list`), a folder or a tar
    #[arg(long)]
    model: String,
    /// Table that `intraop calibrate` made of this model
    #[arg(long, value_name = "TABLE.json")]
    calibration: PathBuf,
    /// New folder for the package, which gets its name
    #[arg(long, value_name = "PACKAGE")]
    out: PathBuf,
    /// How activations' ranges are chosen: min-max, percentile, mse or entropy
    #[arg(long, default_value_t = Options::default().range)]
    range: Range,
    /// Largest change of a network's output, as a share of its root mean square: layers stay f32,
    /// the worst first, until the others are expected to cause no more
    #[arg(long, value_name = "SHARE", default_value_t = Options::default().largest_error)]
    error: f64,
    #[command(flatten)]
    run: Run,
}

impl Quantize {
    pub fn run(&self) -> Result<()> {
        let package = package::find(&self.model)?;
        let same = |path: &std::path::Path| path.canonicalize().ok();
        if same(&self.out).is_some_and(|out| Some(out) == same(&package.path)) {
            return Err(Error::Option {
                option: "out".into(),
                expected: "another folder than the model's".into(),
                found: self.out.display().to_string(),
            });
        }
        let table = Table::read(&self.calibration)?;
        let options = Options { range: self.range, largest_error: self.error };
        let (output, name) = Output::package(&self.out)?;
        let result = quantize::quantize(
            &package,
            &table,
            &options,
            &name,
            &self.run.options()?,
            &mut Watch::new(),
        )?;
        for (file, bytes) in &result.files {
            io::write_atomically(&output.path(file), |w| w.write_all(bytes))?;
        }
        check_interrupt()?;
        output.commit(&[])?;
        let mut lines: Vec<String> = result.layers.iter().map(line).collect();
        lines.push(format!(
            "golden case: {:.1e} from another engine's f32\npackage in {}",
            result.golden_difference,
            self.out.display()
        ));
        say(&lines.join("\n"))
    }
}

fn line(layer: &LayerChoice) -> String {
    let precision = if layer.int8 { "int8" } else { "f32 " };
    let percent = 100.0 * layer.error;
    format!("{precision}  {:8} {:20} {percent:.2} % alone", layer.graph, layer.layer)
}
