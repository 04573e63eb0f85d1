//! Fewer, larger nodes: activations and scales move into the convolution before them, and
//! quantise/dequantise pairs disappear into int8 nodes. Every rule keeps the values (but for
//! rounding), and the rules are repeated until none applies.

use super::{Activation, Graph, Id, Node, Op, Quant, Weights};

impl Graph {
    /// Applies every rule as often as it fits.
    pub fn fuse(mut self) -> Graph {
        let rules = [
            Graph::drop_identity,
            Graph::share_quantize,
            Graph::drop_round_trip,
            Graph::fold_scale,
            Graph::fold_activation,
            Graph::quantize_before_concat,
            Graph::dequantize_later,
            Graph::int8_input,
            Graph::int8_output,
        ];
        while rules.iter().any(|rule| rule(&mut self)) {
            self.drop_unused();
        }
        self.f32_weights();
        self
    }

    fn drop_unused(&mut self) {
        loop {
            let uses = self.uses();
            let before = self.nodes.len();
            self.nodes.retain(|n| uses[n.output] > 0);
            if self.nodes.len() == before {
                return;
            }
        }
    }

    /// Everything that read `from` reads `to`.
    fn replace(&mut self, from: Id, to: Id) {
        let inputs = self.nodes.iter_mut().flat_map(|n| &mut n.inputs);
        inputs.chain(&mut self.outputs).filter(|id| **id == from).for_each(|id| *id = to);
    }

    /// The node that alone reads this node's output, if the output is not the graph's.
    fn only_reader(&self, node: usize) -> Option<usize> {
        let output = self.nodes[node].output;
        if self.uses()[output] != 1 {
            return None;
        }
        self.nodes.iter().position(|n| n.inputs.contains(&output))
    }

    /// Pairs of a node and the node that alone reads it, as long as `fits` says yes to one.
    fn find_pair(&self, fits: impl Fn(&Node, &Node) -> bool) -> Option<(usize, usize)> {
        (0..self.nodes.len()).find_map(|first| {
            let second = self.only_reader(first)?;
            fits(&self.nodes[first], &self.nodes[second]).then_some((first, second))
        })
    }

    fn quant(&self, id: Id) -> Option<Quant> {
        self.tensors[id].quant
    }

    /// The tensor before a Dequantize that computes `id`.
    fn dequantized(&self, id: Id) -> Option<Id> {
        let node = &self.nodes[self.producer(id)?];
        (node.op == Op::Dequantize).then(|| node.inputs[0])
    }

    fn drop_identity(&mut self) -> bool {
        let identity = |n: &Node| n.op == Op::Activate && n.activation == Activation::NONE;
        let inner = |n: &&Node| identity(n) && !self.outputs.contains(&n.output);
        let found = self.nodes.iter().find(inner).map(|n| (n.output, n.inputs[0]));
        found.inspect(|(from, to)| self.replace(*from, *to)).is_some()
    }

    /// Two Quantize of one tensor to one scale are one.
    fn share_quantize(&mut self) -> bool {
        let quantize = |n: &&Node| n.op == Op::Quantize;
        let same = |a: &Node, b: &Node| {
            a.inputs == b.inputs && self.quant(a.output) == self.quant(b.output)
        };
        let pair = self.nodes.iter().enumerate().filter(|(_, n)| quantize(n)).find_map(|(i, a)| {
            let later = self.nodes[i + 1..].iter().filter(quantize);
            later.filter(|b| same(a, b)).map(|b| (a.output, b.output)).next()
        });
        pair.inspect(|(kept, dropped)| self.replace(*dropped, *kept)).is_some()
    }

    /// Quantize after Dequantize: nothing, or one Quantize from scale to scale.
    fn drop_round_trip(&mut self) -> bool {
        for i in 0..self.nodes.len() {
            if self.nodes[i].op != Op::Quantize {
                continue;
            }
            let Some(source) = self.dequantized(self.nodes[i].inputs[0]) else { continue };
            let output = self.nodes[i].output;
            if self.quant(source) == self.quant(output) && !self.outputs.contains(&output) {
                self.replace(output, source);
            } else {
                self.nodes[i].inputs[0] = source;
            }
            return true;
        }
        false
    }

    /// Conv → Scale: into the weights.
    fn fold_scale(&mut self) -> bool {
        let fits = |a: &Node, b: &Node| {
            let Op::Conv(conv) = &a.op else { return false };
            a.activation == Activation::NONE
                && matches!(conv.weights, Weights::F32(_))
                && matches!(b.op, Op::Scale { .. })
        };
        let Some((first, second)) = self.find_pair(fits) else { return false };
        let scale = self.nodes.remove(second);
        let Op::Scale { factor, shift } = scale.op else { return false };
        let node = &mut self.nodes[first];
        (node.output, node.activation) = (scale.output, scale.activation);
        let Op::Conv(conv) = &mut node.op else { return false };
        let Weights::F32(weights) = &mut conv.weights else { return false };
        let per_channel = weights.len() / factor.len();
        for (row, f) in weights.chunks_mut(per_channel).zip(&factor) {
            row.iter_mut().for_each(|w| *w *= f);
        }
        for ((bias, f), s) in conv.bias.iter_mut().zip(&factor).zip(&shift) {
            *bias = *bias * f + s;
        }
        true
    }

    /// Node → Activation: one node. A number format between them may only go if the rounding
    /// is the same without it: a Relu that changes no scale.
    fn fold_activation(&mut self) -> bool {
        let relu = Activation { negative_slope: 0.0, max: f32::INFINITY };
        let fits = |a: &Node, b: &Node| {
            let computes =
                matches!(a.op, Op::Conv(_) | Op::Add | Op::Scale { .. } | Op::InstanceNorm { .. });
            let between = self.quant(a.output);
            let same = between.is_none() || between == self.quant(b.output) && b.activation == relu;
            computes && a.activation == Activation::NONE && b.op == Op::Activate && same
        };
        let Some((first, second)) = self.find_pair(fits) else { return false };
        let activation = self.nodes.remove(second);
        let node = &mut self.nodes[first];
        (node.output, node.activation) = (activation.output, activation.activation);
        true
    }

    /// Concat → Quantize: quantise what is joined, so that it is never joined in f32.
    fn quantize_before_concat(&mut self) -> bool {
        let fits = |a: &Node, b: &Node| a.op == Op::Concat && b.op == Op::Quantize;
        let Some((concat, quantize)) = self.find_pair(fits) else { return false };
        let quantize = self.nodes.remove(quantize);
        let quant = self.quant(quantize.output);
        let mut nodes = Vec::new();
        for i in 0..self.nodes[concat].inputs.len() {
            let input = self.nodes[concat].inputs[i];
            let mut tensor = self.tensors[input].clone();
            tensor.quant = quant;
            self.tensors.push(tensor);
            let output = self.tensors.len() - 1;
            self.nodes[concat].inputs[i] = output;
            let name = quantize.name.clone();
            let activation = Activation::NONE;
            nodes.push(Node { name, op: Op::Quantize, inputs: vec![input], output, activation });
        }
        self.nodes[concat].output = quantize.output;
        self.nodes.splice(concat..concat, nodes);
        true
    }

    /// Dequantize → an operation that only moves or compares values: the other way round.
    fn dequantize_later(&mut self) -> bool {
        let moves = |op: &Op| match op {
            Op::Concat | Op::Resize(super::Resize::Nearest) => true,
            Op::Pool(pool) => pool.max,
            _ => false,
        };
        for i in 0..self.nodes.len() {
            if !moves(&self.nodes[i].op) || self.nodes[i].activation != Activation::NONE {
                continue;
            }
            let inputs = self.nodes[i].inputs.iter().map(|id| self.dequantized(*id));
            let Some(inputs) = inputs.collect::<Option<Vec<Id>>>() else { continue };
            let quant = self.quant(inputs[0]);
            if inputs.iter().any(|id| self.quant(*id) != quant) {
                continue;
            }
            let mut tensor = self.tensors[self.nodes[i].output].clone();
            tensor.quant = quant;
            self.tensors.push(tensor);
            let moved = self.tensors.len() - 1;
            let output = std::mem::replace(&mut self.nodes[i].output, moved);
            self.nodes[i].inputs = inputs;
            let name = self.nodes[i].name.clone();
            let activation = Activation::NONE;
            let node = Node { name, op: Op::Dequantize, inputs: vec![moved], output, activation };
            self.nodes.insert(i + 1, node);
            return true;
        }
        false
    }

    /// Dequantize → a node that reads int8: it does.
    fn int8_input(&mut self) -> bool {
        for i in 0..self.nodes.len() {
            let reads = match &self.nodes[i].op {
                Op::Conv(conv) => matches!(conv.weights, Weights::I8 { .. }),
                op => maps(op),
            };
            for input in 0..self.nodes[i].inputs.len() {
                if reads && let Some(source) = self.dequantized(self.nodes[i].inputs[input]) {
                    self.nodes[i].inputs[input] = source;
                    return true;
                }
            }
        }
        false
    }

    /// A node that can write int8 → Quantize: it does.
    fn int8_output(&mut self) -> bool {
        let fits = |a: &Node, b: &Node| {
            let int8 = matches!(a.op, Op::Conv(_)) && self.quant(a.inputs[0]).is_some();
            (int8 || maps(&a.op)) && self.quant(a.output).is_none() && b.op == Op::Quantize
        };
        let Some((first, second)) = self.find_pair(fits) else { return false };
        self.nodes[first].output = self.nodes[second].output;
        self.nodes.remove(second);
        true
    }

    /// int8 weights of a convolution whose input stayed f32 become f32.
    fn f32_weights(&mut self) {
        for node in &mut self.nodes {
            let Op::Conv(conv) = &mut node.op else { continue };
            let Weights::I8 { values, scale } = &conv.weights else { continue };
            if self.tensors[node.inputs[0]].quant.is_none() {
                let per_channel = values.len() / scale.len();
                let rows = values.chunks(per_channel).zip(scale);
                let weights = rows.flat_map(|(r, s)| r.iter().map(move |w| f32::from(*w) * s));
                conv.weights = Weights::F32(weights.collect());
            }
        }
    }
}

/// Operations that take and give any number format.
fn maps(op: &Op) -> bool {
    matches!(op, Op::Add | Op::Scale { .. } | Op::Activate | Op::InstanceNorm { .. })
}
