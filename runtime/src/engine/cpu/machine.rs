//! What this machine can do: arithmetic, reading, waiting for each other, and the time of one call on several workers.

use std::hint::black_box;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::engine::cpu::gemm::{self, CHAINS};
use crate::engine::cpu::workers::{self, Barrier};
use crate::error::{Error, Result};
use crate::memory;

/// Seconds that one round should last at least.
const ROUND_SECONDS: f64 = 0.005;

/// Floating-point operations a second of `threads` cores: f32 multiply-adds that do not depend on each other.
///
/// # Errors
/// As [`seconds`].
pub fn peak(threads: u32, rounds: usize) -> Result<f64> {
    let seconds = seconds(threads, rounds, &|_| multiply_add())?;
    Ok(f64::from(threads) * PEAK_FLOP as f64 / seconds)
}

/// [`peak`] of pairs that are rounded to bf16; none if the processor has no instructions for them.
///
/// # Errors
/// As [`seconds`].
pub fn peak_of_pairs(threads: u32, rounds: usize) -> Result<Option<f64>> {
    let Some(flop) = gemm::multiply_add_pairs(1).map(|flop| flop * PEAK_ROUNDS as f64) else {
        return Ok(None);
    };
    let seconds = seconds(threads, rounds, &|_| {
        gemm::multiply_add_pairs(PEAK_ROUNDS);
    })?;
    Ok(Some(f64::from(threads) * flop / seconds))
}

/// Bytes that no cache holds.
pub const MEMORY: usize = 1 << 27;

/// Memory to read.
pub struct Reading(Vec<u64>);

impl Reading {
    /// Of so many bytes.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn new(bytes: usize) -> Result<Self> {
        let (mut words, len) = (Vec::new(), bytes / size_of::<u64>());
        words.try_reserve_exact(len).map_err(|_| Error::Memory {
            program: "reading memory".into(),
            needed: bytes as u64,
            available: memory::available().unwrap_or(0),
        })?;
        words.resize(len, 1);
        Ok(Self(words))
    }

    /// Bytes a second that `threads` cores read of it, each its own part, again and again.
    ///
    /// # Errors
    /// As [`seconds`].
    pub fn bandwidth(&self, threads: u32, rounds: usize) -> Result<f64> {
        let part = self.0.len() / threads as usize;
        let seconds = seconds(threads, rounds, &|worker| {
            read(&self.0[part * worker as usize..][..part]);
        })?;
        Ok((part * threads as usize * size_of::<u64>()) as f64 / seconds)
    }

    /// Bytes that this core reads of it, again and again, in the time of one f32 operation at the peak. Takes a few milliseconds.
    pub fn bytes_per_operation(&self) -> f64 {
        let best = |f: &dyn Fn()| {
            let times = (0..BRIEF_ROUNDS).map(|_| {
                let started = Instant::now();
                f();
                started.elapsed().as_secs_f64()
            });
            times.fold(f64::INFINITY, f64::min)
        };
        let seconds = best(&|| read(&self.0));
        size_of_val(self.0.as_slice()) as f64 / seconds / (PEAK_FLOP as f64 / best(&multiply_add))
    }
}

fn read(words: &[u64]) {
    black_box(words.iter().fold(0, |sum, &word| sum ^ word));
}

/// Rounds of a measurement that a program's start waits for.
const BRIEF_ROUNDS: usize = 4;

/// Seconds from the arrival of `threads` cores at a barrier until all go on, if none is late. Between two cores it is the
/// time in which each has a cache line that the other has written: some 50 ns where they share a cache, 200 and more where
/// they do not. A virtual machine's cores can be moved from one to the other.
///
/// # Errors
/// As [`seconds`].
pub fn barrier(threads: u32, rounds: usize) -> Result<f64> {
    let barrier = Barrier::new(threads as usize);
    seconds(threads, rounds, &|worker| {
        barrier.wait(worker);
    })
}

/// The time of one call of `f` on all of `threads` workers: the best of `rounds` rounds, each ended by the slowest
/// worker.
///
/// # Errors
/// [`Error::Threads`].
pub fn seconds(threads: u32, rounds: usize, f: &(dyn Fn(u32) + Sync)) -> Result<f64> {
    let barrier = Barrier::new(threads as usize);
    let times = Mutex::new(Vec::new());
    let record = |time| times.lock().unwrap_or_else(PoisonError::into_inner).push(time);
    workers::run(threads as usize, true, &|worker| {
        f(worker);
        // Every worker must repeat as often as the others: worker 0 measures, and tells them.
        barrier.wait(worker);
        let started = Instant::now();
        f(worker);
        barrier.wait(worker);
        if worker == 0 {
            let once = started.elapsed().as_secs_f64();
            record((ROUND_SECONDS / once).ceil().max(1.0));
        }
        barrier.wait(worker);
        let repeats = times.lock().unwrap_or_else(PoisonError::into_inner)[0] as usize;
        for _ in 0..rounds {
            barrier.wait(worker);
            let started = Instant::now();
            for _ in 0..repeats {
                f(worker);
            }
            barrier.wait(worker);
            if worker == 0 {
                let mean = started.elapsed().as_secs_f64() / repeats as f64;
                record(mean);
            }
        }
    })
    .map_err(|cause| Error::Threads { workers: threads as usize, cause })?;
    let times = times.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(times[1..].iter().copied().fold(f64::INFINITY, f64::min))
}

const PEAK_ROUNDS: usize = 20_000;
/// The lanes of the widest vectors known here.
const LANES: usize = if cfg!(target_arch = "x86_64") { 16 } else { 8 };
const PEAK_FLOP: usize = PEAK_ROUNDS * CHAINS * LANES * 2;

/// Multiplies and adds [`PEAK_FLOP`] times as fast as this CPU can.
fn multiply_add() {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: the CPU has the instructions.
            return unsafe { multiply_add_avx512() };
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            // SAFETY: the CPU has the instructions.
            return unsafe { multiply_add_avx2() };
        }
    }
    let mut sums = [[black_box(1.0f32); LANES]; CHAINS];
    let x = black_box(0.5f32);
    for _ in 0..PEAK_ROUNDS {
        sums.as_flattened_mut().iter_mut().for_each(|sum| {
            *sum = if cfg!(target_arch = "aarch64") { x.mul_add(x, *sum) } else { x * x + *sum }
        });
    }
    black_box(sums);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn multiply_add_avx512() {
    use std::arch::x86_64::*;
    let x = _mm512_set1_ps(black_box(0.5));
    let mut sums = [x; CHAINS];
    for _ in 0..PEAK_ROUNDS {
        for sum in &mut sums {
            *sum = _mm512_fmadd_ps(x, x, *sum);
        }
    }
    black_box(sums);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn multiply_add_avx2() {
    use std::arch::x86_64::*;
    let x = _mm256_set1_ps(black_box(0.5));
    let mut sums = [x; CHAINS];
    for _ in 0..2 * PEAK_ROUNDS {
        for sum in &mut sums {
            *sum = _mm256_fmadd_ps(x, x, *sum);
        }
    }
    black_box(sums);
}
