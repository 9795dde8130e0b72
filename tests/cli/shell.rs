//! `lstmc completions` and `lstmc man`: each subcommand is in what shells and readers of manuals get.
//!
//! What checks or shows these is used where it is installed; where it is not this is skipped, and says so.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::support::{Folder, names};

/// All subcommands, as the command lists them.
fn subcommands(folder: &Folder) -> Vec<String> {
    let help = folder.ok(&["--help"]);
    let listed = help.split("Commands:\n").nth(1).expect("the commands").split("\n\n").next().expect("them");
    let name = |line: &str| {
        Some(line.strip_prefix("  ")?.split(' ').next()?.to_owned()).filter(|name| !name.is_empty())
    };
    let mut found: Vec<String> = listed.lines().filter_map(name).collect();
    found.retain(|name| name != "help");
    assert!(found.len() > 14 && found.contains(&"train".into()), "{found:?}");
    found
}

/// What a program does, if it is installed.
fn ran(program: &str, args: &[&str], file: &Path) -> Option<Output> {
    let output =
        Command::new(program).args(args).arg(file).env("LC_ALL", "C.UTF-8").env("MANWIDTH", "120").output();
    if output.is_err() {
        eprintln!("skipped: there is no {program}");
    }
    output.ok()
}

#[test]
fn scripts_of_every_shell_have_every_subcommand() {
    let folder = Folder::new();
    let all = subcommands(&folder);
    for (shell, check) in [
        ("bash", Some(["bash", "-n"])),
        ("zsh", Some(["zsh", "-n"])),
        ("fish", Some(["fish", "--no-execute"])),
        ("elvish", Some(["elvish", "-compileonly"])),
        ("powershell", None),
    ] {
        let script = folder.ok(&["completions", shell]);
        for name in &all {
            assert!(script.contains(name.as_str()), "{shell} has no {name}");
        }
        assert!(script.contains("accept-unverified"), "{shell} has no options");
        folder.write("script", &script);
        let found = check.and_then(|[program, option]| ran(program, &[option], &folder.path("script")));
        if let Some(Output { status, stderr, .. }) = found {
            assert!(status.success(), "{shell}: {}", String::from_utf8_lossy(&stderr));
        }
    }
    let done = folder.run(&["completions", "csh"]);
    assert!(done.code == Some(2) && done.err.contains("possible values: bash, elvish, fish"), "{}", done.err);
}

#[test]
fn bash_completes_a_line() {
    let folder = Folder::new();
    folder.write("script", folder.ok(&["completions", "bash"]));
    let completed = |words: &str, last: usize| {
        let line = format!(
            "source ./script; COMP_WORDS=({words}); COMP_CWORD={last}; \
             _lstmc lstmc \"${{COMP_WORDS[{last}]}}\" \"${{COMP_WORDS[{}]}}\"; echo \"${{COMPREPLY[@]}}\"",
            last - 1
        );
        let output = Command::new("bash").args(["--norc", "-c", &line]).current_dir(folder.path("")).output();
        match output {
            Ok(output) => Some(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
            Err(_) => {
                eprintln!("skipped: there is no bash");
                None
            }
        }
    };
    let Some(found) = completed("lstmc com", 1) else { return };
    assert_eq!(found, "compare completions");
    assert_eq!(completed("lstmc export --form", 2).as_deref(), Some("--format"));
    assert_eq!(completed("lstmc export --format sa", 3).as_deref(), Some("safetensors"));
}

#[test]
fn there_is_a_page_for_every_subcommand() {
    let folder = Folder::new();
    let all = subcommands(&folder);
    assert_eq!(folder.ok(&["man", "pages"]), format!("wrote       {} pages into pages\n", all.len() + 1));
    let mut expected: Vec<String> = all.iter().map(|name| format!("lstmc-{name}.1")).collect();
    expected.push("lstmc.1".into());
    expected.sort();
    assert_eq!(names(&folder.path("pages")), expected);
    let main = folder.ok(&["man"]);
    assert_eq!(main, fs::read_to_string(folder.path("pages/lstmc.1")).expect("the main page"));
    for name in &all {
        assert!(main.contains(&format!("lstmc\\-{name}(1)")), "{name} is not in the main page");
        let path = folder.path(&format!("pages/lstmc-{name}.1"));
        let page = fs::read_to_string(&path).expect("a page");
        assert!(page.contains(&format!(".TH lstmc-{name} 1")), "{page}");
        // As it is read, and what the program that sets it has to say.
        if let Some(Output { stdout, stderr, status }) =
            ran("groff", &["-man", "-Tutf8", "-ww", "-P-c"], &path)
        {
            let shown = String::from_utf8_lossy(&stdout).replace('\u{2010}', "-");
            let faults = String::from_utf8_lossy(&stderr);
            assert!(status.success() && faults.is_empty(), "{name}: {faults}");
            assert!(shown.contains(&format!("lstmc {name}")), "{shown}");
            assert!(shown.contains("Example"), "{shown}");
        }
    }
}
