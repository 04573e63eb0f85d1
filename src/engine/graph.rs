use std::path::Path;
use std::sync::Arc;

use tract_onnx::data_resolver::ModelDataResolver;
use tract_onnx::pb;
use tract_onnx::prelude::*;

use crate::package::{Graph, Package};
use crate::{Error, Result};

/// Refuses weights outside the ONNX file: a path in a model must never open another file
/// (CVE-2026-55832), and the package's hash covers only the ONNX.
struct NoExternalData;

impl ModelDataResolver for NoExternalData {
    fn read_bytes_from_path(
        &self,
        _: &mut Vec<u8>,
        path: &Path,
        _: usize,
        _: Option<usize>,
    ) -> TractResult<()> {
        Err(TractError::msg(format!("weights in another file ({}) are refused", path.display())))
    }
}

/// One ONNX graph, compiled.
pub(super) struct CompiledGraph {
    name: String,
    shape: Vec<usize>,
    plan: Arc<TypedSimplePlan>,
}

impl CompiledGraph {
    pub fn new(package: &Package, graph: &Graph) -> Result<Self> {
        let failed = |e: TractError| Error::Engine {
            graph: format!("{} of {}", graph.file, package.path.display()),
            problem: format!("{e:#}").replace('\n', " "),
        };
        let mut onnx = tract_onnx::onnx();
        onnx.provider = Arc::new(NoExternalData);
        let mut bytes = package.file(&graph.file);
        let proto = onnx.proto_model_for_read(&mut bytes).map_err(failed)?;
        check_names(package, graph, &proto)?;
        let model = onnx.model_for_proto_model(&proto).map_err(failed)?;
        let model = model.into_typed().map_err(failed)?;
        check_shapes(package, graph, &model)?;
        let plan = model.into_optimized().and_then(TypedModel::into_runnable).map_err(failed)?;
        Ok(CompiledGraph { name: graph.name.clone(), shape: input_shape(graph), plan })
    }

    pub fn run(&self, input: &[f32]) -> Result<Vec<Vec<f32>>> {
        let failed = |e: TractError| Error::Engine {
            graph: self.name.clone(),
            problem: format!("{e:#}").replace('\n', " "),
        };
        let tensor = Tensor::from_shape(&self.shape, input).map_err(failed)?;
        let outputs = self.plan.run(tvec!(tensor.into_tvalue())).map_err(failed)?;
        let outputs = outputs.iter().map(|t| Ok(t.try_as_plain_ram()?.as_slice::<f32>()?.to_vec()));
        let outputs: Vec<Vec<f32>> = outputs.collect::<TractResult<_>>().map_err(failed)?;
        if outputs.iter().flatten().all(|v| v.is_finite()) {
            return Ok(outputs);
        }
        Err(Error::Engine {
            graph: self.name.clone(),
            problem: "expected numbers, found values that are not finite".into(),
        })
    }
}

fn input_shape(graph: &Graph) -> Vec<usize> {
    let input = &graph.inputs[0];
    [&[1, input.num_channels], input.spatial_shape.as_slice()].concat()
}

fn mismatch(package: &Package, field: String, expected: String, found: String) -> Error {
    let advice = "correct package.toml or the ONNX file".into();
    Error::Package { package: package.path.clone(), field, expected, found, advice }
}

/// The manifest's inputs and heads are the ONNX graph's, in its order.
fn check_names(package: &Package, graph: &Graph, proto: &pb::ModelProto) -> Result<()> {
    let onnx = proto.graph.clone().unwrap_or_default();
    let is_weight = |name: &str| onnx.initializer.iter().any(|t| t.name == name);
    let inputs: Vec<_> = onnx.input.iter().map(|i| &i.name).filter(|n| !is_weight(n)).collect();
    let outputs: Vec<_> = onnx.output.iter().map(|o| &o.name).collect();
    let expected_inputs: Vec<_> = graph.inputs.iter().map(|i| &i.name).collect();
    let expected_outputs: Vec<_> = graph.heads.iter().map(|h| &h.name).collect();
    for (what, manifest, found) in
        [("inputs", expected_inputs, inputs), ("heads", expected_outputs, outputs)]
    {
        if manifest != found {
            let field = format!("graphs.{}.{what}", graph.name);
            let expected = format!("{found:?} as in {}", graph.file);
            return Err(mismatch(package, field, expected, format!("{manifest:?}")));
        }
    }
    Ok(())
}

fn check_shapes(package: &Package, graph: &Graph, model: &TypedModel) -> Result<()> {
    let expected_outputs = graph.heads.iter().map(|h| {
        let shape = [&[1, h.num_channels], h.spatial_shape.as_slice()].concat();
        (format!("heads.{}", h.name), shape)
    });
    let input = (format!("inputs.{}", graph.inputs[0].name), input_shape(graph));
    let facts = [model.input_fact(0)].into_iter().chain((0..).map(|i| model.output_fact(i)));
    for ((what, expected), fact) in [input].into_iter().chain(expected_outputs).zip(facts) {
        let fact = fact.map_err(|e| {
            mismatch(package, what.clone(), format!("{expected:?}"), format!("{e:#}"))
        })?;
        let shape = fact.shape.as_concrete().map(<[usize]>::to_vec);
        if shape.as_ref() != Some(&expected) || fact.datum_type != f32::datum_type() {
            let field = format!("graphs.{}.{what} against {}", graph.name, graph.file);
            let found = format!("{:?} {:?} in the ONNX", fact.datum_type, fact.shape);
            return Err(mismatch(package, field, format!("F32 {expected:?}"), found));
        }
    }
    Ok(())
}
