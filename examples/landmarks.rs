//! Finds what a model finds in a frame, a picture or every frame of a clip:
//! `cargo run --release --example landmarks -- FRAME [MM_PER_PX]`
//!
//! Without arguments it looks at a phantom of a fetal head.

use std::path::Path;

use intraop::image::Pixels;
use intraop::landmarks::{Finder, Findings};
use intraop::session::{Session, SessionOptions};
use intraop::{StageTimes, io, package, phantom};

fn main() -> intraop::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let session = Session::new(package::find("fetal-head")?, SessionOptions::default())?;
    session.verify()?;
    let mut finder = Finder::new(&session)?; // keeps its memory from frame to frame
    let mut times = StageTimes::default();

    let Some(path) = arguments.first() else {
        let (frame, ellipse) = phantom::frame(20, 800, 600);
        println!("the phantom's ellipse: {ellipse:?}");
        let found = finder.find(&Pixels::Gray8(frame), Some([0.2; 2]), "phantom", &mut times)?;
        show(&found);
        return Ok(());
    };
    let given = arguments.get(1).and_then(|mm| mm.parse().ok()).map(|mm: f64| [mm; 2]);
    for frame in io::open_frames(Path::new(path))? {
        let frame = frame?;
        // Without a pixel size nothing is measured in millimeters.
        let mm_per_px = given.or(frame.spacing());
        show(&finder.find(&frame, mm_per_px, path, &mut times)?);
    }
    Ok(())
}

fn show(found: &Findings) {
    for landmark in &found.landmarks {
        println!("{}: {:?}, confidence {:?}", landmark.name, landmark.place, landmark.confidence);
    }
    for mask in found.masks.iter().filter(|mask| mask.found) {
        println!("{}: {:?}", mask.name, mask.ellipse);
    }
    for m in &found.measurements {
        println!("{}: {:?} {} (standard deviation {:?})", m.name, m.value, m.unit, m.sd);
    }
    found.warnings.iter().for_each(|warning| println!("warning: {warning}"));
}
