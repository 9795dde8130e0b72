//! Texts: model files through to the plan, graphs and kernels as they are printed, and what models read.

use lstmc_compiler::diag::SourceMap;
use lstmc_compiler::graph::{self, Purpose};
use lstmc_compiler::kernel;
use lstmc_compiler::model::{TokenKind, Tokens};
use lstmc_compiler::pipeline;
use lstmc_compiler::plan::{Verified, plan};
use lstmc_compiler::syntax::{Unformatted, format};
use lstmc_compiler::target::{Nvidia, Target};
use lstmc_runtime::text::{Tokenizer, Vocabulary, encode};

use crate::checked::checked;

/// Of the vocabulary that models are checked with.
pub const WORDS: usize = 12;

/// A model file: refused in words, or compiled for each purpose and target up to the plan, which is verified; and formatted.
pub fn model(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    if let Some(formatted) = formatted(text) {
        assert_eq!(self::formatted(&formatted).as_ref(), Some(&formatted));
    }
    let Ok(model) = checked(text, WORDS) else { return };
    for target in [Target::cpu(2), Target::nvidia(Nvidia::SM_80)] {
        for purpose in [Purpose::Train, Purpose::Evaluate, Purpose::Generate { tokens: 3 }] {
            pipeline::program_of(&model, purpose, &target);
        }
    }
}

/// The layout of a source, which is one of the same source; none of a text that is none.
fn formatted(text: &str) -> Option<String> {
    let mut map = SourceMap::default();
    let id = map.add("model.lstm", text);
    match format(&map, id) {
        Ok(formatted) => Some(formatted),
        Err(Unformatted::Wrong(_)) => None,
        Err(Unformatted::Changed) => panic!("it became another source:\n{text}"),
    }
}

/// A graph: refused, or read back as it is printed.
pub fn graph(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let Ok(graph) = graph::parse(text) else { return };
    if graph::verify(&graph).is_ok() {
        let printed = graph.to_string();
        assert_eq!(graph::parse(&printed).map(|graph| graph.to_string()), Ok(printed));
    }
}

/// A module of kernels: refused, or read back as it is printed, and planned.
pub fn kernels(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let Ok(module) = kernel::parse(text) else { return };
    if kernel::verify(&module).is_ok() {
        let printed = module.to_string();
        assert_eq!(kernel::parse(&printed).map(|module| module.to_string()), Ok(printed));
        for workers in [1, 3] {
            let program = plan(module.clone(), &Target::cpu(workers));
            if let Err(error) = Verified::new(program) {
                panic!("{error}\n{module}");
            }
        }
    }
}

/// A text: cut into tokens, and put together again. The first byte says how it is cut.
pub fn tokens(bytes: &[u8]) {
    let Some((&how, text)) = bytes.split_first() else { return };
    let Ok(text) = str::from_utf8(text) else { return };
    let kind = match how % 3 {
        0 => TokenKind::Words,
        1 => TokenKind::WordsAndPunctuation,
        _ => TokenKind::Characters,
    };
    let newline = (how / 3 % 2 == 1).then(|| "<eos>".to_owned());
    let tokenizer = Tokenizer::new(&Tokens { kind: kind.clone(), newline: newline.clone(), reserve: 0 });
    let found: Vec<&str> = tokenizer.tokens(text).map(|token| token.text).collect();
    let vocabulary = Vocabulary::build(found.iter().copied(), usize::from(how / 6 % 3));
    let ids = encode(&tokenizer, &vocabulary, text, "the text").expect("its own words are known").ids;
    let words = ids.iter().map(|&id| vocabulary.word(id).expect("an id of this vocabulary"));
    assert!(words.eq(found.iter().copied()));
    let joined = tokenizer.join(found.iter().copied());
    if kind == TokenKind::Characters && newline.is_none() && !text.contains('\r') {
        assert_eq!(joined, text);
    }
}
