//! `lstmc generate`: text from a trained model.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;
use lstmc_compiler::diag::visible;
use lstmc_compiler::graph::Purpose;
use lstmc_runtime::Error;
use lstmc_runtime::generate::{Request, generate};
use lstmc_runtime::sample::Sampler;
use lstmc_runtime::text::{Encoded, encode_prompt};

use crate::args::Generate;
use crate::project::{self, Opened};
use crate::{show, terminal};

pub fn run(args: &Generate) -> Result<ExitCode> {
    let opened = Opened::read(&args.run, &args.checkpoint, None, project::accept(args.accept_unverified))?;
    let (tokenizer, vocabulary) = (opened.project.tokenizer(), &opened.vocabulary);
    let Encoded { ids: prompt, unknown } = encode_prompt(&tokenizer, vocabulary, &args.prompt)?;
    if let (Some(unknown), Some(id)) = (unknown, vocabulary.unknown()) {
        let (words, read_as) = (unknown.with_suggestions(vocabulary), vocabulary.show(id));
        terminal::say(&format!(
            "note: this model does not know {words}, and reads {read_as} in place of them"
        ));
    }
    let sampler = if args.greedy {
        Sampler::greedy()
    } else {
        let top_k = args.top_k.map(|k| k as usize);
        Sampler { temperature: args.temperature, top_k, top_p: args.top_p, seed: args.seed }
    };
    let purpose = Purpose::Generate { tokens: prompt.len().saturating_add(args.length) };
    let threads = project::threads(args.threads);
    let mut engine = opened.engine(purpose, args.weights.into(), args.device, threads)?;
    let monitor = terminal::interruptible()?;
    let words: Vec<String> = prompt.iter().map(|&id| vocabulary.show(id)).collect();
    let mut out = std::io::stdout();
    // A file gets the text as it is; a terminal shows what it would otherwise obey.
    let on_terminal = out.is_terminal();
    let shown = |text: String| if on_terminal { visible(&text).into_owned() } else { text };
    let mut writer = tokenizer.writer();
    let begin = words.iter().map(|word| writer.next(word)).collect::<String>();
    if let Err(error) = write!(out, "{}", shown(begin)) {
        return terminal::unwritable(error).map(|()| ExitCode::SUCCESS);
    }
    let mut write_failed = None;
    let mut writing = Duration::ZERO;
    let mut write = |id| {
        let text = writer.next(&vocabulary.show(id));
        let begun = Instant::now();
        // Each word is seen as soon as it is there.
        let written = write!(out, "{}", shown(text)).and_then(|()| out.flush());
        writing += begun.elapsed();
        if let Err(error) = written {
            write_failed = Some(error);
            return Err(Error::BadArgument("the output was closed".into()));
        }
        Ok(true)
    };
    let request = Request { prompt: &prompt, length: args.length, sampler, reserve: vocabulary.reserved() };
    let begun = Instant::now();
    let result = generate(engine.as_mut(), request, &monitor, &mut write);
    let elapsed = begun.elapsed();
    if let Some(error) = write_failed {
        return terminal::unwritable(error).map(|()| ExitCode::SUCCESS);
    }
    let tokens = result?;
    terminal::print("\n")?;
    if args.stats {
        // The reader of the words is not part of what is measured.
        terminal::say(&show::stats(tokens, elapsed.saturating_sub(writing).as_secs_f64()));
    }
    Ok(if monitor.stopped() { ExitCode::from(terminal::INTERRUPTED) } else { ExitCode::SUCCESS })
}
