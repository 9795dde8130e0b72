//! Limits on what the process may have: sizes of files, open files, addresses.

use std::collections::BTreeMap;

use crate::random::cases;
use crate::refusals::{End, judge};
use crate::trainings::{KINDS, Training, end};

/// Options of the shell's `ulimit`, and values from some that nothing can do with to some that hold nothing up.
const LIMITS: [(&str, u64, u64); 3] = [("-f", 0, 40), ("-n", 3, 20), ("-v", 8 << 10, 512 << 10)];

#[test]
fn a_training_that_a_limit_ends_goes_on_to_the_same_bits() {
    let halves = KINDS.map(Training::half);
    let mut counts: BTreeMap<(&str, End), u32> = BTreeMap::new();
    cases("limits", 8, |random| {
        let (half, made) = &halves[random.below(2) as usize];
        let training = half.copy();
        let (limit, least, most) = random.one_of(&LIMITS);
        let value = least + random.below(most - least);
        let shell = format!("ulimit {limit} {value} && exec \"$0\" \"$@\"");
        let under_limit = |args: Vec<String>| {
            let command =
                [vec!["-c".into(), shell.clone(), env!("CARGO_BIN_EXE_lstmc").into()], args].concat();
            end(training.command("sh", &command).spawn().expect("a shell"))
        };
        // Where there is no room for the program itself, the system kills it.
        let ended = if under_limit(vec!["--version".into()]).status.code().is_none() {
            End::NotStarted
        } else {
            let output = under_limit(training.arguments(1 + random.below(2)));
            judge(&output, false, limit == "-v", &(limit, value))
        };
        *counts.entry((limit, ended)).or_default() += 1;
        training.finish(1).assert_is(made, &format!("{limit} {value}"));
    });
    eprintln!("limits: {counts:?}");
}
