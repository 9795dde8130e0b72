//! What the tests share. With the path of `ptxas` in the variable PTXAS, every text is assembled too.

#![allow(dead_code)]

use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use ptx_vm::{Fault, FaultKind, Launch, Machine, Module, Stats};

/// A module with these entries.
pub fn text(entries: &str) -> String {
    format!(".version 8.0\n.target sm_90\n.address_size 64\n{entries}\n")
}

/// A module that NVIDIA's assembler takes too.
pub fn module(entries: &str) -> Module {
    let text = text(entries);
    assemble(&text);
    Module::parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn assemble(text: &str) {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let Ok(ptxas) = std::env::var("PTXAS") else { return };
    let name = format!("ptx-vm-{}-{}.ptx", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let path = std::env::temp_dir().join(name);
    std::fs::write(&path, text).unwrap();
    let output = Command::new(ptxas).args(["-arch=sm_90", "-o", "/dev/null"]).arg(&path).output().unwrap();
    std::fs::remove_file(&path).unwrap();
    assert!(output.status.success(), "{}\n{text}", String::from_utf8_lossy(&output.stderr));
}

/// The text with one place changed, which has to be there.
pub fn broken(entries: &str, from: &str, to: &str) -> Module {
    assert!(entries.contains(from), "`{from}` is not in the text");
    module(&entries.replacen(from, to, 1))
}

/// Under some seeds: faults have to come at once, results to be those of every seed.
pub const SEEDS: std::ops::Range<u64> = 0..8;

/// What a run under each seed gives; each starts from the same memory.
pub fn under_seeds<T>(run: impl Fn(u64) -> T) -> Vec<T> {
    SEEDS.map(run).collect()
}

/// The kinds of the faults, of which there has to be one under every seed.
pub fn faults(run: impl Fn(u64) -> Result<Stats, Fault>) -> Vec<FaultKind> {
    let kind = |result: Result<Stats, Fault>| result.expect_err("a fault").kind;
    under_seeds(|seed| kind(run(seed)))
}

pub fn launch(machine: &mut Machine, module: &Module, launch: Launch) -> Result<Stats, Fault> {
    machine.launch(module, &launch)
}
