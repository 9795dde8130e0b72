//! Uses a trained model from Rust: what comes next, how likely sentences are, and what may follow.
//!
//! ```text
//! lstmc train models/aesop.lstm
//! cargo run --release --example use_a_run runs/aesop "had a general"
//! ```

use std::error::Error;
use std::path::Path;

use lstmc_runtime::Run;
use lstmc_runtime::run::Writing;
use lstmc_runtime::run_dir::Choice;
use lstmc_runtime::sample::Sampler;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [folder, prompt] = args.as_slice() else {
        return Err("name a run and a prompt: use_a_run runs/aesop \"had a general\"".into());
    };
    print!("{}", report(Path::new(folder), prompt)?);
    Ok(())
}

/// What the newest checkpoint of a run says of a text, and what it writes after it.
pub fn report(folder: &Path, text: &str) -> lstmc_runtime::Result<String> {
    let mut run = Run::options().checkpoint(Choice::Newest).threads(1).open(folder)?;
    let mut out = format!("{text} ...\n");
    for (word, probability) in run.next_probabilities(text)?.top(3) {
        out += &format!("  {:5.1} % {word}\n", 100.0 * probability);
    }

    let scored = run.score(text)?;
    out += &format!("{:.3} nats in {} tokens\n", scored.log_probability, scored.tokens.len());
    // Many texts at once take a fraction of the time, and these are the same words in another order.
    let turned: Vec<&str> = text.split(' ').rev().collect();
    for scored in run.score_all(&[text, &turned.join(" ")], 1)? {
        for place in &scored.tokens {
            out += &format!("  {} {:.3}, most likely {:?}\n", place.token, place.log_probability, place.top);
        }
    }

    let drawn = Sampler { temperature: 0.8, top_k: Some(40), top_p: None, seed: 1 };
    let how = Writing { length: 20, sampler: drawn, stop: vec![".".into()] };
    let written = run.generate(text, &how)?;
    out += &format!("{text}{}\n", written.text);
    Ok(out)
}
