//! A model file for a text that somebody has: what is chosen by the text, and how that is written down.

use std::collections::HashMap;

use lstmc_compiler::model::{TokenKind, Tokens};
use lstmc_runtime::text::Tokenizer;

use crate::args::Like;
use crate::show;

/// Fewer words than this show few of them often enough to be learned; characters are.
const ENOUGH_WORDS: usize = 50_000;
/// The most words that a vocabulary is given.
const VOCABULARY: usize = 10_000;
/// How much of the text validates, in percent.
const HELD_OUT: usize = 10;
/// Updates in an epoch that rows are chosen for, and in a training that epochs are.
const PER_EPOCH: usize = 100;
const UPDATES: usize = 3000;

/// Epochs without a better validation after which a training ends.
const PATIENCE: usize = 5;

/// What a text is like.
#[derive(Clone, Debug, PartialEq)]
pub struct Survey {
    pub characters: usize,
    pub distinct_characters: usize,
    /// Words, and punctuation.
    pub words: usize,
    pub distinct_words: usize,
    /// How many distinct words are there at least twice.
    pub repeated_words: usize,
    /// Whether most of it is of scripts that have no spaces between words.
    spaceless: bool,
}

impl Survey {
    pub fn of(text: &str) -> Self {
        let counts = |kind| {
            let tokenizer = Tokenizer::new(&Tokens { kind, newline: None, reserve: 0 });
            let mut counts: HashMap<String, usize> = HashMap::new();
            for token in tokenizer.tokens(text) {
                *counts.entry(token.text.to_owned()).or_default() += 1;
            }
            counts
        };
        let (characters, words) = (counts(TokenKind::Characters), counts(TokenKind::WordsAndPunctuation));
        let total: usize = characters.values().sum();
        let without_spaces = characters.iter().filter(|(c, _)| c.chars().all(has_no_spaces));
        let spaceless = 2 * without_spaces.map(|(_, count)| count).sum::<usize>() > total;
        Self {
            characters: total,
            distinct_characters: characters.len(),
            words: words.values().sum(),
            distinct_words: words.len(),
            repeated_words: words.values().filter(|&&count| count > 1).count(),
            spaceless,
        }
    }
}

/// Chinese, Japanese, Thai, Lao, Khmer and Burmese have no spaces between words.
fn has_no_spaces(c: char) -> bool {
    matches!(c, '\u{e00}'..='\u{eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}' | '\u{2e80}'..='\u{9fff}'
        | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
}

/// A model file that is to be written.
#[derive(Clone, Debug)]
pub struct Draft {
    like: Like,
    /// Why it is of characters or words.
    pub why: &'static str,
    /// The text's files, as the model names them.
    files: Vec<String>,
    about: String,
    rows: usize,
    steps: usize,
    width: usize,
    units: usize,
    layers: usize,
    dropout: f64,
    epochs: usize,
    /// Where the vocabulary is cut off.
    vocabulary: Option<usize>,
}

impl Draft {
    /// What suits a text, or is `asked` for.
    pub fn new(asked: Option<Like>, survey: &Survey, files: Vec<String>) -> Self {
        let (like, why) = match asked {
            Some(like) => (like, "as --like says"),
            None if survey.spaceless => (Like::Char, "the text's script has no spaces between words"),
            None if survey.words < ENOUGH_WORDS => (Like::Char, "the text is too short to learn words from"),
            None => (Like::Word, "the text is long enough to learn words from"),
        };
        let count = if like == Like::Char { survey.characters } else { survey.words };
        let train = count - count * HELD_OUT / 100;
        let (width, units, layers, dropout) = match (like, train) {
            (Like::Char, ..20_000) => (16, 64, 1, 0.2),
            (Like::Char, ..200_000) => (32, 128, 1, 0.2),
            (Like::Char, ..2_000_000) => (64, 256, 1, 0.2),
            (Like::Char, _) => (64, 512, 2, 0.2),
            (Like::Word, ..20_000) => (32, 64, 1, 0.5),
            (Like::Word, ..200_000) => (64, 128, 1, 0.5),
            (Like::Word, ..2_000_000) => (200, 200, 2, 0.3),
            (Like::Word, _) => (256, 512, 2, 0.3),
            (Like::Ptb, _) => (200, 200, 2, 0.0),
        };
        let longest = match like {
            Like::Char => 64,
            Like::Word => 32,
            Like::Ptb => 20,
        };
        let steps = (train / 8).clamp(1, longest);
        let most = if like == Like::Ptb { 20 } else { 32 };
        let rows = (train / (steps * PER_EPOCH)).clamp(1, most);
        let per_epoch = (train / (rows * steps)).max(1);
        let epochs = if like == Like::Ptb { 13 } else { (UPDATES / per_epoch).clamp(10, 200) };
        let known = if like == Like::Char { survey.distinct_characters } else { survey.repeated_words };
        let vocabulary = (known > VOCABULARY).then_some(VOCABULARY);
        Self {
            like,
            why,
            files,
            about: about(survey),
            rows,
            steps,
            width,
            units,
            layers,
            dropout,
            epochs,
            vocabulary,
        }
    }

    /// What a token is.
    pub fn tokens(&self) -> &'static str {
        match self.like {
            Like::Char => "characters",
            Like::Word => "words and punctuation",
            Like::Ptb => "words",
        }
    }

    /// `an LSTM of 128`, `two LSTMs of 200`.
    pub fn layers(&self) -> String {
        match self.layers {
            1 => format!("an LSTM of {}", self.units),
            layers => format!("{layers} LSTMs of {}", self.units),
        }
    }

    /// `45 epochs in batches of 32 rows of 64 steps`.
    pub fn training(&self) -> String {
        let (rows, steps) = (show::many(self.rows as u64, "row"), show::many(self.steps as u64, "step"));
        format!("{} epochs in batches of {rows} of {steps}", self.epochs)
    }

    /// The model file.
    pub fn text(&self) -> String {
        format!(
            "// A language model of {}, written by `lstmc init`: change whatever you like.\n// {}\n\n{}\n{}\n{}",
            self.tokens(),
            self.about,
            self.data_block(),
            self.model_block(),
            self.train_block()
        )
    }

    fn data_block(&self) -> String {
        let files: Vec<String> = self.files.iter().map(|file| format!("\"{file}\"")).collect();
        let (tokens, unknown) = match self.like {
            Like::Char => ("characters", "\u{fffd}"),
            Like::Word => ("words_and_punctuation(newline: \"<eos>\")", "<unk>"),
            Like::Ptb => ("words(newline: \"<eos>\")", "<unk>"),
        };
        let mut lines = vec![
            (
                format!("valid: last({HELD_OUT}%)"),
                "is not trained on: it shows how well the model does on new text",
            ),
            (format!("tokens: {tokens}"), ""),
            (format!("unknown: \"{unknown}\""), "what one counts as that is not in the vocabulary"),
            ("min_count: 2".to_owned(), "what the text has only once is left out of it"),
        ];
        if let Some(most) = self.vocabulary {
            lines.push((format!("vocabulary: {most}"), "and all but the most frequent"));
        }
        let batches = format!("batches: stream(rows: {}, steps: {})", self.rows, self.steps);
        lines.push((batches, "so many parts of the text side by side, so many tokens at a time"));
        format!("data {{\n    train: {}\n{}}}\n", files.join(",\n           "), commented(&lines))
    }

    fn model_block(&self) -> String {
        let dropout = match self.dropout {
            0.0 => String::new(),
            rate => format!("           -> dropout({rate})\n"),
        };
        let layer = format!("           -> lstm({})\n{dropout}", self.units).repeat(self.layers);
        // A character is a few numbers, none of which can be spared.
        let first = if self.like == Like::Char { "" } else { dropout.as_str() };
        format!(
            "model {{\n    tokens -> embedding({})\n{first}{layer}           -> dense(vocab)\n           -> softmax\n}}\n",
            self.width
        )
    }

    /// Optimizer, clipping and schedule, and how long.
    fn train_block(&self) -> String {
        let epochs = self.epochs;
        if self.like == Like::Ptb {
            return format!(
                "// As Zaremba, Sutskever & Vinyals 2014 trained their small model of the Penn Treebank.\ntrain {{\n    \
                 loss: cross_entropy(steps: sum)\n    optimizer: sgd(rate: 1)\n    clip: norm(5)\n    schedule: decay(0.5, \
                 after: 4)\n    init: uniform(0.1)\n    epochs: {epochs}\n    report: perplexity\n}}\n"
            );
        }
        let after = epochs / 2;
        // From half of the training on the rate falls to a twentieth.
        let factor = (20f64.powf(-1.0 / (epochs - after) as f64) * 1000.0).round() / 1000.0;
        let lines = [
            ("loss: cross_entropy".to_owned(), ""),
            ("optimizer: adam(rate: 0.003)".to_owned(), ""),
            ("clip: norm(5)".to_owned(), "longer gradients are scaled down to this length"),
            (
                format!("schedule: decay({factor}, after: {after})"),
                "the rate falls from the middle of the training on",
            ),
            (format!("epochs: {epochs}"), "how often the text is read, at most"),
            (
                format!("patience: {PATIENCE}"),
                "it ends after so many epochs that were no better on the held-out text",
            ),
            ("checkpoint: best".to_owned(), "the model that was best there stays"),
            ("report: perplexity, accuracy".to_owned(), ""),
        ];
        format!("train {{\n{}}}\n", commented(&lines))
    }
}

/// Settings, each in its line, with what is said of some of them behind.
fn commented(lines: &[(String, &str)]) -> String {
    let width =
        lines.iter().filter(|(_, said)| !said.is_empty()).map(|(line, _)| line.len()).max().unwrap_or(0);
    let line = |(line, said): &(String, &str)| match *said {
        "" => format!("    {line}\n"),
        said => format!("    {line:<width$}    // {said}\n"),
    };
    lines.iter().map(line).collect()
}

/// What a text is, in a line.
pub fn about(survey: &Survey) -> String {
    let count = |number: usize| show::count(number as u64);
    format!(
        "{} characters, {} of them distinct; {} words and signs, {} of them distinct.",
        count(survey.characters),
        count(survey.distinct_characters),
        count(survey.words),
        count(survey.distinct_words)
    )
}

#[cfg(test)]
mod tests {
    use lstmc_compiler::diag::SourceMap;
    use lstmc_compiler::syntax;
    use lstmc_runtime::batches::Batcher;

    use super::*;
    use crate::compile::Source;

    /// A text of so many words, of which each is there a few times.
    fn words(count: usize) -> String {
        (0..count).map(|n| format!("word{} ", n % (count / 4 + 1))).collect()
    }

    /// Whether the model of a text is one, and the training part has a batch for it.
    fn fits(text: &str, like: Option<Like>) -> Draft {
        let survey = Survey::of(text);
        let draft = Draft::new(like, &survey, vec!["a.txt".into(), "b.txt".into()]);
        let file = draft.text();
        let source = Source::parse("draft.lstm".as_ref(), &file, false)
            .unwrap_or_else(|error| panic!("{file}\n{error}"));
        let model = source.model(100).unwrap_or_else(|error| panic!("{file}\n{error}"));
        let count = if draft.like == Like::Char { survey.characters } else { survey.words };
        Batcher::new(&model.data.batches, count * 8 / 10, 0)
            .unwrap_or_else(|error| panic!("{count}: {error}"));
        let mut map = SourceMap::default();
        let id = map.add("draft.lstm", &file);
        assert_eq!(syntax::format(&map, id).ok(), Some(file), "it is in the layout of `lstmc fmt`");
        draft
    }

    #[test]
    fn every_length_has_a_model_that_fits() {
        for count in [8, 40, 300, 2_000, 30_000, 300_000] {
            for like in [None, Some(Like::Char), Some(Like::Word), Some(Like::Ptb)] {
                fits(&words(count), like);
            }
        }
    }

    #[test]
    fn characters_or_words_are_chosen_by_the_text() {
        assert_eq!(fits(&words(2_000), None).like, Like::Char, "it is short");
        assert_eq!(fits(&words(60_000), None).like, Like::Word);
        assert_eq!(fits(&"猫が鼠を、見た。".repeat(20_000), None).like, Like::Char, "it has no spaces");
        assert!(fits(&words(60_000), None).text().contains("vocabulary: 10000"));
        assert!(!fits(&words(30_000), Some(Like::Word)).text().contains("vocabulary:"));
    }
}
