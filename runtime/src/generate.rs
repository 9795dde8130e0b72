//! Writing text: the loop is compiled code, and the host feeds it one token a step.
//!
//! A program of one step carries its recurrent state from token to token. A program of more steps reads a window, which
//! moves on by one token each time.

use crate::engine::{Control, Driver, Engine, StepInputs, StepOutputs};
use crate::error::{Error, Result};
use crate::monitor::Monitor;
use crate::sample::Sampler;

/// What to write.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    pub prompt: &'a [u32],
    /// How many tokens to add.
    pub length: usize,
    pub sampler: Sampler,
    /// Ids below this stand for no word and are not written.
    pub reserve: usize,
}

/// Reads the prompt from fresh recurrent state, then calls `write` with each new token, until there are
/// `length`, `write` wants no more, or the monitor says stop. Returns how many there are.
///
/// # Errors
/// [`Error::ShortPrompt`]; what `write` returns.
pub fn generate(
    engine: &mut dyn Engine,
    request: Request<'_>,
    monitor: &Monitor,
    write: &mut (dyn FnMut(u32) -> Result<bool> + Send),
) -> Result<usize> {
    let Request { prompt, length, sampler, reserve } = request;
    let mut written = 0;
    let mut choose = |distribution: &[f32]| {
        let token = sampler.choose(distribution, reserve, written as u64);
        written += 1;
        Ok(write(token)?.then_some(token))
    };
    follow(engine, (prompt, length), sampler.seed, monitor, &mut choose)?;
    Ok(written)
}

/// How likely each token is after a text, which is read from fresh recurrent state.
///
/// # Errors
/// [`Error::ShortPrompt`].
pub fn distribution(engine: &mut dyn Engine, text: &[u32]) -> Result<Vec<f32>> {
    let mut found = Vec::new();
    let mut look = |distribution: &[f32]| {
        found.extend_from_slice(distribution);
        Ok(None)
    };
    follow(engine, (text, 1), 0, &Monitor::default(), &mut look)?;
    Ok(found)
}

/// Chooses the token that a text goes on with, from its distribution; `None` ends the text.
type Choose<'a> = dyn FnMut(&[f32]) -> Result<Option<u32>> + Send + 'a;

/// Reads a prompt, then up to `length` tokens that are chosen.
fn follow(
    engine: &mut dyn Engine,
    (prompt, length): (&[u32], usize),
    seed: u64,
    monitor: &Monitor,
    choose: &mut Choose<'_>,
) -> Result<()> {
    let window = match engine.batch_shape()? {
        [window, 1] => window,
        _ => return Err(Error::MissingBuffer("tokens of one row".into())),
    };
    if prompt.len() < window {
        return Err(Error::ShortPrompt { found: prompt.len(), needed: window });
    }
    engine.reset_carried();
    // Where state is carried every token of the prompt is read; a window takes the last ones.
    let first = if window == 1 { 0 } else { prompt.len() - window };
    let text = prompt[first..].to_vec();
    let silent = text.len() - window;
    let mut writer = Writer { window, silent: silent as u64, text, monitor, choose };
    engine.run(silent.saturating_add(length) as u64, seed, &mut writer)?;
    Ok(())
}

struct Writer<'a> {
    window: usize,
    /// Steps that only read the prompt.
    silent: u64,
    /// What has been read or chosen; step `s` reads `window` tokens from `s`, and none if they are not there.
    text: Vec<u32>,
    monitor: &'a Monitor,
    choose: &'a mut Choose<'a>,
}

impl Driver for Writer<'_> {
    fn begin(&mut self, step: u64, inputs: &mut dyn StepInputs) -> Result<Control> {
        let from = step as usize;
        match self.text.get(from..from + self.window) {
            Some(tokens) if !self.monitor.stopped() => inputs.batch_mut()?.0.copy_from_slice(tokens),
            _ => return Ok(Control::Stop),
        }
        Ok(Control::Step(step + 1))
    }

    fn end(&mut self, step: u64, outputs: &dyn StepOutputs) -> Result<()> {
        if step < self.silent {
            return Ok(());
        }
        let (probabilities, vocab) = outputs.probabilities()?;
        let last = &probabilities[probabilities.len().saturating_sub(vocab)..];
        self.text.extend((self.choose)(last)?);
        Ok(())
    }

    /// Each step reads the token that the one before has chosen.
    fn waits(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use lstmc_compiler::backend::cpu::abi::Run;
    use lstmc_compiler::kernel::{BufferKind, InputRole, OutputRole};

    use super::*;
    use crate::engine::cpu::Session;
    use crate::testing::{buffer, outer_loop, program};

    const VOCAB: usize = 10;

    /// The most likely next token is the sum of all tokens read so far (of this window, or of the carried state).
    unsafe fn body<const STEPS: usize>(run: *mut Run, _worker: u32) {
        // SAFETY: tokens, state and probabilities lie in the lines that `session` gives them.
        unsafe {
            let arena = (*run).arena;
            let tokens = std::slice::from_raw_parts(arena.cast::<u32>(), STEPS);
            let state = &mut *arena.add(64).cast::<f32>();
            let probabilities = std::slice::from_raw_parts_mut(arena.add(128).cast::<f32>(), VOCAB);
            *state += tokens.iter().sum::<u32>() as f32;
            probabilities.fill(0.01);
            probabilities[*state as usize % VOCAB] = 0.9;
            if STEPS > 1 {
                *state = 0.0;
            }
        }
    }

    unsafe extern "C" fn carried(run: *mut Run, worker: u32) {
        // SAFETY: called by a session, with its own run.
        unsafe { outer_loop(run, worker, body::<1>) }
    }

    unsafe extern "C" fn windowed(run: *mut Run, worker: u32) {
        // SAFETY: called by a session, with its own run.
        unsafe { outer_loop(run, worker, body::<3>) }
    }

    fn session(steps: usize) -> Session {
        let program = program(
            "generate",
            vec![
                buffer("tokens", &[steps, 1], BufferKind::Input(InputRole::Tokens)),
                buffer("l.h", &[1, 1], BufferKind::Input(InputRole::Carried { start: 0.0 })),
                buffer("p", &[1, VOCAB], BufferKind::Output(OutputRole::Probabilities)),
            ],
        );
        let entry = if steps == 1 { carried } else { windowed };
        // SAFETY: the functions above do what the program's buffers say.
        unsafe { Session::from_parts(&program, entry, Box::new(())) }.unwrap()
    }

    fn run(engine: &mut dyn Engine, prompt: &[u32], length: usize) -> Result<Vec<u32>> {
        let mut out = Vec::new();
        let request = Request { prompt, length, sampler: Sampler::greedy(), reserve: 0 };
        let written = generate(engine, request, &Monitor::default(), &mut |token| {
            out.push(token);
            Ok(true)
        })?;
        assert_eq!(written, out.len());
        Ok(out)
    }

    #[test]
    fn state_is_carried_through_prompt_and_text() {
        let mut session = session(1);
        // 1+2+3 = 6; +6 = 12 -> 2; +2 = 14 -> 4; +4 = 18 -> 8.
        assert_eq!(run(&mut session, &[1, 2, 3], 4).unwrap(), [6, 2, 4, 8]);
        assert_eq!(run(&mut session, &[5], 2).unwrap(), [5, 0], "each text starts afresh");
        assert!(run(&mut session, &[5], 0).unwrap().is_empty());
    }

    #[test]
    fn a_window_moves_on_by_one_token() {
        // The last three of the prompt: 1+2+3 = 6; 2+3+6 = 11 -> 1; 3+6+1 = 10 -> 0.
        assert_eq!(run(&mut session(3), &[9, 1, 2, 3], 3).unwrap(), [6, 1, 0]);
    }

    #[test]
    fn a_prompt_shorter_than_the_window_is_refused() {
        let error = run(&mut session(3), &[1, 2], 3).unwrap_err();
        assert!(matches!(error, Error::ShortPrompt { found: 2, needed: 3 }), "{error}");
        assert!(matches!(run(&mut session(1), &[], 3), Err(Error::ShortPrompt { found: 0, needed: 1 })));
    }

    #[test]
    fn writing_ends_where_no_more_is_wanted() {
        let mut out = Vec::new();
        let request = Request { prompt: &[1], length: 100, sampler: Sampler::greedy(), reserve: 0 };
        let mut write = |token| {
            out.push(token);
            Ok(out.len() < 3)
        };
        assert_eq!(generate(&mut session(1), request, &Monitor::default(), &mut write).unwrap(), 3);
        assert_eq!(out, [1, 2, 4]);
    }

    #[test]
    fn a_distribution_is_that_after_all_of_a_text() {
        let mut session = session(1);
        for text in [&[1, 2, 3][..], &[4]] {
            let found = distribution(&mut session, text).unwrap();
            let most = text.iter().sum::<u32>();
            assert_eq!((found.len(), found[most as usize]), (VOCAB, 0.9), "from fresh state");
        }
        assert!(matches!(distribution(&mut session, &[]), Err(Error::ShortPrompt { .. })));
    }

    #[test]
    fn writing_stops_when_asked_to() {
        let monitor = Monitor::default();
        let request = Request { prompt: &[1], length: 100, sampler: Sampler::greedy(), reserve: 0 };
        let mut left = 3;
        let written = generate(&mut session(1), request, &monitor, &mut |_| {
            left -= 1;
            if left == 0 {
                monitor.stop();
            }
            Ok(true)
        });
        assert_eq!(written.unwrap(), 3);
    }
}
