//! A package's graphs: the ONNX must be what the manifest says.

use intraop_engine::{Arenas, Network, Simd, TensorInfo};

use crate::package::{Graph, Package};
use crate::{Error, Result};

/// Compiles one graph of a package.
pub(super) fn compile(
    package: &Package,
    graph: &Graph,
    simd: Simd,
    arenas: &Arenas,
) -> Result<Network> {
    let name = format!("{} of {}", graph.file, package.path.display());
    let model = Network::parse(&name, package.file(&graph.file))?;
    let network = Network::sharing(&name, &model, simd, arenas)?;
    let inputs = graph.inputs.iter().map(|i| (&i.name, i.num_channels, &i.spatial_shape));
    check(package, graph, "inputs", inputs, network.inputs())?;
    let heads = graph.heads.iter().map(|h| (&h.name, h.num_channels, &h.spatial_shape));
    check(package, graph, "heads", heads, network.outputs())?;
    Ok(network)
}

/// The manifest's tensors are the ONNX graph's, in its order.
fn check<'a>(
    package: &Package,
    graph: &Graph,
    what: &str,
    manifest: impl Iterator<Item = (&'a String, usize, &'a Vec<usize>)>,
    onnx: &[TensorInfo],
) -> Result<()> {
    let text = |tensors: &[TensorInfo]| {
        let text = tensors.iter().map(|t| format!("{} {:?}", t.name, t.shape));
        text.collect::<Vec<_>>().join(", ")
    };
    let manifest: Vec<_> = manifest
        .map(|(name, channels, places)| TensorInfo {
            name: name.clone(),
            shape: [&[1, channels], places.as_slice()].concat(),
        })
        .collect();
    if manifest == onnx {
        return Ok(());
    }
    Err(Error::Package {
        package: package.path.clone(),
        field: format!("graphs.{}.{what}", graph.name).into(),
        expected: format!("{} as in {}", text(onnx), graph.file),
        found: text(&manifest),
        advice: "correct package.toml or the ONNX file".into(),
    })
}
