//! Parameters of other programs for a model: which tensors of a file each of them is made of.
//!
//! This is said by a mapping file ([`map`]), by the tensors' names, if these are the model's, or found by comparing the model's
//! layers with the modules of PyTorch whose tensors the file has ([`matching`]). Each way ends in a [`Plan`], a value for each
//! parameter; [`check`] says all that does not fit.

pub mod check;
pub mod map;
pub mod matching;
pub mod print;
mod units;
pub mod value;
pub mod vocabulary;

use lstmc_compiler::model::{Model, Param};
use lstmc_runtime::weights::Weights;

use self::map::Map;
use self::value::Value;

/// What the parameters of a model are made of.
#[derive(Debug)]
pub struct Plan {
    /// Of each parameter of the model, in its order.
    pub made: Vec<Made>,
    /// Values that have to be the same, as both are the value of one parameter.
    pub same: Vec<(Value, Value)>,
    /// How it was found, in words.
    pub how: String,
    /// Whether a parameter is the tensor of its name.
    pub by_name: bool,
}

/// One parameter.
#[derive(Debug)]
pub struct Made {
    pub param: String,
    pub shape: Vec<usize>,
    /// None if nothing was found.
    pub value: Option<Value>,
    /// Of the mapping file.
    pub line: Option<usize>,
}

impl Made {
    fn new(param: &Param, value: Option<Value>) -> Self {
        Self { param: param.name.clone(), shape: param.shape.clone(), value, line: None }
    }
}

impl Plan {
    /// A parameter is the tensor of its name.
    pub fn by_name(model: &Model, weights: &Weights) -> Self {
        let value = |param: &Param| {
            let there = weights.tensors.contains_key(&param.name);
            there.then(|| Value::Tensor(param.name.clone()))
        };
        let made = model.params.iter().map(|param| Made::new(param, value(param))).collect();
        Self { made, same: vec![], how: "the model's own".into(), by_name: true }
    }

    /// As a mapping file says; its lines for what the model does not have are errors, which [`check`] says.
    pub fn by_map(model: &Model, map: &Map) -> Self {
        let made = |param: &Param| {
            let line = map.lines.iter().find(|(name, ..)| *name == param.name);
            let value = line.map(|(_, value, _)| value.clone());
            Made { line: line.map(|(.., number)| *number), ..Made::new(param, value) }
        };
        Self {
            made: model.params.iter().map(made).collect(),
            same: vec![],
            how: "those of the mapping file".into(),
            by_name: false,
        }
    }

    /// Nothing is known.
    pub fn nothing(model: &Model) -> Self {
        let made = model.params.iter().map(|param| Made::new(param, None)).collect();
        Self { made, same: vec![], how: "none".into(), by_name: false }
    }

    /// The tensors that it is made of, each once, in their order.
    pub fn tensors(&self) -> Vec<&str> {
        let same = self.same.iter().flat_map(|(a, b)| [a, b]);
        let values = self.made.iter().filter_map(|made| made.value.as_ref()).chain(same);
        let mut names: Vec<&str> = values.flat_map(Value::tensors).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Biases that a file does not have.
    pub fn zeros(&self) -> Option<Vec<String>> {
        let zero = |made: &&Made| made.line.is_none() && made.value == Some(Value::Number(0.0));
        let names: Vec<String> = self.made.iter().filter(zero).map(|made| made.param.clone()).collect();
        (!names.is_empty()).then_some(names)
    }

    /// Whether a file has tensors with names of the model's.
    pub fn has_names(model: &Model, weights: &Weights) -> bool {
        model.params.iter().any(|param| weights.tensors.contains_key(&param.name))
    }
}
