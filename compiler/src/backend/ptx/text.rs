//! PTX text, an instruction at a time: fresh registers, labels, loops, and the frame of an entry.
//!
//! Registers are untyped (`.b32`, `.b64`, `.b16`, predicates), as PTX allows for every instruction used here, so that a real
//! and its bits are one register. Rounding is always spelled out (`add.rn.f32`): the assembler may contract what says nothing.

use std::fmt::{self, Display, Formatter, Write};

/// A register of 32 bits: a real, an index or an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Reg(u32);

/// A register of 64 bits: an address or a double.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Wide(u32);

/// A predicate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pred(u32);

/// A label.
#[derive(Clone, Copy, Debug)]
pub(super) struct Label(u32);

/// A loop while it is written: where its next round begins, and what comes after the last.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub(super) struct Loop {
    pub again: Label,
    pub done: Label,
}

/// A register or a constant of 32 bits.
#[derive(Clone, Copy, Debug)]
pub(super) enum Operand {
    Reg(Reg),
    Const(u32),
}

impl Display for Reg {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "%r{}", self.0)
    }
}

impl Display for Wide {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "%d{}", self.0)
    }
}

impl Display for Pred {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "%p{}", self.0)
    }
}

impl Display for Label {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "L{}", self.0)
    }
}

impl Display for Operand {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Operand::Reg(reg) => write!(f, "{reg}"),
            Operand::Const(value) => write!(f, "{value}"),
        }
    }
}

impl From<Reg> for Operand {
    fn from(reg: Reg) -> Self {
        Operand::Reg(reg)
    }
}

impl From<u32> for Operand {
    fn from(value: u32) -> Self {
        Operand::Const(value)
    }
}

/// The name of shared memory that a launch gives.
pub(super) const DYNAMIC: &str = "kept";

/// Registers as one operand.
pub(super) fn list(registers: &[Reg]) -> String {
    match registers {
        [only] => only.to_string(),
        _ => format!("{{{}}}", registers.iter().map(Reg::to_string).collect::<Vec<_>>().join(", ")),
    }
}

/// How an access to so many words ends its name.
fn vector(count: usize) -> String {
    if count == 1 { ".b32".into() } else { format!(".v{count}.b32") }
}

/// The body of an entry while it is written.
#[derive(Debug, Default)]
pub(super) struct Writer {
    /// What comes first, and is known everywhere.
    head: String,
    lines: String,
    registers: u32,
    wide: u32,
    predicates: u32,
    labels: u32,
    shared_bytes: usize,
    resident: usize,
}

impl Writer {
    pub fn reg(&mut self) -> Reg {
        self.registers += 1;
        Reg(self.registers - 1)
    }

    pub fn wide(&mut self) -> Wide {
        self.wide += 1;
        Wide(self.wide - 1)
    }

    pub fn pred(&mut self) -> Pred {
        self.predicates += 1;
        Pred(self.predicates - 1)
    }

    pub fn label(&mut self) -> Label {
        self.labels += 1;
        Label(self.labels - 1)
    }

    pub fn place(&mut self, label: Label) {
        let _ = writeln!(self.lines, "{label}:");
    }

    /// One instruction, without its semicolon.
    pub fn line(&mut self, text: impl Display) {
        let _ = writeln!(self.lines, "\t{text};");
    }

    /// Instructions that stand before everything else.
    pub fn first<T>(&mut self, write: impl FnOnce(&mut Self) -> T) -> T {
        let body = std::mem::take(&mut self.lines);
        let result = write(self);
        let first = std::mem::replace(&mut self.lines, body);
        self.head.push_str(&first);
        result
    }

    /// What has been written so far comes first.
    pub fn close_head(&mut self) {
        self.head = std::mem::take(&mut self.lines);
    }

    pub fn note(&mut self, text: impl Display) {
        let _ = writeln!(self.lines, "\t// {text}");
    }

    /// `name result, operands..`, of 32 bits.
    pub fn op<const N: usize>(&mut self, name: &str, operands: [Operand; N]) -> Reg {
        let to = self.reg();
        self.assign(to, name, operands);
        to
    }

    /// As [`Writer::op`] into a register that is there already.
    pub fn assign<const N: usize>(&mut self, to: Reg, name: &str, operands: [Operand; N]) {
        let list: Vec<String> = operands.iter().map(Operand::to_string).collect();
        self.line(format_args!("{name} {to}, {}", list.join(", ")));
    }

    pub fn add(&mut self, a: impl Into<Operand>, b: impl Into<Operand>) -> Reg {
        self.op("add.u32", [a.into(), b.into()])
    }

    pub fn mul(&mut self, a: impl Into<Operand>, b: impl Into<Operand>) -> Reg {
        self.op("mul.lo.u32", [a.into(), b.into()])
    }

    pub fn mad(&mut self, a: impl Into<Operand>, b: impl Into<Operand>, c: impl Into<Operand>) -> Reg {
        self.op("mad.lo.u32", [a.into(), b.into(), c.into()])
    }

    /// The bits in a register.
    pub fn bits(&mut self, bits: u32) -> Reg {
        self.op("mov.b32", [bits.into()])
    }

    pub fn real(&mut self, value: f32) -> Reg {
        let to = self.reg();
        self.line(format_args!("mov.b32 {to}, 0x{:08X}", value.to_bits()));
        to
    }

    /// `name predicate, a, b`
    pub fn compare(&mut self, name: &str, a: impl Into<Operand>, b: impl Into<Operand>) -> Pred {
        let to = self.pred();
        self.line(format_args!("{name} {to}, {}, {}", a.into(), b.into()));
        to
    }

    pub fn both(&mut self, a: Pred, b: Pred) -> Pred {
        let to = self.pred();
        self.line(format_args!("and.pred {to}, {a}, {b}"));
        to
    }

    /// `answers[0]` where the predicate holds, else `answers[1]`.
    pub fn choose(&mut self, holds: Pred, answers: [Operand; 2]) -> Reg {
        let to = self.reg();
        self.line(format_args!("selp.b32 {to}, {}, {}, {holds}", answers[0], answers[1]));
        to
    }

    pub fn go(&mut self, to: Label) {
        self.line(format_args!("bra {to}"));
    }

    pub fn go_if(&mut self, holds: Pred, to: Label) {
        self.line(format_args!("@{holds} bra {to}"));
    }

    pub fn go_unless(&mut self, holds: Pred, to: Label) {
        self.line(format_args!("@!{holds} bra {to}"));
    }

    /// What comes now, up to [`Writer::end`], is done again and again until it goes to `done`.
    pub fn begin(&mut self) -> Loop {
        let (again, done) = (self.label(), self.label());
        self.place(again);
        Loop { again, done }
    }

    pub fn end(&mut self, own: Loop) {
        self.go(own.again);
        self.place(own.done);
    }

    /// Bytes of shared memory that are free for this use, as an offset. Uses that are never alive at once may have the same.
    pub fn shared(&mut self, bytes: usize) {
        self.shared_bytes = self.shared_bytes.max(bytes);
    }

    /// Quotient and remainder.
    pub fn div_rem(&mut self, a: Reg, b: u32) -> (Reg, Reg) {
        (self.op("div.u32", [a.into(), b.into()]), self.op("rem.u32", [a.into(), b.into()]))
    }

    /// An address `bytes` after another one, in brackets.
    pub fn after(&mut self, at: Wide, bytes: usize) -> String {
        if bytes < 1 << 31 {
            return format!("[{at}+{bytes}]");
        }
        format!("[{}]", self.moved(at, bytes))
    }

    /// The address `bytes` after another one.
    pub fn moved(&mut self, at: Wide, bytes: usize) -> Wide {
        let to = self.wide();
        self.line(format_args!("add.s64 {to}, {at}, {bytes}"));
        to
    }

    /// The address of an element of those that lie one after the other from `at` on.
    pub fn element(&mut self, at: Wide, index: impl Into<Operand>) -> Wide {
        self.indexed(at, index, 4)
    }

    /// The address `index` times `bytes` after another one.
    pub fn indexed(&mut self, at: Wide, index: impl Into<Operand>, bytes: usize) -> Wide {
        let to = self.wide();
        self.line(format_args!("mad.wide.u32 {to}, {}, {bytes}, {at}", index.into()));
        to
    }

    /// `count` words of shared memory, 1, 2 or 4, that lie `offset` bytes after an address.
    pub fn load_shared(&mut self, at: Reg, offset: usize, count: usize) -> Vec<Reg> {
        let to: Vec<Reg> = (0..count).map(|_| self.reg()).collect();
        self.line(format_args!("ld.shared{} {}, [{at}+{offset}]", vector(count), list(&to)));
        to
    }

    /// `count` words, 1, 2 or 4, where the predicate holds, else zeros; `from` in brackets.
    pub fn load_global_if(&mut self, holds: Pred, from: &str, count: usize) -> Vec<Reg> {
        let to: Vec<Reg> = (0..count).map(|_| self.bits(0)).collect();
        self.line(format_args!("@{holds} ld.global{} {}, {from}", vector(count), list(&to)));
        to
    }

    /// Stores 1, 2 or 4 words where the predicate holds; `to` in brackets.
    pub fn store_global_if(&mut self, holds: Pred, to: &str, words: &[Reg]) {
        self.line(format_args!("@{holds} st.global{} {to}, {}", vector(words.len()), list(words)));
    }

    /// Registers are for so many CTAs on a multiprocessor, else for one. Where nothing is said the assembler guesses, and may
    /// rather keep registers in memory than have room for fewer CTAs.
    pub fn resident(&mut self, ctas: usize) {
        self.resident = ctas;
    }

    /// The address of the entry's shared memory.
    pub fn shared_base(&mut self) -> Reg {
        let to = self.reg();
        self.line(format_args!("mov.u32 {to}, scratch"));
        to
    }

    /// The address of the memory that a launch gives the entry beside its own, as [`super::Launch::shared_bytes`] says.
    pub fn dynamic_base(&mut self) -> Reg {
        let to = self.reg();
        self.line(format_args!("mov.u32 {to}, {DYNAMIC}"));
        to
    }

    /// Every thread of the CTA waits until all have come here; what they wrote is seen by all.
    pub fn sync(&mut self) {
        self.line("bar.sync 0");
    }

    /// The entry as text, for CTAs of `threads`.
    pub fn entry(&self, name: &str, threads: usize, parameters: &[(&str, &str)]) -> String {
        let mut text = String::new();
        let parameters: Vec<String> =
            parameters.iter().map(|(kind, name)| format!("\t.param .{kind} {name}")).collect();
        let _ = writeln!(text, ".visible .entry {name}(\n{}\n)", parameters.join(",\n"));
        let _ = writeln!(text, ".reqntid {threads}, 1, 1");
        let _ = writeln!(text, ".minnctapersm {}\n{{", self.resident.max(1));
        for (count, kind, name) in
            [(self.registers, "b32", "r"), (self.wide, "b64", "d"), (self.predicates, "pred", "p")]
        {
            if count > 0 {
                let _ = writeln!(text, "\t.reg .{kind} %{name}<{count}>;");
            }
        }
        if self.shared_bytes > 0 {
            let _ = writeln!(text, "\t.shared .align 16 .b8 scratch[{}];", self.shared_bytes);
        }
        let _ = write!(text, "{}{}\tret;\n}}\n", self.head, self.lines);
        text
    }
}
