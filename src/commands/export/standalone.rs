//! A trained model as code that needs no lstmc.

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use lstmc_compiler::backend::c;
use lstmc_compiler::backend::standalone::{About, Encoding, prefix};
use lstmc_compiler::diag::visible;
use lstmc_compiler::kernel::Format;
use lstmc_compiler::model::TokenKind;
use lstmc_compiler::pipeline;
use lstmc_runtime::engine::cpu::{Executable, Session};
use lstmc_runtime::export;
use lstmc_runtime::random::Random;
use lstmc_runtime::sample;

use crate::args::Export;
use crate::project::Opened;
use crate::{show, terminal};

/// Writes a model in C, with its header.
pub fn c(args: &Export, opened: &Opened, name: &str) -> Result<()> {
    let weights = args.weights.map_or(Format::F32, Into::into);
    if weights == Format::Bf16 {
        return Err(anyhow!("C has weights in f32 or int8: leave out --weights, or give --weights int8"));
    }
    let path = args.out.clone().unwrap_or_else(|| PathBuf::from(format!("{}.c", prefix(name))));
    let about = about(opened, name, &path);
    let program = pipeline::standalone_of(&opened.model, weights);
    let mut session = Session::new(Executable::compile(program.clone())?)?;
    opened.restore(&mut session)?;
    let header = path.with_extension("h");
    let include = header.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let files = c::files(&program, session.constants()?, &about, &include)
        .map_err(|reason| anyhow!("this cannot be said in C: {reason}"))?;
    let mut lines = described(&about);
    for (path, text) in [(&path, &files.source), (&header, &files.header)] {
        export::write(path, text.as_bytes())?;
        lines += &format!("wrote       {}: {} bytes\n", show::path(path), show::count(text.len() as u64));
    }
    terminal::print(&lines)
}

fn described(about: &About) -> String {
    let encode = about.encoding.map(|_| format!(", {}_encode", about.prefix)).unwrap_or_default();
    let functions =
        ["init", "step", "sample", "word"].map(|name| format!("{}_{name}", about.prefix)).join(", ");
    format!("functions   {functions}{encode}\n")
}

/// What is said of the model in all forms; its names begin with that of the file.
fn about(opened: &Opened, name: &str, path: &Path) -> About {
    let vocabulary = &opened.vocabulary;
    let stem = path.file_stem().map_or_else(|| name.to_owned(), |stem| stem.to_string_lossy().into_owned());
    let tokens = &opened.model.data.tokens;
    let encoding = match tokens.kind {
        TokenKind::Words | TokenKind::WordsAndPunctuation => Some(Encoding::Words),
        TokenKind::Characters => Some(Encoding::Characters),
        TokenKind::Bpe(_) | TokenKind::File(_) => None,
    };
    let tokenizer = opened.tokenizer();
    let newline = tokenizer.newline().and_then(|token| vocabulary.known(token));
    let parameters: usize =
        opened.model.params.iter().map(|param| param.shape.iter().product::<usize>()).sum();
    let notes = vec![
        format!("The model {}, compiled by lstmc {}.", visible(name), env!("CARGO_PKG_VERSION")),
        format!(
            "{} after {}; {}.",
            show::many(parameters as u64, "parameter"),
            show::many(opened.steps(), "update"),
            show::many(vocabulary.len() as u64, tokens.kind.unit()),
        ),
    ];
    About {
        prefix: prefix(&stem),
        notes,
        words: vocabulary.words().map(str::to_owned).collect(),
        reserve: vocabulary.reserved(),
        unknown: vocabulary.unknown(),
        newline,
        encoding,
        purpose: Random::purpose(sample::PURPOSE),
    }
}
