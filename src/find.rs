//! Runs and model files that are not where they were looked for: what is near, and what is there.

use std::fs;
use std::path::{Path, PathBuf};

use lstmc_compiler::diag::nearest;
use lstmc_runtime::error::Error;
use lstmc_runtime::run_dir::RunDir;

use crate::show;

/// Where runs are made if nothing else is said.
pub const RUNS: &str = "runs";

/// How many names are listed.
const NAMES: usize = 8;

/// An error about a run, with the runs that may be meant.
pub fn run(error: Error) -> anyhow::Error {
    let Error::NotARun { path, .. } = &error else { return error.into() };
    let inside = runs_in(path);
    if !inside.is_empty() {
        let what = format!("{} is a folder of runs, not a run", show::path(path));
        return anyhow::anyhow!("{what}; name one of them: {}", list(&inside));
    }
    match near(path, &runs_in(parent(path))).or_else(|| near(path, &runs_in(Path::new(RUNS)))) {
        Some(hint) => anyhow::anyhow!("{} is not a run; {hint}", show::path(path)),
        None => error.into(),
    }
}

/// An error about a model file, with the files that may be meant.
pub fn model(error: Error) -> anyhow::Error {
    let Error::MissingFile { path, .. } = &error else { return error.into() };
    let run = Path::new(RUNS).join(path);
    let hint = near(path, &models_in(parent(path)));
    let hint = hint.or_else(|| near(path, &models_in(Path::new("models"))));
    match hint {
        Some(hint) => anyhow::anyhow!("{error}; {hint}"),
        None if RunDir::holds_run(&run) => anyhow::anyhow!("{error}; there is a run {}", show::path(&run)),
        None => error.into(),
    }
}

/// `did you mean runs/base?`, or what is there.
fn near(path: &Path, there: &[PathBuf]) -> Option<String> {
    let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
    let stem = |path: &Path| path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let wanted = name(path)?;
    let mut found = None;
    for of in [name, stem] {
        let names: Vec<String> = there.iter().filter_map(|path| of(path)).collect();
        // Nearest is by letters, whatever their case; the same name in another folder is nearest of all.
        let nearest = nearest(&wanted, names.iter().map(String::as_str));
        found =
            found.or_else(|| there.iter().find(|path| of(path).as_deref() == nearest && nearest.is_some()));
    }
    match found {
        Some(found) => Some(format!("did you mean {}?", show::path(found))),
        None if there.is_empty() => None,
        None => Some(format!("there are {}", list(there))),
    }
}

fn list(paths: &[PathBuf]) -> String {
    let shown: Vec<String> = paths.iter().take(NAMES).map(|path| show::path(path)).collect();
    match paths.len().saturating_sub(NAMES) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

fn runs_in(folder: &Path) -> Vec<PathBuf> {
    entries(folder, RunDir::holds_run)
}

/// The model files in a folder, by name.
pub fn models_in(folder: &Path) -> Vec<PathBuf> {
    entries(folder, |path| path.extension().is_some_and(|extension| extension == "lstm"))
}

/// The entries of a folder that are `wanted`, by name; none of a folder that cannot be read.
fn entries(folder: &Path, wanted: impl Fn(&Path) -> bool) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let here = folder == Path::new(".");
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| if here { entry.file_name().into() } else { entry.path() })
        .filter(|path| wanted(path))
        .collect();
    paths.sort();
    paths
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_proposed_and_others_listed() {
        let there: Vec<PathBuf> = ["runs/base", "runs/other"].map(PathBuf::from).into();
        assert_eq!(near("runs/bse".as_ref(), &there).as_deref(), Some("did you mean runs/base?"));
        assert_eq!(near("base".as_ref(), &there).as_deref(), Some("did you mean runs/base?"));
        assert_eq!(near("x".as_ref(), &there).as_deref(), Some("there are runs/base, runs/other"));
        assert_eq!(near("x".as_ref(), &[]), None);
        let models: Vec<PathBuf> = ["a/base.lstm", "a/b.lstm"].map(PathBuf::from).into();
        assert_eq!(near("a/base".as_ref(), &models).as_deref(), Some("did you mean a/base.lstm?"));
        assert_eq!(near("a/bsae.lstm".as_ref(), &models).as_deref(), Some("did you mean a/base.lstm?"));
    }

    #[test]
    fn long_lists_are_cut() {
        let paths: Vec<PathBuf> = (0..10).map(|n| format!("r{n}").into()).collect();
        assert!(list(&paths).ends_with("r7 and 2 more"));
    }
}
