//! A module's text as statements: what is written, with no meaning yet.
//!
//! Entries alone are understood; functions are refused, and so is every directive that would change what an entry does.
//! `.loc`, `.file` and `.pragma` say nothing.

use crate::text::{Cursor, ParseError, integer};

/// An operand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Operand<'t> {
    /// A register, a name or a constant; `!` or `-` may stand before it.
    Word { text: &'t str, not: bool, minus: bool },
    /// `[base + offset]`
    Address { base: &'t str, offset: i64 },
    /// `{a, b}`
    List(Vec<Operand<'t>>),
    /// `a|b`
    Pair(&'t str, &'t str),
}

/// An instruction.
#[derive(Clone, Debug)]
pub(crate) struct Statement<'t> {
    pub line: usize,
    /// A predicate, and whether it is negated.
    pub guard: Option<(&'t str, bool)>,
    pub opcode: &'t str,
    pub operands: Vec<Operand<'t>>,
}

impl<'t> Statement<'t> {
    pub fn parts(&self) -> Vec<&'t str> {
        self.opcode.split('.').collect()
    }
}

/// A variable of some bytes.
#[derive(Clone, Debug)]
pub(crate) struct Variable<'t> {
    pub name: &'t str,
    pub space: &'t str,
    pub align: u64,
    /// None for `name[]`.
    pub bytes: Option<u64>,
    pub values: Vec<u8>,
}

#[derive(Clone, Debug)]
pub(crate) enum Item<'t> {
    Open,
    Close,
    /// Registers of a type: a name, or a prefix and how many.
    Registers {
        ty: &'t str,
        names: Vec<(&'t str, Option<u64>)>,
    },
    Variable(Variable<'t>),
    Label(&'t str),
    Statement(Statement<'t>),
}

#[derive(Clone, Debug)]
pub(crate) struct Parameter<'t> {
    pub name: &'t str,
    pub align: u64,
    pub bytes: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct Entry<'t> {
    pub name: &'t str,
    pub parameters: Vec<Parameter<'t>>,
    /// `.reqntid` and the like, with their numbers.
    pub limits: Vec<(&'t str, Vec<u64>)>,
    /// Each with its line.
    pub items: Vec<(usize, Item<'t>)>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct File<'t> {
    pub version: &'t str,
    pub target: &'t str,
    pub variables: Vec<Variable<'t>>,
    pub entries: Vec<Entry<'t>>,
}

/// Bytes of a type.
pub(crate) fn size_of(ty: &str) -> Option<u64> {
    Some(match ty {
        "b8" | "u8" | "s8" => 1,
        "b16" | "u16" | "s16" | "f16" | "bf16" => 2,
        "b32" | "u32" | "s32" | "f32" | "f16x2" | "bf16x2" => 4,
        "b64" | "u64" | "s64" | "f64" => 8,
        "b128" => 16,
        _ => return None,
    })
}

pub(crate) fn parse(text: &str) -> Result<File<'_>, ParseError> {
    let mut cursor = Cursor::new(text)?;
    let mut file = File::default();
    while !cursor.done() {
        match cursor.peek() {
            ".version" => {
                cursor.next();
                file.version = cursor.next();
            }
            ".target" => {
                cursor.next();
                file.target = cursor.next();
                while cursor.take(",") {
                    cursor.next();
                }
            }
            ".address_size" => {
                cursor.next();
                if cursor.number()? != 64 {
                    return Err(cursor.error("addresses have 64 bits"));
                }
            }
            ".file" | ".loc" => cursor.skip_line(),
            ".visible" | ".extern" | ".weak" => {
                cursor.next();
            }
            ".entry" => file.entries.push(entry(&mut cursor)?),
            ".global" | ".const" | ".shared" => file.variables.push(variable(&mut cursor)?),
            other => return Err(cursor.error(format!("`{other}` is not known outside an entry"))),
        }
    }
    if file.version.is_empty() || file.target.is_empty() {
        return Err(cursor.error("a module begins with .version and .target"));
    }
    Ok(file)
}

fn entry<'t>(cursor: &mut Cursor<'t>) -> Result<Entry<'t>, ParseError> {
    cursor.expect(".entry")?;
    let mut entry = Entry { name: cursor.next(), parameters: vec![], limits: vec![], items: vec![] };
    if cursor.take("(") {
        while !cursor.take(")") {
            entry.parameters.push(parameter(cursor)?);
            cursor.take(",");
        }
    }
    while !cursor.take("{") {
        let name = cursor.next();
        let known = [
            ".maxntid",
            ".reqntid",
            ".minnctapersm",
            ".maxnctapersm",
            ".maxnreg",
            ".reqnctapercluster",
            ".explicitcluster",
            ".maxclusterrank",
        ];
        if !known.contains(&name) {
            return Err(cursor.error(format!("`{name}` is not known before an entry's body")));
        }
        let mut numbers = vec![];
        while cursor.peek().starts_with(|c: char| c.is_ascii_digit()) {
            numbers.push(cursor.number()?);
            cursor.take(",");
        }
        entry.limits.push((name, numbers));
    }
    let mut depth = 1;
    while depth > 0 {
        if cursor.done() {
            return Err(cursor.error("an entry without end"));
        }
        let line = cursor.line();
        let item = match cursor.peek() {
            ".loc" | ".file" => {
                cursor.skip_line();
                continue;
            }
            ".pragma" => {
                while !cursor.take(";") {
                    cursor.next();
                }
                continue;
            }
            ";" => {
                cursor.next();
                continue;
            }
            "{" => {
                cursor.next();
                depth += 1;
                Item::Open
            }
            "}" => {
                cursor.next();
                depth -= 1;
                if depth == 0 {
                    break;
                }
                Item::Close
            }
            ".reg" => registers(cursor)?,
            ".shared" => Item::Variable(variable(cursor)?),
            other if other.starts_with('.') => {
                return Err(cursor.error(format!("`{other}` is not known in an entry")));
            }
            _ if cursor.peek_second() == ":" => {
                let label = cursor.next();
                cursor.next();
                Item::Label(label)
            }
            _ => Item::Statement(statement(cursor)?),
        };
        entry.items.push((line, item));
    }
    Ok(entry)
}

fn type_of<'t>(cursor: &mut Cursor<'t>) -> Result<(&'t str, u64), ParseError> {
    let word = cursor.peek();
    let ty = word.strip_prefix('.').unwrap_or("");
    let bytes = size_of(ty).ok_or_else(|| cursor.error(format!("a type expected, `{word}` found")))?;
    cursor.next();
    Ok((ty, bytes))
}

fn parameter<'t>(cursor: &mut Cursor<'t>) -> Result<Parameter<'t>, ParseError> {
    cursor.expect(".param")?;
    let mut align = 0;
    if cursor.take(".align") {
        align = cursor.number()?;
    }
    let (_, bytes) = type_of(cursor)?;
    // `.ptr .global .align 16` says what a pointer points to.
    while cursor.peek().starts_with('.') {
        if cursor.next() == ".align" {
            cursor.number()?;
        }
    }
    let name = cursor.next();
    let align = align.max(bytes);
    let mut count = 1;
    if cursor.take("[") {
        count = cursor.number()?;
        cursor.expect("]")?;
    }
    Ok(Parameter { name, align, bytes: bytes * count })
}

fn variable<'t>(cursor: &mut Cursor<'t>) -> Result<Variable<'t>, ParseError> {
    let space = cursor.next().trim_start_matches('.');
    let mut align = 0;
    if cursor.take(".align") {
        align = cursor.number()?;
    }
    let (ty, size) = type_of(cursor)?;
    let name = cursor.next();
    let mut count = Some(1);
    if cursor.take("[") {
        count = if cursor.peek() == "]" { None } else { Some(cursor.number()?) };
        cursor.expect("]")?;
    }
    let mut values = vec![];
    if cursor.take("=") {
        let many = cursor.take("{");
        loop {
            let minus = cursor.take("-");
            let text = cursor.next();
            let value = constant(text, minus, ty == "f64" || size == 8)
                .ok_or_else(|| cursor.error(format!("a constant expected, `{text}` found")))?;
            values.extend_from_slice(&value.to_le_bytes()[..size as usize]);
            if !many || !cursor.take(",") {
                break;
            }
        }
        if many {
            cursor.expect("}")?;
        }
        if let Some(count) = count {
            values.resize((size * count) as usize, 0);
        }
    }
    cursor.expect(";")?;
    Ok(Variable { name, space, align: align.max(size), bytes: count.map(|count| count * size), values })
}

fn registers<'t>(cursor: &mut Cursor<'t>) -> Result<Item<'t>, ParseError> {
    cursor.expect(".reg")?;
    let ty = cursor.next().trim_start_matches('.');
    let mut names = vec![];
    loop {
        let name = cursor.next();
        let mut count = None;
        if cursor.take("<") {
            count = Some(cursor.number()?);
            cursor.expect(">")?;
        }
        names.push((name, count));
        if !cursor.take(",") {
            break;
        }
    }
    cursor.expect(";")?;
    Ok(Item::Registers { ty, names })
}

fn statement<'t>(cursor: &mut Cursor<'t>) -> Result<Statement<'t>, ParseError> {
    let line = cursor.line();
    let mut guard = None;
    if cursor.take("@") {
        let not = cursor.take("!");
        guard = Some((cursor.next(), not));
    }
    let opcode = cursor.next();
    let mut operands = vec![];
    while !cursor.take(";") {
        operands.push(operand(cursor)?);
        if !cursor.take(",") && cursor.peek() != ";" {
            return Err(cursor.error(format!("`,` or `;` expected, `{}` found", cursor.peek())));
        }
    }
    Ok(Statement { line, guard, opcode, operands })
}

fn operand<'t>(cursor: &mut Cursor<'t>) -> Result<Operand<'t>, ParseError> {
    match cursor.next() {
        "{" => {
            let mut list = vec![];
            while !cursor.take("}") {
                if cursor.done() {
                    return Err(cursor.error("`}` expected"));
                }
                list.push(operand(cursor)?);
                cursor.take(",");
            }
            Ok(Operand::List(list))
        }
        "[" => {
            let base = cursor.next();
            let mut offset = 0i64;
            if cursor.take("+") {
                let minus = cursor.take("-");
                let number = cursor.number()? as i64;
                offset = if minus { -number } else { number };
            }
            cursor.expect("]")?;
            Ok(Operand::Address { base, offset })
        }
        "!" => Ok(Operand::Word { text: cursor.next(), not: true, minus: false }),
        "-" => Ok(Operand::Word { text: cursor.next(), not: false, minus: true }),
        text if text.starts_with(|c: char| c.is_ascii_alphanumeric() || "_$%".contains(c)) => {
            if cursor.take("|") {
                return Ok(Operand::Pair(text, cursor.next()));
            }
            Ok(Operand::Word { text, not: false, minus: false })
        }
        other => Err(cursor.error(format!("an operand expected, `{other}` found"))),
    }
}

/// The bits of a constant, for 64 bits or for 32 and less.
pub(crate) fn constant(text: &str, minus: bool, wide: bool) -> Option<u64> {
    let real = |value: f64| {
        let value = if minus { -value } else { value };
        if wide { value.to_bits() } else { (value as f32).to_bits().into() }
    };
    let hex = |prefix: [&str; 2], len: usize| {
        let digits = text.strip_prefix(prefix[0]).or(text.strip_prefix(prefix[1]))?;
        u64::from_str_radix(digits, 16).ok().filter(|_| digits.len() == len)
    };
    if let Some(bits) = hex(["0f", "0F"], 8) {
        return Some(real(f32::from_bits(bits as u32).into()));
    }
    if let Some(bits) = hex(["0d", "0D"], 16) {
        return Some(real(f64::from_bits(bits)));
    }
    if let Some(value) = integer(text) {
        return Some(if minus { value.wrapping_neg() } else { value });
    }
    let digits = text.starts_with(|c: char| c.is_ascii_digit()) && text.contains('.');
    text.parse().ok().filter(|_| digits).map(real)
}
