//! The Penn Treebank as everyone counts it. Its text is licensed and not in the repository: without it the test is
//! skipped, and says so.

use std::path::{Path, PathBuf};

use lstmc_compiler::model::{Selection, TokenKind, Tokens};
use lstmc_runtime::text::{Corpus, Paths};

/// `$LSTMC_PTB`, or the folder beside the repository's where it may lie.
fn folder() -> PathBuf {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/ptb");
    std::env::var_os("LSTMC_PTB").map_or_else(beside, PathBuf::from)
}

#[test]
fn the_penn_treebank_has_its_known_counts() {
    let folder = folder();
    let [train, valid, test] =
        ["train", "valid", "test"].map(|split| folder.join(format!("ptb.{split}.txt")));
    if !train.exists() {
        eprintln!("SKIPPED: no {}; set LSTMC_PTB to the folder of the texts", train.display());
        return;
    }
    let tokens = Tokens { kind: TokenKind::Words, newline: Some("<eos>".into()), reserve: 0 };
    let paths = Paths { train: &train, valid: Some(&valid), test: Some(&test) };
    let corpus = Corpus::read(&tokens, &Selection::default(), paths).expect("the texts");
    let count = |split: &Option<Vec<u32>>| split.as_ref().map(Vec::len);
    assert_eq!(corpus.train.len(), 929_589);
    assert_eq!((count(&corpus.valid), count(&corpus.test)), (Some(73_760), Some(82_430)));
    assert_eq!(corpus.vocabulary.len(), 10_000);
    // By falling frequency.
    let first: Vec<String> = (0..4).map(|id| corpus.vocabulary.show(id)).collect();
    assert_eq!(first, ["the", "<unk>", "<eos>", "N"]);
}
