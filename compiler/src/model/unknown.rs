//! Help about unknown names and functions: what they are called here, or which ones there are.

use super::functions::Function;
use super::init;
use crate::diag::{Diagnostic, Place, hint, list, nearest, suggest};
use crate::syntax::ast::Name;

/// Adds help to the error about `name`, which is not in scope and not a function or an initializer. `known` are the names in
/// scope, and `wanted` is the kind of name that is expected.
pub(super) fn unknown_name<'a>(
    error: Diagnostic,
    wanted: Place,
    name: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Diagnostic {
    let known: Vec<&str> = known.into_iter().collect();
    match (foreign(wanted, name), wanted) {
        (Some(help), _) => error.help(help),
        (None, Place::Value) if known.is_empty() => error.help("a number is needed here"),
        (None, Place::Initializer) => near_initializer(error, name),
        (None, Place::Activation) => suggest(error, wanted, name, activations(), "the functions are"),
        (None, _) => match stem(name, &known) {
            Some(stem) => error.help(format!(
                "`{stem}` is this step's value, or for a state its value from the step before; `next {stem}` is a \
                 state's new value"
            )),
            None => suggest(error, Place::Name, name, known, "there is"),
        },
    }
}

/// The error about a call of an unknown function.
pub(super) fn unknown_function(name: &Name, wanted: Place) -> Diagnostic {
    let text = name.text.as_str();
    if wanted == Place::Initializer {
        let error = Diagnostic::error("E0202", name.span, format!("there is no initializer `{text}`"));
        return match foreign(wanted, text) {
            Some(help) => error.help(help),
            None => near_initializer(error, text),
        };
    }
    let error = Diagnostic::error("E0202", name.span, format!("there is no function `{text}`"));
    match foreign(Place::Function, text) {
        Some(help) => error.help(help),
        None => suggest(error, Place::Function, text, Function::names(), "there are"),
    }
}

/// Help about another library's name of a function or an initializer. The kind that `wanted` expects is tried first.
fn foreign(wanted: Place, word: &str) -> Option<String> {
    let functions: Vec<&str> = Function::names().collect();
    let function = || hint(Place::Function, word, &functions);
    let activation = || {
        let help = hint(Place::Activation, word, &functions)?;
        Some(format!("{help}; the functions are {}", list(activations())))
    };
    let initializer = || {
        let help = hint(Place::Initializer, word, &init::NAMES)?;
        Some(format!("{help}; the initializers are {}, and a number alone", list(init::WRITTEN)))
    };
    match wanted {
        Place::Initializer => initializer().or_else(activation).or_else(function),
        _ => activation().or_else(function).or_else(initializer),
    }
}

fn near_initializer(error: Diagnostic, word: &str) -> Diagnostic {
    error.help(match nearest(word, init::NAMES) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("the initializers are {}, and a number alone", list(init::WRITTEN)),
    })
}

/// Functions of one argument, which can be given to a layer.
fn activations() -> impl Iterator<Item = &'static str> {
    let fits = |name: &&str| Function::named(name).is_some_and(|function| function.is_elementwise(1));
    Function::names().filter(fits)
}

/// The known name that `h_prev`, `prev_h`, `h_t` and the like are about.
fn stem<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    const AFTER: [&str; 9] = ["_t", "_prev", "_previous", "_old", "_last", "_tm1", "_next", "_new", "_t1"];
    const BEFORE: [&str; 5] = ["prev_", "previous_", "old_", "last_", "new_"];
    let after = AFTER.iter().filter_map(|ending| name.strip_suffix(ending));
    let before = BEFORE.iter().filter_map(|start| name.strip_prefix(start));
    after.chain(before).find_map(|stem| known.iter().find(|known| **known == stem).copied())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::diag::{SourceMap, targets};
    use crate::model::{keyed, prelude};
    use crate::syntax::{self, ast::Item};

    /// The names of the prelude's layers, optimizers and arguments.
    fn prelude_names(place: Place) -> BTreeSet<String> {
        let mut sources = SourceMap::default();
        let mut names = BTreeSet::new();
        for (name, text) in prelude() {
            let id = sources.add(name, text);
            for item in syntax::parse(&sources, id).expect("the prelude parses").items {
                let (definition, its) = match item {
                    Item::Layer(definition) => (definition, Place::Layer),
                    Item::Optimizer(definition) => (definition, Place::Optimizer),
                    _ => continue,
                };
                match place {
                    Place::Argument => names.extend(definition.formals.into_iter().map(|f| f.name.text)),
                    place if place == its => drop(names.insert(definition.name.text)),
                    _ => {}
                }
            }
        }
        names
    }

    #[test]
    fn what_is_suggested_is_there() {
        let owned =
            |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<String>>();
        for (place, name) in targets() {
            let known = match place {
                Place::Block => owned(&["data", "model", "train", "layer", "optimizer"]),
                Place::Data => owned(keyed::DATA.keys),
                Place::Train => owned(keyed::TRAIN.keys),
                Place::Layer | Place::Optimizer => prelude_names(place),
                Place::Argument => {
                    let mut names = prelude_names(place);
                    names.extend(owned(&[
                        "rows", "steps", "length", "stride", "targets", "newline", "factor",
                    ]));
                    names.extend(owned(&["after", "limit"]));
                    names
                }
                Place::Function | Place::Activation => owned(&Function::names().collect::<Vec<_>>()),
                Place::Initializer => owned(&init::NAMES),
                Place::Loss => owned(&["cross_entropy"]),
                Place::Tokens => owned(&["words", "words_and_punctuation", "characters"]),
                Place::Batches => owned(&["stream", "windows"]),
                Place::Value => {
                    let mut names = owned(&["perplexity", "accuracy", "f32", "bf16", "true", "false"]);
                    names.extend(owned(&["each", "last", "mean", "best", "average"]));
                    names.extend(owned(&["decay", "cosine", "plateau", "warmup"]));
                    names
                }
                Place::Name => owned(&["rate"]),
            };
            assert!(known.contains(name), "{place:?}: there is no `{name}`");
        }
    }
}
