//! Trainings that are killed at random moments, and trainings whose system calls fail: a run goes on from whatever is left
//! of it, to the same bits as if nothing had happened.
//!
//! `LSTMC_CRASH_CASES` is the number of cases of each test, `LSTMC_CRASH_SEED` chooses them; docs/reliability.md has what a
//! longer campaign found.
#![cfg(target_os = "linux")]

mod calls;
mod kills;
mod limits;
mod random;
mod refusals;
mod trainings;
