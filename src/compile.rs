//! Every call into the compiler, but for those of `gradients`, which runs the interpreter.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use lstmc_compiler::backend::cpu::cranelift;
use lstmc_compiler::backend::ptx::{self, Ptx};
use lstmc_compiler::diag::{Diagnostic, Diagnostics, SourceId, SourceMap};
use lstmc_compiler::graph::Purpose;
use lstmc_compiler::kernel::{Format, Module};
use lstmc_compiler::model::{self, Data, Model};
use lstmc_compiler::onnx::{Exchange, Steps};
use lstmc_compiler::pipeline::{self, KERNEL_PASSES, PASSES, kernel_passes};
use lstmc_compiler::plan::Verified;
use lstmc_compiler::syntax::{self, ast};
use lstmc_compiler::target::{Nvidia, Processor, Target};
use lstmc_runtime::engine::cpu::{self, Executable, Pair, Session, workers};
use lstmc_runtime::engine::cuda::{self, DeviceError, Gpu, Resources};

use crate::args::{Device, Stage};
use crate::set::{self, Setting};
use crate::show;

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

    /// Its text, of which this is the tree, with one of the train block's numbers changed.
    ///
    /// # Errors
    /// As [`set::changed`].
    pub fn set(&self, text: &str, setting: &Setting) -> Result<String> {
        set::changed(text, &self.file, &self.prelude, setting)
    }

    /// An error that was found while the model ran, where it is in the source.
    pub fn pointed(&self, error: Diagnostic) -> anyhow::Error {
        refused(&self.map, &error.into(), self.colour)
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

/// How many errors are shown: a file that is not a model has one in every line.
const ERRORS: usize = 20;

/// Errors as they are shown.
pub fn refused(map: &SourceMap, errors: &Diagnostics, colour: bool) -> anyhow::Error {
    let (shown, others) = errors.0.split_at(errors.0.len().min(ERRORS));
    let mut text = map.render(&Diagnostics(shown.to_vec()), colour);
    if !others.is_empty() {
        text += &format!("and {}\n", show::many(others.len() as u64, "more error"));
    }
    Refused(text).into()
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

impl Threads {
    /// This machine with so many of them.
    fn target(self) -> Target {
        match self {
            Threads::Exactly(workers) | Threads::UpTo(workers) => cpu::target(workers),
        }
    }
}

/// A GPU cannot be used: the command ends as if it had been misused.
#[derive(Debug)]
pub struct Unusable {
    device: Device,
    error: DeviceError,
}

impl std::fmt::Display for Unusable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "--device {}: {}", self.device, self.error)
    }
}

impl std::error::Error for Unusable {}

/// An error of a GPU with the option that asked for it.
fn unusable(number: usize) -> impl Fn(DeviceError) -> Unusable {
    move |error| Unusable { device: Device::Cuda(number), error }
}

/// An open GPU, and the target that it is.
fn gpu(number: usize) -> Result<(Gpu, Target)> {
    let gpu = Gpu::open(number).map_err(unusable(number))?;
    let target = Target::nvidia(Nvidia { sm: gpu.capability, multiprocessors: gpu.multiprocessors });
    Ok((gpu, target))
}

/// A program on a GPU.
pub struct OnGpu {
    pub session: cuda::Session,
    /// Bytes on the GPU.
    pub memory: u64,
    /// How long compiling took, here and by the driver.
    pub time: Duration,
}

/// A program on a GPU, ready to run; `weights` as for [`compile`].
///
/// # Errors
/// [`Unusable`].
pub fn on_gpu(model: &Model, purpose: Purpose, weights: Format, number: usize) -> Result<OnGpu> {
    let started = Instant::now();
    without_shards(model, purpose)?;
    let (gpu, target) = gpu(number)?;
    let (program, rounded) = pipeline::program_with_rounded(model, purpose, weights, &target);
    let ptx = ptx::compile(&program);
    let memory = ptx.arena_bytes as u64;
    let session = cuda::Session::new(Box::new(gpu), &program, &ptx).map_err(|error| match error {
        lstmc_runtime::Error::Device(error) => unusable(number)(error).into(),
        other => anyhow::Error::from(other),
    })?;
    Ok(OnGpu { session: session.rounding(&program, rounded), memory, time: started.elapsed() })
}

/// A GPU's programs are of whole batches.
fn without_shards(model: &Model, purpose: Purpose) -> Result<()> {
    if model.train.shards > 1 && purpose == Purpose::Train {
        bail!(
            "`shards` are for processors: a training on a GPU is of whole batches; leave `shards` out of the train block"
        );
    }
    Ok(())
}

/// A program for a GPU, which need not be here.
///
/// # Errors
/// The model trains in shards.
pub fn ptx_of(model: &Model, purpose: Purpose, target: &Target) -> Result<(Verified, Ptx)> {
    without_shards(model, purpose)?;
    let program = pipeline::program_of(model, purpose, target);
    let ptx = ptx::compile(&program);
    Ok((program, ptx))
}

/// A training step on a GPU, assembled.
pub struct Assembled {
    pub gpu: Gpu,
    pub program: Verified,
    pub ptx: Ptx,
    /// What its launches take of the GPU.
    pub resources: Vec<Resources>,
    /// How many of its products a library computes.
    pub by_library: usize,
}

/// A training step, assembled for a GPU that is here.
///
/// # Errors
/// [`Unusable`].
pub fn assembled(model: &Model, number: usize) -> Result<Assembled> {
    let (gpu, target) = gpu(number)?;
    let (program, ptx) = ptx_of(model, Purpose::Train, &target)?;
    let resources = gpu.resources(&ptx).map_err(unusable(number))?;
    let by_library = gpu.by_library(&ptx).map_err(unusable(number))?;
    Ok(Assembled { gpu, program, ptx, resources, by_library })
}

/// The plan of a model for one purpose; `weights` as for [`compile`].
pub fn program(model: &Model, purpose: Purpose, weights: Format, threads: Threads) -> Verified {
    let target = threads.target();
    match threads {
        Threads::Exactly(_) => pipeline::program_in(model, purpose, weights, &target),
        Threads::UpTo(_) => pipeline::program_up_to(model, purpose, weights, &target),
    }
}

/// Compiles a model for one purpose. `weights` is the format that weights are packed in, where they are not trained.
///
/// # Errors
/// The machine cannot run compiled code.
pub fn compile(model: &Model, purpose: Purpose, weights: Format, threads: Threads) -> Result<Compiled> {
    let started = Instant::now();
    native(program(model, purpose, weights, threads), started)
}

/// A plan's machine code; making both took since `started`.
fn native(program: Verified, started: Instant) -> Result<Compiled> {
    let threads = program.target.workers;
    let executable = Executable::compile(program)?;
    Ok(Compiled { memory: executable.memory(), executable, threads, time: started.elapsed() })
}

/// The kernels of a model for one purpose.
fn kernels(model: &Model, purpose: Purpose, target: &Target) -> Module {
    let graph = pipeline::graph_of(model, purpose, target, &mut |_, _| {});
    pipeline::kernels_of(
        &graph,
        pipeline::numbers_of(model, purpose, Format::F32, target),
        target,
        &mut |_, _| {},
    )
}

/// What training runs: the step, and the program that the model is measured with.
pub struct Training {
    pub train: Compiled,
    evaluate: Compiled,
    /// Whether the two run in one arena.
    shared: bool,
}

/// Compiles both programs of training.
///
/// # Errors
/// As [`compile`].
pub fn training(model: &Model, threads: Threads) -> Result<Training> {
    let mut train = compile(model, Purpose::Train, Format::F32, threads)?;
    let started = Instant::now();
    let kernels = kernels(model, Purpose::Evaluate, &threads.target());
    let (program, shared) = pipeline::plan_beside(kernels, train.executable.program());
    let evaluate = native(program, started)?;
    if shared {
        train.executable = train.executable.sharing_with(&evaluate.executable);
        train.memory = train.executable.memory();
    }
    Ok(Training { train, evaluate, shared })
}

impl Training {
    /// Bytes that both programs need while they run.
    pub fn memory(&self) -> u64 {
        self.train.memory + self.evaluation_memory()
    }

    /// Bytes that evaluation needs beside what training does.
    pub fn evaluation_memory(&self) -> u64 {
        let needed = self.evaluate.memory;
        if self.shared { needed.saturating_sub(self.train.memory) } else { needed }
    }

    /// How long compiling took.
    pub fn time(&self) -> Duration {
        self.train.time + self.evaluate.time
    }

    /// Both programs, ready to run.
    ///
    /// # Errors
    /// The machine does not have enough memory.
    pub fn programs(self) -> Result<Pair> {
        let Self { train, evaluate, shared } = self;
        if !shared {
            return Ok(Pair::apart(train.session()?, evaluate.session()?));
        }
        let pinned = [train.threads, evaluate.threads].map(pins);
        Ok(Pair::sharing(train.executable, evaluate.executable, pinned)?)
    }
}

impl Compiled {
    /// The program in its memory, ready to run.
    ///
    /// # Errors
    /// The machine does not have enough memory.
    pub fn session(self) -> Result<Session> {
        Ok(Session::new(self.executable)?.pinned(pins(self.threads)))
    }
}

/// Whether so many workers are pinned each to its core: where they are all that there are. Of fewer, those of two
/// programs would be pinned to the same.
fn pins(threads: usize) -> bool {
    threads > 1 && threads == workers::default_workers()
}

/// A model for other programs.
///
/// # Errors
/// It computes what ONNX cannot say.
pub fn exchange(model: &Model, steps: Steps) -> Result<Exchange> {
    pipeline::exchange_of(model, steps).map_err(|reason| anyhow!("this cannot be said in ONNX: {reason}"))
}

/// What [`emit`] prints.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    pub stage: Stage,
    pub purpose: Purpose,
    /// A pass after which the graph or the kernels are wanted.
    pub dump_after: Option<&'a str>,
    /// As for [`compile`].
    pub weights: Format,
    pub target: &'a Target,
}

impl Request<'_> {
    /// # Errors
    /// A pass is named for a stage that has none, gradients are wanted where there are none, or weights that are not
    /// trained where all are.
    pub fn check(&self) -> Result<()> {
        let has_passes = matches!(self.stage, Stage::Graph | Stage::Grad | Stage::Opt | Stage::Kernel);
        if self.dump_after.is_some() && !has_passes {
            bail!(
                "--dump-after goes with --stage graph, grad or opt, whose passes are {}; or with --stage kernel, whose \
                 passes are {}",
                PASSES.join(", "),
                kernel_passes(self.target).join(", ")
            );
        }
        if self.stage == Stage::Grad && self.purpose != Purpose::Train {
            bail!("--stage grad goes with --purpose train: only training has gradients");
        }
        let is_gpu = self.target.processor != Processor::Cpu;
        if is_gpu && matches!(self.stage, Stage::Clif | Stage::Asm) {
            bail!(
                "--target goes with the stages up to plan, and with ptx: clif and asm are for this processor"
            );
        }
        if is_gpu && self.weights != Format::F32 {
            bail!(
                "--weights {} is for processors: a GPU's kernels read weights in f32, rounded when they are loaded",
                self.weights
            );
        }
        if self.weights != Format::F32 && self.purpose == Purpose::Train {
            bail!("--weights goes with --purpose evaluate or generate: training has its weights in f32");
        }
        Ok(())
    }
}

/// The text of a stage from the model on.
///
/// # Errors
/// There is no such pass or stage for this purpose.
pub fn emit(model: &Model, request: Request<'_>) -> Result<String> {
    request.check()?;
    let Request { stage, purpose, dump_after, weights, target } = request;
    if target.processor != Processor::Cpu {
        without_shards(model, purpose)?;
    }
    let program = || pipeline::program_in(model, purpose, weights, target);
    let graph_after = |pass| graph_after(model, purpose, target, pass);
    Ok(match stage {
        Stage::Tokens | Stage::Ast => bail!("this stage comes before the model"),
        Stage::Model => model::print(model),
        Stage::Graph => graph_after(dump_after.unwrap_or("lower"))?,
        Stage::Grad => graph_after(dump_after.unwrap_or("update"))?,
        Stage::Opt => match dump_after {
            Some(pass) => graph_after(pass)?,
            None => pipeline::graph_of(model, purpose, target, &mut |_, _| {}).to_string(),
        },
        Stage::Kernel => match dump_after {
            Some(pass) => kernels_after(model, purpose, weights, target, pass)?,
            None => program().module.to_string(),
        },
        Stage::Plan => program().to_string(),
        Stage::Clif => cranelift::compile_with_text(&program(), &cpu::library())?.clif().to_string(),
        Stage::Ptx => match target.processor {
            Processor::Nvidia(_) => ptx::compile(&program()).text,
            Processor::Cpu => bail!("--stage ptx is for a GPU"),
        },
        Stage::Asm => cranelift::compile_with_text(&program(), &cpu::library())?.asm().to_string(),
    })
}

fn graph_after(model: &Model, purpose: Purpose, target: &Target, wanted: &str) -> Result<String> {
    let (mut text, mut passes) = (None, Vec::new());
    pipeline::graph_of(model, purpose, target, &mut |pass, graph| {
        passes.push(pass.to_owned());
        if pass == wanted {
            text = Some(graph.to_string());
        }
    });
    text.ok_or_else(|| match PASSES.contains(&wanted) {
        true => anyhow!("{wanted} is a pass of training only; here there are {}", passes.join(", ")),
        false => anyhow!("no pass is named {wanted}; there are {}", passes.join(", ")),
    })
}

fn kernels_after(
    model: &Model,
    purpose: Purpose,
    weights: Format,
    target: &Target,
    wanted: &str,
) -> Result<String> {
    let graph = pipeline::graph_of(model, purpose, target, &mut |_, _| {});
    let mut text = None;
    pipeline::kernels_of(
        &graph,
        pipeline::numbers_of(model, purpose, weights, target),
        target,
        &mut |pass, module| {
            if pass == wanted {
                text = Some(module.to_string());
            }
        },
    );
    let passes = kernel_passes(target).join(", ");
    text.ok_or_else(|| match KERNEL_PASSES.contains(&wanted) {
        true => anyhow!("{wanted} is a pass for another target; here there are {passes}"),
        false => anyhow!("no pass of the kernels is named {wanted}; there are {passes}"),
    })
}
