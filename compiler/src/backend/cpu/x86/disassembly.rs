//! Machine code as text, for people. Another library than wrote the bytes decodes them, so that the text shows what the
//! processor will do.

use iced_x86::{Decoder, DecoderOptions, Formatter, GasFormatter};

/// A function's instructions and its constants, one a line behind their distances from its start, which is also how
/// constants and the targets of jumps are named. In the syntax of the GNU assembler, as Cranelift prints its own.
pub fn text(code: &[u8], constants: &[u8], constants_at: usize) -> String {
    let mut formatter = GasFormatter::new();
    let options = formatter.options_mut();
    options.set_space_after_operand_separator(true);
    options.set_gas_space_after_memory_operand_comma(true);
    options.set_gas_show_mnemonic_size_suffix(true);
    options.set_uppercase_hex(false);
    options.set_show_branch_size(false);
    options.set_branch_leading_zeros(false);
    let mut text = String::new();
    for instruction in Decoder::with_ip(64, code, 0, DecoderOptions::NONE) {
        text.push_str(&format!("  {:>5x}: ", instruction.ip()));
        formatter.format(&instruction, &mut text);
        text.push('\n');
    }
    for (index, word) in constants.as_chunks::<4>().0.iter().enumerate() {
        let (at, bits) = (constants_at + 4 * index, u32::from_le_bytes(*word));
        text.push_str(&format!("  {at:>5x}: .long {bits:#010x}\n"));
    }
    text
}
