//! `lstmc train`.

use std::path::PathBuf;

use clap::{ArgGroup, Args};
use lstmc_runtime::run_dir::Choice;

use super::numbers::whole;
use super::{Processor, Ranks, checkpoint};
use crate::set::Setting;

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("before").args(["resume", "from"])))]
pub struct Train {
    /// The model file; --resume needs none.
    #[arg(value_name = "MODEL.lstm", required_unless_present = "resume")]
    pub model: Option<PathBuf>,
    /// The folder that the texts are in [default: the folder of the model file].
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// The folder of the run [default: runs/MODEL, or runs/MODEL-2 and so on if it is taken]. One that ended before
    /// anything was saved of what it learned is begun again.
    #[arg(long, value_name = "DIR", conflicts_with = "resume")]
    pub out: Option<PathBuf>,
    /// Train for this many epochs instead of the model's own number (for models that count epochs).
    #[arg(long, value_name = "N", value_parser = whole::<u32, 1>)]
    pub epochs: Option<u32>,
    /// Stop when this many updates have been made, those before --resume included; 0 saves the initial parameters.
    #[arg(long, value_name = "N", value_parser = whole::<u64, 0>)]
    pub steps: Option<u64>,
    /// All random numbers are a function of this [default: 0, or the resumed run's].
    #[arg(long, value_name = "N", conflicts_with = "resume", value_parser = whole::<u64, 0>)]
    pub seed: Option<u64>,
    #[command(flatten)]
    pub on: Processor,
    #[command(flatten)]
    pub ranks: Ranks,
    /// Go on with this run from its newest checkpoint, or from the beginning if it has none.
    #[arg(long, value_name = "RUN")]
    pub resume: Option<PathBuf>,
    /// Begin with the parameters of this run, as far as the model has them, by name and by word; the rest starts afresh.
    #[arg(long, value_name = "RUN")]
    pub from: Option<PathBuf>,
    /// Another number in the train block, such as rate=0.1; several are given one by one.
    #[arg(long, value_name = "NAME=NUMBER", conflicts_with = "resume")]
    pub set: Vec<Setting>,
    /// The checkpoint to go on from, or to take parameters from: newest, best, the number of an epoch (of an update, for models
    /// that count iterations), or the path of a file. Where the run goes on, later ones are left behind under other names.
    #[arg(long, value_name = "WHICH", requires = "before", value_parser = checkpoint::parse)]
    pub checkpoint: Option<Choice>,
    /// Go on though a text, or the model's batches, are not those that the run was trained with. Without this, they have
    /// to be; of what else was changed in the run's model.lstm, training says what.
    #[arg(long, requires = "resume")]
    pub accept_changes: bool,
    /// Go on from a checkpoint without checksums, as earlier versions and other programs write them.
    #[arg(long, requires = "before")]
    pub accept_unverified: bool,
    /// Write the curves into the run's folder for TensorBoard too; a run that has them goes on with them without this.
    #[arg(long)]
    pub tensorboard: bool,
    /// Print one JSON object a line instead of progress for people.
    #[arg(long)]
    pub json: bool,
}
