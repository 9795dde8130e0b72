//! Training with products in `bf16` beside the same model's in `f32`: words a second, in turn.

use anyhow::Result;
use lstmc_compiler::model::Precision;
use lstmc_runtime::engine::cpu::gemm::instructions;

use crate::train::{Training, trainings};
use crate::{Case, THREADS, compile, median};

/// Prints the medians.
///
/// # Errors
/// A model that does not compile or whose loss is not a number any more.
pub fn report(cases: &[&Case]) -> Result<()> {
    println!(
        "precision: words/s of whole steps with products in f32 and, for `precision: bf16`, in bf16, by {}",
        instructions().name
    );
    println!("{:12} {:>7} {:>10} {:>10}  {:>6}", "", "threads", "f32", "bf16", "ratio");
    cases.iter().try_for_each(|case| {
        let mut model = compile::front_end(&compile::source(case.model)?, case.vocabulary)?;
        let mut sides = Vec::new();
        for precision in [Precision::F32, Precision::Bf16] {
            model.train.precision = Some(precision);
            sides.push(trainings(&model)?);
        }
        for (index, threads) in THREADS.iter().enumerate() {
            let mut pair: Vec<&mut Training> = sides.iter_mut().map(|side| &mut side[index]).collect();
            let rounds = measure(case.rounds, &mut pair)?;
            let middle = |side: usize| median(rounds.iter().map(|round| round[side]));
            let ratio = median(rounds.iter().map(|round| round[1] / round[0]));
            println!("{:12} {threads:7} {:10.0} {:10.0}  {ratio:6.2}", case.model, middle(0), middle(1));
        }
        Ok(())
    })
}

/// Words a second of both, round by round.
fn measure(rounds: usize, pair: &mut [&mut Training]) -> Result<Vec<Vec<f64>>> {
    pair.iter_mut().try_for_each(|training| training.warm_up())?;
    (0..rounds)
        .map(|_| {
            let each = pair.iter_mut().map(|training| Ok(training.words() / training.run(training.steps)?));
            each.collect()
        })
        .collect()
}
