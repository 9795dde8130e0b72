//! What an unknown word may mean: a known one of the same meaning, or the nearest in spelling.

use super::Diagnostic;
use super::synonyms::{Place, hint};
use super::wording::list;

/// Adds help about `word`, which is not known in this place: what it is called here or how to do without it, else the
/// nearest candidate, else all candidates after `lead`.
pub fn suggest<'a>(
    error: Diagnostic,
    place: Place,
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
    lead: &str,
) -> Diagnostic {
    let all: Vec<&str> = candidates.into_iter().collect();
    if let Some(hint) = hint(place, word, &all) {
        return error.help(hint);
    }
    match nearest(word, all.iter().copied()) {
        Some(near) => error.help(format!("did you mean `{near}`?")),
        None if all.is_empty() => error,
        None => error.help(format!("{lead} {}", list(all))),
    }
}

/// The candidate with the smallest edit distance to `word`, if it is near enough to be meant; the first among equals.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Words of one or two letters are all near each other.
    let limit = (word.chars().count() / 3).min(3);
    let scored = candidates.into_iter().map(|candidate| (edits(word, candidate), candidate));
    scored.filter(|&(distance, _)| distance <= limit).min_by_key(|&(distance, _)| distance).map(|(_, c)| c)
}

/// Insertions, deletions, substitutions and swaps of neighbours (optimal string alignment distance).
fn edits(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.to_lowercase().chars().collect();
    let b: Vec<char> = b.to_lowercase().chars().collect();
    let mut before: Vec<usize> = vec![0; b.len() + 1];
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for i in 0..a.len() {
        let mut next = vec![i + 1; b.len() + 1];
        for j in 0..b.len() {
            let changed = row[j] + usize::from(a[i] != b[j]);
            next[j + 1] = changed.min(row[j + 1] + 1).min(next[j] + 1);
            if i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j] {
                next[j + 1] = next[j + 1].min(before[j - 1] + 1);
            }
        }
        before = row;
        row = next;
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_found_and_far_ones_are_not() {
        assert_eq!(nearest("lsmt", ["gru", "lstm"]), Some("lstm"));
        assert_eq!(nearest("trian", ["train", "test"]), Some("train"));
        assert_eq!(nearest("ebedding", ["embedding"]), Some("embedding"));
        assert_eq!(nearest("Softmax", ["softmax"]), Some("softmax"));
        assert_eq!(nearest("xyz", ["lstm", "gru"]), None);
        assert_eq!(nearest("V", ["W", "b"]), None);
        assert_eq!(edits("", "abc"), 3);
        assert_eq!(edits("kitten", "sitting"), 3);
    }
}
