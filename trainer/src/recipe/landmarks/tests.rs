use std::path::Path;

use clap::Parser;
use intraop_core::image::Ellipse;
use tch::Device;

use super::*;
use crate::recipe::Recipe;
use crate::recipe::run::{Student as _, Trainer};

#[derive(Parser)]
struct Options {
    #[command(flatten)]
    recipe: Settings,
}

fn recipe(options: &str) -> Settings {
    let options = format!("x --size 64x64 --batch 4 {options}");
    let recipe = Options::parse_from(options.split_whitespace()).recipe;
    recipe.check().unwrap();
    Settings { width: 4, ..recipe }
}

const ELLIPSE: Ellipse = Ellipse { center: [35.3, 28.9], semi_axes: [22.4, 15.7], angle: -0.6 };

#[test]
fn targets_measure_what_they_were_made_of() {
    let recipe = recipe("--sigma 1.5");
    let size = recipe.size;
    let held = held_of(Some(ELLIPSE));
    let heatmaps = target::heatmaps(Some(&ELLIPSE), size, recipe.sigma);
    // From coverages to logits that are 0 where half of a pixel is covered.
    let mask: Vec<f32> =
        target::mask(Some(&ELLIPSE), size).data.iter().map(|v| (v - 0.5) * 8.0).collect();
    let found = Found::new(&heatmaps, &mask, &recipe, &held);
    let figures = measure::figures(&[held], std::slice::from_ref(&found));
    assert!(figures["ellipse_dice"] > 0.99, "{figures:?}");
    // 119 mm around, on a mask of 2 mm per pixel.
    assert!(figures["circumference_mm"] < 0.004 * 119.0, "{figures:?}");
    // A hundredth of a heatmap's pixel, which is 4 mm.
    assert!(figures["landmark_mm"] < 0.04, "{figures:?}");
    assert!(figures["circumference_by_ends_mm"] < 0.12, "{figures:?}");
    assert_eq!(figures["landmarks_found_percent"], 100.0);

    let nothing = held_of(None);
    let empty = Found::new(&vec![0.0; 4 * 16 * 16], &vec![-1.0; 32 * 32], &recipe, &nothing);
    let share = |found: &Found| measure::figures(&[held_of(None)], std::slice::from_ref(found))["nothing_found_percent"];
    assert_eq!((share(&empty), share(&found)), (100.0, 0.0));
    let missed = measure::figures(&[held_of(Some(ELLIPSE))], &[empty]);
    let whole = held_of(Some(ELLIPSE)).ellipse.unwrap().circumference() * 0.5;
    assert!((missed["circumference_mm"] - whole).abs() < 1e-9 && whole > 100.0);
}

/// A frame of twice the network's size, at 0.5 mm.
fn held_of(prepared: Option<Ellipse>) -> Held {
    let transform = intraop_core::image::FrameTransform::IDENTITY.resized([128, 128], [64, 64]);
    let [[x, y], shift] = [transform.scale, transform.offset];
    let ellipse = prepared.map(|e| e.mapped([[x, 0.0], [0.0, y]], shift).unwrap());
    Held { name: String::new(), input: vec![], transform, ellipse, mm_per_pixel: 0.5 }
}

#[test]
fn a_mask_covers_the_area_of_its_ellipse() {
    let mask = target::mask(Some(&ELLIPSE), [64, 64]);
    let area: f32 = mask.data.iter().sum::<f32>() * (MASK * MASK) as f32;
    let expected = std::f64::consts::PI * ELLIPSE.semi_axes[0] * ELLIPSE.semi_axes[1];
    assert!((f64::from(area) / expected - 1.0).abs() < 0.005, "{area} {expected}");
    assert!(target::heatmaps(None, [64, 64], 2.0).iter().all(|v| *v == 0.0));
}

/// What a view shows lies where its ellipse says.
#[test]
fn views_move_the_ellipse_with_the_picture() {
    let recipe = recipe("--phantoms 6 --holdout 0.3 --augment 0.6");
    let data = Data::phantoms(6, &recipe).unwrap();
    assert_eq!((data.shown.len(), data.held.len()), (4, 2));
    let augment = Augment::new(recipe.size, recipe.augment);
    for step in 0..40 {
        let draw = || augment.draw(&data, 0.0, &mut Random::new(3, step));
        let view = draw();
        assert_eq!(view.input, draw().input);
        let ellipse = view.ellipse.unwrap();
        let mean = |near: &dyn Fn(f64) -> bool| {
            let level = |i: usize| ellipse.level([(i % 64) as f64, (i / 64) as f64]);
            let of: Vec<usize> = (0..64 * 64).filter(|i| near(level(*i))).collect();
            of.iter().map(|i| f64::from(view.input[*i])).sum::<f64>() / of.len() as f64
        };
        let outline = mean(&|level| (level - 1.0).abs() < 0.06);
        assert!(outline > 1.25 * mean(&|level| level < 0.8), "{step}");
        for [x, y] in ellipse.ends() {
            assert!((0.0..63.0).contains(&x) && (0.0..63.0).contains(&y), "{step}");
        }
    }
    for step in 0..40 {
        let view = augment.draw(&data, 1.0, &mut Random::new(3, step));
        assert!(view.ellipse.is_none() && view.input.iter().all(|v| (0.0..=1.0).contains(v)));
    }
}

#[test]
fn a_resumed_run_is_the_run_that_never_stopped() {
    tch::set_num_threads(1);
    let recipe = recipe("--phantoms 5 --empty 0.4 --steps 20 --warm-up 4");
    let data = Data::phantoms(5, &recipe).unwrap();
    let new = || Trainer::<Landmarks>::new(recipe.clone(), vec![], Device::Cpu);
    let mut whole = new();
    let losses: Vec<f64> = (0..6).map(|_| whole.step(&data).unwrap().loss).collect();

    let folder = tempfile::tempdir().unwrap();
    let mut first = new();
    for expected in &losses[..3] {
        assert_eq!(first.step(&data).unwrap().loss, *expected);
    }
    first.save(folder.path()).unwrap();
    drop(first);
    let mut second = Trainer::<Landmarks>::resume(folder.path(), Device::Cpu).unwrap();
    for expected in &losses[3..] {
        assert_eq!(second.step(&data).unwrap().loss, *expected);
    }
    // Running means, too.
    for ((name, a), (_, b)) in whole.student.weights().all().zip(second.student.weights().all()) {
        assert_eq!(a, b, "{name}");
    }
}

#[test]
fn training_finds_ellipses_it_has_not_seen() {
    tch::set_num_threads(1);
    let recipe = recipe("--phantoms 30 --augment 0.2 --lr 3e-3 --steps 150 --warm-up 10");
    let data = Data::phantoms(30, &recipe).unwrap();
    let mut trainer = Trainer::<Landmarks>::new(recipe, vec![], Device::Cpu);
    let before = trainer.validate(&data).unwrap().unwrap();
    for _ in 0..150 {
        trainer.step(&data).unwrap();
    }
    let after = trainer.validate(&data).unwrap().unwrap();
    assert!(after["loss"] < 0.5 * before["loss"], "{before:?} {after:?}");
    assert!(after["ellipse_dice"] > 0.8, "{after:?}");
}

#[test]
fn whole_examinations_and_clips_are_kept_aside() {
    let folder = tempfile::tempdir().unwrap();
    let (images, empty) = (folder.path().join("images"), folder.path().join("empty"));
    let mut csv = String::from(
        "split,filename,pixel size(mm),center_x_mm,center_y_mm,semi_axes_a_mm,semi_axes_b_mm,\
         angle_rad\n",
    );
    for path in [&images, &empty] {
        std::fs::create_dir(path).unwrap();
    }
    let frame = |path: &Path| image::GrayImage::from_pixel(40, 30, image::Luma([9])).save(path);
    for (number, split) in ["train", "train", "train", "val"].iter().enumerate() {
        for name in [format!("{number:03}_HC.png"), format!("{number:03}_2HC.png")] {
            frame(&images.join(&name)).unwrap();
            csv += &format!("{split},{name},0.2,4.0,3.0,2.0,1.5,0.1\n");
        }
    }
    for name in ["lung_b_0", "lung_b_1", "spine_0", "spine_12"] {
        frame(&empty.join(format!("{name}.png"))).unwrap();
    }
    let read = |csv: &str| {
        std::fs::write(folder.path().join("ellipses.csv"), csv).unwrap();
        let mut sources = data::labeled(folder.path(), "train")?;
        sources.extend(data::unlabeled(&empty)?);
        Ok::<_, anyhow::Error>(sources)
    };
    let sources = read(&csv).unwrap();
    assert_eq!(sources.len(), 10);
    let ellipse = sources[0].ellipse.unwrap();
    assert!((ellipse.center[0] - 20.0).abs() < 1e-9 && (ellipse.semi_axes[1] - 7.5).abs() < 1e-9);
    let kept = data::aside(&sources, &recipe("--holdout 0.3"));
    let names: Vec<&str> = kept.iter().map(|s| &s.name[..]).collect();
    let examinations = names.iter().filter(|n| n.ends_with("HC")).count();
    assert_eq!((names.len(), examinations), (4, 2), "{names:?}");
    let group = |name: &str| name.rsplit_once('_').unwrap().0.to_owned();
    for pair in names.chunks(2) {
        assert_eq!(group(pair[0]), group(pair[1]), "{names:?}");
    }
    let error = read(&csv.replacen("0.1\n", "north\n", 1)).err().unwrap().to_string();
    assert!(error.contains("line 2") && error.contains("angle_rad"), "{error}");
}

/// Without augmentation a view is what the runtime makes of the frame, but for how finely pixels
/// are averaged.
#[test]
fn views_look_as_frames_do_at_run_time() {
    let recipe = recipe("--phantoms 2 --holdout 0 --augment 0");
    let (pixels, ellipse) = intraop_core::phantom::frame(1000, 320, 240);
    let pixels = intraop_core::image::Pixels::Gray8(pixels);
    let source =
        data::Source { name: "a_0".into(), pixels, ellipse: Some(ellipse), mm_per_pixel: 1.0 };
    let held = data::held(&[&source], &recipe).unwrap().remove(0);
    let data = Data::phantoms(1, &recipe).unwrap();
    let view = Augment::new(recipe.size, 0.0).draw(&data, 0.0, &mut Random::new(1, 1));
    let difference: f32 = view.input.iter().zip(&held.input).map(|(a, b)| (a - b).abs()).sum();
    assert!(difference / 4096.0 < 0.01, "{}", difference / 4096.0);
    let [a, b] = [view.ellipse, held.prepared_ellipse()].map(|e| e.unwrap().ends());
    for (p, q) in a.iter().zip(b) {
        assert!((p[0] - q[0]).hypot(p[1] - q[1]) < 1e-6, "{p:?} {q:?}");
    }
}
