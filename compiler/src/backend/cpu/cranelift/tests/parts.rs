//! Schedules so long that the entry is cut into parts.

use std::fmt::Write;

use super::support::{Host, execute_steps, library, plan};
use super::{TOLERANCE, agree, fill, module};
use crate::backend::cpu::cranelift::{compile_with_probes, compile_with_text};
use crate::kernel::{Machine, Module};

/// More than one part holds.
const MANY: usize = 700;

/// Many kernels before, in and after a loop that goes backwards and has a product that leaves out its first round.
fn long() -> Module {
    let mut text = String::from(
        r#"module long {
  buffer %0: f[16] input "x" carried start 0.0
  buffer %1: f[16, 16] input "w" carried start 0.0
  buffer %2: f[16] temp "y"
  buffer %3: f[3, 16] output "ys" probabilities
  buffer %4: f[16] output "end" probabilities
  kernel "start" axes 16 {
    for a0 parallel vector {
      v0 = load %0 + 1*a0
      store %2 + 1*a0 = v0
    }
  }
"#,
    );
    let kernels = |text: &mut String, name: &str| {
        for index in 0..MANY {
            let _ = writeln!(
                text,
                "kernel \"{name}_{index}\" axes 16 {{
  for a0 parallel vector {{
    v0 = const 0.9
    v1 = load %2 + 1*a0
    v2 = load %0 + 1*a0
    v3 = mul v1 v0
    v4 = add v3 v2
    store %2 + 1*a0 = v4
  }}
}}"
            );
        }
    };
    kernels(&mut text, "before");
    text.push_str("loop t0 in 3 reverse {\n");
    kernels(&mut text, "in");
    text.push_str(
        r#"gemm nn 1x16x16: %3 + 16*t0 stride 16 = %2 stride 16 @ %1 stride 16 after first
kernel "keep" axes 16 {
  for a0 parallel vector {
    v0 = load %3 + 16*t0 + 1*a0
    v1 = tanh v0
    store %2 + 1*a0 = v1
  }
}
}
"#,
    );
    kernels(&mut text, "after");
    text.push_str(
        r#"kernel "end" axes 16 {
  for a0 parallel vector {
    v0 = load %2 + 1*a0
    store %4 + 1*a0 = v0
  }
}
}
"#,
    );
    module(&text)
}

#[test]
fn a_long_schedule_computes_the_same_in_parts() {
    let module = long();
    let mut machine = Machine::new(&module);
    fill(&mut machine, &["x", "w"]);
    agree(&module, &machine, &["ys", "end"], 10.0 * TOLERANCE);
}

#[test]
fn no_function_calls_all_of_a_long_schedule() {
    let module = long();
    let native = compile_with_text(&plan(&module, 2), &library()).unwrap();
    let longest = native.clif().split("\n}\n").map(|function| function.matches("call ").count()).max();
    assert!(longest.unwrap() < MANY, "{longest:?}");
}

#[test]
fn probes_are_numbered_through_all_parts() {
    let module = long();
    let program = plan(&module, 1);
    let host = Host::new(1, 0, 0);
    let native = compile_with_probes(&program, &library()).unwrap();
    execute_steps(&native, &program, &mut Machine::new(&module), &host, 1);
    let probes = host.probes.into_inner().unwrap();
    for (number, leaf) in program.leaves().iter().enumerate() {
        let passed = probes.iter().filter(|probe| probe.1 as usize == number).count();
        let rounds = if leaf.in_loop { 3 } else { 1 };
        assert_eq!(passed, rounds, "leaf {number}");
    }
}
