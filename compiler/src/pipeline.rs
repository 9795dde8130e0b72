//! The order of the stages and passes, and nothing else.
//!
//! ```text
//! lower  simplify-1 merge_products hoist distinct_rows simplify-2 the forward graph
//!        gradients update simplify-3 sink sparse_rows simplify-4  training only
//!        square_sums
//!
//! fuse                                                             kernels, whatever the target
//! precision column_sums collapse preamble split_k
//! fused_sums prepack alternate vectorise exchanges                 for a CPU only
//! round_weights                                                    for a GPU, where weights are rounded
//! plan                                                             then a back end, which the caller chooses
//! ```
//!
//! For other programs, ONNX takes the forward graph after `simplify-1 merge_products hoist simplify-2`.
//!
//! The forward graph is merged and hoisted, and what is alike computed once, before it is differentiated, so that the
//! backward graph comes out so too. In debug builds every pass's result is verified, and a broken one names the pass.

use crate::graph::{self, Graph, Purpose};
use crate::kernel::{self, Format, Module, Numbers, RoundedWeight, passes};
use crate::model::{Model, Precision};
use crate::onnx::{Exchange, Steps};
use crate::plan::{self, Program, Verified};
use crate::target::{Processor, Target};
use crate::{grad, opt};

/// Every pass after which [`graph_of`] shows the graph, in order.
pub const PASSES: [&str; 13] = [
    "lower",
    "simplify-1",
    "merge_products",
    "hoist",
    "distinct_rows",
    "simplify-2",
    "gradients",
    "update",
    "simplify-3",
    "sink",
    "sparse_rows",
    "simplify-4",
    "square_sums",
];

/// Every pass after which [`kernels_of`] may show the kernels, in order.
pub const KERNEL_PASSES: [&str; 11] = [
    "fuse",
    "precision",
    "column_sums",
    "collapse",
    "preamble",
    "split_k",
    "fused_sums",
    "prepack",
    "alternate",
    "vectorise",
    "exchanges",
];

/// How many of the [`KERNEL_PASSES`], from the first on, there are for every target.
const SHARED_KERNEL_PASSES: usize = 6;

/// Those of the [`KERNEL_PASSES`] that there are for a target.
pub fn kernel_passes(target: &Target) -> &'static [&'static str] {
    match target.processor {
        Processor::Cpu => &KERNEL_PASSES,
        Processor::Nvidia(_) => &KERNEL_PASSES[..SHARED_KERNEL_PASSES],
    }
}

/// The optimised graph of a model: for training the whole step, gradients, clipping and update included. `see` is shown
/// the graph after each of the [`PASSES`].
pub fn graph_of(
    model: &Model,
    purpose: Purpose,
    target: &Target,
    see: &mut dyn FnMut(&str, &Graph),
) -> Graph {
    let mut stage = Stage { graph: graph::lower(model, purpose), target, see };
    stage.forward(purpose.runs());
    if purpose == Purpose::Train {
        stage.pass("gradients", grad::gradients);
        stage.pass("update", |graph| grad::update(graph, &model.optimizer, grad::Rules::of(&model.train)));
        stage.backward();
    }
    stage.pass("square_sums", |graph| opt::square_sums(graph, target));
    stage.graph
}

/// The optimised training step without clipping and update: its outputs are the gradients themselves.
pub fn gradients_of(model: &Model, target: &Target) -> Graph {
    let mut stage = Stage { graph: graph::lower(model, Purpose::Train), target, see: &mut |_, _| {} };
    stage.forward(Purpose::Train.runs());
    stage.pass("gradients", grad::gradients);
    stage.backward();
    stage.graph
}

/// A model for other programs, without its weights.
///
/// # Errors
/// As [`Exchange::of`].
pub fn exchange_of(model: &Model, steps: Steps) -> Result<Exchange, String> {
    let graphs = steps.sizes().map(|sizes| {
        let graph = opt::simplify(&graph::lower_sequences(model, sizes));
        let graph = opt::simplify(&opt::hoist(&opt::merge_products(&graph)));
        debug_assert_eq!(graph::verify(&graph), Ok(()), "internal error: a pass broke the graph");
        graph
    });
    Exchange::of([&graphs[0], &graphs[1]], steps)
}

struct Stage<'a> {
    graph: Graph,
    target: &'a Target,
    see: &'a mut dyn FnMut(&str, &Graph),
}

impl Stage<'_> {
    /// `runs`: how often the graph is run with the same parameters.
    fn forward(&mut self, runs: usize) {
        self.show("lower");
        self.pass("simplify-1", opt::simplify);
        self.pass("merge_products", opt::merge_products);
        self.pass("hoist", opt::hoist);
        let target = self.target;
        self.pass("distinct_rows", |graph| opt::distinct_rows(graph, runs, target));
        self.pass("simplify-2", opt::simplify);
    }

    fn backward(&mut self) {
        self.pass("simplify-3", opt::simplify);
        self.pass("sink", opt::sink);
        let target = self.target;
        self.pass("sparse_rows", |graph| opt::sparse_rows(graph, target));
        self.pass("simplify-4", opt::simplify);
    }

    fn pass(&mut self, name: &str, run: impl FnOnce(&Graph) -> Graph) {
        self.graph = run(&self.graph);
        self.show(name);
    }

    fn show(&mut self, name: &str) {
        if cfg!(debug_assertions)
            && let Err(message) = graph::verify(&self.graph)
        {
            panic!("internal error: {name} broke the graph: {message}");
        }
        (self.see)(name, &self.graph);
    }
}

/// The numbers of a model's program: `weights` is the format of weights that no step changes, and training multiplies as
/// the model says, or as the target does where it says nothing.
pub fn numbers_of(model: &Model, purpose: Purpose, weights: Format, target: &Target) -> Numbers {
    let products = match purpose {
        Purpose::Train => model.train.precision.unwrap_or(target.precision),
        Purpose::Evaluate | Purpose::Generate { .. } => Precision::F32,
    };
    Numbers { weights, products }
}

/// The kernels of an optimised graph for a target. `see` is shown them after each of the [`kernel_passes`].
pub fn kernels_of(
    graph: &Graph,
    numbers: Numbers,
    target: &Target,
    see: &mut dyn FnMut(&str, &Module),
) -> Module {
    let mut kernels = Kernels { module: kernel::lower(graph, &target.fusion), see };
    kernels.show("fuse");
    kernels.shared(numbers, target);
    if target.processor == Processor::Cpu {
        kernels.cpu(numbers, target);
    }
    kernels.module
}

struct Kernels<'a> {
    module: Module,
    see: &'a mut dyn FnMut(&str, &Module),
}

impl Kernels<'_> {
    /// What every target has.
    fn shared(&mut self, numbers: Numbers, target: &Target) {
        self.pass("precision", |module| passes::precision(module, numbers.products, target));
        self.pass("column_sums", |module| passes::column_sums(module, target));
        self.pass("collapse", passes::collapse);
        self.pass("preamble", passes::preamble);
        self.pass("split_k", |module| passes::split_k(module, target));
    }

    fn cpu(&mut self, numbers: Numbers, target: &Target) {
        self.pass("fused_sums", |module| passes::fused_sums(module, target));
        self.pass("prepack", |module| passes::prepack(module, numbers.weights, target));
        self.pass("alternate", |module| passes::alternate(module, target));
        self.pass("vectorise", |module| passes::vectorise(module, target));
        self.pass("exchanges", |module| passes::exchanges(module, target));
    }

    fn pass(&mut self, name: &str, run: impl FnOnce(Module) -> Module) {
        let empty = Module { name: String::new(), buffers: vec![], prologue: vec![], items: vec![] };
        self.module = run(std::mem::replace(&mut self.module, empty));
        self.show(name);
    }

    fn show(&mut self, name: &str) {
        if cfg!(debug_assertions)
            && let Err(message) = kernel::verify(&self.module)
        {
            panic!("internal error: {name} broke the kernels: {message}");
        }
        (self.see)(name, &self.module);
    }
}

/// The plan of a module for a target.
pub fn plan_of(module: Module, target: &Target) -> Verified {
    verified(plan::plan(module, target))
}

/// The plan of a module for all of a target's workers, or for one if more would not help.
pub fn plan_up_to(module: Module, target: &Target) -> Verified {
    verified(plan::plan_for(module, target))
}

/// The plan of a module that runs between two steps of `host`, in its arena where the two have the same parameters. Says
/// whether they do.
pub fn plan_beside(module: Module, host: &Program) -> (Verified, bool) {
    match plan::plan_beside(module.clone(), host) {
        Some(program) => (verified(program), true),
        None => (plan_of(module, &host.target), false),
    }
}

fn verified(program: Program) -> Verified {
    Verified::new(program)
        .unwrap_or_else(|message| panic!("internal error: the plan broke a promise: {message}"))
}

/// The plan of a model: memory and schedule, before any machine code.
pub fn program_of(model: &Model, purpose: Purpose, target: &Target) -> Verified {
    program_in(model, purpose, Format::F32, target)
}

/// [`program_of`] with weights in a format, as in [`numbers_of`].
pub fn program_in(model: &Model, purpose: Purpose, weights: Format, target: &Target) -> Verified {
    let graph = graph_of(model, purpose, target, &mut |_, _| {});
    plan_of(kernels_of(&graph, numbers_of(model, purpose, weights, target), target, &mut |_, _| {}), target)
}

/// [`program_in`] for all of a target's workers, or for one if more would not help.
pub fn program_up_to(model: &Model, purpose: Purpose, weights: Format, target: &Target) -> Verified {
    let graph = graph_of(model, purpose, target, &mut |_, _| {});
    plan_up_to(
        kernels_of(&graph, numbers_of(model, purpose, weights, target), target, &mut |_, _| {}),
        target,
    )
}

/// One text's next token, for programs that are compiled ahead of time.
pub fn standalone_of(model: &Model, weights: Format) -> Verified {
    program_in(model, Purpose::Generate { tokens: 1 }, weights, &Target::standalone())
}

/// [`program_in`] for a target whose kernels do not round, and the copies of weights that its host has to make.
pub fn program_with_rounded(
    model: &Model,
    purpose: Purpose,
    weights: Format,
    target: &Target,
) -> (Verified, Vec<RoundedWeight>) {
    let graph = graph_of(model, purpose, target, &mut |_, _| {});
    let numbers = numbers_of(model, purpose, Format::F32, target);
    let module = kernels_of(&graph, numbers, target, &mut |_, _| {});
    let (module, weights) = match weights {
        Format::F32 => (module, vec![]),
        _ => passes::round_weights(module, weights),
    };
    (plan_of(module, target), weights)
}
