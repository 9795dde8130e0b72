//! Encodings, against what LLVM's assembler makes of the same instructions, and read back by a decoder with every register;
//! what loops compute is tested where they are called (`cranelift/tests`).

use iced_x86::{Decoder, DecoderOptions, Instruction, Mnemonic, Register};

use super::assembler::Assembler;
use super::instructions::{Code, General, Memory, Source};
use super::*;
use crate::backend::elementary::Condition;
use crate::kernel::Reduce;

type Write = fn(&mut Assembler);

const ELEMENT: Memory = Memory::Element(General::R13, General::RSI, 0x1234);
const FRAME: Memory = Memory::At(General::RDI, 0x40);

/// The bytes that an assembler writes.
fn bytes(width: Width, write: Write) -> String {
    let mut a = Assembler::new(width);
    write(&mut a);
    let length = a.here();
    let bytes = a.finish(&[]);
    let bytes: Vec<String> = bytes[..length].iter().map(|byte| format!("{byte:02x}")).collect();
    bytes.join(" ")
}

#[test]
fn instructions_of_512_bits() {
    let each: [(Write, &str); 29] = [
        (|a| a.binary(Code::ADD, 1, 2, Source::Register(3)), "62 f1 6c 48 58 cb"),
        (|a| a.binary(Code::SUB, 31, 30, Source::Register(29)), "62 01 0c 40 5c fd"),
        (|a| a.binary(Code::MUL, 9, 8, Source::Memory(ELEMENT)), "62 51 3c 48 59 8c b5 34 12 00 00"),
        (|a| a.binary(Code::DIV, 4, 31, Source::Memory(FRAME)), "62 f1 04 40 5e a7 40 00 00 00"),
        (|a| a.binary(Code::MIN, 4, 5, Source::Register(31)), "62 91 54 48 5d e7"),
        (|a| a.binary(Code::MAX, 4, 5, Source::Register(6)), "62 f1 54 48 5f e6"),
        (|a| a.unary(Code::SQRT, 4, Source::Register(13)), "62 d1 7c 48 51 e5"),
        (|a| a.unary(Code::TO_REAL, 4, Source::Register(13)), "62 d1 7c 48 5b e5"),
        (|a| a.unary(Code::MOVE, 12, Source::Register(3)), "62 71 7c 48 28 e3"),
        (|a| a.unary(Code::BROADCAST, 12, Source::Memory(FRAME)), "62 72 7d 48 18 a7 40 00 00 00"),
        (|a| a.binary(Code::MUL_ADD_213, 1, 2, Source::Register(3)), "62 f2 6d 48 a8 cb"),
        (|a| a.binary(Code::MUL_ADD_231, 1, 2, Source::Register(3)), "62 f2 6d 48 b8 cb"),
        (|a| a.binary(Code::WHOLE_ADD, 1, 2, Source::Register(3)), "62 f1 6d 48 fe cb"),
        (|a| a.binary(Code::WHOLE_SUB, 1, 2, Source::Register(3)), "62 f1 6d 48 fa cb"),
        (|a| a.binary(Code::WHOLE_MUL, 1, 2, Source::Register(3)), "62 f2 6d 48 40 cb"),
        (|a| a.binary(Code::XOR, 1, 2, Source::Register(3)), "62 f1 6d 48 ef cb"),
        (|a| a.binary(Code::AND, 1, 2, Source::Register(3)), "62 f1 6d 48 db cb"),
        (|a| a.shift(true, 1, 31, 23), "62 91 75 48 72 f7 17"),
        (|a| a.shift(false, 31, 1, 8), "62 f1 05 40 72 d1 08"),
        (|a| a.load(31, Memory::Element(General::RBX, General::RSI, -8)), "62 61 7c 48 10 bc b3 f8 ff ff ff"),
        (
            |a| a.store(Memory::Element(General::R12, General::RSI, 64), 31),
            "62 41 7c 48 11 bc b4 40 00 00 00",
        ),
        (|a| a.load_present(5, ELEMENT, 15), "62 d1 7c cf 10 ac b5 34 12 00 00"),
        (|a| a.store_present(ELEMENT, 5, 15), "62 d1 7c 4f 11 ac b5 34 12 00 00"),
        (|a| a.fold_present(Code::ADD, 0, 5, 0, 15, 14), "62 f1 54 4f 58 c0"),
        (|a| a.compare(Condition::LessOrEqual, 7, Source::Register(8), 12), "62 d1 44 48 c2 c8 12"),
        (|a| a.choose(1, 2, Source::Register(13), 12), "62 d2 6d 49 65 cd"),
        (|a| a.spread(31, General::RAX), "62 62 7d 48 7c f8"),
        (|a| a.present(General::RAX, 15, 0), "41 bb ff ff ff ff c4 42 78 f5 db c4 c1 78 92 fb"),
        (|a| a.binary(Code::MUL, 9, 28, Source::Broadcast(FRAME)), "62 71 1c 50 59 8f 40 00 00 00"),
    ];
    for (write, expected) in each {
        assert_eq!(bytes(Width::Avx512, write), expected);
    }
}

#[test]
fn instructions_of_256_bits() {
    let each: [(Write, &str); 28] = [
        (|a| a.binary(Code::ADD, 1, 2, Source::Register(3)), "c4 e1 6c 58 cb"),
        (|a| a.binary(Code::SUB, 15, 14, Source::Register(13)), "c4 41 0c 5c fd"),
        (|a| a.binary(Code::MUL, 9, 8, Source::Memory(ELEMENT)), "c4 41 3c 59 8c b5 34 12 00 00"),
        (|a| a.binary(Code::DIV, 4, 15, Source::Memory(FRAME)), "c4 e1 04 5e a7 40 00 00 00"),
        (|a| a.binary(Code::MIN, 4, 5, Source::Register(15)), "c4 c1 54 5d e7"),
        (|a| a.binary(Code::MAX, 4, 5, Source::Register(6)), "c4 e1 54 5f e6"),
        (|a| a.unary(Code::SQRT, 4, Source::Register(13)), "c4 c1 7c 51 e5"),
        (|a| a.unary(Code::TO_REAL, 4, Source::Register(13)), "c4 c1 7c 5b e5"),
        (|a| a.unary(Code::MOVE, 12, Source::Register(3)), "c4 61 7c 28 e3"),
        (|a| a.unary(Code::BROADCAST, 12, Source::Memory(FRAME)), "c4 62 7d 18 a7 40 00 00 00"),
        (|a| a.binary(Code::MUL_ADD_213, 1, 2, Source::Register(3)), "c4 e2 6d a8 cb"),
        (|a| a.binary(Code::MUL_ADD_231, 1, 2, Source::Register(3)), "c4 e2 6d b8 cb"),
        (|a| a.binary(Code::WHOLE_ADD, 1, 2, Source::Register(3)), "c4 e1 6d fe cb"),
        (|a| a.binary(Code::WHOLE_SUB, 1, 2, Source::Register(3)), "c4 e1 6d fa cb"),
        (|a| a.binary(Code::WHOLE_MUL, 1, 2, Source::Register(3)), "c4 e2 6d 40 cb"),
        (|a| a.binary(Code::XOR, 1, 2, Source::Register(3)), "c4 e1 6d ef cb"),
        (|a| a.binary(Code::AND, 1, 2, Source::Register(3)), "c4 e1 6d db cb"),
        (|a| a.shift(true, 1, 15, 23), "c4 c1 75 72 f7 17"),
        (|a| a.shift(false, 15, 1, 8), "c4 e1 05 72 d1 08"),
        (|a| a.load(15, Memory::Element(General::RBX, General::RSI, -8)), "c4 61 7c 10 bc b3 f8 ff ff ff"),
        (|a| a.store(Memory::Element(General::R12, General::RSI, 64), 15), "c4 41 7c 11 bc b4 40 00 00 00"),
        (|a| a.load_present(5, ELEMENT, 15), "c4 c2 05 2c ac b5 34 12 00 00"),
        (|a| a.store_present(ELEMENT, 5, 15), "c4 c2 05 2e ac b5 34 12 00 00"),
        (|a| a.fold_present(Code::ADD, 0, 5, 0, 15, 14), "c4 61 54 58 f0 c4 c3 7d 4a c6 f0"),
        (|a| a.compare(Condition::LessOrEqual, 7, Source::Register(8), 12), "c4 41 44 c2 e0 12"),
        (|a| a.choose(1, 2, Source::Register(13), 12), "c4 c3 6d 4a cd c0"),
        (|a| a.spread(15, General::RAX), "c4 61 79 6e f8 c4 42 7d 58 ff"),
        (
            |a| a.present(General::RAX, 15, 0),
            "41 bb 08 00 00 00 49 3b c3 49 0f 4f c3 4c 2b d8 48 8d 05 29 00 00 00 c4 21 7c 10 bc 98 00 00 00 00",
        ),
    ];
    for (write, expected) in each {
        assert_eq!(bytes(Width::Avx2, write), expected);
    }
}

#[test]
fn instructions_on_general_registers() {
    let each: [(Write, &str); 10] = [
        (|a| a.load_general(General::R15, General::RDI, 72), "4c 8b bf 48 00 00 00"),
        (|a| a.address(General::RAX, General::RSI, -16), "48 8d 86 f0 ff ff ff"),
        (|a| a.at_most(General::R11, General::RDI, 72), "4c 3b 9f 48 00 00 00 4c 0f 4f 9f 48 00 00 00"),
        (|a| a.difference(General::RAX, General::RDX, General::RSI), "48 8b c2 48 2b c6"),
        (|a| a.compare_general(General::R9, General::RDX), "4c 3b ca"),
        (|a| a.prefetch_for_writing(ELEMENT), "41 0f 0d 8c b5 34 12 00 00"),
        (|a| a.push(General::R14), "41 56"),
        (|a| a.pop(General::RBP), "40 5d"),
        (|a| a.give_back(), "c5 f8 77"),
        (|a| a.ret(), "c3"),
    ];
    for (write, expected) in each {
        assert_eq!(bytes(Width::Avx512, write), expected);
    }
}

/// The one instruction that an assembler writes, as a decoder reads it.
fn read_back(width: Width, write: impl Fn(&mut Assembler)) -> Instruction {
    let mut a = Assembler::new(width);
    write(&mut a);
    let length = a.here();
    let code = a.finish(&[]);
    let mut decoder = Decoder::new(64, &code[..length], DecoderOptions::NONE);
    let instruction = decoder.decode();
    assert!(!instruction.is_invalid() && !decoder.can_decode(), "{:x?}", &code[..length]);
    instruction
}

#[test]
fn every_vector_register_is_read_back_where_it_was_written() {
    for (width, zero) in [(Width::Avx2, Register::YMM0), (Width::Avx512, Register::ZMM0)] {
        let count = width.registers();
        for (to, first) in (0..count).flat_map(|to| (0..count).map(move |first| (to, first))) {
            for source in 0..count {
                let found = read_back(width, |a| a.binary(Code::SUB, to, first, Source::Register(source)));
                assert_eq!(found.mnemonic(), Mnemonic::Vsubps);
                let registers = [found.op0_register(), found.op1_register(), found.op2_register()];
                assert_eq!(registers, [to, first, source].map(|number| zero + u32::from(number)));
            }
        }
    }
}

#[test]
fn every_address_is_read_back_as_it_was_written() {
    let general = |number: u8| Register::RAX + u32::from(number);
    // The stack pointer is neither an index nor a base.
    let numbers = || (0..16).filter(|&number| number != 4).map(General);
    for width in [Width::Avx2, Width::Avx512] {
        for (base, index) in numbers().flat_map(|base| numbers().map(move |index| (base, index))) {
            for offset in [0, 4, -64, 0x1234, i32::MIN] {
                let place = Memory::Element(base, index, offset);
                for found in [
                    read_back(width, |a| a.load(width.registers() - 1, place)),
                    read_back(width, |a| a.store(place, 3)),
                    read_back(width, |a| a.prefetch_for_writing(place)),
                ] {
                    let registers = [found.memory_base(), found.memory_index()];
                    assert_eq!(registers, [general(base.0), general(index.0)], "{found:?}");
                    assert_eq!(found.memory_index_scale(), 4, "{found:?}");
                    assert_eq!(found.memory_displacement64() as i64, i64::from(offset), "{found:?}");
                }
            }
        }
    }
}

#[test]
fn masks_are_read_back() {
    let load = read_back(Width::Avx512, |a| a.load_present(5, ELEMENT, 0));
    assert_eq!((load.op_mask(), load.zeroing_masking()), (Register::K7, true));
    let store = read_back(Width::Avx512, |a| a.store_present(ELEMENT, 5, 0));
    assert_eq!((store.op_mask(), store.zeroing_masking()), (Register::K7, false));
    let fold = read_back(Width::Avx512, |a| a.fold_present(Code::MAX, 1, 2, 3, 0, 0));
    assert_eq!(
        (fold.mnemonic(), fold.op_mask(), fold.zeroing_masking()),
        (Mnemonic::Vmaxps, Register::K7, false)
    );
}

#[test]
fn a_loop_asks_no_further_than_its_worker_stores() {
    let text = |stores: bool| {
        let mut body = Body::default();
        let x = body.push(Operation::Load(Place { base: 0, offset: 0 }));
        if stores {
            body.push(Operation::Store(Place { base: 1, offset: 4096 }, x));
        } else {
            body.folds.push((Reduce::Sum, x));
        }
        body.bases = 2;
        compile(&body, Width::Avx512).unwrap().text()
    };
    let found = text(true);
    let instructions: Vec<&str> = found.lines().filter_map(|line| Some(line.split_once(": ")?.1)).collect();
    // A round of four vectors, and 256 iterations more, up to the number behind the frame's two pointers.
    let end = ["leaq 0x140(%rsi), %r11", "cmpq 0x10(%rdi), %r11", "cmovgq 0x10(%rdi), %r11"];
    assert!(instructions.windows(3).any(|window| window == end), "{found}");
    // Each asks for the vector that lies as far from the end as its own from the round's.
    let asked: Vec<&str> = instructions.into_iter().filter(|line| line.starts_with("prefetchw")).collect();
    let expected = [256, 192, 128, 64].map(|back| format!("prefetchw 0x{:x}(%r8, %r11, 4)", 4096 - back));
    assert_eq!(asked, expected);
    assert!(!text(false).contains("cmovg"), "{}", text(false));
}
