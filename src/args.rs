//! The command line.

mod checkpoint;
mod completions;
mod device;
mod export;
mod fmt;
mod generate;
mod import;
mod init;
mod man;
mod models;
mod numbers;
mod ranks;
mod report;
mod score;
mod train;
mod trained;
mod used;
mod weights;

use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::{Arg, CommandFactory, FromArgMatches, Parser, Subcommand};

pub use completions::Completions;
pub use device::Device;
pub use export::{Baseline, Export, Form, Sequence};
pub use fmt::Fmt;
pub use generate::Generate;
pub use import::Import;
pub use init::{Init, Like};
pub use man::Man;
pub use models::{Architecture, Check, Emit, Gradcheck, ModelFile, Profile, Stage, Use};
pub use ranks::{Gradients, Ranks};
pub use report::Report;
pub use score::Score;
pub use train::Train;
pub use trained::{Compare, Eval, Predict, Split, Trained};
pub use used::{Processor, Used};
pub use weights::Weights;

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

#[cfg(test)]
mod examples;

#[cfg(test)]
mod tests;
