//! `lstmc score`: how likely lines of text are.

use std::process::ExitCode;

use anyhow::Result;
use lstmc_compiler::graph::Purpose;
use lstmc_compiler::kernel::Format;
use lstmc_runtime::score::{self, Score};
use lstmc_runtime::text::{Encoded, Tokenizer, Vocabulary};
use serde::Serialize;

use crate::args;
use crate::lines::{Cut, Line, Lines, Source};
use crate::show::Likely;
use crate::{project, show, terminal};

/// The columns of a line that are shown, and those of a token.
const TEXT: usize = 43;
const WORD: usize = 16;

/// Bytes that are written at once.
const WRITTEN: usize = 64 << 10;

pub fn run(args: &args::Score) -> Result<ExitCode> {
    let mut opened = project::open_used(&args.used, None)?;
    let sources = Source::of(&args.files);
    let texts = if args.whole { sources.len() } else { usize::MAX };
    let batches = score::batches(&opened.model.data.batches, opened.vocabulary.len(), texts);
    opened.model.data.batches = batches.clone();
    let threads = project::threads(args.on.threads);
    let mut engine = opened.engine(Purpose::Evaluate, Format::F32, args.on.device, threads)?;
    let monitor = terminal::interruptible()?;
    let tokenizer = opened.tokenizer();
    let reader = Reader { tokenizer: &tokenizer, vocabulary: &opened.vocabulary, whole: args.whole };
    let mut out = Output { args, reader: &reader, text: String::new(), totals: Totals::default() };
    let mut lines = Lines::of(sources, if args.whole { Cut::Whole } else { Cut::Lines })?;
    let ended = loop {
        let taken = match lines.next(&monitor) {
            Ok(Some(taken)) => taken,
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        };
        // The lines before one that the model cannot read are scored.
        let (encoded, failed) = reader.encode(&taken);
        let ids: Vec<&[u32]> = encoded.iter().map(|encoded| encoded.ids.as_slice()).collect();
        let top = args.top_k.unwrap_or(0) as usize;
        let Some(scores) = score::score(engine.as_mut(), &batches, &ids, top, &monitor)? else {
            break Ok(());
        };
        for ((line, encoded), score) in taken.iter().zip(&encoded).zip(&scores) {
            if !out.write(line, encoded, score)? {
                return Ok(ExitCode::SUCCESS);
            }
        }
        if !out.flush()? {
            return Ok(ExitCode::SUCCESS);
        }
        if let Some(error) = failed {
            break Err(error.into());
        }
    };
    out.finish(&opened.vocabulary);
    ended?;
    Ok(if monitor.stopped() { ExitCode::from(terminal::INTERRUPTED) } else { ExitCode::SUCCESS })
}

/// What lines are to the model.
struct Reader<'a> {
    tokenizer: &'a Tokenizer,
    vocabulary: &'a Vocabulary,
    whole: bool,
}

impl Reader<'_> {
    /// The lines' ids, up to the first line that has none, with its error.
    fn encode(&self, lines: &[Line]) -> (Vec<Encoded>, Option<lstmc_runtime::Error>) {
        let mut found = Vec::with_capacity(lines.len());
        for line in lines {
            let place = line.source.to_string();
            let encoded = match self.whole {
                true => score::whole(self.tokenizer, self.vocabulary, &line.text, &place),
                false => score::line(self.tokenizer, self.vocabulary, &line.text, (&place, line.number)),
            };
            match encoded {
                Ok(encoded) => found.push(encoded),
                Err(error) => return (found, Some(error)),
            }
        }
        (found, None)
    }
}

#[derive(Default)]
struct Totals {
    lines: u64,
    tokens: u64,
    unknown: u64,
    log_probability: f64,
}

/// What is written of each line.
struct Output<'a> {
    args: &'a args::Score,
    reader: &'a Reader<'a>,
    /// What is not yet written.
    text: String,
    totals: Totals,
}

impl Output<'_> {
    /// Adds a line. Says whether the output is still read.
    fn write(&mut self, line: &Line, encoded: &Encoded, score: &Score) -> Result<bool> {
        let unknown = encoded.unknown.as_ref().map_or(0, |unknown| unknown.total() as u64);
        if self.args.json {
            self.text += &show::json_line(&self.row(line, encoded, score, unknown))?;
        } else {
            if self.totals.lines == 0 {
                self.text +=
                    &format!("{:>15}  {:>10}  {:>6}  text\n", "log-probability", "perplexity", "tokens");
            }
            self.text += &self.line(line, encoded, score);
        }
        self.totals.lines += 1;
        self.totals.tokens += score.places.len() as u64;
        self.totals.unknown += unknown;
        self.totals.log_probability += score.log_probability();
        if self.text.len() < WRITTEN { Ok(true) } else { self.flush() }
    }

    fn flush(&mut self) -> Result<bool> {
        terminal::print_unless_closed(&std::mem::take(&mut self.text))
    }

    fn shows_tokens(&self) -> bool {
        self.args.tokens || self.args.top_k.is_some()
    }

    fn token(&self, id: u32) -> String {
        show::head(&show::token(&self.reader.vocabulary.show(id)), WORD)
    }

    /// A line for people, and below it those of its tokens.
    fn line(&self, line: &Line, encoded: &Encoded, score: &Score) -> String {
        let perplexity = score.perplexity().map_or_else(|| "-".into(), show::perplexity);
        let text = match (self.args.whole, line.file()) {
            (true, Some(path)) => show::path(path),
            (true, None) => line.source.to_string(),
            (false, _) => show::head(&show::word(&line.text), TEXT),
        };
        let (sum, tokens) = (score.log_probability(), show::count(score.places.len() as u64));
        let sum = if score.places.is_empty() { "-".into() } else { format!("{sum:.3}") };
        let head = format!("{sum:>15}  {perplexity:>10}  {tokens:>6}  {text}");
        let mut out = head.trim_end().to_owned() + "\n";
        if !self.shows_tokens() {
            return out;
        }
        let words: Vec<String> = score.places.iter().map(|place| self.token(encoded.ids[place.at])).collect();
        let width = words.iter().map(|word| word.chars().count()).max().unwrap_or(0);
        for (word, place) in words.iter().zip(&score.places) {
            let likely = place.top.iter().map(|&(id, p)| format!("   {} {:.1} %", self.token(id), 100.0 * p));
            let probability = 100.0 * place.log_probability.exp();
            let padding = " ".repeat(width - word.chars().count());
            out += &format!("    {word}{padding}  {probability:>5.1} %{}\n", likely.collect::<String>());
        }
        out
    }

    /// A line for programs.
    fn row<'r>(&self, line: &'r Line, encoded: &Encoded, score: &Score, unknown: u64) -> Row<'r> {
        let show = |id| self.reader.vocabulary.show(id);
        let place = |place: &score::Place| PlaceRow {
            token: show(encoded.ids[place.at]),
            log_probability: place.log_probability as f32,
            probability: place.log_probability.exp() as f32,
            top: self.args.top_k.map(|_| Likely::of(&place.top, self.reader.vocabulary)),
        };
        Row {
            file: line.file().map(|path| path.display().to_string()),
            line: (!self.args.whole).then_some(line.number),
            text: (!self.args.whole).then_some(line.text.as_str()),
            tokens: score.places.len(),
            unknown,
            log_probability: score.log_probability(),
            perplexity: score.perplexity(),
            places: self.shows_tokens().then(|| score.places.iter().map(place).collect()),
        }
    }

    /// Says what all lines have together.
    fn finish(&self, vocabulary: &Vocabulary) {
        let Totals { lines, tokens, unknown, log_probability } = self.totals;
        let texts = show::many(lines, if self.args.whole { "text" } else { "line" });
        let perplexity =
            score::perplexity(log_probability, tokens).map_or_else(|| "-".into(), show::perplexity);
        let mut said = format!("{texts}, {}, perplexity {perplexity}", show::many(tokens, "token"));
        if let (1.., Some(id)) = (unknown, vocabulary.unknown()) {
            let (count, word) = (show::many(unknown, self.reader.tokenizer.unit()), vocabulary.show(id));
            said += &format!("; {count} that the vocabulary does not have, read as {word}");
        }
        terminal::say(&said);
    }
}

/// What `--json` writes of a line. Numbers that are not finite are `null`.
#[derive(Serialize)]
struct Row<'a> {
    file: Option<String>,
    line: Option<usize>,
    text: Option<&'a str>,
    tokens: usize,
    unknown: u64,
    log_probability: f64,
    perplexity: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    places: Option<Vec<PlaceRow>>,
}

#[derive(Serialize)]
struct PlaceRow {
    token: String,
    log_probability: f32,
    probability: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    top: Option<Vec<Likely>>,
}
