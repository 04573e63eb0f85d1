//! Our own picture of a network: images of one batch, in the order they are computed.
//! `translate.rs` builds it, `fuse.rs` shortens it, `plan` makes it runnable.

mod activation;
mod fuse;
mod translate;

pub use activation::{Activation, LARGEST_SUM};
#[cfg(feature = "full")]
pub use translate::Translator;
pub use translate::whole;

/// A tensor's number in [`Graph::tensors`].
pub type Id = usize;

/// `real = scale · (q − zero)`, q in −128 … 127 (unsigned models are shifted by 128).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quant {
    pub scale: f32,
    pub zero: i32,
}

/// The most values that an image may have, 4 GiB in f32: far more than networks need, and far
/// from where sizes in bytes overflow (of 32 bits: 1 GiB).
pub const LARGEST_IMAGE: usize = if usize::BITS < 64 { 1 << 28 } else { 1 << 30 };

/// Has a tensor of this shape values, and at most [`LARGEST_IMAGE`]?
pub fn is_possible(shape: &[usize]) -> bool {
    let values = shape.iter().try_fold(1usize, |n, side| n.checked_mul(*side));
    values.is_some_and(|n| (1..=LARGEST_IMAGE).contains(&n))
}

/// Name and shape of an input or output tensor, `[1, channels, (z,) y, x]` for images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    pub name: String,
    pub shape: Vec<usize>,
}

/// An image with channels, batch 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    pub name: String,
    pub channels: usize,
    /// z, y, x; z is 1 for frames.
    pub size: [usize; 3],
    /// As ONNX counts them: 5 for volumes, 4 for frames, 2 for vectors.
    pub rank: usize,
    /// `None` for f32.
    pub quant: Option<Quant>,
}

impl Tensor {
    /// As ONNX writes it.
    pub fn shape(&self) -> Vec<usize> {
        let [z, y, x] = self.size;
        match self.rank {
            2 => vec![1, self.channels],
            4 => vec![1, self.channels, y, x],
            _ => vec![1, self.channels, z, y, x],
        }
    }

    pub fn positions(&self) -> usize {
        self.size.iter().product()
    }
}

#[derive(Debug, Clone, PartialEq)]
pub enum Weights {
    F32(Vec<f32>),
    /// Symmetric, one scale per output channel.
    I8 {
        values: Vec<i8>,
        scale: Vec<f32>,
    },
}

/// A convolution or, `transposed`, its adjoint. Per-axis values in the order z, y, x.
#[derive(Debug, Clone, PartialEq)]
pub struct Conv {
    pub transposed: bool,
    pub kernel: [usize; 3],
    pub stride: [usize; 3],
    pub dilation: [usize; 3],
    /// Padding before the first voxel; for transposed ones what is cut there.
    pub before: [usize; 3],
    pub groups: usize,
    /// `[output channel][input channel of the group][z][y][x]`, also for transposed ones.
    pub weights: Weights,
    pub bias: Vec<f32>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Pool {
    pub max: bool,
    pub kernel: [usize; 3],
    pub stride: [usize; 3],
    pub before: [usize; 3],
    /// Does an average count the padding?
    pub count_padding: bool,
}

/// How a resized position finds its source.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Resize {
    Nearest,
    /// Half-pixel centers; the border is replicated.
    Linear,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    Conv(Box<Conv>),
    /// Along the channels.
    Concat,
    /// Of two images of one shape.
    Add,
    /// `x · factor + shift`, per channel.
    Scale {
        factor: Vec<f32>,
        shift: Vec<f32>,
    },
    /// Nothing but the node's activation.
    Activate,
    Resize(Resize),
    Pool(Pool),
    /// Each channel to mean 0 and variance 1, then `· factor + shift`.
    InstanceNorm {
        epsilon: f32,
        factor: Vec<f32>,
        shift: Vec<f32>,
    },
    /// f32 → int8, or from one scale to another.
    Quantize,
    Dequantize,
    /// The same values in another shape: only where the image is one position.
    Reshape,
}

impl Op {
    pub fn name(&self) -> &'static str {
        match self {
            Op::Conv(c) if c.transposed => "ConvTranspose",
            Op::Conv(_) => "Conv",
            Op::Concat => "Concat",
            Op::Add => "Add",
            Op::Scale { .. } => "Scale",
            Op::Activate => "Activation",
            Op::Resize(_) => "Resize",
            Op::Pool(p) if p.max => "MaxPool",
            Op::Pool(_) => "AveragePool",
            Op::InstanceNorm { .. } => "InstanceNorm",
            Op::Quantize => "Quantize",
            Op::Dequantize => "Dequantize",
            Op::Reshape => "Reshape",
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    pub name: String,
    pub op: Op,
    pub inputs: Vec<Id>,
    pub output: Id,
    /// Applied to the operation's result, before it is quantized.
    pub activation: Activation,
}

impl Node {
    /// Multiply-accumulates.
    pub fn macs(&self, tensors: &[Tensor]) -> usize {
        let Op::Conv(conv) = &self.op else { return 0 };
        let (input, output) = (&tensors[self.inputs[0]], &tensors[self.output]);
        let taps: usize = conv.kernel.iter().product();
        let per_position = taps * input.channels / conv.groups * output.channels;
        // A transposed convolution uses every weight once per input position.
        per_position * if conv.transposed { input.positions() } else { output.positions() }
    }
}

/// Nodes in an order in which they can run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Graph {
    pub tensors: Vec<Tensor>,
    pub nodes: Vec<Node>,
    pub inputs: Vec<Id>,
    pub outputs: Vec<Id>,
}

impl Graph {
    /// How often each tensor is read, graph outputs included.
    pub fn uses(&self) -> Vec<usize> {
        let mut uses = vec![0; self.tensors.len()];
        let read = self.nodes.iter().flat_map(|n| &n.inputs).chain(&self.outputs);
        read.for_each(|id| uses[*id] += 1);
        uses
    }

    /// The node that computes a tensor; none for the graph's inputs.
    pub fn producer(&self, id: Id) -> Option<usize> {
        self.nodes.iter().position(|n| n.output == id)
    }
}
