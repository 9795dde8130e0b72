//! Libraries, and other machines.

use std::fs;

use crate::code::{STRICT, tool};
use crate::{Folder, python, small};

/// A model that has learned a sentence.
fn story(text: &str) -> Folder {
    let folder = Folder::new();
    let sentence =
        "the quick brown fox jumps over the lazy dog and then the other dog jumps over the brown fox\n";
    fs::write(folder.path("belling_the_cat.txt"), sentence.repeat(20)).expect("a text");
    folder.train("story", text, "40");
    folder
}

fn usual() -> Folder {
    story(&small("", "tokens -> embedding(16) -> lstm(24)", ""))
}

/// What the command writes after "the quick".
fn written(folder: &Folder) -> String {
    let text = folder.lstmc(&["generate", "story", "--prompt", "the quick", "--length", "20", "--seed", "5"]);
    text.trim_end().trim_start_matches("the quick ").to_owned()
}

#[test]
fn a_library_needs_the_c_library_and_shows_its_functions_alone() {
    let folder = usual();
    let (Some(_), Some(nm)) = (tool("cc"), tool("nm")) else { return };
    let seen = |text: &str| {
        let mut names: Vec<String> =
            text.split_whitespace().filter(|word| word.len() > 1).map(str::to_owned).collect();
        names.retain(|name| !name.starts_with(|c: char| c.is_ascii_digit()) && !name.ends_with(':'));
        names.sort();
        names
    };
    let functions = ["encode", "free", "init", "new", "reset", "sample", "step", "token", "word"];
    let functions = functions.map(|name| format!("story_{name}"));
    folder.lstmc(&["export", "story", "--format", "o"]);
    folder.lstmc(&["export", "story", "--format", "a"]);
    folder.lstmc(&["export", "story", "--format", "so"]);
    assert_eq!(seen(&folder.command(&nm, &["-u", "story.o"])), ["free", "malloc"]);
    for args in [["-g", "--defined-only", "story.o"], ["-D", "--defined-only", "libstory.so"]] {
        assert_eq!(seen(&folder.command(&nm, &args)), functions, "{args:?}");
    }
    // The index of a static library.
    let index = folder.command(&nm, &["-s", "libstory.a"]);
    assert!(index.contains("story_step in story.o"), "{index}");
}

#[test]
fn python_uses_a_shared_library() {
    let folder = usual();
    let (Some(_), Some(python)) = (tool("cc"), python("ctypes")) else { return };
    folder.lstmc(&["export", "story", "--format", "so"]);
    let script = "
from story import Model, VOCABULARY
model = Model()
print(model.generate('the quick', 20, seed=5))
saved = model.save()
first = list(model.step(3))
assert len(first) == VOCABULARY
other = Model()
other.restore(saved)
assert list(other.step(3)) == first
assert abs(sum(first) - 1) < 1e-5
assert model.encode('the zebra') == [model.token('the'), None]
assert model.word(model.token('quick')) == 'quick'
for wrong in (-1, VOCABULARY, 1 << 40):
    try:
        model.step(wrong)
    except ValueError:
        continue
    raise AssertionError(wrong)
";
    assert_eq!(folder.command(&python, &["-c", script]).trim_end(), written(&folder));
    // Python would take libraries of these names for its modules.
    let printed = folder.lstmc(&["export", "story", "--format", "so", "--out", "plain.so"]);
    assert!(printed.contains("plain_model.py"), "{printed}");
    folder.command(&python, &["-c", "import plain_model"]);
}

/// Prints what follows "the quick".
const PROGRAM: &str = r#"
#include <stdio.h>
#include <string.h>
#include "story.h"
int main(void)
{
    static story model;
    uint32_t token, tokens[10];
    size_t count = story_encode("the quick", tokens, 10), i;
    uint64_t index;
    story_init(&model);
    for (i = 0; i < count; i++) story_step(&model, tokens[i]);
    for (index = 0; index < 20; index++) {
        token = story_sample(&model, 1.0, 0, 1.0, 5, index);
        printf("%s%s", index ? " " : "", story_word(token));
        story_step(&model, token);
    }
    printf("\n");
    return 0;
}
"#;

#[test]
fn on_another_architecture() {
    let folder = usual();
    let (Some(compiler), Some(machine)) = (tool("aarch64-linux-gnu-gcc"), tool("qemu-aarch64")) else {
        return;
    };
    fs::write(folder.path("main.c"), PROGRAM).expect("a program");
    for weights in ["f32", "bf16", "int8"] {
        folder.lstmc(&["export", "story", "--format", "o", "--cpu", "aarch64", "--weights", weights]);
        folder.command(&compiler, &["-static", "main.c", "story.o", "-o", "main"]);
        let found = folder.command(&machine, &["./main"]);
        let expected = folder.lstmc(&[
            "generate",
            "story",
            "--prompt",
            "the quick",
            "--length",
            "20",
            "--seed",
            "5",
            "--weights",
            weights,
        ]);
        assert_eq!(format!("the quick {found}"), expected, "{weights}");
    }
}

#[test]
fn for_the_levels_of_x86_64() {
    let folder = usual();
    let Some(compiler) = tool("cc").filter(|_| cfg!(target_arch = "x86_64")) else { return };
    fs::write(folder.path("main.c"), PROGRAM).expect("a program");
    let mut levels = vec!["x86-64-v3"];
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx512vl") {
        levels.push("x86-64-v4");
    }
    for level in levels {
        folder.lstmc(&["export", "story", "--format", "a", "--cpu", level]);
        folder.command(&compiler, &["main.c", "libstory.a", "-o", "main"]);
        assert_eq!(folder.command("./main", &[]).trim_end(), written(&folder), "{level}");
    }
}

/// What a small processor's compilers say, without a C library.
#[test]
fn for_a_microcontroller() {
    let folder = usual();
    let Some(clang) = tool("clang") else { return };
    for weights in ["f32", "int8"] {
        folder.lstmc(&["export", "story", "--format", "c", "--weights", weights]);
        for target in ["--target=thumbv7em-none-eabihf", "--target=riscv32-unknown-elf"] {
            let own = [target, "-ffreestanding", "-c", "story.c", "-o", "story.o"];
            folder.command(&clang, &[&STRICT[..], &own].concat());
        }
    }
    let header = fs::read_to_string(folder.path("story.h")).expect("the header");
    let size = |name: &str| -> usize {
        let line = header.lines().find_map(|line| line.strip_prefix(&format!("#define STORY_{name} ")));
        line.expect("a size").parse().expect("a number")
    };
    let check = "#include \"story.h\"\ntypedef char ram[sizeof(story) == STORY_RAM_BYTES ? 1 : -1];\n\
                 typedef char text[offsetof(story, scratch) == STORY_TEXT_BYTES ? 1 : -1];\n";
    fs::write(folder.path("check.c"), check).expect("a program");
    folder.command(&clang, &["-c", "check.c", "-o", "check.o"]);
    assert!(size("FLASH_BYTES") < 8000 && size("RAM_BYTES") < 2000, "{header}");
}

#[test]
fn in_a_browsers_machine() {
    let folder = usual();
    let (Some(clang), Some(_), Some(node)) = (tool("clang"), tool("wasm-ld"), tool("node")) else { return };
    folder.lstmc(&["export", "story", "--format", "c"]);
    let flags = ["--target=wasm32", "-nostdlib", "-fno-builtin", "-O2", "-Wl,--no-entry,--export-all"];
    folder.command(&clang, &[&flags[..], &["story.c", "-o", "story.wasm"]].concat());
    let script = "
const m = (await WebAssembly.instantiate(require('fs').readFileSync('story.wasm'))).instance.exports;
const model = m.__heap_base.value, text = model + 100000, tokens = text + 100;
m.memory.grow(4);
m.story_init(model);
new Uint8Array(m.memory.buffer).set(new TextEncoder().encode('the quick\\0'), text);
const count = m.story_encode(text, tokens, 10);
for (const token of new Uint32Array(m.memory.buffer, tokens, count)) m.story_step(model, token);
const words = [];
for (let index = 0n; index < 20n; index++) {
    const token = m.story_sample(model, 1.0, 0, 1.0, 5n, index);
    const bytes = new Uint8Array(m.memory.buffer).subarray(m.story_word(token));
    words.push(new TextDecoder().decode(bytes.subarray(0, bytes.indexOf(0))));
    m.story_step(model, token);
}
console.log(words.join(' '));
";
    let script = format!("(async () => {{{script}}})()");
    assert_eq!(folder.command(&node, &["-e", &script]).trim_end(), written(&folder));
}
