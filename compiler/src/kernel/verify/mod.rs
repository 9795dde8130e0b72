//! Checks what the kernel form promises; see [`super`].

mod alias;
mod exchange;
mod nest;
mod prologue;

use std::collections::{HashMap, HashSet};

use alias::{Unknown, can_reach};
use nest::Nest;

use super::{
    Address, Buffer, BufferId, BufferKind, Distinct, Elem, Exchange, Form, Format, Gather, Gemm, Index,
    InputRole, Item, Matrix, Module, Pack, Phase, Precision, Rounds, Scatter, Time, TimeLoop, ids, stride_of,
};

/// Whether the module keeps every promise of its representation; the first one broken, if not.
///
/// The ids that the host puts in are taken to be below [`super::id_limits`].
pub fn verify(module: &Module) -> Result<(), String> {
    let mut names = HashSet::new();
    for buffer in &module.buffers {
        check_buffer(buffer).map_err(|error| format!("buffer {:?}: {error}", buffer.name))?;
        if !names.insert(&buffer.name) {
            return Err(format!("two buffers are called {:?}", buffer.name));
        }
    }
    let written = module.buffers.iter().map(|buffer| matches!(buffer.kind, BufferKind::Input(_))).collect();
    let mut verifier = Verifier {
        module,
        written,
        left_out: HashMap::new(),
        packed: HashMap::new(),
        open: Vec::new(),
        times: HashSet::new(),
        kernels: HashSet::new(),
    };
    verifier.items(&module.prologue)?;
    prologue::check(module).map_err(|error| format!("the prologue {error}"))?;
    verifier.items(&module.items)?;
    exchange::check(module)?;
    ids::check(module)
}

fn check_buffer(buffer: &Buffer) -> Result<(), String> {
    let bytes = buffer.shape.iter().try_fold(4usize, |bytes, &size| bytes.checked_mul(size));
    if bytes.is_none_or(|bytes| bytes > isize::MAX as usize) {
        return Err(format!("{:?} elements are beyond any memory", buffer.shape));
    }
    if buffer.kind == BufferKind::Packed && buffer.elem != Elem::Real {
        return Err("packed ids".into());
    }
    Ok(())
}

struct Verifier<'m> {
    module: &'m Module,
    /// Whether each buffer's contents are defined by now.
    written: Vec<bool>,
    /// Places in defined buffers that a loop has left as they were: rows and columns.
    left_out: HashMap<BufferId, Vec<(Matrix, usize, usize)>>,
    /// What each packed buffer holds: form, k, n and format.
    packed: HashMap<BufferId, (Form, usize, usize, Format)>,
    /// Enclosing time loops and their lengths.
    open: Vec<(Time, usize)>,
    times: HashSet<Time>,
    kernels: HashSet<&'m str>,
}

/// A matrix of a library call: its address, the distance between rows, rows and columns.
type Region<'a> = (&'a Matrix, usize, usize);

impl<'m> Verifier<'m> {
    fn items(&mut self, items: &'m [Item]) -> Result<(), String> {
        for item in items {
            match item {
                Item::Kernel(kernel) => {
                    if !self.kernels.insert(&kernel.name) {
                        return Err(format!("two kernels are called {:?}", kernel.name));
                    }
                    Nest::check(self.module, kernel, &self.open, &mut self.written)
                        .map_err(|error| format!("kernel {:?}: {error}", kernel.name))?;
                }
                Item::Gemm(gemm) => self.gemm(gemm).map_err(|error| format!("{gemm}: {error}"))?,
                Item::Pack(pack) => self.pack(pack).map_err(|error| format!("{pack}: {error}"))?,
                Item::Scatter(scatter) => {
                    self.scatter(scatter).map_err(|error| format!("{scatter}: {error}"))?;
                }
                Item::Distinct(distinct) => {
                    self.distinct(distinct).map_err(|error| format!("{distinct}: {error}"))?;
                }
                Item::Exchange(exchange) => {
                    self.exchange(exchange).map_err(|error| format!("{exchange}: {error}"))?;
                }
                Item::Loop(inner) => self.time_loop(inner)?,
            }
        }
        Ok(())
    }

    fn time_loop(&mut self, inner: &'m TimeLoop) -> Result<(), String> {
        if !self.times.insert(inner.time) {
            return Err(format!("two loops over {}", inner.time));
        }
        self.open.push((inner.time, inner.rounds));
        self.items(&inner.items)?;
        self.open.pop();
        let products = inner.items.iter().filter_map(|item| match item {
            Item::Gemm(gemm) if gemm.rounds == Rounds::BeforeLast => Some(gemm),
            _ => None,
        });
        products.for_each(|gemm| self.leave_out(gemm, inner));
        Ok(())
    }

    /// After a loop, what a product that leaves out the last round would have written in it is undefined.
    fn leave_out(&mut self, gemm: &Gemm, inner: &TimeLoop) {
        let time = Index::Time(inner.time);
        let apart = stride_of(&gemm.c.at.terms, time);
        if apart == 0 {
            self.written[gemm.c.at.buffer.0 as usize] = false;
            return;
        }
        // What it wrote in the other rounds is defined.
        let mut last = gemm.c.clone();
        last.at.offset += apart * if inner.reverse { 0 } else { inner.rounds.saturating_sub(1) };
        last.at.terms.retain(|&(index, _)| index != time);
        self.left_out.entry(gemm.c.at.buffer).or_default().push((last, gemm.m, gemm.n));
    }

    fn gemm(&mut self, gemm: &Gemm) -> Result<(), String> {
        let (m, n, k) = (gemm.m, gemm.n, gemm.k);
        words(&[m, n, k, gemm.a.stride, gemm.b.stride, gemm.c.stride])?;
        let (a_rows, a_columns) = if gemm.form == Form::TN { (k, m) } else { (m, k) };
        let (b_rows, b_columns) = if gemm.form == Form::NT { (n, k) } else { (k, n) };
        let a = (&gemm.a, a_rows, a_columns);
        let b = (&gemm.b, b_rows, b_columns);
        let c = (&gemm.c, gemm.parts * m, n);
        self.read(a)?;
        let rounded = !matches!(gemm.precision, Precision::F32 | Precision::Tf32);
        if rounded && gemm.cpu.packed.is_some_and(|format| format != gemm.precision.into()) {
            return Err("the packed operand has another precision than the product".into());
        }
        match gemm.cpu.packed {
            Some(format) => self.packed_operand(gemm, format)?,
            None => self.read(b)?,
        }
        let plain = gemm.prefix.is_none() && !gemm.has_fused_sums();
        let is_cut = gemm.parts != 1;
        if is_cut && (!plain || gemm.cpu.packed.is_some() || gemm.accumulate || gemm.parts == 0) {
            return Err("only a product that does nothing else is cut into parts".into());
        }
        if gemm.rounds != Rounds::All && (self.open.is_empty() || !plain) {
            return Err(
                "a product that is left out in a round and is in no loop, or makes more than C".into()
            );
        }
        if gemm.cpu.alternating && (self.open.is_empty() || !gemm.can_alternate()) {
            return Err("an alternating product is in no loop, or does not just read its right side".into());
        }
        if gemm.cpu.as_few && (gemm.cpu.packed.is_none() || gemm.precision != Precision::F32) {
            return Err(
                "a product as of few rows rounds its left side, or its right side is not packed".into()
            );
        }
        if gemm.accumulate {
            self.read(c)?;
        }
        if let Some(at) = &gemm.prefix {
            self.ids(at, 1)?;
        }
        self.write(c)?;
        if self.meet(c, a) || (gemm.cpu.packed.is_none() && self.meet(c, b)) {
            return Err("the result overlaps an operand".into());
        }
        self.fused_sums(gemm, [a, b, c])
    }

    /// `others` are A, B and C.
    fn fused_sums(&mut self, gemm: &Gemm, others: [Region<'_>; 3]) -> Result<(), String> {
        let as_it_lies = gemm.cpu.packed.is_none() && gemm.precision == Precision::F32;
        if gemm.cpu.right_sums.is_some() && (gemm.form == Form::NT || !as_it_lies || gemm.prefix.is_some()) {
            return Err("sums of a right side that is not read as it lies".into());
        }
        if gemm.cpu.squares.is_some() && gemm.prefix.is_some() {
            return Err("squares of a result of which some rows are left out".into());
        }
        let rows: Vec<Matrix> =
            gemm.fused_sums().map(|at| Matrix { at: at.clone(), stride: gemm.n }).collect();
        for (place, row) in rows.iter().enumerate() {
            let sums = (row, 1, gemm.n);
            self.write(sums)?;
            let meets = |other: Region<'_>| self.meet(sums, other);
            let packed = |place: usize| place == 1 && gemm.cpu.packed.is_some();
            if (0..3).any(|at| !packed(at) && meets(others[at]))
                || rows[..place].iter().any(|other| meets((other, 1, gemm.n)))
            {
                return Err("the sums overlap the result or an operand".into());
            }
        }
        Ok(())
    }

    fn packed_operand(&self, gemm: &Gemm, format: Format) -> Result<(), String> {
        let at = &gemm.b.at;
        if at.offset != 0 || !at.terms.is_empty() {
            return Err("a packed operand starts where its buffer does".into());
        }
        let buffer = buffer(self.module, at.buffer)?;
        match self.packed.get(&at.buffer) {
            Some(&packed) if packed == (gemm.form, gemm.k, gemm.n, format) => Ok(()),
            Some(_) => Err(format!("{:?} was packed for another product", buffer.name)),
            None => Err(format!("{:?} was not packed before", buffer.name)),
        }
    }

    fn pack(&mut self, pack: &Pack) -> Result<(), String> {
        words(&[pack.k, pack.n, pack.b.stride])?;
        let (rows, columns) = match pack.form {
            Form::NN => (pack.k, pack.n),
            Form::NT => (pack.n, pack.k),
            Form::TN => return Err("only nn and nt are packed".into()),
        };
        self.read((&pack.b, rows, columns))?;
        let to = buffer(self.module, pack.to)?;
        if to.kind != BufferKind::Packed {
            return Err(format!("{:?} is not a packed buffer", to.name));
        }
        if to.len() < pack.format.packed_len(pack.k, pack.n) {
            return Err(format!("{:?} is too short", to.name));
        }
        self.written[pack.to.0 as usize] = true;
        self.packed.insert(pack.to, (pack.form, pack.k, pack.n, pack.format));
        Ok(())
    }

    fn scatter(&mut self, scatter: &Scatter) -> Result<(), String> {
        let Scatter { gather, ids, count, g, table, rows, n } = scatter;
        words(&[*count, *rows, *n, g.stride])?;
        self.read((g, *count, *n))?;
        self.ids(ids, *count)?;
        let at = Address { buffer: *table, offset: 0, terms: Vec::new() };
        if *gather == Gather::Add {
            self.defined(*table)?;
        }
        self.write((&Matrix { at, stride: *n }, scatter.table_rows(), *n))?;
        if g.at.buffer == *table {
            return Err("the table overlaps an operand".into());
        }
        Ok(())
    }

    fn distinct(&mut self, distinct: &Distinct) -> Result<(), String> {
        words(&[distinct.len, distinct.rows])?;
        self.ids(&distinct.ids, distinct.len)?;
        let results = distinct.results();
        let present = distinct.inverse.map(|[_, present]| present);
        for (at, &(id, len)) in results.iter().enumerate() {
            let to = buffer(self.module, id)?;
            let elem = if present == Some(id) { Elem::Real } else { Elem::Id };
            if to.elem != elem || to.kind != BufferKind::Temp {
                return Err(format!("{:?} is not a temporary of its kind", to.name));
            }
            if id == distinct.ids.buffer || results[..at].iter().any(|&(other, _)| other == id) {
                return Err(format!("{:?} is written and also something else", to.name));
            }
            if to.len() != len {
                return Err(format!("{:?} has {} elements instead of {len}", to.name, to.len()));
            }
            self.written[id.0 as usize] = true;
        }
        Ok(())
    }

    /// What is summed is there by now, and the sums are in the end.
    fn exchange(&mut self, exchange: &Exchange) -> Result<(), String> {
        for sum in &exchange.sums {
            words(&[sum.rows, sum.n])?;
            buffer(self.module, sum.from.buffer)?;
            buffer(self.module, sum.to)?;
            self.defined(sum.from.buffer)?;
            self.written[sum.to.0 as usize] |= exchange.phase == Phase::Finish;
        }
        Ok(())
    }

    /// `count` ids from an address on are there.
    fn ids(&self, at: &Address, count: usize) -> Result<(), String> {
        let ids = buffer(self.module, at.buffer)?;
        if ids.elem != Elem::Id {
            return Err(format!("{:?} holds no ids", ids.name));
        }
        self.bounds(at, count.saturating_sub(1))?;
        self.defined(at.buffer)
    }

    fn read(&self, region: Region<'_>) -> Result<(), String> {
        self.region(region)?;
        let meets =
            |(place, rows, columns): &(Matrix, usize, usize)| self.meet((place, *rows, *columns), region);
        if self.left_out.get(&region.0.at.buffer).is_some_and(|places| places.iter().any(meets)) {
            return Err(self.undefined(region.0.at.buffer));
        }
        self.defined(region.0.at.buffer)
    }

    fn write(&mut self, region: Region<'_>) -> Result<(), String> {
        self.region(region)?;
        let id = region.0.at.buffer;
        writable(buffer(self.module, id)?)?;
        self.written[id.0 as usize] = true;
        Ok(())
    }

    fn defined(&self, id: BufferId) -> Result<(), String> {
        if self.written[id.0 as usize] { Ok(()) } else { Err(self.undefined(id)) }
    }

    fn undefined(&self, id: BufferId) -> String {
        format!("{:?} is read before it is written", self.module.buffer(id).name)
    }

    /// Elements are reals, rows do not overlap, and all lie inside the buffer.
    fn region(&self, (matrix, rows, columns): Region<'_>) -> Result<(), String> {
        let buffer = buffer(self.module, matrix.at.buffer)?;
        if buffer.elem != Elem::Real || buffer.kind == BufferKind::Packed {
            return Err(format!("{:?} is not a matrix of reals", buffer.name));
        }
        if rows == 0 || columns == 0 {
            return Err("an empty matrix".into());
        }
        if rows > 1 && matrix.stride < columns {
            return Err(format!(
                "rows of {columns} elements lie {} apart in {:?}",
                matrix.stride, buffer.name
            ));
        }
        let last = (rows - 1).saturating_mul(matrix.stride).saturating_add(columns - 1);
        self.bounds(&matrix.at, last)
    }

    /// The address, at each time's end, and `further` elements behind it lie in the buffer.
    fn bounds(&self, at: &Address, further: usize) -> Result<(), String> {
        let buffer = buffer(self.module, at.buffer)?;
        let mut last = at.offset.saturating_add(further);
        for &(index, stride) in &at.terms {
            let open = self.open.iter().find(|&&(time, _)| index == Index::Time(time));
            let &(_, rounds) = open.ok_or_else(|| format!("{index} has no meaning here"))?;
            last = last.saturating_add(rounds.saturating_sub(1).saturating_mul(stride));
        }
        inside(buffer, last)
    }

    /// Whether two matrices of one item share an element in the same round.
    fn meet(&self, left: Region<'_>, right: Region<'_>) -> bool {
        if left.0.at.buffer != right.0.at.buffer {
            return false;
        }
        let mut unknowns = Vec::new();
        for (sign, (matrix, rows, columns)) in [(1, left), (-1, right)] {
            unknowns.push(unknown(sign * matrix.stride as i64, rows));
            unknowns.push(unknown(sign, columns));
        }
        for &(time, rounds) in &self.open {
            let stride = |matrix: &Matrix| stride_of(&matrix.at.terms, Index::Time(time)) as i64;
            unknowns.push(unknown(stride(left.0) - stride(right.0), rounds));
        }
        can_reach(&unknowns, right.0.at.offset as i64 - left.0.at.offset as i64)
    }
}

/// `coefficient` times an index below `extent`.
fn unknown(coefficient: i64, extent: usize) -> Unknown {
    Unknown { coefficient, low: 0, high: extent as i64 - 1 }
}

fn buffer(module: &Module, id: BufferId) -> Result<&Buffer, String> {
    module.buffers.get(id.0 as usize).ok_or_else(|| format!("there is no buffer {id}"))
}

fn inside(buffer: &Buffer, last: usize) -> Result<(), String> {
    if last < buffer.len() {
        return Ok(());
    }
    Err(format!("element {last} of {:?}, which has {}", buffer.name, buffer.len()))
}

/// Inputs that the host fills anew for each step are left alone.
fn writable(buffer: &Buffer) -> Result<(), String> {
    match &buffer.kind {
        BufferKind::Input(
            InputRole::Param { .. } | InputRole::OptimizerState { .. } | InputRole::Carried { .. },
        )
        | BufferKind::Output(_)
        | BufferKind::Temp => Ok(()),
        BufferKind::Input(_) => Err(format!("{:?} belongs to the host", buffer.name)),
        BufferKind::Packed => Err(format!("{:?} is written other than by packing", buffer.name)),
    }
}

/// Library calls take their sizes as 32-bit words.
fn words(sizes: &[usize]) -> Result<(), String> {
    match sizes.iter().find(|&&size| u32::try_from(size).is_err()) {
        Some(size) => Err(format!("{size} does not fit in 32 bits")),
        None => Ok(()),
    }
}
