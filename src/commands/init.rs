//! `lstmc init`: a model file for a text.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use lstmc_runtime::text::{append, read_text, write_model};

use crate::args::Init;
use crate::draft::{Draft, Survey, about};
use crate::{show, terminal};

/// The fewest characters of which a part can be held out and the rest trained on.
const LEAST: usize = 100;

pub fn run(args: &Init) -> Result<ExitCode> {
    let path = match args.name.extension() {
        Some(extension) if extension == "lstm" => args.name.clone(),
        _ => args.name.with_added_extension("lstm"),
    };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let files = args.text.iter().map(|text| named(text, folder)).collect::<Result<Vec<_>>>()?;
    let mut content = String::new();
    for text in &args.text {
        append(&mut content, &read_text(text, "the text")?);
    }
    let survey = Survey::of(&content);
    if survey.characters < LEAST {
        let found = show::many(survey.characters as u64, "character");
        bail!("there is too little text to train on: {found}; give {LEAST} or more");
    }
    let draft = Draft::new(args.like, &survey, files);
    write_model(&path, &draft.text(), args.overwrite)?;
    let next = format!("lstmc train {}", show::path(&path));
    terminal::print(&format!(
        "text        {}\ntokens      {}: {}\nmodel       {}\ntraining    {}; the last 10 % of the text validate\n\
         wrote       {}: train it with  {next}\n",
        about(&survey).trim_end_matches('.'),
        draft.tokens(),
        draft.why,
        draft.layers(),
        draft.training(),
        show::path(&path)
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// What a model in a folder calls a text: its path from there if it lies in it, else its whole path.
fn named(text: &Path, folder: &Path) -> Result<String> {
    let [absolute, folder] =
        [text, folder].map(|path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned()));
    let name: PathBuf = absolute.strip_prefix(&folder).map_or(absolute.clone(), Path::to_owned);
    let name = name.to_str().context("the name of the text is not UTF-8")?;
    if name.contains(['"', '\n']) {
        bail!(
            "{} cannot be written in a model, which has names in quotes: call it something else",
            show::path(text)
        );
    }
    Ok(name.to_owned())
}
