//! Weights and tables in C, and where the parts of a model's block are.

use std::collections::HashMap;
use std::fmt::{Display, Write};

use super::{Unit, scalars};
use crate::backend::standalone::{Layout, Place, Tables};
use crate::kernel::{BufferId, Format, Item, PANEL, int8_bits, int8_scale, larger};

/// Numbers of a line.
const LINE: usize = 12;

/// The constants' text, and what they take of read-only memory.
pub(super) struct Data {
    pub text: String,
    pub bytes: usize,
}

impl Unit<'_> {
    /// The constants that steps read.
    ///
    /// # Errors
    /// One that is not finite: C has no numbers for it.
    pub(super) fn data(&self) -> Result<Data, String> {
        let mut packed = HashMap::new();
        formats(&self.program.module.items, &mut packed);
        let mut data = Data { text: String::new(), bytes: 0 };
        for (index, buffer) in self.program.module.buffers.iter().enumerate() {
            let id = BufferId(index as u32);
            let Place::Constant(at) = self.layout.place(id) else { continue };
            let bytes = &self.constants[at * 4..][..buffer.len() * 4];
            if bytes.is_empty() {
                continue;
            }
            let _ = writeln!(data.text, "/* {} */", buffer.name.replace("*/", ""));
            let written = match (self.rounded.get(&id), packed.get(&id)) {
                (Some(&width), _) => data.rows(self.prefix, index, &reals(bytes), width),
                (None, Some(&(Format::Int8, k))) => data.panels(self.prefix, index, bytes, k),
                (None, Some(&(format @ (Format::Bf16 | Format::TwoParts | Format::ThreeParts), _))) => {
                    panic!("internal error: {format} in C")
                }
                (None, Some((Format::F32, _)) | None) => {
                    data.floats(self.prefix, &format!("w{index}"), reals(bytes))
                }
            };
            written.ok_or_else(|| format!("{} holds numbers that are not finite", buffer.name))?;
        }
        Ok(data)
    }
}

/// `None` of numbers that are not finite.
impl Data {
    fn floats(&mut self, prefix: &str, name: &str, values: Vec<f32>) -> Option<()> {
        self.bytes += 4 * values.len();
        self.text += &floats(prefix, name, &values)?;
        Some(())
    }

    fn int8(&mut self, prefix: &str, index: usize, weights: Vec<i8>, scales: Vec<f32>) -> Option<()> {
        self.bytes += weights.len();
        self.text += &array(prefix, "int8_t", &format!("w{index}"), weights);
        self.floats(prefix, &format!("s{index}"), scales)
    }

    /// Rows of so many numbers, each with a scale.
    fn rows(&mut self, prefix: &str, index: usize, values: &[f32], width: usize) -> Option<()> {
        let (mut scales, mut weights) = (vec![], vec![]);
        for row in values.chunks_exact(width) {
            let scale = int8_scale(row.iter().fold(0.0, |most, &x| larger(most, x)));
            weights.extend(row.iter().map(|&x| int8_bits(x, scale)));
            scales.push(scale);
        }
        self.int8(prefix, index, weights, scales)
    }

    /// Panels of so many rows, whose scales stand before each.
    fn panels(&mut self, prefix: &str, index: usize, bytes: &[u8], k: usize) -> Option<()> {
        let panel = Format::Int8.panel_len(k) * 4;
        let (mut scales, mut weights) = (vec![], vec![]);
        for panel in bytes.chunks_exact(panel) {
            let (own, rows) = panel.split_at(4 * PANEL);
            scales.extend(reals(own));
            weights.extend(rows.iter().map(|&byte| byte as i8));
        }
        self.int8(prefix, index, weights, scales)
    }
}

/// An array of numbers; `None` if one is not finite.
fn floats(prefix: &str, name: &str, values: &[f32]) -> Option<String> {
    let numbers: Vec<String> = values.iter().copied().map(scalars::literal).collect::<Option<_>>()?;
    Some(array(prefix, "float", name, numbers))
}

fn reals(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|bytes| f32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])).collect()
}

/// The format of each packed weight, and the rows of its panels.
fn formats(items: &[Item], found: &mut HashMap<BufferId, (Format, usize)>) {
    for item in items {
        match item {
            Item::Loop(inner) => formats(&inner.items, found),
            Item::Gemm(gemm) => {
                found.extend(gemm.cpu.packed.map(|format| (gemm.b.at.buffer, (format, gemm.k))));
            }
            Item::Kernel(_) | Item::Pack(_) | Item::Scatter(_) | Item::Distinct(_) | Item::Exchange(_) => {}
        }
    }
}

fn array<T: Display>(prefix: &str, ty: &str, name: &str, values: impl IntoIterator<Item = T>) -> String {
    let mut text = String::new();
    let mut count = 0;
    for value in values {
        let _ = if count % LINE == 0 { write!(text, "\n    {value},") } else { write!(text, " {value},") };
        count += 1;
    }
    format!("static const {ty} {prefix}_{name}[{count}] = {{{text}\n}};\n\n")
}

/// # Errors
/// A state that begins at a number that is not finite.
pub(super) fn tables(prefix: &str, tables: &Tables) -> Result<String, String> {
    let Tables { text, starts, sorted, state_ends, state_starts } = tables;
    let state_starts = floats(prefix, "state_starts", state_starts)
        .ok_or("a state begins at a number that is not finite")?;
    let parts = [
        "/* The words, one after the other; where each begins; and their order by bytes. */\n".to_owned(),
        // A string literal of this length is none that every compiler takes.
        array(prefix, "unsigned char", "text", text),
        array(prefix, "uint32_t", "starts", starts),
        array(prefix, "uint32_t", "sorted", if sorted.is_empty() { &[0][..] } else { sorted }),
        "/* Where the parts of the state end, and what their elements are at first. */\n".to_owned(),
        array(prefix, "uint32_t", "state_ends", state_ends),
        state_starts,
    ];
    Ok(parts.concat())
}

/// Functions that say where the parts of a model's block are.
pub(super) fn accessors(prefix: &str, layout: &Layout) -> String {
    let one = |ty: &str, name: &str, place: &str| {
        format!("static {ty} *{prefix}_{name}({prefix} *m)\n{{\n    return {place};\n}}\n\n")
    };
    [
        one("float", "state", "m->state"),
        one("uint32_t", "recent", "m->recent"),
        one("uint32_t", "seen", "&m->seen"),
        one("float", "scratch", "m->scratch"),
        one("const float", "probabilities", &format!("m->scratch + {}", layout.probabilities)),
        one("uint32_t", "order", "m->order"),
    ]
    .concat()
}
