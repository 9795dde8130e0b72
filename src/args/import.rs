//! The options of `lstmc import`.

use std::path::PathBuf;

use clap::Args;

/// What the help ends with.
pub(super) const EXAMPLES: &str = "Examples:\n  lstmc import story.lstm weights.pt\n  \
    lstmc import story.lstm weights.safetensors --vocabulary words.txt --out runs/imported\n  \
    lstmc import story.lstm weights.pt --print-map\n  \
    lstmc import story.lstm weights.pt --map story.map\n\n\
    The weights are a safetensors file or a PyTorch checkpoint, of which nothing is run. docs/shipping.md says what is found \
    without a mapping file, and what can stand in one.";

#[derive(Debug, Args)]
pub struct Import {
    /// The model file that the weights are for.
    #[arg(value_name = "MODEL.lstm")]
    pub model: PathBuf,
    /// A safetensors file, or a PyTorch checkpoint.
    pub weights: PathBuf,
    /// What each of the model's parameters is made of, one line for each.
    #[arg(long, value_name = "FILE")]
    pub map: Option<PathBuf>,
    /// Print a mapping file with what was found, to be changed and given to --map, and write nothing.
    #[arg(long)]
    pub print_map: bool,
    /// Look only at the tensors whose names begin so, up to a point: the dictionary `model` of a checkpoint.
    #[arg(long, value_name = "NAME")]
    pub under: Option<String>,
    /// Which word has which id: one word a line, or JSON, such as a run's vocab.json [default: what the weights say, if lstmc
    /// wrote them, else the texts' own].
    #[arg(long, value_name = "FILE")]
    pub vocabulary: Option<PathBuf>,
    /// The folder that the texts are in [default: the folder of the model file].
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// The folder of the run [default: runs/MODEL, or runs/MODEL-2 and so on if it is taken].
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}
