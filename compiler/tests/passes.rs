//! File tests of the graph passes.
//!
//! `passes/<pass>/*.txt` holds a graph, a line `----`, and the graph that the pass must make of it. `BLESS=1 cargo test
//! --test passes` writes what the passes give into the files. Input and output must both verify. With `verify` as the
//! pass, the input is expected to be broken, and what follows the line is the verifier's message.

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use lstmc_compiler::graph::{Graph, parse, verify};
use lstmc_compiler::target::Target;
use lstmc_compiler::{grad, opt};
use support::files;

type Pass = fn(&Graph) -> Graph;

/// The pass that a folder names.
fn pass(name: &str) -> Option<Pass> {
    match name {
        "gradients" => Some(grad::gradients),
        "distinct_rows" => Some(|graph| opt::distinct_rows(graph, 1, &Target::cpu(1))),
        "distinct_rows_of_runs" => Some(|graph| opt::distinct_rows(graph, 10, &Target::cpu(1))),
        "hoist" => Some(opt::hoist),
        "identity" => Some(Graph::clone),
        "merge_products" => Some(opt::merge_products),
        "remove_dead" => Some(opt::remove_dead),
        "simplify" => Some(opt::simplify),
        "sink" => Some(opt::sink),
        "square_sums" => Some(|graph| opt::square_sums(graph, &Target::cpu(1))),
        "sparse_rows" => Some(|graph| opt::sparse_rows(graph, &Target::cpu(1))),
        _ => None,
    }
}

/// What the file of a test should hold after the line.
fn outcome(path: &Path, input: &str) -> Result<String, String> {
    let folder = path.parent().and_then(Path::file_name).and_then(|name| name.to_str()).unwrap_or_default();
    let graph = parse(input).map_err(|error| error.to_string())?;
    if folder == "verify" {
        return match verify(&graph) {
            Ok(()) => Err("the verifier accepts it".into()),
            Err(message) => Ok(format!("{message}\n")),
        };
    }
    let pass = pass(folder).ok_or_else(|| format!("no pass is named {folder}"))?;
    verify(&graph).map_err(|message| format!("the input is broken: {message}"))?;
    let output = pass(&graph);
    verify(&output).map_err(|message| format!("the pass broke the graph: {message}\n{output}"))?;
    let text = output.to_string();
    // File tests are also the tests that whatever a pass leaves can be read back.
    let again =
        parse(&text).map_err(|error| format!("the output does not parse: {error}\n{text}"))?.to_string();
    if again == text { Ok(text) } else { Err(format!("the output is read back as another graph:\n{again}")) }
}

fn check(path: &Path, bless: bool) -> Result<(), String> {
    files::check(outcome, path, bless)
}

#[test]
fn passes() {
    files::check_all(outcome, "passes");
}

mod harness {
    use super::*;

    const INPUT: &str = "graph g {\n  %0: f[] = const 1.0\n}\n";

    fn file(folder: &Path, pass: &str, text: &str) -> PathBuf {
        let folder = folder.join(pass);
        fs::create_dir_all(&folder).expect("a folder for the test can be made");
        let path = folder.join("a.txt");
        fs::write(&path, text).expect("the test's file can be written");
        path
    }

    #[test]
    fn tells_a_right_expectation_from_a_wrong_one() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = file(folder.path(), "identity", &format!("{INPUT}----\n{INPUT}"));
        assert_eq!(check(&path, false), Ok(()));
        let path = file(folder.path(), "identity", &format!("{INPUT}----\n{}", INPUT.replace("1.0", "2.0")));
        let fault = check(&path, false).expect_err("a wrong expectation passed");
        assert!(fault.contains("should be:   %0: f[] = const 2.0"), "{fault}");
        let path = file(folder.path(), "identity", &format!("{INPUT}----\n{INPUT}\n"));
        assert!(check(&path, false).expect_err("a longer expectation passed").contains("longer or shorter"));
    }

    #[test]
    fn refuses_files_that_test_nothing() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let cases = [
            ("identity", INPUT.to_string(), "no line `----`"),
            ("nonsense", format!("{INPUT}----\n{INPUT}"), "no pass is named nonsense"),
            ("identity", format!("graph\n----\n{INPUT}"), "line 1: a word was expected"),
            ("identity", format!("graph g {{\n  out %0 loss\n}}\n----\n{INPUT}"), "the input is broken"),
            ("verify", format!("{INPUT}----\n"), "the verifier accepts it"),
        ];
        for (pass, text, message) in cases {
            let fault = check(&file(folder.path(), pass, &text), false).expect_err(message);
            assert!(fault.contains(message), "{fault}");
        }
    }

    #[test]
    fn blessing_writes_what_is_found() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for text in [INPUT.to_string(), format!("{INPUT}----\nsomething else\n")] {
            let path = file(folder.path(), "identity", &text);
            assert_eq!(check(&path, true), Ok(()));
            assert_eq!(fs::read_to_string(&path).expect("it was written"), format!("{INPUT}----\n{INPUT}"));
        }
    }
}
