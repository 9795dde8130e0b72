//! The options of `lstmc export`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{Used, Weights, whole};

/// What a trained model is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// One step, with the states as inputs and outputs, and the vocabulary in the metadata.
    Onnx,
    /// The parameters alone: as PyTorch's nn.LSTM has them if the model is one, else by the model's own names.
    Safetensors,
    /// C99 and a header: a file that any compiler makes a program of, for microcontrollers and browsers too.
    C,
}

/// How many tokens of a sequence are read at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sequence {
    Tokens(usize),
    /// As many as there are when it runs.
    Dynamic,
}

#[derive(Debug, Args)]
pub struct Export {
    #[command(flatten)]
    pub used: Used,
    /// What to write.
    #[arg(long, value_enum)]
    pub format: Form,
    /// The file to write; one that is there is replaced, as is the header beside it [default: RUN and the format's ending, here].
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Read so many tokens at once instead of one, or `dynamic`: as many as it is given; for --format onnx.
    #[arg(long, value_name = "N", value_parser = sequence)]
    pub sequence: Option<Sequence>,
    /// What weights are rounded to, for --format c.
    #[arg(long, value_enum)]
    pub weights: Option<Weights>,
}

fn sequence(text: &str) -> Result<Sequence, String> {
    match text {
        "dynamic" => Ok(Sequence::Dynamic),
        _ => whole::<usize, 1>(text).map(Sequence::Tokens).map_err(|error| format!("{error}, or `dynamic`")),
    }
}
