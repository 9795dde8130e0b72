//! Which modules of a file are which layers of a model, by their kinds and shapes.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use lstmc_compiler::model::{Model, Source as Read};
use lstmc_runtime::weights::Weights;

use super::check::{some, there};
use super::units::{Unit, units};
use super::value::Value;
use super::{Made, Plan};
use crate::pytorch::{self, Module, Tensor, What};
use crate::show;

/// How many choices are tried: names and shapes are others', and the choices grow with their factorial.
const CHOICES: usize = 100_000;
/// How many ways of equal worth are told apart.
const WAYS: usize = 32;

/// What comes of it.
pub enum Outcome {
    Found(Plan),
    /// Several ways are as good: the first one, and for each layer the modules that it may be.
    Ambiguous(Plan, Vec<String>),
    /// For each that does not fit what is here and what is there, or nothing.
    None(Vec<[String; 2]>),
    /// There are layers that are no modules of PyTorch's, which these are, and nothing is known of them.
    Unknown(Plan, Vec<String>),
}

/// A layer of the model that is a module.
struct Slot<'m> {
    name: &'m str,
    module: Module,
    /// The recurrent layer that flows into this one, with nothing of PyTorch's between.
    follows: Option<usize>,
    /// Tensors that need not be there, by their place: biases, and what another layer has too.
    optional: Vec<bool>,
    /// Modules that may be this one in their first layer.
    candidates: Vec<usize>,
}

/// For each layer the module, and the number of the layer in it.
type Way = Vec<Option<(usize, usize)>>;

/// Looks for the modules.
///
/// # Errors
/// None that a model could have.
pub fn find(model: &Model, weights: &Weights) -> Result<Outcome> {
    let whats = pytorch::layers(model)?;
    let unknown = unknown(model, &whats);
    let units = units(weights);
    let slots = slots(model, whats, &units, weights);
    let mut search = Search::new(&slots, &units, weights);
    search.go(0);
    if !unknown.is_empty() {
        let plan = search.best.first().map(|way| plan(model, &slots, &units, way, weights));
        return Ok(Outcome::Unknown(plan.unwrap_or_else(|| Plan::nothing(model)), unknown));
    }
    Ok(match (&search.best[..], search.choices < CHOICES) {
        ([], _) => Outcome::None(differences(&slots, &units, weights)),
        ([only], true) => Outcome::Found(plan(model, &slots, &units, only, weights)),
        ([first, ..], _) => {
            let candidates = ambiguous(&slots, &units, &search.best);
            Outcome::Ambiguous(plan(model, &slots, &units, first, weights), candidates)
        }
    })
}

/// Layers with parameters that are no modules.
fn unknown(model: &Model, whats: &[What]) -> Vec<String> {
    let own = |what: &What| match what {
        What::Module(module) => {
            module.tensors.iter().flat_map(|tensor| &tensor.parts).map(|part| part.param.clone()).collect()
        }
        _ => vec![],
    };
    let known: BTreeSet<String> = whats.iter().flat_map(own).collect();
    let others = model.params.iter().filter(|param| !known.contains(&param.name));
    let layer = |name: &str| name.split_once('.').map_or(name, |(layer, _)| layer).to_owned();
    let mut layers: Vec<String> = others.map(|param| layer(&param.name)).collect();
    layers.dedup();
    layers
}

fn slots<'m>(model: &'m Model, whats: Vec<What>, units: &[Unit], weights: &Weights) -> Vec<Slot<'m>> {
    let nothing: Vec<bool> = whats.iter().map(|what| matches!(what, What::Nothing)).collect();
    let mut slots: Vec<Slot<'m>> = vec![];
    // The place among the slots of each layer that is one.
    let mut places: BTreeMap<usize, usize> = BTreeMap::new();
    let modules: Vec<(usize, Module)> = whats
        .into_iter()
        .enumerate()
        .filter_map(|(index, what)| match what {
            What::Module(module) if !module.tensors.is_empty() => Some((index, module)),
            _ => None,
        })
        .collect();
    let all: Vec<Tensor> = modules.iter().flat_map(|(_, module)| module.tensors.clone()).collect();
    let sources = |param: &str| {
        all.iter().flat_map(|one| &one.parts).filter(|part| part.whole && part.param == param).count()
    };
    for (index, module) in modules {
        let mut before = model.layers[index].inputs[..].first().copied();
        while let Some(Read::Layer(layer)) = before
            && nothing[layer]
        {
            before = model.layers[layer].inputs.first().copied();
        }
        let follows = match before {
            Some(Read::Layer(layer)) => places.get(&layer).copied(),
            _ => None,
        };
        let follows =
            follows.filter(|&place| module.kind.is_recurrent() && slots[place].module.kind == module.kind);
        let shared = |tensor: &Tensor| tensor.parts.iter().all(|part| part.whole && sources(&part.param) > 1);
        let optional: Vec<bool> =
            module.tensors.iter().map(|tensor| tensor.name.starts_with("bias") || shared(tensor)).collect();
        places.insert(index, slots.len());
        let mut slot =
            Slot { name: &model.layers[index].name, module, follows, optional, candidates: vec![] };
        slot.candidates =
            (0..units.len()).filter(|&unit| slot.fits(&units[unit], 0, weights).is_some()).collect();
        slots.push(slot);
    }
    slots
}

impl Slot<'_> {
    fn fits(&self, unit: &Unit, number: usize, weights: &Weights) -> Option<Vec<Option<String>>> {
        let optional = |name: &str| {
            let place = self.module.tensors.iter().position(|tensor| tensor.name == name);
            place.is_some_and(|place| self.optional[place])
        };
        unit.fits(number, &self.module, weights, &optional).filter(|found| found.iter().any(Option::is_some))
    }
}

/// Tries all ways, and keeps the best ones: those of most tensors, and then of most names that say what they are.
struct Search<'s> {
    slots: &'s [Slot<'s>],
    units: &'s [Unit],
    weights: &'s Weights,
    way: Way,
    taken: Vec<bool>,
    choices: usize,
    score: (usize, usize),
    best: Vec<Way>,
}

impl<'s> Search<'s> {
    fn new(slots: &'s [Slot<'s>], units: &'s [Unit], weights: &'s Weights) -> Self {
        let (way, taken) = (vec![None; slots.len()], vec![false; units.len()]);
        Self { slots, units, weights, way, taken, choices: 0, score: (0, 0), best: vec![] }
    }

    fn go(&mut self, place: usize) {
        self.choices += 1;
        if self.choices >= CHOICES {
            return;
        }
        let Some(slot) = self.slots.get(place) else { return self.judge() };
        if self.way[place].is_some() {
            return self.go(place + 1);
        }
        for &unit in &slot.candidates {
            if self.taken[unit] {
                continue;
            }
            let Some(chain) = self.chain(place, unit) else { continue };
            self.taken[unit] = true;
            chain.iter().enumerate().for_each(|(number, &at)| self.way[at] = Some((unit, number)));
            self.go(place + 1);
            chain.iter().for_each(|&at| self.way[at] = None);
            self.taken[unit] = false;
        }
        if slot.optional.iter().all(|&optional| optional) {
            self.go(place + 1);
        }
    }

    /// The layers that all layers of a module are, from this one on.
    fn chain(&self, first: usize, unit: usize) -> Option<Vec<usize>> {
        let unit = &self.units[unit];
        let mut chain = vec![first];
        for number in 1..unit.layers.len() {
            let last = chain.last().copied();
            let next = (first..self.slots.len()).find(|&at| {
                let slot = &self.slots[at];
                slot.follows == last
                    && self.way[at].is_none()
                    && slot.fits(unit, number, self.weights).is_some()
            })?;
            chain.push(next);
        }
        Some(chain)
    }

    fn judge(&mut self) {
        if !complete(self.slots, &self.way) {
            return;
        }
        let mut score = (0, 0);
        for (slot, way) in self.slots.iter().zip(&self.way) {
            let Some((unit, number)) = *way else { continue };
            score.0 += self.units[unit].layers[number].len();
            score.1 += usize::from(self.units[unit].is_called_like(slot.module.kind));
        }
        if self.best.is_empty() || score > self.score {
            (self.score, self.best) = (score, vec![]);
        }
        if score == self.score && self.best.len() < WAYS {
            self.best.push(self.way.clone());
        }
    }
}

/// Whether each parameter that layers share is there in one of them.
fn complete(slots: &[Slot<'_>], way: &Way) -> bool {
    let of = |filled: bool| {
        let slots =
            slots.iter().zip(way).filter(move |(_, way)| way.is_some() == filled).map(|(slot, _)| slot);
        slots.flat_map(|slot| &slot.module.tensors).flat_map(|tensor| &tensor.parts).map(|part| &part.param)
    };
    let there: BTreeSet<&String> = of(true).collect();
    of(false).all(|param| there.contains(param))
}

/// What each parameter is made of when layers are these modules.
fn plan(model: &Model, slots: &[Slot<'_>], units: &[Unit], way: &Way, weights: &Weights) -> Plan {
    let mut wholes: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    let mut summands: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    let mut biases: BTreeSet<&str> = BTreeSet::new();
    for (slot, way) in slots.iter().zip(way) {
        let found =
            way.and_then(|(unit, number)| slot.fits(&units[unit], number, weights)).unwrap_or_default();
        for (place, tensor) in slot.module.tensors.iter().enumerate() {
            let count = tensor.parts.len();
            for (number, part) in tensor.parts.iter().enumerate() {
                if tensor.name.starts_with("bias") {
                    biases.insert(&part.param);
                }
                let Some(Some(name)) = found.get(place) else { continue };
                let value = Value::Tensor(name.clone()).share(number + 1, count);
                let value = if tensor.transposed { value.transposed() } else { value };
                let sources = if part.whole { &mut wholes } else { &mut summands };
                sources.entry(&part.param).or_default().push(value);
            }
        }
    }
    let mut same = vec![];
    let mut value = |param: &str| {
        let (wholes, summands) =
            (wholes.remove(param).unwrap_or_default(), summands.remove(param).unwrap_or_default());
        let mut rest = wholes.into_iter();
        match rest.next() {
            Some(first) => {
                same.extend(rest.map(|other| (first.clone(), other)));
                Some(first.plus(summands))
            }
            None => {
                let mut summands = summands.into_iter();
                let none = biases.contains(param).then_some(Value::Number(0.0));
                summands.next().map(|first| first.plus(summands)).or(none)
            }
        }
    };
    let made = model.params.iter().map(|param| Made::new(param, value(&param.name))).collect();
    Plan { made, same, how: in_words(slots, units, way), by_name: false }
}

/// `nn.Embedding encoder, nn.LSTM rnn (2 layers), nn.Linear decoder`.
fn in_words(slots: &[Slot<'_>], units: &[Unit], way: &Way) -> String {
    let mut said: Vec<(usize, String)> = vec![];
    for (slot, way) in slots.iter().zip(way) {
        let Some((unit, 0)) = *way else { continue };
        let layers = match units[unit].layers.len() {
            1 => String::new(),
            many => format!(" ({})", show::many(many as u64, "layer")),
        };
        said.push((unit, format!("{} {}{layers}", slot.module.kind.name(), called(&units[unit]))));
    }
    said.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join(", ")
}

fn called(unit: &Unit) -> &str {
    if unit.name.is_empty() { "(without a name)" } else { &unit.name }
}

/// The layers for which ways differ, with the modules that they may be.
fn ambiguous(slots: &[Slot<'_>], units: &[Unit], ways: &[Way]) -> Vec<String> {
    let mut lines = vec![];
    for (place, slot) in slots.iter().enumerate() {
        let may: BTreeSet<usize> = ways.iter().filter_map(|way| way[place]).map(|(unit, _)| unit).collect();
        if may.len() > 1 {
            let names: Vec<String> = may.into_iter().map(|unit| show::word(called(&units[unit]))).collect();
            lines.push(format!("{} ({}) may be {}", slot.name, slot.module.kind.name(), some(&names)));
        }
    }
    lines
}

/// What is here and what is there where they do not fit. Layers are compared with the modules of their kind in their order.
fn differences(slots: &[Slot<'_>], units: &[Unit], weights: &Weights) -> Vec<[String; 2]> {
    let mut left: Vec<(usize, usize)> = units
        .iter()
        .enumerate()
        .flat_map(|(unit, its)| (0..its.layers.len()).map(move |number| (unit, number)))
        .collect();
    let mut open = vec![];
    for slot in slots {
        let fits = |&(unit, number): &(usize, usize)| slot.fits(&units[unit], number, weights).is_some();
        let called = |one: &(usize, usize)| fits(one) && units[one.0].is_called_like(slot.module.kind);
        match left.iter().position(called).or_else(|| left.iter().position(fits)) {
            Some(place) => _ = left.remove(place),
            None => open.push(slot),
        }
    }
    let mut rows = vec![];
    for slot in open {
        let alike = |&(unit, _): &(usize, usize)| {
            let unit = &units[unit];
            unit.recurrent == slot.module.kind.is_recurrent()
                && (unit.recurrent || unit.is_called_like(slot.module.kind))
        };
        let of_kind = |&(unit, _): &(usize, usize)| units[unit].recurrent == slot.module.kind.is_recurrent();
        let place = left.iter().position(alike).or_else(|| left.iter().position(of_kind));
        let layer = place.map(|place| left.remove(place)).map(|(unit, number)| &units[unit].layers[number]);
        rows.extend(rows_of(slot, layer, weights));
    }
    let nothing = || "nothing".to_owned();
    let layers = left.iter().flat_map(|&(unit, number)| units[unit].layers[number].values());
    let others = units.iter().flat_map(|unit| &unit.others);
    rows.extend(layers.chain(others).map(|name| [nothing(), there(name, weights)]));
    if rows.is_empty() {
        // Each layer fits, and they do not read each other as those of the module do.
        let several = units.iter().filter(|unit| unit.layers.len() > 1);
        let chained = |unit: &Unit| {
            let name = show::word(called(unit));
            [
                "layers with others between them".to_owned(),
                format!(
                    "{name}: {}, each of which reads the one before",
                    show::many(unit.layers.len() as u64, "layer")
                ),
            ]
        };
        rows.extend(several.map(chained));
    }
    rows
}

fn rows_of(slot: &Slot<'_>, layer: Option<&BTreeMap<String, String>>, weights: &Weights) -> Vec<[String; 2]> {
    let nothing = || "nothing".to_owned();
    let mut rows = vec![];
    for (tensor, optional) in slot.module.tensors.iter().zip(&slot.optional) {
        let found = layer.and_then(|layer| layer.get(&tensor.name));
        let shape = found.and_then(|name| weights.tensors.get(name)).map(|stored| &stored.shape);
        if shape != Some(&tensor.shape) && !(found.is_none() && *optional) {
            let here =
                format!("{} ({}) {} {:?}", slot.name, slot.module.kind.name(), tensor.name, tensor.shape);
            rows.push([here, found.map_or_else(nothing, |name| there(name, weights))]);
        }
    }
    let extra = layer
        .into_iter()
        .flatten()
        .filter(|(own, _)| !slot.module.tensors.iter().any(|one| one.name == **own));
    rows.extend(extra.map(|(_, name)| [nothing(), there(name, weights)]));
    rows
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::compile::Source;

    fn model(chain: &str) -> Model {
        let text = format!(
            "data {{ train: \"a\" tokens: words batches: stream(rows: 1, steps: 1) }} model {{ tokens -> {chain} -> dense(vocab) }} \
             train {{ loss: cross_entropy optimizer: sgd epochs: 1 }}"
        );
        let source = Source::parse("m".as_ref(), &text, false).unwrap_or_else(|error| panic!("{error}"));
        source.model(11).unwrap_or_else(|error| panic!("{error}"))
    }

    fn weights(tensors: &[(String, Vec<usize>)]) -> Weights {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w");
        let zeros = |(name, shape): &(String, Vec<usize>)| {
            (name.clone(), shape.clone(), vec![0.0; shape.iter().product()])
        };
        let tensors: Vec<_> = tensors.iter().map(zeros).collect();
        std::fs::write(&path, lstmc_runtime::export::safetensors(&tensors, HashMap::new()).unwrap()).unwrap();
        Weights::open(&path).unwrap()
    }

    fn recurrent(name: &str, gates: usize, layers: &[(usize, usize)]) -> Vec<(String, Vec<usize>)> {
        let of = |(number, &(width, units)): (usize, &(usize, usize))| {
            let rows = gates * units;
            [
                ("weight_ih", vec![rows, width]),
                ("weight_hh", vec![rows, units]),
                ("bias_ih", vec![rows]),
                ("bias_hh", vec![rows]),
            ]
            .map(|(what, shape)| (format!("{name}.{what}_l{number}"), shape))
        };
        layers.iter().enumerate().flat_map(of).collect()
    }

    fn linear(name: &str, rows: usize, columns: usize) -> Vec<(String, Vec<usize>)> {
        vec![(format!("{name}.weight"), vec![rows, columns]), (format!("{name}.bias"), vec![rows])]
    }

    fn found(chain: &str, tensors: &[Vec<(String, Vec<usize>)>]) -> String {
        match find(&model(chain), &weights(&tensors.concat())).unwrap() {
            Outcome::Found(plan) => plan.how,
            Outcome::Ambiguous(plan, lines) => format!("{}, or {}", plan.how, lines.join("; ")),
            Outcome::None(rows) => format!("{rows:?}"),
            Outcome::Unknown(plan, layers) => format!("{} {layers:?}", plan.how),
        }
    }

    #[test]
    fn modules_are_found_by_their_shapes() {
        let table = vec![("e.weight".to_owned(), vec![11, 5])];
        let ends = [table.clone(), linear("d", 11, 7)];
        let two = recurrent("r", 4, &[(5, 7), (7, 7)]);
        let all = [&ends[..], &[two]].concat();
        assert_eq!(
            found("embedding(5) -> lstm(7) -> dropout(0.5) -> lstm(7)", &all),
            "nn.Embedding e, nn.LSTM r (2 layers), nn.Linear d"
        );
        // A module of two layers is not two that are apart.
        let between = "embedding(5) -> lstm(7) -> dense(7) -> lstm(7)";
        assert!(
            found(between, &[&all[..], &[linear("b", 7, 7)]].concat())
                .contains("r: 2 layers, each of which reads the one before")
        );
        let apart =
            [&ends[..], &[linear("b", 7, 7), recurrent("y", 4, &[(5, 7)]), recurrent("x", 4, &[(7, 7)])]]
                .concat();
        assert_eq!(found(between, &apart), "nn.Embedding e, nn.LSTM y, nn.Linear b, nn.LSTM x, nn.Linear d");
        // Of kinds that have as many numbers.
        let rows = found("embedding(5) -> gru(7)", &[&ends[..], &[recurrent("r", 4, &[(5, 7)])]].concat());
        assert!(rows.contains("gru_1 (nn.GRU) weight_ih [21, 5]\", \"r.weight_ih_l0 [28, 5]"), "{rows}");
    }

    #[test]
    fn names_decide_only_where_shapes_do_not() {
        let table = |name: &str| vec![(format!("{name}.weight"), vec![11, 7])];
        let rnn = recurrent("rnn", 1, &[(7, 7)]);
        // Neither has a bias.
        let of = |a: &str, b: &str| found("embedding(7) -> rnn(7)", &[table(a), table(b), rnn.clone()]);
        assert_eq!(of("head", "emb"), "nn.Embedding emb, nn.RNN rnn, nn.Linear head");
        assert!(
            of("a", "b").ends_with("embedding_1 (nn.Embedding) may be a, b; dense_1 (nn.Linear) may be a, b"),
            "{}",
            of("a", "b")
        );
        // A bias counts for more than a name.
        let biased =
            found("embedding(7) -> rnn(7)", &[linear("embedding", 11, 7), table("head"), rnn.clone()]);
        assert_eq!(biased, "nn.Embedding head, nn.RNN rnn, nn.Linear embedding");
    }

    #[test]
    fn many_modules_of_one_shape_are_not_tried_for_ever() {
        let many: Vec<_> = (0..40).map(|number| linear(&format!("l{number}"), 9, 9)).collect();
        let ends = [vec![("e.weight".to_owned(), vec![11, 9])], linear("d", 11, 9)];
        let chain = "embedding(9) -> dense(9) -> dense(9) -> dense(9) -> dense(9) -> dense(9) -> dense(9) -> dense(9)";
        let text = found(chain, &[&many[..], &ends].concat());
        assert!(
            text.contains("nn.Linear l0, nn.Linear l1, nn.Linear l2")
                && text.contains("dense_7 (nn.Linear) may be l6, l7, l8, l9, l10, l11 and 26 more"),
            "{text}"
        );
        // Without an end that fits.
        assert!(
            found(chain, &[&many[..], &ends[..1]].concat()).contains("dense_8 (nn.Linear) weight [11, 9]")
        );
    }
}
