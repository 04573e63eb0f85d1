//! The library as an embedding program uses it: progress, cancellation, one session for many
//! pairs.

use std::time::Duration;

use intraop::registration::{Init, Options, register};
use intraop::session::{Session, SessionOptions};
use intraop::{Error, Probe, Stage, package, phantom};

#[derive(Default)]
struct Watcher {
    progress: Vec<f32>,
    stages: Vec<Stage>,
    /// Cancels once this stage has ended.
    stop_after: Option<Stage>,
}

impl Probe for Watcher {
    fn stage(&mut self, stage: Stage, _took: Duration) {
        self.stages.push(stage);
    }

    fn progress(&mut self, share: f32) {
        self.progress.push(share);
    }

    fn cancelled(&self) -> bool {
        self.stop_after.is_some_and(|stage| self.stages.contains(&stage))
    }
}

fn session() -> Session {
    Session::new(package::find("demo").unwrap(), SessionOptions::with_threads(2)).unwrap()
}

#[test]
fn progress_grows_to_one_and_cancelling_stops_between_steps() {
    let session = session();
    let pair = phantom::pair(51, &phantom::Options::default());
    let mut watcher = Watcher::default();
    let options = Options::default();
    register(&session, &pair.fixed, &pair.moving, &options, &mut watcher).unwrap();
    assert!(watcher.progress.is_sorted() && watcher.progress.len() >= 4);
    assert_eq!(watcher.progress.last(), Some(&1.0));
    let infer = watcher.stages.iter().filter(|s| **s == Stage::Infer).count();
    assert_eq!(infer, session.package().manifest.graphs.len());

    let mut watcher = Watcher { stop_after: Some(Stage::Preprocess), ..Default::default() };
    let result = register(&session, &pair.fixed, &pair.moving, &options, &mut watcher);
    assert!(matches!(result, Err(Error::Cancelled)));
    assert_eq!(watcher.stages, [Stage::Preprocess]);
}

#[test]
fn one_session_gives_the_same_bits_every_time() {
    let session = session();
    let pair = phantom::pair(52, &phantom::Options::default());
    let run = || {
        let mut watcher = Watcher::default();
        let options = Options::default();
        register(&session, &pair.fixed, &pair.moving, &options, &mut watcher).unwrap().field
    };
    assert_eq!(run(), run());
}

#[test]
fn a_singular_initial_transform_is_refused() {
    let pair = phantom::pair(53, &phantom::Options::default());
    let singular = intraop::image::Affine {
        matrix: nalgebra::Matrix3::zeros(),
        translation: pair.fixed.geometry.center(),
    };
    let options = Options { init: Some(Init::Transform(singular)), ..Default::default() };
    let mut watcher = Watcher::default();
    let result = register(&session(), &pair.fixed, &pair.moving, &options, &mut watcher);
    assert!(result.unwrap_err().to_string().contains("singular"));
}

/// Against the phantoms' exact field: what lies between contrasts is guessed, so the error does
/// not vanish, but the field must lead well towards the truth.
#[test]
fn fields_lead_towards_the_known_truth() {
    let session = session();
    let (mut before, mut after) = (0.0, 0.0);
    for seed in 60..66 {
        let pair = phantom::pair(seed, &phantom::Options::default());
        let options = Options::default();
        let mut watcher = Watcher::default();
        let found = register(&session, &pair.fixed, &pair.moving, &options, &mut watcher).unwrap();
        let places = pair.fixed_labels.data.iter().enumerate().filter(|(_, label)| **label > 0);
        for (i, _) in places {
            let (u, exact) = (found.field.data[i], pair.field.data[i]);
            let length = |v: [f32; 3]| f64::from(v.iter().map(|x| x * x).sum::<f32>()).sqrt();
            before += length(exact);
            after += length([0, 1, 2].map(|axis| u[axis] - exact[axis]));
        }
    }
    assert!(after < 0.7 * before, "mean error {:.3} of the motion", after / before);
}

#[test]
fn callers_may_run_one_session_at_once() {
    let session = session();
    let graph = &session.networks()[0];
    let values: usize = graph.inputs()[0].shape.iter().product();
    let input: Vec<f32> = (0..values).map(|i| (i % 97) as f32 / 97.0).collect();
    let run = || {
        let mut outputs = Vec::new();
        session.run(0, &input, &mut outputs).unwrap();
        outputs
    };
    let expected = run();
    std::thread::scope(|scope| {
        let callers: Vec<_> =
            (0..4).map(|_| scope.spawn(|| (0..5).all(|_| run() == expected))).collect();
        assert!(callers.into_iter().all(|caller| caller.join().unwrap()));
    });
}
