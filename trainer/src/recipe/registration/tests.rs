use super::run::{Student as _, Trainer};
use super::*;
use crate::checkpoint::State;
use crate::warp::tests::noise;
use clap::Parser;

#[derive(Parser)]
struct Options {
    #[command(flatten)]
    recipe: Settings,
}

fn recipe(options: &str) -> Settings {
    let options = format!("x --grid 16x32x16 --width 2 {options}");
    Options::parse_from(options.split_whitespace()).recipe
}

/// Blobs at random places, the label where the blob is.
fn blobs(count: usize) -> Data {
    let grid = Grid::new([16, 32, 16], Device::Cpu);
    let subject = |i: usize| {
        let mut random = Random::new(9, i as u64);
        let mut at = |middle: f32| middle + 2.5 * random.signed() as f32;
        let middle = Tensor::from_slice(&[at(7.5), at(15.5), at(7.5)]);
        let offset = &grid.identity - middle.reshape([1, 3, 1, 1, 1]);
        let radius: Tensor = (offset.square()
            * Tensor::from_slice(&[1.0f32, 0.3, 1.0]).reshape([1, 3, 1, 1, 1]))
        .sum_dim_intlist([1i64].as_slice(), true, Kind::Float);
        let image = (radius * -0.08).exp() + noise(&[1, 1, 16, 32, 16], i as u64) * 0.01;
        let labels = image.gt(0.5).to_kind(Kind::Uint8);
        Subject { image, labels, anchor: Default::default() }
    };
    let mut train: Vec<Subject> = (0..count).map(subject).collect();
    let held = train.split_off(count - 3);
    Data { train, held, labels: vec![4], matched: false, images: vec![], grid }
}

#[test]
fn a_resumed_run_is_the_run_that_never_stopped() {
    tch::set_num_threads(1);
    let data = blobs(6);
    let recipe =
        recipe("--cascades 2 --augment 1 --fold 1 --intermediate 0.3 --steps 20 --warm-up 4");
    let new = || Trainer::<Registration>::new(recipe.clone(), data.labels.clone(), Device::Cpu);
    let mut whole = new();
    let losses: Vec<f64> = (0..6).map(|_| whole.step(&data).unwrap().loss).collect();

    let folder = tempfile::tempdir().unwrap();
    let mut first = new();
    for expected in &losses[..3] {
        assert_eq!(first.step(&data).unwrap().loss, *expected);
    }
    first.save(folder.path()).unwrap();
    drop(first);
    let mut second = Trainer::<Registration>::resume(folder.path(), Device::Cpu).unwrap();
    for expected in &losses[3..] {
        assert_eq!(second.step(&data).unwrap().loss, *expected);
    }
    for ((name, a), (_, b)) in
        whole.student.weights().learned.iter().zip(&second.student.weights().learned)
    {
        assert_eq!(a, b, "{name}");
    }
}

#[test]
fn training_registers_what_it_has_not_seen() {
    let data = blobs(12);
    let recipe = recipe("--lr 3e-3 --steps 120 --warm-up 10 --smooth 0.1 --loss pearson");
    let mut trainer = Trainer::<Registration>::new(recipe, data.labels.clone(), Device::Cpu);
    let before = trainer.validate(&data).unwrap().unwrap();
    // Tiny last layers: an untrained student leaves images almost where they are.
    assert!((before["dice_after"] - before["dice_before"]).abs() < 0.02, "{before:?}");
    for _ in 0..120 {
        trainer.step(&data).unwrap();
    }
    let after = trainer.validate(&data).unwrap().unwrap();
    assert!(after["loss"] < 0.8 * before["loss"], "{before:?} {after:?}");
    assert!(after["dice_after"] > before["dice_before"] + 0.1, "{before:?} {after:?}");
}

#[test]
fn only_the_best_weights_of_the_checkpoint_stay() {
    let folder = tempfile::tempdir().unwrap();
    let mut trainer = Trainer::<Registration>::new(recipe(""), vec![], Device::Cpu);
    let mut files = |step: u64, score: f64| {
        trainer.state.step = step;
        trainer.state.write_best(folder.path(), trainer.student.weights(), score).unwrap();
        let named = State::<Settings>::read(folder.path())
            .ok()
            .and_then(|s| s.best_file().map(String::from));
        // Until the new state is on disk, what the old one names must be there.
        assert!(named.is_none_or(|name| folder.path().join(name).exists()));
        trainer.save(folder.path()).unwrap();
        let entries = std::fs::read_dir(folder.path()).unwrap();
        let mut names: Vec<_> =
            entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    let expected = |step: u64| {
        [
            format!("best-{step}.safetensors"),
            "checkpoint.json".into(),
            format!("step-{step}.safetensors"),
        ]
    };
    assert_eq!(files(1, 0.5), expected(1));
    assert_eq!(files(3, 0.7), expected(3));

    // A checkpoint from before the file was named after the step.
    let path = folder.path().join("checkpoint.json");
    let mut json: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    for name in ["best_tensors", "images"] {
        json.as_object_mut().unwrap().remove(name).unwrap();
    }
    json["recipe"].as_object_mut().unwrap().remove("validate_every").unwrap();
    std::fs::write(&path, json.to_string()).unwrap();
    assert_eq!(
        State::<Settings>::read(folder.path()).unwrap().best_file(),
        Some("best.safetensors")
    );
}

#[test]
fn a_validation_that_is_not_finite_is_an_error() {
    let data = blobs(5);
    let trainer = Trainer::<Registration>::new(recipe(""), data.labels.clone(), Device::Cpu);
    no_grad(|| {
        for (_, weight) in &trainer.student.weights().learned {
            let _ = weight.shallow_clone().fill_(f64::NAN);
        }
    });
    assert!(trainer.validate(&data).unwrap_err().to_string().contains("not finite"));
}
