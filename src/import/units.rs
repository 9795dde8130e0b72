//! The modules of PyTorch that a file has tensors of, told from the names of the tensors.

use std::collections::BTreeMap;

use lstmc_runtime::weights::Weights;

use crate::pytorch::{Kind, Module};

/// A module, or what looks like one.
#[derive(Debug)]
pub struct Unit {
    /// What the module is called in the one around it: what stands before the last point.
    pub name: String,
    pub recurrent: bool,
    /// For each of its layers, of which those that are not recurrent have one, the tensors: what they are in the layer
    /// (`weight_ih`), and what they are called in the file.
    pub layers: Vec<BTreeMap<String, String>>,
    /// Tensors that make it something else than a module here is, such as those of the other direction.
    pub others: Vec<String>,
}

/// What the tensors of recurrent modules are called, before the number of their layer.
const RECURRENT: [&str; 4] = ["weight_ih", "weight_hh", "bias_ih", "bias_hh"];

/// The most layers of a module. Numbers of layers are others' words.
const LAYERS: usize = 1 << 10;

/// What a tensor is, by its name in the module.
enum Role<'n> {
    /// In this layer of a recurrent module.
    Recurrent(&'n str, usize),
    /// Of a module with a weight and perhaps a bias.
    Plain(&'n str),
    Other,
}

fn role(name: &str) -> Role<'_> {
    if matches!(name, "weight" | "bias") {
        return Role::Plain(name);
    }
    for own in RECURRENT {
        match name.strip_prefix(own) {
            // A cell, which is a layer of its own.
            Some("") => return Role::Recurrent(own, 0),
            Some(rest) => {
                let number = rest.strip_prefix("_l").and_then(|number| number.parse().ok());
                if let Some(number) = number.filter(|&number| number < LAYERS) {
                    return Role::Recurrent(own, number);
                }
            }
            None => {}
        }
    }
    Role::Other
}

/// The modules of a file, in the order of their names, where numbers are ordered as numbers.
pub fn units(weights: &Weights) -> Vec<Unit> {
    let mut found: BTreeMap<String, Unit> = BTreeMap::new();
    for tensor in weights.tensors.keys() {
        let (module, own) = tensor.rsplit_once('.').unwrap_or(("", tensor));
        let role = role(own);
        let recurrent = match role {
            Role::Recurrent(..) => true,
            Role::Plain(_) => false,
            // It belongs to a recurrent module if it is called like its tensors.
            Role::Other => {
                RECURRENT.iter().any(|start| own.starts_with(start)) || own.starts_with("weight_hr")
            }
        };
        let key = format!("{}{}", sorted(module), if recurrent { " recurrent" } else { "" });
        let new = || Unit { name: module.to_owned(), recurrent, layers: vec![], others: vec![] };
        let unit = found.entry(key).or_insert_with(new);
        let (number, own) = match role {
            Role::Recurrent(own, number) => (number, own),
            Role::Plain(own) => (0, own),
            Role::Other => {
                unit.others.push(tensor.clone());
                continue;
            }
        };
        if unit.layers.len() <= number {
            unit.layers.resize_with(number + 1, BTreeMap::new);
        }
        unit.layers[number].insert(own.to_owned(), tensor.clone());
    }
    // What has no weight or bias is no module.
    found.into_values().filter(|unit| !unit.layers.is_empty()).collect()
}

/// A name with its numbers so long that they are in their order.
fn sorted(name: &str) -> String {
    let mut out = String::new();
    let mut digits = String::new();
    for c in name.chars().map(Some).chain([None]) {
        match c {
            Some(c) if c.is_ascii_digit() => digits.push(c),
            _ => {
                if !digits.is_empty() {
                    out += &format!("{:0>20}", std::mem::take(&mut digits));
                }
                out.extend(c);
            }
        }
    }
    out
}

impl Unit {
    /// The tensors of one of its layers that are those of a module of the model's: for each the file's name, or none where there
    /// need not be one. None if a tensor is missing that has to be there, has another shape, or is too much.
    ///
    /// `optional` says whether a tensor need not be there.
    pub fn fits(
        &self,
        number: usize,
        module: &Module,
        weights: &Weights,
        optional: &dyn Fn(&str) -> bool,
    ) -> Option<Vec<Option<String>>> {
        let layer = self.layers.get(number).filter(|_| self.others.is_empty())?;
        let known = |own: &String| module.tensors.iter().any(|tensor| tensor.name == *own);
        if self.recurrent != module.kind.is_recurrent() || !layer.keys().all(known) {
            return None;
        }
        let of = |tensor: &crate::pytorch::Tensor| match layer.get(&tensor.name) {
            Some(name) => {
                let shape = weights.tensors.get(name).map(|stored| &stored.shape);
                (shape == Some(&tensor.shape)).then(|| Some(name.clone()))
            }
            None => optional(&tensor.name).then_some(None),
        };
        module.tensors.iter().map(of).collect()
    }

    /// Whether its name says that it is such a module. This counts only where shapes leave a choice.
    pub fn is_called_like(&self, kind: Kind) -> bool {
        let name = self.name.rsplit('.').next().unwrap_or_default().to_lowercase();
        let has = |words: &[&str]| words.iter().any(|word| name.contains(word));
        match kind {
            Kind::Embedding => has(&["emb", "wte"]) || name == "encoder",
            Kind::Linear => {
                has(&["linear", "fc", "dense", "out", "head", "proj", "logit"]) || name == "decoder"
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_names_are_in_their_order() {
        let mut names = ["rnns.10", "rnns.2", "rnn", "rnns.1.cell9", "rnns.1.cell10"];
        names.sort_by_key(|name| sorted(name));
        assert_eq!(names, ["rnn", "rnns.1.cell9", "rnns.1.cell10", "rnns.2", "rnns.10"]);
    }

    #[test]
    fn tensors_are_told_by_their_names() {
        let of = |name| match role(name) {
            Role::Recurrent(own, number) => format!("{own} {number}"),
            Role::Plain(own) => own.into(),
            Role::Other => "other".into(),
        };
        for (name, expected) in [
            ("weight_ih_l0", "weight_ih 0"),
            ("bias_hh_l12", "bias_hh 12"),
            ("weight_hh", "weight_hh 0"),
            ("weight_ih_l0_reverse", "other"),
            ("weight_hr_l0", "other"),
            ("weight_ih_l99999999999999999999", "other"),
            ("weight_ih_l4000000", "other"),
            ("weight", "weight"),
            ("running_mean", "other"),
        ] {
            assert_eq!(of(name), expected, "{name}");
        }
    }
}
