//! Every kernel of every shipped model, assembled by NVIDIA's `ptxas` for each architecture.
//!
//! Skipped aloud where there is no `ptxas`, on the path or named by `LSTMC_PTXAS`.

#[path = "support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use lstmc_compiler::backend::ptx::{self, Ptx};
use lstmc_compiler::graph::Purpose;
use lstmc_compiler::model::Model;
use lstmc_compiler::pipeline;
use lstmc_compiler::target::{Nvidia, Target};
use support::shipped;

/// An assembler that is named has to be there; one on the path need not.
fn ptxas() -> Option<PathBuf> {
    let answers = |path: &Path| {
        Command::new(path).arg("--version").output().is_ok_and(|output| output.status.success())
    };
    match std::env::var_os("LSTMC_PTXAS").map(PathBuf::from) {
        Some(named) => {
            assert!(answers(&named), "{} does not run", named.display());
            Some(named)
        }
        None => Some(PathBuf::from("ptxas")).filter(|path| answers(path)),
    }
}

fn compile(model: &Model, purpose: Purpose, nvidia: Nvidia) -> Ptx {
    ptx::compile(&pipeline::program_of(model, purpose, &Target::nvidia(nvidia)))
}

#[test]
fn shipped_models_assemble() {
    let purposes = [Purpose::Train, Purpose::Evaluate, Purpose::Generate { tokens: 10 }];
    assemble(str::to_owned, &purposes, |purpose| purpose == Purpose::Train);
}

#[test]
fn shipped_models_assemble_in_f32() {
    let in_f32 = |text: &str| text.replacen("train {", "train {\nprecision: f32", 1);
    assemble(in_f32, &[Purpose::Train], |_| false);
}

/// Assembles shipped models after a change of their text, of which those that `on_tensor_cores` names use tensor cores.
fn assemble(change: fn(&str) -> String, purposes: &[Purpose], on_tensor_cores: fn(Purpose) -> bool) {
    let Some(ptxas) = ptxas() else {
        eprintln!("skipped: no ptxas on the path, and none is named by LSTMC_PTXAS");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    for (name, model) in shipped::models(10_000, change) {
        for &purpose in purposes {
            for nvidia in [Nvidia::SM_80, Nvidia::SM_90] {
                let path = folder.path().join("module.ptx");
                let compiled = compile(&model, purpose, nvidia);
                std::fs::write(&path, &compiled.text).unwrap();
                let arch = format!("-arch=sm_{}", nvidia.sm);
                let output =
                    Command::new(&ptxas).args(["-v", &arch, "-o", "/dev/null"]).arg(&path).output().unwrap();
                let log = String::from_utf8_lossy(&output.stderr);
                assert!(output.status.success(), "{name}, {purpose:?}: {log}");
                spills_nothing(&log, &format!("{name}, {purpose:?}"));
                assert_eq!(
                    compiled.text.contains("mma.sync"),
                    on_tensor_cores(purpose),
                    "{name}, {purpose:?}"
                );
            }
        }
    }
}

/// No kernel keeps a register in memory, and none has more registers than let its CTA of 256 threads run.
fn spills_nothing(log: &str, what: &str) {
    for line in log.lines() {
        assert!(
            !line.contains("spill") || line.contains("0 bytes spill stores, 0 bytes spill loads"),
            "{what}: {line}"
        );
        if let Some((before, _)) = line.split_once(" registers") {
            let registers: usize = before.rsplit(' ').next().and_then(|number| number.parse().ok()).unwrap();
            assert!(registers <= 255, "{what}: {line}");
        }
    }
}
