//! A program that trains beside the one that measures it, in one memory where it can be.

use std::sync::Arc;

use super::session::{Executable, Session};
use crate::engine::{Engine, Trainee};
use crate::error::Result;
use crate::exchange::Group;

/// A training program and the one that measures it: in the training program's memory, if that was planned for both.
#[derive(Debug)]
pub struct Pair {
    train: Session,
    evaluate: Session,
    /// Whether `evaluate` has no memory of its own.
    shared: bool,
}

impl Pair {
    /// Two programs in one arena; `evaluate` was planned for the arena of `train`. `pinned` says of each whether its
    /// workers are, see [`Session::pinned`].
    ///
    /// # Errors
    /// [`crate::Error::Memory`] if the machine does not have enough.
    ///
    /// # Panics
    /// If `evaluate` has its parameters elsewhere.
    pub fn sharing(train: Executable, evaluate: Executable, pinned: [bool; 2]) -> Result<Self> {
        let train = Session::new(train.sharing_with(&evaluate))?.pinned(pinned[0]);
        let evaluate = Session::without_memory(evaluate)?.pinned(pinned[1]);
        assert!(
            evaluate.arena.has_parameters_of(&train.arena),
            "internal error: a program that was not planned for this arena"
        );
        Ok(Self { train, evaluate, shared: true })
    }

    /// Makes sums over shards together with other processes, if the training program has such.
    pub fn exchanging(self, group: &Arc<Group>) -> Self {
        Self { train: self.train.exchanging(group), ..self }
    }

    /// Two programs, each in its own arena.
    pub fn apart(train: Session, evaluate: Session) -> Self {
        Self { train, evaluate, shared: false }
    }
}

impl Trainee for Pair {
    fn trained(&self) -> &dyn Engine {
        &self.train
    }

    fn train(&mut self) -> &mut dyn Engine {
        &mut self.train
    }

    fn measure(&mut self, run: &mut dyn FnMut(&mut dyn Engine) -> Result<()>) -> Result<()> {
        let (train, evaluate) = (&mut self.train, &mut self.evaluate);
        if !self.shared {
            evaluate.arena.copy_params_from(&train.arena)?;
            return run(evaluate);
        }
        evaluate.arena.exchange_memory(&mut train.arena);
        let outcome = run(evaluate);
        evaluate.arena.exchange_memory(&mut train.arena);
        outcome
    }
}
