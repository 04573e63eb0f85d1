//! What tract must not get to see: models that it would compute wrongly, read past the end of a
//! list for, or allocate without bound for.

use std::collections::HashMap;

use tract_onnx::tract_hir::infer::{InferenceFact, InferenceModelPatch, InferenceNode};
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::ops::source::Source;
use tract_onnx::tract_hir::tract_core::ops::konst::Const;
use tract_onnx::tract_hir::tract_core::optim::CONST_FOLD_MEM_BUDGET;

use crate::graph::LARGEST_IMAGE;
use crate::onnx::GraphProto;

/// tract makes a list of a kernel's places.
const LARGEST_KERNEL: i64 = 1 << 24;

/// Refuses nodes that tract computes wrongly or never ends with.
///
/// # Errors
/// For the first such node.
pub fn check_nodes(graph: &GraphProto) -> TractResult<()> {
    for node in &graph.node {
        // What a subgraph takes from around it is not among its node's inputs.
        if node.attribute.iter().any(|a| a.g.is_some() || !a.graphs.is_empty()) {
            let advice = "export the model without control flow";
            bail!("{} {}: expected no node with a subgraph; {advice}", node.op_type, node.name);
        }
        let kernel = node.attribute.iter().find(|a| a.name == "kernel_shape");
        let taps = kernel.map_or(0, |k| k.ints.iter().fold(1i64, |n, s| n.saturating_mul(*s)));
        if taps > LARGEST_KERNEL {
            bail!("{}: expected a kernel of at most {LARGEST_KERNEL} places", node.name);
        }
    }
    Ok(())
}

/// Makes every operation of the model check what tract infers of it.
pub fn guard(model: &mut InferenceModel) {
    for node in model.nodes_mut() {
        if !node.op_is::<Source>() && !node.op_is::<Const>() {
            node.op = Box::new(Guarded { op: node.op.clone(), large: false });
        }
    }
}

/// Refuses a model that is about to run with a tensor that is too large, or whose size is not
/// known before it runs.
///
/// # Errors
/// For the first such tensor.
pub fn check_sizes(model: &TypedModel) -> TractResult<()> {
    for node in model.nodes() {
        for output in &node.outputs {
            let shape = output.fact.shape.as_concrete();
            let shape = shape.with_context(|| {
                format!("{}: expected a shape that depends on no value", node.name)
            })?;
            check_size(shape).with_context(|| node.name.clone())?;
        }
    }
    Ok(())
}

/// The number of values, if it is not too large.
fn check_size(shape: &[usize]) -> TractResult<usize> {
    // A side of 0 hides an overflow before it.
    let values = shape.iter().try_fold(1usize, |n, side| n.checked_mul(*side));
    let values = if shape.contains(&0) { Some(0) } else { values };
    let values = values.filter(|n| *n <= LARGEST_IMAGE);
    values.with_context(|| format!("expected at most {LARGEST_IMAGE} values, found {shape:?}"))
}

/// tract's operations that read a shape's channels before they ask for its rank: of fewer than
/// two axes they read past its end.
const CHANNELED: [&str; 5] = ["BatchNorm", "ConvHir", "MaxPool", "OnnxMaxPoolIndices", "SumPool"];

/// An operation of tract's whose shapes are checked as soon as they are known: tract computes
/// operations of constants while it infers.
#[derive(Debug, Clone)]
struct Guarded {
    op: Box<dyn InferenceOp>,
    /// Is its result more than tract would keep? Then it is not computed to be thrown away.
    large: bool,
}

impl PartialEq for Guarded {
    fn eq(&self, _: &Self) -> bool {
        false
    }
}

impl Eq for Guarded {}

impl Op for Guarded {
    fn name(&self) -> StaticName {
        self.op.name()
    }

    not_a_typed_op!();
}

impl EvalOp for Guarded {
    fn eval(&self, context: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        self.op.eval(context, inputs)
    }

    fn eval_out_of_plan(&self, inputs: TVec<TValue>) -> TractResult<Option<TVec<TValue>>> {
        if self.large { Ok(None) } else { self.op.eval_out_of_plan(inputs) }
    }

    fn state(&self, context: &EvalContext) -> TractResult<Option<Box<dyn OpState>>> {
        self.op.state(context)
    }
}

impl InferenceOp for Guarded {
    fn infer_facts(
        &mut self,
        inputs: TVec<&InferenceFact>,
        outputs: TVec<&InferenceFact>,
        observed: TVec<&InferenceFact>,
    ) -> TractResult<(TVec<InferenceFact>, TVec<InferenceFact>, TVec<InferenceFact>)> {
        let name = self.op.name();
        if CHANNELED.contains(&&*name) {
            // The image, and what has its rank.
            let images = if name == "ConvHir" { 2 } else { 1 };
            for fact in inputs.iter().take(images).copied().chain(outputs.iter().copied()) {
                let rank = fact.shape.rank().concretize();
                ensure!(rank.is_none_or(|n| n >= 2), "expected 2 axes or more, found {fact:?}");
            }
        }
        let found = self.op.infer_facts(inputs, outputs, observed)?;
        for fact in &found.1 {
            let shape = fact.shape.concretize().unwrap_or_default();
            let shape: Option<Vec<usize>> = shape.iter().map(|d| d.to_usize().ok()).collect();
            let values = check_size(&shape.unwrap_or_default())?;
            self.large |= values as u64 > CONST_FOLD_MEM_BUDGET;
        }
        Ok(found)
    }

    fn observe_outlets(
        &self,
        model: &InferenceModel,
        node: &InferenceNode,
    ) -> TractResult<Vec<OutletId>> {
        self.op.observe_outlets(model, node)
    }

    fn incorporate(
        &self,
        model: &InferenceModel,
        node: &InferenceNode,
    ) -> TractResult<Option<InferenceModelPatch>> {
        self.op.incorporate(model, node)
    }

    fn nboutputs(&self) -> TractResult<usize> {
        self.op.nboutputs()
    }

    as_op!();

    fn to_typed(
        &self,
        source: &InferenceModel,
        node: &InferenceNode,
        target: &mut TypedModel,
        mapping: &HashMap<OutletId, OutletId>,
    ) -> TractResult<TVec<OutletId>> {
        self.op.to_typed(source, node, target, mapping)
    }
}
