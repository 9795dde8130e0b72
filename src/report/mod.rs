//! `lstmc report`: what is known of runs, as one page to look at.
//!
//! ```text
//! collect           what the runs have written down, and what their models say and do now
//!   samples, reading    texts that a model writes, and a text beside what it expected
//! page              the sections of the page
//!   curves              which charts there are
//!     chart, series, scale    numbers as pictures
//! ```
//!
//! A page is made of [`maud`]'s templates, which escape what they are given, and is one file: it asks for nothing from elsewhere,
//! its policy forbids that, and all of it can be read where no script runs.

mod chart;
mod collect;
mod curves;
mod page;
mod reading;
mod samples;
mod scale;
mod sections;
mod series;

use lstmc_runtime::run_dir::{Point, Row, Settings};

use crate::about::Layer;
use crate::profile::Profile;

pub use collect::collect;
pub use page::page;

/// Colours and dashes of lines, which repeat after so many.
const COLOURS: usize = 6;

/// What could be found out, or in a line why it could not.
pub type Part<T> = Result<T, String>;

/// What is known of runs.
pub struct Report {
    pub runs: Vec<Run>,
    /// When it was put together (UTC).
    pub time: String,
}

/// What is known of a run.
pub struct Run {
    /// Its path, as it can be given to a shell.
    pub name: String,
    pub source: String,
    pub settings: Settings,
    pub rows: Vec<Row>,
    pub points: Vec<Point>,
    /// The lines of its log.
    pub log: Vec<String>,
    pub state: State,
    /// How it differs from the first run, in lines.
    pub differences: Vec<String>,
    pub model: Part<About>,
    pub profile: Part<Measured>,
    pub samples: Part<Samples>,
    pub reading: Part<Reading>,
}

/// How a training stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    Finished,
    /// It ended before its time, as validation became no better.
    Settled,
    /// By Ctrl-C.
    Stopped,
    Failed(String),
    /// It goes on, or its process was killed. When it was heard of last.
    Open(String),
}

/// The model.
pub struct About {
    pub parameters: u64,
    /// What a token is called.
    pub unit: &'static str,
    /// How long it is to be trained, in words.
    pub length: String,
    /// Whether that is counted in epochs.
    pub by_epochs: bool,
    pub layers: Vec<Layer>,
    /// By name.
    pub facts: Vec<(&'static str, String)>,
}

/// Steps of training that were measured.
pub struct Measured {
    pub profile: Profile,
    /// Whether tokens were drawn, as the text was not there.
    pub random: bool,
}

/// Texts by the model at several moments of its training.
pub struct Samples {
    pub prompt: String,
    /// The command that writes one of them, but for the checkpoint, if it can be written down.
    pub command: Option<String>,
    pub texts: Vec<Sample>,
    /// The checkpoints that could not be read, in lines.
    pub missing: Vec<String>,
}

pub struct Sample {
    /// The epoch or update.
    pub place: String,
    /// The validation perplexity there.
    pub perplexity: Option<f64>,
    pub best: bool,
    pub newest: bool,
    /// What follows the prompt.
    pub text: String,
}

/// A text beside what the model expected.
pub struct Reading {
    /// Which text.
    pub split: &'static str,
    /// The epoch or update.
    pub place: String,
    pub tokens: Vec<Token>,
}

/// A token of a text.
pub struct Token {
    pub actual: String,
    /// What the model gave it.
    pub probability: f32,
    /// What it held most likely, the most likely first.
    pub top: Vec<(String, f32)>,
    pub right: bool,
}
