//! Many frames from a CSV: what should be found in each, what was, and the sum.

mod cases;
mod columns;
mod expected;
mod page;
mod per_case;
mod score;
mod summary;

pub use cases::{FrameCase, Outline, Truth, read_frame_cases};
pub use expected::{Expected, Region, Rules};
pub use page::page;
pub use per_case::write_per_case;
pub use score::{LandmarkScore, MeasurementScore, RegionScore, Scores, ViewScore, score};
pub use summary::{Failure, LandmarkSummary, MeasurementSummary, Summary, summarize};

/// One row of `per_case.csv`: a frame's scores, or why there are none.
pub struct Outcome {
    pub case: FrameCase,
    pub result: Result<Scores, String>,
}

#[cfg(test)]
mod tests;
