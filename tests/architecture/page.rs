//! What ARCHITECTURE.md says of files, stages and functions.

use std::fs;

use super::{SHARED_BY_BACKENDS, STAGES, everything, root, words};

/// The most lines of ARCHITECTURE.md: it does not narrate what stands in the headers of files.
const PAGE_LINES: usize = 200;

fn page() -> String {
    fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md")
}

#[test]
fn the_page_is_short_and_shows_every_stage_and_back_end() {
    let page = page();
    let lines = page.lines().count();
    assert!(lines <= PAGE_LINES, "{lines} lines");
    let picture = page.split("```").nth(1).expect("the picture");
    for stage in STAGES.concat() {
        assert!(words(picture).any(|word| word == stage), "{stage} is not in the picture");
        let promise = format!("**`{stage}`**");
        assert!(page.contains(&promise), "the page does not say what {stage} promises");
    }
    let folders = |path: &str| -> Vec<String> {
        let entries = fs::read_dir(root().join(path)).expect("a folder of the repository").flatten();
        let folders = entries.filter(|entry| entry.path().is_dir());
        folders.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    };
    for backend in folders("compiler/src/backend") {
        let known =
            SHARED_BY_BACKENDS.contains(&backend.as_str()) || picture.contains(&format!("{backend}: "));
        assert!(known, "{backend} is not in the picture");
    }
    for engine in folders("runtime/src/engine") {
        assert!(page.contains(&format!("`engine/{engine}`")), "the page does not name engine/{engine}");
    }
}

/// What stands between backquotes outside fenced blocks.
fn quoted(page: &str) -> Vec<String> {
    let prose: String = page.split("```").step_by(2).collect();
    prose.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn the_page_names_files_that_exist() {
    let mut files: Vec<String> = everything().into_iter().map(|source| source.path).collect();
    for folder in ["compiler/prelude", "docs", "tests/pytorch", "benches/peers"] {
        let entries = fs::read_dir(root().join(folder)).expect("a folder of the repository");
        let name = |entry: fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
        files.extend(entries.map(|entry| format!("{folder}/{}", name(entry.expect("an entry")))));
    }
    let is_file = |word: &String| {
        [".rs", ".lstm", ".py", ".md"].iter().any(|ending| word.ends_with(ending))
            && !word.contains(['*', '<', ' '])
            && !word.starts_with('.')
    };
    let named: Vec<String> = quoted(&page()).into_iter().filter(is_file).collect();
    assert!(named.len() > 40, "{named:?}");
    let exists = |name: &String| {
        root().join(name).exists() || files.iter().any(|path| path.ends_with(&format!("/{name}")))
    };
    let missing: Vec<&String> = named.iter().filter(|name| !exists(name)).collect();
    assert!(missing.is_empty(), "ARCHITECTURE.md names {missing:?}");
}

#[test]
fn the_page_names_every_function_of_the_library() {
    let abi = fs::read_to_string(root().join("compiler/src/backend/cpu/abi.rs")).expect("the interface");
    let library =
        abi.split("pub struct Library {").nth(1).and_then(|rest| rest.split("\n}").next()).expect("it");
    let page = page();
    let paragraph = page.split("`Library` is what").nth(1).and_then(|rest| rest.split("\n\n").next());
    let quoted = quoted(paragraph.expect("the paragraph about it"));
    let fields: Vec<&str> =
        library.lines().filter_map(|line| line.trim().strip_prefix("pub ")?.split(':').next()).collect();
    assert!(fields.contains(&"gemm"), "{fields:?}");
    for field in fields {
        assert!(quoted.iter().any(|word| word == field), "ARCHITECTURE.md does not name `{field}`");
    }
}
