//! Ranks that mpirun starts come to the sums of one process, and end when one of them is lost.
//!
//! This starts itself with `mpirun`, if that is there: `cargo test -p lstmc-runtime --features mpi --test mpi`.

use std::env;
use std::process::{self, Command, Output};
use std::thread;
use std::time::Duration;

use lstmc_runtime::Result;
use lstmc_runtime::exchange::{Group, Mpi, Part, Precision};

fn main() {
    let mut arguments = env::args().skip(1);
    if arguments.next().as_deref() == Some("rank") {
        return rank(&arguments.next().expect("what to do"));
    }
    alone();
    if let Err(error) = Command::new("mpirun").arg("--version").output() {
        eprintln!(
            "\n*** SKIPPED: the exchange by MPI is not tested, since mpirun cannot be started: {error}\n"
        );
        return;
    }
    for size in [2, 3, 4] {
        sums(size);
        silent(size);
        gone(size);
    }
    println!("ranks of MPI: alone, and with 2, 3 and 4 of them: sums, silent, gone: ok");
}

/// Runs this program, as so many ranks.
fn run(command: &mut Command, what: &str) -> Output {
    let own = env::current_exe().expect("this program");
    if command.get_program() == "mpirun" {
        command.arg(own);
    }
    // More ranks than cores, and tests in a container: Open MPI wants to be told that this is meant.
    command.env("OMPI_ALLOW_RUN_AS_ROOT", "1").env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
    command.env("OMPI_MCA_rmaps_base_oversubscribe", "1");
    command.args(["rank", what]).output().expect("a process")
}

fn mpirun(size: usize, what: &str) -> Output {
    run(Command::new("mpirun").args(["-n", &size.to_string()]), what)
}

fn alone() {
    let output = run(&mut Command::new(env::current_exe().expect("this program")), "sums");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "rank 0 of 1: ok\n");
}

fn sums(size: usize) {
    let output = mpirun(size, "sums");
    assert!(output.status.success(), "{output:?}");
    let out = String::from_utf8_lossy(&output.stdout);
    for rank in 0..size {
        assert!(out.contains(&format!("rank {rank} of {size}: ok")), "{out}");
    }
}

fn silent(size: usize) {
    let output = mpirun(size, "silent");
    assert!(!output.status.success(), "{output:?}");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("rank 1 did not answer for 1 s, so that the training cannot go on"), "{error}");
}

fn gone(size: usize) {
    let output = mpirun(size, "gone");
    assert!(!output.status.success(), "{output:?}");
}

/// What one rank does.
fn rank(what: &str) {
    let deadline = Duration::from_secs(if what == "silent" { 1 } else { 600 });
    let mut group =
        Group::new(Precision::F32, move || Ok(Box::new(Mpi::start(deadline)?))).expect("MPI starts");
    match (what, group.rank()) {
        ("sums", _) => exchange(&mut group).expect("all ranks"),
        // Until it is ended by another one.
        ("silent", 1) => thread::sleep(Duration::from_secs(600)),
        ("gone", 1) => process::exit(3),
        _ => {
            if let Err(error) = group.all_gather(b"here") {
                eprintln!("{error}");
            }
            drop(group);
        }
    }
}

/// Everything that ranks exchange.
fn exchange(group: &mut Group) -> Result<()> {
    let (rank, size) = (group.rank(), group.size());
    let said = group.all_gather(&vec![rank as u8; rank * 1000])?;
    assert!(said.iter().enumerate().all(|(rank, said)| *said == vec![rank as u8; rank * 1000]));
    assert_eq!(group.broadcast((rank == 0).then_some(b"hear"))?, b"hear");
    add(group, &[(1000 * 8, 8), (100_001, 0), (3, 0)], 12)?;
    // A slice of two is sent in two pieces.
    add(group, &[(9_000_000, 0)], size)?;
    group.close()?;
    println!("rank {rank} of {size}: ok");
    Ok(())
}

/// Gradients of shards, in rounds; each is so long and has so wide a row.
fn add(group: &Group, shapes: &[(usize, usize)], shards: usize) -> Result<()> {
    let (rank, size) = (group.rank(), group.size());
    let mut sums: Vec<_> = shapes.iter().map(|&(len, _)| vec![0.0; len]).collect();
    for round in 0..shards / size {
        group.set_round(round, (round + 1) * size == shards);
        let gradients: Vec<_> =
            shapes.iter().map(|&(len, row)| gradient(round * size + rank, len, row)).collect();
        let parts = sums.iter_mut().zip(&gradients).zip(shapes).map(|((sum, gradient), &(len, row))| {
            // SAFETY: both are as long, and nothing is done with them until the exchange is finished.
            unsafe { Part::new(sum.as_mut_ptr(), gradient.as_ptr(), len, row) }
        });
        let ticket = group.start(parts.collect());
        group.finish(ticket)?;
    }
    for (sum, &(len, row)) in sums.iter().zip(shapes) {
        let mut expected = vec![0.0_f32; len];
        for shard in 0..shards {
            expected.iter_mut().zip(gradient(shard, len, row)).for_each(|(sum, value)| *sum += value);
        }
        let same = sum.iter().zip(expected).all(|(sum, expected)| sum.to_bits() == expected.to_bits());
        assert!(same, "{len} numbers differ");
    }
    Ok(())
}

/// Numbers whose sums depend on the order; of a table, one row in ten.
fn gradient(shard: usize, len: usize, row: usize) -> Vec<f32> {
    let number = |place: usize| {
        let hash = ((place * 12 + shard) as u32 ^ 0x5bd1_e995).wrapping_mul(0x9E37_79B1);
        (hash >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    let is_zero = |place: usize| row != 0 && !(place / row + shard).is_multiple_of(10);
    (0..len).map(|place| if is_zero(place) { 0.0 } else { number(place) }).collect()
}
