//! A package compiled for this CPU with a fixed number of threads.

mod compile;

use std::sync::Arc;

use intraop_engine::{Arenas, Network, Simd, threads};
use rayon::ThreadPool;
use rayon::prelude::*;

use crate::package::{GoldenCase, Package, golden_input};
use crate::{Error, Result};

/// What a session may use of the machine.
#[derive(Debug, Clone)]
pub struct SessionOptions {
    /// 1 to 1024.
    pub threads: usize,
    /// CPU numbers to pin the threads to, in turn; empty leaves them to the system.
    pub cores: Vec<usize>,
    pub simd: Simd,
}

impl Default for SessionOptions {
    /// As many threads as the machine has cores, the widest vectors, no pinning.
    fn default() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        SessionOptions { threads, cores: Vec::new(), simd: Simd::detect() }
    }
}

impl SessionOptions {
    /// The default with another number of threads.
    pub fn with_threads(threads: usize) -> Self {
        SessionOptions { threads, ..SessionOptions::default() }
    }
}

/// A package compiled for this CPU with a fixed number of threads. Every computation of the
/// pipelines runs in the session's own pool, so `threads` bounds them all.
pub struct Session {
    package: Package,
    graphs: Vec<Network>,
    pool: Arc<ThreadPool>,
    options: SessionOptions,
}

impl Session {
    /// Compiles every graph of the package.
    ///
    /// # Errors
    /// [`Error::Engine`] for 0 threads, cores that cannot be had and graphs that cannot run;
    /// [`Error::Package`] for graphs that are not what the manifest says.
    pub fn new(package: Package, options: SessionOptions) -> Result<Self> {
        let pool = threads::pool(options.threads, &options.cores)?;
        let arenas = Arenas::default();
        let compile = |graph| compile::compile(&package, graph, options.simd, &arenas);
        let graphs = || package.manifest.graphs.par_iter().map(compile).collect::<Vec<_>>();
        let graphs = pool.install(graphs).into_iter().collect::<Result<_>>()?;
        Ok(Session { package, graphs, pool: Arc::new(pool), options })
    }

    pub fn package(&self) -> &Package {
        &self.package
    }

    pub fn threads(&self) -> usize {
        self.options.threads
    }

    pub fn simd(&self) -> Simd {
        self.options.simd
    }

    /// The package's graphs, compiled, in the manifest's order.
    pub fn networks(&self) -> &[Network] {
        &self.graphs
    }

    /// Runs a closure on the session's threads.
    pub fn install<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        self.pool.install(work)
    }

    /// Runs graph number `graph` of the manifest on its input tensor, in memory order; fills one
    /// tensor per head. The vectors of `outputs` are reused.
    ///
    /// # Errors
    /// [`Error::Engine`] when the engine fails.
    ///
    /// # Panics
    /// If `input` has not the manifest's number of elements.
    pub fn run(&self, graph: usize, input: &[f32], outputs: &mut Vec<Vec<f32>>) -> Result<()> {
        Ok(self.install(|| self.graphs[graph].run(&[input], outputs))?)
    }

    /// Runs the package's golden case and returns the largest difference found, as a share of
    /// the output's largest value.
    ///
    /// # Errors
    /// [`Error::Check`] when a difference is beyond the case's tolerance, [`Error::Package`] when
    /// the case does not fit the manifest.
    pub fn verify(&self) -> Result<f64> {
        let manifest = &self.package.manifest;
        let case = self.package.golden()?;
        let input = self.install(|| golden_input(manifest, case.phantom_seed))?;
        let (mut worst, mut outputs) = (0.0f64, Vec::new());
        for (index, graph) in manifest.graphs.iter().enumerate() {
            self.run(index, &input, &mut outputs)?;
            for (head, output) in graph.heads.iter().zip(&outputs) {
                let difference = self.difference(&case, &graph.name, &head.name, output)?;
                if difference > case.tolerance {
                    let problem = format!(
                        "graph {} head {} differs from {} by {difference:.2e}, {:.0e} accepted",
                        graph.name, head.name, case.engine, case.tolerance
                    );
                    return Err(Error::Check { name: manifest.name.clone(), problem });
                }
                worst = worst.max(difference);
            }
        }
        Ok(worst)
    }

    fn difference(
        &self,
        case: &GoldenCase,
        graph: &str,
        head: &str,
        output: &[f32],
    ) -> Result<f64> {
        let golden = case.outputs.get(graph).and_then(|heads| heads.get(head));
        let golden = golden.ok_or_else(|| Error::Package {
            package: self.package.path.clone(),
            field: format!("golden outputs.{graph}.{head}").into(),
            expected: "values for every head".into(),
            found: "none".into(),
            advice: "export the package again".into(),
        })?;
        Ok(golden.difference(output))
    }
}

#[cfg(test)]
mod tests;
