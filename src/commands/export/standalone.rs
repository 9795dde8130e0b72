//! A trained model as code that needs no lstmc: in C, or as machine code that any program can be linked with.

use std::path::PathBuf;

use anyhow::{Result, anyhow, bail};
use lstmc_compiler::backend::c;
use lstmc_compiler::backend::cpu::cranelift::{self, Cpu};
use lstmc_compiler::backend::standalone::{About, Encoding, Layout, prefix};
use lstmc_compiler::diag::visible;
use lstmc_compiler::kernel::Format;
use lstmc_compiler::model::TokenKind;
use lstmc_compiler::pipeline;
use lstmc_compiler::plan::Verified;
use lstmc_runtime::engine::cpu::{Executable, Session};
use lstmc_runtime::export;
use lstmc_runtime::random::Random;
use lstmc_runtime::sample;

use super::link;
use crate::about::parameters;
use crate::args::{Baseline, Export, Form};
use crate::project::Opened;
use crate::{show, terminal};

/// A file and what is in it.
type Written = (PathBuf, Vec<u8>);

/// Writes a model with its header, what a language needs to use it, and a page that says how.
pub fn write(args: &Export, opened: &Opened, name: &str) -> Result<()> {
    let weights = args.weights.map_or(Format::F32, Into::into);
    if args.format == Form::C && weights == Format::Bf16 {
        bail!("C has weights in f32 or int8: leave out --weights, or give --weights int8");
    }
    let paths = Paths::of(args, name);
    if paths.stem.contains(|c: char| c.is_control() || "\"\\<>".contains(c)) {
        bail!("a header cannot be included under the name {:?}: give another with --out", paths.stem);
    }
    let about = about(opened, name, &paths.stem);
    let program = pipeline::standalone_of(&opened.model, weights);
    let mut session = Session::new(Executable::compile(program.clone())?)?;
    opened.restore(&mut session)?;
    let constants = session.constants()?;
    let mut files = match args.format {
        Form::C => in_c(&program, (constants, weights), &about, &paths)?,
        _ => compiled(args, &program, constants, &about, &paths)?,
    };
    let window = opened.model.data.batches.window().unwrap_or(1);
    files.push((paths.beside("md"), page(args.format, &about, window, &paths).into()));
    let mut lines = described(&about);
    for (path, bytes) in &files {
        export::write(path, bytes)?;
        lines += &format!("wrote       {}: {} bytes\n", show::path(path), show::count(bytes.len() as u64));
    }
    terminal::print(&lines)
}

/// Where files go.
struct Paths {
    code: PathBuf,
    /// What is beside the code is called so: as the model.
    stem: String,
}

impl Paths {
    /// As the command says, or here.
    fn of(args: &Export, name: &str) -> Self {
        let library = if matches!(args.format, Form::So | Form::A) { "lib" } else { "" };
        let usual = || PathBuf::from(format!("{library}{}.{}", prefix(name), args.format.ending()));
        let code = args.out.clone().unwrap_or_else(usual);
        let stem =
            code.file_stem().map_or_else(|| name.to_owned(), |stem| stem.to_string_lossy().into_owned());
        let own = stem.strip_prefix(library).filter(|rest| !rest.is_empty()).map(str::to_owned);
        Self { code, stem: own.unwrap_or(stem) }
    }

    fn beside(&self, ending: &str) -> PathBuf {
        self.code.with_file_name(format!("{}.{ending}", self.stem))
    }

    /// Python takes a library of a module's name for the module, and wants a name.
    fn module(&self) -> String {
        let clashes = self.code.file_stem().is_some_and(|stem| stem.to_string_lossy() == self.stem);
        let name = prefix(&self.stem);
        if clashes { format!("{name}_model") } else { name }
    }
}

fn in_c(
    program: &Verified,
    (constants, weights): (&[u8], Format),
    about: &About,
    paths: &Paths,
) -> Result<Vec<Written>> {
    let files = c::files(program, constants, weights, about, &format!("{}.h", paths.stem))
        .map_err(|reason| anyhow!("this cannot be said in C: {reason}"))?;
    Ok(vec![(paths.code.clone(), files.source.into()), (paths.beside("h"), files.header.into())])
}

fn compiled(
    args: &Export,
    program: &Verified,
    constants: &[u8],
    about: &About,
    paths: &Paths,
) -> Result<Vec<Written>> {
    let object = cranelift::object(program, constants, about, cpu(args))
        .map_err(|reason| anyhow!("this cannot be compiled for use without lstmc: {reason}"))?;
    let code = match args.format {
        Form::So => link::shared(&paths.code, &object, cpu(args))?,
        Form::A => link::archive(&paths.stem, &object.bytes)?,
        _ => object.bytes,
    };
    let mut files = vec![(paths.code.clone(), code), (paths.beside("h"), object.header.into())];
    if args.format == Form::So {
        let module = paths.code.with_file_name(format!("{}.py", paths.module()));
        files.push((module, python(about, &object.layout, paths).into()));
    }
    Ok(files)
}

fn cpu(args: &Export) -> Cpu {
    match args.cpu.unwrap_or(Baseline::Native) {
        Baseline::Native => Cpu::Native,
        Baseline::X86V3 => Cpu::X86V3,
        Baseline::X86V4 => Cpu::X86V4,
        Baseline::Aarch64 => Cpu::Aarch64,
    }
}

fn described(about: &About) -> String {
    let encode = about.encoding.map(|_| format!(", {}_encode", about.prefix)).unwrap_or_default();
    let functions =
        ["init", "step", "sample", "word"].map(|name| format!("{}_{name}", about.prefix)).join(", ");
    format!("functions   {functions}{encode}\n")
}

/// What is said of the model in all forms; its names begin with that of the file.
fn about(opened: &Opened, name: &str, stem: &str) -> About {
    let vocabulary = &opened.vocabulary;
    let tokens = &opened.model.data.tokens;
    let encoding = match tokens.kind {
        TokenKind::Words | TokenKind::WordsAndPunctuation => Some(Encoding::Words),
        TokenKind::Characters => Some(Encoding::Characters),
        TokenKind::Bpe(_) | TokenKind::File(_) => None,
    };
    let tokenizer = opened.tokenizer();
    let newline = tokenizer.newline().and_then(|token| vocabulary.known(token));
    let notes = vec![
        format!("The model {}, compiled by lstmc {}.", visible(name), env!("CARGO_PKG_VERSION")),
        format!(
            "{} after {}; {}.",
            show::many(parameters(&opened.model), "parameter"),
            show::many(opened.steps(), "update"),
            show::many(vocabulary.words().count() as u64, tokens.kind.unit()),
        ),
    ];
    About {
        prefix: prefix(stem),
        notes,
        words: vocabulary.words().map(str::to_owned).collect(),
        reserve: vocabulary.reserved(),
        unknown: vocabulary.unknown(),
        newline,
        encoding,
        purpose: Random::purpose(sample::PURPOSE),
    }
}

/// What stands between two words of a text.
fn between(about: &About) -> &'static str {
    if about.encoding == Some(Encoding::Words) { " " } else { "" }
}

fn filled(text: &str, about: &About, paths: &Paths) -> String {
    let file = paths.code.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let values = [
        ("{file}", visible(&file).into_owned()),
        ("{stem}", visible(&paths.stem).into_owned()),
        ("{module}", paths.module()),
        ("{between}", between(about).to_owned()),
        ("{PREFIX}", about.prefix.to_uppercase()),
        ("{prefix}", about.prefix.clone()),
        ("{quoted}", serde_json::Value::from(file.as_str()).to_string()),
        // Last, since they hold words of others.
        ("{notes}", about.notes.join("\n").replace('"', "'")),
    ];
    values.into_iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, &to))
}

/// A module for Python that uses a shared library beside it.
fn python(about: &About, layout: &Layout, paths: &Paths) -> String {
    let encode = if about.encoding.is_some() { include_str!("encode.py") } else { "" };
    let text = include_str!("module.py").replace("{encode}", encode);
    let values = [
        ("{vocabulary}", layout.vocabulary),
        ("{window}", layout.window),
        ("{text_bytes}", 4 * layout.text()),
    ];
    let text = values.into_iter().fold(text, |text, (from, to)| text.replace(from, &to.to_string()));
    filled(&text, about, paths)
}

/// How the files are used, by an example that has words of the model.
fn page(form: Form, about: &About, window: usize, paths: &Paths) -> String {
    let prompt = prompt(about, window);
    let (read, using) = match about.encoding {
        Some(_) => (
            format!("{{prefix}}_encode(\"{prompt}\", tokens, {{room}})"),
            format!("print(Model().generate(\"{prompt}\", 20, seed=1))"),
        ),
        // What cuts a text is not in the file.
        None => (
            "0 /* as many as the run's tokenizer makes of a text */".to_owned(),
            "model = Model()\nfor token in tokens:  # as the run's tokenizer makes them of a text\n    model.step(token)\n\
             print(model.word(model.sample(seed=1)))"
                .to_owned(),
        ),
    };
    let text = match form {
        Form::So => include_str!("shared.md"),
        _ => include_str!("code.md"),
    };
    let line = match form {
        Form::C => "cc -O2 main.c {file} -o main",
        _ => "cc main.c {file} -lm -o main",
    };
    let text = text.replace("{compile}", line).replace("{read}", &read).replace("{use}", &using);
    filled(&text.replace("{room}", &(window + 8).to_string()), about, paths)
}

/// A text that the model can go on from: of its commonest plain words.
fn prompt(about: &About, window: usize) -> String {
    let plain = |word: &&String| word.chars().all(char::is_alphanumeric);
    let words: Vec<&str> = about.words.iter().filter(plain).map(String::as_str).take(2).collect();
    let most = window.max(words.len());
    words.into_iter().cycle().take(most).collect::<Vec<_>>().join(between(about))
}
