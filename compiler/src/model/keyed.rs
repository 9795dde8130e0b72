//! Reading keyed values: the entries of a `data` or `train` block, the arguments of a call. A key that is unknown or given
//! twice is an error, with a suggestion of what may be meant.

use crate::diag::{Diagnostic, Place, Span, count, meant, nearest, suggest};
use crate::syntax::ast::{Arg, Expr, Settings};

/// A settings block: its name and its keys.
pub(super) struct Block {
    name: &'static str,
    place: Place,
    pub keys: &'static [&'static str],
}

pub(super) static DATA: Block = Block {
    name: "data",
    place: Place::Data,
    keys: &["train", "valid", "test", "tokens", "unknown", "min_count", "vocabulary", "batches"],
};

pub(super) static TRAIN: Block = Block {
    name: "train",
    place: Place::Train,
    keys: &[
        "loss",
        "optimizer",
        "clip",
        "schedule",
        "init",
        "precision",
        "epochs",
        "iterations",
        "report_every",
        "report",
        "checkpoint",
        "keep",
        "patience",
        "accumulate",
        "shards",
        "weights",
    ],
};

/// The arguments of the train block's own words, in the order in which they may be given without a name; none of others, such as
/// optimizers.
pub fn train_arguments(word: &str) -> &'static [&'static str] {
    match word {
        "cross_entropy" | "warmup" => &["steps"],
        "norm" => &["limit"],
        "average" => &["after"],
        "decay" => &["factor", "after", "every"],
        "cosine" => &["to"],
        "plateau" => &["factor", "patience"],
        _ => &[],
    }
}

/// The values given for the keys of a block or a call.
pub(super) struct Keyed<'a> {
    /// What a message calls the block or call: `the data block`, `stream`.
    what: String,
    span: Span,
    /// The known keys.
    keys: &'a [&'a str],
    place: Place,
    given: Vec<Given<'a>>,
    /// Values of unknown keys, under the key that is probably meant, so that it is not reported as missing too.
    guessed: Vec<Given<'a>>,
}

struct Given<'a> {
    key: String,
    /// Where the key is written.
    span: Span,
    /// Only a block's entry can list several.
    values: Vec<&'a Expr>,
}

impl<'a> Keyed<'a> {
    /// The entries of a block.
    pub fn block(settings: &'a Settings, block: &'static Block, errors: &mut Vec<Diagnostic>) -> Self {
        let mut keyed = Keyed {
            what: format!("the {} block", block.name),
            span: settings.span,
            keys: block.keys,
            place: block.place,
            given: Vec::new(),
            guessed: Vec::new(),
        };
        for entry in &settings.entries {
            let values = entry.values.iter().collect();
            keyed.give(Given { key: entry.key.text.clone(), span: entry.key.span, values }, errors);
        }
        keyed.with_guesses()
    }

    /// As [`Keyed::call`] of one of the train block's own words.
    pub fn train_call(word: &str, span: Span, args: &'a [Arg], errors: &mut Vec<Diagnostic>) -> Self {
        Self::call(word, span, args, train_arguments(word), errors)
    }

    /// The arguments of a call; those without a name take the keys in order.
    pub fn call(
        what: &str,
        span: Span,
        args: &'a [Arg],
        keys: &'a [&'a str],
        errors: &mut Vec<Diagnostic>,
    ) -> Self {
        let mut keyed = Keyed {
            what: format!("`{what}`"),
            span,
            keys,
            place: Place::Argument,
            given: Vec::new(),
            guessed: Vec::new(),
        };
        for (i, arg) in args.iter().enumerate() {
            let (key, span) = match (&arg.name, keys.get(i)) {
                (Some(name), _) => (name.text.clone(), name.span),
                (None, Some(key)) => ((*key).to_owned(), arg.value.span),
                (None, None) => {
                    let message = format!("`{what}` takes {} here", count(keys.len(), "argument"));
                    errors.push(Diagnostic::error("E0210", arg.value.span, message).at("one too many"));
                    break;
                }
            };
            keyed.give(Given { key, span, values: vec![&arg.value] }, errors);
        }
        keyed.with_guesses()
    }

    fn with_guesses(mut self) -> Self {
        for guess in std::mem::take(&mut self.guessed) {
            if self.find(&guess.key).is_none() {
                self.given.push(guess);
            }
        }
        self
    }

    fn give(&mut self, given: Given<'a>, errors: &mut Vec<Diagnostic>) {
        let (unknown, twice, noun) = match self.place {
            Place::Argument => ("E0210", "E0210", "argument"),
            _ => ("E0402", "E0403", "key"),
        };
        let Given { key, span, .. } = &given;
        if !self.keys.contains(&key.as_str()) {
            let error = Diagnostic::error(unknown, *span, format!("{} has no {noun} `{key}`", self.what));
            let known = || self.keys.iter().copied();
            errors.push(match self.block_with(key) {
                Some(block) => error.help(format!("`{key}` belongs into the {block} block")),
                None => suggest(error, self.place, key, known(), "it has"),
            });
            if let Some(guess) = meant(self.place, key, self.keys).or_else(|| nearest(key, known())) {
                self.guessed.push(Given { key: guess.to_owned(), ..given });
            }
        } else if let Some(first) = self.find(key) {
            let message = format!("{} is given `{key}` twice", self.what);
            errors.push(Diagnostic::error(twice, *span, message).label(first.span, "first here"));
        } else {
            self.given.push(given);
        }
    }

    /// The other block, if this is one of its keys.
    fn block_with(&self, key: &str) -> Option<&'static str> {
        let other = match self.place {
            Place::Data => &TRAIN,
            Place::Train => &DATA,
            _ => return None,
        };
        other.keys.contains(&key).then_some(other.name)
    }

    fn find(&self, key: &str) -> Option<&Given<'a>> {
        self.given.iter().find(|given| given.key == key)
    }

    /// Where the key is written.
    pub fn key_span(&self, key: &str) -> Option<Span> {
        self.find(key).map(|given| given.span)
    }

    /// All values given for the key; empty if it is not there.
    pub fn list(&self, key: &str) -> &[&'a Expr] {
        self.find(key).map_or(&[], |given| &given.values)
    }

    /// The one value given for the key.
    pub fn get(&self, key: &str, errors: &mut Vec<Diagnostic>) -> Option<&'a Expr> {
        let values = self.list(key);
        if let Some(second) = values.get(1) {
            errors.push(Diagnostic::error("E0405", second.span, format!("`{key}` takes one value")));
        }
        values.first().copied()
    }

    /// As [`Self::get`]; an error if the key is missing.
    pub fn require(&self, key: &str, help: &str, errors: &mut Vec<Diagnostic>) -> Option<&'a Expr> {
        if self.find(key).is_none() {
            let error = Diagnostic::error("E0404", self.span, format!("{} has no `{key}`", self.what));
            errors.push(error.help(help));
        }
        self.get(key, errors)
    }
}
