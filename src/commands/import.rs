//! `lstmc import`: a run that begins with the weights of another program.

use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, anyhow, bail};
use lstmc_compiler::graph::Purpose;
use lstmc_compiler::kernel::Format;
use lstmc_compiler::model::{Model, TokenKind};
use lstmc_runtime::Error;
use lstmc_runtime::checkpoint::{Meta, Position};
use lstmc_runtime::engine::Engine;
use lstmc_runtime::memory;
use lstmc_runtime::run_dir::{Place, RunDir, Settings};
use lstmc_runtime::text::{Corpus, Expected, Vocabulary};
use lstmc_runtime::train::initialise;
use lstmc_runtime::weights::{Elements, Stored, Weights};

use crate::about::parameters;
use crate::args::Import;
use crate::compile::{self, Threads};
use crate::import::Plan;
use crate::import::check::{self, Left};
use crate::import::map::Map;
use crate::import::matching::{self, Outcome};
use crate::import::value::Maker;
use crate::import::{print, vocabulary};
use crate::project::Project;
use crate::{advice, find, show, terminal};

/// Of the numbers that a training draws later.
const SEED: u64 = 0;

pub fn run(args: &Import) -> Result<ExitCode> {
    let project = Project::read(&args.model, args.data.as_deref())?;
    let weights = open(args)?;
    let map = args.map.as_deref().map(Map::read).transpose()?;
    let words = Words::of(args, &project, &weights)?;
    let model = project.source.model(words.vocabulary.len())?;
    if args.print_map {
        terminal::print(&draft(args, &project, &model, map.as_ref(), &weights)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let plan = plan(args, &project, &model, map.as_ref(), &weights)?;
    let left = Left::of(&plan, map.as_ref(), &weights);
    check::check(&plan, map.as_ref(), &weights, &left)
        .map_err(|error| with_size(error, &project, &model, &weights))?;
    let engine = filled(&model, &plan, &weights)?;
    let run = create(args, &project, &words)?;
    let fingerprint = words.vocabulary.fingerprint();
    let meta = Meta::new(project.text.clone(), fingerprint, SEED, Position::default());
    run.save(&Place::Step(0).name(), engine.as_ref(), &meta)?;
    let lines = described(&plan, &left, &weights, &words, &model);
    lines.iter().try_for_each(|line| run.log(line))?;
    if let Some(guess) = &words.guess {
        terminal::say(&format!("warning: {guess}"));
    }
    let path = show::path(run.path());
    let next = if model.data.test.is_some() && words.corpus.is_some() { "eval" } else { "generate" };
    terminal::print(&format!(
        "{}\nrun         {path}: use it with  lstmc {next} {path}\n",
        lines.join("\n")
    ))?;
    Ok(ExitCode::SUCCESS)
}

fn open(args: &Import) -> Result<Weights> {
    if RunDir::holds_run(&args.weights) {
        bail!(
            "{} is a run: begin another one with its parameters with `lstmc train {} --from {0}`, or name one of its checkpoints",
            show::path(&args.weights),
            show::path(&args.model)
        );
    }
    let mut weights = Weights::open(&args.weights)?;
    if let Some(name) = &args.under {
        let there = weights.under(name);
        if !there {
            let tensors: Vec<String> = weights.tensors.keys().map(|name| show::word(name)).collect();
            bail!(
                "--under {}: no tensor is called so; there are {}",
                show::word(name),
                check::some(&tensors)
            );
        }
    }
    if weights.tensors.is_empty() {
        bail!("{} has no tensors", show::path(&args.weights));
    }
    Ok(weights)
}

/// The words that ids stand for, and the texts.
struct Words {
    vocabulary: Vocabulary,
    /// None where the texts are not there.
    corpus: Option<Corpus>,
    /// Where the vocabulary is from, for people.
    whence: String,
    /// What is not sure about it.
    guess: Option<String>,
}

impl Words {
    fn of(args: &Import, project: &Project, weights: &Weights) -> Result<Self> {
        let given = match (&args.vocabulary, &weights.vocabulary) {
            (Some(path), _) => Some((vocabulary::read(path, &project.data)?, show::path(path))),
            (None, Some(own)) => {
                vocabulary::fits(own, &project.data).with_context(|| {
                    format!("the vocabulary in {} is not for this model", show::path(&weights.path))
                })?;
                Some((own.clone(), show::path(&weights.path)))
            }
            (None, None) => None,
        };
        let Some((vocabulary, whence)) = given else { return Self::of_texts(project, weights) };
        let corpus = match project.corpus_again(vocabulary.clone(), Expected::Any) {
            Ok(corpus) => Some(corpus),
            Err(error) => match error.downcast_ref::<Error>() {
                Some(Error::MissingText { .. }) => {
                    terminal::say(&format!(
                        "note: {error}; to train or measure, say with --data where the texts are"
                    ));
                    None
                }
                Some(Error::UnknownWords { place, line, unknown, .. }) => bail!(
                    "{place} has {unknown}; the first is in line {line}; the vocabulary is that of {whence}: if a word of it \
                     stands for others, name it in the data block, `unknown: \"<unk>\"`"
                ),
                _ => return Err(error),
            },
        };
        Ok(Self { vocabulary, corpus, whence: format!("that of {whence}"), guess: None })
    }

    /// Those of the training text, as `train` gives them their ids.
    fn of_texts(project: &Project, weights: &Weights) -> Result<Self> {
        let corpus = project.corpus()?;
        let vocabulary = corpus.vocabulary.clone();
        let known = match &weights.fingerprint {
            Some(own) if *own != vocabulary.fingerprint() => bail!(
                "{} was trained with another vocabulary than that of these texts: give the vocab.json of its run with --vocabulary",
                show::path(&weights.path)
            ),
            Some(_) => true,
            None => matches!(project.data.tokens.kind, TokenKind::File(_)),
        };
        let guess = (!known).then(|| {
            format!(
                "which {} has which id is guessed: from the training text, by falling frequency; weights of another program have \
                 an order of their own, which --vocabulary gives",
                project.data.tokens.kind.unit()
            )
        });
        Ok(Self { vocabulary, corpus: Some(corpus), whence: "that of the training text".into(), guess })
    }
}

/// What each parameter is made of.
fn plan(
    args: &Import,
    project: &Project,
    model: &Model,
    map: Option<&Map>,
    weights: &Weights,
) -> Result<Plan> {
    if let Some(map) = map {
        return Ok(Plan::by_map(model, map));
    }
    if Plan::has_names(model, weights) {
        return Ok(Plan::by_name(model, weights));
    }
    let file = show::path(&weights.path);
    let by_hand = "a mapping file says what each parameter is made of: --print-map writes one to begin with";
    match matching::find(model, weights)? {
        Outcome::Found(plan) => Ok(plan),
        Outcome::Ambiguous(_, candidates) => {
            let lines: String = candidates.iter().map(|line| format!("{line}\n")).collect();
            let under =
                if args.under.is_none() { "; --under looks at one dictionary of the file alone" } else { "" };
            bail!("several modules of {file} fit:\n{lines}{by_hand}{under}")
        }
        Outcome::Unknown(_, layers) => bail!(
            "{file} has no tensors with the names of this model's parameters, and what {} would be in PyTorch is not known: {by_hand}",
            layers.join(", ")
        ),
        Outcome::None(rows) => {
            let backwards = weights.tensors.keys().any(|name| name.ends_with("_reverse"));
            let why = if backwards {
                "what reads backwards too sees the token that it is to predict, and is in no model here"
            } else {
                by_hand
            };
            let error = anyhow!("{file} does not fit the model:\n{}{why}", check::table(&rows));
            Err(with_size(error, project, model, weights))
        }
    }
}

/// A mapping file to begin with.
fn draft(
    args: &Import,
    project: &Project,
    model: &Model,
    map: Option<&Map>,
    weights: &Weights,
) -> Result<String> {
    let plan = match map {
        Some(map) => Plan::by_map(model, map),
        None if Plan::has_names(model, weights) => Plan::by_name(model, weights),
        None => match matching::find(model, weights)? {
            Outcome::Found(plan) | Outcome::Ambiguous(plan, _) | Outcome::Unknown(plan, _) => plan,
            Outcome::None(_) => {
                fitting(project, model, weights).map_or_else(|| Plan::nothing(model), |(_, plan)| plan)
            }
        },
    };
    let left = Left::of(&plan, map, weights);
    Ok(print::file(&plan, &left, weights, &show::path(&args.model)))
}

/// The size of a vocabulary with which the weights fit, and how.
fn fitting(project: &Project, model: &Model, weights: &Weights) -> Option<(usize, Plan)> {
    let rows = |stored: &Stored| (stored.shape.len() == 2).then_some(stored.shape[0]);
    let mut sizes: Vec<usize> = weights.tensors.values().filter_map(rows).collect();
    sizes.sort_unstable();
    sizes.dedup();
    let fits = |size: &usize| {
        let other = project.source.model(*size).ok()?;
        let plan = match Plan::has_names(&other, weights) {
            true => Plan::by_name(&other, weights),
            false => match matching::find(&other, weights) {
                Ok(Outcome::Found(plan) | Outcome::Ambiguous(plan, _)) => plan,
                _ => return None,
            },
        };
        check::check(&plan, None, weights, &Left::default()).is_ok().then_some((*size, plan))
    };
    sizes.iter().filter(|&&size| size != model.vocab && size > 0).take(SIZES).find_map(fits)
}

/// An error about weights that would fit if the vocabulary had another size, which is what is wrong then.
fn with_size(error: anyhow::Error, project: &Project, model: &Model, weights: &Weights) -> anyhow::Error {
    match fitting(project, model, weights) {
        Some((size, _)) => anyhow!(
            "the weights are for a vocabulary of {}, and that of the model has {}: give theirs with --vocabulary\n{error}",
            show::count(size as u64),
            show::count(model.vocab as u64)
        ),
        None => error,
    }
}

/// How many sizes are tried.
const SIZES: usize = 16;

/// A program that trains the model, with the parameters.
fn filled(model: &Model, plan: &Plan, weights: &Weights) -> Result<Box<dyn Engine>> {
    let compiled = compile::compile(model, Purpose::Train, Format::F32, Threads::Exactly(1))?;
    advice::has_room(memory::own() + compiled.memory, model)?;
    let mut engine: Box<dyn Engine> = Box::new(compiled.session()?);
    initialise(model, SEED, engine.as_mut())?;
    let mut maker = Maker::new(weights);
    check::check_same(plan, weights, &mut maker)?;
    for made in &plan.made {
        let value = made.value.as_ref().context("internal error: a parameter without a value")?;
        let values = maker.make(value, &made.shape)?;
        if values.iter().any(|value| !value.is_finite()) {
            bail!("{}: {value} has numbers that are too large for f32", made.param);
        }
        engine.write(&made.param, &values)?;
    }
    Ok(engine)
}

fn create(args: &Import, project: &Project, words: &Words) -> Result<RunDir> {
    let absolute = |path: &Path| {
        std::path::absolute(path).with_context(|| format!("cannot tell where {} is", show::path(path)))
    };
    let settings = Settings {
        data: absolute(&project.folder)?,
        seed: SEED,
        texts: words.corpus.as_ref().map_or_else(Vec::new, |corpus| corpus.records.clone()),
        imported: Some(absolute(&args.weights)?),
    };
    let (source, vocabulary) = (&project.text, &words.vocabulary);
    if let Some(path) = &args.out {
        return Ok(RunDir::create(path, source, vocabulary, &settings)?);
    }
    let name = args.model.file_stem().map_or("model".into(), |stem| stem.to_string_lossy());
    Ok(RunDir::create_in(find::RUNS.as_ref(), &name, source, vocabulary, &settings)?)
}

/// What was taken, in lines.
fn described(plan: &Plan, left: &Left, weights: &Weights, words: &Words, model: &Model) -> Vec<String> {
    let used = plan.tensors();
    let tensors = show::many(used.len() as u64, "tensor");
    let mut lines = vec![
        format!("weights     {}: {}, {tensors}", show::path(&weights.path), weights.format),
        format!("names       {}", show::word(&plan.how)),
    ];
    let mut converted = String::new();
    for elements in [Elements::F16, Elements::Bf16, Elements::F64] {
        let of = |name: &&&str| weights.tensors.get(**name).is_some_and(|stored| stored.elements == elements);
        let count = used.iter().filter(of).count();
        if count > 0 {
            let between = if converted.is_empty() { "" } else { ", " };
            // Writing into memory does not fail.
            let _ = write!(converted, "{between}{} of {elements}", show::many(count as u64, "tensor"));
        }
    }
    if !converted.is_empty() {
        lines.push(format!("converted   {converted} to f32"));
    }
    lines.extend(
        plan.zeros().map(|zeros| format!("zeros       {}: the file has no such biases", check::some(&zeros))),
    );
    lines.extend(left.lines());
    lines.push(format!("vocabulary  {}, {}", show::many(words.vocabulary.len() as u64, "id"), words.whence));
    lines.push(format!("parameters  {}", show::count(parameters(model))));
    lines
}
