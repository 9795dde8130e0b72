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
use crate::compile::{self, Assembled};
use crate::show;

/// Of a device that is here, or of a kind of GPU.
///
/// # Errors
/// [`compile::Unusable`].
pub fn check(model: &Model, device: Device, target: Option<Architecture>) -> Result<String> {
    match (device, target) {
        (Device::Cuda(number), None) => {
            let Assembled { gpu, program, ptx, resources, by_library } = compile::assembled(model, number)?;
            let kind =
                format!("{} (sm_{}, {} multiprocessors)", gpu.name, gpu.capability, gpu.multiprocessors);
            Ok(text(model, &kind, &program, &ptx, Some((&resources, by_library))))
        }
        (_, target) => {
            let nvidia = target.map_or(Nvidia::SM_90, Nvidia::from);
            let (program, ptx) = compile::ptx_of(model, Purpose::Train, &Target::nvidia(nvidia))?;
            let kind = format!("sm_{} with {} multiprocessors", nvidia.sm, nvidia.multiprocessors);
            Ok(text(model, &kind, &program, &ptx, None))
        }
    }
}

/// `here` has what each launch takes of the GPU that this is about, if it is here, and how many products its library computes.
fn text(
    model: &Model,
    kind: &str,
    program: &Program,
    ptx: &Ptx,
    here: Option<(&[Resources], usize)>,
) -> String {
    let mut out = String::new();
    let precision = model.train.precision.unwrap_or(program.target.precision).name();
    let loops = ptx.step.iter().filter(|launch| launch.is_cooperative()).count();
    let launches = show::many(ptx.step.len() as u64, "launch");
    let _ = writeln!(out, "GPU         {kind}");
    let _ = writeln!(out, "precision   {precision}");
    let _ = writeln!(out, "memory      {} training", bytes(ptx.arena_bytes as u64));
    let _ = writeln!(out, "a step      {launches}, {loops} of them loops over time");
    if let Some(said) = here.and_then(|(_, count)| products(&ptx.step, count)) {
        let _ = writeln!(out, "cuBLASLt    {said}");
    }
    for (number, launch) in ptx.step.iter().enumerate() {
        if let Some(report) = &launch.time_loop {
            let resources = here.map(|(resources, _)| resources[number]);
            let _ = write!(out, "\n{}", time_loop(launch, report, resources));
        }
    }
    out
}

/// How many of the products that a library may compute it does, if there are any.
fn products(step: &[Launch], by_library: usize) -> Option<String> {
    let large = step.iter().filter(|launch| launch.product.is_some()).count();
    (large > 0).then(|| format!("{by_library} of {}", show::many(large as u64, "large product")))
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

#[cfg(test)]
mod tests {
    use lstmc_compiler::backend::ptx::{Placed, Product};
    use lstmc_compiler::kernel::{Form, Precision};

    use super::*;

    #[test]
    fn products_of_a_library_are_counted_where_there_may_be_some() {
        let place = Placed { offset: 0, rows: 8, columns: 8, stride: 8 };
        let [a, b, c] = [place; 3];
        let (m, n, k) = (8, 8, 8);
        let large =
            Product { form: Form::NN, precision: Precision::Tf32, m, n, k, a, b, c, accumulate: false };
        let launch = |product: Option<Product>| Launch {
            entry: String::new(),
            ctas: 1,
            threads: 256,
            shared_bytes: 0,
            time_loop: None,
            product,
        };
        let step = [launch(None), launch(Some(large)), launch(Some(large))];
        assert_eq!(products(&step, 1).as_deref(), Some("1 of 2 large products"));
        assert_eq!(products(&step[..2], 0).as_deref(), Some("0 of 1 large product"));
        assert_eq!(products(&step[..1], 0), None);
    }
}
