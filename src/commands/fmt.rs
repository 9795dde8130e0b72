//! `lstmc fmt`: model files in the layout of the language's own examples.

use std::fs;
use std::io::{Read, stdin};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use lstmc_compiler::diag::SourceMap;
use lstmc_compiler::syntax::{Unformatted, format};
use lstmc_runtime::text::{read_model, write_model};
use similar::TextDiff;

use crate::args::Fmt;
use crate::compile::{Refused, refused};
use crate::{find, show, terminal};

pub fn run(args: &Fmt) -> Result<ExitCode> {
    if args.files.iter().any(|path| path == Path::new("-")) {
        return piped(args);
    }
    let (mut failed, mut changed) = (false, false);
    for path in files(&args.files)? {
        match one(&path, args.check) {
            Ok(None) => {}
            Ok(Some(lines)) => {
                changed = true;
                terminal::print(&lines)?;
            }
            // The others are formatted all the same.
            Err(error) => {
                failed = true;
                match error.downcast_ref::<Refused>() {
                    Some(refused) => terminal::say_rendered(refused),
                    None => terminal::say(&format!("error: {error:#}")),
                }
            }
        }
    }
    let fault = failed || changed && args.check;
    Ok(if fault { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Standard input, formatted.
fn piped(args: &Fmt) -> Result<ExitCode> {
    let [_] = &args.files[..] else { bail!("- is standard input, and stands alone") };
    let mut text = String::new();
    stdin().read_to_string(&mut text).context("cannot read standard input as UTF-8")?;
    let formatted = layout("standard input".as_ref(), &text)?;
    if !args.check {
        terminal::print(&formatted)?;
        return Ok(ExitCode::SUCCESS);
    }
    if formatted == text {
        return Ok(ExitCode::SUCCESS);
    }
    terminal::print(&difference("standard input", &text, &formatted))?;
    Ok(ExitCode::FAILURE)
}

/// The model files that are named, those in folders that are, or those that are here.
fn files(named: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let here = [PathBuf::from(".")];
    let mut all = vec![];
    for path in if named.is_empty() { &here } else { named } {
        if !path.is_dir() {
            all.push(path.clone());
            continue;
        }
        let inside = find::models_in(path);
        if inside.is_empty() {
            bail!("{} has no files that end in .lstm", show::path(path));
        }
        all.extend(inside);
    }
    Ok(all)
}

/// Formats a file, or only shows how; says what was done, if anything was.
fn one(path: &Path, check: bool) -> Result<Option<String>> {
    let text = read_model(path, "the model file").map_err(find::model)?;
    let formatted = layout(path, &text)?;
    if formatted == text {
        return Ok(None);
    }
    if check {
        return Ok(Some(difference(&show::path(path), &text, &formatted)));
    }
    // What a link leads to is replaced, and not the link.
    let place = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    write_model(&place, &formatted, true)?;
    Ok(Some(format!("formatted   {}\n", show::path(path))))
}

fn layout(path: &Path, text: &str) -> Result<String> {
    let mut map = SourceMap::default();
    let id = map.add(path.display().to_string(), text);
    format(&map, id).map_err(|error| match error {
        Unformatted::Wrong(errors) => refused(&map, &errors, terminal::colour()),
        Unformatted::Changed => anyhow::anyhow!(
            "internal error: the layout of {} would be that of another source; the file is left as it is",
            show::path(path)
        ),
    })
}

/// The lines that are others, with some around them.
fn difference(name: &str, before: &str, after: &str) -> String {
    let diff = TextDiff::from_lines(before, after);
    diff.unified_diff().header(name, &format!("{name}, formatted")).to_string()
}
