//! The models in `models/`, as they are and made small.

use std::fs;
use std::path::{Path, PathBuf};

use lstmc_compiler::model::Model;

use super::checked::checked;
use super::files::files;

fn folder() -> PathBuf {
    // The root's tests use this too.
    let folders = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().map(|folder| folder.join("models"));
    folders.into_iter().find(|folder| folder.is_dir()).expect("the folder of the shipped models")
}

/// The model files.
pub fn paths() -> Vec<PathBuf> {
    let paths = files(&folder(), "lstm");
    assert!(paths.len() > 8, "{paths:?}");
    paths
}

/// The text of the model file of this name.
pub fn text(name: &str) -> String {
    let path = folder().join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All models by name, with a vocabulary of so many words. `change` makes of a file's text what is compiled.
pub fn models(vocab: usize, change: impl Fn(&str) -> String) -> Vec<(String, Model)> {
    let named = |path: PathBuf| {
        let text = change(&fs::read_to_string(&path).unwrap());
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let model = checked(&text, vocab).unwrap_or_else(|error| panic!("{name}: {error}\n{text}"));
        (name, model)
    };
    paths().into_iter().map(named).collect()
}

/// A model file with sizes of some dozen: the widths of layers, of batches, and of parameters.
pub fn small(text: &str) -> String {
    let shrunk = |line: &str| -> String {
        let mut result = String::new();
        let mut rest = line;
        while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
            let end = rest[start..].find(|c: char| !c.is_ascii_digit()).map_or(rest.len(), |len| start + len);
            let number: usize = rest[start..end].parse().unwrap();
            let fraction = rest[end..].starts_with('.') || rest[..start].ends_with('.');
            let small = if number > 12 && !fraction { 9 + number % 5 } else { number };
            result += &rest[..start];
            result += &small.to_string();
            rest = &rest[end..];
        }
        result + rest
    };
    let batches = |line: &str| {
        line.replace("rows: 20", "rows: 3").replace("steps: 35", "steps: 4").replace("steps: 20", "steps: 4")
    };
    let line = |line: &str| match line {
        _ if line.trim_start().starts_with("batches:") => batches(line),
        _ if line.contains("->") || line.contains("param E") => shrunk(line),
        _ => line.to_owned(),
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n") + "\n"
}
