//! Weights are packed once for many products: constant ones before a run's steps, others before the loop that multiplies
//! by them in every round.

use std::collections::{HashMap, HashSet};

use crate::kernel::{
    Address, Buffer, BufferId, BufferKind, Elem, Form, Format, Gemm, Item, Matrix, Module, Pack, Precision,
};
use crate::target::Target;

/// The module with packed weights; `format` is what constant ones are stored in.
pub fn prepack(mut module: Module, format: Format, target: &Target) -> Module {
    let Some(worth) = &target.prepack else { return module };
    let mut constants = module.constants();
    constants.extend(module.prologue.iter().flat_map(Item::stored));
    let (many_rows, few_rows) = (worth.many_rows, target.few_rows);
    let mut packing = Packing { constants, format, many_rows, few_rows, buffers: &mut module.buffers };
    // The prologue's own products multiply by rounded weights too. They stand for those of the runs, of one row or a few.
    let mut packs = Packs::default();
    if format != Format::F32 {
        packing.constant(&mut module.prologue, 1, &mut packs);
        for item in &mut module.prologue {
            if let Item::Gemm(gemm) = item {
                gemm.cpu.as_few = gemm.cpu.packed.is_some() && gemm.precision == Precision::F32;
            }
        }
    }
    packs.items.append(&mut module.prologue);
    let mut items = vec![];
    for mut item in std::mem::take(&mut module.items) {
        packing.constant(std::slice::from_mut(&mut item), 1, &mut packs);
        packing.before_loop(&mut item, &mut items);
        items.push(item);
    }
    module.prologue = packs.items;
    module.items = items;
    module
}

/// Items, and those among them that pack a weight, by its buffer.
#[derive(Default)]
struct Packs {
    items: Vec<Item>,
    known: HashMap<BufferId, Vec<Pack>>,
}

struct Packing<'m> {
    constants: HashSet<BufferId>,
    format: Format,
    /// As in [`crate::target::Prepack`] and [`Target`].
    many_rows: usize,
    few_rows: usize,
    buffers: &'m mut Vec<Buffer>,
}

impl Packing<'_> {
    /// Packs the constant weights of items that run `times` times a step.
    fn constant(&mut self, items: &mut [Item], times: usize, prologue: &mut Packs) {
        for item in items {
            match item {
                Item::Loop(inner) => self.constant(&mut inner.items, inner.rounds, prologue),
                Item::Gemm(gemm) => {
                    let pays = self.format != Format::F32 || times > 1 || gemm.m < self.many_rows;
                    if can_pack(gemm) && self.constants.contains(&gemm.b.at.buffer) && pays {
                        let format = self.format_for(gemm, self.format);
                        self.pack(gemm, format, prologue);
                    }
                }
                Item::Kernel(_)
                | Item::Pack(_)
                | Item::Scatter(_)
                | Item::Distinct(_)
                | Item::Exchange(_) => {}
            }
        }
    }

    /// Packs what a loop over time reads in every round and does not write.
    fn before_loop(&mut self, item: &mut Item, before: &mut Vec<Item>) {
        let written = item.stored();
        let Item::Loop(inner) = item else { return };
        if inner.rounds < 2 {
            return;
        }
        let mut packs = Packs::default();
        for item in &mut inner.items {
            if let Item::Gemm(gemm) = item
                && can_pack(gemm)
                && gemm.m > self.few_rows
                && !written.contains(&gemm.b.at.buffer)
            {
                let format = self.format_for(gemm, Format::F32);
                self.pack(gemm, format, &mut packs);
            }
        }
        before.append(&mut packs.items);
    }

    /// `usual`, unless the product asks for another.
    fn format_for(&self, gemm: &Gemm, usual: Format) -> Format {
        if gemm.precision == Precision::F32 { usual } else { gemm.precision.into() }
    }

    /// Has a product read its packed weight, which one of `packs` makes.
    fn pack(&mut self, gemm: &mut Gemm, format: Format, packs: &mut Packs) {
        let Gemm { form, k, n, ref b, .. } = *gemm;
        let wanted = |to| Pack { form, k, n, b: b.clone(), to, format };
        let known = packs.known.entry(b.at.buffer).or_default();
        let same = known.iter().map(|pack| pack.to).zip(&*known).find(|(to, pack)| **pack == wanted(*to));
        let to = same.map(|(to, _)| to).unwrap_or_else(|| {
            let to = BufferId(self.buffers.len() as u32);
            let name = format!("packed_{}", self.buffers.len());
            let shape = vec![format.packed_len(k, n)];
            self.buffers.push(Buffer { name, elem: Elem::Real, shape, kind: BufferKind::Packed });
            known.push(wanted(to));
            packs.items.push(Item::Pack(wanted(to)));
            to
        });
        gemm.cpu.packed = Some(format);
        gemm.b = Matrix { at: Address { buffer: to, offset: 0, terms: vec![] }, stride: 0 };
    }
}

fn can_pack(gemm: &Gemm) -> bool {
    gemm.cpu.packed.is_none()
        && gemm.cpu.right_sums.is_none()
        && gemm.form != Form::TN
        && gemm.b.at.terms.is_empty()
}
