//! The fuzz targets on what is in `fuzz/corpus`, in every test run. `fuzz/README.md` says how to look for more.

#[path = "../compiler/tests/support/checked.rs"]
mod checked;
#[path = "../fuzz/src/files.rs"]
mod files;
#[path = "../fuzz/src/texts.rs"]
mod texts;

use std::fs;
use std::path::Path;

/// Calls a target with each of its files, cut short and with bytes changed too, always in the same way.
fn replay(name: &str, target: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let mut paths: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "{} is empty", folder.display());
    for path in paths {
        let bytes = fs::read(&path).unwrap();
        let shown = path.display();
        eprintln!("{shown}");
        target(&bytes);
        for variant in 1..=8_usize {
            let mut changed = bytes.clone();
            changed.truncate(bytes.len() - bytes.len() * (variant % 4) / 5);
            let last = changed.len().saturating_sub(1);
            for place in 1..=variant {
                if let Some(byte) = changed.get_mut((place * 7919 * variant) % (last + 1)) {
                    *byte = byte.wrapping_add((place * 31 + variant) as u8);
                }
            }
            target(&changed);
        }
    }
}

#[test]
fn models() {
    replay("model", texts::model);
}

#[test]
fn graphs() {
    replay("graph", texts::graph);
}

#[test]
fn kernels() {
    replay("kernels", texts::kernels);
}

#[test]
fn tokens() {
    replay("tokens", texts::tokens);
}

#[test]
fn vocabularies() {
    replay("vocabulary", files::vocabulary);
}

#[test]
fn checkpoints() {
    replay("checkpoint", files::checkpoint);
    files::checkpoint(&files::example_checkpoint());
}

#[test]
fn weights() {
    replay("weights", files::weights);
}

#[test]
fn runs() {
    replay("run", files::run);
}
