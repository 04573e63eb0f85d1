//! What tract makes of a whole model by itself, with none of our kernels: the shapes and constants
//! that importing a foreign model asks for, and the outputs that its golden case takes. tract is
//! another engine than ours, so it may vouch for us.

use std::collections::HashMap;

use tract_linalg::multithread::{Executor, multithread_tract_scope};
use tract_onnx::tract_hir::internal::{Tensor as Tract, *};

use super::regions::facts;
use super::{framework, guard, text, theirs};
use crate::error::{Error, Result, caught};
use crate::graph::TensorInfo;
use crate::onnx::read::check_types;
use crate::onnx::tensor_proto::DataType;
use crate::onnx::{GraphProto, ModelProto, NodeProto, TensorProto};

/// This engine, as golden cases name it.
pub const REFERENCE: &str = "tract 0.23.9 alone";

/// What is known of a tensor before anything runs.
pub struct Known {
    /// Empty for a scalar.
    pub shape: Vec<usize>,
    /// As ONNX numbers types; 0 where it has no number.
    pub data_type: i32,
    /// Of those that do not depend on the model's inputs, unless they are large. Without its name.
    pub value: Option<TensorProto>,
}

/// The first node with an operator that nobody here has.
pub fn unknown(graph: &GraphProto) -> Option<&NodeProto> {
    let operators = framework().op_register;
    let own = |node: &NodeProto| matches!(node.domain.as_str(), "" | "ai.onnx");
    graph.node.iter().find(|node| !own(node) || !operators.0.contains_key(&node.op_type))
}

/// All tensors of a model whose shape follows from its inputs' shapes, by name.
///
/// # Errors
/// [`Error::Graph`] naming the node where the shapes of a model contradict each other.
pub fn known(name: &str, model: &ModelProto) -> Result<HashMap<String, Known>> {
    let analyzed = || {
        guard::check_nodes(model.graph.as_ref().unwrap_or(&GraphProto::default()))?;
        let known = facts(&framework(), model)?.into_iter().map(|(name, fact, shape)| {
            let data_type = fact.datum_type.concretize().map_or(0, data_type);
            let value = fact.value.concretize().and_then(|tensor| proto(&tensor));
            (name, Known { shape, data_type, value })
        });
        Ok(known.collect())
    };
    caught(name, || analyzed().map_err(|e| Error::graph(name, text(e))))
}

/// tract's numbers of dimensions are ONNX's int64.
fn data_type(kind: DatumType) -> i32 {
    let kinds = [
        (f32::datum_type(), DataType::Float),
        (i64::datum_type(), DataType::Int64),
        (TDim::datum_type(), DataType::Int64),
        (i32::datum_type(), DataType::Int32),
        (i8::datum_type(), DataType::Int8),
        (u8::datum_type(), DataType::Uint8),
        (bool::datum_type(), DataType::Bool),
    ];
    kinds.iter().find(|(tract, _)| *tract == kind).map_or(0, |(_, onnx)| *onnx as i32)
}

fn proto(tensor: &Tract) -> Option<TensorProto> {
    let data_type = data_type(tensor.datum_type());
    let plain = match tensor.datum_type() == TDim::datum_type() {
        true => tensor.cast_to::<i64>().ok()?.into_owned(),
        false => tensor.clone(),
    };
    (data_type != 0).then_some(())?;
    Some(TensorProto {
        dims: tensor.shape().iter().map(|n| *n as i64).collect(),
        data_type,
        raw_data: plain.try_as_plain_ram().ok()?.as_bytes().to_vec(),
        ..TensorProto::default()
    })
}

/// What tract computes from the inputs, in memory order: an output each with its shape.
///
/// # Errors
/// [`Error::Graph`] for what it cannot run, and where an output is not of finite f32.
///
/// # Panics
/// If an input has not its shape's number of elements.
pub fn outputs(
    name: &str,
    model: &ModelProto,
    inputs: &[(&[usize], &[f32])],
) -> Result<Vec<(TensorInfo, Vec<f32>)>> {
    let graph = model.graph.clone().unwrap_or_default();
    check_types(&graph).map_err(|problem| Error::graph(name, problem))?;
    let run = || {
        guard::check_nodes(&graph)?;
        let mut inference = framework().model_for_proto_model(&theirs(model)?)?;
        guard::guard(&mut inference);
        let typed = inference.into_typed()?.into_optimized()?;
        guard::check_sizes(&typed)?;
        let tensors =
            inputs.iter().map(|(shape, v)| Ok(Tract::from_shape(shape, v)?.into_tvalue()));
        let tensors = tensors.collect::<TractResult<_>>()?;
        let plan = typed.into_runnable()?;
        let results = multithread_tract_scope(Executor::SingleThread, || plan.run(tensors))?;
        let named = graph.output.iter().zip(&results).map(|(output, result)| {
            let values = result.try_as_plain_ram()?.as_slice::<f32>()?.to_vec();
            Ok((TensorInfo { name: output.name.clone(), shape: result.shape().to_vec() }, values))
        });
        named.collect::<TractResult<Vec<_>>>()
    };
    let outputs = caught(name, || run().map_err(|e| Error::graph(name, text(e))))?;
    match outputs.iter().find(|(_, values)| !values.iter().all(|v| v.is_finite())) {
        None => Ok(outputs),
        Some((info, _)) => {
            let expected = "expected numbers, found values that are not finite";
            Err(Error::graph(name, format!("{}: {expected}", info.name)))
        }
    }
}
