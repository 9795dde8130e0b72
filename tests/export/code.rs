//! Models in C and as object files: all in one process, under the sanitizers, against the engine.

use std::fmt::Write;
use std::fs;
use std::process::Command;

use lstmc_compiler::kernel::Format;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;

use crate::{CHAIN, CLOCK, Folder, ODD, RANDOM, READ, expected, models, random_models, root, small};

/// A tool, if it is there. `.ci/run` says in `LSTMC_TOOLS` that all must be.
pub fn tool(name: &str) -> Option<String> {
    let found = Command::new(name).arg("--version").output().is_ok_and(|output| output.status.success());
    assert!(found || std::env::var("LSTMC_TOOLS").is_err(), "{name} is not there, though LSTMC_TOOLS is set");
    if !found {
        eprintln!("skipped: there is no {name}");
    }
    found.then(|| name.to_owned())
}

/// What every compiler is to accept without a word.
pub const STRICT: [&str; 6] = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-O1"];

/// The form that a model is written in, and what its weights are.
#[derive(Clone, Copy, PartialEq)]
struct Form {
    ending: &'static str,
    weights: Format,
}

const C: Form = Form { ending: "c", weights: Format::F32 };
const C_INT8: Form = Form { ending: "c", weights: Format::Int8 };
const OBJECT: Form = Form { ending: "o", weights: Format::F32 };
const OBJECT_BF16: Form = Form { ending: "o", weights: Format::Bf16 };
const OBJECT_INT8: Form = Form { ending: "o", weights: Format::Int8 };
const ALL: [Form; 5] = [C, C_INT8, OBJECT, OBJECT_BF16, OBJECT_INT8];

/// Models to be put into one program.
struct Program {
    folder: Folder,
    /// Prefixes, and the files of their code.
    models: Vec<(String, String)>,
}

impl Program {
    fn new() -> Self {
        Self { folder: Folder::new(), models: vec![] }
    }

    /// Exports a run in a form, with what its engine finds.
    fn add(&mut self, run: &str, form: Form) {
        let prefix = format!("m{}_{}_{}", self.models.len(), run.replace('-', "_"), form.weights);
        let file = format!("{prefix}.{}", form.ending);
        let weights = form.weights.to_string();
        self.folder.lstmc(&["export", run, "--format", form.ending, "--weights", &weights, "--out", &file]);
        // In C tables that are looked up are rounded too.
        let row = expected::row_with(&self.folder.path(run), READ, 1, form.weights, form == C_INT8);
        let tokens: Vec<u8> = row.tokens.iter().flat_map(|token| token.to_le_bytes()).collect();
        let values: Vec<u8> = row.probabilities.iter().flat_map(|value| value.to_le_bytes()).collect();
        fs::write(self.folder.path(&format!("{prefix}.tokens")), tokens).expect("the tokens");
        fs::write(self.folder.path(&format!("{prefix}.expected")), values).expect("what was found");
        self.models.push((prefix, file));
    }

    /// Compiles all, and reads the tokens with each.
    fn check(&self, compiler: &str, sanitized: bool) {
        let driver = root().join("tests/export/drive.c");
        let mut main = "#include <stdio.h>\n".to_owned();
        let mut calls = String::new();
        let mut inputs = vec![];
        for (prefix, file) in &self.models {
            let _ = writeln!(main, "int {prefix}_check(const char *, const char *);");
            let _ = writeln!(
                calls,
                "    if ({prefix}_check(\"{prefix}.tokens\", \"{prefix}.expected\")) {{ printf(\"{prefix}\\n\"); failed = 1; }}"
            );
            let own = format!("{prefix}_drive.c");
            let text = format!(
                "#define MODEL {prefix}\n#include \"{prefix}.h\"\n#include \"{}\"\n",
                driver.display()
            );
            fs::write(self.folder.path(&own), text).expect("a driver");
            inputs.extend([own, file.clone()]);
        }
        main += &format!("int main(void)\n{{\n    int failed = 0;\n{calls}    return failed;\n}}\n");
        fs::write(self.folder.path("main.c"), main).expect("the program");
        let mut args = STRICT.to_vec();
        if sanitized {
            args.extend(["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]);
        }
        args.extend(["main.c", "-o", "main"]);
        args.extend(inputs.iter().map(String::as_str));
        args.push("-lm");
        self.folder.command(compiler, &args);
        println!("{}", self.folder.command("./main", &[]));
    }
}

/// A shipped model with layers small enough for a file of C.
fn shrunk(text: &str) -> String {
    ["1500", "650", "512", "200", "128"]
        .into_iter()
        .fold(text.to_owned(), |text, units| text.replace(units, "24"))
}

#[test]
fn shipped_models_and_cells() {
    let Some(compiler) = tool("cc") else { return };
    let mut program = Program::new();
    for (name, text) in models("models").into_iter().chain(models("models/cells")) {
        program.folder.train(&name, &shrunk(&text), "2");
        for form in ALL {
            program.add(&name, form);
        }
    }
    assert!(program.models.len() > 55, "{}", program.models.len());
    program.check(&compiler, true);
}

#[test]
fn the_preludes_layers_and_ones_own() {
    let Some(compiler) = tool("cc") else { return };
    let mut program = Program::new();
    let embedded = "tokens -> embedding(12)";
    let models = [
        ("gru", small("", &format!("{embedded} -> gru(16)"), "")),
        ("rnn", small("", &format!("{embedded} -> rnn(16, activation: relu) -> layer_norm"), "")),
        ("clock", small(CLOCK, "tokens -> scalar -> clock", "")),
        ("mean", small("", &format!("{embedded} -> lstm(17) -> lstm(33)"), "weights: average(after: 1)")),
        ("odd", small(ODD, CHAIN, "").replace(" -> dense(vocab) }", " }")),
        ("widths", small("", &format!("{embedded} -> lstm(18) -> lstm(35)"), "")),
        ("none", small("", embedded, "")),
    ];
    for (name, text) in &models {
        program.folder.train(name, text, "5");
        for form in [C, OBJECT] {
            program.add(name, form);
        }
    }
    // Products by rounded weights of every remainder of rows by four, and more columns than a whole number of panels.
    for name in ["mean", "widths"] {
        program.add(name, OBJECT_BF16);
        program.add(name, OBJECT_INT8);
    }
    program.check(&compiler, true);
}

/// Cells made up by chance, the same ones each time.
#[test]
fn random_models_as_code() {
    let Some(compiler) = tool("cc") else { return };
    let (mut program, mut runner) = (Program::new(), TestRunner::deterministic());
    for number in 0..RANDOM {
        let model = random_models::models().new_tree(&mut runner).expect("a model").current();
        let words: Vec<String> = (0..model.vocab).map(|word| format!("w{word}")).collect();
        fs::write(program.folder.path("t"), (words.join(" ") + "\n").repeat(20)).expect("a text");
        let name = format!("random-{number}");
        program.folder.train(&name, &model.text, "2");
        for form in [C, OBJECT] {
            program.add(&name, form);
        }
    }
    program.check(&compiler, true);
}
