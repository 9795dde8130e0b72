//! A mapping file for what was found, to be changed.

use lstmc_runtime::weights::Weights;

use super::check::Left;
use super::value::quoted;
use super::{Made, Plan};
use crate::show;

/// How wide a line is at most for its comment to stand under those of others.
const WIDTH: usize = 72;

/// The file; parameters of which nothing is known have lines that are to be completed.
pub fn file(plan: &Plan, left: &Left, weights: &Weights, model: &str) -> String {
    let value = |made: &Made| made.value.as_ref().map_or_else(|| "?".to_owned(), ToString::to_string);
    let line =
        |made: &Made| (format!("{} = {}", quoted(&made.param), value(made)), format!("{:?}", made.shape));
    let mut text =
        format!("# The parameters of {model}, made of the tensors of {}.\n", show::path(&weights.path));
    text += &aligned(plan.made.iter().map(line).collect());
    if !left.inside.is_empty() {
        text += "\n# Tensors that nothing is made of: use them above, or leave their lines as they are.\n";
    }
    let shape = |name: &String| {
        weights.tensors.get(name).map(|stored| format!("{:?}", stored.shape)).unwrap_or_default()
    };
    text + &aligned(
        left.inside.iter().map(|name| (format!("ignore {}", quoted(name)), shape(name))).collect(),
    )
}

/// Lines with their comments under each other.
fn aligned(lines: Vec<(String, String)>) -> String {
    let widths = lines.iter().map(|(line, _)| line.chars().count());
    let width = widths.filter(|&width| width <= WIDTH).max().unwrap_or(0);
    lines.iter().map(|(line, comment)| format!("{line:<width$}  # {comment}\n")).collect()
}
