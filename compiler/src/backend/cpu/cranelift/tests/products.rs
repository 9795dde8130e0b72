//! Products as the CPU has them: by packed weights, of parts of a contraction, from either end, in bf16.

use super::support::execute;
use super::{RECURRENT, TOLERANCE, agree, fill, module};
use crate::kernel::{Machine, run};

/// Runs a variant of [`RECURRENT`].
fn recurrent_agrees(text: &str, names: &[&str]) {
    let module = module(text);
    let mut machine = Machine::new(&module);
    fill(&mut machine, &["table", "r"]);
    machine.get_mut("r").unwrap().iter_mut().for_each(|r| *r *= 0.3);
    machine.ids_mut("tokens").unwrap().copy_from_slice(&[1, 10, 3, 3, 3, 0, 7, 7, 9, 1, 2, 3]);
    agree(&module, &machine, names, TOLERANCE);
}

#[test]
fn packed_products_run_forwards_and_backwards() {
    recurrent_agrees(RECURRENT, &["h", "dx", "dtable", "dr"]);
}

#[test]
fn products_are_cut_into_parts() {
    let text = r#"module parts {
  buffer %0: f[3, 50] input "a" carried start 0.0
  buffer %1: f[50, 40] input "b" carried start 0.0
  buffer %2: f[3, 3, 40] output "c" probabilities
  gemm nn 3x40x50 parts 3: %2 stride 40 = %0 stride 50 @ %1 stride 40
}
"#;
    let module = module(text);
    let mut machine = Machine::new(&module);
    fill(&mut machine, &["a", "b"]);
    agree(&module, &machine, &["c"], TOLERANCE);
}

/// The order of a sum shows from which end B was read: 1e8 - 1e8 + 1 is 1, 1 - 1e8 + 1e8 is 0.
#[test]
fn products_alternate_from_round_to_round() {
    let text = r#"module alternating {
  buffer %0: f[1, 3] input "a" carried start 1.0
  buffer %1: f[3, 3] input "b" carried start 0.0
  buffer %2: f[5, 1, 3] output "forth" probabilities
  buffer %3: f[5, 1, 3] output "back" probabilities
  loop t0 in 5 {
    gemm nn 1x3x3: %2 + 3*t0 stride 3 = %0 stride 3 @ %1 stride 3 alternating
  }
  loop t1 in 5 reverse {
    gemm nt 1x3x3: %3 + 3*t1 stride 3 = %0 stride 3 @ %1 stride 3 before last alternating
  }
}
"#;
    let module = module(text);
    for workers in 1..=2 {
        let mut machine = Machine::new(&module);
        machine.get_mut("a").unwrap().fill(1.0);
        let sums = [1e8, -1e8, 1.0];
        for (form, rounds) in [("forth", [1.0, 0.0, 1.0, 0.0, 1.0]), ("back", [0.0, 1.0, 0.0, 1.0, 0.0])] {
            let b = machine.get_mut("b").unwrap();
            b.iter_mut()
                .enumerate()
                .for_each(|(i, b)| *b = sums[if form == "forth" { i / 3 } else { i % 3 }]);
            execute(&module, &mut machine, workers, 0, 0);
            let expected: Vec<f32> = rounds.iter().flat_map(|&sum| [sum; 3]).collect();
            assert_eq!(machine.get(form).unwrap(), expected, "{form}, {workers} workers");
        }
    }
}

#[test]
fn products_in_bf16_round_their_operands() {
    let mut text = RECURRENT.to_owned();
    for extents in ["3x20x20:", "20x20x12:", "pack nn 20x20:", "pack nt 20x20:"] {
        text = text.replace(extents, &extents.replace(':', " bf16:"));
    }
    let module = module(&text.replace("@ packed", "@ packed bf16"));
    let mut machine = Machine::new(&module);
    fill(&mut machine, &["table", "r"]);
    machine.get_mut("r").unwrap().iter_mut().for_each(|r| *r *= 0.3);
    machine.ids_mut("tokens").unwrap().copy_from_slice(&[1, 10, 3, 3, 3, 0, 7, 7, 9, 1, 2, 3]);
    // What differs by the rounding of f32 may be rounded the other way, by 2^-8, when it is an operand next.
    agree(&module, &machine, &["h", "dx", "dtable", "dr"], 4e-3);
    let mut exact = machine.clone();
    run(&module, &mut machine, 0, 0).unwrap();
    run(&self::module(RECURRENT), &mut exact, 0, 0).unwrap();
    let off = |(a, b): (&f32, &f32)| (a - b).abs() > 1e-4;
    assert!(machine.get("dr").unwrap().iter().zip(exact.get("dr").unwrap()).any(off), "nothing was rounded");
}
