//! Which images share a box of memory, how wide its border is, and where in the arena it lies.

use std::collections::HashMap;

use crate::graph::{Graph, Id, Op};
use crate::kernels::conv::reach;
use crate::kernels::{Border, Image};

/// The most memory for all images together.
const LARGEST_ARENA: usize = if usize::BITS < 64 { 1 << 30 } else { (1u64 << 35) as usize };

/// Images beside each other, voxel by voxel.
#[derive(Debug, Clone)]
struct Box {
    channels: usize,
    /// One of its images.
    like: Id,
    before: [usize; 3],
    after: [usize; 3],
    /// Steps between which it is in use, both included.
    first: usize,
    last: usize,
    offset: usize,
}

/// Where an image is: in which box, from which channel on.
#[derive(Debug, Clone, Copy)]
struct Slot {
    at: usize,
    channel: usize,
}

pub struct Layout {
    /// Per tensor; none for the graph's own inputs.
    places: Vec<Option<Slot>>,
    boxes: Vec<Box>,
    pub bytes: usize,
    /// Per box: what writes its border.
    border: Vec<Border>,
}

impl Layout {
    /// `direct` are the tensors that need no place, as they are written straight to the caller.
    /// `None` if the images need more than [`LARGEST_ARENA`].
    pub fn new(graph: &Graph, direct: &HashMap<Id, usize>) -> Option<Layout> {
        let mut layout = Layout {
            places: vec![None; graph.tensors.len()],
            boxes: vec![],
            bytes: 0,
            border: vec![],
        };
        // Consumers first, so that a Concat's inputs find its place.
        for node in graph.nodes.iter().rev() {
            if !direct.contains_key(&node.output) {
                layout.place(graph, node.output);
            }
            let Some(place) = layout.places[node.output] else { continue };
            let mut channel = place.channel;
            for input in &node.inputs {
                if matches!(node.op, Op::Concat | Op::Reshape) {
                    layout.places[*input] = Some(Slot { channel, ..place });
                    channel += graph.tensors[*input].channels;
                }
            }
        }
        layout.spans(graph);
        layout.arrange(graph)?;
        layout.border = (0..layout.boxes.len()).map(|b| layout.box_border(graph, b)).collect();
        Some(layout)
    }

    fn place(&mut self, graph: &Graph, id: Id) {
        if self.places[id].is_none() {
            let channels = graph.tensors[id].channels;
            let (at, channel) = (self.boxes.len(), 0);
            self.places[id] = Some(Slot { at, channel });
            let none = [0; 3];
            let (first, last) = (usize::MAX, 0);
            self.boxes.push(Box {
                channels,
                like: id,
                before: none,
                after: none,
                first,
                last,
                offset: 0,
            });
        }
    }

    /// Widens borders and lifetimes to what the nodes need.
    fn spans(&mut self, graph: &Graph) {
        for (step, node) in graph.nodes.iter().enumerate() {
            for id in node.inputs.iter().chain([&node.output]) {
                let Some(place) = self.places[*id] else { continue };
                let b = &mut self.boxes[place.at];
                (b.first, b.last) = (b.first.min(step), b.last.max(step));
                if let Op::Conv(conv) = &node.op
                    && *id == node.inputs[0]
                {
                    let input = graph.tensors[*id].size;
                    let (before, after) = reach(conv, input, graph.tensors[node.output].size);
                    for a in 0..3 {
                        b.before[a] = b.before[a].max(before[a]);
                        b.after[a] = b.after[a].max(after[a]);
                    }
                }
            }
        }
        for id in &graph.outputs {
            if let Some(place) = self.places[*id] {
                self.boxes[place.at].last = graph.nodes.len();
            }
        }
    }

    fn box_border(&self, graph: &Graph, at: usize) -> Border {
        let b = &self.boxes[at];
        let tensor = &graph.tensors[b.like];
        let element = if tensor.quant.is_some() { 1 } else { 4 };
        Border {
            origin: b.offset,
            bytes: b.channels * element,
            size: tensor.size,
            before: b.before,
            after: b.after,
            fill: Border::fill(tensor.quant),
        }
    }

    /// Offsets in the arena: the largest first, each at the lowest place that is free for as
    /// long as it lives.
    fn arrange(&mut self, graph: &Graph) -> Option<()> {
        let size = |b: usize| {
            let border = self.box_border(graph, b);
            let voxels = border.full().iter().try_fold(1usize, |n, side| n.checked_mul(*side))?;
            let bytes = voxels.checked_mul(border.bytes)?;
            // One more line: the rest of a vector is read past the last voxel.
            bytes.checked_add(64)?.checked_next_multiple_of(64).filter(|n| *n <= LARGEST_ARENA)
        };
        let sizes: Vec<usize> = (0..self.boxes.len()).map(size).collect::<Option<_>>()?;
        let mut order: Vec<usize> = (0..self.boxes.len()).collect();
        order.sort_by_key(|b| std::cmp::Reverse(sizes[*b]));
        let mut placed: Vec<usize> = Vec::new();
        for b in order {
            let meets = |o: &&usize| {
                self.boxes[**o].first <= self.boxes[b].last
                    && self.boxes[b].first <= self.boxes[**o].last
            };
            let mut taken: Vec<(usize, usize)> =
                placed.iter().filter(meets).map(|o| (self.boxes[*o].offset, sizes[*o])).collect();
            taken.sort_unstable();
            let mut offset = 0;
            for (start, bytes) in taken {
                if start >= offset + sizes[b] {
                    break;
                }
                offset = offset.max(start + bytes);
            }
            self.boxes[b].offset = offset;
            self.bytes = self.bytes.max(offset + sizes[b]);
            placed.push(b);
        }
        (self.bytes <= LARGEST_ARENA).then_some(())
    }

    /// The borders that must be written before a step, because it is the first to use the box.
    pub fn borders(&self, step: usize) -> Vec<Border> {
        let starts = self.boxes.iter().zip(&self.border).filter(|(b, _)| b.first == step);
        starts.map(|(_, border)| *border).collect()
    }

    /// # Panics
    /// For the graph's own inputs, which are no images yet.
    pub fn image(&self, graph: &Graph, id: Id) -> Image {
        let place = self.places[id].expect("every tensor but the graph's inputs has a place");
        let (border, tensor) = (&self.border[place.at], &graph.tensors[id]);
        let [_, height, width] = border.full();
        let stride = [height * width * border.bytes, width * border.bytes, border.bytes];
        let element = if tensor.quant.is_some() { 1 } else { 4 };
        let origin = border.origin
            + (0..3).map(|a| border.before[a] * stride[a]).sum::<usize>()
            + place.channel * element;
        Image { origin, stride, channels: tensor.channels, size: tensor.size, quant: tensor.quant }
    }
}
