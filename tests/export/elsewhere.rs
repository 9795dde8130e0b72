//! Libraries, and other machines.

use std::fs;

use crate::code::{STRICT, tool};
use crate::{Folder, example, python, story};

/// What the command writes after "the quick".
fn written(folder: &Folder) -> String {
    let text =
        folder.lstmc(&["generate", "runs/story", "--prompt", "the quick", "--length", "20", "--seed", "5"]);
    text.trim_end().trim_start_matches("the quick ").to_owned()
}

#[test]
fn a_library_needs_the_c_library_and_shows_its_functions_alone() {
    let folder = story();
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
    folder.lstmc(&["export", "runs/story", "--format", "o"]);
    folder.lstmc(&["export", "runs/story", "--format", "a"]);
    folder.lstmc(&["export", "runs/story", "--format", "so"]);
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
    let folder = story();
    let (Some(_), Some(python)) = (tool("cc"), python::with("ctypes")) else { return };
    folder.lstmc(&["export", "runs/story", "--format", "so"]);
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
    let printed = folder.lstmc(&["export", "runs/story", "--format", "so", "--out", "plain.so"]);
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
    let folder = story();
    let (Some(compiler), Some(machine)) = (tool("aarch64-linux-gnu-gcc"), tool("qemu-aarch64")) else {
        return;
    };
    fs::write(folder.path("main.c"), PROGRAM).expect("a program");
    for weights in ["f32", "bf16", "int8"] {
        folder.lstmc(&["export", "runs/story", "--format", "o", "--cpu", "aarch64", "--weights", weights]);
        folder.command(&compiler, &["-static", "main.c", "story.o", "-o", "main"]);
        let found = folder.command(&machine, &["./main"]);
        let expected = folder.lstmc(&[
            "generate",
            "runs/story",
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
    let folder = story();
    let Some(compiler) = tool("cc").filter(|_| cfg!(target_arch = "x86_64")) else { return };
    fs::write(folder.path("main.c"), PROGRAM).expect("a program");
    let mut levels = vec!["x86-64-v3"];
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx512vl") {
        levels.push("x86-64-v4");
    }
    for level in levels {
        for weights in ["f32", "bf16", "int8"] {
            folder.lstmc(&["export", "runs/story", "--format", "a", "--cpu", level, "--weights", weights]);
            folder.command(&compiler, &["main.c", "libstory.a", "-o", "main"]);
            let found = folder.command("./main", &[]);
            let how = ["--length", "20", "--seed", "5", "--weights", weights];
            let expected =
                folder.lstmc(&[&["generate", "runs/story", "--prompt", "the quick"][..], &how].concat());
            assert_eq!(format!("the quick {found}"), expected, "{level} {weights}");
        }
    }
}

/// A size that a model's header says.
fn size(folder: &Folder, name: &str) -> usize {
    let header = fs::read_to_string(folder.path("story.h")).expect("the header");
    let line = header.lines().find_map(|line| line.strip_prefix(&format!("#define STORY_{name} ")));
    line.expect("a size").parse().expect("a number")
}

/// What a small processor's compilers say, without a C library.
#[test]
fn for_a_microcontroller() {
    let folder = story();
    let Some(clang) = tool("clang") else { return };
    let mut flash = vec![];
    for weights in ["f32", "int8"] {
        folder.lstmc(&["export", "runs/story", "--format", "c", "--weights", weights]);
        for target in ["--target=thumbv7em-none-eabihf", "--target=riscv32-unknown-elf"] {
            let own = [target, "-ffreestanding", "-c", "story.c", "-o", "story.o"];
            folder.command(&clang, &[&STRICT[..], &own].concat());
        }
        flash.push(size(&folder, "FLASH_BYTES"));
    }
    // A byte in place of four, and what has a scale beside it, and the words.
    assert!(flash[1] * 3 < flash[0], "{flash:?}");
    let check = "#include \"story.h\"\ntypedef char ram[sizeof(story) == STORY_RAM_BYTES ? 1 : -1];\n\
                 typedef char text[offsetof(story, scratch) == STORY_TEXT_BYTES ? 1 : -1];\n";
    fs::write(folder.path("check.c"), check).expect("a program");
    folder.command(&clang, &["-c", "check.c", "-o", "check.o"]);
    assert!(size(&folder, "RAM_BYTES") < 3000, "{}", size(&folder, "RAM_BYTES"));
}

#[test]
fn in_a_browsers_machine() {
    let folder = story();
    let (Some(clang), Some(_), Some(node)) = (tool("clang"), tool("wasm-ld"), tool("node")) else { return };
    folder.lstmc(&["export", "runs/story", "--format", "c"]);
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

/// The line that an example says it writes.
fn promised(folder: &Folder) -> String {
    folder.lstmc(&["generate", "runs/story", "--prompt", "the quick", "--length", "9", "--seed", "1"])
}

/// How a command that is shown in the document begins what it writes, but for how large the files are.
fn wrote(text: &str) -> Vec<String> {
    text.lines().map(|line| line.split(": ").next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn the_documents_examples_in_c_and_for_a_browser() {
    let folder = story();
    let printed = folder.lstmc(&["export", "runs/story", "--format", "c"]);
    assert_eq!(
        wrote(&printed),
        wrote(&example(
            "text",
            "functions   story_init, story_step, story_sample, story_word, story_encode\nwrote       story.c"
        ))
    );
    let shell = |command: &str| folder.command("sh", &["-c", command]);
    if tool("cc").is_some() {
        fs::write(folder.path("main.c"), example("c", "#include")).expect("the example");
        let found = shell(&example("sh", "cc -O2 main.c story.c"));
        assert_eq!(format!("the quick {}\n", found.trim_end()), promised(&folder));
    }
    if tool("clang").is_some() {
        shell(&example("sh", "clang --target=thumbv7em"));
    }
    if let (Some(_), Some(_), Some(node)) = (tool("clang"), tool("wasm-ld"), tool("node")) {
        shell(&example("sh", "clang --target=wasm32"));
        let script = example("js", "const { instance }");
        // Node fetches no files.
        let fetched = "await (await fetch(\"story.wasm\")).arrayBuffer()";
        assert!(script.contains(fetched), "{script}");
        let script = script.replace(fetched, "readFileSync(\"story.wasm\")");
        let script = format!("import {{ readFileSync }} from \"node:fs\";\n{script}");
        fs::write(folder.path("story.mjs"), script).expect("the example");
        let found = folder.command(&node, &["story.mjs"]);
        assert_eq!(format!("the quick {found}"), promised(&folder));
    }
}

#[test]
fn the_documents_examples_with_a_library() {
    let folder = story();
    if tool("cc").is_none() {
        return;
    }
    let printed = folder.lstmc(&["export", "runs/story", "--format", "so"]);
    assert_eq!(
        wrote(&printed),
        wrote(&example(
            "text",
            "functions   story_init, story_step, story_sample, story_word, story_encode\nwrote       libstory.so"
        ))
    );
    if let Some(python) = python::with("ctypes") {
        let found = folder.command(&python, &["-c", &example("python", "from story import Model")]);
        let mut lines = found.lines();
        assert_eq!(format!("the quick {}\n", lines.next().unwrap_or_default()), promised(&folder));
        assert!(lines.next().is_some_and(|line| line.starts_with("11 ")), "{found}");
    }
    if tool("rustc").is_some() {
        fs::write(folder.path("main.rs"), example("rust", "use std::ffi")).expect("the example");
        let found = folder.command("sh", &["-c", &example("sh", "rustc main.rs")]);
        assert_eq!(format!("the quick {}\n", found.trim_end()), promised(&folder));
    }
    // What is written beside a model shows its use too.
    let page = fs::read_to_string(folder.path("story.md")).expect("the page");
    let shown =
        page.split("```python\n").nth(1).and_then(|rest| rest.split("```").next()).expect("an example");
    if let Some(python) = python::with("ctypes") {
        assert_eq!(folder.command(&python, &["-c", shown]).split_whitespace().count(), 20, "{page}");
    }
}
