use super::{parse, print};
use crate::diag::SourceMap;

/// The equation's tree on one line, fully bracketed.
fn tree(equation: &str) -> String {
    let mut sources = SourceMap::default();
    let id = sources.add("test", format!("layer l(x: [n]) {{\n y = {equation}\n}}"));
    let text = match parse(&sources, id) {
        Ok(file) => print(&file),
        Err(errors) => return sources.render(&errors, false),
    };
    let lines: Vec<&str> = text.lines().skip_while(|line| !line.contains("assign")).skip(1).collect();
    lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
}

#[test]
fn precedence() {
    assert_eq!(tree("a + b * c"), "+ a * b c");
    assert_eq!(tree("a - b - c"), "- - a b c");
    assert_eq!(tree("a * x @ W"), "* a @ x W");
    assert_eq!(tree("-x @ W"), "@ negate x W");
    assert_eq!(tree("-x ^ 2"), "negate ^ x 2");
    assert_eq!(tree("a ^ b ^ c"), "^ a ^ b c");
    assert_eq!(tree("a ^ -1"), "^ a negate 1");
    assert_eq!(tree("a + 1 < b * 2"), "< + a 1 * b 2");
    assert_eq!(tree("if a < b then a else b + 1"), "if < a b a + b 1");
    assert_eq!(tree("E[t] + x[2:5]"), "+ index E t slice x 2 5");
    assert_eq!(tree("o * tanh(next c)"), "* o call tanh next c");
}

#[test]
fn lines_continue_in_brackets_and_after_operators() {
    assert_eq!(tree("a +\n b"), "+ a b");
    assert_eq!(tree("(a\n + b)"), "+ a b");
    assert_eq!(tree("max(a,\n b)"), "call max a b");
    assert_eq!(tree("if a\n then b\n else c"), "if a b c");
    assert!(tree("a\n + b").contains("E0104"));
}

#[test]
fn depth_is_bounded() {
    let deep = format!("{}a{}", "(".repeat(100_000), ")".repeat(100_000));
    assert!(tree(&deep).contains("E0106"));
    assert!(tree(&"-".repeat(100_000)).contains("E0106"));
    assert!(tree(&format!("a{}", " + a".repeat(100_000))).contains("E0106"));
    assert!(tree(&format!("a{}", "[a]".repeat(100_000))).contains("E0106"));
}

#[test]
fn size_is_bounded() {
    let mut sources = SourceMap::default();
    let id = sources.add("test", " ".repeat((1 << 20) + 1));
    let errors = parse(&sources, id).expect_err("a file beyond the limit");
    assert_eq!(errors.0[0].code, "E0108");
}
