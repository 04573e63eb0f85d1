//! Fewer, larger nodes: activations and scales move into the convolution before them, and
//! quantize/dequantize pairs disappear into int8 nodes. Every rule keeps the values (but for
//! rounding), and the rules are repeated until none applies.

use std::collections::HashMap;

use super::{Activation, Graph, Id, Node, Op, Quant, Weights};

impl Graph {
    /// Applies every rule as often as it fits.
    pub fn fuse(mut self) -> Graph {
        self.drop_unused();
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

    /// The first node for which `fits` says yes to it and to the node that alone reads it (the
    /// graph's outputs are read by others, too).
    fn find_pair(&self, fits: impl Fn(&Node, &Node) -> bool) -> Option<(usize, usize)> {
        let uses = self.uses();
        let mut readers = vec![None; self.tensors.len()];
        for (i, node) in self.nodes.iter().enumerate() {
            node.inputs.iter().for_each(|id| readers[*id] = Some(i));
        }
        self.nodes.iter().enumerate().find_map(|(first, node)| {
            let second = readers[node.output].filter(|_| uses[node.output] == 1)?;
            fits(node, &self.nodes[second]).then_some((first, second))
        })
    }

    fn quant(&self, id: Id) -> Option<Quant> {
        self.tensors[id].quant
    }

    /// Per tensor: the one before the Dequantize that computes it.
    fn dequantized(&self) -> Vec<Option<Id>> {
        let mut before = vec![None; self.tensors.len()];
        let nodes = self.nodes.iter().filter(|n| n.op == Op::Dequantize);
        nodes.for_each(|n| before[n.output] = Some(n.inputs[0]));
        before
    }

    /// Can the node's kernel write int8?
    fn writes_int8(&self, node: &Node) -> bool {
        let int8_conv = matches!(node.op, Op::Conv(_)) && self.quant(node.inputs[0]).is_some();
        int8_conv || maps(&node.op)
    }

    fn drop_identity(&mut self) -> bool {
        let identity = |n: &Node| n.op == Op::Activate && n.activation == Activation::NONE;
        let inner = |n: &&Node| identity(n) && !self.outputs.contains(&n.output);
        let found = self.nodes.iter().find(inner).map(|n| (n.output, n.inputs[0]));
        found.inspect(|(from, to)| self.replace(*from, *to)).is_some()
    }

    /// Two Quantize of one tensor to one scale are one.
    fn share_quantize(&mut self) -> bool {
        let mut first = HashMap::new();
        let pair = self.nodes.iter().filter(|n| n.op == Op::Quantize).find_map(|node| {
            let quant = self.quant(node.output)?;
            let same = (node.inputs[0], quant.scale.to_bits(), quant.zero);
            first.insert(same, node.output).map(|kept| (kept, node.output))
        });
        pair.inspect(|(kept, dropped)| self.replace(*dropped, *kept)).is_some()
    }

    /// Quantize after Dequantize: nothing, or one Quantize from scale to scale.
    fn drop_round_trip(&mut self) -> bool {
        let dequantized = self.dequantized();
        for i in 0..self.nodes.len() {
            if self.nodes[i].op != Op::Quantize {
                continue;
            }
            let Some(source) = dequantized[self.nodes[i].inputs[0]] else { continue };
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

    /// Node → Activation: one node, if its kernel can write the activation's number format. A
    /// format between them may only go if the rounding is the same without it: a Relu or Clip that
    /// changes no scale, as rounding keeps the order of values.
    fn fold_activation(&mut self) -> bool {
        let clamps = |a: Activation| a.negative_slope == 0.0;
        let fits = |a: &Node, b: &Node| {
            let computes =
                matches!(a.op, Op::Conv(_) | Op::Add | Op::Scale { .. } | Op::InstanceNorm { .. });
            let between = self.quant(a.output);
            let same = between.is_none() || between == self.quant(b.output) && clamps(b.activation);
            let writes = self.quant(b.output).is_none() || self.writes_int8(a);
            let plain = a.activation == Activation::NONE && b.op == Op::Activate;
            computes && plain && same && writes
        };
        let Some((first, second)) = self.find_pair(fits) else { return false };
        let activation = self.nodes.remove(second);
        let node = &mut self.nodes[first];
        (node.output, node.activation) = (activation.output, activation.activation);
        true
    }

    /// Concat → Quantize: quantize what is joined, so that it is never joined in f32.
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
        let dequantized = self.dequantized();
        for i in 0..self.nodes.len() {
            if !moves(&self.nodes[i].op) || self.nodes[i].activation != Activation::NONE {
                continue;
            }
            let inputs = self.nodes[i].inputs.iter().map(|id| dequantized[*id]);
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
        let dequantized = self.dequantized();
        for i in 0..self.nodes.len() {
            let reads = match &self.nodes[i].op {
                Op::Conv(conv) => matches!(conv.weights, Weights::I8 { .. }),
                op => maps(op),
            };
            for input in 0..self.nodes[i].inputs.len() {
                if reads && let Some(source) = dequantized[self.nodes[i].inputs[input]] {
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
            self.writes_int8(a) && self.quant(a.output).is_none() && b.op == Op::Quantize
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
