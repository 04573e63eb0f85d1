//! Flags that do not fit the model are refused: none is passed over.

use super::*;
use crate::common::fails;

#[test]
fn flags_that_nothing_reads_are_refused() {
    let frame = Room::new(&frame(1, &[1, 1, 4, 6], &[("Sigmoid", &[])]));
    let own = [&TERMS[..], &FRAMES, &["--names", "a"]].concat();
    let pair = Room::new(&pair());
    let answers = ["--units", "voxels", "--axes", "z,y,x"];
    let volumes = [&TERMS[..], &VOLUMES, &answers].concat();
    let cases: [(&Room, &[&str], [&str; 2], &str); 13] = [
        (
            &frame,
            &own,
            ["--axes", "x,y"],
            "displacement or coordinates to read it, found a frame; y mask",
        ),
        (&frame, &own, ["--units", "pixels"], "displacement or coordinates"),
        (&frame, &own, ["--affine", "theta"], "an output that is affine"),
        (&frame, &own, ["--order", "fixed,moving"], "a pair of volumes"),
        (&frame, &own, ["--orientation", "RAS"], "a pair of volumes"),
        (&frame, &own, ["--initial", "mass"], "a pair of volumes"),
        (&frame, &own, ["--spacing", "1,1,1"], "fit resample"),
        (&frame, &own, ["--names", "b"], "one answer for each, found two for all"),
        (&frame, &own, ["--names", "y=b"], "an answer for all only where"),
        (&pair, &volumes, ["--spacing", "1,1,1"], "fit resample"),
        (&pair, &volumes, ["--affine", "theta"], "an output that is affine"),
        (&pair, &volumes, ["--values", "logits"], "an output to be one of heatmaps, mask, classes"),
        (&pair, &volumes, ["--names", "moved=a"], "output moved to be one of heatmaps"),
    ];
    for (room, answers, unread, part) in cases {
        fails(&room.import(&[answers, &unread].concat()), 2, &[unread[0], part]);
        assert!(!room.path("out").exists());
    }
    let resample = [&own[..2], &own[4..6], &["--fit", "resample"]].concat();
    fails(&frame.import(&resample), 2, &["--fit", "stretch or pad"]);
}

#[test]
fn sides_that_the_file_fixes_stay() {
    let room = Room::new(&frame(1, &[1, 1, 4, 6], &[]));
    let answers = [&TERMS[..], &FRAMES, &["--names", "a"]].concat();
    for other in ["1,1,8,12", "2,1,4,6", "1,4,6", "1,1,1,4,6"] {
        let found = room.import(&[&answers[..], &["--input-shape", other]].concat());
        let given = format!("[{}]", other.replace(',', ", "));
        fails(&found, 2, &["--input-shape", "input x float32 [1, 1, 4, 6]", &given]);
    }
    ok(&room.import(&[&answers[..], &["--input-shape", "1,1,4,6"]].concat()));
}
