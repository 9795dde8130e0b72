//! A model's parameters as PyTorch's modules have them, where its layers are what these compute.
//!
//! What `nn.LSTM` has as one matrix, `weight_ih_l0 [4 * units, in]`, are here four, `W_i, W_f, W_g, W_o [in, units]`; and where it
//! has two biases and adds them up there is one here.

mod known;

use anyhow::Result;
use lstmc_compiler::model::{Layer, Model, Source as Read};

use self::known::{Known, is_nothing, known};

/// Which of PyTorch's modules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Embedding,
    Lstm,
    Gru,
    Rnn,
    Linear,
    LayerNorm,
    /// Makes a distribution of logits, without parameters.
    Softmax,
}

impl Kind {
    /// As PyTorch calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Embedding => "nn.Embedding",
            Self::Lstm => "nn.LSTM",
            Self::Gru => "nn.GRU",
            Self::Rnn => "nn.RNN",
            Self::Linear => "nn.Linear",
            Self::LayerNorm => "nn.LayerNorm",
            Self::Softmax => "nn.Softmax",
        }
    }

    pub fn is_recurrent(self) -> bool {
        matches!(self, Self::Lstm | Self::Gru | Self::Rnn)
    }

    /// Its gates in PyTorch's order, as parameters here are called: of the input's matrices, of the state's, of the one bias, and
    /// of the other. A bias of which both have a part has its whole in the first.
    fn gates(self) -> [&'static [&'static str]; 4] {
        match self {
            Self::Lstm => [
                &["W_i", "W_f", "W_g", "W_o"],
                &["R_i", "R_f", "R_g", "R_o"],
                &["b_i", "b_f", "b_g", "b_o"],
                &["b_i", "b_f", "b_g", "b_o"],
            ],
            Self::Gru => [
                &["W_r", "W_z", "W_n"],
                &["R_r", "R_z", "R_n"],
                &["b_r", "b_z", "b_n"],
                &["b_r", "b_z", "c_n"],
            ],
            Self::Rnn => [&["W"], &["R"], &["b"], &["b"]],
            Self::Embedding | Self::Linear | Self::LayerNorm | Self::Softmax => [&[], &[], &[], &[]],
        }
    }
}

/// A tensor in PyTorch's layout.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    pub name: String,
    pub shape: Vec<usize>,
    /// The parameters that lie one under the other in it.
    pub parts: Vec<Part>,
    /// Whether each is there with its columns as rows.
    pub transposed: bool,
}

/// What a tensor has of a parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    pub param: String,
    /// Without it, this is a summand: zeros where lstmc writes it, as another tensor has the whole.
    pub whole: bool,
}

/// A module that a layer is.
#[derive(Clone, Debug)]
pub struct Module {
    pub kind: Kind,
    /// Whether there is nothing behind it in the layer, such as a nonlinearity.
    pub alone: bool,
    /// Names without the module's, and of recurrent ones without the number of the layer: `weight_ih`.
    pub tensors: Vec<Tensor>,
}

/// What a layer is to PyTorch.
#[derive(Clone, Debug)]
pub enum What {
    /// Gives what it reads, but for steps that are left out, or tokens as numbers.
    Nothing,
    Module(Module),
    Other,
}

/// What each of a model's layers is.
///
/// # Errors
/// None that a model could have.
pub fn layers(model: &Model) -> Result<Vec<What>> {
    let what = |layer: &Layer| {
        if is_nothing(layer) {
            return Ok(What::Nothing);
        }
        let width = match layer.inputs[..] {
            [Read::Layer(before)] => model.layers[before].width,
            [Read::Tokens] => 1,
            _ => return Ok(What::Other),
        };
        Ok(match known(model, layer, width)? {
            Some(known) => What::Module(Module {
                kind: known.kind,
                alone: known.alone,
                tensors: tensors_of(&known, layer.width, width, model.vocab),
            }),
            None => What::Other,
        })
    };
    model.layers.iter().map(what).collect()
}

/// The tensors of an `nn.Embedding`, if there is one, an `nn.LSTM` and an `nn.Linear`, called `embedding`, `lstm` and
/// `linear`; `None` if the model is something else.
///
/// # Errors
/// As [`layers`].
pub fn tensors(model: &Model) -> Result<Option<Vec<Tensor>>> {
    let mut tensors = vec![];
    let mut found: Vec<(Kind, usize)> = vec![];
    for (index, (what, layer)) in layers(model)?.into_iter().zip(&model.layers).enumerate() {
        let chained = layer.inputs == [index.checked_sub(1).map_or(Read::Tokens, Read::Layer)];
        let module = match what {
            _ if !chained => return Ok(None),
            What::Nothing => continue,
            // The model's result, and PyTorch's loss has it.
            What::Module(Module { kind: Kind::Softmax, .. }) if index == model.output => continue,
            What::Module(module) if module.alone => module,
            What::Module(_) | What::Other => return Ok(None),
        };
        let number = found.iter().filter(|(of, _)| *of == module.kind).count();
        let name = |tensor: &Tensor| match module.kind {
            Kind::Embedding => format!("embedding.{}", tensor.name),
            Kind::Linear => format!("linear.{}", tensor.name),
            // Of others than LSTMs nothing is made in the end.
            _ => format!("lstm.{}_l{number}", tensor.name),
        };
        tensors.extend(module.tensors.iter().map(|one| Tensor { name: name(one), ..one.clone() }));
        found.push((module.kind, layer.width));
    }
    let alike = match &found[..] {
        [(Kind::Embedding, _), lstms @ .., (Kind::Linear, _)] | [lstms @ .., (Kind::Linear, _)] => {
            lstms.first().is_some_and(|first| first.0 == Kind::Lstm && lstms.iter().all(|one| one == first))
        }
        _ => false,
    };
    Ok(alike.then_some(tensors))
}

/// The tensors of a layer of so many units that reads `width`.
fn tensors_of(known: &Known, units: usize, width: usize, vocab: usize) -> Vec<Tensor> {
    let tensor =
        |name: &str, shape: &[usize], names: &[&str], transposed: bool, whole: &dyn Fn(&str) -> bool| {
            let part = |own: &&str| Some(Part { param: known.param(own)?.to_owned(), whole: whole(own) });
            let parts: Vec<Part> = names.iter().filter_map(part).collect();
            let (name, shape) = (name.to_owned(), shape.to_vec());
            (!parts.is_empty()).then_some(Tensor { name, shape, parts, transposed })
        };
    let all = |_: &str| true;
    let found = match known.kind {
        Kind::Softmax => vec![],
        Kind::Embedding => vec![tensor("weight", &[vocab, units], &["E"], false, &all)],
        Kind::Linear => vec![
            tensor("weight", &[units, width], &["W"], true, &all),
            // It is another layer's, and lies as PyTorch has it.
            tensor("weight", &[units, width], &["E"], false, &all),
            tensor("bias", &[units], &["b"], false, &all),
        ],
        Kind::LayerNorm => vec![
            tensor("weight", &[units], &["gain"], false, &all),
            tensor("bias", &[units], &["bias"], false, &all),
        ],
        Kind::Lstm | Kind::Gru | Kind::Rnn => {
            let [w, r, b, c] = known.kind.gates();
            let rows = w.len() * units;
            vec![
                tensor("weight_ih", &[rows, width], w, true, &all),
                tensor("weight_hh", &[rows, units], r, true, &all),
                tensor("bias_ih", &[rows], b, false, &all),
                tensor("bias_hh", &[rows], c, false, &|name| !b.contains(&name)),
            ]
        }
    };
    found.into_iter().flatten().collect()
}

/// All of a model's parameters under their own names.
pub fn own(model: &Model) -> Vec<Tensor> {
    let tensor = |param: &lstmc_compiler::model::Param| Tensor {
        name: param.name.clone(),
        shape: param.shape.clone(),
        parts: vec![Part { param: param.name.clone(), whole: true }],
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
            let values = read(&part.param)?;
            if !part.whole {
                all.resize(all.len() + values.len(), 0.0);
                continue;
            }
            if !self.transposed {
                all.extend(values);
                continue;
            }
            // The parameter has as many rows as this has columns.
            let rows = values.len() / columns;
            all.extend((0..rows).flat_map(|row| values.iter().skip(row).step_by(rows)));
        }
        Ok(all)
    }
}
