//! The end of a training: which epoch was the best, where its checkpoint lies, and what comes next.

use std::path::Path;

use lstmc_runtime::train::{Outcome, Summary};
use serde_json::{Value, json};

use super::plan::Plan;
use crate::show;

/// What is known when training is over.
pub struct End<'a> {
    pub run: &'a Path,
    /// For how many validations the model waits for a better one.
    pub patience: Option<usize>,
    /// The best validation.
    pub best: Option<Summary>,
    /// The command that uses what was trained.
    pub next: String,
}

impl End<'_> {
    pub fn event(&self, outcome: Outcome) -> Value {
        let outcome = match outcome {
            Outcome::Finished => "finished",
            Outcome::Interrupted => "stopped",
            Outcome::Settled => "stopped_early",
        };
        let best = self.best.as_ref().map(|best| {
            json!({
                "epoch": best.row.epoch,
                "step": best.row.step,
                "valid_loss": best.row.valid_loss,
                "valid_perplexity": best.row.valid_perplexity,
                "valid_accuracy": best.row.valid_accuracy,
                "checkpoint": best.checkpoint,
            })
        });
        json!({ "event": "end", "outcome": outcome, "run": self.run, "best": best, "next": self.command() })
    }

    pub fn lines(&self, outcome: Outcome, plan: &Plan) -> Vec<String> {
        let again = || format!("lstmc train --resume {}", show::path(self.run));
        let first = match outcome {
            Outcome::Interrupted => return vec![format!("stopped and saved: go on with  {}", again())],
            Outcome::Finished if plan.limited() => format!("done: go on with  {}", again()),
            Outcome::Finished => format!("finished: {}", self.run.display()),
            Outcome::Settled => {
                let waited = show::many(self.patience.unwrap_or(0) as u64, "validation");
                format!("stopped early, after {waited} without a better loss: {}", self.run.display())
            }
        };
        let mut lines = vec![first];
        if let Some(best) = &self.best {
            lines.push(format!("best        {}", plan.best(&best.row)));
            lines.push(match &best.checkpoint {
                Some(path) => format!("checkpoint  {}", path.display()),
                None => "checkpoint  it did not stay: write `checkpoint: best` into the train block".into(),
            });
        }
        if !plan.limited() {
            lines.push(format!("next        {}", self.command()));
        }
        lines
    }

    /// The next command, with the best checkpoint if there is one.
    fn command(&self) -> String {
        let best = self.best.as_ref().is_some_and(|best| best.checkpoint.is_some());
        if best { format!("{} --checkpoint best", self.next) } else { self.next.clone() }
    }
}
