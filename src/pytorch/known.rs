//! Which of PyTorch's modules a layer is. This is told from its equations and not from its name: they are compared with those
//! of layers that are known, of the same sizes.

use std::path::Path;

use anyhow::Result;
use lstmc_compiler::model::{ExprId, ExprOp, Layer, Model, State};
use lstmc_compiler::scalar::Scalar;

use super::Kind;
use crate::compile::Source;

/// A layer that is a module of PyTorch's.
pub struct Known {
    pub kind: Kind,
    /// Whether there is nothing behind the module, such as a nonlinearity, in the layer.
    pub alone: bool,
    /// The model's parameters, by what [`TEMPLATES`] call them.
    params: Vec<(String, String)>,
}

impl Known {
    /// The model's parameter that is called so in the template, if that has it.
    pub fn param(&self, name: &str) -> Option<&str> {
        self.params.iter().find(|(own, _)| own == name).map(|(_, param)| param.as_str())
    }
}

/// Layers that the prelude does not have: products with a matrix that another layer has too, and without bias.
const LAYERS: &str = "
layer product(x: [in], units) { param W: [in, units] return x @ W }
layer tied(x: [in], table: [rows, in]) { param b: [rows] = zeros return x @ transpose(table) + b }
layer tied_product(x: [in], table: [rows, in]) { return x @ transpose(table) }
";

/// A layer of `UNITS`, which reads `WIDTH` unless it reads tokens; and whether it is the module alone.
const TEMPLATES: [(Kind, &str, bool); 14] = [
    (Kind::Embedding, "embedding(UNITS)", true),
    (Kind::Lstm, "lstm(UNITS)", true),
    (Kind::Gru, "gru(UNITS)", true),
    (Kind::Rnn, "rnn(UNITS)", true),
    (Kind::Rnn, "rnn(UNITS, activation: relu)", true),
    (Kind::Linear, "dense(UNITS)", true),
    (Kind::Linear, "product(UNITS)", true),
    (Kind::Linear, "tied(E)", true),
    (Kind::Linear, "tied_product(E)", true),
    (Kind::Linear, "dense(UNITS, activation: relu)", false),
    (Kind::Linear, "dense(UNITS, activation: tanh)", false),
    (Kind::Linear, "dense(UNITS, activation: sigmoid)", false),
    (Kind::LayerNorm, "layer_norm", true),
    (Kind::Softmax, "softmax", true),
];

/// What a layer is that reads `width` numbers, or tokens.
///
/// # Errors
/// Those of a template, which has none.
pub fn known(model: &Model, layer: &Layer, width: usize) -> Result<Option<Known>> {
    for (kind, call, alone) in TEMPLATES {
        let template = template(kind, call, width, layer.width, model.vocab)?;
        let place = usize::from(kind != Kind::Embedding);
        let own = equations(&template, &template.layers[place]);
        let found = equations(model, layer);
        if own == found {
            let pairs = own.params.iter().zip(&found.params);
            let params = pairs.map(|(own, param)| (in_layer(own).to_owned(), (*param).to_owned())).collect();
            return Ok(Some(Known { kind, alone, params }));
        }
    }
    Ok(None)
}

/// A parameter's name without that of the layer's use.
fn in_layer(name: &str) -> &str {
    name.split_once('.').map_or(name, |(_, own)| own)
}

fn template(kind: Kind, call: &str, width: usize, units: usize, vocab: usize) -> Result<Model> {
    let call = call.replace("UNITS", &units.to_string());
    let table = if call.contains("(E)") { format!("param E: [{units}, {width}];") } else { String::new() };
    let before = if kind == Kind::Embedding { String::new() } else { format!("embedding({width}) -> ") };
    let text = format!(
        "{LAYERS} data {{ train: \"a\" tokens: words batches: stream(rows: 1, steps: 1) }} \
         model {{ {table} tokens -> {before}{call} -> dense(vocab) }} \
         train {{ loss: cross_entropy optimizer: sgd epochs: 1 }}"
    );
    Source::parse(Path::new("template"), &text, false)?.model(vocab)
}

/// Whether a layer gives its input when the model does not train, the last step of it, or a token's number.
pub fn is_nothing(layer: &Layer) -> bool {
    let op = |id: ExprId| &layer.body.exprs[id.0 as usize].op;
    match op(layer.body.result) {
        ExprOp::FinalStep(x) | ExprOp::Number(x) => matches!(op(*x), ExprOp::Input(0)),
        ExprOp::Map(Scalar::Select, args) => {
            matches!([op(args[0]), op(args[2])], [ExprOp::Training, ExprOp::Input(0)])
        }
        _ => false,
    }
}

/// What a layer computes, whatever it and its parameters are called and wherever it stands.
struct Equations<'m> {
    /// With parameters numbered as they first occur.
    ops: Vec<(ExprOp, &'m [usize])>,
    params: Vec<&'m str>,
    /// Widths and first values.
    states: Vec<(usize, f64)>,
    next: Vec<u32>,
    result: u32,
}

impl PartialEq for Equations<'_> {
    fn eq(&self, other: &Self) -> bool {
        let all = |one: &Self| (one.states.clone(), one.next.clone(), one.result);
        self.ops == other.ops && all(self) == all(other)
    }
}

fn equations<'m>(model: &'m Model, layer: &'m Layer) -> Equations<'m> {
    let mut params = vec![];
    let mut op = |op: &ExprOp| {
        let ExprOp::Param(index) = op else { return op.clone() };
        let name = model.params[*index].name.as_str();
        let place = params.iter().position(|param| *param == name).unwrap_or_else(|| {
            params.push(name);
            params.len() - 1
        });
        ExprOp::Param(place)
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
