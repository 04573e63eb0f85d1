//! The foreign model with the shape of every input fixed, and what its outputs then are.

use std::collections::HashSet;

use crate::engine::onnx::{GraphProto, ModelProto, NodeProto};

use super::answers::{Answers, Kind, Question, check_names, of, wrong};
use super::fold::{prune, restate};
use super::read::{Foreign, Side, Slot, is_onnx, unfit};
use crate::engine::onnx::build::f32_info;
use crate::engine::onnx::read::int;
use crate::engine::{TensorInfo, reference};
use crate::{Error, Result};

/// A model that could run.
pub(super) struct Fixed {
    /// As the file has it, but for the inputs' shapes and outputs that were left out.
    pub model: ModelProto,
    pub inputs: Vec<TensorInfo>,
    pub outputs: Vec<Output>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Output {
    pub name: String,
    /// As ONNX numbers types.
    pub data_type: i32,
    pub shape: Vec<usize>,
    /// The operator that computes it; empty for a constant.
    pub last: String,
    /// It ends in a softmax of each place's channels.
    pub shares: bool,
}

impl Foreign {
    /// Why no engine here runs this file, and what to do: an operator that nobody has, one of
    /// another domain, an old version of operators.
    fn obstacle(&self) -> Option<(String, &'static str)> {
        let version = self.opset();
        if version < 7 {
            let problem = format!("expected operators of version 7 or newer, found {version}");
            return Some((problem, "convert it by onnx.version_converter"));
        }
        let graph = self.graph();
        if let Some(problem) = disorder(graph) {
            return Some((problem, "export the model again"));
        }
        let node = reference::unknown(graph)?;
        let (domain, advice) = match is_onnx(&node.domain) {
            true => ("ONNX", "cut the model before it, or export without it"),
            false => {
                let advice = "inline functions by onnx.inliner, or export with ONNX's operators";
                (node.domain.as_str(), advice)
            }
        };
        let name = [node.name.clone(), node.output.join(", ")];
        let name = name.into_iter().find(|name| !name.is_empty()).unwrap_or_default();
        Some((format!("node {name}: no engine here has {} of {domain}", node.op_type), advice))
    }

    /// The questions are those about shapes.
    ///
    /// # Errors
    /// [`Error::Option`] for answers that do not fit the model, [`Error::Unusable`] for inputs that
    /// are no f32 tensors, where shapes contradict each other, and for what no engine here runs.
    pub(super) fn fix(&self, answers: &Answers) -> Result<Result<Fixed, Vec<Question>>> {
        let name = self.path.display().to_string();
        if let Some((problem, advice)) = self.obstacle() {
            return Err(Error::unusable(name, problem, advice));
        }
        let slots = self.inputs();
        let names: Vec<&str> = slots.iter().map(|s| s.name.as_str()).collect();
        check_names("input-shape", &answers.input_shape, &names)?;
        let outputs = self.outputs();
        // Of an input that is an output, too, nothing can be made.
        let own = outputs.iter().map(|s| s.name.as_str()).filter(|name| !names.contains(name));
        let names: Vec<&str> = own.collect();
        check_names("head", &answers.head, &names)?;
        let (mut inputs, mut questions) = (Vec::new(), Vec::new());
        for slot in &slots {
            if slot.dtype != "float32" {
                let problem = format!("input {} is {}, not float32", slot.name, slot.dtype);
                return Err(Error::unusable(name, problem, "export it with images as input only"));
            }
            let given = of(&answers.input_shape, &slot.name).map(|shape| &shape.0);
            if let Some(given) = given.filter(|given| !agrees(slot, given)) {
                let expected = format!("the sides that input {slot} fixes");
                return Err(wrong("input-shape", &expected, &format!("{given:?}")));
            }
            match given.cloned().or_else(|| stated(slot)) {
                Some(shape) => inputs.push(TensorInfo { name: slot.name.clone(), shape }),
                None => questions.push(Question {
                    answer: "input-shape",
                    about: format!("the sides that input {slot} leaves open"),
                    choices: format!("{}=1,1,192,256", slot.name),
                }),
            }
        }
        if !questions.is_empty() {
            return Ok(Err(questions));
        }
        let mut model = self.model.clone();
        let graph = model.graph.get_or_insert_default();
        graph.input = inputs.iter().map(|i| f32_info(&i.name, &i.shape)).collect();
        graph.output.retain(|o| names.contains(&o.name.as_str()));
        graph.output.retain(|o| of(&answers.head, &o.name) != Some(&Kind(None)));
        // Their shapes are of other inputs, or names of lengths that are known now.
        graph.value_info.clear();
        graph.output.iter_mut().for_each(|o| o.r#type = None);
        prune(graph);
        let tensors = reference::known(&name, &model).map_err(unfit)?;
        let graph = model.graph.get_or_insert_default();
        restate(graph, &tensors);
        let outputs = graph.output.iter().map(|output| {
            let known = tensors.get(&output.name).ok_or_else(|| {
                let problem = format!("the shape of output {} depends on values", output.name);
                let advice = "leave it out: say that its head is none";
                Error::unusable(&name, problem, advice)
            })?;
            let last = graph.node.iter().find(|n| n.output.contains(&output.name));
            Ok(Output {
                name: output.name.clone(),
                last: last.map(|n| n.op_type.clone()).unwrap_or_default(),
                shares: last.is_some_and(|n| shares(n, self.opset(), &known.shape)),
                data_type: known.data_type,
                shape: known.shape.clone(),
            })
        });
        let outputs = outputs.collect::<Result<_>>()?;
        Ok(Ok(Fixed { model, inputs, outputs }))
    }
}

/// What is read before it is computed, or computed twice.
fn disorder(graph: &GraphProto) -> Option<String> {
    let given = graph.input.iter().map(|i| &i.name);
    let given = given.chain(graph.initializer.iter().map(|t| &t.name));
    let mut made: HashSet<&str> = given.map(String::as_str).collect();
    for node in &graph.node {
        let missing = node.input.iter().find(|n| !n.is_empty() && !made.contains(n.as_str()));
        if let Some(name) = missing {
            return Some(format!("{name}: expected an earlier node that computes it, found none"));
        }
        let outputs = node.output.iter().filter(|name| !name.is_empty());
        if let Some(name) = outputs.into_iter().find(|name| !made.insert(name)) {
            return Some(format!("{name}: expected one node that computes it, found another"));
        }
    }
    let mut outputs = HashSet::new();
    graph.output.iter().find_map(|output| {
        let name = output.name.as_str();
        match (made.contains(name), outputs.insert(name)) {
            (true, true) => None,
            (false, _) => Some(format!("{name}: expected a node that computes it, found none")),
            (_, false) => Some(format!("{name}: expected one output of this name, found two")),
        }
    })
}

/// Is a node a softmax along the axis of the channels? Before version 13 it was of all values from
/// its axis on.
fn shares(node: &NodeProto, opset: i64, shape: &[usize]) -> bool {
    let whole = opset < 13;
    let axis = int(node, "axis").unwrap_or(if whole { 1 } else { -1 });
    let axis = if axis < 0 { axis + shape.len() as i64 } else { axis };
    let single = shape.iter().skip(2).all(|side| *side == 1);
    matches!(node.op_type.as_str(), "Softmax" | "LogSoftmax") && axis == 1 && (single || !whole)
}

/// Has a shape the sides that the file fixes?
fn agrees(slot: &Slot, given: &[usize]) -> bool {
    let same = |(side, given): (&Side, &usize)| match side {
        Side::Fixed(n) => *n <= 0 || usize::try_from(*n) == Ok(*given),
        Side::Open(_) => true,
    };
    let as_many = slot.shape.is_empty() || slot.shape.len() == given.len();
    as_many && slot.shape.iter().zip(given).all(same)
}

/// The shape that the file states; an open batch is one.
fn stated(slot: &Slot) -> Option<Vec<usize>> {
    if slot.shape.is_empty() {
        return None;
    }
    let side = |(axis, side): (usize, &Side)| match side {
        Side::Fixed(n) => usize::try_from(*n).ok().filter(|n| *n > 0),
        Side::Open(_) => (axis == 0).then_some(1),
    };
    slot.shape.iter().enumerate().map(side).collect()
}
