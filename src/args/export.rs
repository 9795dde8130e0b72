//! The options of `lstmc export`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::numbers::whole;
use super::{Used, Weights};

/// What a trained model is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// One step, with the states as inputs and outputs, and the vocabulary in the metadata.
    Onnx,
    /// The parameters alone: as PyTorch's nn.LSTM has them if the model is one, else by the model's own names.
    Safetensors,
    /// C99 and a header: a file that any compiler makes a program of, for microcontrollers and browsers too.
    C,
    /// A shared library with its header, and a module for Python that uses it.
    So,
    /// A static library and a header.
    A,
    /// An object file and a header.
    O,
}

impl Form {
    /// What its files end in, and what it is called on the command line.
    pub fn ending(self) -> &'static str {
        match self {
            Form::Onnx => "onnx",
            Form::Safetensors => "safetensors",
            Form::C => "c",
            Form::So => "so",
            Form::A => "a",
            Form::O => "o",
        }
    }
}

/// What machine code is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Baseline {
    /// This machine.
    Native,
    /// Any x86-64 with AVX2 and FMA: since about 2013.
    #[value(name = "x86-64-v3")]
    X86V3,
    /// Any with AVX-512.
    #[value(name = "x86-64-v4")]
    X86V4,
    /// Any 64-bit ARM.
    Aarch64,
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
    /// What weights are rounded to, of code: c (f32 or int8), so, a and o.
    #[arg(long, value_enum)]
    pub weights: Option<Weights>,
    /// Which processors machine code is for: so, a and o [default: native].
    #[arg(long, value_enum)]
    pub cpu: Option<Baseline>,
}

fn sequence(text: &str) -> Result<Sequence, String> {
    match text {
        "dynamic" => Ok(Sequence::Dynamic),
        _ => whole::<usize, 1>(text).map(Sequence::Tokens).map_err(|error| format!("{error}, or `dynamic`")),
    }
}
