//! Numbers, times, words, paths and tables for people.

use std::path::Path;

use anyhow::Result;
use lstmc_compiler::diag::{visible, visible_json};
use lstmc_runtime::text::Vocabulary;
use serde::Serialize;

/// `1,234,567`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `0`, `640`, `1.6 k`, `25 M`, `3.1 G`: operations, with two digits at least.
pub fn operations(number: f64) -> String {
    let units = [(1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k"), (1.0, "")];
    let (unit, name) = units.into_iter().find(|&(unit, _)| number >= unit).unwrap_or((1.0, ""));
    match number / unit {
        few if few < 9.95 && unit > 1.0 => format!("{few:.1}{name}"),
        some => format!("{some:.0}{name}"),
    }
}

/// `1 row`, `2,000 rows`, `3 batches`, `4 epochs`.
pub fn many(number: u64, noun: &str) -> String {
    let ending = match noun {
        _ if number == 1 => "",
        _ if noun.ends_with("ch") && !noun.ends_with("epoch") || noun.ends_with("ss") => "es",
        _ => "s",
    };
    format!("{} {noun}{ending}", count(number))
}

/// A line of JSON, with escapes for what a terminal would obey.
///
/// # Errors
/// What is to be written is no JSON.
pub fn json_line(value: &impl Serialize) -> Result<String> {
    Ok(visible_json(&serde_json::to_string(value)?).into_owned() + "\n")
}

/// A path as it can be given to a shell.
pub fn path(path: &Path) -> String {
    let text = visible(&path.display().to_string()).into_owned();
    let plain = |c: char| c.is_alphanumeric() || "/._-+,=:@%~".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

/// A number below 1,000,000 with four to seven digits, one above it or that is none as it is: `177.68`, `2.3e45`, `inf`.
pub fn perplexity(value: f64) -> String {
    match value {
        value if value < 100.0 => format!("{value:.2}"),
        value if value < 1e6 => format!("{value:.1}"),
        value if value.is_finite() => format!("{value:.1e}"),
        value => format!("{value}"),
    }
}

/// `12.3 ms`, `4.5 s`, `3 m 05 s`, `2 h 03 m`.
pub fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match seconds {
        s if s < 1.0 => format!("{:.1} ms", s * 1000.0),
        s if s < 60.0 => format!("{s:.1} s"),
        s if s < 3600.0 => format!("{} m {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} m", whole / 3600, whole / 60 % 60),
    }
}

/// A time that is only estimated: `12 s`, `85 min`, `7.4 h`.
pub fn rough(seconds: f64) -> String {
    match seconds {
        s if s < 59.5 => format!("{s:.0} s"),
        s if s < 5400.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}

/// A number with four decimals at most, or two digits if it is small: `1`, `0.0625`, `0.00012`.
pub fn short(number: f64) -> String {
    let decimals = match number.abs().log10().floor() {
        power if (-300.0..-3.0).contains(&power) => 1 - power as i32,
        _ => 4,
    };
    let text = format!("{number:.*}", decimals as usize);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The last of `words`, as many as have room in `width` characters; "..." stands for those before.
pub fn tail(words: &[String], between: &str, width: usize) -> String {
    let fits = |words: &[String]| words.join(between).chars().count() <= width;
    if fits(words) {
        return words.join(between);
    }
    let with_dots = |from: usize| [&["...".to_owned()], &words[from..]].concat();
    (1..=words.len()).map(with_dots).find(|words| fits(words)).unwrap_or_default().join(between)
}

/// A token in a line of others.
pub fn word(text: &str) -> String {
    visible(text).replace('\n', "\\n").replace('\t', "\\t")
}

/// A token in a row or column of its own, where white space could not be seen.
pub fn token(text: &str) -> String {
    if text.trim().is_empty() { format!("{text:?}") } else { word(text) }
}

/// The beginning of a text that is longer than `width` characters.
pub fn head(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(3)).chain("...".chars()).collect()
}

/// `5,000 tokens in 1.2 s, 240 us each`
pub fn stats(tokens: usize, seconds: f64) -> String {
    let each = match seconds / tokens.max(1) as f64 {
        each if each < 1e-3 => format!("{:.0} us", each * 1e6),
        each => duration(each),
    };
    format!("{} in {}, {each} each", many(tokens as u64, "token"), duration(seconds))
}

/// One of the most likely tokens of a place, for programs.
#[derive(Serialize)]
pub struct Likely {
    token: String,
    probability: f32,
}

impl Likely {
    pub fn of(top: &[(u32, f32)], vocabulary: &Vocabulary) -> Vec<Self> {
        top.iter().map(|&(id, probability)| Self { token: vocabulary.show(id), probability }).collect()
    }
}

/// `1 thread`, `2 threads`.
pub fn threads(count: usize) -> String {
    many(count as u64, "thread")
}

/// `[20, 35, 650]`.
pub fn shape(sizes: &[usize]) -> String {
    format!("{sizes:?}")
}

/// Rows under a header, each column as wide as its widest cell; columns of numbers to the right.
pub fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let columns = header.len();
    let cell = |row: &[String], column: usize| row.get(column).cloned().unwrap_or_default();
    let header: Vec<String> = header.iter().map(|name| (*name).to_owned()).collect();
    let width =
        |column| rows.iter().chain([&header]).map(|row| cell(row, column).chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let is_number = |text: &str| text.starts_with(|c: char| c.is_ascii_digit());
    let right: Vec<bool> = (0..columns)
        .map(|column| !rows.is_empty() && rows.iter().all(|row| is_number(&cell(row, column))))
        .collect();
    let line = |row: &[String]| {
        let cells = (0..columns).map(|column| {
            let (text, width) = (cell(row, column), widths[column]);
            if right[column] { format!("{text:>width$}") } else { format!("{text:<width$}") }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    let mut out = line(&header);
    rows.iter().for_each(|row| out += &line(row));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_commas() {
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn operations_have_a_fitting_unit() {
        let texts = [0.0, 640.0, 1640.0, 25_200_000.0, 3.14e9, 9.99e12].map(operations);
        assert_eq!(texts, ["0", "640", "1.6 k", "25 M", "3.1 G", "10 T"]);
    }

    #[test]
    fn one_is_singular() {
        assert_eq!(["row", "batch"].map(|noun| many(1, noun)), ["1 row", "1 batch"]);
        assert_eq!(["row", "batch"].map(|noun| many(2000, noun)), ["2,000 rows", "2,000 batches"]);
    }

    #[test]
    fn paths_can_be_given_to_a_shell() {
        let paths = ["runs/base-2", "my runs/it's", "a\u{1b}b", ""].map(|text| path(text.as_ref()));
        assert_eq!(paths, ["runs/base-2", r"'my runs/it'\''s'", r"'a\u{1b}b'", "''"]);
    }

    #[test]
    fn perplexities_of_every_size_are_short() {
        let texts = [1.0, 99.99, 177.68, 123_456.78, 2.345e45, f64::INFINITY, f64::NAN].map(perplexity);
        assert_eq!(texts, ["1.00", "99.99", "177.7", "123456.8", "2.3e45", "inf", "NaN"]);
    }

    #[test]
    fn words_are_in_one_line_and_command_no_terminal() {
        assert_eq!(["mice", "\n", "\u{1b}[2J"].map(word), ["mice", "\\n", "\\u{1b}[2J"]);
        assert_eq!(["\u{1b}", "\u{9b}2J"].map(token), ["\\u{1b}", "\\u{9b}2J"]);
    }

    #[test]
    fn durations_have_a_fitting_unit() {
        let texts = [0.0123, 4.5, 185.0, 7380.0].map(duration);
        assert_eq!(texts, ["12.3 ms", "4.5 s", "3 m 05 s", "2 h 03 m"]);
    }

    #[test]
    fn estimates_are_rough() {
        assert_eq!([3.2, 59.9, 5399.0, 26_640.0].map(rough), ["3 s", "1 min", "90 min", "7.4 h"]);
    }

    #[test]
    fn each_token_took_its_time() {
        assert_eq!(stats(5000, 1.2), "5,000 tokens in 1.2 s, 240 us each");
        assert_eq!(stats(0, 0.0), "0 tokens in 0.0 ms, 0 us each");
    }

    #[test]
    fn rates_are_short() {
        let numbers = [1.0, 0.0625, 0.0078125, 0.000123, 0.0, 20.0];
        assert_eq!(numbers.map(short), ["1", "0.0625", "0.0078", "0.00012", "0", "20"]);
    }

    #[test]
    fn long_texts_are_cut() {
        let words = ["long", "ago", "the", "mice"].map(str::to_owned);
        assert_eq!(tail(&words, " ", 17), "long ago the mice");
        assert_eq!(tail(&words, " ", 16), "... ago the mice");
        assert_eq!(tail(&words, " ", 3), "...");
        assert_eq!(tail(&words, " ", 2), "");
        assert_eq!(["mice", " ", "\n"].map(token), ["mice", "\" \"", "\"\\n\""]);
        assert_eq!([head("mice", 4), head("mice and men", 7)], ["mice", "mice..."]);
    }

    #[test]
    fn tables_are_aligned() {
        let rows = vec![vec!["a".into(), "1".into()], vec!["long".into(), "1,000".into()]];
        assert_eq!(table(&["name", "n"], &rows), "name      n\na         1\nlong  1,000\n");
    }
}
