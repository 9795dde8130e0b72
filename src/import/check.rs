//! What does not fit between a model and a file, all at once: nothing is written before it all does.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail};
use lstmc_runtime::weights::{Elements, Weights, not_weights};

use super::map::Map;
use super::value::Maker;
use super::{Made, Plan};
use crate::show;

/// How many rows and names are shown.
const SHOWN: usize = 40;
const NAMED: usize = 6;

/// A tensor of the file, as it is listed.
pub fn there(name: &str, weights: &Weights) -> String {
    match weights.tensors.get(name) {
        Some(stored) if stored.elements == Elements::F32 => {
            format!("{} {:?}", show::word(name), stored.shape)
        }
        Some(stored) => format!("{} {:?} {}", show::word(name), stored.shape, stored.elements),
        None => show::word(name),
    }
}

/// Under each other, what is here and what is there.
pub fn table(rows: &[[String; 2]]) -> String {
    let shown: Vec<Vec<String>> = rows.iter().take(SHOWN).map(|row| row.to_vec()).collect();
    let more = rows.len().saturating_sub(SHOWN);
    let more = if more > 0 { format!("and {more} more\n") } else { String::new() };
    show::table(&["in the model", "in the file"], &shown) + &more
}

/// Names, of which the first ones are shown.
pub fn some(names: &[String]) -> String {
    let shown = names.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMED) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// What of the file is not used.
#[derive(Debug, Default)]
pub struct Left {
    /// Beside what is used, where nothing should be left.
    pub inside: Vec<String>,
    /// The same, of whole numbers and others that no parameter is made of.
    pub counts: Vec<String>,
    /// Elsewhere in the file, such as the states of an optimizer: how many in each place.
    pub outside: BTreeMap<String, usize>,
}

impl Left {
    pub fn of(plan: &Plan, map: Option<&Map>, weights: &Weights) -> Self {
        let used: BTreeSet<&str> = plan.tensors().into_iter().collect();
        // Names of lstmc's are in no dictionary.
        let base = if plan.by_name { String::new() } else { base(&used) };
        let mut left = Self::default();
        for (name, stored) in &weights.tensors {
            if used.contains(name.as_str()) || map.is_some_and(|map| map.ignores(name)) {
                continue;
            }
            match name.strip_prefix(base.as_str()) {
                None => *left.outside.entry(place(name, &base)).or_default() += 1,
                Some(_) if stored.elements.are_weights() => left.inside.push(name.clone()),
                Some(_) => left.counts.push(there(name, weights)),
            }
        }
        left
    }

    /// What is not looked at, in lines.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![];
        if !self.outside.is_empty() {
            let place = |(place, count): (&String, &usize)| {
                format!("{place} ({})", show::many(*count as u64, "tensor"))
            };
            lines.push(format!("beside      {}", some(&self.outside.iter().map(place).collect::<Vec<_>>())));
        }
        if !self.counts.is_empty() {
            lines.push(format!("not taken   {}", some(&self.counts)));
        }
        lines
    }
}

/// The dictionary of the file that all of these are in, with its last point.
fn base(used: &BTreeSet<&str>) -> String {
    let folders = used.iter().map(|name| name.rsplit_once('.').map_or("", |(folder, _)| folder));
    let parts = folders.map(|folder| folder.split('.').filter(|part| !part.is_empty()).collect::<Vec<_>>());
    let common =
        parts.reduce(|a, b| a.into_iter().zip(b).take_while(|(a, b)| a == b).map(|(a, _)| a).collect());
    let common = common.unwrap_or_default();
    common.iter().map(|part| format!("{part}.")).collect()
}

/// Where a tensor is that is not in the dictionary: the first of its names that leads elsewhere.
fn place(name: &str, base: &str) -> String {
    let mut inside = base.split('.');
    let mut path = vec![];
    for part in name.split('.') {
        path.push(part);
        if inside.next() != Some(part) {
            break;
        }
    }
    path.join(".")
}

/// Says all that does not fit.
///
/// # Errors
/// Parameters without a value or with one of another shape, lines for what there is not, tensors that are no numbers with
/// fractions, and tensors that are left over.
pub fn check(plan: &Plan, map: Option<&Map>, weights: &Weights, left: &Left) -> Result<()> {
    let file = map.map_or("", |map| map.name.as_str());
    let mut lines: Vec<String> = vec![];
    let mut rows: Vec<[String; 2]> = vec![];
    for made in &plan.made {
        match (fault(made, weights), made.line) {
            (None, _) => {}
            (Some(fault), Some(line)) => lines.push(format!("{file}:{line}: {fault}")),
            (Some(fault), None) => rows.push([format!("{} {:?}", made.param, made.shape), fault]),
        }
    }
    for (name, _, line) in map.map_or(&[][..], |map| &map.lines) {
        if !plan.made.iter().any(|made| made.param == *name) {
            lines.push(format!("{file}:{line}: the model has no parameter {}", show::word(name)));
        }
    }
    rows.extend(left.inside.iter().map(|name| ["nothing".to_owned(), there(name, weights)]));
    let whole =
        plan.tensors().into_iter().filter_map(|name| Some((name, &weights.tensors.get(name)?.elements)));
    lines.extend(
        whole
            .filter(|(_, elements)| !elements.are_weights())
            .map(|(name, elements)| not_weights(name, elements)),
    );
    if lines.is_empty() && rows.is_empty() {
        return Ok(());
    }
    let listed: String = lines.iter().take(SHOWN).map(|line| format!("{line}\n")).collect();
    let compared = if rows.is_empty() { String::new() } else { table(&rows) };
    let mut advice = String::new();
    if !left.inside.is_empty() {
        advice += match map {
            Some(_) => {
                "a line `ignore NAME` in the mapping file leaves a tensor out, `ignore NAME*` all that begin so"
            }
            None => "a mapping file can leave tensors out: --print-map writes one to begin with",
        };
    }
    bail!("{} does not fit the model:\n{listed}{compared}{advice}", show::path(&weights.path));
}

/// What is wrong with a parameter: what is there in its place.
fn fault(made: &Made, weights: &Weights) -> Option<String> {
    let Some(value) = &made.value else { return Some("nothing".into()) };
    match value.shape(weights) {
        Err(fault) => Some(fault),
        Ok(Some(shape)) if shape != made.shape => match made.line {
            Some(_) => {
                Some(format!("{} is {:?} in the model, and this is {shape:?}", made.param, made.shape))
            }
            None => Some(format!("{value} {shape:?}")),
        },
        Ok(_) => None,
    }
}

/// Makes sure that what two layers share is the same in both.
///
/// # Errors
/// It is not; as [`Maker::make`].
pub fn check_same(plan: &Plan, weights: &Weights, maker: &mut Maker<'_>) -> Result<()> {
    for (a, b) in &plan.same {
        let shape = a.shape(weights).ok().flatten().unwrap_or_default();
        let [first, second] = [a, b].map(|value| maker.make(value, &shape));
        if first? != second? {
            bail!(
                "{}: {a} and {b} are one parameter of the model, and differ; a model in which they are two takes both",
                show::path(&weights.path)
            );
        }
    }
    Ok(())
}
