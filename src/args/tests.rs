use super::*;

#[test]
fn the_command_line_is_sound() {
    command().debug_assert();
}

#[test]
fn every_subcommand_has_an_example() {
    for command in Cli::command().get_subcommands() {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        assert!(help.contains(&format!("lstmc {}", command.get_name())), "{}", command.get_name());
    }
}

#[test]
fn examples_parse() {
    for command in Cli::command().get_subcommands() {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        for line in help.lines().filter_map(|line| line.trim().strip_prefix("lstmc ")) {
            let words = line.replace("\"", "");
            // The quoted prompts have two words; one is enough to see that the flags are right.
            let words = words.replace("had a general", "had").replace("the company", "the");
            let parsed = parse(["lstmc"].into_iter().chain(words.split_whitespace()));
            assert!(parsed.is_ok(), "{line}: {}", parsed.err().map(|e| e.to_string()).unwrap_or_default());
        }
    }
}

#[test]
fn bad_values_are_usage_errors() {
    for line in [
        "train",
        "train a.lstm --epochs 0",
        "train a.lstm --threads 0",
        "train --resume r --out o",
        "generate r --prompt a --temperature -1",
        "train a.lstm --accept-changes",
        "train a.lstm --checkpoint best",
        "train a.lstm --accept-unverified",
        "generate r --prompt a --weights f16",
        "eval r --weights f32,int4",
        "generate r --prompt a --top-p 1.5",
        "generate r --prompt a --greedy --top-k 3",
        "generate r --prompt a --greedy --count 3",
        "generate r --prompt a --count 0",
        "generate r --prompt a --stop=",
        "emit a.lstm",
        "check a.lstm --vocab 0",
        "train a.lstm --device gpu",
        "train a.lstm --device cuda:x",
        "emit a.lstm --stage ptx --target sm_70",
    ] {
        let parsed = parse(["lstmc"].into_iter().chain(line.split_whitespace()));
        assert_eq!(parsed.map(|_| ()).map_err(|error| error.exit_code()), Err(2), "{line}");
    }
}

#[test]
fn numbers_below_zero_are_values() {
    for (line, message) in [
        ("train a.lstm --seed -1", "'-1' for '--seed <N>': this must be a whole number of at least 0"),
        ("train a.lstm --epochs -3", "'-3' for '--epochs <N>': this must be a whole number of at least 1"),
        ("train a.lstm --epochs 5000000000", "this is too large"),
        ("train a.lstm --steps 1.5", "this must be a whole number of at least 0"),
        ("check a.lstm --threads -1", "this must be a whole number from 1 to 1024"),
        ("generate r --prompt a --temperature -0.5", "a temperature is a number of at least 0"),
        ("generate r --prompt a --top-p -0.5", "a probability lies between 0 and 1"),
    ] {
        let error = parse(["lstmc"].into_iter().chain(line.split_whitespace())).unwrap_err().to_string();
        assert!(error.contains(message) && !error.contains("`--"), "{line}: {error}");
    }
    let parsed = parse(["lstmc", "generate", "r", "--prompt", "- no", "--temperature", "0"]).unwrap();
    let Command::Generate(args) = parsed.command else { panic!("{parsed:?}") };
    assert_eq!((args.prompt.as_deref(), args.temperature), (Some("- no"), 0.0));
}
