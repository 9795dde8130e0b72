//! What checkpoints are called, and in what words they are listed.

use std::fmt;

/// What files of checkpoints end in.
const ENDING: &str = ".safetensors";

/// What the names of checkpoints begin with that a run has been taken up again before.
const LEFT: &str = "left-";

/// The place in a training that a checkpoint's name says. Of two names alike the later one is the greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// The end of an epoch.
    Epoch(u64),
    /// After so many updates.
    Step(u64),
}

impl Place {
    /// The place of a checkpoint of this name; none of a file that has another name.
    pub fn of(name: &str) -> Option<Self> {
        let number = |prefix| name.strip_prefix(prefix)?.parse::<u64>().ok();
        let place = number("epoch-").map(Place::Epoch).or_else(|| number("step-").map(Place::Step))?;
        (place.name() == name).then_some(place)
    }

    pub fn name(self) -> String {
        match self {
            Place::Epoch(epoch) => format!("epoch-{epoch:02}"),
            Place::Step(step) => format!("step-{step:06}"),
        }
    }

    /// Whether it comes after this update.
    pub fn is_after(self, step: u64, per_epoch: u64) -> bool {
        match self {
            Place::Epoch(epoch) => epoch.saturating_mul(per_epoch) > step,
            Place::Step(own) => own > step,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Epoch(epoch) => write!(f, "epoch {epoch}"),
            Place::Step(step) => write!(f, "step {step}"),
        }
    }
}

/// The file of the checkpoint of this name.
pub(super) fn file_of(name: &str) -> String {
    format!("{name}{ENDING}")
}

/// The name of a file of a checkpoint that the run goes by.
pub(super) fn name_of(file: &str) -> Option<&str> {
    file.strip_suffix(ENDING).filter(|name| !name.starts_with(LEFT))
}

/// What a checkpoint is called that the run does not go by any more.
pub(super) fn left(name: &str) -> String {
    format!("{LEFT}{name}")
}

/// `epochs 1, 2 and 5, best (epoch 2), newest (step 13)`: those at the ends of epochs, or if there are none the others, and the
/// two that have a name of their own.
pub(super) fn list(places: &[Place], best: Option<Place>, newest: Option<Place>) -> String {
    let (epochs, steps) = numbers(places);
    let (noun, listed) = if epochs.is_empty() { ("step", &steps) } else { ("epoch", &epochs) };
    let mut parts: Vec<String> = (!listed.is_empty()).then(|| several(noun, listed)).into_iter().collect();
    parts.extend(best.map(|best| format!("best ({best})")));
    parts.extend(newest.map(|newest| match newest {
        Place::Step(_) if !epochs.is_empty() => format!("newest ({newest})"),
        _ => "newest".into(),
    }));
    if parts.is_empty() { "none".into() } else { parts.join(", ") }
}

/// `epochs 3 to 5` or `step 13`: places in words.
pub fn in_words(places: &[Place]) -> String {
    let (epochs, steps) = numbers(places);
    let kinds = [("epoch", epochs), ("step", steps)];
    let parts = kinds.iter().filter(|(_, all)| !all.is_empty()).map(|(noun, all)| several(noun, all));
    parts.collect::<Vec<String>>().join(" and ")
}

/// The numbers of the epochs and of the updates.
fn numbers(places: &[Place]) -> (Vec<u64>, Vec<u64>) {
    let (mut epochs, mut steps) = (Vec::new(), Vec::new());
    for place in places {
        match place {
            Place::Epoch(epoch) => epochs.push(*epoch),
            Place::Step(step) => steps.push(*step),
        }
    }
    (epochs, steps)
}

/// `epochs 1, 2 and 5`; three or more that follow each other are `1 to 3`.
fn several(noun: &str, numbers: &[u64]) -> String {
    let mut sorted = numbers.to_vec();
    sorted.sort_unstable();
    let mut parts = Vec::new();
    for run in sorted.chunk_by(|a, b| a + 1 == *b) {
        match run {
            [first, _, .., last] => parts.push(format!("{first} to {last}")),
            few => parts.extend(few.iter().map(u64::to_string)),
        }
    }
    let plural = if numbers.len() == 1 { "" } else { "s" };
    match parts.split_last() {
        Some((last, before)) if !before.is_empty() => {
            format!("{noun}{plural} {} and {last}", before.join(", "))
        }
        _ => format!("{noun}{plural} {}", parts.concat()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_places() {
        for (name, place) in [
            ("epoch-02", Some(Place::Epoch(2))),
            ("epoch-112", Some(Place::Epoch(112))),
            ("step-000013", Some(Place::Step(13))),
            ("epoch-2", None),
            ("left-epoch-02", None),
            ("step-", None),
            ("mine", None),
        ] {
            assert_eq!(Place::of(name), place, "{name}");
        }
        assert!(Place::Epoch(3).is_after(8, 4) && !Place::Epoch(2).is_after(8, 4));
        assert!(Place::Step(9).is_after(8, 4) && !Place::Step(8).is_after(8, 4));
    }

    #[test]
    fn what_there_is_is_listed() {
        let epochs: Vec<Place> = [5, 1, 2].map(Place::Epoch).into();
        let all = list(&epochs, Some(Place::Epoch(2)), Some(Place::Epoch(5)));
        assert_eq!(all, "epochs 1, 2 and 5, best (epoch 2), newest");
        let all = list(&[&epochs[..], &[Place::Step(70)]].concat(), None, Some(Place::Step(70)));
        assert_eq!(all, "epochs 1, 2 and 5, newest (step 70)");
        assert_eq!(list(&[Place::Step(0)], None, Some(Place::Step(0))), "step 0, newest");
        assert_eq!(list(&[], None, None), "none");
        let places = [Place::Epoch(3), Place::Epoch(4), Place::Epoch(5), Place::Epoch(9), Place::Step(13)];
        assert_eq!(in_words(&places), "epochs 3 to 5 and 9 and step 13");
    }
}
