//! The command line.

mod checkpoint;
mod completions;
mod device;
mod export;
mod fmt;
mod import;
mod man;
mod ranks;
mod report;
mod score;
mod used;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Arg, ArgGroup, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use lstmc_compiler::kernel::Format;
use lstmc_compiler::target::Nvidia;
use lstmc_runtime::run_dir::Choice;
use lstmc_runtime::text::Role;

use crate::profile::Order;
use crate::set::Setting;

pub use completions::Completions;
pub use device::Device;
pub use export::{Baseline, Export, Form, Sequence};
pub use fmt::Fmt;
pub use import::Import;
pub use man::Man;
pub use ranks::{Gradients, Ranks};
pub use report::Report;
pub use score::Score;
pub use used::{Processor, Used};

/// What the command is called.
pub const NAME: &str = "lstmc";

/// A compiler for recurrent language models: from a .lstm file to a native training loop.
#[derive(Debug, Parser)]
#[command(
    name = NAME,
    version,
    arg_required_else_help = true,
    after_help = "Example:\n  lstmc train models/aesop.lstm\n  lstmc generate runs/aesop --prompt \"had a general\""
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

/// Reads a command line.
///
/// # Errors
/// Wrong usage, and what `--help` and `--version` print.
pub fn parse<I>(line: I) -> Result<Cli, clap::Error>
where
    I: IntoIterator<Item: Into<OsString> + Clone>,
{
    let mut command = command();
    let matches = command.try_get_matches_from_mut(line).map_err(device::explained)?;
    let cli = Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut command))?;
    match cli.command.device_and_threads() {
        (device, Some(_)) if device != Device::Cpu => {
            let message =
                format!("--threads is for --device cpu: on --device {device} there are no worker threads");
            Err(clap::Error::raw(ErrorKind::ArgumentConflict, message).format(&mut command))
        }
        _ => Ok(cli),
    }
}

/// The command line; a number below zero is a wrong value, and not an unknown option.
pub fn command() -> clap::Command {
    let values = |argument: Arg| match argument.get_action().takes_values() {
        true => argument.allow_negative_numbers(true),
        false => argument,
    };
    Cli::command().mut_subcommands(|command| command.mut_args(values))
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write a model file for a text of yours, which trains as it is.
    #[command(after_help = "Examples:\n  lstmc init tale --text story.txt\n  \
        lstmc init tale --text preface.txt chapters/*.txt --like word\n  lstmc train tale.lstm")]
    Init(Init),
    /// Train a model; Ctrl-C saves and stops.
    #[command(after_help = "Examples:\n  lstmc train models/aesop.lstm\n  \
        lstmc train models/ptb-small.lstm --data ptb --epochs 3 --out runs/small\n  \
        lstmc train --resume runs/small\n  \
        lstmc train --resume runs/small --checkpoint 2\n  \
        lstmc train models/ptb-small.lstm --data ptb --tensorboard\n  \
        lstmc train models/tied.lstm --data ptb --from runs/small --set rate=0.1")]
    Train(Train),
    /// Loss, perplexity and accuracy of a trained model on a text.
    #[command(after_help = "Examples:\n  lstmc eval runs/ptb-small --split test\n  \
        lstmc eval runs/ptb-small --checkpoint best\n  \
        lstmc eval runs/ptb-small --weights f32,bf16,int8")]
    Eval(Eval),
    /// Runs side by side: their best validations, and how their models differ.
    #[command(after_help = "Example:\n  lstmc compare runs/ptb-small runs/tied")]
    Compare(Compare),
    /// One page to look at: curves, text by epoch, predictions, layers, where a step's time goes.
    #[command(after_help = "Examples:\n  lstmc report runs/ptb-small\n  \
        lstmc report runs/ptb-small runs/tied --out both.html --samples 3\n  \
        lstmc report runs/aesop --prompt \"had a general\" --profile 0\n\n\
        The page is one file that needs no network. What cannot be found out is left out, and the page says why.")]
    Report(Report),
    /// Actual words against predicted words, side by side, from a text's beginning.
    #[command(after_help = "Examples:\n  lstmc predict runs/ptb-small --split test --count 20\n  \
        lstmc predict runs/ptb-small --top-k 3\n  \
        lstmc predict runs/ptb-small --json\n\n\
        docs/language.md says what the fields of --json are.")]
    Predict(Predict),
    /// How likely lines of text are to a trained model.
    #[command(after_help = "Examples:\n  lstmc score runs/ptb-small sentences.txt\n  \
        lstmc score runs/ptb-small --tokens --top-k 5 sentences.txt\n  \
        lstmc score runs/ptb-small --json -\n\n\
        Each line is a text of its own: the model reads it from fresh state. Its numbers are the same whatever other lines are \
        scored with it. docs/language.md says what of a line is scored, and what the fields of --json are.")]
    Score(Score),
    /// Write text with a trained model.
    #[command(after_help = "Examples:\n  lstmc generate runs/aesop --prompt \"had a general\" --greedy\n  \
        lstmc generate runs/ptb-small --prompt \"the company\" --temperature 0.8 --top-k 40\n  \
        lstmc generate runs/ptb-small --prompt \"the company\" --weights int8 --stats\n  \
        lstmc generate runs/aesop --prompt \"had a general\" --count 3 --stop . --json\n  \
        lstmc generate runs/aesop --prompt - --greedy\n\n\
        Several texts have an empty line between them. The continuations of a prompt have seeds that follow from --seed; the first \
        has --seed itself, and --json says each.\n\n\
        On a terminal, what it would obey rather than show (escape sequences, text that runs backwards) is written as \
        \\u{1b}; into a file or a pipe the text is written as it is.")]
    Generate(Generate),
    /// Hand a trained model to other programs.
    #[command(after_help = "Examples:\n  lstmc export runs/aesop --format onnx\n  \
        lstmc export runs/ptb-small --format onnx --sequence dynamic --out small.onnx\n  \
        lstmc export runs/ptb-small --format safetensors --checkpoint best")]
    Export(Export),
    /// Begin a run with the weights of another program.
    #[command(after_help = import::EXAMPLES)]
    Import(Import),
    /// Put model files into the layout of the language's own examples.
    #[command(after_help = fmt::EXAMPLES)]
    Fmt(Fmt),
    /// Shapes, parameters and peak memory of a model, without training it.
    #[command(after_help = "Examples:\n  lstmc check models/aesop.lstm\n  \
        lstmc check models/ptb-large.lstm --vocab 10000")]
    Check(Check),
    /// Print what a stage of the compiler makes of a model.
    #[command(after_help = "Examples:\n  lstmc emit models/aesop.lstm --stage graph\n  \
        lstmc emit models/ptb-small.lstm --vocab 10000 --stage opt --dump-after hoist")]
    Emit(Emit),
    /// Where a training step's time goes, and what keeps its parts from the fast path.
    #[command(after_help = "Examples:\n  lstmc profile models/aesop.lstm\n  \
        lstmc profile models/ptb-small.lstm --vocab 10000 --threads 2\n  \
        lstmc profile models/ptb-small.lstm --data ptb --order schedule")]
    Profile(Profile),
    /// Compare every parameter's gradient with central differences in f64.
    #[command(after_help = "Example:\n  lstmc gradcheck models/first-lstm.lstm")]
    Gradcheck(Gradcheck),
    /// What a shell completes command lines with.
    #[command(after_help = "Examples:\n  lstmc completions bash\n  lstmc completions fish")]
    Completions(Completions),
    /// Manual pages.
    #[command(after_help = "Example:\n  lstmc man ~/.local/share/man/man1")]
    Man(Man),
}

impl Command {
    /// What a program is to run on, and on how many threads if that was said.
    fn device_and_threads(&self) -> (Device, Option<u16>) {
        match self {
            Command::Train(args) => args.on.said(),
            Command::Eval(Eval { trained, .. }) | Command::Predict(Predict { trained, .. }) => {
                trained.on.said()
            }
            Command::Score(args) => args.on.said(),
            Command::Generate(args) => args.on.said(),
            Command::Check(args) => (args.device, args.threads),
            Command::Init(_)
            | Command::Compare(_)
            | Command::Report(_)
            | Command::Export(_)
            | Command::Fmt(_)
            | Command::Import(_)
            | Command::Emit(_)
            | Command::Profile(_)
            | Command::Gradcheck(_)
            | Command::Completions(_)
            | Command::Man(_) => (Device::Cpu, None),
        }
    }
}

/// What a model file that is written is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Like {
    /// Of characters.
    Char,
    /// Of words and punctuation.
    Word,
    /// Of words between spaces, as the small model of the Penn Treebank.
    Ptb,
}

#[derive(Debug, Args)]
pub struct Init {
    /// The name of the model: NAME.lstm is written.
    pub name: PathBuf,
    /// The text, or several files of it in their order.
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    pub text: Vec<PathBuf>,
    /// What the model is to be like [default: characters or words, as suits the text].
    #[arg(long, value_enum)]
    pub like: Option<Like>,
    /// Write over a model file that is there.
    #[arg(long)]
    pub overwrite: bool,
}

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

/// A trained model.
#[derive(Debug, Args)]
pub struct Trained {
    #[command(flatten)]
    pub used: Used,
    /// The folder that the texts are in [default: where training found them]. Any text in it is read.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Read a text though it is not one of those that the run was trained with. Without this, it has to be one, or to be
    /// in the folder of --data.
    #[arg(long)]
    pub accept_changes: bool,
    #[command(flatten)]
    pub on: Processor,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Split {
    Train,
    Valid,
    Test,
}

impl Split {
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "training",
            Self::Valid => "validation",
            Self::Test => "test",
        }
    }

    pub fn role(self) -> Role {
        match self {
            Self::Train => Role::Train,
            Self::Valid => Role::Valid,
            Self::Test => Role::Test,
        }
    }
}

/// What weights are rounded to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Weights {
    /// As they were trained.
    F32,
    /// Half the memory: eight significant bits.
    Bf16,
    /// A quarter of the memory: whole numbers up to 127, and a scale for each output of a layer.
    Int8,
}

impl From<Weights> for Format {
    fn from(weights: Weights) -> Self {
        match weights {
            Weights::F32 => Format::F32,
            Weights::Bf16 => Format::Bf16,
            Weights::Int8 => Format::Int8,
        }
    }
}

#[derive(Debug, Args)]
pub struct Eval {
    #[command(flatten)]
    pub trained: Trained,
    /// Which text [default: test, or the last one that the model has].
    #[arg(long, value_enum)]
    pub split: Option<Split>,
    /// What to round the weights to; several, with commas between them, are compared.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "f32")]
    pub weights: Vec<Weights>,
}

#[derive(Debug, Args)]
pub struct Compare {
    /// The folders of the runs; the others are compared with the first.
    #[arg(value_name = "RUN", required = true, num_args = 1..)]
    pub runs: Vec<PathBuf>,
    /// Print one JSON object a run.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Predict {
    #[command(flatten)]
    pub trained: Trained,
    /// Which text [default: test, or the last one that the model has].
    #[arg(long, value_enum)]
    pub split: Option<Split>,
    /// How many predictions to show.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = whole::<u32, 1>)]
    pub count: u32,
    /// Show the K most likely words of each place too.
    #[arg(long, value_name = "K", value_parser = whole::<u32, 1>)]
    pub top_k: Option<u32>,
    /// Print one JSON object a line instead of a table.
    #[arg(long)]
    pub json: bool,
}

const MOST_THREADS: u16 = 1024;

/// Tokens that are written where nothing else is said.
const LENGTH: usize = 100;

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
    /// Print the graph of the stages graph, grad and opt as it is after this pass: lower, simplify-1, merge_products,
    /// hoist, distinct_rows, simplify-2, gradients, update, simplify-3, sink, sparse_rows, simplify-4 (these six for
    /// training only), square_sums. Or the kernels of the stage kernel: fuse, precision, column_sums, collapse, preamble,
    /// split_k, fused_sums, prepack, alternate, vectorise.
    #[arg(long, value_name = "PASS")]
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

/// A whole number of at least `LEAST`, as large as `T` can be.
fn whole<T: TryFrom<u64>, const LEAST: u64>(text: &str) -> Result<T, String> {
    let number: Option<i128> = text.parse().ok();
    let least = i128::from(LEAST);
    match number
        .map(|number| (number, u64::try_from(number).ok().and_then(|number| T::try_from(number).ok())))
    {
        Some((number, Some(value))) if number >= least => Ok(value),
        Some((number, _)) if number >= least => Err("this is too large".into()),
        _ => Err(format!("this must be a whole number of at least {LEAST}")),
    }
}

fn threads(text: &str) -> Result<u16, String> {
    let number = whole::<u16, 1>(text).ok().filter(|number| *number <= MOST_THREADS);
    number.ok_or_else(|| format!("this must be a whole number from 1 to {MOST_THREADS}"))
}

fn temperature(text: &str) -> Result<f64, String> {
    number(text).filter(|t| *t >= 0.0).ok_or_else(|| "a temperature is a number of at least 0".into())
}

fn probability(text: &str) -> Result<f64, String> {
    number(text)
        .filter(|p| (0.0..=1.0).contains(p))
        .ok_or_else(|| "a probability lies between 0 and 1".into())
}

fn stop(text: &str) -> Result<String, String> {
    if text.is_empty() { Err("a text to stop at has at least one character".into()) } else { Ok(text.into()) }
}

fn number(text: &str) -> Option<f64> {
    text.parse::<f64>().ok().filter(|number| number.is_finite())
}

#[cfg(test)]
mod examples;

#[cfg(test)]
mod tests;
