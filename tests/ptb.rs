//! The Penn Treebank as everyone counts it. Its text is licensed and not in the repository: without it the test is
//! skipped, and says so.

use std::path::{Path, PathBuf};

use lstmc_compiler::model::{Selection, TokenKind, Tokens};
use lstmc_runtime::text::{Corpus, Role, Texts};

/// `$LSTMC_PTB`, or the folder beside the repository's where it may lie.
fn folder() -> PathBuf {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/ptb");
    std::env::var_os("LSTMC_PTB").map_or_else(beside, PathBuf::from)
}

#[test]
fn the_penn_treebank_has_its_known_counts() {
    let folder = folder();
    let [train, valid, test] = ["train", "valid", "test"].map(|split| format!("ptb.{split}.txt"));
    if !folder.join(&train).exists() {
        eprintln!("SKIPPED: no {train} in {}; set LSTMC_PTB to the folder of the texts", folder.display());
        return;
    }
    let tokens = Tokens { kind: TokenKind::Words, newline: Some("<eos>".into()), reserve: 0 };
    let texts = Texts::files(&folder, &train, Some(&valid), Some(&test));
    let others = [Role::Valid, Role::Test];
    let corpus = Corpus::read(&tokens, &Selection::default(), &texts, &others).expect("the texts");
    let count = |split: &Option<Vec<u32>>| split.as_ref().map(Vec::len);
    assert_eq!(corpus.train.len(), 929_589);
    assert_eq!((count(&corpus.valid), count(&corpus.test)), (Some(73_760), Some(82_430)));
    assert_eq!(corpus.vocabulary.len(), 10_000);
    // By falling frequency.
    let first: Vec<String> = (0..4).map(|id| corpus.vocabulary.show(id)).collect();
    assert_eq!(first, ["the", "<unk>", "<eos>", "N"]);
}
