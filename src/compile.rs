//! Every call into the compiler.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use lstmc_compiler::backend::cranelift;
use lstmc_compiler::diag::{Diagnostics, SourceId, SourceMap};
use lstmc_compiler::graph::Purpose;
use lstmc_compiler::model::{self, Data, Model};
use lstmc_compiler::pipeline::{self, PASSES};
use lstmc_compiler::syntax::{self, ast};
use lstmc_runtime::session::{self, Executable, Session};

use crate::args::Stage;

/// Diagnostics as text, to be printed as it is.
#[derive(Debug)]
pub struct Refused(pub String);

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.trim_end())
    }
}

impl std::error::Error for Refused {}

/// A parsed model file, with the prelude.
pub struct Source {
    map: SourceMap,
    id: SourceId,
    file: ast::File,
    prelude: Vec<ast::File>,
    colour: bool,
}

impl Source {
    /// # Errors
    /// [`Refused`] with all syntax errors.
    pub fn parse(path: &Path, text: &str, colour: bool) -> Result<Self> {
        let mut map = SourceMap::default();
        let parse = |map: &mut SourceMap, name: &str, text: &str| {
            let id = map.add(name, text);
            let file = syntax::parse(map, id).map_err(|errors| refused(map, &errors, colour))?;
            anyhow::Ok((id, file))
        };
        let (id, file) = parse(&mut map, &path.display().to_string(), text)?;
        let mut prelude = Vec::new();
        for (name, text) in model::prelude() {
            prelude.push(parse(&mut map, name, text)?.1);
        }
        Ok(Self { map, id, file, prelude, colour })
    }

    /// # Errors
    /// [`Refused`] with what is wrong with the data block.
    pub fn data(&self) -> Result<Data> {
        model::data_block(&self.file).map_err(|errors| refused(&self.map, &errors, self.colour))
    }

    /// # Errors
    /// [`Refused`] with all errors of the model.
    pub fn model(&self, vocab: usize) -> Result<Model> {
        model::check(&self.file, &self.prelude, vocab)
            .map_err(|errors| refused(&self.map, &errors, self.colour))
    }

    /// The text of a stage before the model.
    pub fn emit_source(&self, stage: Stage) -> Option<String> {
        match stage {
            Stage::Tokens => Some(syntax::print_tokens(&self.map, self.id)),
            Stage::Ast => Some(syntax::print(&self.file)),
            _ => None,
        }
    }
}

fn refused(map: &SourceMap, errors: &Diagnostics, colour: bool) -> anyhow::Error {
    Refused(map.render(errors, colour)).into()
}

/// A program with its machine code.
pub struct Compiled {
    executable: Executable,
    /// Bytes that the program needs while it runs.
    pub memory: u64,
    /// Worker threads that it is planned for.
    pub threads: usize,
    /// How long compiling took.
    pub time: Duration,
}

/// How many worker threads a program is planned for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threads {
    /// As many as the user says.
    Exactly(usize),
    /// As many as the machine has, or one where the program is too small to gain from more.
    UpTo(usize),
}

/// Compiles a model for one purpose.
///
/// # Errors
/// The machine cannot run compiled code.
pub fn compile(model: &Model, purpose: Purpose, threads: Threads) -> Result<Compiled> {
    let started = Instant::now();
    let kernels = pipeline::kernels_of(&pipeline::graph_of(model, purpose, &mut |_, _| {}));
    let program = match threads {
        Threads::Exactly(workers) => pipeline::plan_of(kernels, workers),
        Threads::UpTo(available) => pipeline::plan_up_to(kernels, available),
    };
    let threads = program.workers;
    let executable = Executable::compile(program)?;
    Ok(Compiled { memory: executable.memory(), executable, threads, time: started.elapsed() })
}

impl Compiled {
    /// The program in its memory, ready to run.
    ///
    /// # Errors
    /// The machine does not have enough memory.
    pub fn session(self) -> Result<Session> {
        Ok(Session::new(self.executable)?)
    }
}

/// The text of a stage from the model on; `dump_after` names a pass.
///
/// # Errors
/// No pass has this name in this stage.
pub fn emit(model: &Model, stage: Stage, dump_after: Option<&str>, workers: usize) -> Result<String> {
    let purpose = Purpose::Train;
    if let Some(wanted) = dump_after {
        let mut text = None;
        pipeline::graph_of(model, purpose, &mut |pass, graph| {
            if pass == wanted {
                text = Some(graph.to_string());
            }
        });
        return text.ok_or_else(|| anyhow!("no pass is named {wanted}; there are {}", PASSES.join(", ")));
    }
    let after = |wanted: &str| emit(model, Stage::Graph, Some(wanted), workers);
    let program = || pipeline::program_of(model, purpose, workers);
    Ok(match stage {
        Stage::Tokens | Stage::Ast => bail!("this stage comes before the model"),
        Stage::Model => model::print(model),
        Stage::Graph => after("lower")?,
        Stage::Grad => after("update")?,
        Stage::Opt => after("simplify-4")?,
        Stage::Kernel => program().module.to_string(),
        Stage::Plan => program().to_string(),
        Stage::Clif => cranelift::compile_with_text(&program(), &session::library())?.clif().to_string(),
        Stage::Asm => cranelift::compile_with_text(&program(), &session::library())?.asm().to_string(),
    })
}
