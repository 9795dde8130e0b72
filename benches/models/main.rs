//! `cargo bench --bench models [-- FILTER]`: whole models, from source text to trained steps and written words, beside
//! what this machine can do.
//!
//! Five parts: `compile`, `train`, `precision`, `generate` and `memory`. `FILTER` is a word of a line's name: a part, a model, or
//! both as `train/ptb-small`. Token ids are random: how fast a step is does not depend on the text. What is compared is
//! measured in turn, round by round, so that other work on the machine hits all alike; every figure is the median of its
//! rounds, and a ratio or share is the median of each round's own.
//!
//! With `serve` as its first argument it is a process that `benches/peers` commands; see `serve`.

mod compile;
mod generate;
mod memory;
mod precision;
mod serve;
mod train;
mod work;

use anyhow::Result;

struct Case {
    model: &'static str,
    vocabulary: usize,
    /// Of measuring; what takes long gets fewer.
    rounds: usize,
    /// Whether writing is measured too.
    generates: bool,
}

const PTB: usize = 10_000;
const FABLE: usize = 112;

const CASES: [Case; 7] = [
    Case { model: "aesop", vocabulary: FABLE, rounds: 7, generates: false },
    Case { model: "aesop-deep", vocabulary: FABLE, rounds: 7, generates: false },
    Case { model: "ptb-small", vocabulary: PTB, rounds: 7, generates: true },
    Case { model: "ptb-keras", vocabulary: PTB, rounds: 7, generates: false },
    Case { model: "ptb-medium", vocabulary: PTB, rounds: 5, generates: true },
    Case { model: "tied", vocabulary: PTB, rounds: 5, generates: true },
    Case { model: "ptb-large", vocabulary: PTB, rounds: 3, generates: true },
];

/// Numbers of threads that are compared.
const THREADS: [u32; 2] = [1, 2];

/// Measures and prints the lines of some models.
type Report = fn(&[&Case]) -> Result<()>;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some("serve") {
        return serve::run(&arguments.collect::<Vec<_>>());
    }
    let filter = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    let parts: [(&str, Report); 5] = [
        ("compile", compile::report),
        ("train", train::report),
        ("precision", precision::report),
        ("generate", generate::report),
        ("memory", memory::report),
    ];
    for (part, report) in parts {
        let cases: Vec<&Case> = CASES
            .iter()
            .filter(|case| part != "generate" || case.generates)
            .filter(|case| part != "precision" || case.generates)
            .filter(|case| format!("{part}/{}", case.model).contains(&filter))
            .collect();
        if !cases.is_empty() {
            report(&cases)?;
            println!();
        }
    }
    Ok(())
}

/// The middle of some numbers, the upper of two.
fn median(numbers: impl IntoIterator<Item = f64>) -> f64 {
    let mut numbers: Vec<f64> = numbers.into_iter().collect();
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or(f64::NAN)
}
