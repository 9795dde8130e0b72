//! The simulator of schedules finds what it is there to find: schedules without one of their barriers, and buffers that
//! lie over each other. And it finds nothing in the schedules of models that are wide enough to be cut in many ways.

mod support;

use std::collections::HashMap;

use lstmc_compiler::graph::Purpose;
use lstmc_compiler::kernel::{BufferKind, InputRole, Module, parse};
use lstmc_compiler::pipeline;
use lstmc_compiler::plan::{Program, Scheduled, plan, verify};
use lstmc_compiler::target::{Grid, Nvidia, Partition, Target};
use proptest::prelude::*;
use support::checked::checked;
use support::random_models::wide_models;
use support::simulator::simulate;

/// `b` reads other rows than its worker wrote in `a`; in the loop, `d` reads other rows of what `c` wrote, and the next
/// round's `c` overwrites what another worker may still be reading in `d`.
const TEXT: &str = r#"module m {
  buffer %0: f[64, 64] input "x" carried start 0.0
  buffer %1: f[64, 64] output "a" probabilities
  buffer %2: f[64, 64] output "b" probabilities
  buffer %3: f[64, 64] temp "c"
  buffer %4: f[4, 64, 64] output "d" probabilities
  kernel "a" axes 64 64 {
    for a0 parallel {
      for a1 parallel {
        v0 = load %0 + 64*a0 + 1*a1
        store %1 + 64*a0 + 1*a1 = v0
      }
    }
  }
  kernel "b" axes 64 64 {
    for a0 parallel {
      for a1 parallel {
        v0 = load %1 + 64*a1 + 1*a0
        store %2 + 64*a0 + 1*a1 = v0
      }
    }
  }
  loop t0 in 4 {
    kernel "c" axes 64 64 {
      for a0 parallel {
        for a1 parallel {
          v0 = load %0 + 64*a0 + 1*a1
          store %3 + 64*a0 + 1*a1 = v0
        }
      }
    }
    kernel "d" axes 64 64 {
      for a0 parallel {
        for a1 parallel {
          v0 = load %3 + 64*a1 + 1*a0
          store %4 + 4096*t0 + 64*a0 + 1*a1 = v0
        }
      }
    }
  }
}
"#;

/// A processor with so many workers, and a GPU with so many CTAs that wait for each other, which send each other elements or
/// partial sums.
fn targets(workers: usize) -> [Target; 3] {
    let gpu = Target::nvidia(Nvidia { multiprocessors: workers, ..Nvidia::SM_80 });
    let partial_sums = Partition::Grid(Grid { partial_sums: 0 });
    [Target::cpu(workers), gpu.clone(), Target { partition: partial_sums, ..gpu }]
}

fn barriers(schedule: &[Scheduled]) -> usize {
    let count = |next: &Scheduled| match next {
        Scheduled::Barrier => 1,
        Scheduled::Loop { body, .. } => barriers(body),
        _ => 0,
    };
    schedule.iter().map(count).sum()
}

/// Removes barrier number `index`.
fn remove_barrier(schedule: &mut Vec<Scheduled>, index: &mut usize) {
    let mut place = 0;
    while place < schedule.len() {
        match &mut schedule[place] {
            Scheduled::Barrier if *index == 0 => {
                schedule.remove(place);
                *index = usize::MAX;
                return;
            }
            Scheduled::Barrier => *index -= 1,
            Scheduled::Loop { body, .. } => remove_barrier(body, index),
            _ => {}
        }
        if *index == usize::MAX {
            return;
        }
        place += 1;
    }
}

fn without_barrier(program: &Program, mut index: usize) -> Program {
    let mut program = program.clone();
    remove_barrier(&mut program.schedule, &mut index);
    program
}

fn module() -> Module {
    parse(TEXT).expect("the module parses")
}

#[test]
fn every_barrier_of_a_tight_schedule_is_missed() {
    for workers in [2, 3] {
        let program = plan(module(), &Target::cpu(workers));
        verify(&program).expect("the plan verifies");
        assert_eq!(simulate(&program, &HashMap::new()), Ok(()));
        // Between `a` and `b`, between `c` and `d`, and at the back edge.
        assert_eq!(barriers(&program.schedule), 3, "{program}");
        for index in 0..3 {
            let broken = without_barrier(&program, index);
            assert_eq!(barriers(&broken.schedule), 2);
            let fault = simulate(&broken, &HashMap::new()).expect_err("a barrier is missing");
            assert!(fault.contains("since the last barrier"), "{fault}");
        }
    }
}

/// Each round spreads row 0 of the step before over all rows: nothing within a round is waited for, and all depends on
/// the barrier between rounds.
const BACK_EDGE: &str = r#"module m {
  buffer %0: f[5, 64, 64] input "x" carried start 0.0
  loop t0 in 4 {
    kernel "a" axes 64 64 {
      for a0 parallel {
        for a1 parallel {
          v0 = load %0 + 4096*t0 + 1*a1
          store %0 + 4096 + 4096*t0 + 64*a0 + 1*a1 = v0
        }
      }
    }
  }
}
"#;

#[test]
fn rounds_wait_for_each_other() {
    for workers in [2, 3] {
        let program = plan(parse(BACK_EDGE).expect("the module parses"), &Target::cpu(workers));
        verify(&program).expect("the plan verifies");
        assert_eq!(simulate(&program, &HashMap::new()), Ok(()));
        assert_eq!(barriers(&program.schedule), 1, "{program}");
        assert!(simulate(&without_barrier(&program, 0), &HashMap::new()).is_err());
    }
}

#[test]
fn one_worker_needs_no_barriers() {
    let program = plan(module(), &Target::cpu(1));
    assert_eq!(barriers(&program.schedule), 0);
    assert_eq!(simulate(&program, &HashMap::new()), Ok(()));
}

#[test]
fn overlaps_are_found() {
    let program = plan(module(), &Target::cpu(1));
    // Over an input, which is to survive the step; over what is still to be read.
    for (moved, onto) in [(1, 0), (1, 2), (3, 0)] {
        let mut broken = program.clone();
        broken.offsets[moved] = broken.offsets[onto];
        let fault = simulate(&broken, &HashMap::new()).expect_err("an overlap");
        assert!(fault.contains("but there lies"), "{fault}");
    }
}

/// The ids that a step of `program` reads, below `vocab`, some of them twice.
fn some_ids(program: &Program, vocab: u32) -> HashMap<String, Vec<u32>> {
    let buffers = program.module.buffers.iter();
    let ids = buffers
        .filter(|buffer| matches!(buffer.kind, BufferKind::Input(InputRole::Tokens | InputRole::Targets)));
    ids.map(|buffer| (buffer.name.clone(), (0..buffer.len() as u32).map(|at| at * 5 % vocab).collect()))
        .collect()
}

/// Training steps of models in which workers keep rows or columns of what they compute.
#[test]
fn rows_and_columns_are_whose_the_plan_says() {
    for (batches, chain) in [
        ("stream(rows: 1, steps: 3)", "embedding(32) -> rnn(256)"),
        ("stream(rows: 2, steps: 3)", "scalar -> rnn(256) -> lstm(64)"),
        (
            "windows(length: 3, stride: 1, rows: 1, targets: last)",
            "embedding(64) -> gru(64) -> rnn(256) -> last",
        ),
        ("windows(length: 4, stride: 1, rows: 3)", "embedding(96) -> lstm(48) -> rnn(64)"),
        ("stream(rows: 9, steps: 4)", "embedding(40) -> lstm(64) -> gru(32)"),
    ] {
        let text = format!(
            "data {{ train: \"t\"; tokens: words; batches: {batches} }}
            model {{ tokens -> {chain} -> dense(vocab) -> softmax }}
            train {{ loss: cross_entropy; optimizer: rmsprop; epochs: 1 }}"
        );
        let model = checked(&text, 50).unwrap_or_else(|errors| panic!("{errors}"));
        for target in [2, 3, 4].into_iter().flat_map(targets) {
            let program = pipeline::program_of(&model, Purpose::Train, &target);
            let found = simulate(&program, &some_ids(&program, 50));
            assert_eq!(found, Ok(()), "{batches}, {chain}: {program}");
        }
    }
}

proptest! {
    // A wide model takes a while to walk through.
    #![proptest_config(ProptestConfig { max_shrink_iters: 100, failure_persistence: None, ..ProptestConfig::with_cases(24) })]

    #[test]
    fn wide_models_are_planned_without_races(random in wide_models()) {
        let model = checked(&random.text, random.vocab).map_err(TestCaseError::fail)?;
        for purpose in [Purpose::Train, Purpose::Evaluate] {
            for target in [2, 3].into_iter().flat_map(targets) {
                let program = pipeline::program_of(&model, purpose, &target);
                let found = simulate(&program, &some_ids(&program, random.vocab as u32));
                prop_assert_eq!(found, Ok(()), "{}", program);
            }
        }
    }
}

/// A training step of a whole model: most of its barriers are needed, and the simulator misses them.
#[test]
fn barriers_of_a_training_step_are_missed() {
    let text = "data { train: \"t\"; tokens: words; batches: stream(rows: 8, steps: 3) }
        model { tokens -> embedding(40) -> lstm(40) -> dense(vocab) -> softmax }
        train { loss: cross_entropy; optimizer: sgd; clip: norm(1); epochs: 1 }";
    let model = checked(text, 50).unwrap_or_else(|errors| panic!("{errors}"));
    let ids = |name: &str| (name.to_owned(), (0..24).collect::<Vec<u32>>());
    let ids = HashMap::from([ids("tokens"), ids("targets")]);
    for target in [2, 3].into_iter().flat_map(targets) {
        let program = pipeline::program_of(&model, Purpose::Train, &target);
        assert_eq!(simulate(&program, &ids), Ok(()));
        let all = barriers(&program.schedule);
        let needed =
            (0..all).filter(|&index| simulate(&without_barrier(&program, index), &ids).is_err()).count();
        assert!(needed * 2 > all, "{needed} of {all} barriers are needed");
    }
}
