use clap::Parser;
use intraop_core::image::Geometry;
use intraop_core::{phantom, registration};

use intraop_core::package::HeadKind;

use super::*;
use tch::Device;

use crate::recipe::landmarks;
use crate::recipe::registration::Data;
use crate::recipe::registration::Settings;

#[derive(Parser)]
struct Training {
    #[command(flatten)]
    recipe: Settings,
}

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    options: Options,
}

fn options(folder: &Path, more: &[&str]) -> Options {
    let (run, out) = (folder.join("run"), folder.join("made"));
    let given = ["x", "--name", "tiny", "--run"].map(String::from);
    let paths = [run, "--out".into(), out].map(|p| p.to_string_lossy().into_owned());
    let license = if more.contains(&"--license") { &[][..] } else { &["--license", "MIT"] };
    let more = more.iter().chain(license).map(ToString::to_string);
    Command::parse_from(given.into_iter().chain(paths).chain(more)).options
}

/// A run of two steps on phantoms.
fn run(folder: &Path) {
    let text = "x --phantoms 2 --holdout 1 --grid 32x16x16 --orientation LPS --initial header \
                --width 2 --batch 1 --cascades 2";
    let recipe = Training::parse_from(text.split_whitespace()).recipe;
    let data = Data::phantoms(2, &recipe, Device::Cpu).unwrap();
    let mut trainer = Trainer::<Registration>::new(recipe, data.labels.clone(), Device::Cpu);
    for _ in 0..2 {
        let mut record = trainer.step(&data).unwrap();
        record.validation = trainer.validate(&data).unwrap();
        trainer.state.history.push(record);
    }
    std::fs::create_dir(folder.join("run")).unwrap();
    trainer.save(&folder.join("run")).unwrap();
}

#[test]
fn a_package_is_whole_or_absent() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path());
    let made = folder.path().join("made");
    let error = |more: &[&str]| export(&options(folder.path(), more)).unwrap_err().to_string();
    let outside = Options { name: "../tiny".into(), ..options(folder.path(), &[]) };
    assert!(export(&outside).unwrap_err().to_string().contains("--name"));
    assert!(error(&["--best"]).contains("nothing was validated"));
    let report = folder.path().join("report.json");
    std::fs::write(&report, r#"{"model": "other", "n": 3}"#).unwrap();
    let path = report.to_string_lossy().into_owned();
    let metrics = ["--metrics", &path, "--metrics-source", "val, 3 pairs"];
    assert!(error(&metrics).contains("\"other\""));
    std::fs::write(&report, r#"{"model": "tiny", "n": 2, "failed": [{"case": 3}]}"#).unwrap();
    assert!(error(&metrics).contains("failed"));
    assert!(!made.exists());

    let figures = r#"{"model": "tiny", "n": 3, "threads": 1, "total_ms_median": 9.5,
        "x": {"2": 0.5}, "failed": []}"#;
    std::fs::write(&report, figures).unwrap();
    let url = ["--source-url", "https://example.org/data"];
    let terms = ["--license", "CC-BY-SA-4.0", "--attribution", "Made by A. Changed: trained on"];
    let more = [metrics.as_slice(), &url, &terms].concat();
    export(&options(folder.path(), &more)).unwrap();
    let package = Package::load(&made).unwrap();
    let names: Vec<&str> = package.manifest.graphs.iter().map(|g| g.name.as_str()).collect();
    assert_eq!(names, ["affine", "flow1", "flow2"]);
    assert_eq!(package.grid().unwrap().1, [32, 16, 16]);
    let figures = [("n".to_string(), 3.0), ("x_2".to_string(), 0.5)];
    assert_eq!(package.manifest.eval_metrics, BTreeMap::from(figures));
    assert!(
        Session::new(package, SessionOptions::with_threads(1)).unwrap().verify().unwrap()
            < TOLERANCE
    );

    let card = std::fs::read_to_string(made.join("README.md")).unwrap();
    let uri = "https://creativecommons.org/licenses/by-sa/4.0/";
    for part in
        ["--phantoms 2 \\\n", "--grid 32x16x16", "seeds 1000 to 1001", "| x_2", "val, 3 pairs"]
            .into_iter()
            .chain([
                "2 displacement stages",
                "--validate-every 500",
                "--max-steps 2",
                "2 of 10000",
                url[1],
            ])
            .chain([uri, "same license", "without warranties"])
    {
        assert!(card.contains(part), "{part} is missing:\n{card}");
    }
    let notice = std::fs::read_to_string(made.join("LICENSE")).unwrap();
    for part in [uri, "CC-BY-SA-4.0", "same license", "without warranties", terms[3], url[1]] {
        assert!(notice.contains(part), "{part} is missing:\n{notice}");
    }
    let table = std::fs::read_to_string(made.join("training.csv")).unwrap();
    let columns: Vec<usize> = table.lines().map(|l| l.split(',').count()).collect();
    assert_eq!(columns, [14; 3]);
    assert!(error(&[]).contains("there already"));
    // Only what was there and the package: no half-made folder.
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3);
}

#[test]
fn a_package_that_computes_something_else_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path());
    export(&options(folder.path(), &[])).unwrap();
    let made = folder.path().join("made");
    let package = Package::load(&made).unwrap();
    let pair = golden_input(&package.manifest, SEED).unwrap();
    let trainer = Trainer::<Registration>::resume(&folder.path().join("run"), Device::Cpu).unwrap();
    let stages = trainer.student.stages(&trainer.state.recipe, "MR");
    let mut expected = outputs(&trainer.student, &stages, &pair);
    assert!(verify(&made, &pair, &expected).unwrap() < TOLERANCE);
    // One voxel of the last stage, which the golden sample does not see.
    let largest = expected[2][0].iter().fold(0f32, |m, v| m.max(v.abs()));
    expected[2][0][1] += 1e-3 * largest;
    assert!(verify(&made, &pair, &expected).unwrap_err().to_string().contains("flow2"));
}

/// What the runtime makes of the graphs, stage by stage, is what the student was trained to do.
#[test]
fn the_runtime_registers_as_the_student_does() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path());
    let path = folder.path().join("run");
    let mut trainer = Trainer::<Registration>::resume(&path, Device::Cpu).unwrap();
    // Trained for two steps, it would move nothing that could be compared.
    no_grad(|| {
        for (name, weight) in &trainer.student.net.weights.learned {
            if name.ends_with("head.weight") {
                let _ = weight.shallow_clone().g_mul_scalar_(100.0);
            }
        }
    });
    trainer.save(&path).unwrap();
    export(&options(folder.path(), &[])).unwrap();
    let session = Session::new(
        Package::load(&folder.path().join("made")).unwrap(),
        SessionOptions::with_threads(1),
    )
    .unwrap();

    let size = [32, 16, 16];
    let geometry = Geometry::new(size, [1.0; 3]);
    let pair = phantom::pair(SEED, &phantom::Options { geometry, ..Default::default() });
    let found = registration::register(
        &session,
        &pair.fixed,
        &pair.moving,
        &Default::default(),
        &mut intraop_core::StageTimes::default(),
    )
    .unwrap();

    let input = golden_input(&session.package().manifest, SEED).unwrap();
    let input = Tensor::from_slice(&input).reshape([1, 2, 16, 16, 32]);
    let own = no_grad(|| {
        let (fixed, moving) = (input.narrow(1, 0, 1), input.narrow(1, 1, 1));
        let at = trainer.student.net.forward(&trainer.student.grid, &fixed, &moving).at;
        let by = at - &trainer.student.grid.identity;
        Vec::<f32>::try_from(by.permute([0, 2, 3, 4, 1]).contiguous().view([-1])).unwrap()
    });
    let (mut worst, mut moved) = (0f32, 0f32);
    for (i, (own, found)) in own.chunks_exact(3).zip(&found.field.data).enumerate() {
        let at = [i % 32, i / 32 % 16, i / 512];
        // At the border the two look outside the grid in different ways.
        if (0..3).all(|a| (4..size[a] - 4).contains(&at[a])) {
            for a in 0..3 {
                worst = worst.max((own[a] - found[a]).abs());
                moved = moved.max(own[a].abs());
            }
        }
    }
    assert!(moved > 0.5, "{moved}");
    assert!(worst < 1e-3, "{worst} of {moved}");
}

#[test]
fn without_labels_there_is_no_dice() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path());
    let mut trainer =
        Trainer::<Registration>::resume(&folder.path().join("run"), Device::Cpu).unwrap();
    trainer.state.labels.clear();
    for record in &mut trainer.state.history {
        let validation = record.validation.as_mut().unwrap();
        validation.retain(|name, _| !name.starts_with("dice"));
    }
    trainer.save(&folder.path().join("run")).unwrap();
    export(&options(folder.path(), &[])).unwrap();
    let made = folder.path().join("made");
    let metrics = Package::load(&made).unwrap().manifest.eval_metrics;
    let names: Vec<&str> = metrics.keys().map(String::as_str).collect();
    assert_eq!(names, ["holdout_folding_percent", "holdout_loss", "holdout_step"]);
    let card = std::fs::read_to_string(made.join("README.md")).unwrap();
    assert!(!card.contains("Dice") && !card.contains("holdout_dice"), "{card}");
    // The terms of other licenses are in their own texts.
    assert!(!made.join("LICENSE").exists());
}

#[test]
fn a_package_for_frames_proves_itself_on_a_frame() {
    #[derive(Parser)]
    struct Training {
        #[command(flatten)]
        recipe: landmarks::Settings,
    }
    let folder = tempfile::tempdir().unwrap();
    let text = "x --phantoms 4 --holdout 0.3 --size 96x64 --width 4 --batch 2 --steps 5";
    let recipe = Training::parse_from(text.split_whitespace()).recipe;
    let data = landmarks::Data::phantoms(4, &recipe).unwrap();
    let mut trainer = Trainer::<Landmarks>::new(recipe, vec![], Device::Cpu);
    for _ in 0..2 {
        let mut record = trainer.step(&data).unwrap();
        record.validation = trainer.validate(&data).unwrap();
        trainer.state.history.push(record);
    }
    std::fs::create_dir(folder.path().join("run")).unwrap();
    trainer.save(&folder.path().join("run")).unwrap();
    let wrong = Trainer::<Registration>::load(&folder.path().join("run"), false).err().unwrap();
    assert!(wrong.to_string().contains("one of landmarks"), "{wrong}");
    export(&options(folder.path(), &[])).unwrap();

    let package = Package::load(&folder.path().join("made")).unwrap();
    let manifest = &package.manifest;
    assert_eq!((manifest.task, &manifest.grid), (Task::Landmarks, &None));
    let input = &manifest.graphs[0].inputs[0];
    assert_eq!((&input.spatial_shape[..], &input.modality[0][..]), (&[64, 96][..], "US"));
    let heads = &manifest.graphs[0].heads;
    assert_eq!(heads[0].channel_def, ["ofd_a", "ofd_b", "bpd_a", "bpd_b"]);
    assert_eq!((heads[0].kind, &heads[0].spatial_shape[..]), (HeadKind::Heatmaps, &[16, 24][..]));
    assert_eq!((heads[1].kind, &heads[1].spatial_shape[..]), (HeadKind::Mask, &[32, 48][..]));
    let session = Session::new(package, SessionOptions::with_threads(1)).unwrap();
    assert!(session.verify().unwrap() < TOLERANCE);
    let card = std::fs::read_to_string(folder.path().join("made/README.md")).unwrap();
    for part in ["intraop-train landmarks", "holdout_circumference_mm", "seeds 1000 to 1003"] {
        assert!(card.contains(part), "{part} is missing:\n{card}");
    }
}
