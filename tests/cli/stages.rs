//! `check`, `emit` and help.

use lstmc_compiler::target::{Nvidia, Target};

use crate::support::Folder;

const STAGES: [&str; 10] =
    ["tokens", "ast", "model", "graph", "grad", "opt", "kernel", "plan", "clif", "asm"];

#[test]
fn check_shows_shapes_parameters_and_memory() {
    let folder = Folder::new();
    let out = folder.ok(&["check", "tiny.lstm", "--threads", "1"]);
    let row = |name: &str| {
        let line = out.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{out}"));
        line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect::<Vec<_>>()
    };
    assert_eq!(row("embedding_1"), ["embedding_1", "[5, 2, 8]", "64", "0"]);
    assert_eq!(row("lstm_1"), ["lstm_1", "[5, 2, 16]", "1,600", "3.1 k", "h [16], c [16]"]);
    assert_eq!(row("parameters"), ["parameters", "1,800"]);
    assert!(row("memory")[1].contains("at the peak"), "{out}");
    assert_eq!(folder.names(), ["text.txt", "tiny.lstm"], "check writes nothing");
}

#[test]
fn check_needs_no_text_if_it_is_told_the_vocabulary() {
    let folder = Folder::new();
    std::fs::remove_file(folder.path("text.txt")).unwrap();
    let message = folder.refused(&["check", "tiny.lstm"]);
    assert!(message.contains("--vocab"), "{message}");
    let out = folder.ok(&["check", "tiny.lstm", "--vocab", "1000"]);
    assert!(out.contains("1,000 ids"), "{out}");
}

#[test]
fn every_stage_prints_the_same_text_twice() {
    let folder = Folder::new();
    let mut texts = vec![];
    for stage in STAGES {
        for threads in ["1", "2"] {
            let args = ["emit", "tiny.lstm", "--stage", stage, "--threads", threads];
            let text = folder.ok(&args);
            assert!(!text.trim().is_empty() && text.ends_with('\n'), "{stage}");
            assert_eq!(text, folder.ok(&args), "{stage}");
            if threads == "1" {
                texts.push(text);
            }
        }
    }
    for (index, text) in texts.iter().enumerate() {
        assert!(!texts[..index].contains(text), "{} is the text of another stage", STAGES[index]);
    }
}

#[test]
fn any_pass_can_be_looked_at() {
    let folder = Folder::new();
    for pass in lstmc_compiler::pipeline::PASSES {
        let text = folder.ok(&["emit", "tiny.lstm", "--stage", "opt", "--dump-after", pass]);
        assert!(text.starts_with("graph "), "{pass}: {text}");
        assert!(lstmc_compiler::graph::parse(&text).is_ok(), "{pass} does not parse back");
    }
    for pass in lstmc_compiler::pipeline::KERNEL_PASSES {
        let text = folder.ok(&["emit", "tiny.lstm", "--stage", "kernel", "--dump-after", pass]);
        let module = lstmc_compiler::kernel::parse(&text).unwrap_or_else(|error| panic!("{pass}: {error}"));
        lstmc_compiler::kernel::verify(&module).unwrap_or_else(|message| panic!("{pass}: {message}"));
    }
    let last = ["emit", "tiny.lstm", "--stage", "kernel", "--dump-after", "vectorise"];
    assert_eq!(folder.ok(&last), folder.ok(&last[..4]), "what the last pass leaves is what is planned");
    let message = folder.refused(&["emit", "tiny.lstm", "--stage", "kernel", "--dump-after", "hoist"]);
    assert!(message.contains("named hoist; there are fuse, precision"), "{message}");
    let message = folder.refused(&["emit", "tiny.lstm", "--stage", "opt", "--dump-after", "nothing"]);
    assert!(message.contains("no pass is named nothing") && message.contains("merge_products"), "{message}");
}

#[test]
fn a_target_has_passes_of_its_own() {
    let folder = Folder::new();
    let kernels = ["emit", "tiny.lstm", "--target", "sm_90", "--stage", "kernel"];
    let after = |pass| [&kernels[..], &["--dump-after", pass]].concat();
    let passes = lstmc_compiler::pipeline::kernel_passes(&Target::nvidia(Nvidia::SM_90));
    for pass in passes {
        assert!(folder.ok(&after(pass)).starts_with("module "), "{pass}");
    }
    assert_eq!(folder.ok(&after(passes[passes.len() - 1])), folder.ok(&kernels));
    let list = format!("here there are {}\n", passes.join(", "));
    let message = folder.refused(&after("vectorise"));
    assert!(
        message.contains("vectorise is a pass for another target") && message.ends_with(&list),
        "{message}"
    );
}

#[test]
fn a_pass_belongs_to_graphs_or_kernels() {
    let folder = Folder::new();
    for stage in STAGES {
        let pass = if stage == "kernel" { "collapse" } else { "hoist" };
        let args = ["emit", "tiny.lstm", "--stage", stage, "--dump-after", pass];
        if ["graph", "grad", "opt", "kernel"].contains(&stage) {
            folder.ok(&args);
        } else {
            let message = folder.refused(&args);
            assert!(
                message.contains("graph, grad or opt") && message.contains("merge_products"),
                "{message}"
            );
        }
    }
}

#[test]
fn other_purposes_have_programs_of_their_own() {
    let folder = Folder::new();
    let emit = |stage: &str, purpose: &str| {
        folder.run(&["emit", "tiny.lstm", "--stage", stage, "--purpose", purpose])
    };
    for stage in ["graph", "opt", "kernel", "plan", "clif", "asm"] {
        let texts = ["train", "evaluate", "generate"].map(|purpose| emit(stage, purpose).out);
        assert_eq!(texts[0], folder.ok(&["emit", "tiny.lstm", "--stage", stage]));
        assert!(!texts[1].is_empty() && !texts[2].is_empty(), "{stage}");
        assert!(texts[0] != texts[1] && texts[1] != texts[2], "{stage}");
    }
    let message = folder.refused(&["emit", "tiny.lstm", "--stage", "grad", "--purpose", "evaluate"]);
    assert!(message.contains("only training has gradients"), "{message}");
    let update = ["emit", "tiny.lstm", "--stage", "opt", "--purpose", "generate", "--dump-after", "update"];
    let message = folder.refused(&update);
    assert!(message.contains("of training only") && !message.contains("simplify-3"), "{message}");
}

#[test]
fn every_help_has_an_example() {
    let folder = Folder::new();
    let help = folder.ok(&["--help"]);
    assert!(help.contains("Example"), "{help}");
    for name in
        ["train", "eval", "report", "predict", "score", "generate", "check", "emit", "profile", "gradcheck"]
    {
        assert!(help.contains(&format!("\n  {name} ")), "{help}");
        let help = folder.ok(&[name, "--help"]);
        assert!(help.contains("Example") && help.contains(&format!("  lstmc {name} ")), "{help}");
    }
}

#[test]
fn wrong_usage_is_exit_code_2() {
    let folder = Folder::new();
    for args in
        [&["train"][..], &["nothing"], &["train", "tiny.lstm", "--steps", "many"], &["generate", "run"]]
    {
        let done = folder.run(args);
        assert_eq!(done.code, Some(2), "{args:?}: {}", done.err);
        assert!(done.err.contains("--help"), "{}", done.err);
    }
    assert_eq!(folder.names(), ["text.txt", "tiny.lstm"]);
}

#[test]
fn diagnostics_are_many_and_point_at_the_cause() {
    let folder = Folder::new();
    let text = "data { train: \"text.txt\" tokens: words batches: stream(rows: 2, steps: 5) }\n\
                model { tokens -> embeding(8) -> lstm(16) -> dense(vocab) -> softmax }\n\
                train { loss: cross_entropy optimizer: adan epochs: 1 }\n";
    folder.write("wrong.lstm", text);
    for args in [&["check", "wrong.lstm"][..], &["train", "wrong.lstm", "--out", "run"]] {
        let message = folder.refused(args);
        assert_eq!(message.matches("error[").count(), 2, "{message}");
        assert!(message.contains("wrong.lstm:2:") && message.contains("wrong.lstm:3:"), "{message}");
        assert!(
            message.contains("^^^") && message.contains("embedding") && message.contains("adam"),
            "{message}"
        );
    }
    assert!(!folder.path("run").exists());
}
