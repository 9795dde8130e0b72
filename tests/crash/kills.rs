//! SIGKILL at random moments.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::random::{Random, cases};
use crate::trainings::{KINDS, Kind, Made, Training, whole};

/// What a training makes that is never killed, and how long it takes.
struct Reference {
    made: Made,
    took: Duration,
}

#[derive(Default)]
struct Counts {
    /// Trainings that were killed, and how often.
    trainings: Cell<u64>,
    kills: Cell<u64>,
    /// Of these, before anything was saved.
    early: Cell<u64>,
    /// Of these, while a file was being written: it was left behind.
    writing: Cell<u64>,
    /// How often `latest` was looked at while a training went on.
    looks: Cell<u64>,
}

fn count(cell: &Cell<u64>) {
    cell.set(cell.get() + 1);
}

#[test]
fn a_killed_training_goes_on_to_the_same_bits() {
    let reference = |kind| {
        let (training, begun) = (Training::new(kind), Instant::now());
        let made = training.finish(1);
        (kind, Reference { made, took: begun.elapsed() })
    };
    let references: BTreeMap<Kind, Reference> = KINDS.map(reference).into();
    let counts = Counts::default();
    cases("kills", 8, |random| {
        let kind = random.one_of(&KINDS);
        case(random, kind, &references[&kind], &counts);
    });
    let Counts { trainings, kills, early, writing, looks } = &counts;
    eprintln!(
        "kills: {} trainings were killed {} times, {} times before a checkpoint was saved and {} times while a file was being \
         written; `latest` named a whole checkpoint at each of {} looks",
        trainings.get(),
        kills.get(),
        early.get(),
        writing.get(),
        looks.get()
    );
}

fn case(random: &mut Random, kind: Kind, reference: &Reference, counts: &Counts) {
    let training = Training::new(kind);
    count(&counts.trainings);
    for _ in 0..=random.below(4) {
        let delay = reference.took.mul_f64(random.part() * 0.8);
        if !kill(&training, 1 + random.below(2), delay, counts) {
            break;
        }
    }
    let made = training.finish(1 + random.below(2));
    // The names too: no file is left that was being written.
    made.assert_is(&reference.made, "killed");
}

/// Kills a training after a time, in which `latest` is looked at again and again. False if it has ended before.
fn kill(training: &Training, threads: u64, delay: Duration, counts: &Counts) -> bool {
    let begun = Instant::now();
    let mut child = training.start(threads);
    while begun.elapsed() < delay {
        if let Some(newest) = training.newest() {
            whole(&newest);
            count(&counts.looks);
        }
        sleep(Duration::from_millis(1));
    }
    let ended = child.try_wait().expect("a child").is_some();
    if !ended {
        child.kill().expect("it is killed");
    }
    let output = child.wait_with_output().expect("it has ended");
    if ended {
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        return false;
    }
    count(&counts.kills);
    match training.newest() {
        Some(newest) => _ = whole(&newest),
        None => count(&counts.early),
    }
    if training.names().iter().any(|name| name.starts_with(".writing-")) {
        count(&counts.writing);
    }
    true
}
