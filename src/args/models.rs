//! Subcommands that compile a model file without training it: `lstmc check`, `emit`, `profile` and `gradcheck`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use lstmc_compiler::pipeline::{KERNEL_PASSES, PASSES};
use lstmc_compiler::target::Nvidia;

use super::generate::LENGTH;
use super::numbers::{threads, whole};
use super::{Device, Weights};
use crate::profile::Order;

/// A model file, and what it needs to be compiled without being trained.
#[derive(Debug, Args)]
pub struct ModelFile {
    /// The model file.
    #[arg(value_name = "MODEL.lstm")]
    pub model: PathBuf,
    /// The folder that the texts are in [default: the folder of the model file].
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// The vocabulary's size, instead of reading the training text.
    #[arg(long, value_name = "N", conflicts_with = "data", value_parser = whole::<u32, 1>)]
    pub vocab: Option<u32>,
}

#[derive(Debug, Args)]
pub struct Check {
    #[command(flatten)]
    pub file: ModelFile,
    /// What training is to run on: cpu, cuda, or one of several GPUs as cuda:1. Of a GPU it says how each loop over time is
    /// shared out.
    #[arg(long, value_name = "DEVICE", default_value = "cpu", value_parser = Device::parse)]
    pub device: Device,
    /// A kind of GPU, which need not be here, in place of --device.
    #[arg(long, value_enum, conflicts_with_all = ["device", "threads"])]
    pub target: Option<Architecture>,
    /// Worker threads, no more than there are processors [default: as many as the processor has cores].
    #[arg(long, value_name = "N", value_parser = threads)]
    pub threads: Option<u16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Stage {
    Tokens,
    Ast,
    Model,
    Graph,
    Grad,
    Opt,
    Kernel,
    Plan,
    Clif,
    Asm,
    Ptx,
}

/// A GPU that PTX is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Architecture {
    /// A100.
    #[value(name = "sm_80")]
    Sm80,
    /// H100 and H200.
    #[value(name = "sm_90")]
    Sm90,
}

impl From<Architecture> for Nvidia {
    fn from(architecture: Architecture) -> Self {
        match architecture {
            Architecture::Sm80 => Nvidia::SM_80,
            Architecture::Sm90 => Nvidia::SM_90,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Use {
    Train,
    Evaluate,
    Generate,
}

#[derive(Debug, Args)]
pub struct Emit {
    #[command(flatten)]
    pub file: ModelFile,
    /// What to print.
    #[arg(long, value_enum)]
    pub stage: Stage,
    #[arg(long, value_name = "PASS", help = passes())]
    pub dump_after: Option<String>,
    /// What the model is compiled for.
    #[arg(long, value_enum, default_value_t = Use::Train)]
    pub purpose: Use,
    /// What to round the weights to; for --purpose evaluate and generate.
    #[arg(long, value_enum, default_value = "f32")]
    pub weights: Weights,
    /// How many tokens are read and written; for --purpose generate.
    #[arg(long, value_name = "N", default_value_t = LENGTH, value_parser = whole::<usize, 0>)]
    pub length: usize,
    /// The GPU that --stage ptx is for [default: sm_90]; with it the other stages show what is made for that GPU.
    #[arg(long, value_enum, conflicts_with = "threads")]
    pub target: Option<Architecture>,
    /// Worker threads that the plan is for.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = threads)]
    pub threads: u16,
}

/// What `--dump-after` takes.
fn passes() -> String {
    format!(
        "Print the graph of the stages graph, grad and opt as it is after this pass: {} (from gradients to simplify-4 for training \
         only). Or the kernels of the stage kernel: {}",
        PASSES.join(", "),
        KERNEL_PASSES.join(", ")
    )
}

#[derive(Debug, Args)]
pub struct Profile {
    #[command(flatten)]
    pub file: ModelFile,
    /// Worker threads, no more than there are processors [default: as many as the processor has cores].
    #[arg(long, value_name = "N", value_parser = threads)]
    pub threads: Option<u16>,
    /// How many steps to measure [default: as many as take a second].
    #[arg(long, value_name = "N", value_parser = whole::<u64, 1>)]
    pub steps: Option<u64>,
    /// In which order to list what a step does.
    #[arg(long, value_enum, default_value_t = Order::Time)]
    pub order: Order,
    /// Print one JSON object instead of tables, with all rows; times are seconds per step, of each worker.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Gradcheck {
    /// The model file.
    #[arg(value_name = "MODEL.lstm")]
    pub model: PathBuf,
}
