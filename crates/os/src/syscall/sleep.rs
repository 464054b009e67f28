//! Waits for a time.

use super::{Must, Syscall, done, number, number_of, object};
use crate::event::{Alarm, Event, On};
use crate::kernel::Came;

pub(super) const CALL: Syscall = Syscall {
    name: "sleep",
    description: "waits so many seconds",
    parameters: || object(&[("seconds", Must, number())]),
    run: |kernel, pid, arguments| {
        let seconds = number_of(arguments, "seconds")?;
        if kernel.process(pid)?.progress.woken {
            return done(format!("{seconds} s have passed"));
        }
        let period = i64::try_from(seconds.saturating_mul(1000)).unwrap_or(i64::MAX);
        let at_ms = kernel.settings().time.now_ms().saturating_add(period);
        let timer = kernel.state().next_timer();
        kernel.emit(Event::TimerSet { timer, pid, at_ms, alarm: Alarm::Wake })?;
        Ok(Came::Waits(On::Timer(timer)))
    },
};
