//! `lstmc generate`: text from a trained model.

use std::io::{IsTerminal, Stdout, Write, stdin, stdout};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use lstmc_compiler::diag::visible;
use lstmc_compiler::graph::Purpose;
use lstmc_runtime::Error;
use lstmc_runtime::continuation::{self, Continuation};
use lstmc_runtime::engine::Engine;
use lstmc_runtime::generate::{Request, generate};
use lstmc_runtime::monitor::Monitor;
use lstmc_runtime::sample::Sampler;
use lstmc_runtime::text::{Encoded, Tokenizer, Vocabulary, encode_prompt};
use serde::Serialize;

use crate::args::Generate;
use crate::lines::{Cut, Lines, Source};
use crate::project::{self, Opened};
use crate::{show, terminal};

/// The prompt that stands for those of standard input.
const STANDARD: &str = "-";

/// What a text begins with, and its line in standard input.
struct Prompt {
    text: String,
    line: Option<usize>,
}

pub fn run(args: &Generate) -> Result<ExitCode> {
    let monitor = terminal::interruptible()?;
    // Before anything is read that takes long: there may be none.
    let mut prompts = Prompts::of(args)?;
    let mut next = prompts.next(&monitor)?;
    if next.is_empty() && args.prompt.is_none() && !monitor.stopped() {
        terminal::say(
            "error: there is no prompt: give one with --prompt, or one a line on standard input; see lstmc generate --help",
        );
        return Ok(ExitCode::from(2));
    }
    let opened = project::open_used(&args.used, None)?;
    let tokenizer = opened.tokenizer();
    let mut author = Author::new(args, &opened, &tokenizer, &monitor);
    let mut engine = None;
    while !next.is_empty() && !monitor.stopped() {
        for prompt in &next {
            let ids = prompt.placed(author.read(prompt))?;
            // Of many prompts a program is for what follows each.
            let tokens =
                if prompt.line.is_some() { args.length } else { ids.len().saturating_add(args.length) };
            let engine = match &mut engine {
                Some(engine) => engine,
                none => none.insert(opened.engine(
                    Purpose::Generate { tokens },
                    args.weights.into(),
                    args.on.device,
                    project::threads(args.on.threads),
                )?),
            };
            for index in 0..args.count {
                if !author.write(engine.as_mut(), prompt, &ids, index)? {
                    return Ok(ExitCode::SUCCESS);
                }
            }
        }
        next = prompts.next(&monitor)?;
    }
    if args.stats {
        // The reader of the words is not part of what is measured.
        let Author { tokens, elapsed, writing, .. } = author;
        terminal::say(&show::stats(tokens, elapsed.saturating_sub(writing).as_secs_f64()));
    }
    Ok(if monitor.stopped() { ExitCode::from(terminal::INTERRUPTED) } else { ExitCode::SUCCESS })
}

impl Prompt {
    /// Where it is among others.
    fn place(&self) -> Option<String> {
        self.line.map(|line| format!("standard input, line {line}"))
    }

    /// An error about it says where it is.
    fn placed<T, E>(&self, result: std::result::Result<T, E>) -> Result<T>
    where
        std::result::Result<T, E>: Context<T, E>,
        E: Into<anyhow::Error>,
    {
        match self.place() {
            Some(place) => result.context(place),
            None => result.map_err(Into::into),
        }
    }
}

enum Prompts {
    Given(Option<String>),
    Standard(Lines),
}

impl Prompts {
    /// That of the command line, or else those of standard input; none if that is a terminal and nobody said so.
    ///
    /// # Errors
    /// As [`Lines::of`].
    fn of(args: &Generate) -> Result<Self> {
        let prompt = args.prompt.as_deref();
        if prompt == Some(STANDARD) || prompt.is_none() && !stdin().is_terminal() {
            return Ok(Self::Standard(Lines::of(vec![Source::Standard], Cut::Lines)?));
        }
        Ok(Self::Given(prompt.map(str::to_owned)))
    }

    /// Those that are there; none at the end.
    fn next(&mut self, monitor: &Monitor) -> Result<Vec<Prompt>> {
        Ok(match self {
            Self::Given(prompt) => {
                prompt.take().into_iter().map(|text| Prompt { text, line: None }).collect()
            }
            Self::Standard(lines) => {
                let lines = lines.next(monitor)?.unwrap_or_default();
                lines.into_iter().map(|line| Prompt { text: line.text, line: Some(line.number) }).collect()
            }
        })
    }
}

/// What `--json` writes of a continuation.
#[derive(Serialize)]
struct Row<'a> {
    /// Of standard input, counted from 1.
    line: Option<usize>,
    prompt: &'a str,
    index: u64,
    seed: Option<u64>,
    /// What follows the prompt.
    text: &'a str,
    tokens: usize,
    stopped: bool,
}

/// Writes texts.
struct Author<'a> {
    args: &'a Generate,
    tokenizer: &'a Tokenizer,
    vocabulary: &'a Vocabulary,
    monitor: &'a Monitor,
    out: Stdout,
    /// A file gets the text as it is; a terminal shows what it would otherwise obey.
    on_terminal: bool,
    texts: u64,
    tokens: usize,
    /// How long generation took, and what of it went by with writing.
    elapsed: Duration,
    writing: Duration,
}

impl<'a> Author<'a> {
    fn new(args: &'a Generate, opened: &'a Opened, tokenizer: &'a Tokenizer, monitor: &'a Monitor) -> Self {
        let vocabulary = &opened.vocabulary;
        let out = stdout();
        let on_terminal = out.is_terminal();
        let (elapsed, writing) = (Duration::ZERO, Duration::ZERO);
        Self { args, tokenizer, vocabulary, monitor, out, on_terminal, texts: 0, tokens: 0, elapsed, writing }
    }

    /// The tokens of a prompt. Says which words of it the model does not know.
    fn read(&self, prompt: &Prompt) -> Result<Vec<u32>> {
        let vocabulary = self.vocabulary;
        let Encoded { ids, unknown, .. } = encode_prompt(self.tokenizer, vocabulary, &prompt.text)?;
        if let (Some(unknown), Some(id)) = (unknown, vocabulary.unknown()) {
            let place = prompt.place().map(|place| format!("{place}: ")).unwrap_or_default();
            let (words, read_as) = (unknown.with_suggestions(vocabulary), vocabulary.show(id));
            terminal::say(&format!(
                "note: {place}this model does not know {words}, and reads {read_as} in place of them"
            ));
        }
        Ok(ids)
    }

    fn sampler(&self, index: u64) -> Sampler {
        if self.args.greedy {
            return Sampler::greedy();
        }
        let top_k = self.args.top_k.map(|k| k as usize);
        let seed = continuation::seed(self.args.seed, index);
        Sampler { temperature: self.args.temperature, top_k, top_p: self.args.top_p, seed }
    }

    /// Writes one continuation. Says whether the output is still read.
    fn write(&mut self, engine: &mut dyn Engine, prompt: &Prompt, ids: &[u32], index: u64) -> Result<bool> {
        let vocabulary = self.vocabulary;
        let mut text = Continuation::new(self.tokenizer, vocabulary, &self.args.stop, ids);
        let sampler = self.sampler(index);
        let begin = continuation::prompt(self.tokenizer, vocabulary, ids);
        // An empty line is between two texts.
        let between = if self.texts > 0 { "\n" } else { "" };
        self.texts += 1;
        if !self.args.json
            && let Err(error) = write!(self.out, "{between}{}", self.shown(begin))
        {
            return terminal::unwritable(error).map(|()| false);
        }
        let (mut whole, mut write_failed) = (String::new(), None);
        let request =
            Request { prompt: ids, length: self.args.length, sampler, reserve: vocabulary.reserved() };
        let (begun, monitor) = (Instant::now(), self.monitor);
        let result = generate(engine, request, monitor, &mut |id| {
            let more = text.next(id);
            write_failed = self.add(more, &mut whole).err();
            match write_failed {
                Some(_) => Err(Error::BadArgument("the output was closed".into())),
                None => Ok(!text.stopped()),
            }
        });
        self.elapsed += begun.elapsed();
        if let Some(error) = write_failed {
            return terminal::unwritable(error).map(|()| false);
        }
        let tokens = prompt.placed(result)?;
        self.tokens += tokens;
        let stopped = text.stopped();
        if let Err(error) = self.add(text.rest(), &mut whole) {
            return terminal::unwritable(error).map(|()| false);
        }
        if !self.args.json {
            return terminal::print_unless_closed("\n");
        }
        let seed = (!self.args.greedy).then_some(sampler.seed);
        let line = prompt.line;
        let row = Row { line, prompt: &prompt.text, index, seed, text: &whole, tokens, stopped };
        terminal::print_unless_closed(&show::json_line(&row)?)
    }

    /// Adds to a text. Each word is seen as soon as it is there, but in JSON.
    fn add(&mut self, text: String, whole: &mut String) -> std::io::Result<()> {
        if self.args.json {
            *whole += &text;
            return Ok(());
        }
        let begun = Instant::now();
        let shown = self.shown(text);
        let written = write!(self.out, "{shown}").and_then(|()| self.out.flush());
        self.writing += begun.elapsed();
        written
    }

    fn shown(&self, text: String) -> String {
        if self.on_terminal { visible(&text).into_owned() } else { text }
    }
}
