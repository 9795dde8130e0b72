//! The shards of a batch: which of them this process computes, one after the other, and what it tells the others of them.
//!
//! A batch of `rows` rows is cut into `count` shards of as many rows each, one after the other. Of P processes, rank r computes
//! shard `j * P + r` in round j. All know the outcome of every shard, and go on, end and fail together.

use std::borrow::Cow;

use crate::checkpoint::Position;
use crate::engine::{Shard, StepInputs, Store, Tensor, TensorKind};
use crate::error::{Error, Result};
use crate::exchange::Group;

/// What this process does of each batch.
#[derive(Debug)]
pub(super) struct Shards<'a> {
    count: usize,
    /// None for a process that is alone.
    group: Option<&'a Group>,
    /// The recurrent state that each round's shard has left, but for that of `current`, which is in the program. Nothing stands for
    /// the start of a sequence.
    states: Vec<Vec<f32>>,
    current: usize,
    /// What the rounds of a batch have come to so far.
    outcomes: Vec<Outcome>,
    /// Whether all ranks are to end.
    stopped: bool,
}

/// What a shard has come to.
#[derive(Clone, Copy, Debug, Default)]
struct Outcome {
    loss: f32,
    hits: f32,
}

/// What a batch has come to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sum {
    /// The mean loss of its predictions.
    pub loss: f64,
    pub hits: f64,
}

impl<'a> Shards<'a> {
    /// # Errors
    /// [`Error::Ranks`] if the processes cannot have equally many of the shards.
    pub fn new(count: usize, group: Option<&'a Group>) -> Result<Self> {
        let ranks = group.map_or(1, Group::size);
        if !count.is_multiple_of(ranks) {
            return Err(Error::Ranks { shards: count, ranks });
        }
        let states = vec![vec![]; count / ranks];
        Ok(Self { count, group, states, current: 0, outcomes: vec![], stopped: false })
    }

    /// How many of a batch's shards this process computes.
    pub fn rounds(&self) -> usize {
        self.states.len()
    }

    /// How many shards a batch has.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The shard of a round.
    pub fn of(&self, round: usize) -> Shard {
        let (rank, ranks) = self.group.map_or((0, 1), |group| (group.rank(), group.size()));
        let number = (round * ranks + rank) as u32;
        Shard { number, round, last: round + 1 == self.rounds() }
    }

    /// Says which shard comes, and puts in the recurrent state that its rows had.
    pub fn enter(&mut self, round: usize, inputs: &mut dyn StepInputs) -> Shard {
        let shard = self.of(round);
        inputs.set_shard(shard);
        if round != self.current {
            let mut state = std::mem::take(&mut self.states[round]);
            inputs.swap_carried(&mut state);
            self.states[self.current] = state;
            self.current = round;
        }
        shard
    }

    /// Whether all ranks are to end before the next batch; `wanted` says that this one is.
    pub fn stops(&self, wanted: bool) -> bool {
        if self.group.is_some() { self.stopped } else { wanted }
    }

    /// Takes what a shard has come to; after the last round, what the batch has on all ranks, `None` before. `stop` says that this
    /// rank wants to end.
    ///
    /// # Errors
    /// A rank is gone.
    pub fn add(&mut self, loss: f32, hits: f32, stop: bool) -> Result<Option<Sum>> {
        self.outcomes.push(Outcome { loss, hits });
        if self.outcomes.len() < self.rounds() {
            return Ok(None);
        }
        let own = std::mem::take(&mut self.outcomes);
        let Some(group) = self.group else { return Ok(Some(sum(own.iter(), self.count))) };
        let told = group.all_gather(&encoded(&own, stop))?;
        let told: Vec<(Vec<Outcome>, bool)> = told.iter().map(|bytes| decoded(bytes)).collect();
        self.stopped = told.iter().any(|(_, stop)| *stop);
        let by_shard =
            (0..self.rounds()).flat_map(|round| told.iter().filter_map(move |(all, _)| all.get(round)));
        Ok(Some(sum(by_shard, self.count)))
    }

    /// Whether any rank wants to end; `wanted` says that this one does.
    ///
    /// # Errors
    /// A rank is gone.
    pub fn any(&self, wanted: bool) -> Result<bool> {
        let Some(group) = self.group else { return Ok(wanted) };
        Ok(group.all_gather(&[u8::from(wanted)])?.iter().any(|said| said[..] == [1]))
    }

    /// Where rank 0 says that the run is; the others have not looked at its files.
    ///
    /// # Errors
    /// A rank is gone.
    pub fn told(&self, position: Position) -> Result<Position> {
        let Some(group) = self.group else { return Ok(position) };
        let own = (group.rank() == 0).then(|| serde_json::to_vec(&position)).transpose();
        let own = own.map_err(|error| Error::Position { reason: error.to_string() })?;
        let told = group.broadcast(own.as_deref())?;
        serde_json::from_slice(&told).map_err(|error| Error::Position { reason: error.to_string() })
    }

    /// The tensors of all shards, on every rank: recurrent state has a batch's rows there.
    ///
    /// # Errors
    /// A rank is gone; those of the machine.
    pub fn whole(&self, engine: &dyn Store) -> Result<Whole> {
        let tensors = whole_tensors(engine.tensors(), self.count);
        let carried = engine.tensors().iter().filter(|tensor| matches!(tensor.kind, TensorKind::Carried(_)));
        let (mut parts, mut before) = (vec![], 0);
        for tensor in carried {
            let TensorKind::Carried(start) = tensor.kind else { continue };
            let mut rounds = vec![];
            for (round, state) in self.states.iter().enumerate() {
                match state.get(before..before + tensor.len()) {
                    _ if round == self.current => rounds.extend(engine.read(&tensor.name)?),
                    Some(values) => rounds.extend_from_slice(values),
                    None => rounds.resize(rounds.len() + tensor.len(), start as f32),
                }
            }
            before += tensor.len();
            parts.push((tensor.name.clone(), self.in_order(rounds, tensor.len())?));
        }
        Ok(Whole { tensors, carried: parts })
    }

    /// What every shard has, in their order, from what this rank's have, of `len` numbers each.
    fn in_order(&self, own: Vec<f32>, len: usize) -> Result<Vec<f32>> {
        let Some(group) = self.group else { return Ok(own) };
        let bytes: Vec<u8> = own.iter().flat_map(|value| value.to_le_bytes()).collect();
        let told = group.all_gather(&bytes)?;
        let of = |round: usize, bytes: &Vec<u8>| {
            let values = bytes.as_chunks::<4>().0.iter().skip(round * len).take(len);
            values.map(|bytes| f32::from_le_bytes(*bytes)).collect::<Vec<_>>()
        };
        Ok((0..self.rounds()).flat_map(|round| told.iter().flat_map(move |bytes| of(round, bytes))).collect())
    }

    /// Where tensors of all shards are written, as [`Shards::whole`] has them: into a program, and here.
    pub fn taking<'s>(&'s mut self, engine: &'s mut dyn Store) -> Taking<'s, 'a> {
        let tensors = whole_tensors(engine.tensors(), self.count);
        Taking { tensors, engine, shards: self }
    }
}

/// Summed in the order of the shards.
fn sum<'o>(outcomes: impl Iterator<Item = &'o Outcome>, count: usize) -> Sum {
    let (mut loss, mut hits) = (0.0, 0.0);
    for outcome in outcomes {
        loss += f64::from(outcome.loss);
        hits += f64::from(outcome.hits);
    }
    Sum { loss: loss / count as f64, hits }
}

fn encoded(outcomes: &[Outcome], stop: bool) -> Vec<u8> {
    let numbers = outcomes.iter().flat_map(|outcome| [outcome.loss, outcome.hits]);
    let mut bytes: Vec<u8> = numbers.flat_map(f32::to_le_bytes).collect();
    bytes.push(u8::from(stop));
    bytes
}

fn decoded(bytes: &[u8]) -> (Vec<Outcome>, bool) {
    let (numbers, rest) = bytes.as_chunks::<4>();
    let numbers: Vec<f32> = numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    let outcomes = numbers.as_chunks::<2>().0.iter().map(|&[loss, hits]| Outcome { loss, hits });
    (outcomes.collect(), rest == [1])
}

fn whole_tensors(tensors: &[Tensor], shards: usize) -> Vec<Tensor> {
    let mut tensors = tensors.to_vec();
    for tensor in &mut tensors {
        if let (TensorKind::Carried(_), Some(rows)) = (tensor.kind, tensor.shape.first_mut()) {
            *rows *= shards;
        }
    }
    tensors
}

/// The recurrent state of all shards, and what the tensors beside it are.
pub(super) struct Whole {
    tensors: Vec<Tensor>,
    carried: Vec<(String, Vec<f32>)>,
}

impl Whole {
    /// With the other tensors, which are the same on every rank.
    pub fn with<'w>(&'w self, engine: &'w dyn Store) -> impl Store + 'w {
        Joined { whole: self, engine }
    }
}

struct Joined<'w> {
    whole: &'w Whole,
    engine: &'w dyn Store,
}

impl Store for Joined<'_> {
    fn tensors(&self) -> &[Tensor] {
        &self.whole.tensors
    }

    fn bytes(&self, name: &str) -> Result<Cow<'_, [u8]>> {
        match self.whole.carried.iter().find(|(own, _)| own == name) {
            Some((_, values)) => Ok(values.iter().flat_map(|value| value.to_le_bytes()).collect()),
            None => self.engine.bytes(name),
        }
    }

    fn fill(&mut self, name: &str, _: &mut dyn Iterator<Item = f32>) -> Result<()> {
        Err(Error::MissingBuffer(name.into()))
    }
}

/// See [`Shards::taking`].
pub(super) struct Taking<'s, 'a> {
    tensors: Vec<Tensor>,
    engine: &'s mut dyn Store,
    shards: &'s mut Shards<'a>,
}

impl Store for Taking<'_, '_> {
    fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    fn bytes(&self, name: &str) -> Result<Cow<'_, [u8]>> {
        self.engine.bytes(name)
    }

    fn fill(&mut self, name: &str, values: &mut dyn Iterator<Item = f32>) -> Result<()> {
        let carried = |tensor: &&Tensor| matches!(tensor.kind, TensorKind::Carried(_));
        let own: Vec<&Tensor> = self.engine.tensors().iter().filter(carried).collect();
        let Some(place) = own.iter().position(|tensor| tensor.name == name) else {
            return self.engine.fill(name, values);
        };
        let (before, len) = (own[..place].iter().map(|tensor| tensor.len()).sum(), own[place].len());
        self.fill_carried(name, before, len, &values.collect::<Vec<f32>>())
    }
}

impl Taking<'_, '_> {
    /// Writes what this rank's shards have of a tensor, which lies `before` numbers behind the beginning of a shard's state.
    fn fill_carried(&mut self, name: &str, before: usize, len: usize, values: &[f32]) -> Result<()> {
        for round in 0..self.shards.rounds() {
            let start = self.shards.of(round).number as usize * len;
            let values = values.get(start..start + len).unwrap_or_default();
            if round == self.shards.current {
                self.engine.fill(name, &mut values.iter().copied())?;
            } else {
                // Tensors come in the order in which they lie in a state.
                let state = &mut self.shards.states[round];
                state.resize(state.len().max(before + len), 0.0);
                state[before..before + values.len()].copy_from_slice(values);
            }
        }
        Ok(())
    }
}
