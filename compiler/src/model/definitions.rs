//! The layers and optimizers that a model can use, by name.

use std::collections::{BTreeMap, BTreeSet};

use super::names;
use super::scope::Rules;
use crate::diag::{Diagnostic, Span};
use crate::syntax::ast::{Definition, File, Item};

pub(super) struct Definitions<'a> {
    pub layers: BTreeMap<&'a str, Entry<'a>>,
    pub optimizers: BTreeMap<&'a str, Entry<'a>>,
}

#[derive(Clone, Copy)]
pub(super) struct Entry<'a> {
    pub definition: &'a Definition,
    /// Whether no error was found in it by itself; if one was, its uses are not checked.
    pub sound: bool,
}

impl<'a> Definitions<'a> {
    /// The definitions of the file and of the prelude; a file's own hide the prelude's of the same name.
    pub fn of(file: &'a File, prelude: &'a [File], errors: &mut Vec<Diagnostic>) -> Self {
        let mut layer_names = BTreeSet::new();
        for item in prelude.iter().chain([file]).flat_map(|file| &file.items) {
            if let Item::Layer(definition) = item {
                layer_names.insert(definition.name.text.as_str());
            }
        }
        let mut all = Definitions { layers: BTreeMap::new(), optimizers: BTreeMap::new() };
        for prelude in prelude {
            all.add(prelude, &layer_names, errors);
        }
        all.add(file, &layer_names, errors);
        all
    }

    fn add(&mut self, file: &'a File, layer_names: &BTreeSet<&'a str>, errors: &mut Vec<Diagnostic>) {
        let mut own: BTreeMap<(bool, &str), Span> = BTreeMap::new();
        for item in &file.items {
            let (definition, rules, table) = match item {
                Item::Layer(definition) => (definition, Rules::Layer, &mut self.layers),
                Item::Optimizer(definition) => (definition, Rules::Optimizer, &mut self.optimizers),
                _ => continue,
            };
            let name = definition.name.text.as_str();
            if let Some(first) = own.insert((rules == Rules::Layer, name), definition.name.span) {
                let error =
                    Diagnostic::error("E0204", definition.name.span, format!("`{name}` is defined twice"));
                errors.push(error.label(first, "the first is here"));
            }
            let sound = names::check(definition, rules, layer_names, errors);
            table.insert(name, Entry { definition, sound });
        }
    }
}
