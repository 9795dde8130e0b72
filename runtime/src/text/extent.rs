//! How much text there is, however it is cut: what models with other tokens are compared by.

use std::f64::consts::LN_2;

/// The length of a text, in what no tokenizer changes, and in tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    pub tokens: u64,
    /// Unicode scalar values; the end of a line is one.
    pub characters: u64,
    /// What stands between white space, and each end of a line.
    pub words: u64,
}

impl Extent {
    pub(super) fn of(text: &str, tokens: usize) -> Self {
        let returns = text.matches("\r\n").count();
        let ends = text.matches(['\n', '\r']).count() - returns;
        Self {
            tokens: tokens as u64,
            characters: (text.chars().count() - returns) as u64,
            words: (text.split_whitespace().count() + ends) as u64,
        }
    }

    /// The perplexity for each word of a model with this mean loss for each token, in nats.
    pub fn word_perplexity(&self, loss: f64) -> f64 {
        (loss * self.tokens as f64 / self.words as f64).exp()
    }

    /// The bits that each character takes.
    pub fn bits_per_character(&self, loss: f64) -> f64 {
        loss * self.tokens as f64 / self.characters as f64 / LN_2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_the_same_length_however_it_is_cut() {
        let extent = Extent::of("ab cd\r\ne\n", 3);
        assert_eq!(extent, Extent { tokens: 3, characters: 8, words: 5 });
        assert_eq!(Extent::of("ab cd\re\r", 3), extent);
        // Twice as many tokens of half the loss each say the same.
        let finer = Extent { tokens: 6, ..extent };
        assert_eq!(finer.bits_per_character(LN_2), extent.bits_per_character(2.0 * LN_2));
        assert!((extent.bits_per_character(LN_2) - 0.375).abs() < 1e-12);
        assert!((finer.word_perplexity(1.0) - (6f64 / 5.0).exp()).abs() < 1e-12);
    }
}
