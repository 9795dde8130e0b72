//! File tests: a text file holds an input, a line `----`, and what a stage must make of it. With the environment
//! variable `BLESS` set, what the stage gives is written into the files instead.

use std::fs;
use std::path::{Path, PathBuf};

/// What a stage makes of the text before the line, or why it cannot. The path is given for its folder's name.
pub type Stage = fn(&Path, &str) -> Result<String, String>;

/// What is wrong with one file. With `bless` the expectation is rewritten, not compared.
pub fn check(stage: Stage, path: &Path, bless: bool) -> Result<(), String> {
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    let (input, expected) = match text.split_once("\n----\n") {
        Some((input, expected)) => (format!("{input}\n"), expected),
        None if bless => (text.clone(), ""),
        None => return Err("no line `----` between input and expectation".into()),
    };
    let found = stage(path, &input)?;
    if bless {
        return fs::write(path, format!("{input}----\n{found}")).map_err(|error| error.to_string());
    }
    if found == expected { Ok(()) } else { Err(difference(expected, &found)) }
}

/// The first line that differs, and all that was found.
fn difference(expected: &str, found: &str) -> String {
    let mut lines = expected.lines().zip(found.lines()).enumerate();
    let first = lines.find(|(_, (expected, found))| expected != found);
    let place = match first {
        Some((number, (expected, found))) => {
            format!("line {} of the output\n  should be: {expected}\n  but is:    {found}", number + 1)
        }
        None => "the output is longer or shorter than expected".into(),
    };
    format!("{place}\nthe whole output:\n{found}")
}

/// The files in `root` and its folders whose names end so, in order.
pub fn files(root: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(root).unwrap_or_else(|error| panic!("{}: {error}", root.display()));
    let mut files = vec![];
    for path in entries.map(|entry| entry.expect("a folder of the tests can be listed").path()) {
        if path.is_dir() {
            files.extend(self::files(&path, extension));
        } else if path.extension().is_some_and(|own| own == extension) {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// Checks all files below `tests/<folder>`.
#[track_caller]
pub fn check_all(stage: Stage, folder: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(folder);
    let bless = std::env::var_os("BLESS").is_some();
    let files = files(&root, "txt");
    assert!(!files.is_empty(), "no file tests in {}", root.display());
    let fault = |path: &PathBuf| {
        let fault = check(stage, path, bless).err()?;
        Some(format!("{}: {fault}", path.display()))
    };
    let faults: Vec<String> = files.iter().filter_map(fault).collect();
    assert!(
        faults.is_empty(),
        "{} of {} file tests fail\n\n{}",
        faults.len(),
        files.len(),
        faults.join("\n\n")
    );
}
