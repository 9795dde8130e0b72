//! From the typed model to a graph: batch and time become axes.
//!
//! Each layer that works on every step becomes one loop over time, state or not, whose body is the layer's equations on
//! `[B, n]`; `opt::hoist` computes for all steps at once what does not depend on the state. What the loss needs is
//! written in its plainest form (`-log(p[target])`); `opt::simplify` makes it stable.

use super::{Builder, Form, Graph, InputRole, Op, OutputRole, Part, Reduce, Sharded, Sliced, Type, Value};
use crate::model::{self, BatchKind, ExprId, ExprOp, Loss, Model, Source};
use crate::scalar::Scalar;

/// What the graph is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Loss and hits of a batch, to be differentiated. Random numbers are drawn.
    Train,
    /// Loss and hit of each predicted token of a batch, and its probabilities.
    Evaluate,
    /// Probabilities of the next token for one sequence: one step with carried state, or, where the model predicts
    /// only after a whole window, one window.
    Generate {
        /// About how many tokens are read and written with the same parameters: what is computed before is for all of them.
        tokens: usize,
    },
}

impl Purpose {
    /// How often at least the graph is run with the same parameters, as far as that is known.
    pub fn runs(self) -> usize {
        if let Purpose::Generate { tokens } = self { tokens } else { 1 }
    }

    fn generates(self) -> bool {
        matches!(self, Purpose::Generate { .. })
    }
}

/// Which expression of the model a value was lowered from: expression `expr` of layer number `layer`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    pub value: Value,
    pub layer: usize,
    pub expr: ExprId,
}

/// The forward graph of a model: outputs `Objective` (training only), `Loss` and `Hits` (not for generation),
/// `Probabilities` (not for training), and an update of every carried state.
pub fn lower(model: &Model, purpose: Purpose) -> Graph {
    lower_with_origins(model, purpose).0
}

/// As [`lower`], and where the values come from that are an expression's, in the order in which they are computed. What no pass
/// has touched still has its origin.
pub fn lower_with_origins(model: &Model, purpose: Purpose) -> (Graph, Vec<Origin>) {
    let batches = &model.data.batches;
    let sizes = match purpose {
        Purpose::Generate { .. } if batches.window().is_some() => [batches.steps, 1],
        Purpose::Generate { .. } => [1, 1],
        // Each shard is a step.
        Purpose::Train => [batches.steps, batches.rows / model.train.shards],
        Purpose::Evaluate => [batches.steps, batches.rows],
    };
    lower_sized(model, purpose, sizes)
}

/// As [`lower`] for generation, but with so many steps (of a model that predicts only after a whole window: that window)
/// of so many sequences side by side.
pub fn lower_sequences(model: &Model, [steps, rows]: [usize; 2]) -> Graph {
    let steps = model.data.batches.window().unwrap_or(steps);
    lower_sized(model, Purpose::Generate { tokens: steps }, [steps, rows]).0
}

fn lower_sized(model: &Model, purpose: Purpose, [steps, rows]: [usize; 2]) -> (Graph, Vec<Origin>) {
    let carries = model.data.batches.kind == BatchKind::Stream
        || (purpose.generates() && model.data.batches.window().is_none());
    let name = match purpose {
        Purpose::Train => "train",
        Purpose::Evaluate => "evaluate",
        Purpose::Generate { .. } => "generate",
    };
    let mut builder = Builder::new(name);
    let tokens = builder.input("tokens", Type::id([steps, rows]), InputRole::Tokens);
    let params = model.params.iter().map(|param| {
        let parts = match param.shape.last() {
            Some(&len) => vec![Part { name: param.name.clone(), start: 0, len }],
            None => vec![],
        };
        builder.input(&param.name, Type::real(param.shape.clone()), InputRole::Param { parts })
    });
    let params = params.collect();
    let mut lowering = Lowering {
        builder,
        model,
        params,
        tokens,
        steps,
        rows,
        carries,
        purpose,
        results: vec![],
        streams: 0,
        shards: if purpose == Purpose::Train { model.train.shards } else { 1 },
        origins: vec![],
    };
    for layer in &model.layers {
        let result = lowering.layer(layer);
        lowering.results.push(result);
    }
    let output = lowering.results[model.output];
    if !purpose.generates() {
        lowering.loss(output);
    }
    if purpose != Purpose::Train {
        lowering.builder.output(output, OutputRole::Probabilities);
    }
    (lowering.builder.finish(), lowering.origins)
}

struct Lowering<'a> {
    builder: Builder,
    model: &'a Model,
    params: Vec<Value>,
    /// `[T, B]`
    tokens: Value,
    steps: usize,
    rows: usize,
    /// Whether recurrent state comes from the batch before.
    carries: bool,
    purpose: Purpose,
    /// Of the layers lowered so far: `[T, B, n]`, or `[B, n]` where it is one for the sequence.
    results: Vec<Value>,
    /// Streams of random numbers given out.
    streams: u32,
    /// How many graphs like this one make a batch, of other rows each.
    shards: usize,
    origins: Vec<Origin>,
}

/// A value in a layer's body: `[B]`, `[B, n]`, or without the batch axis `[]`, `[n]`, `[r, c]`.
#[derive(Clone, Copy)]
struct Term {
    value: Value,
    batched: bool,
}

impl Lowering<'_> {
    fn layer(&mut self, layer: &model::Layer) -> Value {
        let final_step = matches!(self.body_result(layer), ExprOp::FinalStep(_));
        let every_step = layer.every_step || final_step;
        let sources: Vec<Value> = layer
            .inputs
            .iter()
            .map(|input| match input {
                Source::Tokens => self.tokens,
                Source::Layer(index) => self.results[*index],
            })
            .collect();
        if !every_step {
            let randoms = self.randoms(layer, &[self.rows]);
            let terms = self.equations(&layer.body, &sources, &[], &randoms);
            return self.vector(terms[layer.body.result.0 as usize]);
        }
        let inits: Vec<Value> = layer.states.iter().map(|state| self.initial(layer, state)).collect();
        let randoms = self.randoms(layer, &[self.steps, self.rows]);
        self.builder.open_loop();
        let mut slice = |values: &[Value]| -> Vec<Sliced> {
            values.iter().map(|&value| self.builder.slice(value)).collect()
        };
        let (inputs, draws) = (slice(&sources), slice(&randoms.iter().map(|r| r.1).collect::<Vec<_>>()));
        let states: Vec<Value> = inits.iter().map(|&init| self.builder.carry(init)).collect();
        let params = |slices: &[Sliced]| slices.iter().map(|s| s.param).collect::<Vec<_>>();
        let drawn: Vec<_> = randoms.iter().map(|r| r.0).zip(params(&draws)).collect();
        let terms = self.equations(&layer.body, &params(&inputs), &states, &drawn);
        let next: Vec<Value> = layer.body.next.iter().map(|id| self.vector(terms[id.0 as usize])).collect();
        let result = self.vector(terms[layer.body.result.0 as usize]);
        let carried: Vec<_> = inits
            .iter()
            .zip(&states)
            .zip(&next)
            .map(|((&init, &param), &next)| (init, param, next))
            .collect();
        let sliced = [inputs, draws].concat();
        let (lasts, stacks) = self.builder.close_loop(self.steps, false, &carried, &sliced, &[result]);
        if self.carries {
            for (state, last) in layer.states.iter().zip(lasts) {
                self.builder.output(last, OutputRole::Update(format!("{}.{}", layer.name, state.name)));
            }
        }
        if final_step {
            return self.builder.op(Op::At { index: self.steps - 1 }, &[stacks[0]]);
        }
        stacks[0]
    }

    fn body_result<'b>(&self, layer: &'b model::Layer) -> &'b ExprOp {
        &layer.body.exprs[layer.body.result.0 as usize].op
    }

    /// `[B, n]`
    fn initial(&mut self, layer: &model::Layer, state: &model::State) -> Value {
        let shape = [self.rows, state.width];
        if self.carries {
            let name = format!("{}.{}", layer.name, state.name);
            return self.builder.input(name, Type::real(shape), InputRole::Carried { start: state.start });
        }
        self.builder.full(state.start, &shape)
    }

    /// The layer's random tensors, all steps at once, with the expression that reads each. Drawn only in training: an
    /// evaluation's `Training` is 0, so what it selects away is never computed.
    fn randoms(&mut self, layer: &model::Layer, lead: &[usize]) -> Vec<(ExprId, Value)> {
        let mut found = vec![];
        for (index, expr) in layer.body.exprs.iter().enumerate() {
            if expr.op == ExprOp::Random {
                let shape = [lead, &expr.shape[..]].concat();
                let part = (self.shards > 1).then_some(Sharded { axis: lead.len() - 1, count: self.shards });
                let value = self.builder.op(Op::Random { stream: self.streams, shape, part }, &[]);
                self.streams += 1;
                found.push((ExprId(index as u32), value));
            }
        }
        found
    }

    /// Every expression of a body, in order.
    fn equations(
        &mut self,
        body: &model::Body,
        inputs: &[Value],
        states: &[Value],
        randoms: &[(ExprId, Value)],
    ) -> Vec<Term> {
        let mut terms: Vec<Term> = vec![];
        for (index, expr) in body.exprs.iter().enumerate() {
            let batched = |value| Term { value, batched: true };
            let plain = |value| Term { value, batched: false };
            let at = |id: ExprId| terms[id.0 as usize];
            let term = match &expr.op {
                ExprOp::Const(number) => plain(self.builder.constant(*number)),
                ExprOp::Training => {
                    let on = self.purpose == Purpose::Train;
                    plain(self.builder.constant(if on { 1.0 } else { 0.0 }))
                }
                ExprOp::Input(index) => batched(inputs[*index]),
                ExprOp::State(index) => batched(states[*index]),
                ExprOp::Param(index) => plain(self.params[*index]),
                ExprOp::Map(scalar, args) => {
                    let args: Vec<Term> = args.iter().map(|&arg| at(arg)).collect();
                    self.map(*scalar, &args, &expr.shape)
                }
                ExprOp::MatMul { x, w, transposed } => {
                    let x = self.batch(at(*x));
                    let form = if *transposed { Form::NT } else { Form::NN };
                    batched(self.builder.matmul(form, x, at(*w).value))
                }
                ExprOp::Sum(x) => self.reduce(Reduce::Sum, at(*x)),
                ExprOp::Max(x) => self.reduce(Reduce::Max, at(*x)),
                ExprOp::Row { table, token } => {
                    batched(self.builder.op(Op::Take, &[at(*table).value, at(*token).value]))
                }
                ExprOp::Number(token) => {
                    let number = self.builder.op(Op::Number, &[at(*token).value]);
                    batched(self.builder.op(Op::Unsqueeze, &[number]))
                }
                ExprOp::Concat(parts) => {
                    let parts: Vec<Value> = parts.iter().map(|&part| self.vector(at(part))).collect();
                    batched(self.builder.op(Op::Concat { axis: 1 }, &parts))
                }
                ExprOp::Slice { x, start, len } => self.cut(at(*x), *start, *len),
                ExprOp::Random => {
                    let drawn = randoms.iter().find(|r| r.0.0 as usize == index);
                    batched(drawn.map_or_else(|| unreachable!("every Random was drawn"), |r| r.1))
                }
                ExprOp::Stop(x) => Term { value: self.builder.op(Op::Stop, &[at(*x).value]), ..at(*x) },
                // The loop's caller takes the last step of the stacked result.
                ExprOp::FinalStep(x) => at(*x),
                ExprOp::Rate | ExprOp::Step => unreachable!("the checker keeps these to optimizers"),
            };
            // The layer whose result is the next.
            let layer = self.results.len();
            self.origins.push(Origin { value: term.value, layer, expr: ExprId(index as u32) });
            terms.push(term);
        }
        terms
    }

    fn map(&mut self, scalar: Scalar, args: &[Term], shape: &[usize]) -> Term {
        let batched = args.iter().any(|arg| arg.batched);
        let lead = if batched { vec![self.rows] } else { vec![] };
        let full = [&lead[..], shape].concat();
        let args: Vec<Value> = args
            .iter()
            .map(|arg| {
                let own = self.builder.ty(arg.value).rank() - usize::from(arg.batched);
                let first = usize::from(batched);
                let mut axes: Vec<usize> = (first..first + own).collect();
                if arg.batched {
                    axes.insert(0, 0);
                }
                self.builder.spread_to(arg.value, axes, &full)
            })
            .collect();
        Term { value: self.builder.map(scalar, &args), batched }
    }

    fn reduce(&mut self, kind: Reduce, x: Term) -> Term {
        let last = self.builder.ty(x.value).rank() - 1;
        Term { value: self.builder.reduce(kind, x.value, vec![last]), ..x }
    }

    fn cut(&mut self, x: Term, start: usize, len: usize) -> Term {
        let shape = self.builder.shape(x.value);
        let axis = shape.len() - 1;
        let sizes = [start, len, shape[axis] - start - len];
        let index = usize::from(start > 0);
        let sizes: Vec<usize> = sizes.into_iter().filter(|&size| size > 0).collect();
        let pieces = self.builder.emit(Op::Split { axis, sizes }, &[x.value]);
        Term { value: pieces[index], ..x }
    }

    /// With the batch axis.
    fn batch(&mut self, x: Term) -> Value {
        if x.batched {
            return x.value;
        }
        let shape = self.builder.shape(x.value);
        let axes = (1..=shape.len()).collect();
        self.builder.spread_to(x.value, axes, &[&[self.rows], &shape[..]].concat())
    }

    /// `[B, n]`; a number becomes a vector of one.
    fn vector(&mut self, x: Term) -> Value {
        let value = self.batch(x);
        if self.builder.ty(value).rank() == 1 && self.builder.ty(value).is_real() {
            return self.builder.op(Op::Unsqueeze, &[value]);
        }
        value
    }

    fn loss(&mut self, probabilities: Value) {
        let shape = self.builder.shape(probabilities);
        let lead = shape[..shape.len() - 1].to_vec();
        let predictions: usize = lead.iter().product();
        let targets = self.builder.input("targets", Type::id(lead), InputRole::Targets);
        let log = self.builder.map(Scalar::Log, &[probabilities]);
        let chosen = self.builder.op(Op::Pick, &[log, targets]);
        let right = self.right(log, chosen, targets);
        if self.purpose == Purpose::Evaluate {
            let losses = self.builder.scale(chosen, -1.0);
            self.builder.output(losses, OutputRole::Loss);
            self.builder.output(right, OutputRole::Hits);
            return;
        }
        let hits = self.builder.sum_all(right);
        let total = self.builder.sum_all(chosen);
        let loss = self.builder.scale(total, -1.0 / predictions as f64);
        let count = match self.model.train.loss {
            Loss::MeanOverSteps => predictions,
            Loss::SumOverSteps => self.rows,
        };
        let objective = self.builder.scale(total, -1.0 / count as f64);
        self.builder.output(objective, OutputRole::Objective);
        self.builder.output(loss, OutputRole::Loss);
        self.builder.output(hits, OutputRole::Hits);
    }

    /// 1 for each target that is predicted, and else 0: it is the first of the elements with the largest logarithm. `log` is
    /// `[.., vocab]`; `chosen`, its elements at the targets, `targets` and the result are `[..]`.
    fn right(&mut self, log: Value, chosen: Value, targets: Value) -> Value {
        let shape = self.builder.shape(log);
        let last = shape.len() - 1;
        let lead: Vec<usize> = (0..last).collect();
        let best = self.builder.reduce(Reduce::Max, log, vec![last]);
        let among_best = self.builder.map(Scalar::Ge, &[chosen, best]);
        let best = self.builder.spread_to(best, lead.clone(), &shape);
        let is_best = self.builder.map(Scalar::Ge, &[log, best]);
        let place = self.builder.op(Op::Positions { len: shape[last] }, &[]);
        let place = self.builder.spread_to(place, vec![last], &shape);
        let target = self.builder.op(Op::Number, &[targets]);
        let target = self.builder.spread_to(target, lead, &shape);
        let is_before = self.builder.map(Scalar::Lt, &[place, target]);
        let is_better = self.builder.mul(is_best, is_before);
        let any_better = self.builder.reduce(Reduce::Max, is_better, vec![last]);
        self.builder.map(Scalar::Gt, &[among_best, any_better])
    }
}
