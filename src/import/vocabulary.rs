//! Which word has which id: a list of somebody else's, or what is in the file of the weights.

use std::collections::HashSet;
use std::path::Path;

use anyhow::{Context, Result, bail};
use lstmc_compiler::model::{Data, TokenKind};
use lstmc_runtime::text::{Vocabulary, read_text};
use serde_json::Value;

use crate::show;

/// Reads a vocabulary for a model: words, one a line, or JSON: a list of words, an object with the id of each, or a run's
/// `vocab.json`. The first word of a list has the first id that the model does not reserve.
///
/// # Errors
/// A file that is none of these, or whose words the model cannot have.
pub fn read(path: &Path, data: &Data) -> Result<Vocabulary> {
    let text = read_text(path, "the vocabulary")?;
    let whole = || format!("{} is no vocabulary", show::path(path));
    let json = text.trim_start().starts_with(['{', '[']).then(|| serde_json::from_str::<Value>(&text).ok());
    let vocabulary = match json.flatten() {
        Some(Value::Object(entries)) if entries.get("words").is_some_and(Value::is_array) => {
            serde_json::from_value(Value::Object(entries)).with_context(whole)?
        }
        Some(json) => of_words(words(json).with_context(whole)?, data).with_context(whole)?,
        None => of_words(lines(&text).with_context(whole)?, data).with_context(whole)?,
    };
    fits(&vocabulary, data).with_context(whole)?;
    Ok(vocabulary)
}

/// Whether a model can have it.
///
/// # Errors
/// Its tokens are subwords where the model's are not, or the other way about.
pub fn fits(vocabulary: &Vocabulary, data: &Data) -> Result<()> {
    let subwords = matches!(data.tokens.kind, TokenKind::Bpe(_) | TokenKind::File(_));
    match (subwords, vocabulary.subwords().is_some()) {
        (true, false) => bail!(
            "the model's tokens are {}, and this has no tokenizer: it has to be the vocab.json of a run",
            data.tokens.kind.name()
        ),
        (false, true) => bail!("it has subwords, and the model's tokens are {}", data.tokens.kind.name()),
        _ => Ok(()),
    }
}

fn of_words(words: Vec<String>, data: &Data) -> Result<Vocabulary> {
    let unknown = data.selection.unknown.clone();
    Vocabulary::of_words(words, data.tokens.reserve, unknown).map_err(anyhow::Error::msg)
}

/// The words of a list, or of an object with their ids.
fn words(json: Value) -> Result<Vec<String>> {
    match json {
        Value::Array(words) => {
            let word = |(at, word): (usize, Value)| match word {
                Value::String(word) => Ok(word),
                other => {
                    bail!("entry {at} of the list is {}, not a word", show::head(&other.to_string(), 30))
                }
            };
            words.into_iter().enumerate().map(word).collect()
        }
        Value::Object(entries) => {
            let id = |(word, id): (String, Value)| match id.as_u64() {
                Some(id) => Ok((id, word)),
                None => bail!(
                    "{word:?} has no id; an object of words has the id of each (a tokenizer.json is named in the model: \
                     `tokens: tokenizer(\"tokenizer.json\")`)"
                ),
            };
            let mut words = entries.into_iter().map(id).collect::<Result<Vec<_>>>()?;
            words.sort();
            match (0..).zip(&words).find(|(place, (id, _))| place != id) {
                Some((place, (id, word))) => {
                    bail!("{word:?} has id {id}, and {place} is no word's or two words'")
                }
                None => Ok(words.into_iter().map(|(_, word)| word).collect()),
            }
        }
        _ => bail!("it is JSON, and neither a list of words nor an object with their ids"),
    }
}

/// The words of a text with one in each line.
fn lines(text: &str) -> Result<Vec<String>> {
    let mut seen = HashSet::new();
    let word = |(line, word): (usize, &str)| {
        if word.is_empty() {
            bail!("line {} is empty; a token that is a line's end is in a list in JSON", line + 1);
        }
        if !seen.insert(word.to_owned()) {
            bail!("{word:?} is there twice, the second time in line {}", line + 1);
        }
        Ok(word.to_owned())
    };
    text.lines().enumerate().map(word).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(json: &str) -> Result<Vec<String>, String> {
        words(serde_json::from_str(json).unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn lists_and_ids() {
        assert_eq!(of(r#"["b", "a"]"#), Ok(vec!["b".into(), "a".into()]));
        assert_eq!(of(r#"{"a": 1, "b": 0}"#), Ok(vec!["b".into(), "a".into()]));
        assert!(of(r#"["a", 1]"#).unwrap_err().contains("entry 1 of the list is 1"));
        assert!(of(r#"{"a": 2, "b": 0}"#).unwrap_err().contains("\"a\" has id 2, and 1 is no word's"));
        assert!(of(r#"{"a": 0, "b": 0}"#).unwrap_err().contains("\"b\" has id 0, and 1 is no word's"));
        assert!(of(r#"{"model": {}}"#).unwrap_err().contains("tokenizer(\"tokenizer.json\")"));
        assert!(of("1").unwrap_err().contains("neither a list"));
    }

    #[test]
    fn a_word_a_line() {
        assert_eq!(lines("the\r\n<unk>\n \n").unwrap(), ["the", "<unk>", " "]);
        assert!(lines("a\n\nb").unwrap_err().to_string().contains("line 2 is empty"));
        assert!(lines("a\nb\na").unwrap_err().to_string().contains("the second time in line 3"));
    }
}
