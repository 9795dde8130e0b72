//! `lstmc generate`: text from a trained model.

use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;
use lstmc_compiler::graph::Purpose;
use lstmc_runtime::Error;
use lstmc_runtime::generate::{Request, generate};
use lstmc_runtime::sample::Sampler;
use lstmc_runtime::text::encode;

use crate::args::Generate;
use crate::project::{self, Opened};
use crate::{show, terminal};

pub fn run(args: &Generate) -> Result<ExitCode> {
    let opened = Opened::read(&args.run, None)?;
    let (tokenizer, vocabulary) = (opened.project.tokenizer(), &opened.vocabulary);
    let prompt = encode(&tokenizer, vocabulary, &args.prompt, "the prompt")?;
    let sampler = if args.greedy {
        Sampler::greedy()
    } else {
        let top_k = args.top_k.map(|k| k as usize);
        Sampler { temperature: args.temperature, top_k, top_p: args.top_p, seed: args.seed }
    };
    let purpose = Purpose::Generate { tokens: prompt.len().saturating_add(args.length) };
    let mut session = opened.session(purpose, args.weights.into(), project::threads(args.threads))?;
    let monitor = terminal::interruptible()?;
    let words: Vec<String> = prompt.iter().map(|&id| vocabulary.show(id)).collect();
    let mut out = std::io::stdout();
    let mut writer = tokenizer.writer();
    write!(out, "{}", words.iter().map(|word| writer.next(word)).collect::<String>())?;
    let mut write_failed = None;
    let mut writing = Duration::ZERO;
    let mut write = |id| {
        let text = writer.next(&vocabulary.show(id));
        let begun = Instant::now();
        // Each word is seen as soon as it is there.
        let written = write!(out, "{text}").and_then(|()| out.flush());
        writing += begun.elapsed();
        if let Err(error) = written {
            write_failed = Some(error);
            return Err(Error::BadArgument("the output was closed".into()));
        }
        Ok(())
    };
    let request = Request { prompt: &prompt, length: args.length, sampler, reserve: vocabulary.reserved() };
    let begun = Instant::now();
    let result = generate(&mut session, request, &monitor, &mut write);
    let elapsed = begun.elapsed();
    if let Some(error) = write_failed {
        return Err(error.into());
    }
    let tokens = result?;
    writeln!(std::io::stdout())?;
    if args.stats {
        // Whoever reads the words is not what is measured.
        let line = show::stats(tokens, elapsed.saturating_sub(writing).as_secs_f64());
        writeln!(std::io::stderr(), "{line}")?;
    }
    Ok(if monitor.stopped() { ExitCode::from(terminal::INTERRUPTED) } else { ExitCode::SUCCESS })
}
