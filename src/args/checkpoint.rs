//! `--checkpoint`.

use lstmc_runtime::run_dir::Choice;

/// What every subcommand that uses a checkpoint says of the option.
pub(super) const HELP: &str = "Which checkpoint of the run: newest, best (the one of the lowest validation loss), the \
                               number of an epoch (of an update, for models that count iterations), or the path of a file";

pub(super) fn parse(text: &str) -> Result<Choice, String> {
    match text {
        "newest" => Ok(Choice::Newest),
        "best" => Ok(Choice::Best),
        "" => Err("a checkpoint is newest, best, the number of an epoch, or the path of a file".into()),
        _ => Ok(text.parse().map_or_else(|_| Choice::Path(text.into()), Choice::Number)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_numbers_and_paths() {
        assert_eq!(parse("best"), Ok(Choice::Best));
        assert_eq!(parse("newest"), Ok(Choice::Newest));
        assert_eq!(parse("12"), Ok(Choice::Number(12)));
        assert_eq!(parse("runs/a/x.safetensors"), Ok(Choice::Path("runs/a/x.safetensors".into())));
        assert_eq!(parse("-1"), Ok(Choice::Path("-1".into())));
        assert!(parse("").is_err());
    }
}
