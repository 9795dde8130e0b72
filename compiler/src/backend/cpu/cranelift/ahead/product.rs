//! Products of a program that is compiled ahead of time: a function for each kind, which a step calls.
//!
//! By packed weights some panels are read side by side, so that as many sums are on their way as hide the latency of one: in vectors as
//! wide as an x86-64 processor has them, or in Cranelift's. A sum's order is that of the contraction. Of `int8` the weights' scales come last.

use cranelift_codegen::ir::{
    AbiParam, InstBuilder, MemFlagsData, Signature, StackSlotData, StackSlotKind, Type, Value, types,
};
use cranelift_codegen::isa::CallConv;
use cranelift_frontend::FunctionBuilder;
use cranelift_module::{Linkage, Module};

use super::super::assembly::{Assembly, WideLoop, declare};
use super::super::counted::Counted;
use super::super::math::{Functions, Math};
use crate::backend::cpu::x86::{Width, product as wide};
use crate::backend::elementary::{Emit as _, Unary};
use crate::backend::standalone;
use crate::kernel::{Format, Gemm, PANEL};

/// Elements of a vector, and vectors of a panel.
const LANES: usize = 4;
const VECTORS: usize = PANEL / LANES;

/// What a product's function is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Kind {
    /// Of a packed B; else as it lies.
    packed: Option<Format>,
    sizes: [usize; 3],
    /// As [`Gemm::steps`] says.
    steps: [usize; 4],
    c_row: usize,
    accumulate: bool,
}

impl Kind {
    pub fn of(gemm: &Gemm) -> Self {
        standalone::check_product(gemm);
        let Gemm { m, n, k, ref c, ref cpu, accumulate, .. } = *gemm;
        Self { packed: cpu.packed, sizes: [m, n, k], steps: gemm.steps(), c_row: c.stride, accumulate }
    }
}

/// The parameters of a product's function: where A, B and C begin, and how much of the contraction there is: all or nothing.
pub(super) const PARAMETERS: [Type; 4] = [types::I64; 4];

/// Panels side by side, in Cranelift's vectors.
const FEW: usize = 2;

/// Generates the body of a product's function, called `name`; returns the functions that it calls.
pub(super) fn build<M: Module>(
    assembly: &mut Assembly<'_, M>,
    name: &str,
    kind: Kind,
    b: &mut FunctionBuilder<'_>,
) -> Vec<WideLoop> {
    let start = b.create_block();
    b.append_block_params_for_function_params(start);
    b.switch_to_block(start);
    let params = b.block_params(start).to_vec();
    let [a, right, c, terms] = [params[0], params[1], params[2], params[3]];
    let (fma, width) = (assembly.fma, assembly.width);
    let mut product = Product {
        module: &mut *assembly.module,
        name,
        fma,
        width,
        b,
        kind,
        a,
        right,
        c,
        terms,
        wide: vec![],
    };
    match kind.packed {
        Some(format) => product.by_panels(format),
        None => product.plain(),
    }
    let Product { b, wide, .. } = product;
    b.ins().return_(&[]);
    wide
}

struct Product<'p, 'f> {
    module: &'p mut dyn Module,
    name: &'p str,
    b: &'p mut FunctionBuilder<'f>,
    fma: bool,
    width: Option<Width>,
    /// The functions that sum wide vectors, one for each number of panels.
    wide: Vec<WideLoop>,
    kind: Kind,
    a: Value,
    right: Value,
    c: Value,
    terms: Value,
}

impl<'f> Product<'_, 'f> {
    fn number(&mut self, value: usize) -> Value {
        self.b.ins().iconst(types::I64, value as i64)
    }

    fn math(&mut self) -> Math<'_, 'f> {
        Math { b: self.b, fma: self.fma, functions: Functions { log: None, pow: None } }
    }

    /// `base` and `index` times so many bytes.
    fn along(&mut self, base: Value, index: Value, bytes: usize) -> Value {
        let distance = self.b.ins().imul_imm_s(index, bytes as i64);
        self.b.ins().iadd(base, distance)
    }

    /// A loop over `0 .. count`.
    fn each(&mut self, count: usize, body: impl FnOnce(&mut Self, Value)) {
        if count == 0 {
            return;
        }
        let (from, to) = (self.number(0), self.number(count));
        let counted = Counted::begin(self.b, from, to, false, &[]);
        body(self, counted.index);
        counted.end(self.b, 1, to, &[]);
    }

    fn by_panels(&mut self, format: Format) {
        let [m, n, k] = self.kind.sizes;
        let bytes = 4 * format.panel_len(k);
        let (a, c) = (self.a, self.c);
        let ([a_row, ..], c_row) = (self.kind.steps, self.kind.c_row);
        self.each(m, |product, row| {
            product.a = product.along(a, row, 4 * a_row);
            product.c = product.along(c, row, 4 * c_row);
            let (whole, rest) = (n / PANEL, n % PANEL);
            let many = if product.width.is_some() { wide::MOST } else { FEW };
            product.each(whole / many, |product, group| {
                let first = product.b.ins().imul_imm_s(group, many as i64);
                product.panels(format, first, bytes, &vec![PANEL; many]);
            });
            let mut left = vec![PANEL; whole % many];
            left.extend((rest > 0).then_some(rest));
            let mut first = whole / many * many;
            for widths in left.chunks(many) {
                let at = product.number(first);
                product.panels(format, at, bytes, widths);
                first += widths.len();
            }
        });
    }

    /// The columns of some panels side by side, of which the last may be narrower.
    fn panels(&mut self, format: Format, first: Value, bytes: usize, widths: &[usize]) {
        let from = self.along(self.right, first, bytes);
        let starts: Vec<Value> =
            (0..widths.len()).map(|panel| self.b.ins().iadd_imm_s(from, (panel * bytes) as i64)).collect();
        let scales = if format == Format::Int8 { 4 * PANEL as i64 } else { 0 };
        let rows: Vec<Value> = starts.iter().map(|&start| self.b.ins().iadd_imm_s(start, scales)).collect();
        let mut sums = match self.width {
            Some(width) => self.wide_sums(width, format, rows[0], widths.len(), bytes),
            None => self.narrow_sums(format, &rows),
        };
        if format == Format::Int8 {
            for (place, sum) in sums.iter_mut().enumerate() {
                let scale = self.load(types::F32X4, starts[place / VECTORS], 16 * (place % VECTORS));
                *sum = self.b.ins().fmul(*sum, scale);
            }
        }
        let to = self.along(self.c, first, 4 * PANEL);
        for (panel, &width) in widths.iter().enumerate() {
            let to = self.b.ins().iadd_imm_s(to, (4 * PANEL * panel) as i64);
            self.store(&sums[VECTORS * panel..][..VECTORS], to, width);
        }
    }

    /// The sums of some panels' columns in wide vectors, whose rows lie from here on.
    fn wide_sums(
        &mut self,
        width: Width,
        format: Format,
        rows: Value,
        panels: usize,
        apart: usize,
    ) -> Vec<Value> {
        let name = format!("{}.{panels}", self.name);
        let known = self.wide.iter().find(|wide| wide.name == name).map(|wide| wide.id);
        let id = known.unwrap_or_else(|| {
            let mut signature = Signature::new(CallConv::SystemV);
            signature.params.extend([AbiParam::new(types::I64); 4]);
            let id = declare(&mut self.module, &name, Linkage::Local, &signature);
            let compiled = wide::sums(format, panels, apart, width);
            self.wide.push(WideLoop { id, name, compiled });
            id
        });
        let size = (4 * PANEL * panels) as u32;
        let slot = self.b.create_sized_stack_slot(StackSlotData::new(StackSlotKind::ExplicitSlot, size, 6));
        let to = self.b.ins().stack_addr(types::I64, slot, 0);
        let function = self.module.declare_func_in_func(id, self.b.func);
        self.b.ins().call(function, &[self.a, rows, self.terms, to]);
        (0..VECTORS * panels).map(|i| self.load(types::F32X4, to, 16 * i)).collect()
    }

    /// The same in Cranelift's vectors.
    fn narrow_sums(&mut self, format: Format, rows: &[Value]) -> Vec<Value> {
        let zero = self.math().splat(0.0);
        let sums = vec![zero; VECTORS * rows.len()];
        match format {
            Format::Bf16 => self.sums(rows, sums, 2, |product, at, row| product.pairs(at, row)),
            Format::F32 => self.sums(rows, sums, 1, |product, at, row| {
                let at = product.along(at, row, 4 * PANEL);
                vec![(0..VECTORS).map(|i| product.load(types::F32X4, at, 16 * i)).collect()]
            }),
            Format::TwoParts | Format::ThreeParts => panic!("internal error: a library in parts"),
            Format::Int8 => self.sums(rows, sums, 1, |product, at, row| vec![product.bytes(at, row)]),
        }
    }

    /// Sums over the contraction, so many rows of the panels at once, as `read` gives them.
    fn sums(
        &mut self,
        panels: &[Value],
        sums: Vec<Value>,
        step: usize,
        read: impl Fn(&mut Self, Value, Value) -> Vec<Vec<Value>>,
    ) -> Vec<Value> {
        let from = self.number(0);
        // A pair that is not whole is left over.
        let whole = self.b.ins().band_imm_s(self.terms, -(step as i64));
        let counted = Counted::begin(self.b, from, whole, true, &sums);
        let next = self.rounds(panels, counted.index, counted.carried.clone(), step, &read);
        let sums = counted.end(self.b, step as i64, whole, &next);
        if step == 1 || self.kind.sizes[2].is_multiple_of(step) {
            return sums;
        }
        let counted = Counted::begin(self.b, whole, self.terms, true, &sums);
        let next = self.rounds(panels, counted.index, counted.carried.clone(), 1, &read);
        counted.end(self.b, 1, self.terms, &next)
    }

    /// So many rows, from `row` on.
    fn rounds(
        &mut self,
        panels: &[Value],
        row: Value,
        mut sums: Vec<Value>,
        count: usize,
        read: &impl Fn(&mut Self, Value, Value) -> Vec<Vec<Value>>,
    ) -> Vec<Value> {
        let at = self.along(self.a, row, 4);
        let mut factors = vec![];
        for place in 0..count {
            let factor = self.load(types::F32, at, 4 * place);
            factors.push(self.b.ins().splat(types::F32X4, factor));
        }
        for (panel, &start) in panels.iter().enumerate() {
            let rows = read(self, start, row);
            for (factor, row) in factors.iter().zip(rows) {
                for (i, weight) in row.into_iter().enumerate() {
                    let sum = &mut sums[panel * VECTORS + i];
                    *sum = self.math().mul_add(*factor, weight, *sum);
                }
            }
        }
        sums
    }

    fn load(&mut self, ty: Type, at: Value, offset: usize) -> Value {
        self.b.ins().load(ty, flags(), at, offset as i32)
    }

    /// The two rows of `bf16` that lie together.
    fn pairs(&mut self, at: Value, row: Value) -> Vec<Vec<Value>> {
        let at = self.along(at, row, 2 * PANEL);
        let (mut low, mut high) = (vec![], vec![]);
        for i in 0..VECTORS {
            let pair = self.load(types::I32X4, at, 16 * i);
            let mut math = self.math();
            let pair = math.as_real(pair);
            let upper = math.unary(Unary::ShiftRight(16), pair);
            low.push(math.unary(Unary::ShiftLeft(16), pair));
            high.push(math.unary(Unary::ShiftLeft(16), upper));
        }
        vec![low, high]
    }

    /// A row of bytes, as numbers.
    fn bytes(&mut self, at: Value, row: Value) -> Vec<Value> {
        let at = self.along(at, row, PANEL);
        let bytes = self.load(types::I8X16, at, 0);
        let halves = [self.b.ins().swiden_low(bytes), self.b.ins().swiden_high(bytes)];
        let quads = halves.map(|half| [self.b.ins().swiden_low(half), self.b.ins().swiden_high(half)]);
        quads.concat().into_iter().map(|quad| self.b.ins().fcvt_from_sint(types::F32X4, quad)).collect()
    }

    /// Stores so many columns of a panel, or adds to them.
    fn store(&mut self, sums: &[Value], to: Value, width: usize) {
        if width == PANEL {
            for (i, &sum) in sums.iter().enumerate() {
                let sum = self.added(types::F32X4, sum, to, 16 * i);
                self.b.ins().store(flags(), sum, to, 16 * i as i32);
            }
            return;
        }
        for column in 0..width {
            let sum = self.b.ins().extractlane(sums[column / LANES], (column % LANES) as u8);
            let sum = self.added(types::F32, sum, to, 4 * column);
            self.b.ins().store(flags(), sum, to, 4 * column as i32);
        }
    }

    fn added(&mut self, ty: Type, sum: Value, to: Value, offset: usize) -> Value {
        if !self.kind.accumulate {
            return sum;
        }
        let before = self.load(ty, to, offset);
        self.b.ins().fadd(before, sum)
    }

    /// Element by element, by a matrix as it lies.
    fn plain(&mut self) {
        let [m, n, _] = self.kind.sizes;
        let ([a_row, a_step, b_step, b_column], c_row) = (self.kind.steps, self.kind.c_row);
        self.each(m, |product, row| {
            product.each(n, |product, column| {
                let left = product.along(product.a, row, 4 * a_row);
                let right = product.along(product.right, column, 4 * b_column);
                let to = product.along(product.c, row, 4 * c_row);
                let to = product.along(to, column, 4);
                let (from, zero) = (product.number(0), product.b.ins().f32const(0.0));
                let terms = Counted::begin(product.b, from, product.terms, true, &[zero]);
                let x = product.along(left, terms.index, 4 * a_step);
                let y = product.along(right, terms.index, 4 * b_step);
                let (x, y) = (product.load(types::F32, x, 0), product.load(types::F32, y, 0));
                let xy = product.b.ins().fmul(x, y);
                let next = product.b.ins().fadd(terms.carried[0], xy);
                let sum = terms.end(product.b, 1, product.terms, &[next])[0];
                let sum = product.added(types::F32, sum, to, 0);
                product.b.ins().store(flags(), sum, to, 0);
            });
        });
    }
}

fn flags() -> MemFlagsData {
    MemFlagsData::new().with_notrap()
}
