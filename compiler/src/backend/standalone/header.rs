//! The header of a model: its sizes, its block of memory and its functions.

use super::{About, Encoding, Layout, NONE, named, numbers};

/// What a library has beyond what every form has.
#[derive(Clone, Copy, Debug, Default)]
pub struct Extras {
    /// `new` and `free`, by the C library.
    pub allocates: bool,
}

/// Lines as a comment.
pub fn comment(lines: &[String]) -> String {
    let lines: Vec<String> =
        lines.iter().map(|line| line.replace("*/", "* /").replace("/*", "/ *").replace('\n', " ")).collect();
    format!("/* {} */", lines.join("\n * "))
}

/// The numbers that the parts in C are written with and the header does not say.
pub fn macros(about: &About, layout: &Layout) -> String {
    const PUBLIC: [&str; 3] = ["MODEL_NONE", "MODEL_VOCABULARY", "MODEL_WINDOW"];
    let own = |(name, value): (&str, u64)| {
        let suffix = if u32::try_from(value).is_ok() { "u" } else { "ull" };
        format!("#define {name} {value}{suffix}\n")
    };
    let text: String =
        numbers(about, layout).into_iter().filter(|(name, _)| !PUBLIC.contains(name)).map(own).collect();
    named(&text, &about.prefix) + "\n"
}

/// The header's text. `flash` is what the model has of read-only data, in bytes.
pub fn header(about: &About, layout: &Layout, flash: usize, extras: Extras) -> String {
    let text =
        [TOP, if extras.allocates { ALLOCATING } else { "" }, FUNCTIONS, encoding(about), BOTTOM].concat();
    let state = layout.state.max(1);
    let text = named(&text, &about.prefix);
    let values = [
        ("{vocabulary}", layout.vocabulary.to_string()),
        ("{window}", layout.window.to_string()),
        ("{none}", format!("{NONE}u")),
        ("{state}", state.to_string()),
        ("{scratch}", layout.scratch.to_string()),
        ("{text_bytes}", (4 * layout.text()).to_string()),
        ("{ram}", (4 * layout.all()).to_string()),
        ("{flash}", flash.to_string()),
        // Last, since they hold words of others.
        ("{notes}", comment(&about.notes)),
    ];
    values.into_iter().fold(text, |text, (from, to)| text.replace(from, &to))
}

fn encoding(about: &About) -> &'static str {
    match about.encoding {
        Some(Encoding::Words) => WORDS,
        Some(Encoding::Characters) => CHARACTERS,
        None => "",
    }
}

const TOP: &str = "{notes}
#ifndef MODEL_H
#define MODEL_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern \"C\" {
#endif

/* Tokens are below this. */
#define MODEL_VOCABULARY {vocabulary}u
/* So many tokens are read before there is a distribution, and for each. */
#define MODEL_WINDOW {window}u
/* No token. */
#define MODEL_NONE {none}
/* What a text is, in bytes, from the beginning of a model on: copy that to keep it, to go on from it twice, or to go back. */
#define MODEL_TEXT_BYTES {text_bytes}
/* Memory, in bytes: of a model, and of weights and words, which are read only and there once. */
#define MODEL_RAM_BYTES {ram}
#define MODEL_FLASH_BYTES {flash}

/* A text that the model reads or writes. It holds no pointer: it can be copied as it is. Several may be used at once, each by one
 * thread at a time. What is in it is for the functions below. */
typedef struct model {
    float state[{state}];
    uint32_t recent[{window}];
    uint32_t seen;
    float scratch[{scratch}];
    uint32_t order[{vocabulary}];
} model;

";

const ALLOCATING: &str =
    "/* A model, by malloc, at the beginning of a text; 0 if there is no memory. model_free takes 0 too. */
model *model_new(void);
void model_free(model *m);

";

const FUNCTIONS: &str = "/* Makes some memory a model at the beginning of a text. */
void model_init(model *m);

/* Begins another text. */
void model_reset(model *m);

/* Reads a token. Returns how likely each token is to come next, until the next step; 0 if the token is none, or there
 * are fewer than MODEL_WINDOW yet. */
const float *model_step(model *m, uint32_t token);

/* Chooses a token by the last distribution. `temperature` below 1 sharpens it, above 1 flattens it, 0 takes the likeliest. Only
 * the `top_k` likeliest are chosen from, or all if it is 0, and of them only the fewest that have `top_p` together, or all if it is 1.
 * The choice depends on its arguments and the distribution alone: count `index` up from 0. */
uint32_t model_sample(model *m, double temperature, uint32_t top_k, double top_p, uint64_t seed, uint64_t index);

/* A token's word in UTF-8, which is there as long as the program; empty if the token is none. */
const char *model_word(uint32_t token);

/* A word's token: the one for unknown words if it is not known, or MODEL_NONE if there is none. */
uint32_t model_token(const char *word, size_t bytes);

";

const WORDS: &str = "/* The tokens of a text: its words, as white space parts them, and its ends of lines, if these are tokens. Writes up to
 * `room` of them, and returns how many there are. What is not known is as in model_token. */
size_t model_encode(const char *text, uint32_t *tokens, size_t room);

";

const CHARACTERS: &str = "/* The tokens of a text in UTF-8: its characters. Writes up to `room` of them, and returns how many there are. What is not known is as
 * in model_token. */
size_t model_encode(const char *text, uint32_t *tokens, size_t room);

";

const BOTTOM: &str = "#ifdef __cplusplus
}
#endif

#endif
";
