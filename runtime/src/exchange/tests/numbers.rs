//! Messages are read as they were written, and others are no reason to panic.

use half::bf16;
use proptest::prelude::*;

use crate::exchange::numbers::{Precision, Use, read, rounded, write};

fn values() -> impl Strategy<Value = f32> {
    prop_oneof![4 => Just(0.0), 1 => Just(-0.0), 1 => any::<f32>()]
}

fn tables() -> impl Strategy<Value = (usize, Vec<f32>)> {
    (0_usize..5, 0_usize..20)
        .prop_flat_map(|(row, rows)| (Just(row), prop::collection::vec(values(), rows * row.max(1))))
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

proptest! {
    #[test]
    fn what_is_written_is_read((row, values) in tables(), rounds in any::<bool>()) {
        let precision = if rounds { Precision::Bf16 } else { Precision::F32 };
        let rounded = |value: &f32| if rounds { bf16::from_f32(*value).to_f32() } else { *value };
        let values: Vec<f32> = values.iter().map(rounded).collect();
        let mut message = vec![];
        write(&values, row, precision, &mut message);
        write(&values, row, precision, &mut message);
        let (mut set, mut added) = (vec![7.0; values.len()], vec![0.0; values.len()]);
        let mut rest = &message[..];
        prop_assert!(read(&mut rest, row, precision, &mut set, Use::Set).is_some());
        prop_assert_eq!(bits(&set), bits(&values));
        prop_assert!(read(&mut rest, row, precision, &mut added, Use::Add).is_some());
        prop_assert_eq!(bits(&added), bits(&values.iter().map(|value| 0.0 + value).collect::<Vec<_>>()));
        prop_assert!(rest.is_empty());
    }

    #[test]
    fn no_message_is_reason_to_panic(
        mut message in prop::collection::vec(any::<u8>(), 0..40), count in 0_u32..4, row in 0_usize..4, len in 0_usize..6
    ) {
        message.iter_mut().zip(count.to_ne_bytes()).for_each(|(byte, of_count)| *byte = of_count);
        let mut target = vec![0.0; row.max(1) * len];
        let _ = read(&mut &message[..], row, Precision::F32, &mut target, Use::Add);
    }
}

#[test]
fn rounding_is_that_of_another_implementation() {
    let patterns =
        (0..=u32::MAX).step_by(65_521).chain([0, 1 << 31, 0x7f7f_ffff, 0x7f80_0000, 0x7f80_0001, u32::MAX]);
    for bits in patterns.chain((0..40).map(|low| 0x3f80_7ff0 + low)) {
        let x = f32::from_bits(bits);
        assert_eq!(rounded(x).to_bits(), bf16::from_f32(x).to_f32().to_bits(), "{bits:08x}");
    }
}
