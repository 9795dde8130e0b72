//! `train --from`: the parameters of another run, as far as they fit a changed model or text.
//!
//! A parameter is taken over by its name, if all its sizes are the same. Where a size is the vocabulary's, it is taken word by word:
//! words that the run did not know keep the values that they start with. Which sizes are the vocabulary's is seen by checking both
//! models with one word more.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use lstmc_compiler::model::{Model, Param};
use lstmc_runtime::checkpoint::Accept;
use lstmc_runtime::engine::Engine;
use lstmc_runtime::run_dir::Choice;
use lstmc_runtime::text::Vocabulary;

use crate::compile::Source;
use crate::project::Opened;
use crate::show;

/// How many words and parameters are named.
const NAMED: usize = 6;

/// A run to take parameters from.
pub struct Old {
    path: PathBuf,
    opened: Opened,
    params: Vec<Shaped>,
}

/// What became of the parameters of both models.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Taken {
    taken: Vec<String>,
    /// Of the new model: those that the run does not have.
    fresh: Vec<String>,
    /// Those that the run has with other sizes, with both.
    others: Vec<String>,
    /// Of the run: those that the model does not have.
    left: Vec<String>,
    /// Words whose values are new, where there are parameters for words.
    words: Vec<String>,
}

/// A parameter, and which of its sizes are the vocabulary's.
#[derive(Clone, Debug)]
struct Shaped {
    name: String,
    shape: Vec<usize>,
    words: Vec<bool>,
}

impl Old {
    /// # Errors
    /// There is no such run or checkpoint, or its model is no longer one.
    pub fn open(path: &Path, which: &Choice, accept: Accept) -> Result<Self> {
        let opened = Opened::read(path, which, None, accept)?;
        let params = shaped(&opened.project.source, opened.vocabulary.len())?;
        Ok(Self { path: path.to_owned(), opened, params })
    }

    /// Gives the parameters to a program of `source`, which has those of a start.
    ///
    /// # Errors
    /// Nothing fits.
    pub fn give(&self, source: &Source, vocabulary: &Vocabulary, engine: &mut dyn Engine) -> Result<Taken> {
        let ids = ids(&self.opened.vocabulary, vocabulary);
        let mut found = Taken::default();
        let new = shaped(source, vocabulary.len())?;
        let knows_a_word = ids.iter().any(Option::is_some);
        let mut by_word = false;
        for param in &new {
            let Some(old) = self.params.iter().find(|old| old.name == param.name) else {
                found.fresh.push(param.name.clone());
                continue;
            };
            if !param.takes(old) {
                found.others.push(format!("{}, {:?} for {:?}", param.name, param.shape, old.shape));
                continue;
            }
            if param.words.contains(&true) {
                by_word = true;
                if !knows_a_word {
                    found.fresh.push(param.name.clone());
                    continue;
                }
            }
            let values = self.opened.checkpoint.parameter(&param.name)?;
            let mut own = engine.read(&param.name)?;
            param.copy(old, &values, &mut own, &ids);
            engine.write(&param.name, &own)?;
            found.taken.push(param.name.clone());
        }
        if found.taken.is_empty() {
            let why = match found.others.is_empty() {
                true => "none has a name of this model's, or values for a word of its text".to_owned(),
                false => format!("sizes are others: {}", found.others.join("; ")),
            };
            bail!("--from {}: none of its parameters fits; {why}", show::path(&self.path));
        }
        let is_left = |old: &&Shaped| !new.iter().any(|param| param.name == old.name);
        found.left = self.params.iter().filter(is_left).map(|old| old.name.clone()).collect();
        if by_word {
            let fresh = ids.iter().zip(0..).filter(|(old, _)| old.is_none());
            found.words = fresh.map(|(_, id)| show::token(&vocabulary.show(id))).collect();
        }
        Ok(found)
    }

    /// What was taken over, in lines.
    pub fn lines(&self, found: &Taken) -> Vec<String> {
        let Taken { taken, fresh, others, left, words } = found;
        let all = show::many((taken.len() + fresh.len() + others.len()) as u64, "parameter");
        let steps = show::many(self.opened.steps(), "update");
        let mut lines =
            vec![format!("from        {} after {steps}: {} of {all}", show::path(&self.path), taken.len())];
        let mut more = |what: &str, names: &[String], between: &str| {
            if !names.is_empty() {
                let rest = names.len().saturating_sub(NAMED);
                let rest = if rest > 0 { format!("{between}and {rest} more") } else { String::new() };
                let shown = names[..names.len().min(NAMED)].join(between);
                lines.push(format!("{what:<11} {shown}{rest}"));
            }
        };
        more("other sizes", others, "; ");
        more("new", fresh, ", ");
        more("new words", words, ", ");
        more("left", left, ", ");
        lines
    }
}

/// The parameters of a model with so many words.
fn shaped(source: &Source, words: usize) -> Result<Vec<Shaped>> {
    let [model, larger]: [Model; 2] = [source.model(words)?, source.model(words + 1)?];
    let shaped = |(param, larger): (&Param, &Param)| Shaped {
        name: param.name.clone(),
        shape: param.shape.clone(),
        words: param.shape.iter().zip(&larger.shape).map(|(size, larger)| *larger == size + 1).collect(),
    };
    Ok(model.params.iter().zip(&larger.params).map(shaped).collect())
}

/// For each id the id that its word had before.
fn ids(old: &Vocabulary, new: &Vocabulary) -> Vec<Option<u32>> {
    let before = |id: u32| match new.word(id) {
        Some(word) => old.known(word),
        None => Some(id).filter(|&id| (id as usize) < old.reserved()),
    };
    (0..new.len() as u32).map(before).collect()
}

impl Shaped {
    /// Whether it can be taken over from `old`.
    fn takes(&self, old: &Self) -> bool {
        let same = |((words, size), (old_words, old_size)): ((&bool, &usize), (&bool, &usize))| {
            words == old_words && (*words || size == old_size)
        };
        let mut sizes = self.words.iter().zip(&self.shape).zip(old.words.iter().zip(&old.shape));
        self.shape.len() == old.shape.len() && sizes.all(same)
    }

    /// Copies `from`, which is `old`, into `to`. `ids` has for each word its number in `old`.
    fn copy(&self, old: &Self, from: &[f32], to: &mut [f32], ids: &[Option<u32>]) {
        let mut place = vec![0usize; self.shape.len()];
        for value in to {
            // Row by row: the last axis runs fastest.
            let before = place.iter().enumerate().try_fold(0, |at, (axis, &index)| {
                let index = if self.words[axis] { ids[index]? as usize } else { index };
                Some(at * old.shape[axis] + index)
            });
            if let Some(&before) = before.and_then(|before| from.get(before)) {
                *value = before;
            }
            for (index, &size) in place.iter_mut().zip(&self.shape).rev() {
                *index += 1;
                if *index < size {
                    break;
                }
                *index = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_taken_by_their_old_numbers() {
        let shaped = |shape: [usize; 2], words: [bool; 2]| Shaped {
            name: "p".into(),
            shape: shape.into(),
            words: words.into(),
        };
        let ids = [Some(2), None, Some(0)];
        let (old, new) = (shaped([4, 2], [true, false]), shaped([3, 2], [true, false]));
        let from = [0.0, 1.0, 10.0, 11.0, 20.0, 21.0, 30.0, 31.0];
        let mut to = [-1.0; 6];
        assert!(new.takes(&old));
        new.copy(&old, &from, &mut to, &ids);
        assert_eq!(to, [20.0, 21.0, -1.0, -1.0, 0.0, 1.0]);
        // In columns.
        let (old, new) = (shaped([2, 4], [false, true]), shaped([2, 3], [false, true]));
        let mut to = [-1.0; 6];
        new.copy(&old, &from, &mut to, &ids);
        assert_eq!(to, [10.0, -1.0, 0.0, 30.0, -1.0, 20.0]);
        assert!(!new.takes(&shaped([2, 3], [false, false])), "the number of words only by chance");
        assert!(!new.takes(&shaped([1, 4], [false, true])));
    }
}
