//! The command as people run it: the real binary in folders of its own.

mod bad_input;
mod checkpoints;
mod compare;
mod devices;
mod divergence;
mod documents;
mod evaluation;
mod export;
mod fmt;
mod gradients;
mod import;
mod interruption;
mod limits;
mod output;
mod profile;
mod prompts;
mod runs;
mod scoring;
mod stages;
mod strangers;
mod support;
mod texts;
mod training;
mod transfer;
mod updates;
mod using;
