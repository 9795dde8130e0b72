//! The processes that train one model together, as `mpirun` starts them.
//!
//! Rank 0 alone prints and writes. All compare what they have read before anything is made, so that what is wrong is said once;
//! later a rank that fails says so itself and ends all, and where another is gone the lowest one that is left says it.

use std::process::ExitCode;
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Error, Result, bail};
use lstmc_runtime::engine::cpu::{gemm, workers};
use lstmc_runtime::error::bytes;
use lstmc_runtime::exchange::{Costs, Group};
use lstmc_runtime::text::{Record, Role};
use lstmc_runtime::{Error as Runtime, random};
use serde::{Deserialize, Serialize};

use crate::args::Ranks;
use crate::show;
use crate::start::Start;

/// Where launchers say how many processes they have started, on all machines and on this one: Open MPI; MPICH and those that
/// come from it.
const SIZES: [&str; 2] = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE"];
const LOCAL_SIZES: [&str; 2] = ["OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS"];

#[cfg(not(feature = "mpi"))]
const NUMBERS: [&str; 2] = ["OMPI_COMM_WORLD_RANK", "PMI_RANK"];

/// The number in the first of these variables that is there.
fn told(variables: &[&str]) -> Option<usize> {
    variables.iter().find_map(|name| std::env::var(name).ok()?.parse().ok())
}

/// How many of so many threads each of the processes on this machine has.
pub fn share(threads: usize) -> usize {
    let bound = processors().is_some_and(|all| workers::most_workers() < all);
    // A launcher that keeps processes to processors of their own has shared these out itself.
    let ranks = if bound { 1 } else { told(&LOCAL_SIZES).unwrap_or(1) };
    (threads / ranks.max(1)).max(1)
}

/// How many processors this machine has, if that can be known.
fn processors() -> Option<usize> {
    let ranges = std::fs::read_to_string("/sys/devices/system/cpu/online").ok()?;
    ranges.trim().split(',').map(size_of_range).sum()
}

/// Of `3`, or of `0-3`.
fn size_of_range(range: &str) -> Option<usize> {
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
    Some(last.checked_sub(first)? + 1)
}

/// This process among the others; none if it was started without any.
///
/// # Errors
/// MPI cannot be used.
pub fn join(ranks: &Ranks) -> Result<Option<Arc<Group>>> {
    match told(&SIZES) {
        None => Ok(None),
        Some(size) => start(ranks, size),
    }
}

#[cfg(feature = "mpi")]
fn start(ranks: &Ranks, _size: usize) -> Result<Option<Arc<Group>>> {
    use lstmc_runtime::exchange::{Collective, Mpi};
    let deadline = Duration::from_secs(ranks.deadline.into());
    let group = Group::new(ranks.gradients.into(), move || {
        let mpi: Box<dyn Collective> = Box::new(Mpi::start(deadline)?);
        Ok(mpi)
    })?;
    Ok(Some(Arc::new(group)))
}

#[cfg(not(feature = "mpi"))]
fn start(_ranks: &Ranks, size: usize) -> Result<Option<Arc<Group>>> {
    if size == 1 {
        return Ok(None);
    }
    if told(&NUMBERS).is_some_and(|rank| rank > 0) {
        // Rank 0 says it.
        std::process::exit(1);
    }
    bail!(
        "{} were started, and this lstmc was built without MPI, so that each would train a model of its own: build it with \
         `cargo build --release --features mpi`",
        show::many(size as u64, "process")
    )
}

/// What must be the same on all ranks, with what it is called.
type Facts = Vec<(String, String)>;

/// What a rank has to say before it begins: what it has read, or what is wrong.
#[derive(Serialize, Deserialize)]
enum Word {
    Ready(Facts),
    Failed(String),
}

/// What a rank begins with, if that is the same on all.
///
/// # Errors
/// What is wrong on this rank; on rank 0, if nothing is there, what is wrong on others, or how they differ from it.
pub fn agree<T>(group: &Group, own: Result<T>, facts: impl Fn(&T) -> Facts) -> Result<T> {
    let word = match &own {
        Ok(own) => Word::Ready(facts(own)),
        Err(error) => Word::Failed(format!("{error:#}")),
    };
    let said = group.all_gather(&serde_json::to_vec(&word)?)?;
    let said = said.iter().map(|bytes| serde_json::from_slice(bytes)).collect::<Result<Vec<Word>, _>>()?;
    let mut wrong = vec![];
    for (rank, word) in said.iter().enumerate() {
        match (word, &said[0]) {
            (Word::Failed(reason), _) => wrong.push(format!("rank {rank}: {reason}")),
            (Word::Ready(own), Word::Ready(first)) => wrong.extend(differences(rank, own, first)),
            (Word::Ready(_), Word::Failed(_)) => {}
        }
    }
    match own {
        Ok(own) if wrong.is_empty() => Ok(own),
        // What rank 0 has found itself it says as it always does.
        Err(error) if group.rank() == 0 => Err(error),
        _ => Err(Unlike(wrong).into()),
    }
}

fn differences(rank: usize, own: &Facts, first: &Facts) -> Vec<String> {
    let pairs = own.iter().zip(first).filter(|(own, first)| own != first);
    pairs
        .map(|((what, own), (_, first))| format!("rank {rank} has {what} {own}, and rank 0 has {first}"))
        .collect()
}

/// Ranks that cannot train together. All know it, and rank 0 says it.
#[derive(Debug)]
struct Unlike(Vec<String>);

impl std::fmt::Display for Unlike {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0.join("; "))
    }
}

impl std::error::Error for Unlike {}

/// What has to be alike of what a training starts from.
pub fn facts(start: &Start, ranks: &Ranks, length: &[(&str, String)]) -> Facts {
    let instructions = gemm::instructions();
    let corpus = &start.corpus;
    let text = |role: Role| {
        let record = corpus.records.iter().find(|record| record.role == role);
        let known =
            |record: &Record| format!("of {} (BLAKE3 {})", show::many(record.tokens, "token"), record.blake3);
        record.map_or("none".into(), known)
    };
    let mut facts = vec![
        ("lstmc", env!("CARGO_PKG_VERSION").to_owned()),
        ("a processor with", format!("{} ({})", instructions.name, instructions.pairs.unwrap_or("no bf16"))),
        ("the model", format!("{:016x}", random::hash(start.project.text.as_bytes()))),
        ("the vocabulary", corpus.vocabulary.fingerprint()),
        ("a training text", text(Role::Train)),
        ("a validation text", text(Role::Valid)),
        ("seed", start.seed.to_string()),
        ("gradients in", format!("{:?}", ranks.gradients).to_lowercase()),
        ("a run", start.step.map_or("not begun".into(), |step| format!("at update {step}"))),
    ];
    facts.extend(length.iter().cloned());
    facts.into_iter().map(|(what, value)| (what.to_owned(), value)).collect()
}

/// Whether every rank comes to this error.
fn is_everyones(error: &Error) -> bool {
    let same = matches!(
        error.downcast_ref(),
        Some(
            Runtime::Diverged { .. }
                | Runtime::BadUpdate { .. }
                | Runtime::BadEvaluation { .. }
                | Runtime::WorseThanGuessing { .. }
                | Runtime::Ranks { .. }
        )
    );
    same || error.is::<Unlike>()
}

/// Ends this rank with the others; `say` says an error, and the exit code.
///
/// # Errors
/// An error that is still to be said.
pub fn end(
    mut group: Arc<Group>,
    outcome: Result<ExitCode>,
    say: &dyn Fn(&Error) -> ExitCode,
) -> Result<ExitCode> {
    let (rank, error) = match outcome {
        Ok(code) => {
            close(&mut group)?;
            return Ok(code);
        }
        Err(error) => (group.rank(), error),
    };
    if is_everyones(&error) {
        let code = if rank == 0 { say(&error) } else { ExitCode::FAILURE };
        close(&mut group)?;
        return Ok(code);
    }
    let speaker = match error.downcast_ref() {
        Some(Runtime::Rank { rank: lost, .. }) => usize::from(*lost == 0),
        _ => rank,
    };
    if rank == speaker {
        say(&if rank == 0 { error } else { error.context(format!("rank {rank}")) });
    } else {
        // The one that speaks ends all.
        sleep(Duration::from_secs(3));
    }
    Ok(ExitCode::FAILURE)
}

/// What the exchange has cost this rank since there were these costs, so long ago.
pub fn costs(group: &Group, before: Costs, time: Duration) -> String {
    let now = group.costs();
    let costs = Costs {
        bytes: now.bytes - before.bytes,
        busy: now.busy.saturating_sub(before.busy),
        waited: now.waited.saturating_sub(before.waited),
    };
    let share = |part: Duration| 100.0 * part.as_secs_f64() / time.as_secs_f64().max(f64::MIN_POSITIVE);
    format!(
        "exchange  each of {} sent about {}; {:.0} % of the time was spent in it, {:.0} % waiting for it",
        show::many(group.size() as u64, "rank"),
        bytes(costs.bytes),
        share(costs.busy),
        share(costs.waited)
    )
}

/// Every other user of the group is gone by now.
fn close(group: &mut Arc<Group>) -> Result<()> {
    match Arc::get_mut(group) {
        Some(group) => Ok(group.close()?),
        None => bail!("internal error: the ranks still exchange something"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_processors_are_counted() {
        let sizes = ["0-3", "7", "12-12"].map(size_of_range);
        assert_eq!(sizes, [Some(4), Some(1), Some(1)]);
        assert_eq!(["", "a-b", "3-1"].map(size_of_range), [None; 3]);
    }
}
