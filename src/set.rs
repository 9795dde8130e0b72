//! `--set`: other numbers in a model's train block. The text itself is changed, so that a run's model file says what it was
//! trained with.

use std::ops::Range;
use std::str::FromStr;

use anyhow::{Result, bail};
use lstmc_compiler::diag::{Span, nearest};
use lstmc_compiler::model::train_arguments;
use lstmc_compiler::syntax::ast::{Arg, Definition, Entry, Expr, ExprKind, File, Formal, FormalKind, Item};

/// `rate=0.1`, or `schedule.factor=0.5` where several have a number of that name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The key of the entry that it is in.
    entry: Option<String>,
    name: String,
    /// A number.
    value: String,
}

impl FromStr for Setting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (path, value) = text.split_once('=').ok_or("write NAME=NUMBER, such as rate=0.1")?;
        let (path, value) = (path.trim(), value.trim());
        let number = value.strip_suffix('%').unwrap_or(value);
        if !number.parse().is_ok_and(|number: f64| number.is_finite() && number >= 0.0) {
            return Err(format!("{value:?} is not a number of at least 0"));
        }
        let (entry, name) = match path.split_once('.') {
            Some((entry, name)) => (Some(entry.to_owned()), name.to_owned()),
            None => (None, path.to_owned()),
        };
        Ok(Self { entry, name, value: value.to_owned() })
    }
}

/// A number that can be set.
struct Place {
    /// `optimizer.rate`, or `epochs`.
    path: String,
    /// What a setting may call it beside its path.
    names: Vec<String>,
    /// What is replaced.
    range: Range<usize>,
    /// What stands before and after the number.
    around: [String; 2],
}

/// The text of a model file with one of its numbers changed.
///
/// # Errors
/// No number of the train block has this name, or several have.
pub fn changed(text: &str, file: &File, prelude: &[File], setting: &Setting) -> Result<String> {
    let places = places(file, prelude);
    let path = setting.entry.as_ref().map(|entry| format!("{entry}.{}", setting.name));
    let is_meant = |place: &&Place| match &path {
        Some(path) => place.path == *path,
        None => place.names.contains(&setting.name),
    };
    let meant: Vec<&Place> = places.iter().filter(is_meant).collect();
    let wanted = path.as_deref().unwrap_or(&setting.name);
    match meant[..] {
        [place] => {
            let [before, after] = &place.around;
            let mut text = text.to_owned();
            text.replace_range(place.range.clone(), &format!("{before}{}{after}", setting.value));
            Ok(text)
        }
        [] => {
            let all: Vec<&str> = places.iter().map(|place| place.path.as_str()).collect();
            match nearest(wanted, all.iter().copied()) {
                Some(near) => {
                    bail!("--set {wanted}: the train block has no such number; did you mean {near}?")
                }
                None => {
                    bail!("--set {wanted}: the train block has no such number; it has {}", all.join(", "))
                }
            }
        }
        _ => {
            let several: Vec<&str> = meant.iter().map(|place| place.path.as_str()).collect();
            bail!("--set {wanted}: several numbers have this name; say which, {}", several.join(" or "))
        }
    }
}

/// All numbers of the train block, and those of the optimizer that it leaves at their defaults.
fn places(file: &File, prelude: &[File]) -> Vec<Place> {
    let blocks = file.items.iter().filter_map(|item| match item {
        Item::Train(settings) => Some(settings),
        _ => None,
    });
    let mut places = Vec::new();
    for entry in blocks.flat_map(|settings| &settings.entries) {
        let definition = match entry.key.text.as_str() {
            "optimizer" => entry.values.first().and_then(|value| optimizer(value, file, prelude)),
            _ => None,
        };
        for value in &entry.values {
            of_value(entry, value, definition, &mut places);
        }
    }
    places
}

fn of_value(entry: &Entry, value: &Expr, definition: Option<&Definition>, places: &mut Vec<Place>) {
    let key = &entry.key.text;
    match &value.kind {
        ExprKind::Number(_) => places.push(replaced(key.clone(), vec![key.clone()], value.span)),
        ExprKind::Call(word, args) => {
            let options = definition.map(options).unwrap_or_default();
            let own = train_arguments(&word.text).iter().map(|&name| name.to_owned());
            let in_order: Vec<String> = options.iter().cloned().chain(own).collect();
            for (index, arg) in args.iter().enumerate() {
                let name =
                    arg.name.as_ref().map(|name| name.text.clone()).or_else(|| in_order.get(index).cloned());
                let mut names: Vec<String> = name.iter().cloned().collect();
                // `clip: norm(5)` is a number too.
                if args.len() == 1 {
                    names.push(key.clone());
                }
                let path = name.map_or_else(|| key.clone(), |name| format!("{key}.{name}"));
                if is_number(&arg.value) {
                    places.push(replaced(path, names, arg.value.span));
                }
            }
            let end = value.span.range().end - 1;
            places.extend(defaults(key, &options, args).map(|(path, name)| {
                let comma = if args.is_empty() { "" } else { ", " };
                Place {
                    path,
                    around: [format!("{comma}{name}: "), String::new()],
                    names: vec![name],
                    range: end..end,
                }
            }));
        }
        ExprKind::Name(_) => {
            let options = definition.map(options).unwrap_or_default();
            let end = value.span.range().end;
            places.extend(defaults(key, &options, &[]).map(|(path, name)| Place {
                path,
                around: [format!("({name}: "), ")".into()],
                names: vec![name],
                range: end..end,
            }));
        }
        _ => {}
    }
}

fn replaced(path: String, names: Vec<String>, span: Span) -> Place {
    Place { path, names, range: span.range(), around: [String::new(), String::new()] }
}

/// The options that no argument gives, with their paths.
fn defaults<'a>(
    key: &'a str,
    options: &'a [String],
    args: &'a [Arg],
) -> impl Iterator<Item = (String, String)> + use<'a> {
    let given = |(index, name): &(usize, &String)| {
        let by_name = args.iter().any(|arg| arg.name.as_ref().is_some_and(|own| own.text == **name));
        by_name || args.get(*index).is_some_and(|arg| arg.name.is_none())
    };
    let left = options.iter().enumerate().filter(move |option| !given(option));
    left.map(move |(_, name)| (format!("{key}.{name}"), name.clone()))
}

/// A number, or what is computed from numbers.
fn is_number(expr: &Expr) -> bool {
    match &expr.kind {
        ExprKind::Number(_) => true,
        ExprKind::Neg(of) => is_number(of),
        ExprKind::Binary(_, a, b) => is_number(a) && is_number(b),
        _ => false,
    }
}

fn options(definition: &Definition) -> Vec<String> {
    let option = |formal: &&Formal| matches!(formal.kind, FormalKind::Option(_));
    // The first two are the parameter and its gradient.
    definition.formals.iter().filter(option).skip(2).map(|formal| formal.name.text.clone()).collect()
}

fn optimizer<'a>(value: &Expr, file: &'a File, prelude: &'a [File]) -> Option<&'a Definition> {
    let wanted = match &value.kind {
        ExprKind::Name(name) => name,
        ExprKind::Call(name, _) => &name.text,
        _ => return None,
    };
    let items = std::iter::once(file).chain(prelude).flat_map(|file| &file.items);
    items
        .filter_map(|item| match item {
            Item::Optimizer(definition) => Some(definition),
            _ => None,
        })
        .find(|definition| definition.name.text == *wanted)
}
