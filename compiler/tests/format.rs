//! The layout of sources: file tests, each `tests/format/*.lstm` beside the text that it becomes, in an `.out` file (`BLESS=1`
//! writes these); and that it is the same again, of the same source, and that of all that ships.

mod support;

use std::fs;
use std::path::Path;

use lstmc_compiler::diag::SourceMap;
use lstmc_compiler::model;
use lstmc_compiler::syntax::{self, Unformatted, format, parse};
use proptest::prelude::*;
use proptest::sample::Index;
use support::files::files;
use support::random_models::models;
use support::shipped;

/// A text in its layout; none of one with errors.
fn formatted(text: &str) -> Option<String> {
    let mut sources = SourceMap::default();
    let id = sources.add("m.lstm", text);
    match format(&sources, id) {
        Ok(formatted) => Some(formatted),
        Err(Unformatted::Wrong(_)) => None,
        Err(Unformatted::Changed) => panic!("it became another source:\n{text}"),
    }
}

/// All tokens and the tree of a text without errors.
fn source(text: &str) -> (Vec<String>, String) {
    let mut sources = SourceMap::default();
    let id = sources.add("m.lstm", text);
    let file = parse(&sources, id).unwrap_or_else(|errors| panic!("{}", sources.render(&errors, false)));
    let tokens = syntax::print_tokens(&sources, id);
    (tokens.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect(), syntax::print(&file))
}

fn comments(text: &str) -> Vec<&str> {
    // No test has `//` in quotes.
    text.lines().filter_map(|line| Some(line.get(line.find("//")?..)?.trim_end())).collect()
}

/// Checks what holds of every text, and gives its layout.
#[track_caller]
fn sound(text: &str) -> Option<String> {
    let once = formatted(text)?;
    assert_eq!(formatted(&once).as_ref(), Some(&once), "the layout has another layout; of\n{text}");
    assert_eq!(source(&once), source(text), "of\n{text}");
    assert_eq!(comments(&once), comments(text));
    let fault = |line: &str| line.ends_with([' ', '\t', '\r']) || line.contains('\t') && !line.contains("//");
    assert!(!once.lines().any(fault) && !once.contains("\n\n\n"), "{once}");
    Some(once)
}

#[test]
fn files_become_what_they_must() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/format");
    let bless = std::env::var_os("BLESS").is_some();
    let mut wrong = Vec::new();
    let paths = files(&folder, "lstm");
    assert!(paths.len() > 3, "the file tests are in {}", folder.display());
    for path in paths {
        let text = fs::read_to_string(&path).expect("a test file");
        let found = sound(&text).unwrap_or_else(|| panic!("{} has errors", path.display()));
        let expected = path.with_extension("out");
        if bless {
            fs::write(&expected, &found).expect("the expected output is written");
        } else if fs::read_to_string(&expected).ok().as_deref() != Some(found.as_str()) {
            wrong.push(format!("{}: found\n{found}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}\nBLESS=1 accepts what was found", wrong.join("\n"));
}

/// The fenced blocks of the documents that are whole items of the language.
fn documents() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(1).expect("the repository");
    let mut paths = files(&root.join("docs"), "md");
    paths.push(root.join("README.md"));
    let blocks = |path: &std::path::PathBuf| -> Vec<(String, String)> {
        let text = fs::read_to_string(path).expect("a document");
        let blocks = text.split("```").skip(1).step_by(2).filter_map(|block| block.strip_prefix("lstm\n"));
        blocks.map(|block| (path.display().to_string(), block.to_owned())).collect()
    };
    paths.iter().flat_map(blocks).collect()
}

#[test]
fn what_ships_is_in_its_layout() {
    let read =
        |path: std::path::PathBuf| (path.display().to_string(), fs::read_to_string(&path).expect("a model"));
    let prelude = model::prelude().map(|(name, text)| (name.to_owned(), text.to_owned()));
    let all: Vec<(String, String)> =
        shipped::paths().into_iter().map(read).chain(prelude).chain(documents()).collect();
    assert!(all.len() > 25, "{}", all.len());
    let mut wrong = vec![];
    for (name, text) in all {
        let layout = sound(&text).unwrap_or_else(|| panic!("{name} has errors"));
        if layout != text {
            wrong.push(format!("{name}: found\n{layout}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The sources of all tests of the front end.
#[test]
fn sources_of_tests_stay_what_they_are() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/front");
    let texts = files(&folder, "lstm").into_iter().map(|path| fs::read_to_string(path).expect("a test file"));
    let found = texts.filter_map(|text| sound(&text)).count();
    assert!(found > 50, "{found}");
}

/// What a text may have in place of white space: `None` leaves it.
type Gaps = Vec<(Index, u8)>;

/// Changes the white space at some places: more of it in a line, empty lines and comments between lines, tabs, and ends of lines
/// inside brackets.
fn mangled(text: &str, gaps: &Gaps) -> String {
    let mut text = text.to_owned();
    for (place, kind) in gaps {
        let spaces: Vec<usize> = text.match_indices([' ', '\n']).map(|(at, _)| at).collect();
        if spaces.is_empty() {
            break;
        }
        let at = spaces[place.index(spaces.len())];
        let line = text[..at].rfind('\n').map_or(0, |end| end + 1);
        if text[line..at].contains("//") || text[line..at].matches('"').count() % 2 == 1 {
            continue;
        }
        let opened = |open, close| text[..at].matches(open).count() > text[..at].matches(close).count();
        let new = match (text.as_bytes()[at], kind % 6) {
            (b'\n', 0) => "\n\n\n\t",
            (b'\n', 1) => " \r\n",
            (b'\n', 2) => " // said behind\n  // and below\n",
            (b'\n', 3) => "\n\n// alone\n\n\n",
            (b' ', 4) if opened('(', ')') => "\n\n",
            (b' ', 5) if opened('(', ')') => " // inside\n",
            (b' ', _) => "  \t",
            (_, _) => "\n\t\n",
        };
        text.replace_range(at..=at, new);
    }
    text
}

fn gaps() -> impl Strategy<Value = Gaps> {
    prop::collection::vec((any::<Index>(), any::<u8>()), 0..30)
}

/// The same source with other white space in its lines alone.
fn respaced(text: &str, gaps: &Gaps) -> String {
    let only_spaces: Gaps = gaps.iter().map(|(place, _)| (*place, 3)).collect();
    // Ends of lines are left alone: they are not spaces once the rest is replaced.
    let guarded = text.replace('\n', "\u{0}");
    let once = guarded.split('\u{0}').map(|line| mangled(line, &only_spaces)).collect::<Vec<_>>().join("\n");
    once.lines().map(|line| format!("\t{line} \n")).collect()
}

proptest! {
    #[test]
    fn random_models_keep_their_source(model in models(), gaps in gaps()) {
        prop_assert!(sound(&model.text).is_some());
        prop_assert!(sound(&mangled(&model.text, &gaps)).is_some());
    }

    #[test]
    fn shipped_models_keep_their_source(which in any::<Index>(), gaps in gaps()) {
        let paths = shipped::paths();
        let text = fs::read_to_string(&paths[which.index(paths.len())]).expect("a model");
        prop_assert!(sound(&mangled(&text, &gaps)).is_some());
        // Spaces in a line and before it decide nothing.
        prop_assert_eq!(formatted(&respaced(&text, &gaps)), Some(text));
    }

    #[test]
    fn no_text_is_too_odd(parts in prop::collection::vec(prop::sample::select(PARTS.to_vec()), 0..60)) {
        sound(&parts.concat());
    }
}

/// What random texts are made of: most are no sources, and few are.
const PARTS: [&str; 24] = [
    "data {",
    "model {",
    "layer a(x: [in]) ",
    "}",
    "\n",
    "\n\n",
    " ",
    "// c\n",
    "train: \"t\"",
    "tokens: words",
    ";",
    "tokens",
    " -> a",
    "(1, b: 2)",
    "param p: [2]",
    "state s: [1] = -1",
    "next s = s",
    "return x",
    "y = x @ p",
    " + 1",
    "[0:-1]",
    "let b = ",
    ",",
    " where 0 < a ",
];
