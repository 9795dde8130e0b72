//! Products read rounded copies of the weights that no step changes. For targets whose kernels do not round: the host makes the
//! copies, and the kernels stay as they are. What else reads a weight, such as a lookup in it, reads it as it was trained.
//!
//! Rounded is what `prepack` rounds for a CPU, in the same columns. (There, a matrix that the prologue computes can be a weight
//! too. No model has one: a matrix of the language is a parameter.)

use std::collections::{HashMap, HashSet};

use crate::kernel::{
    Address, Buffer, BufferId, BufferKind, Elem, Form, Format, Gemm, InputRole, Item, Matrix, Module,
    RoundedWeight,
};

/// The module, and the copies that the host has to make.
pub fn round_weights(mut module: Module, format: Format) -> (Module, Vec<RoundedWeight>) {
    let parameters = module.constants();
    let computed: HashSet<BufferId> = module.prologue.iter().flat_map(Item::stored).collect();
    let Module { buffers, prologue, items, .. } = &mut module;
    let mut copies = Copies { format, parameters, computed, buffers, weights: vec![], known: HashMap::new() };
    copies.items(prologue);
    copies.items(items);
    let weights = copies.weights;
    (module, weights)
}

struct Copies<'m> {
    format: Format,
    parameters: HashSet<BufferId>,
    /// What the prologue writes.
    computed: HashSet<BufferId>,
    buffers: &'m mut Vec<Buffer>,
    weights: Vec<RoundedWeight>,
    /// Places in `weights`, by the weight's buffer.
    known: HashMap<BufferId, Vec<usize>>,
}

impl Copies<'_> {
    fn items(&mut self, items: &mut [Item]) {
        for item in items {
            match item {
                Item::Loop(inner) => self.items(&mut inner.items),
                Item::Gemm(gemm) if gemm.form != Form::TN && gemm.b.at.terms.is_empty() => {
                    let weight = gemm.b.at.buffer;
                    assert!(
                        !self.computed.contains(&weight),
                        "internal error: a weight that is no parameter"
                    );
                    if self.parameters.contains(&weight) {
                        self.copy(gemm);
                    }
                }
                Item::Gemm(_)
                | Item::Kernel(_)
                | Item::Pack(_)
                | Item::Scatter(_)
                | Item::Distinct(_)
                | Item::Exchange(_) => {}
            }
        }
    }

    /// Has a product read the rounded copy of its weight.
    fn copy(&mut self, gemm: &mut Gemm) {
        let wanted = |to| RoundedWeight {
            form: gemm.form,
            k: gemm.k,
            n: gemm.n,
            from: gemm.b.clone(),
            to,
            format: self.format,
        };
        let known = self.known.entry(gemm.b.at.buffer).or_default();
        let same =
            known.iter().map(|&place| &self.weights[place]).find(|weight| **weight == wanted(weight.to));
        let (to, shape) = match same {
            Some(weight) => (weight.to, weight.shape()),
            None => {
                let to = BufferId(self.buffers.len() as u32);
                let weight = wanted(to);
                let shape = weight.shape();
                let name = format!("rounded_{}", self.buffers.len());
                // None of the model's, so without a part that bears a name.
                let kind = BufferKind::Input(InputRole::Param { parts: vec![] });
                self.buffers.push(Buffer { name, elem: Elem::Real, shape: shape.to_vec(), kind });
                known.push(self.weights.len());
                self.weights.push(weight);
                (to, shape)
            }
        };
        gemm.b = Matrix { at: Address { buffer: to, offset: 0, terms: vec![] }, stride: shape[1] };
    }
}
