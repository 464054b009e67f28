//! A message to itself, again and again.

use super::{Must, Syscall, done, number, number_of, object, text, text_of, wrong};
use crate::event::{Alarm, Event};

pub(super) const CALL: Syscall = Syscall {
    name: "cron",
    description: "sends this process a message every so many seconds; `recv` waits for it",
    parameters: || object(&[("seconds", Must, number()), ("text", Must, text())]),
    run: |kernel, pid, arguments| {
        let seconds = number_of(arguments, "seconds")?;
        let text = text_of(arguments, "text")?;
        if seconds == 0 {
            return wrong("seconds: at least 1 is expected");
        }
        let period_ms = seconds.saturating_mul(1000);
        let timer = kernel.state().next_timer();
        let period = i64::try_from(period_ms).unwrap_or(i64::MAX);
        let at_ms = kernel.settings().time.now_ms().saturating_add(period);
        let content = kernel.put(text.as_bytes());
        let alarm = Alarm::Every { period_ms, content, bytes: text.len() as u64 };
        kernel.emit(Event::TimerSet { timer, pid, at_ms, alarm })?;
        done(format!("timer {timer}, every {seconds} s"))
    },
};
