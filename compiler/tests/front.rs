//! File tests of the front end: each `tests/front/*.lstm` beside the text that it must give, in a `.out` file.
//!
//! A file whose first line is `// stage: tokens`, `ast` or `model` gives that stage's text; every file gives its
//! diagnostics if it has any. `// vocab: N` sets the vocabulary's size, else 10. `BLESS=1` writes the `.out` files.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use lstmc_compiler::diag::{Diagnostics, SourceId, SourceMap};
use lstmc_compiler::model::{self, Body, ExprOp, Model, Source};
use lstmc_compiler::syntax::{self, ast};
use proptest::prelude::*;
use support::files::files;
use support::shipped;

/// The user's text is the first source, the prelude's files follow.
fn sources(name: &str, text: &str) -> (SourceMap, SourceId, Vec<SourceId>) {
    let mut sources = SourceMap::default();
    let id = sources.add(name, text);
    let prelude = model::prelude().map(|(name, text)| sources.add(name, text));
    (sources, id, prelude.to_vec())
}

fn check(
    sources: &SourceMap,
    id: SourceId,
    prelude: &[SourceId],
    vocab: usize,
) -> Result<Model, Diagnostics> {
    let file = syntax::parse(sources, id)?;
    let prelude: Result<Vec<ast::File>, _> = prelude.iter().map(|id| syntax::parse(sources, *id)).collect();
    model::check(&file, &prelude?, vocab)
}

fn directive<'t>(text: &'t str, key: &str) -> Option<&'t str> {
    let prefix = format!("// {key}: ");
    text.lines().find_map(|line| line.strip_prefix(prefix.as_str()))
}

/// What the stage named in the file's head says about it.
fn output(name: &str, text: &str) -> String {
    let (sources, id, prelude) = sources(name, text);
    let vocab = directive(text, "vocab").map_or(10, |n| n.parse().expect("a vocabulary size"));
    let result = match directive(text, "stage").unwrap_or("model") {
        "tokens" => Ok(syntax::print_tokens(&sources, id)),
        "ast" => syntax::parse(&sources, id).map(|file| syntax::print(&file)),
        "model" => check(&sources, id, &prelude, vocab).map(|model| model::print(&model)),
        stage => panic!("no stage {stage}"),
    };
    result.unwrap_or_else(|errors| sources.render(&errors, false))
}

#[test]
fn files_give_what_they_must() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/front");
    let bless = std::env::var_os("BLESS").is_some();
    let mut wrong = Vec::new();
    let paths = files(&folder, "lstm");
    assert!(paths.len() > 20, "the file tests are in {}", folder.display());
    for path in paths {
        let text = fs::read_to_string(&path).expect("a test file");
        let name = path.file_name().expect("a file name").to_string_lossy().into_owned();
        let found = output(&name, &text);
        let expected = path.with_extension("out");
        if bless {
            fs::write(&expected, &found).expect("the expected output is written");
        } else if fs::read_to_string(&expected).ok().as_deref() != Some(found.as_str()) {
            wrong.push(format!("{name}: found\n{found}"));
        }
    }
    assert!(wrong.is_empty(), "{}\nBLESS=1 accepts what was found", wrong.join("\n"));
}

#[test]
fn shipped_models_check() {
    let paths = shipped::paths();
    assert!(paths.len() >= 12);
    for path in paths {
        let text = fs::read_to_string(&path).expect("a model");
        let (sources, id, prelude) = sources(&path.to_string_lossy(), &text);
        if let Err(errors) = check(&sources, id, &prelude, 112) {
            panic!("{}", sources.render(&errors, false));
        }
    }
}

/// The promises in the head of `model`: equations refer to earlier ones, every state has a `next`, shapes are concrete.
#[test]
fn models_keep_their_promises() {
    for path in shipped::paths() {
        let text = fs::read_to_string(&path).expect("a model");
        let (sources, id, prelude) = sources(&path.to_string_lossy(), &text);
        let Ok(model) = check(&sources, id, &prelude, 112) else {
            panic!("{} does not check", path.display());
        };
        for (index, layer) in model.layers.iter().enumerate() {
            let earlier = |source: &Source| !matches!(source, Source::Layer(other) if *other >= index);
            assert!(layer.inputs.iter().all(earlier), "{} reads a later layer", layer.name);
            keeps_order(&layer.body, layer.states.len());
            assert_eq!(layer.body.exprs[layer.body.result.0 as usize].shape, [layer.width]);
            for (state, next) in layer.states.iter().zip(&layer.body.next) {
                assert_eq!(layer.body.exprs[next.0 as usize].shape, [state.width]);
            }
        }
        keeps_order(&model.optimizer.body, model.optimizer.states.len());
        assert!(model.optimizer.body.exprs.iter().all(|expr| expr.shape.is_empty()));
        assert_eq!(model.layers[model.output].width, model.vocab);
    }
}

fn keeps_order(body: &Body, states: usize) {
    assert_eq!(body.next.len(), states);
    for (index, expr) in body.exprs.iter().enumerate() {
        let args = match &expr.op {
            ExprOp::Map(op, args) => {
                assert_eq!(args.len(), op.arity());
                args.clone()
            }
            ExprOp::Concat(args) => args.clone(),
            ExprOp::MatMul { x, w, .. } => vec![*x, *w],
            ExprOp::Row { table, token } => vec![*table, *token],
            ExprOp::Sum(x) | ExprOp::Max(x) | ExprOp::Number(x) | ExprOp::Stop(x) | ExprOp::FinalStep(x) => {
                vec![*x]
            }
            ExprOp::Slice { x, .. } => vec![*x],
            _ => vec![],
        };
        assert!(args.iter().all(|arg| (arg.0 as usize) < index));
    }
}

/// The longest and deepest expressions that parse are also checked and shown in messages.
#[test]
fn large_expressions_are_survived() {
    let deep = format!("{}x{}", "tanh(".repeat(48), ")".repeat(48));
    for body in [format!("x{}", " + x".repeat(256)), format!("x{} + sum(1)", " * x".repeat(250)), deep] {
        let text = format!(
            "layer l(x: [in]) {{ return {body} }}\n\
             model {{ tokens -> embedding(vocab) -> l -> softmax }}\n\
             data {{ train: \"a\"; tokens: words; batches: stream(1, 1) }}\n\
             train {{ loss: cross_entropy; optimizer: sgd; epochs: 1 }}"
        );
        let (sources, id, prelude) = sources("large", &text);
        let result = check(&sources, id, &prelude, 10);
        assert_eq!(
            result.is_err(),
            body.contains("sum"),
            "{:?}",
            result.err().map(|e| sources.render(&e, false))
        );
    }
}

/// Words of the form `E0123` in a text.
fn codes(text: &str) -> BTreeSet<String> {
    let digits = |word: &&str| word.len() == 5 && word[1..].bytes().all(|byte| byte.is_ascii_digit());
    let words = text.split(|c: char| !c.is_ascii_alphanumeric());
    words.filter(|word| word.starts_with('E')).filter(digits).map(str::to_owned).collect()
}

fn texts(folder: &Path, extension: &str) -> String {
    files(folder, extension).iter().map(|path| fs::read_to_string(path).expect("a text file")).collect()
}

#[test]
fn every_code_is_documented_and_shown_by_a_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let places = ["src/syntax", "src/model", "../src"];
    let source: String = places.iter().map(|place| texts(&root.join(place), "rs")).collect();
    let documented = codes(&fs::read_to_string(root.join("../docs/language.md")).expect("the reference"));
    assert_eq!(codes(&source), documented);
    // A file that is too large and one that is too deep are made by tests of the parser, a training that diverges by those of the
    // command.
    let made = ["E0106", "E0108", "E0501"].map(str::to_owned);
    let shown: BTreeSet<String> =
        codes(&texts(&root.join("tests/front"), "out")).into_iter().chain(made).collect();
    assert_eq!(shown, documented);
}

/// Parsing and checking end, and every span can be shown.
fn survives(text: &str) {
    let (sources, id, prelude) = sources("fuzz", text);
    if let Err(errors) = check(&sources, id, &prelude, 10) {
        assert!(!errors.0.is_empty(), "refused without a reason:\n{text}");
        sources.render(&errors, false);
    }
    if let Ok(file) = syntax::parse(&sources, id) {
        syntax::print(&file);
        // Errors of the block are those that `check` reports.
        let _ = model::data_block(&file);
    }
    syntax::print_tokens(&sources, id);
}

/// Pieces that files are made of, for texts that get past the lexer.
const PIECES: [&str; 68] = [
    "data",
    "model",
    "train",
    "layer",
    "optimizer",
    "param",
    "state",
    "next",
    "return",
    "let",
    "if",
    "then",
    "else",
    "{",
    "}",
    "(",
    ")",
    "[",
    "]",
    ":",
    ";",
    ",",
    "->",
    "=",
    "@",
    "+",
    "-",
    "*",
    "/",
    "^",
    "<",
    ">=",
    "\n",
    " ",
    "x",
    "in",
    "units",
    "token",
    "tokens",
    "vocab",
    "h",
    "lstm",
    "dense",
    "softmax",
    "transpose",
    "final_step",
    "random",
    "training",
    "0",
    "1",
    "2.5",
    "1e400",
    "4294967296",
    "\"a\"",
    "\"",
    "// c\n",
    "é",
    "rate",
    "zeros",
    "uniform(0.1)",
    "=>",
    "'a.b'",
    "“a”",
    "/* a\n */",
    "# a\n",
    ".",
    "train:",
    "h[t-1]",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_survived(text in "\\PC{0,200}") {
        survives(&text);
    }

    #[test]
    fn any_pieces_are_survived(pieces in prop::collection::vec(prop::sample::select(&PIECES[..]), 0..120)) {
        survives(&pieces.join(" "));
    }

    #[test]
    fn mutated_models_are_survived(
        which in any::<prop::sample::Index>(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0usize..12, prop::sample::select(&PIECES[..])), 1..6),
    ) {
        let paths = shipped::paths();
        let mut text = fs::read_to_string(which.get(&paths)).expect("a model");
        for (at, cut, piece) in edits {
            let mut from = at.index(text.len() + 1);
            while !text.is_char_boundary(from) {
                from -= 1;
            }
            let mut to = (from + cut).min(text.len());
            while !text.is_char_boundary(to) {
                to += 1;
            }
            text.replace_range(from..to, piece);
        }
        survives(&text);
    }
}
