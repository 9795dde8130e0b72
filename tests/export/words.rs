//! Text to tokens and back, and the choice of tokens: as the command does it, in C, as an object file and from Python.

use std::fs;

use lstmc_runtime::run_dir::RunDir;
use lstmc_runtime::text::Tokenizer;

use crate::checked::checked;
use crate::code::{STRICT, tool};
use crate::{Folder, small};

/// Prints the tokens of its input, the words of those that are known, and what follows, with each of the given choices.
const PROGRAM: &str = r#"
#include <stdio.h>
#include <stdlib.h>
int main(int argc, char **argv)
{
    static story model;
    static char text[4000];
    static uint32_t tokens[2000];
    size_t count, i;
    uint64_t index;
    text[fread(text, 1, sizeof text - 1, stdin)] = 0;
    count = story_encode(text, tokens, 2000);
    if (story_encode(text, 0, 0) != count) return 1;
    for (i = 0; i < count; i++) printf("%lu ", (unsigned long)tokens[i]);
    printf("\n");
    for (i = 0; i < count; i++) printf("%s|", story_word(tokens[i]));
    printf("\n");
    if (argc < 6) return 0;
    story_init(&model);
    for (i = 0; i < count; i++) story_step(&model, tokens[i]);
    for (index = 0; index < (uint64_t)atoi(argv[1]); index++) {
        uint32_t token = story_sample(&model, atof(argv[2]), (uint32_t)atoi(argv[3]), atof(argv[4]), (uint64_t)atoi(argv[5]), index);
        printf("%s%s", argv[6], story_word(token));
        story_step(&model, token);
    }
    printf("\n");
    return 0;
}
"#;

/// Writes a run as `story` in C and as an object file, and compiles a program of each.
fn programs(folder: &Folder, run: &str) -> Option<[&'static str; 2]> {
    let compiler = tool("cc")?;
    fs::write(folder.path("use.c"), PROGRAM).expect("a program");
    for (ending, program) in [("c", "in_c"), ("o", "compiled")] {
        let file = format!("story.{ending}");
        folder.lstmc(&["export", run, "--format", ending, "--out", &file]);
        let own = ["-include", "story.h", "use.c", &file, "-o", program];
        folder.command(&compiler, &[&STRICT[..], &own].concat());
    }
    Some(["./in_c", "./compiled"])
}

/// The tokens that the command's tokenizer makes of a text, and the words of those that it knows.
fn expected(folder: &Folder, run: &str, text: &str) -> [String; 2] {
    let run = RunDir::open(&folder.path(run)).expect("a run");
    let vocabulary = run.vocabulary().expect("its vocabulary");
    let model = checked(&run.source().expect("its model"), vocabulary.len())
        .unwrap_or_else(|errors| panic!("{errors}"));
    let tokenizer = Tokenizer::of(&model.data.tokens, &vocabulary);
    let (mut tokens, mut words) = (String::new(), String::new());
    for token in tokenizer.tokens(text) {
        let id = vocabulary.id(token.text);
        tokens += &format!("{} ", id.unwrap_or(u32::MAX));
        words += &format!("{}|", id.and_then(|id| vocabulary.word(id)).unwrap_or(""));
    }
    [tokens, words]
}

const TEXTS: [&str; 6] = [
    "the quick brown fox",
    "  the\tquick \u{b}\u{c}\n\n fox\r\nthe\rdog\n",
    "the\u{a0}quick\u{3000}brown\u{2003}fox\u{85}the\u{1680}dog\u{205f}the\u{2028}dog",
    "an unknown Wörd, th thee caf\u{e9} caf \u{e2}\u{80} \u{4e16}\u{754c} the",
    "",
    "é ß\u{301}the",
];

fn tokens_are_alike(text: &str, model: &str) {
    let folder = Folder::new();
    fs::write(folder.path("belling_the_cat.txt"), text.repeat(30)).expect("a text");
    folder.train("run", model, "2");
    let Some(programs) = programs(&folder, "run") else { return };
    for text in TEXTS {
        for program in programs {
            let printed = folder.piped(program, &[], text);
            let lines: Vec<&str> = printed.split('\n').collect();
            // A word of the vocabulary may be the end of a line.
            let found = [lines[0].to_owned(), lines[1..lines.len() - 1].join("\n")];
            assert_eq!(found, expected(&folder, "run", text), "{program} of {text:?}");
        }
    }
}

const SENTENCE: &str = "the quick brown fox jumps over the lazy dog and café then the other dog\n";

#[test]
fn words_are_cut_and_known_as_the_command_does() {
    let chain = "tokens -> embedding(16) -> lstm(24)";
    let model = small("", chain, "").replace("words_and_punctuation", "words(newline: \"<eos>\")");
    tokens_are_alike(SENTENCE, &model);
    let model = model.replace("<eos>\")", "<eos>\")\n unknown: \"<unk>\"");
    tokens_are_alike(SENTENCE, &model);
}

#[test]
fn characters_are_too() {
    let model =
        small("", "tokens -> embedding(16) -> lstm(24)", "").replace("words_and_punctuation", "characters");
    tokens_are_alike(&format!("{SENTENCE}{}", TEXTS[5]), &model);
}

#[test]
fn the_same_seed_writes_the_same_words() {
    let folder = Folder::new();
    fs::write(folder.path("belling_the_cat.txt"), SENTENCE.repeat(30)).expect("a text");
    folder.train("run", &small("", "tokens -> embedding(16) -> lstm(24)", ""), "10");
    let Some(programs) = programs(&folder, "run") else { return };
    let how = [
        ("1", "0", "1"),
        ("0", "0", "1"),
        ("0.7", "0", "1"),
        ("1.5", "5", "1"),
        ("1", "0", "0.8"),
        ("0.9", "6", "0.5"),
        ("3", "1000", "0"),
    ];
    for (seed, (temperature, top_k, top_p)) in how.into_iter().enumerate() {
        let seed = seed.to_string();
        let mut args = vec![
            "generate",
            "run",
            "--prompt",
            "the quick",
            "--length",
            "60",
            "--temperature",
            temperature,
            "--seed",
            &seed,
        ];
        if top_k != "0" {
            args.extend(["--top-k", top_k]);
        }
        args.extend(["--top-p", top_p]);
        let expected = folder.lstmc(&args);
        for program in programs {
            let printed = folder.piped(program, &["60", temperature, top_k, top_p, &seed, " "], "the quick");
            let words = printed.lines().nth(2).expect("the words");
            assert_eq!(format!("the quick{words}\n"), expected, "{program} {temperature} {top_k} {top_p}");
        }
    }
}
