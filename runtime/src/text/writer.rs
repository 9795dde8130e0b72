//! Tokens put together as text, with the spaces that belong between them.

use lstmc_compiler::model::TokenKind;

use super::Subwords;
use super::subwords::Stream;

/// Punctuation that follows what is before it without a space.
const CLOSING: &str = ".,;:!?…‽)]}⟩⟫›”’%‰°′″™®،؛؟।॥。、，．！？；：」』】〉》〕〗〙〛）］｝";
/// Punctuation that what is behind it follows without a space.
const OPENING: &str = "([{⟨⟪‹“‘„‚¿¡#@「『【〈《〔〖〘〚（［｛";
/// Signs that stand before a number without a space.
const CURRENCY: &str = "$£€¥₹₩₽₺₪₫฿";

/// Writes the tokens of one text, one after the other.
#[derive(Clone, Debug)]
pub struct Writer<'t> {
    kind: &'t TokenKind,
    newline: Option<&'t str>,
    subwords: Option<Stream<'t>>,
    previous: Option<Written>,
    /// The quotation marks that are open, of those that open and close alike or either way.
    open: Vec<char>,
}

/// What has been written last.
#[derive(Clone, Debug)]
struct Written {
    token: String,
    role: Role,
}

/// How a token stands to its neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// It ends a line.
    Newline,
    /// A space belongs on both sides.
    Word,
    Opening,
    Closing,
    /// No space belongs on either side.
    Between,
}

impl<'t> Writer<'t> {
    pub(super) fn new(kind: &'t TokenKind, newline: Option<&'t str>, subwords: Option<&'t Subwords>) -> Self {
        Self { kind, newline, subwords: subwords.map(Stream::new), previous: None, open: Vec::new() }
    }

    /// `token` as it reads after those before it: with the space before it, if any. A newline token reads as a new line.
    /// Of subwords that are not yet whole characters nothing is written.
    pub fn next(&mut self, token: &str) -> String {
        if let Some(subwords) = &mut self.subwords {
            return subwords.next(token);
        }
        let role = self.role(token);
        let apart = *self.kind != TokenKind::Characters && self.is_apart(token, role);
        self.previous = Some(Written { token: token.into(), role });
        match role {
            Role::Newline => "\n".into(),
            _ if apart => format!(" {token}"),
            _ => token.into(),
        }
    }

    /// What is left to be written at the end of the text.
    pub fn finish(self) -> String {
        self.subwords.map(Stream::finish).unwrap_or_default()
    }

    fn is_apart(&self, token: &str, role: Role) -> bool {
        let Some(previous) = &self.previous else { return false };
        if matches!(previous.role, Role::Newline | Role::Opening | Role::Between)
            || matches!(role, Role::Closing | Role::Between)
        {
            return false;
        }
        if *self.kind == TokenKind::Words {
            return true;
        }
        let (before, behind) = (previous.token.chars().next_back(), token.chars().next());
        let priced = before.is_some_and(|c| CURRENCY.contains(c)) && behind.is_some_and(char::is_numeric);
        let dashes = previous.token == "-" && token == "-";
        let runs_on = before.is_some_and(runs_on) && behind.is_some_and(runs_on);
        !(priced || dashes || runs_on)
    }

    fn role(&mut self, token: &str) -> Role {
        if self.newline == Some(token) {
            // Quotations end with their paragraph.
            if self.previous.as_ref().is_some_and(|previous| previous.role == Role::Newline) {
                self.open.clear();
            }
            return Role::Newline;
        }
        let mut chars = token.chars();
        let (TokenKind::WordsAndPunctuation, Some(mark), None) = (self.kind, chars.next(), chars.next())
        else {
            return Role::Word;
        };
        match mark {
            '"' | '\'' | '`' | '«' | '»' => self.quotation(mark),
            // Quotations that begin below the line end with the mark that others begin with.
            '“' | '‘' => {
                let low = if mark == '“' { '„' } else { '‚' };
                if self.close(low) { Role::Closing } else { Role::Opening }
            }
            '„' | '‚' => {
                self.open.push(mark);
                Role::Opening
            }
            '/' => Role::Between,
            _ if CLOSING.contains(mark) => Role::Closing,
            _ if OPENING.contains(mark) => Role::Opening,
            _ => Role::Word,
        }
    }

    /// A mark that opens if none is open, and closes otherwise. Two of the same in a row are one: `\'\'`.
    fn quotation(&mut self, mark: char) -> Role {
        if let Some(Written { token, role: role @ (Role::Opening | Role::Closing) }) = &self.previous
            && token.chars().eq([mark])
            && matches!(mark, '\'' | '`')
        {
            return *role;
        }
        let partner = match mark {
            '«' => '»',
            '»' => '«',
            '\'' => '`',
            _ => mark,
        };
        if mark != '`' && (self.close(partner) || self.close(mark)) {
            return Role::Closing;
        }
        self.open.push(mark);
        Role::Opening
    }

    /// Whether `mark` was open; it and what was opened after it are no longer.
    fn close(&mut self, mark: char) -> bool {
        let place = self.open.iter().rposition(|&open| open == mark);
        place.map(|place| self.open.truncate(place)).is_some()
    }
}

/// Whether a character belongs to a script that is written without spaces between words.
fn runs_on(c: char) -> bool {
    matches!(c,
        '\u{e00}'..='\u{eff}'
        | '\u{1000}'..='\u{109f}'
        | '\u{1780}'..='\u{17ff}'
        | '\u{2e80}'..='\u{30ff}'
        | '\u{31c0}'..='\u{31ff}'
        | '\u{3400}'..='\u{4dbf}'
        | '\u{4e00}'..='\u{9fff}'
        | '\u{f900}'..='\u{faff}'
        | '\u{ff00}'..='\u{ffef}'
        | '\u{20000}'..='\u{3ffff}')
}

#[cfg(test)]
mod tests {
    use lstmc_compiler::model::Tokens;

    use super::super::Tokenizer;
    use super::*;

    fn tokenizer(kind: TokenKind) -> Tokenizer {
        Tokenizer::new(&Tokens { kind, newline: Some("<eos>".into()), reserve: 0 })
    }

    /// Text, cut and put together again.
    #[track_caller]
    fn survives(text: &str) {
        let tokenizer = tokenizer(TokenKind::WordsAndPunctuation);
        let tokens: Vec<&str> = tokenizer.tokens(text).map(|token| token.text).collect();
        assert_eq!(tokenizer.join(tokens.iter().copied()), text, "{tokens:?}");
    }

    #[test]
    fn joining_reads_like_text() {
        let words = ["a", "mouse", ",", "said", "<eos>", "he", "."];
        assert_eq!(tokenizer(TokenKind::Words).join(words), "a mouse , said\nhe .");
        assert_eq!(tokenizer(TokenKind::WordsAndPunctuation).join(words), "a mouse, said\nhe.");
        assert_eq!(tokenizer(TokenKind::Characters).join(["a", "b", "<eos>", "c"]), "ab\nc");
        assert_eq!(tokenizer(TokenKind::Words).join(["(", "a", ")"]), "( a )");
    }

    #[test]
    fn brackets_stand_at_what_they_enclose() {
        survives("said (the) cat [or {two}], ⟨three⟩ ((four)).");
        survives("(a) (b) [c] d");
    }

    #[test]
    fn quotation_marks_open_and_close() {
        survives("he said \"yes\" and \"(no)\", \"or\".");
        survives("“Well,” said he, ‘so’ it is. „Gut“, sagte er. ‚Ja‘ auch.");
        survives("«oui» »ja« ‹non›");
        survives("so 'it' is, ``quoted'' too. `one' more");
        survives("\"a 'b' c\" d");
        survives("an \"open one\n\nand \"another\" one");
        survives("over \"two\nlines\" so");
    }

    #[test]
    fn signs_stand_at_what_they_belong_to() {
        survives("¿Qué? ¡No! It costs $5, £3.50 or €1,000: 7% of #1 at 20°.");
        survives("a well-known and/or rock-n-roll -- so... 5 - 3 & 2");
        survives("write to @mouse");
    }

    #[test]
    fn scripts_without_spaces_have_none() {
        survives("猫が鼠を、見た。");
        survives("नमस्ते दुनिया। की");
    }

    #[test]
    fn words_are_written_alike_one_by_one_and_together() {
        let tokenizer = tokenizer(TokenKind::WordsAndPunctuation);
        let tokens = ["\"", "(", "a", ")", "\"", "<eos>", "b"];
        let mut writer = tokenizer.writer();
        let one_by_one: String = tokens.iter().map(|token| writer.next(token)).collect();
        assert_eq!(one_by_one, tokenizer.join(tokens));
        assert_eq!(one_by_one, "\"(a)\"\nb");
    }
}
