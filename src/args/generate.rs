//! `lstmc generate`.

use clap::Args;

use super::numbers::{probability, temperature, whole};
use super::{Processor, Used, Weights};

/// Tokens that are written where nothing else is said.
pub const LENGTH: usize = 100;

#[derive(Debug, Args)]
pub struct Generate {
    #[command(flatten)]
    pub used: Used,
    /// What the text begins with; - reads prompts from standard input, one a line [default: those of standard input, if that is
    /// no terminal].
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub prompt: Option<String>,
    /// How many continuations of each prompt to write, each with a seed of its own.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = whole::<u64, 1>)]
    pub count: u64,
    /// End before this text, and do not write it; may be given several times.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true, value_parser = stop)]
    pub stop: Vec<String>,
    /// Print one JSON object a line for each continuation, when it is done.
    #[arg(long)]
    pub json: bool,
    /// How many tokens to write.
    #[arg(long, value_name = "N", default_value_t = LENGTH, value_parser = whole::<usize, 0>)]
    pub length: usize,
    /// Below 1 keeps closer to the likely tokens, above 1 tries more of the unlikely ones; 0 is --greedy.
    #[arg(long, value_name = "T", default_value_t = 1.0, value_parser = temperature)]
    pub temperature: f64,
    /// Choose among the K most likely tokens only.
    #[arg(long, value_name = "K", value_parser = whole::<u32, 1>)]
    pub top_k: Option<u32>,
    /// Choose among the most likely tokens only that together have probability P.
    #[arg(long, value_name = "P", value_parser = probability)]
    pub top_p: Option<f64>,
    /// Always choose the most likely token.
    #[arg(long, conflicts_with_all = ["temperature", "top_k", "top_p", "seed", "count"])]
    pub greedy: bool,
    /// All random choices are a function of this.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = whole::<u64, 0>)]
    pub seed: u64,
    /// What to round the weights to: fewer bits are read faster.
    #[arg(long, value_enum, default_value = "f32")]
    pub weights: Weights,
    #[command(flatten)]
    pub on: Processor,
    /// Say on stderr how long the tokens took, prompt included, compiling and loading left out.
    #[arg(long)]
    pub stats: bool,
}

fn stop(text: &str) -> Result<String, String> {
    if text.is_empty() { Err("a text to stop at has at least one character".into()) } else { Ok(text.into()) }
}
