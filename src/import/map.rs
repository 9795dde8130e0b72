//! Mapping files: what each of a model's parameters is made of, one line for each.
//!
//! ```text
//! file    = (line? comment? end-of-line)*         a comment runs from # to the end of the line
//! line    = name "=" sum                          a parameter, and what it is made of
//!         | "ignore" name "*"?                    a tensor that is not wanted, or all whose names begin so
//! sum     = "-"? term (("+" | "-") term)*
//! term    = value ("[" cut ("," cut)? "]")*
//! value   = name | number | "(" sum ")" | "transpose" "(" sum ")" | ("rows" | "columns") "(" sum ("," sum)* ")"
//!         | "reshape" "(" sum ("," whole)+ ")"
//! cut     = whole? ":" whole? | whole "of" whole
//! name    = (letter | digit | "_" | ".")+ | text in quotes, with \ before " and \
//! ```

use std::path::Path;

use anyhow::{Result, bail};
use lstmc_compiler::diag::visible;
use lstmc_runtime::text::read_text;

use super::value::{Cut, Value, plain};
use crate::show;

/// How deep brackets may be in each other.
const DEPTH: usize = 48;

/// A mapping file.
#[derive(Debug, Default, PartialEq)]
pub struct Map {
    /// The file, as it is shown.
    pub name: String,
    /// The parameters with their values and their lines.
    pub lines: Vec<(String, Value, usize)>,
    ignored: Vec<Ignored>,
}

/// A tensor that is not wanted, or all whose names begin so.
#[derive(Debug, PartialEq)]
struct Ignored {
    name: String,
    prefix: bool,
}

impl Map {
    /// # Errors
    /// A file that cannot be read, or is none; with the line.
    pub fn read(path: &Path) -> Result<Self> {
        let text = read_text(path, "the mapping file")?;
        let name = show::path(path);
        match Self::parse(&text) {
            Ok(map) => Ok(Self { name, ..map }),
            Err((line, what)) => bail!("{name}:{line}: {what}"),
        }
    }

    /// The file of a text; or the line of the first error, and what it is.
    fn parse(text: &str) -> Result<Self, (usize, String)> {
        let mut map = Self::default();
        for (number, line) in text.lines().enumerate() {
            let at = |what: String| (number + 1, what);
            let tokens = tokens(line).map_err(at)?;
            let mut parser = Parser { tokens: &tokens, at: 0, depth: 0 };
            if tokens.is_empty() {
                continue;
            }
            if parser.is_ignore() {
                map.ignored.push(parser.ignored().map_err(at)?);
                continue;
            }
            let (param, value) = parser.line().map_err(at)?;
            if let Some((_, _, before)) = map.lines.iter().find(|(name, ..)| *name == param) {
                return Err(at(format!("{} has a line already, {before}", visible(&param))));
            }
            map.lines.push((param, value, number + 1));
        }
        Ok(map)
    }

    pub fn ignores(&self, tensor: &str) -> bool {
        let fits = |Ignored { name, prefix }: &Ignored| {
            if *prefix { tensor.starts_with(name.as_str()) } else { tensor == name }
        };
        self.ignored.iter().any(fits)
    }
}

/// A sign or a word of a line.
#[derive(Clone, Debug, PartialEq)]
enum Token {
    /// Letters, digits, `_` and `.`: a name, a number or a word of the language.
    Word(String),
    Quoted(String),
    Sign(char),
}

impl Token {
    fn show(&self) -> String {
        match self {
            Token::Word(word) => visible(word).into_owned(),
            Token::Quoted(text) => format!("{text:?}"),
            Token::Sign(sign) => sign.to_string(),
        }
    }
}

fn tokens(line: &str) -> Result<Vec<Token>, String> {
    let mut tokens = vec![];
    let mut rest = line.trim_start();
    while let Some(first) = rest.chars().next() {
        let (token, len) = match first {
            '#' => break,
            '"' => quotation(rest)?,
            _ if plain(first) => {
                let len = rest.find(|c| !plain(c)).unwrap_or(rest.len());
                (Token::Word(rest[..len].to_owned()), len)
            }
            '=' | '+' | '-' | '(' | ')' | '[' | ']' | ',' | ':' | '*' => (Token::Sign(first), 1),
            '?' => return Err("in place of `?` stands what the parameter is made of".into()),
            other => {
                let name = "a name with other signs than letters, digits, _ and . stands in quotes";
                return Err(format!("`{}` means nothing here; {name}", visible(&other.to_string())));
            }
        };
        tokens.push(token);
        rest = rest[len..].trim_start();
    }
    Ok(tokens)
}

/// A text in quotes at the start of `text`, and how long it is there.
fn quotation(text: &str) -> Result<(Token, usize), String> {
    let open = || "the text in quotes does not end on its line".to_owned();
    let mut found = String::new();
    let mut signs = text.char_indices().skip(1);
    while let Some((at, sign)) = signs.next() {
        match sign {
            '"' => return Ok((Token::Quoted(found), at + 1)),
            '\\' => {
                let (_, escaped) = signs.next().ok_or_else(open)?;
                found.push(match escaped {
                    '"' | '\\' | '\'' => escaped,
                    'n' => '\n',
                    'r' => '\r',
                    't' => '\t',
                    '0' => '\0',
                    'u' => {
                        let digits: String = signs
                            .by_ref()
                            .map(|(_, sign)| sign)
                            .skip(1)
                            .take_while(|sign| *sign != '}')
                            .collect();
                        let code = u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32);
                        code.ok_or_else(|| {
                            "after `\\u` stands a character's number, as in \\u{1b}".to_owned()
                        })?
                    }
                    _ => return Err(format!("`\\{escaped}` means nothing in quotes; a \\ is written \\\\")),
                });
            }
            _ => found.push(sign),
        }
    }
    Err(open())
}

struct Parser<'t> {
    tokens: &'t [Token],
    at: usize,
    depth: usize,
}

impl Parser<'_> {
    fn is_ignore(&self) -> bool {
        let word = matches!(self.tokens.first(), Some(Token::Word(word)) if word == "ignore");
        word && self.tokens.get(1) != Some(&Token::Sign('='))
    }

    fn ignored(&mut self) -> Result<Ignored, String> {
        self.at += 1;
        let name = self.name("the name of a tensor")?;
        let prefix = self.takes('*');
        self.end()?;
        Ok(Ignored { name, prefix })
    }

    fn line(&mut self) -> Result<(String, Value), String> {
        let param = self.name("the name of a parameter")?;
        self.sign('=')?;
        let value = self.sum()?;
        self.end()?;
        Ok((param, value))
    }

    fn sum(&mut self) -> Result<Value, String> {
        self.depth += 1;
        if self.depth > DEPTH {
            return Err(format!("more than {DEPTH} brackets in each other"));
        }
        let mut minus = self.takes('-');
        let mut terms = vec![];
        loop {
            terms.push((minus, self.term()?));
            minus = match self.peek() {
                Some(Token::Sign('+')) => false,
                Some(Token::Sign('-')) => true,
                _ => break,
            };
            self.at += 1;
        }
        self.depth -= 1;
        Ok(match (&terms[..], terms.len()) {
            ([(false, only)], 1) => only.clone(),
            _ => Value::Sum(terms),
        })
    }

    fn term(&mut self) -> Result<Value, String> {
        let mut value = self.value()?;
        while self.takes('[') {
            let mut cuts = vec![self.cut()?];
            while self.takes(',') {
                cuts.push(self.cut()?);
            }
            self.sign(']')?;
            value = Value::Part(value.into(), cuts);
        }
        Ok(value)
    }

    fn value(&mut self) -> Result<Value, String> {
        if self.takes('(') {
            let value = self.sum()?;
            self.sign(')')?;
            return Ok(value);
        }
        let called = self.tokens.get(self.at + 1) == Some(&Token::Sign('('));
        match self.peek().cloned() {
            Some(Token::Word(word)) if called => {
                self.at += 2;
                self.call(&word)
            }
            Some(Token::Word(word))
                if word.starts_with(|c: char| c.is_ascii_digit()) && number(&word).is_some() =>
            {
                self.at += 1;
                Ok(Value::Number(number(&word).unwrap_or_default()))
            }
            _ => Ok(Value::Tensor(self.name("a tensor, a number or a function")?)),
        }
    }

    /// What a function makes of what stands in its brackets.
    fn call(&mut self, function: &str) -> Result<Value, String> {
        let first = match function {
            "transpose" | "rows" | "columns" | "reshape" => self.sum()?,
            _ => {
                let there = "transpose, rows, columns and reshape";
                return Err(format!("there is no {}; there are {there}", visible(function)));
            }
        };
        let value = match function {
            "transpose" => first.transposed(),
            "reshape" => {
                let mut shape = vec![];
                while self.takes(',') {
                    shape.push(self.whole()?);
                }
                if shape.is_empty() {
                    return Err("reshape wants the sizes: reshape(x, 4, 8)".into());
                }
                Value::Reshape(first.into(), shape)
            }
            _ => {
                let mut parts = vec![first];
                while self.takes(',') {
                    parts.push(self.sum()?);
                }
                Value::Join(usize::from(function == "columns"), parts)
            }
        };
        self.sign(')')?;
        Ok(value)
    }

    fn cut(&mut self) -> Result<Cut, String> {
        if self.takes(':') {
            return Ok(match self.peek() {
                Some(Token::Word(_)) => Cut::Range(0, self.whole()?),
                _ => Cut::All,
            });
        }
        let first = self.whole()?;
        if self.takes(':') {
            return Ok(match self.peek() {
                Some(Token::Word(_)) => Cut::Range(first, self.whole()?),
                _ => Cut::From(first),
            });
        }
        match self.peek() {
            Some(Token::Word(word)) if word == "of" => {
                self.at += 1;
                Ok(Cut::Share(first, self.whole()?))
            }
            _ => Err(self.wanted("`:` or `of`, as in [0:8] and [1 of 4]")),
        }
    }

    fn whole(&mut self) -> Result<usize, String> {
        let number = match self.peek() {
            Some(Token::Word(word)) => word.parse().ok(),
            _ => None,
        };
        let number = number.ok_or_else(|| self.wanted("a whole number"))?;
        self.at += 1;
        Ok(number)
    }

    fn name(&mut self, what: &str) -> Result<String, String> {
        match self.peek() {
            Some(Token::Word(name) | Token::Quoted(name)) => {
                let name = name.clone();
                self.at += 1;
                Ok(name)
            }
            _ => Err(self.wanted(what)),
        }
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn takes(&mut self, sign: char) -> bool {
        let takes = self.peek() == Some(&Token::Sign(sign));
        self.at += usize::from(takes);
        takes
    }

    fn sign(&mut self, sign: char) -> Result<(), String> {
        if self.takes(sign) { Ok(()) } else { Err(self.wanted(&format!("`{sign}`"))) }
    }

    fn end(&self) -> Result<(), String> {
        if self.at == self.tokens.len() { Ok(()) } else { Err(self.wanted("the end of the line")) }
    }

    fn wanted(&self, what: &str) -> String {
        match self.peek() {
            Some(token) => format!("{what} should stand where `{}` is", token.show()),
            None => format!("the line ends where {what} should stand"),
        }
    }
}

fn number(word: &str) -> Option<f64> {
    word.parse::<f64>().ok().filter(|number| number.is_finite())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value(text: &str) -> Value {
        let map = Map::parse(&format!("p = {text}")).unwrap_or_else(|error| panic!("{text}: {error:?}"));
        map.lines[0].1.clone()
    }

    #[test]
    fn lines_have_names_values_and_comments() {
        let tensor = |name: &str| Value::Tensor(name.into());
        assert_eq!(value("a.b # c"), tensor("a.b"));
        assert_eq!(value("\"a \\\" # \\\\ \\u{1b}\""), tensor("a \" # \\ \u{1b}"));
        assert_eq!(value("0.weight"), tensor("0.weight"));
        assert_eq!(value("0.5"), Value::Number(0.5));
        assert_eq!(value("rows"), tensor("rows"), "it calls nothing");
        assert_eq!(value("inf"), tensor("inf"));
        assert_eq!(
            value("a + b - 1"),
            Value::Sum(vec![(false, tensor("a")), (false, tensor("b")), (true, Value::Number(1.0)),])
        );
        let cuts = vec![Cut::Share(2, 4), Cut::Range(0, 8)];
        assert_eq!(value("a[2 of 4, :8]"), Value::Part(tensor("a").into(), cuts));
        assert_eq!(value("a[3:, :]"), Value::Part(tensor("a").into(), vec![Cut::From(3), Cut::All]));
        assert_eq!(value("columns(a, b)"), Value::Join(1, vec![tensor("a"), tensor("b")]));
        let map = Map::parse("\n# none\nignore a*\nignore \"b c\"\nignore = 1\n").expect("a map");
        assert_eq!(map.lines, [("ignore".to_owned(), Value::Number(1.0), 5)]);
        let ignored = ["a", "ab", "b", "b c", "b cd"].map(|name| map.ignores(name));
        assert_eq!(ignored, [true, true, false, true, false]);
    }

    #[test]
    fn brackets_end_somewhere() {
        let deep = |depth: usize| format!("p = {}a{}", "(".repeat(depth), ")".repeat(depth));
        assert!(Map::parse(&deep(DEPTH - 1)).is_ok());
        assert_eq!(Map::parse(&deep(5000)), Err((1, format!("more than {DEPTH} brackets in each other"))));
    }

    fn cuts() -> impl Strategy<Value = Vec<Cut>> {
        let cut = prop_oneof![
            Just(Cut::All),
            (0..9usize, 0..9usize).prop_map(|(from, to)| Cut::Range(from, to)),
            (0..9usize).prop_map(Cut::From),
            (0..9usize, 0..9usize).prop_map(|(number, of)| Cut::Share(number, of)),
        ];
        prop::collection::vec(cut, 1..3)
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            "\\PC*".prop_map(Value::Tensor),
            "[a-z0-9_.]{1,9}".prop_map(Value::Tensor),
            any::<f32>()
                .prop_filter("a number", |x| x.is_finite())
                .prop_map(|x| Value::Number(f64::from(x.abs()))),
        ];
        leaf.prop_recursive(4, 20, 4, |inner| {
            let several = || prop::collection::vec(inner.clone(), 1..4);
            let terms = prop::collection::vec((any::<bool>(), inner.clone()), 2..4);
            prop_oneof![
                inner.clone().prop_map(Value::transposed),
                (inner.clone(), cuts()).prop_map(|(of, cuts)| Value::Part(of.into(), cuts)),
                (0..2usize, several()).prop_map(|(axis, parts)| Value::Join(axis, parts)),
                (inner.clone(), prop::collection::vec(0..9usize, 1..4))
                    .prop_map(|(of, shape)| Value::Reshape(of.into(), shape)),
                terms.prop_map(Value::Sum),
                inner.clone().prop_map(|of| Value::Sum(vec![(true, of)])),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(found in values()) {
            prop_assert_eq!(value(&found.to_string()), found);
        }

        #[test]
        fn no_text_is_too_odd(text in "(\\PC|[=+()\\[\\],:*\"\\\\ ua-c0-2#\n.-]){0,60}") {
            let _ = Map::parse(&text);
            let _ = Map::parse(&format!("p = {text}"));
        }
    }
}
