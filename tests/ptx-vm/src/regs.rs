//! The registers of a warp: 32 lanes each, dense by class.
//!
//! Registers of 16 and 32 bits share the class of words; a predicate is a mask of lanes. Constants and special registers
//! are registers too, written once when the warp starts, so that every operand is a slot. Beside each register stands
//! which lanes have written it: the machine reads a register of a lane only after that lane wrote it, and whoever executes
//! an instruction may count on that.

/// Lanes of a warp.
pub const LANES: usize = 32;

/// What a register holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Class {
    Pred,
    /// 16 bits, in the low half of a word.
    Half,
    Word,
    Double,
}

impl Class {
    pub fn bits(self) -> u32 {
        match self {
            Class::Pred => 1,
            Class::Half => 16,
            Class::Word => 32,
            Class::Double => 64,
        }
    }

    /// The file it lies in.
    pub fn file(self) -> u32 {
        match self {
            Class::Half | Class::Word => 0,
            Class::Double => 1,
            Class::Pred => 2,
        }
    }
}

/// A predicate that is read negated has this bit in its slot.
pub(crate) const NEGATED: u32 = 1 << 31;

const FILE: u32 = 30;

/// A register of any class, for what is read and written.
pub(crate) fn key(class: Class, slot: u32) -> u32 {
    class.file() << FILE | (slot & !NEGATED)
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Regs {
    pub words: Vec<[u32; LANES]>,
    pub doubles: Vec<[u64; LANES]>,
    pub preds: Vec<u32>,
    /// Which lanes have written each register, by file.
    valid: [Vec<u32>; 3],
}

impl Regs {
    pub fn new(counts: [usize; 3]) -> Self {
        Self {
            words: vec![[0; LANES]; counts[0]],
            doubles: vec![[0; LANES]; counts[1]],
            preds: vec![0; counts[2]],
            valid: counts.map(|count| vec![0; count]),
        }
    }

    /// As new: nothing has been written.
    pub fn clear(&mut self) {
        self.valid.iter_mut().for_each(|file| file.fill(0));
    }

    #[inline]
    pub fn valid(&self, key: u32) -> u32 {
        self.valid[(key >> FILE) as usize][(key & ((1 << FILE) - 1)) as usize]
    }

    #[inline]
    pub fn wrote(&mut self, key: u32, mask: u32) {
        self.valid[(key >> FILE) as usize][(key & ((1 << FILE) - 1)) as usize] |= mask;
    }

    /// Writes all lanes of a register that is never written again.
    pub fn fix(&mut self, class: Class, slot: u32, value: impl Fn(usize) -> u64) {
        for lane in 0..LANES {
            match class {
                Class::Half | Class::Word => self.words[slot as usize][lane] = value(lane) as u32,
                Class::Double => self.doubles[slot as usize][lane] = value(lane),
                Class::Pred => unreachable!("no predicate is constant"),
            }
        }
        self.wrote(key(class, slot), !0);
    }

    #[inline]
    pub fn pred(&self, slot: u32) -> u32 {
        self.preds[(slot & !NEGATED) as usize] ^ if slot & NEGATED != 0 { !0 } else { 0 }
    }

    /// The bits of a lane of a register of words or doubles.
    #[inline]
    pub fn bits(&self, class: Class, slot: u32, lane: usize) -> u64 {
        if class == Class::Double {
            self.doubles[slot as usize][lane]
        } else {
            self.words[slot as usize][lane].into()
        }
    }

    #[inline]
    pub fn set_bits(&mut self, class: Class, slot: u32, lane: usize, value: u64) {
        match class {
            Class::Double => self.doubles[slot as usize][lane] = value,
            Class::Half => self.words[slot as usize][lane] = value as u16 as u32,
            _ => self.words[slot as usize][lane] = value as u32,
        }
    }
}

/// A type of lanes: how a register is read and written as such.
pub(crate) trait Lane: Copy + Send + Sync + 'static {
    const CLASS: Class;
    fn fetch(regs: &Regs, slot: u32) -> [Self; LANES];
    fn put(regs: &mut Regs, slot: u32, mask: u32, values: [Self; LANES]);
}

macro_rules! lanes {
    ($($type:ty, $class:ident, $file:ident, |$from:ident| $decode:expr, |$to:ident| $encode:expr;)*) => {$(
        impl Lane for $type {
            const CLASS: Class = Class::$class;

            #[inline]
            fn fetch(regs: &Regs, slot: u32) -> [Self; LANES] {
                regs.$file[slot as usize].map(|$from| $decode)
            }

            #[inline]
            fn put(regs: &mut Regs, slot: u32, mask: u32, values: [Self; LANES]) {
                let to = &mut regs.$file[slot as usize];
                let values = values.map(|$to| $encode);
                if mask == !0 {
                    *to = values;
                    return;
                }
                for lane in 0..LANES {
                    to[lane] = if mask >> lane & 1 != 0 { values[lane] } else { to[lane] };
                }
            }
        }
    )*};
}

lanes! {
    u16, Half, words, |bits| bits as u16, |value| value.into();
    i16, Half, words, |bits| bits as i16, |value| value as u16 as u32;
    u32, Word, words, |bits| bits, |value| value;
    i32, Word, words, |bits| bits as i32, |value| value as u32;
    f32, Word, words, |bits| f32::from_bits(bits), |value| value.to_bits();
    u64, Double, doubles, |bits| bits, |value| value;
    i64, Double, doubles, |bits| bits as i64, |value| value as u64;
    f64, Double, doubles, |bits| f64::from_bits(bits), |value| value.to_bits();
}

impl Lane for bool {
    const CLASS: Class = Class::Pred;

    #[inline]
    fn fetch(regs: &Regs, slot: u32) -> [Self; LANES] {
        let mask = regs.pred(slot);
        std::array::from_fn(|lane| mask >> lane & 1 != 0)
    }

    #[inline]
    fn put(regs: &mut Regs, slot: u32, mask: u32, values: [Self; LANES]) {
        let mut bits = 0;
        for (lane, &value) in values.iter().enumerate() {
            bits |= u32::from(value) << lane;
        }
        let to = &mut regs.preds[slot as usize];
        *to = *to & !mask | bits & mask;
    }
}
