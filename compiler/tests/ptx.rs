//! Whole steps in PTX, run by the PTX machine: small versions of every shipped model and random models, against the kernel
//! interpreter in double precision, tensor by tensor, under several schedules and on several grids with the same bits.

#[path = "support/mod.rs"]
mod support;

use std::path::Path;

use lstmc_compiler::backend::ptx;
use lstmc_compiler::graph::{Graph, OutputRole, Purpose};
use lstmc_compiler::kernel::{self, BufferKind, Format, Machine, Module, Numbers, Precision};
use lstmc_compiler::model::Model;
use lstmc_compiler::pipeline;
use lstmc_compiler::target::{Nvidia, SplitK, Target};
use support::executors::SEED;
use support::gpu;
use support::random_models::checked;
use support::tensors::{Feed, Start, feed, inputs, start};

/// Relative, by the norm of a tensor: what sums in `f32` lose against double precision (`docs/gpu.md`).
const F32: (Precision, f64) = (Precision::F32, 1e-5);

/// What rounding operands to 10 bits of fraction loses.
const TF32: (Precision, f64) = (Precision::Tf32, 1e-3);

/// What rounding operands to 7 bits of fraction loses.
const BF16: (Precision, f64) = (Precision::Bf16, 1.5e-2);

const SCHEDULES: u64 = 8;

/// A model file with sizes of some dozen: the widths of layers, of batches, and of parameters.
fn small(text: &str) -> String {
    let shrunk = |line: &str| -> String {
        let mut result = String::new();
        let mut rest = line;
        while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
            let end = rest[start..].find(|c: char| !c.is_ascii_digit()).map_or(rest.len(), |len| start + len);
            let number: usize = rest[start..end].parse().unwrap();
            let fraction = rest[end..].starts_with('.') || rest[..start].ends_with('.');
            let small = if number > 12 && !fraction { 9 + number % 5 } else { number };
            result += &rest[..start];
            result += &small.to_string();
            rest = &rest[end..];
        }
        result + rest
    };
    let batches = |line: &str| {
        line.replace("rows: 20", "rows: 3").replace("steps: 35", "steps: 4").replace("steps: 20", "steps: 4")
    };
    let line = |line: &str| match line {
        _ if line.trim_start().starts_with("batches:") => batches(line),
        _ if line.contains("->") || line.contains("param E") => shrunk(line),
        _ => line.to_owned(),
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n") + "\n"
}

fn shipped() -> Vec<(String, Model)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models");
    let mut found = vec![];
    for folder in [root.clone(), root.join("cells")] {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "lstm") {
                let text = small(&std::fs::read_to_string(&path).unwrap());
                let name = path.file_stem().unwrap().to_string_lossy().into_owned();
                let model = checked(&text, 50).unwrap_or_else(|error| panic!("{name}: {error}\n{text}"));
                found.push((name, model));
            }
        }
    }
    assert!(found.len() > 8);
    found
}

/// What a step leaves: the buffers that outlive it, and what the host reads.
type Left = Vec<(String, Vec<f64>)>;

fn left<R: lstmc_compiler::scalar::Real>(graph: &Graph, module: &Module, machine: &Machine<R>) -> Left {
    let updated =
        |name: &str| graph.outputs.iter().any(|output| output.role == OutputRole::Update(name.to_owned()));
    let lasting = module.buffers.iter().filter(|buffer| match buffer.kind {
        BufferKind::Input(_) => updated(&buffer.name),
        BufferKind::Output(_) => true,
        BufferKind::Temp | BufferKind::Packed => false,
    });
    lasting
        .filter_map(|buffer| {
            let values = machine.get(&buffer.name)?;
            Some((buffer.name.clone(), values.iter().map(|&value| value.to_f64()).collect()))
        })
        .collect()
}

fn machine<R: lstmc_compiler::scalar::Real>(graph: &Graph, module: &Module, feed: &Feed) -> Machine<R> {
    use lstmc_compiler::graph::interp::Tensor;
    let mut machine = Machine::<R>::new(module);
    for (name, value) in inputs(graph, &start(graph, Start::Halves), feed) {
        match value {
            Tensor::Real(x) => {
                let to = machine.get_mut(&name).unwrap();
                to.iter_mut().zip(&x).for_each(|(to, &x)| *to = R::of(x));
            }
            Tensor::Id(x) => machine.ids_mut(&name).unwrap().iter_mut().zip(&x).for_each(|(to, &x)| *to = x),
        }
    }
    machine
}

/// The first tensor that is further from the expected one than `tolerance` times its norm.
fn apart(expected: &Left, found: &Left, tolerance: f64) -> Option<String> {
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
    expected.iter().zip(found).find_map(|((name, expected), (_, found))| {
        let size = norm(&mut expected.iter().copied());
        let error = norm(&mut expected.iter().zip(found).map(|(a, b)| a - b));
        // Loss and hits of a step are single numbers, which may be 0.
        let far = error.is_nan() || error > tolerance * size.max(1e-3);
        far.then(|| format!("{name:?} differs by {error:e} of {size:e}"))
    })
}

fn check(name: &str, model: &Model, purpose: Purpose, (products, tolerance): (Precision, f64)) {
    let target = |multiprocessors| Target {
        // Small models have no long contractions, and larger ones have products of three parts.
        split_k: Some(SplitK::FewTiles { largest: 32, smallest: 32, enough: 3, min_part: 16, most: 3 }),
        ..Target::nvidia(Nvidia { multiprocessors, ..Nvidia::SM_80 })
    };
    let graph = pipeline::graph_of(model, purpose, &target(1), &mut |_, _| {});
    let numbers = Numbers { weights: Format::F32, products };
    let module = pipeline::kernels_of(&graph, numbers, &target(1), &mut |_, _| {});
    let program = pipeline::plan_of(module, &target(1));
    let feed = feed(&graph, model.vocab as u32, 0.25, 1);
    let mut expected = machine::<f64>(&graph, &program.module, &feed);
    kernel::run(&program.module, &mut expected, SEED, feed.step).unwrap();
    let expected = left(&graph, &program.module, &expected);
    let mut first: Option<Left> = None;
    for schedule in 0..SCHEDULES {
        let multiprocessors = [1, 2, 3, 5][schedule as usize % 4];
        let ptx = ptx::compile(&program, Nvidia { multiprocessors, ..Nvidia::SM_80 });
        let mut machine = machine::<f32>(&graph, &program.module, &feed);
        let steps = feed.step..feed.step + 1;
        gpu::run(&program, &ptx, &mut machine, SEED, steps, schedule)
            .unwrap_or_else(|fault| panic!("{name}, {purpose:?}, schedule {schedule}: {fault}"));
        let found = left(&graph, &program.module, &machine);
        if let Some(difference) = apart(&expected, &found, tolerance) {
            panic!("{name}, {purpose:?}, {products:?}, schedule {schedule}: {difference}");
        }
        let first = first.get_or_insert_with(|| found.clone());
        assert_eq!(*first, found, "{name}, {purpose:?}, schedule {schedule}: other bits");
    }
}

#[test]
fn shipped_models_train() {
    for (name, model) in shipped() {
        check(&name, &model, Purpose::Train, F32);
    }
}

#[test]
fn shipped_models_are_evaluated_and_write() {
    for (name, model) in shipped() {
        check(&name, &model, Purpose::Evaluate, F32);
        check(&name, &model, Purpose::Generate { tokens: 10 }, F32);
    }
}

#[test]
fn shipped_models_train_on_tensor_cores() {
    for (name, model) in shipped() {
        check(&name, &model, Purpose::Train, TF32);
        check(&name, &model, Purpose::Train, BF16);
    }
}
