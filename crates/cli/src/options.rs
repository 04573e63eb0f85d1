//! Options that several subcommands share.

use std::path::Path;

use intraop::preprocess::Initial;
use intraop::registration::{Init, Options};
use intraop::session::{Session, SessionOptions};
use intraop::{Error, Result, Stage, io, package, timed};

use crate::watch::Watch;

/// Options of everything that runs a model.
#[derive(clap::Args)]
pub struct Run {
    /// Threads to use for everything [default: all cores, or as many as --cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Pin the threads to these cores, in turn: numbers such as 0,2,3
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    cores: Vec<usize>,
    /// Vector instructions: scalar, avx2, avxvnni, avx512, vnni, neon or dotprod, where the
    /// CPU has them [default: the widest]
    #[arg(long, value_name = "LEVEL")]
    simd: Option<String>,
}

impl Run {
    pub fn options(&self) -> Result<SessionOptions> {
        let mut options = SessionOptions { cores: self.cores.clone(), ..Default::default() };
        if let Some(simd) = &self.simd {
            options.simd = simd.parse()?;
        }
        if !self.cores.is_empty() {
            options.threads = self.cores.len();
        }
        if let Some(threads) = self.threads {
            options.threads = usize::from(threads);
        }
        Ok(options)
    }

    /// Finds and compiles the model and proves it by its golden case.
    pub fn session(&self, model: &str, probe: &mut Watch) -> Result<Session> {
        let options = self.options()?;
        timed(probe, Stage::Load, || {
            let session = Session::new(package::find(model)?, options)?;
            session.verify()?;
            Ok(session)
        })
    }
}

/// Options of everything that registers.
#[derive(clap::Args)]
pub struct Registration {
    /// Alignment before the network: an ITK transform (fixed to moving), or header, centers
    /// (of the images) or mass (of their intensities) [default: what the model says]
    #[arg(long, value_name = "T.tfm|header|centers|mass")]
    pub init: Option<String>,
    /// Stop after the affine stage
    #[arg(long, conflicts_with = "cascades")]
    pub affine_only: bool,
    /// Run only the first N displacement stages
    #[arg(long, value_name = "N")]
    pub cascades: Option<usize>,
}

impl Registration {
    pub fn options(&self) -> Result<Options> {
        let init = match self.init.as_deref() {
            None => None,
            Some("header") => Some(Init::By(Initial::Header)),
            Some("centers" | "centres") => Some(Init::By(Initial::Centers)),
            Some("mass") => Some(Init::By(Initial::Mass)),
            Some(word) if !word.contains(['.', '/']) && !Path::new(word).exists() => {
                return Err(Error::Option {
                    option: "init".into(),
                    expected: "header, centers, mass or a file T.tfm".into(),
                    found: word.into(),
                });
            }
            Some(path) => Some(Init::Transform(io::read_transform(Path::new(path))?)),
        };
        Ok(Options { init, affine_only: self.affine_only, cascades: self.cascades })
    }
}
