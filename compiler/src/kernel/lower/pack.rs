//! Recurrent weights are packed once, before the loop that multiplies by them at every step.

use std::collections::HashSet;

use crate::kernel::{
    Address, Buffer, BufferId, BufferKind, Elem, Form, Gemm, Item, Matrix, Module, Pack, TimeLoop, packed_len,
};

/// Fewer rows than this stream the weight as it lies: packing would cost more than it saves.
const MIN_ROWS: usize = 5;

pub(super) fn pack_weights(module: &mut Module) {
    let mut items = vec![];
    for item in std::mem::take(&mut module.items) {
        let Item::Loop(mut inner) = item else {
            items.push(item);
            continue;
        };
        let mut packs = vec![];
        pack_in(&mut inner, &mut module.buffers, &mut packs);
        items.extend(packs.into_iter().map(Item::Pack));
        items.push(Item::Loop(inner));
    }
    module.items = items;
}

fn pack_in(time_loop: &mut TimeLoop, buffers: &mut Vec<Buffer>, packs: &mut Vec<Pack>) {
    let written = written(&time_loop.items);
    if time_loop.steps < 2 {
        return;
    }
    for item in &mut time_loop.items {
        let Item::Gemm(gemm) = item else { continue };
        let steady = gemm.b.at.terms.is_empty() && !written.contains(&gemm.b.at.buffer);
        if gemm.form == Form::TN || gemm.m < MIN_ROWS || !steady {
            continue;
        }
        let same =
            |pack: &&Pack| pack.form == gemm.form && pack.b == gemm.b && (pack.k, pack.n) == (gemm.k, gemm.n);
        let to = match packs.iter().find(same) {
            Some(pack) => pack.to,
            None => {
                let to = BufferId(buffers.len() as u32);
                let name = format!("packed_{}", buffers.len());
                let shape = vec![packed_len(gemm.k, gemm.n)];
                buffers.push(Buffer { name, elem: Elem::Real, shape, kind: BufferKind::Packed });
                packs.push(Pack { form: gemm.form, k: gemm.k, n: gemm.n, b: gemm.b.clone(), to });
                to
            }
        };
        read_packed(gemm, to);
    }
}

fn read_packed(gemm: &mut Gemm, from: BufferId) {
    gemm.packed = true;
    gemm.b = Matrix { at: Address { buffer: from, offset: 0, terms: vec![] }, stride: 0 };
}

/// The buffers that items write.
fn written(items: &[Item]) -> HashSet<BufferId> {
    let mut found = HashSet::new();
    for item in items {
        match item {
            Item::Kernel(kernel) => found.extend(kernel.stored()),
            Item::Gemm(gemm) => {
                found.insert(gemm.c.at.buffer);
            }
            Item::Pack(pack) => {
                found.insert(pack.to);
            }
            Item::Scatter(scatter) => {
                found.insert(scatter.table);
            }
            Item::Loop(inner) => found.extend(written(&inner.items)),
        }
    }
    found
}
