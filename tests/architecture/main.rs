//! The rules of the house: who may import whom, which names the compiler may not know, where `unsafe` may be, and how
//! long a file may get.

mod page;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The stages, earliest first; those in one row do not know each other.
const STAGES: [&[&str]; 7] =
    [&["syntax"], &["model"], &["graph"], &["grad", "opt", "onnx"], &["kernel"], &["plan"], &["backend"]];

/// What every stage may import.
const SHARED: [&str; 4] = ["diag", "protobuf", "scalar", "target"];

/// What back ends see, beside [`SHARED`].
const SEEN_BY_BACKENDS: [&str; 3] = ["kernel", "plan", "backend"];

/// What back ends share: what scalar operations are made of, and the tests.
const SHARED_BY_BACKENDS: [&str; 3] = ["elementary", "standalone", "suite"];

/// Folders whose files import each other in no circle; what two need is below both. A folder's `mod.rs` has the types that
/// all of them use, and does not count.
const WITHOUT_CIRCLES: [&str; 20] = [
    "compiler/src/backend/c",
    "compiler/src/backend/cpu",
    "compiler/src/backend/cpu/cranelift",
    "compiler/src/backend/cpu/cranelift/ahead",
    "compiler/src/backend/cpu/x86",
    "compiler/src/backend/ptx",
    "compiler/src/backend/ptx/product",
    "compiler/src/backend/ptx/time",
    "compiler/src/diag",
    "compiler/src/kernel",
    "compiler/src/kernel/lower",
    "compiler/src/kernel/verify",
    "compiler/src/model",
    "compiler/src/onnx",
    "compiler/src/syntax",
    "runtime/src/engine/cpu/gemm",
    "runtime/src/engine/cuda",
    "runtime/src/exchange",
    "src/import",
    "src/report",
];

/// Files, and folders that end in `/`, which may say `unsafe`.
const UNSAFE: [&str; 20] = [
    "benches/kernels.rs",
    "compiler/src/backend/cpu/abi.rs",
    "compiler/src/backend/cpu/cranelift/mod.rs",
    "compiler/src/backend/cpu/cranelift/tests/support.rs",
    "runtime/src/engine/cpu/arena.rs",
    "runtime/src/engine/cpu/gemm/",
    "runtime/src/engine/cpu/host.rs",
    "runtime/src/engine/cpu/machine.rs",
    "runtime/src/engine/cpu/session.rs",
    "runtime/src/engine/cpu/workers/",
    "runtime/src/engine/cuda/cublaslt.rs",
    "runtime/src/engine/cuda/cublaslt/",
    "runtime/src/engine/cuda/driver.rs",
    "runtime/src/exchange/mpi.rs",
    "runtime/src/exchange/shared.rs",
    "runtime/src/exchange/tests/group.rs",
    "runtime/src/testing.rs",
    "runtime/src/train/tests.rs",
    "runtime/tests/mpi.rs",
    "tests/cublaslt/",
];

/// Files whose unit tests alone may: they stand in for compiled code.
const UNSAFE_IN_TESTS: [&str; 1] = ["runtime/src/generate.rs"];

/// The most lines of a file.
const LINES: usize = 600;

/// Files of the command that use standard output and error, or read those of another program.
const PRINTS: [&str; 6] = [
    "src/commands/export/link.rs",
    "src/commands/generate.rs",
    "src/main.rs",
    "src/progress/bar.rs",
    "src/progress/mod.rs",
    "src/terminal.rs",
];

/// Names of the prelude that are plain words too.
const PLAIN: [&str; 5] = ["dense", "last", "momentum", "scalar", "embedding"];

/// A Rust file, by its path from the repository's root.
struct Source {
    path: String,
    text: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn visit(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of the repository") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            visit(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// All Rust files below a folder.
fn sources(folder: &str) -> Vec<Source> {
    let mut paths = vec![];
    visit(&root().join(folder), &mut paths);
    paths.sort();
    assert!(!paths.is_empty(), "no Rust in {folder}");
    let source = |path: PathBuf| Source {
        path: path.strip_prefix(root()).expect("below the root").to_string_lossy().replace('\\', "/"),
        text: fs::read_to_string(&path).expect("a source file"),
    };
    paths.into_iter().map(source).collect()
}

fn everything() -> Vec<Source> {
    let folders = ["compiler", "runtime", "src", "tests", "benches", "examples"];
    folders.iter().filter(|folder| root().join(folder).exists()).flat_map(|folder| sources(folder)).collect()
}

/// The text with comments, and unless `strings` are kept their contents, made blank; lines stay lines.
fn code(text: &str, strings: bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let raw = rest.strip_prefix('r').map(|after| after.len() - after.trim_start_matches('#').len());
        let (len, blank) = match first {
            '/' if rest.starts_with("//") => (rest.find('\n').unwrap_or(rest.len()), true),
            '/' if rest.starts_with("/*") => (rest.find("*/").map_or(rest.len(), |end| end + 2), true),
            'r' if raw.is_some_and(|hashes| rest[1 + hashes..].starts_with('"')) && !in_word(&out) => {
                let close = format!("\"{}", "#".repeat(raw.unwrap_or(0)));
                let open = 1 + close.len();
                (rest[open..].find(&close).map_or(rest.len(), |end| open + end + close.len()), !strings)
            }
            '"' => (string_len(rest), !strings),
            '\'' if rest[1..].starts_with('\\') => (rest[3..].find('\'').map_or(1, |end| end + 4), !strings),
            '\'' if rest.chars().nth(2) == Some('\'') => {
                (2 + rest[1..].chars().next().map_or(1, char::len_utf8), !strings)
            }
            _ => (first.len_utf8(), false),
        };
        let (part, after) = rest.split_at(len);
        out.extend(part.chars().map(|c| if blank && c != '\n' { ' ' } else { c }));
        rest = after;
    }
    out
}

/// Whether what comes next goes on with a word.
fn in_word(before: &str) -> bool {
    before.ends_with(|c: char| c.is_alphanumeric() || c == '_')
}

/// Of a string in quotes at the start of `text`.
fn string_len(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            '"' if !escaped => return at + 1,
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    text.len()
}

/// Without the unit tests at the end of a file.
fn without_tests(text: &str) -> &str {
    text.find("#[cfg(test)]\nmod ").map_or(text, |at| &text[..at])
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

/// What follows `prefix`, such as `crate::`, anywhere: the modules that a file names.
fn imports(code: &str, prefix: &str) -> Vec<String> {
    let mut found = vec![];
    for (at, _) in code.match_indices(prefix) {
        let after = &code[at + prefix.len()..];
        if prefix.starts_with("super") && (code[..at].ends_with("super::") || after.starts_with("super::")) {
            continue;
        }
        match after.strip_prefix('{') {
            None => found.extend(words(after).next().map(str::to_owned)),
            Some(group) => {
                let mut depth = 0;
                let mut start = true;
                for (at, c) in group.char_indices() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => start = true,
                        c if start && c.is_alphanumeric() => {
                            found.extend(words(&group[at..]).next().map(str::to_owned));
                            start = false;
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    found
}

/// The most `super::` in a row.
fn climbs(code: &str) -> usize {
    let mut most = 0;
    let mut rest = code;
    while let Some(at) = rest.find("super::") {
        rest = &rest[at..];
        let mut climbed = 0;
        while let Some(after) = rest.strip_prefix("super::") {
            climbed += 1;
            rest = after;
        }
        most = most.max(climbed);
    }
    most
}

/// The stage that a file of the compiler belongs to.
fn stage_of(path: &str) -> Option<&str> {
    let inner = path.strip_prefix("compiler/src/")?;
    Some(inner.split('/').next()?.trim_end_matches(".rs"))
}

fn may_import(stage: &str, other: &str) -> bool {
    let rank = |name: &str| STAGES.iter().position(|row| row.contains(&name));
    if stage == other || SHARED.contains(&other) && !SHARED.contains(&stage) {
        return true;
    }
    match stage {
        "pipeline" | "lib" => true,
        "target" => other == "scalar",
        "backend" => SEEN_BY_BACKENDS.contains(&other),
        _ => matches!((rank(stage), rank(other)), (Some(own), Some(its)) if its < own),
    }
}

#[test]
fn each_stage_imports_only_earlier_ones() {
    let mut faults = vec![];
    for source in sources("compiler/src") {
        let stage = stage_of(&source.path).expect("below compiler/src").to_owned();
        let known =
            STAGES.iter().any(|row| row.contains(&stage.as_str())) || SHARED.contains(&stage.as_str());
        assert!(
            known || ["pipeline", "lib"].contains(&stage.as_str()),
            "{} belongs to no stage",
            source.path
        );
        let code = code(&source.text, false);
        for other in imports(&code, "crate::").iter().filter(|other| !may_import(&stage, other)) {
            faults.push(format!("{}: {stage} imports {other}", source.path));
        }
        // `super` that leads out of the stage. A unit test's own module is one deeper.
        let inner = source.path.trim_start_matches("compiler/src/").trim_end_matches("/mod.rs");
        let depth = inner.split('/').count();
        if stage != "lib" && climbs(without_tests(&code)) >= depth {
            faults.push(format!("{}: `super` leads out of {stage}", source.path));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn back_ends_know_neither_each_other_nor_what_is_above_them() {
    let mut faults = vec![];
    for source in sources("compiler/src/backend") {
        let inner = source.path.trim_start_matches("compiler/src/backend/").trim_end_matches("/mod.rs");
        let code = code(&source.text, false);
        let own = inner.split_once('/').map_or(inner, |(folder, _)| folder);
        let others = imports(&code, "crate::backend::");
        for other in
            others.iter().filter(|other| *other != own && !SHARED_BY_BACKENDS.contains(&other.as_str()))
        {
            faults.push(format!("{}: {own} knows {other}", source.path));
        }
        let depth = inner.split('/').count();
        if inner != "mod.rs" && climbs(without_tests(&code)) >= depth {
            faults.push(format!("{}: `super` leads out of {own}", source.path));
        }
        // Element code does not know who calls it.
        if inner.starts_with("cpu/x86") && words(without_tests(&code)).any(|word| word == "cranelift") {
            faults.push(format!("{}: element code knows its caller", source.path));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Which of a folder's modules names which others, unit tests aside.
fn module_imports(folder: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut found = BTreeMap::<String, BTreeSet<String>>::new();
    let inside = folder.split_once("src/").map_or("", |(_, inside)| inside).replace('/', "::");
    for source in sources(folder) {
        let path = source.path[folder.len() + 1..].trim_end_matches(".rs");
        if path == "mod" || path.split('/').any(|part| part == "tests") {
            continue;
        }
        let depth = path.trim_end_matches("/mod").split('/').count();
        let code = code(without_tests(&source.text), false);
        let mut names = imports(&code, &"super::".repeat(depth));
        names.extend(imports(&code, &format!("crate::{inside}::")));
        let module = path.split('/').next().unwrap_or_default();
        names.retain(|name| name != module);
        found.entry(module.to_owned()).or_default().extend(names);
    }
    found
}

/// What is left when modules that import none of the others, or that none imports, are taken away again and again.
fn in_circles(mut imports: BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    loop {
        let ends: Vec<String> = imports
            .iter()
            .filter(|(module, its)| {
                !its.iter().any(|other| imports.contains_key(other))
                    || !imports.values().any(|others| others.contains(*module))
            })
            .map(|(module, _)| module.clone())
            .collect();
        if ends.is_empty() {
            return imports.into_keys().collect();
        }
        imports.retain(|module, _| !ends.contains(module));
    }
}

#[test]
fn files_do_not_import_each_other_in_circles() {
    for folder in WITHOUT_CIRCLES {
        let imports = module_imports(folder);
        assert!(imports.values().any(|its| its.iter().any(|other| imports.contains_key(other))), "{folder}");
        let circle = in_circles(imports);
        assert!(circle.is_empty(), "{folder}: a circle of {}", circle.join(", "));
    }
}

#[test]
fn a_pass_knows_no_other_pass() {
    for (folder, some) in
        [("compiler/src/opt", ["hoist", "simplify"]), ("compiler/src/kernel/passes", ["preamble", "prepack"])]
    {
        let passes: BTreeSet<String> = fs::read_to_string(root().join(folder).join("mod.rs"))
            .expect("the passes")
            .lines()
            .filter_map(|line| line.strip_prefix("pub use ")?.split("::").next().map(str::to_owned))
            .filter(|name| name != "dead")
            .collect();
        assert!(some.iter().all(|&pass| passes.contains(pass)), "{passes:?}");
        for (pass, its) in module_imports(folder) {
            let known: Vec<&String> = its.intersection(&passes).collect();
            assert!(known.is_empty(), "{pass} knows {known:?}");
        }
    }
}

#[test]
fn files_begin_by_saying_what_they_are() {
    for folder in ["compiler/src", "runtime/src", "src"] {
        for source in sources(folder) {
            let tests = source.path.contains("/tests");
            assert!(tests || source.text.starts_with("//! "), "{} has no header", source.path);
        }
    }
}

#[test]
fn only_some_files_of_the_command_print() {
    for source in sources("src") {
        let code = code(without_tests(&source.text), false);
        let macros = ["println!", "print!", "eprint!"].iter().any(|name| code.contains(name));
        let prints = macros || words(&code).any(|word| ["stdout", "stderr"].contains(&word));
        let may = PRINTS.contains(&source.path.as_str());
        assert!(may || !prints, "{} prints", source.path);
    }
}

#[test]
fn the_compiler_never_names_the_runtime() {
    let manifest = fs::read_to_string(root().join("compiler/Cargo.toml")).expect("the compiler's manifest");
    assert!(!manifest.contains("lstmc-runtime"));
    for source in sources("compiler") {
        assert!(!words(&code(&source.text, true)).any(|word| word == "lstmc_runtime"), "{}", source.path);
    }
}

#[test]
fn only_the_command_does_io_for_the_compiler() {
    for source in sources("compiler/src") {
        let code = code(without_tests(&source.text), false);
        let tests = source.path.contains("/tests");
        for word in ["std::fs", "std::net", "std::process", "println!", "eprintln!"] {
            assert!(tests || !code.contains(word), "{} says {word}", source.path);
        }
    }
}

/// The layers and optimizers that the prelude defines.
fn prelude_names() -> Vec<String> {
    let mut names = vec![];
    for entry in fs::read_dir(root().join("compiler/prelude")).expect("the prelude") {
        let text = fs::read_to_string(entry.expect("an entry").path()).expect("a file of the prelude");
        for line in text.lines() {
            let defined = line.strip_prefix("layer ").or_else(|| line.strip_prefix("optimizer "));
            names.extend(defined.and_then(|rest| words(rest).next()).map(str::to_owned));
        }
    }
    names
}

#[test]
fn the_compiler_knows_no_layer_and_no_optimizer() {
    let names = prelude_names();
    assert!(
        ["lstm", "gru", "adam", "sgd"].iter().all(|name| names.iter().any(|known| known == name)),
        "{names:?}"
    );
    let mut faults = vec![];
    for source in sources("compiler/src") {
        if source.path.contains("/tests") {
            continue;
        }
        let text = without_tests(&source.text);
        // Code does not know them at all; messages to people may show others than these three in an example.
        for word in words(&code(text, false)) {
            if names.iter().any(|name| name == word) && !PLAIN.contains(&word) {
                faults.push(format!("{}: {word}", source.path));
            }
        }
        // The ending of model files and the compiler's own name are not that layer.
        let all = code(text, true).replace(".lstm\"", "").replace("lstmc", "").to_lowercase();
        for word in words(&all).flat_map(|word| word.split('_')) {
            if ["lstm", "gru", "adam"].contains(&word.trim_end_matches(|c: char| c.is_ascii_digit())) {
                faults.push(format!("{}: {word} in a string", source.path));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Drivers and files know a running program by the traits of `engine`, so that it can run on another device.
#[test]
fn only_engines_know_what_they_run_on() {
    let stand_ins =
        ["runtime/src/testing.rs", "runtime/src/train/tests.rs", "runtime/src/checkpoint/tests.rs"];
    let mut wrong = vec![];
    for source in sources("runtime/src") {
        let ours =
            source.path.starts_with("runtime/src/engine/") || stand_ins.contains(&source.path.as_str());
        if !ours && code(without_tests(&source.text), false).contains("engine::cpu") {
            wrong.push(source.path);
        }
    }
    assert!(wrong.is_empty(), "{wrong:?} know an engine's inside");
}

#[test]
fn unsafe_is_where_it_may_be_and_says_why() {
    let allowed = |path: &str| {
        UNSAFE.iter().any(|place| path == *place || place.ends_with('/') && path.starts_with(place))
    };
    let mut faults = vec![];
    for source in everything() {
        let in_tests = UNSAFE_IN_TESTS.contains(&source.path.as_str());
        let first = if in_tests { without_tests(&source.text).lines().count() } else { 0 };
        let code = code(&source.text, false);
        let lines: Vec<&str> = source.text.lines().collect();
        for (number, line) in code.lines().enumerate() {
            if !words(line).any(|word| word == "unsafe") {
                continue;
            }
            if !(allowed(&source.path) || in_tests && number >= first) {
                faults.push(format!("{}:{}: unsafe has no place here", source.path, number + 1));
            }
            // Functions that are unsafe to call say when in their documentation, which clippy sees to.
            let claims = line.contains("unsafe {") || line.contains("unsafe impl");
            if claims && !explained(&lines, number) {
                faults.push(format!("{}:{}: no SAFETY comment", source.path, number + 1));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    for place in UNSAFE.iter().chain(&UNSAFE_IN_TESTS) {
        assert!(root().join(place).exists(), "{place} is gone: take it off the list");
    }
}

/// Whether a comment above the statement says why it is sound.
fn explained(lines: &[&str], number: usize) -> bool {
    let above = lines[..number].iter().rev().map(|line| line.trim());
    // The statement may have begun some lines above; the comment may be of some lines.
    let mut statement =
        above.skip_while(|line| !line.starts_with("//") && !line.is_empty() && !line.ends_with(';'));
    lines[number].contains("SAFETY:")
        || statement.by_ref().take_while(|line| line.starts_with("//")).any(|line| line.contains("SAFETY:"))
}

#[test]
fn no_file_is_too_long() {
    for source in everything() {
        let lines = source.text.lines().count();
        assert!(lines <= LINES, "{} has {lines} lines; {LINES} is the most", source.path);
    }
}

/// The checks above see what they look for.
mod the_checks {
    use super::{climbs, code, explained, imports, in_circles, may_import, without_tests};

    #[test]
    fn comments_and_strings_are_no_code() {
        let text = "a // b\n\"c \\\" // d\" e /* f\n */ r#\"g\"h\"# 'i' '\"' j 'k k";
        let blank = code(text, false);
        let words: Vec<&str> = blank.split_whitespace().collect();
        assert_eq!(words, ["a", "e", "j", "'k", "k"]);
        assert!(code(text, true).contains("c \\\" // d") && !code(text, true).contains("// b"));
        assert_eq!(blank.lines().count(), text.lines().count());
    }

    #[test]
    fn imports_are_seen_in_every_form() {
        let code = "use crate::graph::{self, Op}; use crate::{grad, opt::{simplify, dead}, plan};\nlet x = crate::kernel::f();";
        assert_eq!(imports(code, "crate::"), ["graph", "grad", "opt", "plan", "kernel"]);
        let code = "use super::{a::B, c}; use super::super::d; use super::super::{e, f::G};";
        assert_eq!(imports(code, "super::"), ["a", "c"]);
        assert_eq!(imports(code, "super::super::"), ["d", "e", "f"]);
        assert_eq!(climbs("use super::x; use super::super::y;"), 2);
    }

    #[test]
    fn the_order_of_the_stages() {
        for (stage, other) in [("grad", "graph"), ("backend", "plan"), ("model", "diag"), ("graph", "model")]
        {
            assert!(may_import(stage, other), "{stage} {other}");
        }
        let wrong =
            [("grad", "opt"), ("opt", "grad"), ("graph", "kernel"), ("backend", "graph"), ("diag", "syntax")];
        for (stage, other) in wrong.into_iter().chain([("plan", "pipeline"), ("scalar", "diag")]) {
            assert!(!may_import(stage, other), "{stage} {other}");
        }
    }

    #[test]
    fn circles_are_found() {
        let imports = |pairs: &[(&str, &[&str])]| {
            let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
            pairs.iter().map(|(module, its)| ((*module).to_owned(), owned(its))).collect()
        };
        assert!(in_circles(imports(&[("a", &["b", "c"]), ("b", &["c"]), ("c", &["elsewhere"])])).is_empty());
        let circle = imports(&[("a", &["b"]), ("b", &["c"]), ("c", &["b", "d"]), ("d", &[])]);
        assert_eq!(in_circles(circle), ["b", "c"]);
    }

    #[test]
    fn an_unsafe_block_needs_its_reason() {
        let with = ["// SAFETY: it is", "let x =", "    unsafe { f() };"];
        assert!(explained(&with, 2));
        let without = ["// SAFETY: it is", "", "", "", "", "", "let x =", "    unsafe { f() };"];
        assert!(!explained(&without, 7));
    }

    #[test]
    fn unit_tests_are_cut_off() {
        assert_eq!(without_tests("a\n#[cfg(test)]\nmod tests {}"), "a\n");
    }
}
