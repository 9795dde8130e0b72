//! Whole steps in PTX, run by the PTX machine: small versions of every shipped model and random models, against the kernel
//! interpreter in double precision, tensor by tensor, under several schedules and on several grids with the same bits.

#[path = "support/mod.rs"]
mod support;

use std::ops::Range;

use lstmc_compiler::backend::ptx;
use lstmc_compiler::graph::Purpose;
use lstmc_compiler::kernel::{self, Format, Numbers, Precision};
use lstmc_compiler::model::Model;
use lstmc_compiler::pipeline;
use lstmc_compiler::target::{Nvidia, SplitK, Target};
use proptest::prelude::*;
use support::checked::checked;
use support::executors::SEED;
use support::gpu;
use support::random_models::models;
use support::shipped;
use support::steps::{Left, apart, apart_from, left, machine};
use support::tensors::feed;

/// Relative, by the norm of a tensor: what sums in `f32` lose against double precision (`docs/gpu.md`).
const F32: (Precision, f64) = (Precision::F32, 1e-5);

/// What rounding operands to 10 bits of fraction loses.
const TF32: (Precision, f64) = (Precision::Tf32, 1e-3);

/// What rounding operands to 7 bits of fraction loses.
const BF16: (Precision, f64) = (Precision::Bf16, 1.5e-2);

/// As in `lowering.rs`: roundings of 6e-8, magnified by random equations. Of a tensor whose norm is below 1 it is the absolute
/// error that is bounded: sums cancel.
const SINGLE: f64 = 1e-3;

const SCHEDULES: u64 = 8;

fn small_models() -> Vec<(String, Model)> {
    shipped::models(50, shipped::small)
}

fn check(name: &str, model: &Model, purpose: Purpose, (products, tolerance): (Precision, f64)) {
    check_under(0..SCHEDULES, name, model, purpose, products, &|expected, found| {
        apart(expected, found, tolerance)
    });
}

fn check_under(
    schedules: Range<u64>,
    name: &str,
    model: &Model,
    purpose: Purpose,
    products: Precision,
    differ: &dyn Fn(&Left, &Left) -> Option<String>,
) {
    let target = |multiprocessors| Target {
        // Small models have no long contractions, and larger ones have products of three parts.
        split_k: Some(SplitK::FewTiles { largest: 32, smallest: 32, enough: 3, min_part: 16, most: 3 }),
        ..Target::nvidia(Nvidia { multiprocessors, ..Nvidia::SM_80 })
    };
    let graph = pipeline::graph_of(model, purpose, &target(1), &mut |_, _| {});
    let numbers = Numbers { weights: Format::F32, products };
    let module = pipeline::kernels_of(&graph, numbers, &target(1), &mut |_, _| {});
    let planned = |multiprocessors| pipeline::plan_of(module.clone(), &target(multiprocessors));
    let program = planned(1);
    let feed = feed(&graph, model.vocab as u32, 0.25, 1);
    let mut expected = machine::<f64>(&graph, &program.module, &feed);
    kernel::run(&program.module, &mut expected, SEED, feed.step).unwrap();
    let expected = left(&program.module, &expected);
    let mut first: Option<Left> = None;
    for schedule in schedules {
        let multiprocessors = [1, 2, 3, 5][schedule as usize % 4];
        let program = planned(multiprocessors);
        let ptx = ptx::compile(&program);
        let mut machine = machine::<f32>(&graph, &program.module, &feed);
        let steps = feed.step..feed.step + 1;
        gpu::run(&program, &ptx, &mut machine, SEED, steps, schedule)
            .unwrap_or_else(|fault| panic!("{name}, {purpose:?}, schedule {schedule}: {fault}"));
        let found = left(&program.module, &machine);
        if let Some(difference) = differ(&expected, &found) {
            panic!("{name}, {purpose:?}, {products:?}, schedule {schedule}: {difference}");
        }
        let first = first.get_or_insert_with(|| found.clone());
        if let Some(difference) = apart(first, &found, 0.0) {
            panic!("{name}, {purpose:?}, schedule {schedule}: other bits: {difference}");
        }
    }
}

#[test]
fn shipped_models_train() {
    for (name, model) in small_models() {
        check(&name, &model, Purpose::Train, F32);
    }
}

#[test]
fn shipped_models_are_evaluated_and_write() {
    for (name, model) in small_models() {
        check(&name, &model, Purpose::Evaluate, F32);
        check(&name, &model, Purpose::Generate { tokens: 10 }, F32);
    }
}

#[test]
fn shipped_models_train_on_tensor_cores() {
    for (name, model) in small_models() {
        check(&name, &model, Purpose::Train, TF32);
        check(&name, &model, Purpose::Train, BF16);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, max_shrink_iters: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// On two grids each.
    #[test]
    fn random_models_train_and_are_evaluated(random in models(), first in 0..SCHEDULES) {
        let model = checked(&random.text, random.vocab).map_err(TestCaseError::fail)?;
        for purpose in [Purpose::Train, Purpose::Evaluate] {
            check_under(first..first + 2, &random.text, &model, purpose, Precision::F32, &|expected, found| {
                apart_from(expected, found, SINGLE, 1.0)
            });
        }
    }
}
