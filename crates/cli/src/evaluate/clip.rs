//! The frames of cases, in the order that the cases ask for them.

use std::path::PathBuf;

use intraop::evaluate::frames::FrameCase;
use intraop::image::Pixels;
use intraop::{Error, Result, io};

/// The file that was read last stays open, so that a clip's frames in a row are decoded once.
#[derive(Default)]
pub struct OpenClip {
    open: Option<(PathBuf, io::Frames)>,
    /// The number of the open file's next frame.
    next: usize,
}

impl OpenClip {
    pub fn frame(&mut self, case: &FrameCase) -> Result<Pixels> {
        let goes_on = |(path, _): &(PathBuf, io::Frames)| *path == case.image;
        let mut frames = match self.open.take().filter(goes_on) {
            Some((_, frames)) if self.next <= case.frame => frames,
            _ => {
                self.next = 0;
                io::open_frames(&case.image)?
            }
        };
        let count = self.next + frames.len();
        while let Some(pixels) = frames.next() {
            let pixels = pixels?;
            self.next += 1;
            if self.next > case.frame {
                self.open = Some((case.image.clone(), frames));
                return Ok(pixels);
            }
        }
        let problem = format!("frame {} of {count} (the first is 0)", case.frame);
        Err(Error::unusable(case.image.display().to_string(), problem, "correct the CSV"))
    }
}
