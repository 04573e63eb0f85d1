//! From a [`Graph`] to steps over one arena: which images lie where, and when.

mod layout;

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use super::Simd;
use super::graph::{Activation, Graph, Id, Node, Op, Tensor};
use super::kernels::conv::{Layer, Tiles, Winograd};
use super::kernels::depthwise::DepthwiseLayer;
use super::kernels::planar::{PlanarLayer, Target};
use super::kernels::{
    Arenas, Border, Map, MapKind, Memory, Norm, Pack, PoolStep, ResizeStep, Unpack,
};
use layout::Layout;

/// Of a plan that cannot be.
pub const TOO_LARGE: &str = "the images between its operations need more memory than is allowed";

/// A graph ready to run.
pub struct Plan {
    steps: Vec<Step>,
    pub inputs: Vec<Tensor>,
    pub outputs: Vec<Tensor>,
    /// Of which outputs every value is surely a number.
    pub finite: Vec<bool>,
    arenas: Arenas,
    pub arena_bytes: usize,
}

/// One step: the borders of the images that it starts, then its work.
struct Step {
    borders: Vec<Border>,
    work: Work,
    info: StepInfo,
}

enum Work {
    Pack(Pack),
    Conv(Box<Layer>),
    Winograd(Box<Winograd>),
    Depthwise(Box<DepthwiseLayer>),
    Planar(Box<PlanarLayer>),
    Map(Map),
    Pool(PoolStep),
    Resize(ResizeStep),
    Norm(Norm),
    Unpack(Unpack),
}

/// What `models show --plan` prints of a step.
#[derive(Debug, Clone, serde::Serialize)]
pub struct StepInfo {
    pub name: String,
    /// Who runs it: `intraop` or `tract`.
    pub engine: &'static str,
    pub op: String,
    pub from: String,
    pub to: String,
    pub macs: usize,
    /// Of weights and tables.
    pub weight_bytes: usize,
    /// Of the images read and written.
    pub image_bytes: usize,
}

impl StepInfo {
    /// A node that tract runs: how many bytes it touches is not known here.
    pub fn of_tract(name: &str, op: &str, to: String, macs: usize) -> StepInfo {
        StepInfo {
            name: name.into(),
            engine: "tract",
            op: op.into(),
            from: String::new(),
            to,
            macs,
            weight_bytes: 0,
            image_bytes: 0,
        }
    }
}

impl Plan {
    /// `None` if the images between the steps need too much memory.
    pub fn new(graph: Graph, simd: Simd, arenas: &Arenas) -> Option<Plan> {
        let graph = graph.fuse().with_ends();
        let direct = direct(&graph);
        let layout = Layout::new(&graph, &direct)?;
        let mut steps = Vec::new();
        for (i, node) in graph.nodes.iter().enumerate() {
            if let Some(work) = work(&graph, &layout, &direct, node, simd) {
                let info = info(&graph, node, &work);
                steps.push(Step { borders: layout.borders(i), work, info });
            }
        }
        for (output, id) in graph.outputs.iter().enumerate() {
            if direct.contains_key(id) {
                continue;
            }
            let from = layout.image(&graph, *id);
            let info = StepInfo {
                name: graph.tensors[*id].name.clone(),
                engine: "intraop",
                op: "Unpack".into(),
                from: describe(&graph.tensors[*id]),
                to: String::new(),
                macs: 0,
                weight_bytes: 0,
                image_bytes: bytes(&graph.tensors[*id]),
            };
            steps.push(Step { borders: vec![], work: Work::Unpack(Unpack { from, output }), info });
        }
        let tensors = |ids: &[Id]| ids.iter().map(|id| graph.tensors[*id].clone()).collect();
        let mut finite = vec![false; graph.outputs.len()];
        for step in &steps {
            if let Work::Planar(layer) = &step.work
                && let Some(output) = layer.output()
            {
                finite[output] = layer.is_finite();
            }
        }
        // Memory is taken here, not in the first run.
        arenas.lend(layout.bytes, |_| ());
        Some(Plan {
            steps,
            inputs: tensors(&graph.inputs),
            outputs: tensors(&graph.outputs),
            finite,
            arenas: arenas.clone(),
            arena_bytes: layout.bytes,
        })
    }

    pub fn steps(&self) -> impl Iterator<Item = &StepInfo> {
        self.steps.iter().map(|s| &s.info)
    }

    /// Runs every step on the current rayon pool. Tensors are in memory order.
    ///
    /// # Panics
    /// If an input has not its tensor's number of elements.
    pub fn run(&self, inputs: &[&[f32]], outputs: &mut Vec<Vec<f32>>) {
        self.run_observed(inputs, outputs, |_, _| ());
    }

    /// As [`Plan::run`], telling how long each step took.
    pub fn run_observed(
        &self,
        inputs: &[&[f32]],
        outputs: &mut Vec<Vec<f32>>,
        mut observe: impl FnMut(&StepInfo, Duration),
    ) {
        for (tensor, input) in self.inputs.iter().zip(inputs) {
            assert_eq!(input.len(), tensor.positions() * tensor.channels, "{}", tensor.name);
        }
        outputs.resize_with(self.outputs.len(), Vec::new);
        for (tensor, output) in self.outputs.iter().zip(&mut *outputs) {
            output.resize(tensor.positions() * tensor.channels, 0.0);
        }
        self.arenas.lend(self.arena_bytes, |memory| {
            for step in &self.steps {
                let start = Instant::now();
                step.borders.iter().for_each(|b| b.write(memory));
                step.work.run(memory, inputs, outputs);
                observe(&step.info, start.elapsed());
            }
        });
    }
}

impl Work {
    fn run(&self, memory: Memory, inputs: &[&[f32]], outputs: &mut [Vec<f32>]) {
        match self {
            Work::Pack(pack) => pack.run(memory, inputs),
            Work::Conv(layer) => layer.run(memory),
            Work::Winograd(layer) => layer.run(memory),
            Work::Depthwise(layer) => layer.run(memory),
            Work::Planar(layer) => layer.run(memory, outputs),
            Work::Map(map) => map.run(memory),
            Work::Pool(pool) => pool.run(memory),
            Work::Resize(resize) => resize.run(memory),
            Work::Norm(norm) => norm.run(memory),
            Work::Unpack(unpack) => unpack.run(memory, &mut outputs[unpack.output]),
        }
    }
}

impl Graph {
    /// Puts in the conversions that the layout needs: every input is read by one node alone,
    /// which makes it an image, and every image that is joined is joined once.
    fn with_ends(mut self) -> Graph {
        for input in self.inputs.clone() {
            let reads = |n: &Node| n.inputs.contains(&input);
            let readers: Vec<_> = self.nodes.iter().filter(|n| reads(n)).collect();
            let quantized = matches!(readers[..], [Node { op: Op::Quantize, .. }]);
            if !quantized || self.outputs.contains(&input) {
                let image = self.add_copy(input, 0);
                let ids = self.nodes[1..].iter_mut().flat_map(|n| &mut n.inputs);
                let ids = ids.chain(&mut self.outputs);
                ids.filter(|id| **id == input).for_each(|id| *id = image);
            }
        }
        let mut joined = HashSet::new();
        let mut node = 0;
        while node < self.nodes.len() {
            if matches!(self.nodes[node].op, Op::Concat | Op::Reshape) {
                for i in 0..self.nodes[node].inputs.len() {
                    let input = self.nodes[node].inputs[i];
                    if !joined.insert(input) || self.is_thin(input) {
                        let copy = self.add_copy(self.nodes[node].inputs[i], node);
                        node += 1;
                        self.nodes[node].inputs[i] = copy;
                    }
                }
            }
            node += 1;
        }
        self
    }

    /// Few channels that a convolution reads too: among those of others it would find them
    /// slowly, so only a copy is joined.
    fn is_thin(&self, id: Id) -> bool {
        let conv = |n: &Node| matches!(n.op, Op::Conv(_)) && n.inputs[0] == id;
        self.tensors[id].channels < 8 && self.nodes.iter().any(conv)
    }

    /// A copy of a tensor, made before node number `before`.
    fn add_copy(&mut self, id: Id, before: usize) -> Id {
        let copy = self.tensors.len();
        self.tensors.push(self.tensors[id].clone());
        let node = Node {
            name: self.tensors[id].name.clone(),
            op: Op::Activate,
            inputs: vec![id],
            output: copy,
            activation: Activation::NONE,
        };
        self.nodes.insert(before, node);
        copy
    }
}

/// Outputs that a convolution to few channels writes itself, by tensor: their numbers.
fn direct(graph: &Graph) -> HashMap<Id, usize> {
    let uses = graph.uses();
    let outputs = graph.outputs.iter().enumerate().filter(|(_, id)| uses[**id] == 1);
    let fits = |(number, id): (usize, &Id)| {
        let channels = graph.tensors[*id].channels;
        let Op::Conv(conv) = &graph.nodes[graph.producer(*id)?].op else { return None };
        PlanarLayer::fits(conv, channels).then_some((*id, number))
    };
    outputs.filter_map(fits).collect()
}

fn work(
    graph: &Graph,
    layout: &Layout,
    direct: &HashMap<Id, usize>,
    node: &Node,
    simd: Simd,
) -> Option<Work> {
    let image = |id: Id| layout.image(graph, id);
    if let Op::Conv(conv) = &node.op
        && PlanarLayer::fits(conv, graph.tensors[node.output].channels)
    {
        let size = graph.tensors[node.output].size;
        let to = match direct.get(&node.output) {
            Some(number) => Target::Output { number: *number, size },
            None => Target::Image(image(node.output)),
        };
        let from = image(node.inputs[0]);
        let layer = PlanarLayer::new(conv, node.activation, from, to, size, simd);
        return Some(Work::Planar(Box::new(layer)));
    }
    let to = image(node.output);
    if let Some(input) = graph.inputs.iter().position(|id| *id == node.inputs[0]) {
        return Some(Work::Pack(Pack { input, to, simd }));
    }
    let from = image(node.inputs[0]);
    let map = |kind, from| Work::Map(Map { kind, from, to, activation: node.activation, simd });
    Some(match &node.op {
        Op::Conv(conv) if Winograd::fits(conv, &from, &to) => {
            let layer = Winograd::new(conv, node.activation, from, to, Tiles::new(simd));
            Work::Winograd(Box::new(layer))
        }
        Op::Conv(conv) if DepthwiseLayer::fits(conv, from.channels) => {
            let layer = DepthwiseLayer::new(conv, node.activation, from, to, simd);
            Work::Depthwise(Box::new(layer))
        }
        Op::Conv(conv) => {
            Work::Conv(Box::new(Layer::new(conv, node.activation, from, to, Tiles::new(simd))))
        }
        // What was not placed there by its producer.
        Op::Concat => return None,
        Op::Reshape => return None,
        Op::Activate | Op::Quantize | Op::Dequantize => map(MapKind::Copy, vec![from]),
        Op::Add => map(MapKind::Add, vec![from, image(node.inputs[1])]),
        Op::Scale { factor, shift } => {
            map(MapKind::Scale { factor: factor.clone(), shift: shift.clone() }, vec![from])
        }
        Op::Pool(pool) => Work::Pool(PoolStep { pool: pool.clone(), from, to, simd }),
        Op::Resize(mode) => Work::Resize(ResizeStep { mode: *mode, from, to }),
        Op::InstanceNorm { epsilon, factor, shift } => Work::Norm(Norm {
            epsilon: *epsilon,
            factor: factor.clone(),
            shift: shift.clone(),
            activation: node.activation,
            from,
            to,
            simd,
        }),
    })
}

fn bytes(tensor: &Tensor) -> usize {
    tensor.positions() * tensor.channels * if tensor.quant.is_some() { 1 } else { 4 }
}

fn describe(tensor: &Tensor) -> String {
    let places = tensor.size.map(|n| n.to_string()).join("×");
    let format = if tensor.quant.is_some() { "int8" } else { "f32" };
    format!("{}×{places} {format}", tensor.channels)
}

fn info(graph: &Graph, node: &Node, work: &Work) -> StepInfo {
    let inputs = || node.inputs.iter().map(|id| &graph.tensors[*id]);
    let output = &graph.tensors[node.output];
    StepInfo {
        name: node.name.clone(),
        engine: "intraop",
        op: if matches!(work, Work::Pack(_)) { "Pack" } else { node.op.name() }.into(),
        from: inputs().map(describe).collect::<Vec<_>>().join(" + "),
        to: describe(output),
        macs: node.macs(&graph.tensors),
        weight_bytes: match work {
            Work::Conv(layer) => layer.bytes(),
            Work::Winograd(layer) => layer.bytes(),
            Work::Depthwise(layer) => layer.bytes(),
            Work::Planar(layer) => layer.bytes(),
            _ => 0,
        },
        image_bytes: inputs().map(bytes).sum::<usize>() + bytes(output),
    }
}
