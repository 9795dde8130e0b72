//! The typed model: names, widths and layers resolved and checked.
//!
//! Promises: every layer call is instantiated with concrete sizes, every expression has a shape, every state has a
//! `next`, no name is left. A layer is a function of one token's vector: batch and time are not in these shapes; the
//! graph adds them. Later stages cannot fail on a `Model`.

mod chain;
mod check;
mod context;
mod data;
mod declare;
mod definitions;
mod eval;
mod facts;
mod functions;
mod init;
mod interval;
mod keyed;
mod layer;
mod names;
mod operators;
mod optimizer;
mod outcome;
mod prelude;
mod print;
mod range;
mod schedule;
mod scope;
mod settings;
mod sizes;
mod total;
mod train;
mod unknown;

pub use check::{check, data_block};
pub use keyed::train_arguments;
pub use prelude::prelude;
pub use print::print;

use crate::diag::Span;
pub use crate::scalar::Precision;
use crate::scalar::Scalar;

/// A checked model file, ready to be lowered.
#[derive(Clone, Debug)]
pub struct Model {
    pub data: Data,
    pub train: Train,
    /// Number of distinct token ids, the reserved ones included.
    pub vocab: usize,
    pub params: Vec<Param>,
    /// In evaluation order; a layer reads only the tokens and earlier layers.
    pub layers: Vec<Layer>,
    /// The layer whose result is the distribution over the vocabulary, `[vocab]` for each token. If the model block ends in
    /// logits, this is a softmax that was added after them.
    pub output: usize,
    pub optimizer: Optimizer,
}

/// The `data` block. Paths are as written; the caller resolves them.
#[derive(Clone, Debug, PartialEq)]
pub struct Data {
    pub train: Vec<File>,
    pub valid: Option<Held>,
    pub test: Option<Held>,
    pub tokens: Tokens,
    pub selection: Selection,
    pub batches: Batches,
}

/// The path of a text, or a pattern of several: `"parts/*.txt"`.
#[derive(Clone, Debug, PartialEq)]
pub struct File {
    pub path: String,
    pub span: Span,
}

/// A text that is held out of training.
#[derive(Clone, Debug, PartialEq)]
pub enum Held {
    /// Files of its own.
    Files(Vec<File>),
    /// This share of the training files, above 0 and below 1, from their end: `last(10%)`.
    Last(f64),
}

/// How text becomes tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct Tokens {
    pub kind: TokenKind,
    /// What a line's end becomes, if it is a token: `words(newline: "<eos>")`.
    pub newline: Option<String>,
    /// The ids below this one stand for no word.
    pub reserve: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// Split at white space.
    Words,
    /// Split at white space, and punctuation stands alone.
    WordsAndPunctuation,
    Characters,
    /// So many subwords at most, which the training text teaches.
    Bpe(usize),
    /// What a tokenizer's file says.
    File(String),
}

impl TokenKind {
    /// As the language calls it.
    pub fn name(&self) -> &'static str {
        match self {
            TokenKind::Words => "words",
            TokenKind::WordsAndPunctuation => "words_and_punctuation",
            TokenKind::Characters => "characters",
            TokenKind::Bpe(_) => "bpe",
            TokenKind::File(_) => "tokenizer",
        }
    }

    /// What a token is called.
    pub fn unit(&self) -> &'static str {
        match self {
            Self::Words => "word",
            Self::WordsAndPunctuation | Self::Bpe(_) | Self::File(_) => "token",
            Self::Characters => "character",
        }
    }
}

/// Which words of the training text have ids of their own, and what the others count as.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Selection {
    /// The word that one without an id counts as. Unless it is said that is `<unk>`, if the training text has it.
    pub unknown: Option<String>,
    /// Words that the training text has fewer times have no id.
    pub min_count: Option<usize>,
    /// The most words that have ids, `unknown` and the newline token among them.
    pub most: Option<usize>,
}

/// How tokens become batches of `rows` sequences of `steps` tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct Batches {
    pub kind: BatchKind,
    pub rows: usize,
    /// Tokens read per row and batch.
    pub steps: usize,
    pub span: Span,
}

impl Batches {
    /// The length of the window after which one token is predicted, where not every step predicts one.
    pub fn window(&self) -> Option<usize> {
        matches!(self.kind, BatchKind::Windows { targets: Targets::Last, .. }).then_some(self.steps)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum BatchKind {
    /// Each row is one contiguous stream; recurrent state is carried from batch to batch within an epoch.
    Stream,
    /// Windows of `steps` tokens; recurrent state starts afresh in each.
    Windows {
        /// Tokens from one window's start to the next one's.
        stride: usize,
        targets: Targets,
        start: Start,
        shuffle: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Targets {
    /// The next token after every step.
    Each,
    /// The token after the window.
    Last,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Windows begin at token 0 and follow each other by `stride`.
    First,
    /// The first window starts at a random token; each next one `stride` further, and at the end of the text a new
    /// random start is drawn.
    Random,
}

/// The `train` block.
#[derive(Clone, Debug, PartialEq)]
pub struct Train {
    pub loss: Loss,
    pub length: Length,
    /// Global-norm clipping of all gradients (Pascanu et al. 2013), if any.
    pub clip: Option<f64>,
    pub schedule: Schedule,
    /// What the model says, if it does; else the machine's own.
    pub precision: Option<Precision>,
    pub report: Vec<Metric>,
    /// Whether the checkpoint of the lowest validation loss stays.
    pub keep_best: bool,
    /// How many of the newest checkpoints stay.
    pub keep: Option<usize>,
    /// After how many validations without a better loss training ends.
    pub patience: Option<usize>,
    /// Of how many batches the gradients' mean makes an update.
    pub accumulate: usize,
    /// Into how many groups a batch's rows are cut, whose gradients are added up in their order. It divides the rows.
    pub shards: usize,
    /// The epoch from which on the mean of the parameters after each update is kept, and used in place of the last ones.
    pub average: Option<usize>,
}

/// Cross-entropy of the output against the targets, averaged over the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Averaged over the steps too: `cross_entropy`.
    MeanOverSteps,
    /// Summed over the steps: `cross_entropy(steps: sum)`.
    SumOverSteps,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    Epochs(usize),
    /// A number of batches, reported every `report_every`.
    Iterations {
        count: usize,
        report_every: usize,
    },
}

/// The factor on the optimizer's `rate`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Schedule {
    /// In the first updates, as many as this, the factor rises in equal steps to what it would be otherwise.
    pub warmup: usize,
    pub course: Course,
}

/// How the factor goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Course {
    #[default]
    Constant,
    /// `factor ^ max(epoch - after, 0)`, epochs counted from 1.
    Decay { factor: f64, after: usize },
    /// `factor ^ floor((epoch - 1) / every)`.
    Stairs { factor: f64, every: usize },
    /// Half a cosine, from 1 after the warmup to `to` at the end.
    Cosine { to: f64 },
    /// `factor` for every `patience` validations in a row without a better loss.
    Plateau { factor: f64, patience: usize },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    Perplexity,
    Accuracy,
    /// Of training: the norm of all gradients together, before they are clipped.
    GradientNorm,
}

impl Metric {
    /// As the language calls it.
    pub fn name(self) -> &'static str {
        match self {
            Metric::Perplexity => "perplexity",
            Metric::Accuracy => "accuracy",
            Metric::GradientNorm => "gradient_norm",
        }
    }
}

/// A trained tensor: a vector `[n]` or a matrix `[rows, columns]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Param {
    /// Unique, such as `lstm_1.W_i`.
    pub name: String,
    pub shape: Vec<usize>,
    pub init: Init,
    pub span: Span,
}

/// How a parameter is initialised.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    Constant(f64),
    /// Uniform in [-a, a].
    Uniform(f64),
    /// Normal with mean 0 and this standard deviation.
    Normal(f64),
    /// Uniform in ±sqrt(6 / (fan_in + fan_out)) (Glorot & Bengio 2010).
    Glorot {
        fan_in: f64,
        fan_out: f64,
    },
    /// `gain` times a random matrix with orthonormal rows or columns (Saxe et al. 2014).
    Orthogonal {
        gain: f64,
    },
}

/// What a layer reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The token ids, one a step.
    Tokens,
    /// An earlier layer's result.
    Layer(usize),
}

/// One use of a layer, with concrete sizes.
#[derive(Clone, Debug)]
pub struct Layer {
    /// Unique, such as `lstm_1`: the layer's name and its count among the model's layers of that name.
    pub name: String,
    /// The call in the model block.
    pub span: Span,
    pub inputs: Vec<Source>,
    pub states: Vec<State>,
    pub body: Body,
    /// Width of the result.
    pub width: usize,
    /// Whether there is a result for every step, or (from a `final_step` on) one for the sequence.
    pub every_step: bool,
}

/// What a layer carries from one step to the next.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    pub name: String,
    pub width: usize,
    /// Every element's value at the start of a sequence.
    pub start: f64,
    pub span: Span,
}

/// Straight-line equations in evaluation order; an expression refers only to earlier ones.
#[derive(Clone, Debug, Default)]
pub struct Body {
    pub exprs: Vec<Expr>,
    /// The new value of each state, in the order of the layer's (or optimizer's) states.
    pub next: Vec<ExprId>,
    pub result: ExprId,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct ExprId(pub u32);

#[derive(Clone, Debug)]
pub struct Expr {
    pub op: ExprOp,
    /// `[]` a number, `[n]` a vector, `[rows, columns]` a parameter matrix. Optimizer bodies are element-wise: all `[]`.
    pub shape: Vec<usize>,
    /// Its name in the source, if it has one: for printing.
    pub name: Option<String>,
    pub span: Span,
}

#[derive(Clone, Debug, PartialEq)]
pub enum ExprOp {
    Const(f64),
    /// The layer's n-th flowing input (in an optimizer: 0 the parameter, 1 its gradient).
    Input(usize),
    /// Index into [`Model::params`].
    Param(usize),
    /// The current value of the n-th state.
    State(usize),
    /// Operands have equal shapes or are numbers (`[]`), which are broadcast.
    Map(Scalar, Vec<ExprId>),
    /// `x @ W`, or `x @ transpose(W)`: `[k] @ [k, n] -> [n]`.
    MatMul {
        x: ExprId,
        w: ExprId,
        transposed: bool,
    },
    /// Sum of all elements: `[n] -> []`.
    Sum(ExprId),
    /// The largest element: `[n] -> []`.
    Max(ExprId),
    /// `table[token]`: `[rows, n] -> [n]`; `token` is an `Input` that reads [`Source::Tokens`].
    Row {
        table: ExprId,
        token: ExprId,
    },
    /// A token's id as a vector of one number: `-> [1]`.
    Number(ExprId),
    /// Vectors end to end.
    Concat(Vec<ExprId>),
    /// Elements `start .. start + len` of a vector.
    Slice {
        x: ExprId,
        start: usize,
        len: usize,
    },
    /// Uniform numbers in [0, 1), drawn anew for every element, step and batch.
    Random,
    /// 1 while training, 0 otherwise: `[]`.
    Training,
    /// The same value, through which no gradient flows.
    Stop(ExprId),
    /// The last step's value of a vector. Only as a layer's result.
    FinalStep(ExprId),
    /// Optimizers only: the scheduled learning rate, the optimizer's argument `rate` times the schedule's factor: `[]`.
    Rate,
    /// Optimizers only: the number of the update, from 1: `[]`.
    Step,
}

/// The chosen optimizer with its arguments bound: element-wise equations over one parameter.
#[derive(Clone, Debug)]
pub struct Optimizer {
    pub name: String,
    pub states: Vec<State>,
    pub body: Body,
    /// The value of the argument `rate`.
    pub rate: f64,
}
