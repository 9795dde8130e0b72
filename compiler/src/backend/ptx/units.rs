//! The units of a layer that a CTA keeps through a time loop.

use super::text::{Pred, Reg, Writer};

/// The units of a CTA in a time loop: `own` from `first` on, as far as there are so many.
#[derive(Clone, Copy, Debug)]
pub(super) struct Units {
    pub count: usize,
    pub own: usize,
    pub first: Reg,
}

impl Units {
    /// Of `extent` positions, of which each unit has one in each group of [`Units::count`], the one that is number `own` of this
    /// CTA's, and whether there is one.
    pub fn position(self, w: &mut Writer, extent: usize, own: Reg) -> (Reg, Pred) {
        let Units { count, own: units, first } = self;
        let (group, unit) = w.div_rem(own, units as u32);
        let unit = w.add(unit, first);
        let is_unit = w.compare("setp.lt.u32", unit, count as u32);
        let is_group = w.compare("setp.lt.u32", group, (extent / count) as u32);
        let position = w.mad(group, count as u32, unit);
        (position, w.both(is_unit, is_group))
    }

    /// How many CTAs have units.
    pub fn ctas(self) -> usize {
        self.count.div_ceil(self.own)
    }
}
