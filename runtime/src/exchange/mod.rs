//! How several processes train one model together: each computes the gradients of some shards of a batch, and all go on with
//! the same sums.
//!
//! A batch's rows are cut into N shards, and P processes ("ranks"; P divides N) run them in rounds: rank r runs shard
//! `j * P + r` in round j. In each round the gradients are added to running sums in the order of the ranks, so that shard is
//! added after shard, and the sums are the same bits for any P. [`Group`] is what a trainer holds: compiled code starts an
//! exchange when some gradients are there and computes the others meanwhile, and waits where it uses the sums.
//!
//! ```text
//! group        the thread that exchanges, and its handle
//! shared       the program's memory, which it reads and writes
//! reduce       who owns, sends and adds what
//! numbers      how messages are written: whole, as a table's rows that are not zero, as bf16
//! feedback     what rounding to bf16 takes away is added the next time
//! collective   what is needed of the ranks; local: threads, mpi: processes that mpirun has started
//! ```

mod collective;
mod feedback;
mod group;
mod local;
#[cfg(feature = "mpi")]
mod mpi;
mod numbers;
mod reduce;
mod shared;

#[cfg(test)]
mod tests;

pub use collective::{Alone, Cause, Collective, Lost, Messages};
pub use group::{Costs, Group, Ticket};
pub use local::Local;
#[cfg(feature = "mpi")]
pub use mpi::Mpi;
pub use numbers::Precision;
pub use shared::Part;
