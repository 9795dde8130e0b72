//! Barriers of all CTAs of a launch.

use super::super::scope::Scope;
use super::super::text::{Reg, Wide};

/// Polls of a barrier before it is given up: a CTA that never comes must not hang the machine. Some seconds.
const PATIENCE: u32 = 1 << 26;

/// A barrier of all CTAs of a launch. Its counter in memory is 0 when the launch begins, and counts up.
#[derive(Clone, Copy, Debug)]
pub struct GridBarrier {
    counter: Wide,
    /// How many arrivals there will be when all have come the next time.
    target: Reg,
}

impl GridBarrier {
    /// `offset`: where its counter lies, in bytes from the control block on.
    pub fn new(scope: &mut Scope, offset: usize) -> Self {
        let counter = scope.control(offset);
        let target = scope.w.bits(0);
        Self { counter, target }
    }

    /// Every CTA waits until all have come here, and sees what the others have written.
    ///
    /// The CTA's threads meet, so that what they wrote happens before its leader's release; the leader's acquire, and the
    /// second meeting, hand on what other CTAs released.
    pub fn wait(self, scope: &mut Scope) {
        let Self { counter, target } = self;
        let (ctas, thread) = (scope.ctas, scope.thread);
        scope.w.assign(target, "add.u32", [target.into(), ctas.into()]);
        scope.w.sync();
        let is_leader = scope.w.compare("setp.eq.u32", thread, 0);
        scope.when(is_leader, |scope| {
            let w = &mut scope.w;
            w.line(format_args!("red.release.gpu.global.add.u32 [{counter}], 1"));
            let polls = w.bits(0);
            let (again, done) = (w.label(), w.label());
            w.place(again);
            let arrived = w.reg();
            w.line(format_args!("ld.acquire.gpu.global.u32 {arrived}, [{counter}]"));
            let all = w.compare("setp.ge.u32", arrived, target);
            w.go_if(all, done);
            w.assign(polls, "add.u32", [polls.into(), 1.into()]);
            let patient = w.compare("setp.lt.u32", polls, PATIENCE);
            w.go_if(patient, again);
            w.line("trap");
            w.place(done);
        });
        scope.w.sync();
    }
}
