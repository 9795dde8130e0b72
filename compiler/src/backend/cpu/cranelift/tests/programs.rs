//! Whole programs on the host's threads: steps, probes, and what is kept of the text.

use std::sync::atomic::Ordering;

use super::support::{Host, execute_steps, library, plan};
use super::{RECURRENT, module};
use crate::backend::cpu::cranelift::{
    Native, compile, compile_with_probes, compile_with_text, supported, target,
};
use crate::kernel::Machine;
use crate::plan::{Schedule, Task};

#[test]
fn compiled_programs_move_between_threads() {
    fn sendable<T: Send>() {}
    sendable::<Native>();
}

#[test]
fn this_machine_is_supported() {
    assert_eq!(supported(), Ok(()));
}

/// Without AVX Cranelift takes operands from memory that are not aligned.
#[test]
#[cfg(target_arch = "x86_64")]
fn processors_without_avx_are_refused() {
    let refused = target::isa(&["has_fma", "has_avx", "has_avx2", "has_avx512f"]).err();
    assert_eq!(refused.as_deref(), Some("this x86-64 processor has no AVX"));
}

#[test]
fn the_host_ends_a_run_early() {
    let module = module(RECURRENT);
    let program = plan(&module, 3);
    let native = compile(&program, &library()).unwrap();
    let mut machine = Machine::new(&module);
    let host = Host::new(3, 0, 10).ending_at(12);
    execute_steps(&native, &program, &mut machine, &host, 100);
    assert_eq!(host.finished.load(Ordering::SeqCst), 2);
}

/// The numbers of leaves as one run of the schedule passes them; `next` is that of the first.
fn passed(schedule: Schedule<'_>, next: &mut u32) -> Vec<u32> {
    let mut numbers = Vec::new();
    for task in schedule.tasks() {
        if let Task::Loop(inner, body) = task {
            numbers.append(&mut passed(body, next).repeat(inner.rounds));
        } else {
            numbers.push(*next);
            *next += 1;
        }
    }
    numbers
}

#[test]
fn each_worker_passes_each_probe_in_order() {
    let module = module(RECURRENT);
    for workers in 1..=2 {
        let program = plan(&module, workers);
        let mut count = 0;
        let schedule = passed(program.step_schedule(), &mut count);
        assert_eq!(count as usize, program.leaves().len());
        assert_eq!(schedule.len(), program.leaves().iter().map(|leaf| leaf.rounds).sum::<usize>());
        let step = [&[count + 1], &schedule[..], &[count]].concat();
        let run = |native: Native| {
            let host = Host::new(workers, 0, 0);
            execute_steps(&native, &program, &mut Machine::new(&module), &host, 2);
            host.probes.into_inner().unwrap()
        };
        let probes = run(compile_with_probes(&program, &library()).unwrap());
        for worker in 0..workers as u32 {
            let own: Vec<u32> =
                probes.iter().filter(|probe| probe.0 == worker).map(|probe| probe.1).collect();
            assert_eq!(own, step.repeat(2), "worker {worker} of {workers}");
        }
        assert_eq!(run(compile(&program, &library()).unwrap()), []);
    }
}

#[test]
fn wide_offsets_are_reached() {
    // The far buffer starts beyond what a load's own offset can say; only its address is computed, no such arena made.
    let text = r#"module far {
  buffer %0: f[600000000] temp "near"
  buffer %1: f[8] temp "far"
  kernel "far" axes 8 {
    for a0 parallel vector {
      v0 = position a0
      store %1 + 1*a0 = v0
    }
  }
}
"#;
    let program = plan(&module(text), 1);
    let native = compile_with_text(&program, &library()).unwrap();
    assert!(
        native.clif().contains("2400000000") || native.clif().contains("0x8f0d_1800"),
        "{}",
        native.clif()
    );
}

#[test]
fn text_is_kept_when_asked_for() {
    let program = plan(&module(RECURRENT), 2);
    let plain = compile(&program, &library()).unwrap();
    assert_eq!((plain.clif(), plain.asm()), ("", ""));
    let first = compile_with_text(&program, &library()).unwrap();
    for name in ["lstmc_entry", "start", "cell", "back"] {
        assert!(first.clif().contains(&format!("; {name}\n")), "{name}");
        assert!(first.asm().contains(&format!("; {name}\n")), "{name}");
    }
    let second = compile_with_text(&program, &library()).unwrap();
    assert_eq!(first.clif(), second.clif());
    assert_eq!(first.asm(), second.asm());
}
