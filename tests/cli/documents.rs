//! The examples of README.md and docs/: every one of the language compiles, and the error shown is the one given.
//!
//! A fenced block with the info string `lstm` holds whole blocks and definitions of a model file. What a file needs beside
//! them is put around: the other blocks, and a use of each layer or optimizer that it defines.

use std::fs;
use std::path::Path;

use lstmc_compiler::diag::SourceMap;
use lstmc_compiler::syntax::{
    self,
    ast::{Definition, Formal, FormalKind, Item},
};

use crate::support::Folder;

const DATA: &str = "data { train: \"story.txt\"; tokens: words; batches: stream(rows: 2, steps: 5) }";

/// A fenced block of a document.
struct Block {
    /// The document and the line of its first fence.
    place: String,
    info: String,
    text: String,
}

fn document(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn blocks_of(path: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = vec![];
    let mut open = false;
    for (number, line) in document(path).lines().enumerate() {
        if let Some(info) = line.trim_start().strip_prefix("```") {
            open = !open;
            if open {
                let place = format!("{path}:{}", number + 1);
                blocks.push(Block { place, info: info.trim().to_owned(), text: String::new() });
            }
        } else if let (true, Some(block)) = (open, blocks.last_mut()) {
            block.text.push_str(line);
            block.text.push('\n');
        }
    }
    assert!(!open, "{path}: a fence is not closed");
    blocks
}

fn blocks() -> Vec<Block> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let entries = fs::read_dir(folder).expect("the documents");
    let names = entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
    let mut paths: Vec<String> =
        names.filter(|name| name.ends_with(".md")).map(|name| format!("docs/{name}")).collect();
    paths.sort();
    paths.insert(0, "README.md".to_owned());
    paths.iter().flat_map(|path| blocks_of(path)).collect()
}

/// Whether a text has the head of a block or definition, or a chain.
fn looks_like_a_model(text: &str) -> bool {
    text.lines().any(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["data" | "model" | "train", "{", ..] => true,
            ["layer" | "optimizer", name, ..] => name.contains('('),
            ["tokens", "->", ..] => true,
            _ => false,
        }
    })
}

/// The arguments that a use of the definition must give, each `value`.
fn required(formals: &[Formal], value: &str) -> String {
    let needed = formals.iter().filter(|formal| matches!(formal.kind, FormalKind::Option(None)));
    let given: Vec<String> = needed.map(|formal| format!("{}: {value}", formal.name.text)).collect();
    format!("({})", given.join(", "))
}

/// A chain through the layer, if tokens or vectors flow into it and nothing else does.
fn chain_through(layer: &Definition) -> Option<String> {
    let (first, rest) = layer.formals.split_first()?;
    let name = &layer.name.text;
    let before = if matches!(first.kind, FormalKind::Token) { "" } else { "embedding(8) -> " };
    rest.iter().all(|formal| matches!(formal.kind, FormalKind::Option(_))).then(|| {
        format!("model {{ tokens -> {before}{name}{} -> dense(vocab) -> softmax }}", required(rest, "8"))
    })
}

/// The example with whatever it lacks to be a whole file.
fn completed(block: &Block) -> String {
    let mut sources = SourceMap::default();
    let id = sources.add(&block.place, &block.text);
    let file =
        syntax::parse(&sources, id).unwrap_or_else(|errors| panic!("{}", sources.render(&errors, false)));
    let has = |fits: fn(&Item) -> bool| file.items.iter().any(fits);
    let mut text = block.text.clone();
    let mut add = |part: &str| text.push_str(&format!("\n{part}\n"));
    if !has(|item| matches!(item, Item::Data(_))) {
        add(DATA);
    }
    if !has(|item| matches!(item, Item::Model(_))) {
        let layers = file
            .items
            .iter()
            .filter_map(|item| if let Item::Layer(layer) = item { Some(layer) } else { None });
        let chains: Vec<String> = layers.map(|layer| chain_through(layer).expect("one input")).collect();
        assert!(chains.len() < 2, "{}: a block defines one layer, or has a model", block.place);
        add(chains
            .first()
            .map_or("model { tokens -> embedding(8) -> dense(vocab) -> softmax }", String::as_str));
    }
    if !has(|item| matches!(item, Item::Train(_))) {
        let optimizer = file.items.iter().find_map(|item| match item {
            Item::Optimizer(found) => {
                Some(format!("{}{}", found.name.text, required(&found.formals[2..], "0.5")))
            }
            _ => None,
        });
        let optimizer = optimizer.unwrap_or_else(|| "sgd".to_owned());
        add(&format!("train {{ loss: cross_entropy; optimizer: {optimizer}; epochs: 1 }}"));
    }
    text
}

#[test]
fn every_example_compiles() {
    let folder = Folder::new();
    let mut seen = 0;
    for block in blocks() {
        if block.info != "lstm" {
            assert!(!looks_like_a_model(&block.text), "{}: mark this block with `lstm`", block.place);
            continue;
        }
        seen += 1;
        folder.write("example.lstm", completed(&block));
        let done = folder.run(&["check", "example.lstm", "--vocab", "1000", "--threads", "1"]);
        assert_eq!(done.code, Some(0), "{}: {}", block.place, done.err);
    }
    assert!(seen >= 6, "only {seen} examples were found");
}

#[test]
fn the_error_of_the_readme_is_the_one_that_is_shown() {
    let blocks = blocks_of("README.md");
    let model = blocks.iter().find(|block| block.info == "lstm").expect("a model");
    let shown = blocks.iter().find(|block| block.text.starts_with("error[")).expect("an error");
    let (right, wrong) = ("param U: [units, units]", "param U: [in, units]");
    assert_eq!(model.text.matches(right).count(), 1);
    let folder = Folder::new();
    folder.write("cell.lstm", model.text.replace(right, wrong));
    assert_eq!(folder.refused(&["check", "cell.lstm", "--vocab", "1000"]).trim_end(), shown.text.trim_end());
}

#[test]
fn what_is_no_example_is_told_apart() {
    for text in ["data {\n", "model { tokens -> a }", "layer a(x: [in]) {", "    tokens -> b\n"] {
        assert!(looks_like_a_model(text), "{text}");
    }
    for text in ["model       = \"{\" chain", "$ lstmc train models/aesop.lstm", "layer shape", "tokens 5"] {
        assert!(!looks_like_a_model(text), "{text}");
    }
}
