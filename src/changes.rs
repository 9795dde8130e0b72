//! What is no longer as it was when a checkpoint was written.

use anyhow::{Result, bail};
use lstmc_compiler::model::Batches;
use lstmc_runtime::checkpoint::Meta;
use lstmc_runtime::text::Record;
use similar::{Algorithm, DiffOp, DiffTag, capture_diff_slices};

use crate::args::Stage;
use crate::compile::Source;
use crate::project::Project;
use crate::show;

/// How many lines are named.
const LINES: usize = 3;

/// The lines of a model's source that are not what they were, in words; none if only comments and layout are others.
pub fn of_source(project: &Project, meta: &Meta) -> Option<String> {
    if meta.is_of(&project.text) {
        return None;
    }
    let tree = |source: &Source| source.emit_source(Stage::Ast);
    match before(meta) {
        Ok(before) if tree(&before) == tree(&project.source) => None,
        _ => Some(lines(&meta.source, &project.text)),
    }
}

fn before(meta: &Meta) -> Result<Source> {
    Source::parse("the model as it was".as_ref(), &meta.source, false)
}

/// # Errors
/// Tokens that are cut in another way than those of the checkpoint, or words that were chosen in another way: nothing that
/// was learned fits them.
pub fn same_tokens(project: &Project, meta: &Meta) -> Result<()> {
    match before(meta).and_then(|source| source.data()) {
        Ok(before) if before.tokens != project.data.tokens => bail!(
            "`tokens` is not what this run was trained with: {}; change it back, or begin a new run",
            lines(&meta.source, &project.text)
        ),
        Ok(before) if before.selection != project.data.selection => bail!(
            "the vocabulary is that of the run, and `unknown`, `min_count` or `vocabulary` is not what it was made with: \
             {}; change it back, or begin a new run",
            lines(&meta.source, &project.text)
        ),
        _ => Ok(()),
    }
}

/// The batches that a checkpoint was trained with, if they are not the project's.
pub fn of_batches(project: &Project, meta: &Meta) -> Option<Batches> {
    let before = before(meta).and_then(|source| source.data()).ok()?.batches;
    let shape = |batches: &Batches| (batches.kind.clone(), batches.rows, batches.steps);
    (shape(&before) != shape(&project.data.batches)).then_some(before)
}

/// What became of a run's texts.
pub fn of_texts(recorded: &[Record], found: &[Record]) -> Vec<String> {
    if recorded.is_empty() {
        return vec!["the texts cannot be checked: this run was begun before they were recorded".into()];
    }
    let before = |record: &Record| recorded.iter().find(|other| other.role == record.role);
    let changed = found.iter().filter_map(|record| {
        let name = record.role.name();
        match before(record) {
            Some(before) if before.same_text(record) => None,
            Some(before) => Some(format!("{name} has {record}, and had {before}")),
            None => Some(format!("{name} is new to this run: {}, {record}", show::path(&record.file))),
        }
    });
    changed.collect()
}

/// ``line 7 is `rate: 0.1`, and was `rate: 0.2` ``; the first few of them, white space at their ends left out.
pub fn lines(before: &str, after: &str) -> String {
    let [old, new] = [before, after].map(|text| text.lines().map(str::trim).collect::<Vec<_>>());
    let mut said: Vec<String> = capture_diff_slices(Algorithm::Myers, &old, &new)
        .iter()
        .flat_map(|op| change(op, &old, &new))
        .collect();
    let more = said.len().saturating_sub(LINES);
    said.truncate(LINES);
    if more > 0 {
        said.push(format!("and {}", show::many(more as u64, "more change")));
    }
    if said.is_empty() { "its white space is other".into() } else { said.join("; ") }
}

fn change(op: &DiffOp, old: &[&str], new: &[&str]) -> Vec<String> {
    let (from, to) = (op.old_range(), op.new_range());
    let number = to.start + 1;
    let added = |(at, line): (usize, &&str)| format!("line {} is new: `{line}`", number + at);
    let gone = |line: &&str| format!("gone before line {number}: `{line}`");
    match op.tag() {
        DiffTag::Equal => Vec::new(),
        DiffTag::Insert => new[to].iter().enumerate().map(added).collect(),
        DiffTag::Delete => old[from].iter().map(gone).collect(),
        DiffTag::Replace => {
            let both = from.len().min(to.len());
            let pairs = old[from.clone()].iter().zip(&new[to.clone()]).enumerate();
            let replaced = pairs.map(|(at, (a, b))| format!("line {} is `{b}`, and was `{a}`", number + at));
            let added = new[to].iter().enumerate().skip(both).map(added);
            replaced.chain(added).chain(old[from].iter().skip(both).map(gone)).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use lstmc_runtime::text::Role;

    use super::*;

    #[test]
    fn changed_lines_are_shown_with_what_they_were() {
        assert_eq!(lines("a\n rate: 1\nb\n", "a\n rate: 2\nb\n"), "line 2 is `rate: 2`, and was `rate: 1`");
        assert_eq!(lines("a\nb\nc", "x\nb\ny"), "line 1 is `x`, and was `a`; line 3 is `y`, and was `c`");
        assert_eq!(lines("a\nb\nc", "a\nc"), "gone before line 2: `b`");
        assert_eq!(lines("a\nc", "a\n  b\nc"), "line 2 is new: `b`");
        assert_eq!(
            lines("// a\nb\nc", "b\nd\ne"),
            "gone before line 1: `// a`; line 2 is `d`, and was `c`; line 3 is new: `e`"
        );
        let many = lines("a\nb\nc\nd\ne", "1\n2\n3\n4\n5");
        assert!(many.ends_with("line 3 is `3`, and was `c`; and 2 more changes"), "{many}");
        assert_eq!(lines("a", " a"), "its white space is other");
    }

    #[test]
    fn texts_are_compared_by_their_role() {
        let record = |role, text: &str| Record::new(role, "t".into(), text.as_bytes(), 1);
        let (train, valid) = (record(Role::Train, "a"), record(Role::Valid, "b"));
        assert!(of_texts(&[train.clone(), valid.clone()], &[train.clone(), valid.clone()]).is_empty());
        let said = of_texts(std::slice::from_ref(&train), &[train.clone(), valid.clone()]);
        assert!(
            said.len() == 1 && said[0].starts_with("the validation text is new to this run: t, 1 byte"),
            "{said:?}"
        );
        let said = of_texts(&[train.clone(), record(Role::Valid, "bc")], &[train, valid.clone()]);
        assert_eq!(said.len(), 1);
        assert!(said[0].starts_with("the validation text has 1 byte, 1 token, "), "{said:?}");
        assert!(said[0].contains("and had 2 bytes, 1 token, "), "{said:?}");
        assert!(of_texts(&[], &[valid])[0].contains("cannot be checked"));
    }
}
