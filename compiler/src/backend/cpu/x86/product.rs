//! Sums of the columns of packed panels of weights, each row times an element of a vector: the inner part of a product of one row, for
//! programs that are compiled ahead of time.
//!
//! ```text
//! sums(a, weights, terms, to)
//! ```
//!
//! of `terms` elements of `a`; the panels' rows lie from `weights` on, and the columns' sums go to `to`, panel by panel. A sum is
//! taken from the first row to the last. Of `int8` the scales are left to the caller.

use super::assembler::Assembler;
use super::emit::Loop;
use super::instructions::{Code, General, Memory, Source, When, Width};
use crate::kernel::{Format, PANEL};

const A: General = General::RDI;
const WEIGHTS: General = General::RSI;
const TERMS: General = General::RDX;
const TO: General = General::RCX;
/// How many terms have been added, and how many words of a panel they were.
const DONE: General = General::R8;
const WORDS: General = General::R9;
/// Where a round would end.
const ROUND: General = General::RAX;

/// Terms of a round: enough to pay for the loop's own instructions.
const TERMS_A_ROUND: usize = 4;

/// The most panels side by side: their sums hide each other's latency, and AVX2 has registers for them.
pub const MOST: usize = 4;

/// The function for so many panels, which lie `apart` bytes from each other.
pub fn sums(format: Format, panels: usize, apart: usize, width: Width) -> Loop {
    let vectors = PANEL / width.lanes();
    let mut function = Sums { a: Assembler::new(width), format, panels, apart, vectors };
    function.emit();
    Loop::without_constants(function.a.finish(&[]))
}

struct Sums {
    a: Assembler,
    format: Format,
    panels: usize,
    apart: usize,
    /// Of a panel's row.
    vectors: usize,
}

impl Sums {
    fn emit(&mut self) {
        for sum in 0..self.free(0) {
            self.a.binary(Code::XOR, sum, sum, Source::Register(sum));
        }
        self.a.difference(DONE, TERMS, TERMS);
        self.a.difference(WORDS, TERMS, TERMS);
        self.rounds(TERMS_A_ROUND);
        if self.format == Format::Bf16 {
            self.rounds(2);
        }
        self.rounds(1);
        for sum in 0..self.free(0) {
            let bytes = usize::from(sum) * self.a.width.lanes() * 4;
            self.a.store(Memory::At(TO, bytes as i32), sum);
        }
        self.a.give_back();
        self.a.ret();
    }

    /// Registers behind those of the sums.
    fn free(&self, number: u8) -> u8 {
        (self.panels * self.vectors) as u8 + number
    }

    /// As many rounds of so many terms as there are.
    fn rounds(&mut self, terms: usize) {
        self.a.address(ROUND, DONE, terms as i32);
        self.a.compare_general(ROUND, TERMS);
        let none = self.a.jump(When::Greater);
        let start = self.a.here();
        match self.format {
            Format::F32 => (0..terms).for_each(|term| self.row(term)),
            Format::Int8 => (0..terms).for_each(|term| self.row_of_bytes(term)),
            Format::TwoParts | Format::ThreeParts => panic!("internal error: a library in parts"),
            Format::Bf16 => (0..terms).step_by(2).for_each(|term| self.pair(term, terms > 1)),
        }
        self.a.address(DONE, DONE, terms as i32);
        self.a.address(WORDS, WORDS, self.words(terms) as i32);
        self.a.address(ROUND, DONE, terms as i32);
        self.a.compare_general(ROUND, TERMS);
        self.a.jump_back(When::LessOrEqual, start);
        self.a.land(none);
    }

    /// Words of 4 bytes of so many rows of a panel.
    fn words(&self, rows: usize) -> usize {
        match self.format {
            Format::Int8 => PANEL / 4 * rows,
            format => format.panel_len(rows),
        }
    }

    fn element(&mut self, to: u8, term: usize) {
        self.a.unary(Code::BROADCAST, to, Source::Memory(Memory::Element(A, DONE, 4 * term as i32)));
    }

    /// Each sum's register, and where its weights of a row lie, `bytes` of each.
    fn places(&self, term: usize, bytes: usize) -> Vec<(u8, Memory)> {
        let row = 4 * self.words(term);
        let place = |index: usize| {
            let (panel, vector) = (index / self.vectors, index % self.vectors);
            let offset = row + panel * self.apart + vector * self.a.width.lanes() * bytes;
            (index as u8, Memory::Element(WEIGHTS, WORDS, offset as i32))
        };
        (0..self.panels * self.vectors).map(place).collect()
    }

    fn row(&mut self, term: usize) {
        let x = self.free(0);
        self.element(x, term);
        for (sum, weights) in self.places(term, 4) {
            self.a.binary(Code::MUL_ADD_231, sum, x, Source::Memory(weights));
        }
    }

    fn row_of_bytes(&mut self, term: usize) {
        let (x, row) = (self.free(0), self.free(1));
        self.element(x, term);
        for (sum, weights) in self.places(term, 1) {
            self.a.unary(Code::WIDEN_BYTES, row, Source::Memory(weights));
            self.a.unary(Code::TO_REAL, row, Source::Register(row));
            self.a.binary(Code::MUL_ADD_231, sum, x, Source::Register(row));
        }
    }

    /// A row and, if it is `whole`, the one that lies in the upper halves of its words.
    fn pair(&mut self, term: usize, whole: bool) {
        let (x, y, row, other) = (self.free(0), self.free(1), self.free(2), self.free(3));
        self.element(x, term);
        if whole {
            self.element(y, term + 1);
        }
        for (sum, weights) in self.places(term, 4) {
            self.a.load(row, weights);
            self.a.shift(true, other, row, 16);
            self.a.binary(Code::MUL_ADD_231, sum, x, Source::Register(other));
            if whole {
                self.a.shift(false, row, row, 16);
                self.a.shift(true, row, row, 16);
                self.a.binary(Code::MUL_ADD_231, sum, y, Source::Register(row));
            }
        }
    }
}
