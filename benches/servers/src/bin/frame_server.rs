//! Steps on frames, for Python to compare with OpenCV: a request per line on stdin, an answer per
//! line on stdout, both JSON; samples in files, little endian.

use std::error::Error;
use std::io::{Write, stdin, stdout};
use std::time::Instant;

use intraop_core::image::{Frame, Pixels};
use intraop_core::preprocess::Step;
use intraop_core::preprocess::frames::{FramePipeline, Resizable, grayscale};
use intraop_engine::Simd;
use serde::{Deserialize, Serialize};

type Outcome<T> = Result<T, Box<dyn Error>>;

#[derive(Deserialize)]
struct Request {
    /// One step that keeps the kind of samples is run by itself, others as a list, to f32.
    steps: Vec<Step>,
    /// The widest vectors of this CPU when absent.
    simd: Option<String>,
    kind: Kind,
    width: usize,
    height: usize,
    input: String,
    output: String,
    /// How often the work is measured.
    repeat: usize,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Gray8,
    Gray16,
    Rgb8,
    Rgb16,
    Rgba8,
    Rgba16,
    Float,
}

#[derive(Serialize)]
struct Answer {
    width: usize,
    height: usize,
    /// Bytes of a sample of the output.
    bytes: usize,
    ns: Vec<u64>,
    /// Every level of this CPU.
    simd: Vec<String>,
}

fn main() -> Outcome<()> {
    for line in stdin().lines() {
        let answer = serve(&serde_json::from_str(&line?)?)?;
        println!("{}", serde_json::to_string(&answer)?);
        stdout().flush()?;
    }
    Ok(())
}

fn serve(request: &Request) -> Outcome<Answer> {
    let simd = request.simd.as_deref().map_or(Ok(Simd::detect()), str::parse)?;
    let bytes = std::fs::read(&request.input)?;
    let words = || bytes.as_chunks().0.iter().map(|b| u16::from_le_bytes(*b));
    let reals = || bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b));
    let [width, height] = [request.width, request.height];
    let pixels = match request.kind {
        Kind::Gray8 => Pixels::Gray8(Frame::new(width, height, bytes.clone())),
        Kind::Gray16 => Pixels::Gray16(Frame::new(width, height, words().collect())),
        Kind::Float => Pixels::Float(Frame::new(width, height, reals().collect())),
        Kind::Rgb8 => Pixels::Rgb8(Frame::new(width, height, bytes.as_chunks().0.to_vec())),
        Kind::Rgba8 => Pixels::Rgba8(Frame::new(width, height, bytes.as_chunks().0.to_vec())),
        Kind::Rgb16 => Pixels::Rgb16(Frame::new(width, height, grouped(words()))),
        Kind::Rgba16 => Pixels::Rgba16(Frame::new(width, height, grouped(words()))),
    };
    let [step] = request.steps.as_slice() else { return list(request, simd, &pixels) };
    match (step, &pixels) {
        (Step::Grayscale, Pixels::Rgb8(f)) => measure(request, || Ok(grayscale(simd, f))),
        (Step::Grayscale, Pixels::Rgba8(f)) => measure(request, || Ok(grayscale(simd, f))),
        (Step::Grayscale, Pixels::Rgb16(f)) => measure(request, || Ok(grayscale(simd, f))),
        (Step::Grayscale, Pixels::Rgba16(f)) => measure(request, || Ok(grayscale(simd, f))),
        (Step::Clahe(c), Pixels::Gray8(f)) => measure(request, || Ok(c.apply(simd, f))),
        (Step::Clahe(c), Pixels::Gray16(f)) => measure(request, || Ok(c.apply(simd, f))),
        (Step::Normalize(_) | Step::Gamma(_), _) => list(request, simd, &pixels),
        (_, Pixels::Gray8(frame)) => measure(request, || moved(simd, step, frame)),
        (_, Pixels::Gray16(frame)) => measure(request, || moved(simd, step, frame)),
        (_, Pixels::Float(frame)) => measure(request, || moved(simd, step, frame)),
        _ => Err("colors can only be made gray".into()),
    }
}

fn grouped<const C: usize>(words: impl Iterator<Item = u16>) -> Vec<[u16; C]> {
    words.collect::<Vec<_>>().as_chunks().0.to_vec()
}

/// A step that moves samples or sums them up.
fn moved<T: Resizable>(simd: Simd, step: &Step, frame: &Frame<T>) -> Outcome<Frame<T>> {
    Ok(match step {
        Step::Resize(resize) => resize.apply(simd, frame),
        Step::Gaussian(gaussian) => gaussian.apply(simd, frame),
        Step::Crop(crop) => crop.apply(frame, "frame")?.0,
        Step::Pad(pad) => pad.apply(frame, "frame")?.0,
        _ => frame.clone(),
    })
}

fn list(request: &Request, simd: Simd, pixels: &Pixels) -> Outcome<Answer> {
    let pipeline = FramePipeline::new(&request.steps, simd)?;
    measure(request, || Ok(pipeline.run(pixels, "frame")?.frame))
}

fn measure<T: Resizable>(
    request: &Request,
    run: impl Fn() -> Outcome<Frame<T>>,
) -> Outcome<Answer> {
    let mut frame = run()?;
    let mut ns = Vec::with_capacity(request.repeat);
    for _ in 0..request.repeat {
        let start = Instant::now();
        frame = run()?;
        ns.push(start.elapsed().as_nanos() as u64);
    }
    let bytes = size_of::<T>();
    let sample = |v: &T| match bytes {
        1 => (v.real() as u8).to_le_bytes().to_vec(),
        2 => (v.real() as u16).to_le_bytes().to_vec(),
        _ => v.real().to_le_bytes().to_vec(),
    };
    let data: Vec<u8> = frame.data.iter().flat_map(sample).collect();
    std::fs::write(&request.output, data)?;
    let simd = Simd::all().iter().map(Simd::to_string).collect();
    Ok(Answer { width: frame.width, height: frame.height, bytes, ns, simd })
}
