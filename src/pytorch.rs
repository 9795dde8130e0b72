//! A model's parameters as PyTorch's layers have them, where the model is what these compute.
//!
//! Whether a layer is one of PyTorch's is told from its equations and not from its name: they are compared with those of the
//! prelude's layer of the same sizes. What `nn.LSTM` has as one matrix, `weight_ih_l0 [4 * units, in]`, are here four,
//! `W_i, W_f, W_g, W_o [in, units]`; and it has two biases, of which the second is zero here.

use std::path::Path;

use anyhow::Result;
use lstmc_compiler::model::{ExprOp, Layer, Model, Source as Read, State};
use lstmc_compiler::scalar::Scalar;

use crate::compile::Source;

/// The gates in PyTorch's order.
const GATES: [&str; 4] = ["i", "f", "g", "o"];

/// A tensor in PyTorch's layout.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    pub name: String,
    pub shape: Vec<usize>,
    /// The parameters that lie one under the other in it; without one it is all zeros.
    parts: Vec<String>,
    /// Whether each is there with its columns as rows.
    transposed: bool,
}

/// What a layer is to PyTorch.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// Gives what it reads, but for steps that are left out, or tokens as numbers.
    Nothing,
    /// Makes a distribution of logits.
    Softmax,
    Embedding,
    Lstm,
    Linear,
}

/// The tensors of an `nn.Embedding`, if there is one, an `nn.LSTM` and an `nn.Linear`, called `embedding`, `lstm` and
/// `linear`; `None` if the model is something else.
///
/// # Errors
/// Those of a template, which has none.
pub fn tensors(model: &Model) -> Result<Option<Vec<Tensor>>> {
    let mut tensors = vec![];
    let mut found: Vec<(Kind, usize)> = vec![];
    for (index, layer) in model.layers.iter().enumerate() {
        let before = index.checked_sub(1);
        let width = before.map_or(1, |before| model.layers[before].width);
        let chained = layer.inputs == [before.map_or(Read::Tokens, Read::Layer)];
        let Some(kind) = kind(model, layer, width)?.filter(|_| chained) else { return Ok(None) };
        match kind {
            Kind::Nothing => continue,
            // The model's result, and PyTorch's loss has it.
            Kind::Softmax if index == model.output => continue,
            Kind::Softmax => return Ok(None),
            Kind::Embedding => {
                tensors.push(plain("embedding.weight", layer, "E", [model.vocab, layer.width]))
            }
            Kind::Lstm => {
                tensors.extend(lstm(layer, found.iter().filter(|(of, _)| *of == kind).count(), width))
            }
            Kind::Linear => tensors.extend(linear(layer, width)),
        }
        found.push((kind, layer.width));
    }
    let alike = match &found[..] {
        [(Kind::Embedding, _), lstms @ .., (Kind::Linear, _)] | [lstms @ .., (Kind::Linear, _)] => {
            lstms.first().is_some_and(|first| first.0 == Kind::Lstm && lstms.iter().all(|one| one == first))
        }
        _ => false,
    };
    Ok(alike.then_some(tensors))
}

fn kind(model: &Model, layer: &Layer, width: usize) -> Result<Option<Kind>> {
    if is_nothing(layer) {
        return Ok(Some(Kind::Nothing));
    }
    let (units, vocab) = (layer.width, model.vocab);
    let templates = [
        (Kind::Embedding, 0, format!("embedding({units})")),
        (Kind::Lstm, 1, format!("embedding({width}) -> lstm({units})")),
        (Kind::Linear, 1, format!("embedding({width}) -> dense({units})")),
        (Kind::Softmax, 1, format!("embedding({width}) -> softmax -> dense(vocab)")),
    ];
    for (kind, place, chain) in templates {
        let text = format!(
            "data {{ train: \"a\" tokens: words batches: stream(rows: 1, steps: 1) }} model {{ tokens -> {chain} -> \
             dense(vocab) }} train {{ loss: cross_entropy optimizer: sgd epochs: 1 }}"
        );
        let template = Source::parse(Path::new("template"), &text, false)?.model(vocab)?;
        if equations(&template, &template.layers[place]) == equations(model, layer) {
            return Ok(Some(kind));
        }
    }
    Ok(None)
}

/// Whether a layer gives its input when the model does not train, the last step of it, or a token's number.
fn is_nothing(layer: &Layer) -> bool {
    let op = |id: lstmc_compiler::model::ExprId| &layer.body.exprs[id.0 as usize].op;
    match op(layer.body.result) {
        ExprOp::FinalStep(x) | ExprOp::Number(x) => matches!(op(*x), ExprOp::Input(0)),
        ExprOp::Map(Scalar::Select, args) => {
            matches!([op(args[0]), op(args[2])], [ExprOp::Training, ExprOp::Input(0)])
        }
        _ => false,
    }
}

/// What a layer computes, whatever it is called and wherever it stands.
#[derive(PartialEq)]
struct Equations<'m> {
    /// With parameters numbered as they occur, by their names in the layer.
    ops: Vec<(ExprOp, &'m [usize])>,
    params: Vec<&'m str>,
    /// Widths and first values.
    states: Vec<(usize, f64)>,
    next: Vec<u32>,
    result: u32,
}

fn equations<'m>(model: &'m Model, layer: &'m Layer) -> Equations<'m> {
    let mut params = vec![];
    let mut op = |op: &ExprOp| {
        let ExprOp::Param(index) = op else { return op.clone() };
        let name = model.params[*index].name.as_str();
        let own = name.strip_prefix(&layer.name).and_then(|name| name.strip_prefix('.'));
        params.push(own.unwrap_or(name));
        ExprOp::Param(params.len())
    };
    let ops = layer.body.exprs.iter().map(|expr| (op(&expr.op), &expr.shape[..])).collect();
    Equations {
        ops,
        params,
        states: layer.states.iter().map(|State { width, start, .. }| (*width, *start)).collect(),
        next: layer.body.next.iter().map(|id| id.0).collect(),
        result: layer.body.result.0,
    }
}

fn plain(name: &str, layer: &Layer, param: &str, shape: [usize; 2]) -> Tensor {
    let parts = vec![format!("{}.{param}", layer.name)];
    Tensor { name: name.into(), shape: shape.into(), parts, transposed: false }
}

/// Those of layer `number` of the LSTM.
fn lstm(layer: &Layer, number: usize, width: usize) -> [Tensor; 4] {
    let rows = GATES.len() * layer.width;
    let of = |letter: &str| GATES.map(|gate| format!("{}.{letter}_{gate}", layer.name)).to_vec();
    let tensor = |what: &str, shape: &[usize], parts: Vec<String>| Tensor {
        name: format!("lstm.{what}_l{number}"),
        shape: shape.into(),
        transposed: shape.len() == 2,
        parts,
    };
    [
        tensor("weight_ih", &[rows, width], of("W")),
        tensor("weight_hh", &[rows, layer.width], of("R")),
        tensor("bias_ih", &[rows], of("b")),
        tensor("bias_hh", &[rows], vec![]),
    ]
}

fn linear(layer: &Layer, width: usize) -> [Tensor; 2] {
    let weight = Tensor { transposed: true, ..plain("linear.weight", layer, "W", [layer.width, width]) };
    let parts = vec![format!("{}.b", layer.name)];
    [weight, Tensor { name: "linear.bias".into(), shape: vec![layer.width], parts, transposed: false }]
}

/// All of a model's parameters under their own names.
pub fn own(model: &Model) -> Vec<Tensor> {
    let tensor = |param: &lstmc_compiler::model::Param| Tensor {
        name: param.name.clone(),
        shape: param.shape.clone(),
        parts: vec![param.name.clone()],
        transposed: false,
    };
    model.params.iter().map(tensor).collect()
}

impl Tensor {
    /// Its values, row by row; `read` has those of a parameter.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn values<E>(&self, read: &dyn Fn(&str) -> Result<Vec<f32>, E>) -> Result<Vec<f32>, E> {
        let columns = self.shape.last().copied().unwrap_or(1);
        let mut all = Vec::with_capacity(self.shape.iter().product());
        for part in &self.parts {
            let values = read(part)?;
            if !self.transposed {
                all.extend(values);
                continue;
            }
            // The parameter has as many rows as this has columns.
            let rows = values.len() / columns;
            all.extend((0..rows).flat_map(|row| values.iter().skip(row).step_by(rows)));
        }
        all.resize(self.shape.iter().product(), 0.0);
        Ok(all)
    }
}
