//! Split-K: products with the contraction split into parts, each with a result of its own. What reads the result adds up the
//! parts, in order: it never lies in memory as such.
//!
//! **On a CPU** ([`SplitK::FewRows`]) products of few rows by a weight that the step changes. Such a product takes as long as
//! reading the weight, and so does each of the others that a training step does with it: the product by its transpose, whose
//! columns are the weight's rows, and the update, which goes by rows. With a part of the rows each in the forward product too, a
//! worker works with the same rows throughout, and finds them in its own caches. And it multiplies those rows by elements of A
//! that it has computed itself, where they are computed one by one, so that it need not wait for the others. In a time loop the
//! parts of each round have a place of their own: no worker waits until all have read what another round has left.
//!
//! **On a GPU** ([`SplitK::FewTiles`]) products outside time loops whose result has fewer tiles than there are multiprocessors,
//! and whose contraction is long: the gradient of what goes into a layer of many logits, say. Each part is as many tiles more.

use std::collections::{HashMap, HashSet};

use crate::kernel::{
    Address, BufferId, BufferKind, Expr, Fold, For, Form, Gemm, Index, InputRole, Item, Kernel, Module,
    Precision, Stmt, Time, Var, each_stmt,
};
use crate::scalar::Scalar;
use crate::target::{SplitK, Target};

/// The module with these products in parts.
pub fn split_k(mut module: Module, target: &Target) -> Module {
    let Some(worth) = &target.split_k else { return module };
    let search = Search { module: &module, uses: Uses::of(&module.items), worth, few_rows: target.few_rows };
    let parted = search.found(&module.items, None);
    for (id, own) in &parted {
        let buffer = &mut module.buffers[id.0 as usize];
        let rounds = own.around.map(|(_, rounds)| rounds);
        buffer.shape =
            rounds.into_iter().chain([own.parts]).chain(std::mem::take(&mut buffer.shape)).collect();
        // What the product is called where it lies whole.
        for form in ["matmul_nn", "matmul_nt", "matmul_tn"] {
            buffer.name = buffer.name.replacen(form, "parts", 1);
        }
    }
    rewrite(&mut module.items, &parted);
    module
}

/// The time loop around an item, and its rounds.
type Around = Option<(Time, usize)>;

/// A product's result that is to lie in parts.
struct Parted {
    parts: usize,
    /// Elements of a part.
    len: usize,
    around: Around,
}

impl Parted {
    /// Where a part of an element lies.
    fn part(&self, at: &Address, part: usize) -> Address {
        let mut at = at.clone();
        at.offset += part * self.len;
        if let Some((time, _)) = self.around {
            at.terms.insert(0, (Index::Time(time), self.parts * self.len));
        }
        at
    }
}

/// The search for products that are worth cutting.
struct Search<'m> {
    module: &'m Module,
    uses: Uses,
    worth: &'m SplitK,
    few_rows: usize,
}

impl Search<'_> {
    /// These products, by the buffer of their result.
    fn found(&self, items: &[Item], around: Around) -> HashMap<BufferId, Parted> {
        let mut found = HashMap::new();
        for item in items {
            match item {
                Item::Gemm(gemm) => {
                    let parts = self.worth.parts([gemm.m, gemm.n, gemm.k]);
                    if parts > 1
                        && self.can_be_cut(gemm, around)
                        && self.is_worth_cutting(gemm, parts, around)
                    {
                        found.insert(gemm.c.at.buffer, Parted { parts, len: gemm.m * gemm.n, around });
                    }
                }
                Item::Loop(inner) => {
                    found.extend(self.found(&inner.items, Some((inner.time, inner.rounds))));
                }
                _ => {}
            }
        }
        found
    }

    /// Whether a product does nothing else, and all that reads its result can add up parts.
    fn can_be_cut(&self, gemm: &Gemm, around: Around) -> bool {
        let plain = gemm.parts == 1
            && gemm.cpu.packed.is_none()
            && gemm.prefix.is_none()
            && !gemm.accumulate
            && !gemm.has_fused_sums();
        let (id, result) = (gemm.c.at.buffer, self.module.buffer(gemm.c.at.buffer));
        plain
            && result.kind == BufferKind::Temp
            && result.len() == gemm.m * gemm.n
            && is_start(&gemm.c.at)
            && self.uses.writers.get(&id) == Some(&1)
            && self.uses.by_element(id, around.map(|(time, _)| time))
    }

    fn is_worth_cutting(&self, gemm: &Gemm, parts: usize, around: Around) -> bool {
        if matches!(self.worth, SplitK::FewTiles { .. }) {
            return around.is_none();
        }
        let Gemm { form, m, n, k, b, .. } = gemm;
        let rounds = around.map_or(1, |(_, rounds)| rounds);
        // The parts of all rounds are no larger than the weight.
        let are_small = rounds * parts * m <= *k;
        let weight = self.module.buffer(b.at.buffer);
        let is_updated = matches!(weight.kind, BufferKind::Input(InputRole::Param { .. }))
            && weight.shape == [*k, *n]
            && is_start(&b.at)
            && self.uses.writers.contains_key(&b.at.buffer);
        let as_it_lies = (*form, gemm.precision) == (Form::NN, Precision::F32);
        as_it_lies && *m <= self.few_rows && are_small && is_updated
    }
}

fn is_start(at: &Address) -> bool {
    at.offset == 0 && at.terms.is_empty()
}

/// Who uses each buffer, and how.
#[derive(Default)]
struct Uses {
    /// How many items write it.
    writers: HashMap<BufferId, usize>,
    /// What is read as a whole, or copied as it is: to add up its parts first would be one more pass over it.
    whole: HashSet<BufferId>,
    /// The loops in which a kernel reads elements of it, `None` outside.
    regions: HashMap<BufferId, HashSet<Option<Time>>>,
    /// What loops read of which other elements in each round.
    sliced: HashSet<BufferId>,
}

impl Uses {
    fn of(items: &[Item]) -> Self {
        let mut uses = Self::default();
        uses.walk(items, None);
        uses
    }

    fn walk(&mut self, items: &[Item], around: Option<Time>) {
        for item in items {
            if let Item::Loop(inner) = item {
                self.walk(&inner.items, Some(inner.time));
                continue;
            }
            for id in item.stored() {
                *self.writers.entry(id).or_default() += 1;
            }
            match item {
                Item::Kernel(kernel) => self.kernel(kernel, around),
                _ => self.whole.extend(item.loaded()),
            }
        }
    }

    fn kernel(&mut self, kernel: &Kernel, around: Option<Time>) {
        let (mut lets, mut loads) = (0, vec![]);
        each_stmt(&kernel.body, &mut |stmt| {
            lets += usize::from(matches!(stmt, Stmt::Let { .. }));
            if let Stmt::Let { expr: Expr::Load(at) | Expr::LoadId(at), .. } = stmt {
                loads.push(at);
            }
        });
        for at in &loads {
            let by_round =
                around.is_some_and(|time| at.terms.iter().any(|&(index, _)| index == Index::Time(time)));
            match by_round {
                true => _ = self.sliced.insert(at.buffer),
                false => _ = self.regions.entry(at.buffer).or_default().insert(around),
            }
        }
        if lets == 1 {
            self.whole.extend(loads.iter().map(|at| at.buffer));
        }
    }

    /// Whether only kernels read a buffer, and only in the region in which it is written, or in a loop after it that reads
    /// other elements in each round.
    fn by_element(&self, id: BufferId, written_in: Option<Time>) -> bool {
        let here = self.regions.get(&id).is_none_or(|regions| regions.iter().all(|&at| at == written_in));
        !self.whole.contains(&id) && here && (written_in.is_none() || !self.sliced.contains(&id))
    }
}

fn rewrite(items: &mut [Item], parted: &HashMap<BufferId, Parted>) {
    for item in items {
        match item {
            Item::Gemm(gemm) => {
                if let Some(own) = parted.get(&gemm.c.at.buffer) {
                    gemm.parts = own.parts;
                    gemm.c.at = own.part(&gemm.c.at, 0);
                }
            }
            Item::Kernel(kernel) => add_up(kernel, parted),
            Item::Loop(inner) => rewrite(&mut inner.items, parted),
            Item::Pack(_) | Item::Scatter(_) | Item::Distinct(_) | Item::Exchange(_) => {}
        }
    }
}

/// Has a kernel add up the parts that it reads.
fn add_up(kernel: &mut Kernel, parted: &HashMap<BufferId, Parted>) {
    let mut sums = vec![];
    each_stmt(&kernel.body, &mut |stmt| {
        if let Stmt::Let { var, expr: Expr::Load(at) } = stmt
            && let Some(own) = parted.get(&at.buffer)
        {
            sums.push((var.0, 2 * (own.parts as u32 - 1)));
        }
    });
    if sums.is_empty() {
        return;
    }
    sums.sort_unstable();
    let adder = Adder { parted, sums };
    kernel.body = adder.block(std::mem::take(&mut kernel.body));
}

struct Adder<'c> {
    parted: &'c HashMap<BufferId, Parted>,
    /// The variables that become sums, in order, and how many variables each takes beside its own.
    sums: Vec<(u32, u32)>,
}

impl Adder<'_> {
    /// What a variable is called now: those of sums come between.
    fn var(&self, var: Var) -> Var {
        let before = self.sums.iter().take_while(|(sum, _)| *sum <= var.0);
        Var(var.0 + before.map(|(_, more)| more).sum::<u32>())
    }

    fn block(&self, stmts: Vec<Stmt>) -> Vec<Stmt> {
        let mut block = vec![];
        for stmt in stmts {
            match stmt {
                Stmt::Let { var, expr } => match &expr {
                    Expr::Load(at) if self.parted.contains_key(&at.buffer) => {
                        self.sum(var, &self.address(at.clone()), &mut block);
                    }
                    _ => block.push(Stmt::Let { var: self.var(var), expr: self.expr(expr) }),
                },
                Stmt::Store { to, value } => {
                    block.push(Stmt::Store { to: self.address(to), value: self.var(value) });
                }
                Stmt::For(inner) => {
                    let fold = |fold: &Fold| Fold {
                        var: self.var(fold.var),
                        kind: fold.kind,
                        value: self.var(fold.value),
                    };
                    let folds = inner.folds.iter().map(fold).collect();
                    block.push(Stmt::For(For { folds, body: self.block(inner.body), ..inner }));
                }
            }
        }
        block
    }

    /// The sum of an element's parts, in order.
    fn sum(&self, var: Var, at: &Address, block: &mut Vec<Stmt>) {
        let own = &self.parted[&at.buffer];
        let first = self.var(var).0 - 2 * (own.parts as u32 - 1);
        let load = |part| Expr::Load(own.part(at, part));
        block.push(Stmt::Let { var: Var(first), expr: load(0) });
        for part in 1..own.parts {
            let sum = first + 2 * part as u32;
            block.push(Stmt::Let { var: Var(sum - 1), expr: load(part) });
            let expr = Expr::Map(Scalar::Add, vec![Var(sum - 2), Var(sum - 1)]);
            block.push(Stmt::Let { var: Var(sum), expr });
        }
    }

    fn expr(&self, expr: Expr) -> Expr {
        match expr {
            Expr::Load(at) => Expr::Load(self.address(at)),
            Expr::LoadId(at) => Expr::LoadId(self.address(at)),
            Expr::Map(scalar, args) => Expr::Map(scalar, args.into_iter().map(|arg| self.var(arg)).collect()),
            Expr::Number(id) => Expr::Number(self.var(id)),
            Expr::Random { stream, offset, terms, shard } => {
                Expr::Random { stream, offset, terms: self.terms(terms), shard }
            }
            Expr::Const(_) | Expr::Position(_) => expr,
        }
    }

    fn address(&self, at: Address) -> Address {
        Address { terms: self.terms(at.terms), ..at }
    }

    fn terms(&self, terms: Vec<(Index, usize)>) -> Vec<(Index, usize)> {
        let index = |index| match index {
            Index::Id(id) => Index::Id(self.var(id)),
            other => other,
        };
        terms.into_iter().map(|(at, stride)| (index(at), stride)).collect()
    }
}
