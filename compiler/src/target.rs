//! What a machine can do, and what is worth doing on it: every number by which a stage between the model and a back end decides.
//!
//! A [`Target`] is made once and passed to those stages, as a compiler passes its description of an instruction set. What is
//! `None` is not done. A stage that asks nothing of it does the same for every machine.
//!
//! Lowering to kernels asks for [`Target::fusion`] only, which says how far every target's loop nests go. What else a target
//! wants is a pass of its own in its list in `crate::pipeline`, which this says whether and where to do.
//!
//! **What fixes bits.** Results must not depend on the number of workers, so nothing that decides in which order a sum is
//! taken may: [`SplitK`] is made for as many workers as gain most from it, and is the same for any number. Of the
//! other fields [`Target::few_rows`], [`Target::split_k`], [`Target::fused_sums`], [`Target::column_sums`],
//! [`Target::alternate`], [`Target::library`] and [`Target::fusion`] decide such an order too: another target may give other
//! bits. So none of these follows from the caches of a machine, even where caches are what it is about; what does is
//! [`Ranges::shared_weight`], by which a plan is cut one way or the other.

use crate::scalar::Precision;

/// Columns of a panel of a packed weight, and of the parts that a contraction is cut into; the same on every CPU, so that
/// memory plans are too.
pub const PANEL: usize = 16;

/// On a CPU, column ranges start at multiples of this many elements, so that no two workers write one cache line or panel.
pub const COLUMN_GRAIN: usize = PANEL;

/// On a CPU, a product of up to so many rows of A is computed without laying B out or going over it in blocks.
pub const FEW_ROWS: usize = 4;

/// On a CPU, buffers start at multiples of this many bytes: a cache line, and the widest vector.
pub const ALIGNMENT: usize = 64;

/// What machine code is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Processor {
    /// The processor that this runs on.
    Cpu,
    Nvidia(Nvidia),
}

/// An NVIDIA GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nvidia {
    /// Its compute capability: `90` for `sm_90`.
    pub sm: u32,
    /// Streaming multiprocessors: CTAs that wait for each other are one on each at most.
    pub multiprocessors: usize,
}

impl Nvidia {
    /// An A100.
    pub const SM_80: Self = Self { sm: 80, multiprocessors: 108 };
    /// An H100.
    pub const SM_90: Self = Self { sm: 90, multiprocessors: 132 };

    /// Bytes of shared memory that a CTA can have (CUDA C++ programming guide, technical specifications per compute capability).
    pub fn shared_bytes(self) -> usize {
        let kib = match self.sm {
            80 | 87 => 163,
            81..90 => 99,
            90..=110 => 227,
            _ => 99,
        };
        kib << 10
    }

    /// So many tiles of a product keep about every multiprocessor of any GPU busy. It decides how contractions are cut, and so
    /// does not depend on how many there are.
    pub const ENOUGH_TILES: usize = 96;
}

/// A machine as the stages see it.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// Which list of kernel passes and which back end there are for it.
    pub processor: Processor,
    /// How products are computed where the model does not say.
    pub precision: Precision,
    /// Whether it multiplies tf32 faster than f32.
    pub tf32: bool,
    /// Whether it multiplies numbers in parts of bf16, as bf16x3 and bf16x6 do, faster than f32.
    pub bf16_parts: bool,
    /// How many workers a plan is cut for, at least 1. It decides who computes what, and no result.
    pub workers: usize,
    /// Elements of the narrowest vector. With 1, no loop is marked to run in lanes.
    pub lanes: usize,
    /// Columns are cut at multiples of this many elements.
    pub column_grain: usize,
    /// A product of up to so many rows of A takes as long as reading B: it gains nothing from a B that is rounded, laid out or
    /// copied block by block.
    pub few_rows: usize,
    pub distinct_rows: Option<DistinctRows>,
    /// From how many rows of a table for each row that is looked up on only those rows are updated.
    pub sparse_rows: Option<usize>,
    pub fusion: Fusion,
    /// From how many elements on a matrix is summed over its rows by a product: smaller ones stay in the caches while a loop
    /// nest walks them.
    pub column_sums: Option<usize>,
    pub fused_sums: Option<FusedSums>,
    pub split_k: Option<SplitK>,
    pub library: Option<LibraryProducts>,
    pub prepack: Option<Prepack>,
    pub alternate: Option<Alternate>,
    /// Where sums over shards are made beside other work: so many bytes are worth an exchange of their own. With none there are no
    /// shards.
    pub exchange: Option<usize>,
    pub memory: Memory,
    pub partition: Partition,
}

/// When rows of a table that are looked up often are multiplied once.
#[derive(Clone, Debug, PartialEq)]
pub struct DistinctRows {
    /// A product of fewer rows is about as fast as its right side is read.
    pub min_ids: usize,
    /// Of narrower rows a product costs no more than to add the rows' gradients up by id.
    pub min_width: usize,
    /// So many ids for each row of the table make it likely that most rows are among them.
    pub all_rows: usize,
    /// Several runs that look up one of so many rows each take as long to read the weight as it takes to multiply all rows by
    /// it: in the time that memory takes to deliver a weight, some ten products of it by rows of a table are computed.
    pub rows_a_run: usize,
}

/// How far loop nests go. Every number is right for every target, and some are faster.
#[derive(Clone, Debug, PartialEq)]
pub struct Fusion {
    /// A sum of up to so many outer products costs less where it is read than to write it to memory and to read it there.
    pub few_outer: usize,
    /// A nest does at most so many reductions one after the other: for each it passes over the columns once more, and computes
    /// again there what the passes before have computed of the columns and did not leave in memory.
    pub max_levels: usize,
}

/// Which products make sums beside their results.
#[derive(Clone, Debug, PartialEq)]
pub struct FusedSums {
    /// A product of fewer rows is done as soon as it has read its right side, and does not lay it out.
    pub min_rows: usize,
    /// A smaller result is cheap to read again.
    pub min_elements: usize,
}

/// Which contractions are cut into parts. How many fixes the result's bits: it depends on sizes, and on no number of workers
/// or multiprocessors.
#[derive(Clone, Debug, PartialEq)]
pub enum SplitK {
    /// Products of few rows by a weight that the step changes.
    FewRows {
        /// As many as the workers that gain most: more parts are more to hand on and to add up, and with more workers a
        /// product is cut by columns.
        parts: usize,
        /// Shorter contractions are not worth adding up parts.
        min_contraction: usize,
    },
    /// Products outside time loops whose results have few tiles.
    FewTiles {
        /// Rows and columns of the largest tile, and of the smallest, which narrow results have.
        largest: usize,
        smallest: usize,
        /// There are as many parts as make so many tiles.
        enough: usize,
        /// Of a shorter part, what is multiplied costs less to read than its result to write and to read.
        min_part: usize,
        most: usize,
    },
}

impl SplitK {
    /// Into how many parts the contraction of a product of these `m`, `n` and `k` is cut.
    pub fn parts(&self, [m, n, k]: [usize; 3]) -> usize {
        match *self {
            SplitK::FewRows { parts, min_contraction } => {
                if k < min_contraction {
                    1
                } else {
                    parts
                }
            }
            SplitK::FewTiles { largest, smallest, enough, min_part, most } => {
                let tile = m.min(n).next_power_of_two().clamp(smallest, largest);
                let tiles = m.div_ceil(tile) * n.div_ceil(tile);
                enough.div_ceil(tiles.max(1)).min(most).min(k / min_part).max(1)
            }
        }
    }
}

/// Which products NVIDIA's library computes, where it is on the machine.
#[derive(Clone, Debug, PartialEq)]
pub struct LibraryProducts {
    /// From so many floating-point operations on.
    pub min_work: u64,
    /// Matrices and their rows begin at multiples of so many bytes.
    pub alignment: usize,
}

impl LibraryProducts {
    /// Where GPUs have tensor core instructions that a kernel of ours does not use: `wgmma` from compute capability 9.0 on, `tcgen05`
    /// in its place from 10.0 on, and neither in 12.0.
    ///
    /// `mma.sync`, which ours use, reaches some 63 % of an H100's peak of 495 TFLOP/s in `tf32`, so 3 GFLOP take it 10 us: the library
    /// can save 3 or 4 of them. Of a smaller product it saves as little as what launches differ by. Memory is read fast enough for `wgmma`
    /// only by bulk copies of tiles (TMA), whose rows must begin at multiples of 16 bytes.
    fn of(nvidia: Nvidia) -> Option<Self> {
        (90..120).contains(&nvidia.sm).then_some(Self { min_work: 3_000_000_000, alignment: 16 })
    }

    /// Whether a product of these `m`, `n` and `k` has enough work.
    pub fn is_worth(&self, sizes: [usize; 3]) -> bool {
        2 * sizes.into_iter().map(|size| size as u64).product::<u64>() >= self.min_work
    }
}

/// Which weights are packed before they are multiplied.
#[derive(Clone, Debug, PartialEq)]
pub struct Prepack {
    /// From this many rows on, a product that runs once a step lays the weight out block by block at little cost, and a
    /// second copy of the weight is not worth its memory.
    pub many_rows: usize,
}

/// Which weights are read from alternating ends.
#[derive(Clone, Debug, PartialEq)]
pub struct Alternate {
    /// Elements of the largest. Of a larger one the caches keep too little, and from its end memory itself is read more slowly.
    pub largest: usize,
}

/// How buffers share an arena.
#[derive(Clone, Debug, PartialEq)]
pub struct Memory {
    /// Buffers start at multiples of this many bytes.
    pub alignment: usize,
    /// Buffers of up to so many bytes keep their place for [`Memory::rest`] items after the last that touches them: to use it
    /// again at once would take a barrier that nothing else needs.
    pub small: usize,
    pub rest: usize,
    /// Whether what steps read and never write lies apart from what they write. For programs that are compiled ahead of time, in
    /// which it is read-only.
    pub constants_apart: bool,
}

/// How items are cut among workers.
#[derive(Clone, Debug, PartialEq)]
pub enum Partition {
    /// A worker has a range of each item.
    Ranges(Ranges),
    /// The workers are the CTAs of a GPU. In time loops each keeps units of its own through all rounds; other items are shared
    /// out by the back end.
    Grid(Grid),
}

/// How time loops are cut among the CTAs of a GPU.
#[derive(Clone, Debug, PartialEq)]
pub struct Grid {
    /// From so many bytes of A on, every CTA multiplies the elements of A that it has itself computed, and partial sums travel in
    /// place of elements. It fixes the bits of these sums, together with the number of CTAs.
    pub partial_sums: usize,
}

/// How items are cut in ranges.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranges {
    /// So many iterations for each worker are even enough, whatever the remainder.
    pub many_each: usize,
    /// Beyond this size in bytes a weight that every worker reads whole no longer fits the caches beside the rest.
    pub shared_weight: usize,
    /// Work between two barriers, in floating-point operations, from which on a second worker gains more than waiting for it
    /// costs: some microseconds of work against a barrier of a tenth of one, with room for a busy machine.
    pub work_worth_a_barrier: usize,
}

impl Target {
    /// A processor with vectors and caches, and this many workers; 1 if it is 0.
    pub fn cpu(workers: usize) -> Self {
        Self {
            processor: Processor::Cpu,
            precision: Precision::F32,
            tf32: false,
            bf16_parts: false,
            workers: workers.max(1),
            lanes: 4,
            column_grain: COLUMN_GRAIN,
            few_rows: FEW_ROWS,
            distinct_rows: Some(DistinctRows { min_ids: 64, min_width: 64, all_rows: 2, rows_a_run: 16 }),
            sparse_rows: Some(2),
            fusion: Fusion { few_outer: 8, max_levels: 8 },
            column_sums: Some(1 << 16),
            fused_sums: Some(FusedSums { min_rows: 8, min_elements: 1 << 16 }),
            split_k: Some(SplitK::FewRows { parts: 2, min_contraction: 256 }),
            library: None,
            prepack: Some(Prepack { many_rows: 64 }),
            alternate: Some(Alternate { largest: 4 << 20 }),
            exchange: Some(1 << 20),
            memory: Memory { alignment: ALIGNMENT, small: 256 << 10, rest: 4, constants_apart: false },
            partition: Partition::Ranges(Ranges {
                many_each: 4,
                shared_weight: 8 << 20,
                work_worth_a_barrier: 100_000,
            }),
        }
    }

    /// An NVIDIA GPU. Its workers are the CTAs that wait for each other in time loops: one on each multiprocessor.
    pub fn nvidia(nvidia: Nvidia) -> Self {
        Self {
            processor: Processor::Nvidia(nvidia),
            precision: Precision::Tf32,
            tf32: true,
            bf16_parts: false,
            workers: nvidia.multiprocessors.max(1),
            lanes: 1,
            column_grain: 1,
            // The tensor cores multiply 16 rows at a time, however few there are.
            few_rows: 0,
            distinct_rows: Some(DistinctRows { min_ids: 64, min_width: 64, all_rows: 2, rows_a_run: 16 }),
            sparse_rows: Some(2),
            fusion: Fusion { few_outer: 8, max_levels: 8 },
            column_sums: Some(1 << 12),
            fused_sums: None,
            split_k: Some(SplitK::FewTiles {
                largest: 128,
                smallest: 32,
                enough: Nvidia::ENOUGH_TILES,
                min_part: 256,
                most: 16,
            }),
            library: LibraryProducts::of(nvidia),
            prepack: None,
            alternate: None,
            exchange: None,
            memory: Memory { alignment: 256, small: 0, rest: 0, constants_apart: false },
            partition: Partition::Grid(Grid { partial_sums: 128 << 10 }),
        }
    }

    /// A processor that runs a program ahead of whose time it is compiled, in one thread and as little memory as it takes.
    pub fn standalone() -> Self {
        Self {
            // Neither a table of products beside the table that is looked up in.
            distinct_rows: None,
            split_k: None,
            fused_sums: None,
            alternate: None,
            // Every weight is stored as it is read, and once.
            prepack: Some(Prepack { many_rows: usize::MAX }),
            memory: Memory { alignment: ALIGNMENT, small: 0, rest: 0, constants_apart: true },
            ..Self::cpu(1)
        }
    }

    /// The same where the caches hold a weight of so many bytes beside the rest.
    pub fn with_shared_weight(mut self, bytes: usize) -> Self {
        if let Partition::Ranges(ranges) = &mut self.partition {
            ranges.shared_weight = bytes;
        }
        self
    }

    /// The same with another number of workers.
    pub fn with_workers(&self, workers: usize) -> Self {
        Self { workers: workers.max(1), ..self.clone() }
    }
}
