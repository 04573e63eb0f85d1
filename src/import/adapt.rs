//! The foreign graph between the package's input and its heads. What each side needs is put into the
//! graph: the runtime has no code for one model.

use crate::engine::onnx::tensor_proto::DataType;
use crate::engine::onnx::{GraphProto, ModelProto, TensorProto};

use super::fold::prune;
use super::heads::{Convert, HeadSpec};
use super::spec::{Front, Spec};
use crate::engine::TensorInfo;
use crate::engine::onnx::build::{f32_info, f32_tensor, int_attribute, node};

/// The model as the package needs it: its input in front, its heads and nothing else behind.
pub(super) fn adapt(model: &ModelProto, inputs: &[TensorInfo], spec: &Spec) -> ModelProto {
    let mut model = model.clone();
    let graph = model.graph.get_or_insert_default();
    if !spec.fronts.is_empty() {
        front(graph, inputs, spec);
    }
    graph.output = spec.heads.iter().map(|spec| output(&spec.head)).collect();
    // All before any is changed: one head may be made of what another is made of.
    let from: Vec<String> = spec.heads.iter().map(|head| source(graph, head)).collect();
    for (head, own) in spec.heads.iter().zip(&from) {
        back(graph, head, own, &from);
    }
    prune(graph);
    model
}

fn output(head: &crate::package::Head) -> crate::engine::onnx::ValueInfoProto {
    let shape = [&[1, head.num_channels], head.spatial_shape.as_slice()].concat();
    f32_info(&head.name, &shape)
}

/// One input instead of the model's. A convolution of one place picks the channels that each of
/// them takes, and scales them: an operator that our engine has.
fn front(graph: &mut GraphProto, inputs: &[TensorInfo], spec: &Spec) {
    let own = spec.fronts.iter().map(|front| {
        let name = unused(graph, &format!("{}.given", front.name));
        rename(graph, &front.name, &name);
        name
    });
    let own: Vec<String> = own.collect();
    // Some other tensor may have the name that the package's input gets.
    let other = unused(graph, &spec.input.name);
    rename(graph, &spec.input.name, &other);
    let package = &spec.input;
    let shape = [&[1, package.num_channels], package.spatial_shape.as_slice()].concat();
    let mut nodes = Vec::new();
    for ((front, input), name) in spec.fronts.iter().zip(inputs).zip(own) {
        let [weight, bias] =
            ["weight", "bias"].map(|what| unused(graph, &format!("{name}.{what}")));
        let places = vec![1; input.shape.len() - 2];
        let dims = [&[front.takes.len(), package.num_channels], places.as_slice()].concat();
        let (weights, biases) = weights(front, package.num_channels);
        graph.initializer.push(f32_tensor(&weight, &dims, &weights));
        graph.initializer.push(f32_tensor(&bias, &[biases.len()], &biases));
        nodes.push(node("Conv", &[&package.name, &weight, &bias], &name));
    }
    nodes.append(&mut graph.node);
    graph.node = nodes;
    graph.input = vec![f32_info(&package.name, &shape)];
}

/// `[channel of the model][channel of the package]`, and what is added.
fn weights(front: &Front, channels: usize) -> (Vec<f32>, Vec<f32>) {
    let mut weights = vec![0.0; front.takes.len() * channels];
    for (row, takes) in weights.chunks_mut(channels).zip(&front.takes).enumerate() {
        takes.0[*takes.1] = 1.0 / front.sd[row];
    }
    let biases = front.mean.iter().zip(&front.sd).map(|(mean, sd)| -mean / sd);
    (weights, biases.collect())
}

/// The tensor that the model computes for a head; where something is to be made of it, under another
/// name than the head's.
fn source(graph: &mut GraphProto, spec: &HeadSpec) -> String {
    let name = &spec.head.name;
    if spec.convert.is_empty() {
        return name.clone();
    }
    let from = unused(graph, &format!("{name}.imported"));
    rename(graph, name, &from);
    from
}

/// Appends what makes a head of `own`, one of the tensors that heads are made of: the last node
/// of [`append`] gives it.
fn back(graph: &mut GraphProto, spec: &HeadSpec, own: &str, sources: &[String]) {
    if spec.convert.is_empty() {
        return;
    }
    let name = &spec.head.name;
    let mut from = own.to_string();
    for (number, step) in spec.convert.iter().enumerate() {
        if *step == Convert::Cut {
            let maker = graph.node.iter().find(|n| n.output.first() == Some(&from));
            from = maker.and_then(|n| n.input.first()).cloned().unwrap_or(from);
            continue;
        }
        let to = unused(graph, &format!("{name}.imported{number}"));
        append(graph, spec, step, &from, &to);
        from = to;
    }
    // What was cut free gets the head's name, unless it is called for by its own.
    if spec.convert.last() == Some(&Convert::Cut) {
        let mut ends = graph.input.iter().chain(&graph.output);
        if !sources.contains(&from) && !ends.any(|end| end.name == from) {
            return rename(graph, &from, name);
        }
        let to = unused(graph, &format!("{name}.imported0"));
        graph.node.push(node("Identity", &[&from], &to));
    }
    // The head's name is the output's: a node of the model may have it, too.
    if let Some(last) = graph.node.last_mut() {
        last.output[0].clone_from(name);
    }
}

fn append(graph: &mut GraphProto, spec: &HeadSpec, step: &Convert, from: &str, to: &str) {
    let mut constant = |what: &str, dims: &[usize], values: &[f32]| {
        let name = unused(graph, &format!("{to}.{what}"));
        graph.initializer.push(f32_tensor(&name, dims, values));
        name
    };
    match step {
        Convert::Cut => {}
        Convert::Sigmoid => graph.node.push(node("Sigmoid", &[from], to)),
        Convert::Softmax => {
            let mut softmax = node("Softmax", &[from], to);
            softmax.attribute.push(int_attribute("axis", 1));
            graph.node.push(softmax);
        }
        Convert::Log => {
            // Above 0, where the logarithm has a bound.
            let margin = constant("margin", &[1], &[1e-6]);
            let above = unused(graph, &format!("{to}.above"));
            graph.node.push(node("Add", &[from, &margin], &above));
            graph.node.push(node("Log", &[&above], to));
        }
        Convert::Scale(factors) => {
            let mut dims = vec![1; 2 + spec.head.spatial_shape.len()];
            dims[1] = factors.len();
            let factor = constant("factor", &dims, factors);
            graph.node.push(node("Mul", &[from, &factor], to));
        }
        Convert::LogOdds => {
            // Away from 0 and 1, where the logarithm has no bounds.
            const MARGIN: f32 = 1e-3;
            let ones = vec![1; 2 + spec.head.spatial_shape.len()];
            let factor = constant("factor", &ones, &[1.0 - 2.0 * MARGIN]);
            let margin = constant("margin", &ones, &[MARGIN]);
            let one = constant("one", &ones, &[1.0]);
            let [scaled, inside, outside, yes, no] = ["scaled", "inside", "outside", "yes", "no"]
                .map(|part| unused(graph, &format!("{to}.{part}")));
            graph.node.push(node("Mul", &[from, &factor], &scaled));
            graph.node.push(node("Add", &[&scaled, &margin], &inside));
            graph.node.push(node("Sub", &[&one, &inside], &outside));
            graph.node.push(node("Log", &[&inside], &yes));
            graph.node.push(node("Log", &[&outside], &no));
            graph.node.push(node("Sub", &[&yes, &no], to));
        }
        Convert::Reshape(shape) => {
            let name = unused(graph, &format!("{to}.shape"));
            graph.initializer.push(TensorProto {
                name: name.clone(),
                dims: vec![2],
                data_type: DataType::Int64 as i32,
                raw_data: shape.iter().flat_map(|n| (*n as i64).to_le_bytes()).collect(),
                ..TensorProto::default()
            });
            graph.node.push(node("Reshape", &[from, &name], to));
        }
        Convert::Linear { matrix, shift } => {
            let n = shift.len();
            let matrix = constant("matrix", &[n, n], matrix);
            let shift = constant("shift", &[n], shift);
            graph.node.push(node("Gemm", &[from, &matrix, &shift], to));
        }
    }
}

/// A name that nothing in the graph has: `wanted`, or one that starts so.
fn unused(graph: &GraphProto, wanted: &str) -> String {
    let taken = |name: &str| {
        graph.node.iter().any(|n| n.output.iter().any(|o| o == name))
            || graph.input.iter().chain(&graph.output).any(|end| end.name == name)
            || graph.initializer.iter().any(|t| t.name == name)
    };
    let mut name = wanted.to_string();
    while taken(&name) {
        name.push('_');
    }
    name
}

/// Gives a tensor another name, wherever it stands.
fn rename(graph: &mut GraphProto, from: &str, to: &str) {
    let of_nodes = graph.node.iter_mut().flat_map(|n| n.input.iter_mut().chain(&mut n.output));
    let of_inputs = graph.input.iter_mut().map(|i| &mut i.name);
    let of_weights = graph.initializer.iter_mut().map(|t| &mut t.name);
    for name in of_nodes.chain(of_inputs).chain(of_weights) {
        if name == from {
            *name = to.into();
        }
    }
}
