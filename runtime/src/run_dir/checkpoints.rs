//! The checkpoints of a run: which is the newest, which stay, and which one is meant.

use std::path::{Path, PathBuf};

use super::place::{Place, file_of, left, list, name_of};
use super::{CHECKPOINTS, LATEST, RunDir, best_of};
use crate::checkpoint::{self, Accept, Checkpoint, Meta};
use crate::engine::Store;
use crate::error::{Error, Result};
use crate::files;
use crate::folder::Folder;

/// Which checkpoint is meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    #[default]
    Newest,
    /// That of the lowest validation loss.
    Best,
    /// That of an epoch, or of an update where epochs are not counted.
    Number(u64),
    /// A file, in this run or elsewhere.
    Path(PathBuf),
}

/// Which checkpoints stay beside the newest one.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Keep {
    /// So many of the newest ones that were written at the end of an epoch or of a report interval. Without it all of epochs stay
    /// and no others.
    pub newest: Option<u64>,
    /// Updates from one report to the next, where these are counted and not epochs.
    pub interval: Option<u64>,
    /// The best one, where it is to stay.
    pub best: Option<Place>,
}

impl Keep {
    /// Of the places where checkpoints lie those that stay, when this is the newest.
    fn staying(&self, places: &[Place], newest: Place) -> Vec<Place> {
        let ends = |place: &Place| match (*place, self.interval) {
            (Place::Epoch(_), _) => true,
            (Place::Step(step), Some(interval)) => {
                self.newest.is_some() && step > 0 && step.is_multiple_of(interval)
            }
            (Place::Step(_), None) => false,
        };
        // A later one lies there if a run was taken up again before it; it will be written anew.
        let later = |place: &Place| match (*place, newest) {
            (Place::Epoch(epoch), Place::Epoch(newest)) => epoch > newest,
            (Place::Step(step), Place::Step(newest)) => step > newest,
            _ => false,
        };
        let mut lasting: Vec<Place> =
            places.iter().copied().filter(|place| ends(place) && !later(place)).collect();
        lasting.sort_unstable();
        let most = self.newest.map_or(lasting.len(), |most| most as usize);
        let first = lasting.len().saturating_sub(most);
        let ahead = places.iter().copied().filter(|place| matches!(place, Place::Epoch(_)) && later(place));
        lasting.split_off(first).into_iter().chain(ahead).chain([newest]).chain(self.best).collect()
    }
}

impl RunDir {
    /// Writes a checkpoint and makes it the newest one.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn save(&self, name: &str, engine: &dyn Store, meta: &Meta) -> Result<PathBuf> {
        checkpoint::save(&self.checkpoints_folder()?, &file_of(name), engine, meta)?;
        self.set_latest(name)?;
        Ok(self.checkpoint(name))
    }

    /// Makes the checkpoint of this name the newest one.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub(crate) fn set_latest(&self, name: &str) -> Result<()> {
        files::replace(&self.folder, LATEST, format!("{name}\n").as_bytes())
    }

    /// Removes the checkpoints that are not to stay beside the newest one, which has this name. A process that was killed after
    /// it had saved one has left those that it makes useless.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::Write`].
    pub fn prune(&self, newest: &str, keep: &Keep) -> Result<()> {
        let Some(newest) = Place::of(newest) else { return Ok(()) };
        let (folder, places) = (self.checkpoints_folder()?, self.places()?);
        let staying = keep.staying(&places, newest);
        let going = places.iter().filter(|place| !staying.contains(place));
        going.into_iter().try_for_each(|place| files::remove(&folder, &file_of(&place.name())))
    }

    /// Gives the checkpoints after an update another name, which the run does not go by. Says which places they had.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::Write`].
    pub(crate) fn leave_behind(&self, step: u64, per_epoch: u64) -> Result<Vec<Place>> {
        let folder = self.checkpoints_folder()?;
        let mut places = self.places()?;
        places.retain(|place| place.is_after(step, per_epoch));
        for place in &places {
            let (from, to) = (file_of(&place.name()), file_of(&left(&place.name())));
            folder.rename(&from, &to).map_err(|source| Error::write(&folder.join(&to), source))?;
        }
        folder.sync().map_err(|source| Error::write(folder.path(), source))?;
        Ok(places)
    }

    /// The names of all checkpoints that the run goes by, in the order of the alphabet.
    ///
    /// # Errors
    /// [`Error::Read`].
    fn checkpoints(&self) -> Result<Vec<String>> {
        let folder = match self.checkpoints_folder() {
            Err(Error::MissingFile { .. }) => return Ok(Vec::new()),
            other => other?,
        };
        let names = folder.names().map_err(|cause| Error::Read { path: folder.path().to_owned(), cause })?;
        // One that is being written has another name.
        Ok(names.iter().filter_map(|file| name_of(file)).map(str::to_owned).collect())
    }

    /// The places of the checkpoints that are there.
    ///
    /// # Errors
    /// [`Error::Read`].
    pub fn places(&self) -> Result<Vec<Place>> {
        Ok(self.checkpoints()?.iter().filter_map(|name| Place::of(name)).collect())
    }

    /// Whether the checkpoint of this place is there.
    ///
    /// # Errors
    /// [`Error::Read`].
    pub(crate) fn has_place(&self, place: Place) -> Result<bool> {
        Ok(self.places()?.contains(&place))
    }

    /// Whether there is a checkpoint of more than what training starts from.
    ///
    /// # Errors
    /// [`Error::Read`].
    pub(super) fn has_learned(&self) -> Result<bool> {
        let start = Place::Step(0).name();
        let named = if self.has(LATEST)? { self.latest()? != start } else { false };
        Ok(named || self.checkpoints()?.iter().any(|name| *name != start))
    }

    /// Whether its first parameters are those of another program.
    ///
    /// # Errors
    /// [`Error::Read`].
    pub(super) fn has_imported(&self) -> Result<bool> {
        let imported = self.settings().is_ok_and(|settings| settings.imported.is_some());
        Ok(imported && !self.checkpoints()?.is_empty())
    }

    /// Removes what training starts from, so that it can start from something else.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::Write`].
    pub(super) fn remove_start(&self) -> Result<()> {
        // A checkpoint is the newest one where it is the only one; `latest` never names one that is gone.
        files::remove(&self.folder, LATEST)?;
        files::remove(&self.checkpoints_folder()?, &file_of(&Place::Step(0).name()))
    }

    /// The name of the newest checkpoint.
    ///
    /// # Errors
    /// [`Error::NoCheckpoint`]; [`Error::BadFile`] if it is not known which one is the newest.
    pub fn latest(&self) -> Result<String> {
        match self.text(LATEST, "the file") {
            Ok(name) if !name.trim().is_empty() && !name.contains(['/', '\\', '\0']) => {
                Ok(name.trim().to_owned())
            }
            Ok(_) => Err(self.bad(LATEST, "it does not name a checkpoint".into())),
            Err(Error::MissingFile { .. }) => match self.checkpoints()?.as_slice() {
                [] => Err(Error::NoCheckpoint { path: self.path().to_owned() }),
                // The first one, which a crash has left before it was named.
                [only] => Ok(only.clone()),
                several => {
                    let names = several.join(", ");
                    let what =
                        format!("the file is gone; write into it which checkpoint is the newest: {names}");
                    Err(self.bad(LATEST, what))
                }
            },
            Err(error) => Err(error),
        }
    }

    /// The place of the checkpoint with the lowest validation loss, the first of equals, as the metrics have it.
    ///
    /// # Errors
    /// [`Error::NoBest`]; [`Error::Read`].
    pub fn best(&self) -> Result<Place> {
        let none = |reason: String| Error::NoBest { path: self.path().to_owned(), reason };
        let places = self.places()?;
        let at = |epoch, step| {
            let here = |place: &Place| places.contains(place);
            [Place::Epoch(epoch), Place::Step(step)].into_iter().find(here)
        };
        let mut rows = self.metrics()?;
        // The row is written before the checkpoint.
        rows.pop_if(|row| at(row.epoch, row.step).is_none());
        let best = best_of(&rows).ok_or_else(|| none("nothing was validated".into()))?;
        at(best.epoch, best.step).ok_or_else(|| {
            let epoch = best.epoch;
            none(format!("that of epoch {epoch} did not stay; write `checkpoint: best` into the train block"))
        })
    }

    /// Reads the checkpoint of this name.
    ///
    /// # Errors
    /// As [`Checkpoint::read`].
    pub fn load(&self, name: &str, accept: Accept) -> Result<Checkpoint> {
        Checkpoint::read(&self.checkpoints_folder()?, &file_of(name), accept)
    }

    /// The newest checkpoint of a run that may be being trained. If the file is replaced meanwhile, the next newest is
    /// read.
    ///
    /// # Errors
    /// As [`RunDir::latest`] and [`RunDir::load`].
    pub fn newest(&self, accept: Accept) -> Result<Checkpoint> {
        self.loaded(&|| self.latest(), accept)
    }

    /// Reads the checkpoint that has a name now, or the one that has it then if its file is gone by the time.
    fn loaded(&self, name: &dyn Fn() -> Result<String>, accept: Accept) -> Result<Checkpoint> {
        loop {
            let now = name()?;
            match self.load(&now, accept) {
                Err(Error::MissingFile { .. }) if name()? != now => {}
                read => return read,
            }
        }
    }

    /// Reads the checkpoint that is meant.
    ///
    /// # Errors
    /// As [`RunDir::newest`]; [`Error::NoSuchCheckpoint`] with those that there are.
    pub fn chosen(&self, choice: &Choice, accept: Accept) -> Result<Checkpoint> {
        match choice {
            Choice::Newest => self.newest(accept),
            Choice::Best => match self.loaded(&|| Ok(self.best()?.name()), accept) {
                Err(Error::NoBest { reason, .. }) => Err(self.no_such(format!("is the best: {reason}"))?),
                read => read,
            },
            Choice::Number(number) => {
                let (places, number) = (self.places()?, *number);
                let found =
                    [Place::Epoch(number), Place::Step(number)].into_iter().find(|at| places.contains(at));
                match found {
                    Some(place) => self.load(&place.name(), accept),
                    None => {
                        let steps =
                            !places.is_empty() && !places.iter().any(|at| matches!(at, Place::Epoch(_)));
                        let place = if steps { Place::Step(number) } else { Place::Epoch(number) };
                        Err(self.no_such(format!("is of {place}"))?)
                    }
                }
            }
            Choice::Path(path) => self.at(path, accept),
        }
    }

    /// Reads a file that may lie anywhere.
    fn at(&self, path: &Path, accept: Accept) -> Result<Checkpoint> {
        let beside = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let read = || {
            let name = path.file_name().and_then(|name| name.to_str())?;
            Some(Checkpoint::read(&Folder::open(beside).ok()?, name, accept))
        };
        match read() {
            None | Some(Err(Error::MissingFile { .. })) => {
                Err(self.no_such(format!("is the file {path:?}, which is not there either"))?)
            }
            Some(read) => read,
        }
    }

    /// An error about a checkpoint that is not there, with those that are.
    fn no_such(&self, wanted: String) -> Result<Error> {
        let newest = match self.latest() {
            Err(Error::NoCheckpoint { path }) => return Ok(Error::NoCheckpoint { path }),
            name => Place::of(&name?),
        };
        let there = list(&self.places()?, self.best().ok(), newest);
        Ok(Error::NoSuchCheckpoint { path: self.path().to_owned(), wanted, there })
    }

    /// The name of a checkpoint that the run has, if it goes by it.
    pub(crate) fn own_name(&self, checkpoint: &Checkpoint) -> Option<String> {
        let name = checkpoint.path.file_name()?.to_str().and_then(name_of)?;
        Place::of(name)?;
        let folder = |path: &Path| path.parent().and_then(|folder| folder.canonicalize().ok());
        let own = folder(&self.folder.join(CHECKPOINTS).join(name))?;
        (folder(&checkpoint.path)? == own).then(|| name.to_owned())
    }
}
