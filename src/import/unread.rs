//! Answers that the import of this model would not look at.

use super::answers::{Answers, Fitting, Named, word, wrong};
use super::fix::Output;
use super::heads::Images;
use crate::Result;
use crate::package::HeadKind::{self, *};

type Heads<'a> = [(HeadKind, &'a Output)];

/// Refuses answers that nothing asks for: they were meant for something else.
///
/// # Errors
/// [`crate::Error::Option`] naming the first, and what would read it.
pub(super) fn check_use(place: &Images, heads: &Heads, answers: &Answers) -> Result<()> {
    let any = |kinds: &[HeadKind]| heads.iter().any(|(kind, _)| kinds.contains(kind));
    let pair = ("a pair of volumes", place.pair);
    let resampled = place.pair && matches!(answers.fit, Some(Fitting::Resample) | None);
    let resampled = ("a pair of volumes and the fit resample", resampled);
    let places = any(&[Displacement, Coordinates]);
    let places = ("an output that is displacement or coordinates", places);
    let matrix = ("an output that is affine", any(&[Affine]));
    let flags = [
        ("order", answers.order.is_some(), pair),
        ("orientation", answers.orientation.is_some(), pair),
        ("initial", answers.initial.is_some(), pair),
        ("spacing", answers.spacing.is_some(), resampled),
        ("axes", answers.axes.is_some(), places),
        ("units", answers.units.is_some(), places),
        ("affine", answers.affine.is_some(), matrix),
    ];
    for (flag, given, (reader, is_there)) in flags {
        if given && !is_there {
            return Err(wrong(flag, &format!("{reader} to read it"), &found(place, heads)));
        }
    }
    let named = [Heatmaps, Coordinates, Mask, Classes];
    check_named("names", &answers.names, &named, place, heads)?;
    check_named("values", &answers.values, &[Heatmaps, Mask, Classes], place, heads)
}

/// Each must be for a head of one of these kinds; one for all for some that has none of its own.
fn check_named<T>(
    flag: &str,
    list: &[Named<T>],
    kinds: &[HeadKind],
    place: &Images,
    heads: &Heads,
) -> Result<()> {
    let own = |name: &str| list.iter().any(|named| named.name.as_deref() == Some(name));
    for Named { name, .. } in list {
        let reads = |output: &Output| match name {
            Some(name) => *name == output.name,
            None => !own(&output.name),
        };
        if !heads.iter().any(|(kind, output)| kinds.contains(kind) && reads(output)) {
            let words: Vec<&str> = kinds.iter().map(|kind| word(*kind)).collect();
            let which = name.as_ref().map_or("an output".into(), |name| format!("output {name}"));
            let expected = format!("{which} to be one of {} and read it", words.join(", "));
            return Err(wrong(flag, &expected, &found(place, heads)));
        }
    }
    Ok(())
}

fn found(place: &Images, heads: &Heads) -> String {
    let inputs = if place.pair { "a pair of volumes" } else { "a frame" };
    let head = |(kind, output): &(HeadKind, &Output)| format!("; {} {}", output.name, word(*kind));
    heads.iter().map(head).fold(inputs.to_string(), |text, head| text + &head)
}
