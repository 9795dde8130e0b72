//! What training does on a GPU, for `lstmc check`.

use std::fmt::Write;

use anyhow::Result;
use lstmc_compiler::backend::ptx::{Launch, LoopReport, Ptx, TaskReport, WeightReport};
use lstmc_compiler::graph::Purpose;
use lstmc_compiler::model::Model;
use lstmc_compiler::plan::Program;
use lstmc_compiler::target::{Nvidia, Target};
use lstmc_runtime::engine::cuda::Resources;
use lstmc_runtime::error::bytes;

use crate::args::{Architecture, Device};
use crate::{compile, show};

/// Of a device that is here, or of a kind of GPU.
///
/// # Errors
/// [`compile::Unusable`].
pub fn check(model: &Model, device: Device, target: Option<Architecture>) -> Result<String> {
    match (device, target) {
        (Device::Cuda(number), None) => {
            let (gpu, program, ptx, resources) = compile::resources(model, number)?;
            let kind =
                format!("{} (sm_{}, {} multiprocessors)", gpu.name, gpu.capability, gpu.multiprocessors);
            Ok(text(model, &kind, &program, &ptx, Some(&resources)))
        }
        (_, target) => {
            let nvidia = target.map_or(Nvidia::SM_90, Nvidia::from);
            let (program, ptx) = compile::ptx_of(model, Purpose::Train, &Target::nvidia(nvidia));
            let kind = format!("sm_{} with {} multiprocessors", nvidia.sm, nvidia.multiprocessors);
            Ok(text(model, &kind, &program, &ptx, None))
        }
    }
}

fn text(model: &Model, kind: &str, program: &Program, ptx: &Ptx, resources: Option<&[Resources]>) -> String {
    let mut out = String::new();
    let precision = model.train.precision.unwrap_or(program.target.precision).name();
    let loops = ptx.step.iter().filter(|launch| launch.is_cooperative()).count();
    let launches = show::many(ptx.step.len() as u64, "launch");
    let _ = writeln!(out, "GPU         {kind}");
    let _ = writeln!(out, "precision   {precision}");
    let _ = writeln!(out, "memory      {} training", bytes(ptx.arena_bytes as u64));
    let _ = writeln!(out, "a step      {launches}, {loops} of them loops over time");
    for (number, launch) in ptx.step.iter().enumerate() {
        if let Some(report) = &launch.time_loop {
            let resources = resources.map(|resources| resources[number]);
            let _ = write!(out, "\n{}", time_loop(launch, report, resources));
        }
    }
    out
}

/// A loop, and a line for each of its tasks.
fn time_loop(launch: &Launch, report: &LoopReport, resources: Option<Resources>) -> String {
    let mut parts = vec![
        show::many(report.rounds as u64, "round"),
        format!("{} of {} threads", show::many(launch.ctas as u64, "CTA"), launch.threads),
        format!("{} of the grid a round", show::many(report.barriers as u64, "barrier")),
    ];
    if let Some(Resources { registers, spilled, shared }) = resources {
        parts.push(show::many(registers as u64, "register"));
        if spilled > 0 {
            parts.push(format!("{} of registers in memory", bytes(spilled as u64)));
        }
        parts.push(format!("{} of shared memory", bytes((shared + launch.shared_bytes) as u64)));
    }
    let rows: Vec<Vec<String>> = report.tasks.iter().map(|task| row(launch, task)).collect();
    format!("{}: {}\n{}", launch.entry, parts.join(", "), show::table(&["task", "a CTA has", "why"], &rows))
}

fn row(launch: &Launch, task: &TaskReport) -> Vec<String> {
    let part = match task.units {
        Some([count, own]) => format!("{own} of {}", show::many(count as u64, "unit")),
        None => format!("its part of {}", launch.ctas),
    };
    let why = match task.weight {
        Some(weight) => format!("{}: {}", task.reason, kept(weight)),
        None => task.reason.to_owned(),
    };
    vec![task.name.clone(), part, why]
}

/// Where a weight is.
fn kept(weight: WeightReport) -> String {
    let WeightReport { registers, shared, cache } = weight;
    let places = [
        (registers, "in registers"),
        (shared, "in shared memory"),
        (cache, "read from the L2 cache in each round"),
    ];
    let some = places.into_iter().filter(|(size, _)| *size > 0);
    let list: Vec<String> = some.map(|(size, place)| format!("{} {place}", bytes(size as u64))).collect();
    list.join(", ")
}
