//! What happens: the events of the log. They are segments, calls and decisions, not tokens; texts
//! are contents beside them, so that a text can be forgotten.
//!
//! Invariant: a state follows from events alone. What an event says is a fact; whoever folds it
//! computes nothing that could come out differently another day.

use serde::{Deserialize, Serialize};

use lucid_policy::{Capability, Decision, Form, Label, Party, SourceKind};

use crate::ids::{CallId, ContentId, PageId, Pid, TimerId};
use crate::page::Page;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A program began to run the log. What was under way when the last one ended is taken up.
    Booted {
        /// Of the program.
        version: String,
    },
    /// A process came to be, with nothing in its window yet.
    Spawned(Birth),
    /// A process came to be that has the window, the label and the capabilities of its parent.
    Forked {
        /// Of the child.
        pid: Pid,
        /// Whose copy it is.
        parent: Pid,
        /// What is taken from the parent's budget.
        budget: Budget,
    },
    /// A process may run.
    Admitted {
        /// Which.
        pid: Pid,
    },
    /// A text was added to a window. The process has read it.
    Appended {
        /// Whose window.
        pid: Pid,
        /// The text.
        page: Page,
    },
    /// A text was handed to a process to hold, without its reading it.
    Handed {
        /// To whom.
        pid: Pid,
        /// The text.
        page: Page,
    },
    /// A process's window was emptied but for its policy, and it has another application.
    Replaced {
        /// Which process.
        pid: Pid,
        /// Its new application.
        application: String,
        /// Its system text and goal.
        pages: Vec<Page>,
    },
    /// The model was asked.
    TurnBegun {
        /// For which process.
        pid: Pid,
        /// With which seed.
        seed: u64,
    },
    /// The model was interrupted, or failed; the turn is asked for again.
    TurnBroken {
        /// Of which process.
        pid: Pid,
        /// Milliseconds from when on it may be tried again, if it failed.
        not_before_ms: Option<i64>,
    },
    /// The model answered.
    Spoke {
        /// For which process.
        pid: Pid,
        /// What it said, its calls with it.
        page: Page,
        /// What it took.
        used: Used,
    },
    /// A call was decided.
    Decided {
        /// Of which process.
        pid: Pid,
        /// Which call.
        call: CallId,
        /// What was weighed, as JSON: [`Weighed`].
        weighed: ContentId,
        /// What was decided.
        decision: Decision,
    },
    /// A call that reaches outside is about to be made.
    Intended {
        /// Of which process.
        pid: Pid,
        /// Which call.
        call: CallId,
        /// Names the call to the world; the same if it is made again.
        key: String,
    },
    /// A call waits.
    Blocked {
        /// Of which process.
        pid: Pid,
        /// For what.
        on: On,
    },
    /// A call came back. Its text is read by the process.
    Returned {
        /// Of which process.
        pid: Pid,
        /// Which call.
        call: CallId,
        /// How it went.
        status: Status,
        /// What it says.
        page: Page,
        /// What is held for the process without its having read it.
        held: Option<Page>,
    },
    /// Pages went out of a window or came back into their places.
    Paged {
        /// Whose.
        pid: Pid,
        /// Those that went.
        out: Vec<PageId>,
        /// Those that came.
        back: Vec<PageId>,
        /// Tokens of the window that have to be computed again on account of it.
        again: u64,
        /// For how many turns a page that was touched stays, from now on.
        working_set: u32,
        /// How many slots from the beginning show what is out in ranges, from now on.
        folded: usize,
    },
    /// Pages were touched: the model referred to them.
    Touched {
        /// Whose.
        pid: Pid,
        /// Which.
        pages: Vec<PageId>,
    },
    /// A page is to stay, or need not any more.
    Pinned {
        /// Whose.
        pid: Pid,
        /// Which.
        page: PageId,
        /// Whether it stays.
        stays: bool,
    },
    /// A message was sent.
    Sent {
        /// By whom.
        from: Pid,
        /// To whom.
        to: Pid,
        /// The text.
        content: ContentId,
        /// Its length.
        bytes: u64,
        /// What is known of it.
        label: Label,
    },
    /// The oldest message was taken out of a mailbox.
    Received {
        /// Whose.
        pid: Pid,
    },
    /// A timer was set.
    TimerSet {
        /// Which.
        timer: TimerId,
        /// For whom.
        pid: Pid,
        /// When it goes off, in milliseconds since 1970.
        at_ms: i64,
        /// What it does.
        alarm: Alarm,
    },
    /// A timer went off.
    Fired {
        /// Which.
        timer: TimerId,
    },
    /// A person answered.
    Answered {
        /// Which call it was about.
        call: CallId,
        /// Who.
        by: Party,
        /// What was said.
        answer: Reply,
    },
    /// A capability was given.
    Granted {
        /// To whom.
        pid: Pid,
        /// Which.
        capability: Capability,
    },
    /// All capabilities for a tool were taken away.
    Revoked {
        /// From whom.
        pid: Pid,
        /// The tool.
        tool: String,
    },
    /// A signal reached a process.
    Signalled {
        /// Which.
        pid: Pid,
        /// What it was told.
        signal: Signal,
    },
    /// A process ended.
    Exited {
        /// Which.
        pid: Pid,
        /// How.
        exit: Exit,
    },
    /// Nobody waits for a process any more; only its history remains.
    Reaped {
        /// Which.
        pid: Pid,
    },
    /// A file of an application was written or, without a content, removed.
    FileWritten {
        /// Whose.
        application: String,
        /// Its path.
        path: String,
        /// What is in it.
        file: Option<FileRecord>,
    },
    /// The files of an application were recorded, to go back to.
    FilesKept {
        /// Whose.
        application: String,
        /// By which name.
        name: String,
    },
    /// A content is to be deleted.
    Forgotten {
        /// Which.
        content: ContentId,
    },
}

/// What a decision was made of, beside the process's label and capabilities.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Weighed {
    /// The tool as it was described then.
    pub tool: lucid_policy::Tool,
    /// The arguments with their origins.
    pub arguments: Vec<lucid_policy::Argument>,
}

/// What a process begins with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Birth {
    /// Its number.
    pub pid: Pid,
    /// Who made it; none is a person.
    pub parent: Option<Pid>,
    /// What it is an instance of.
    pub application: String,
    /// On whose behalf.
    pub principal: Party,
    /// What answers for it.
    pub provider: String,
    /// What it may do.
    pub capabilities: Vec<Capability>,
    /// What it may spend.
    pub budget: Budget,
    /// Larger goes first.
    pub priority: i32,
    /// When it has to be done, in milliseconds since 1970.
    pub deadline_ms: Option<i64>,
    /// What its result must be; anything if none.
    pub form: Option<Form>,
    /// The label that it begins with: that of whoever made it.
    pub label: Label,
}

/// What may be spent; none is without a bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// Tokens that are made.
    pub tokens: Option<u64>,
    /// Seconds of the model's time.
    pub seconds: Option<u64>,
    /// Millionths of a US dollar.
    pub micro_dollars: Option<u64>,
}

/// What was spent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Used {
    /// Tokens that were made.
    pub tokens: u64,
    /// Tokens of prompts that had to be computed.
    pub prompt_tokens: u64,
    /// Milliseconds of the model's time.
    pub ms: u64,
    /// Millionths of a US dollar.
    pub micro_dollars: u64,
}

impl Used {
    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            tokens: self.tokens + other.tokens,
            prompt_tokens: self.prompt_tokens + other.prompt_tokens,
            ms: self.ms + other.ms,
            micro_dollars: self.micro_dollars + other.micro_dollars,
        }
    }
}

impl Budget {
    /// What is left of it; nothing less than nothing.
    #[must_use]
    pub fn less(self, used: Used) -> Self {
        Self {
            tokens: self.tokens.map(|bound| bound.saturating_sub(used.tokens)),
            seconds: self.seconds.map(|bound| bound.saturating_sub(used.ms.div_ceil(1000))),
            micro_dollars: self.micro_dollars.map(|bound| bound.saturating_sub(used.micro_dollars)),
        }
    }

    /// What is left after a part was given away.
    #[must_use]
    pub fn without(self, part: Self) -> Self {
        let less = |bound: Option<u64>, part: Option<u64>| {
            bound.map(|bound| bound.saturating_sub(part.unwrap_or(0)))
        };
        Self {
            tokens: less(self.tokens, part.tokens),
            seconds: less(self.seconds, part.seconds),
            micro_dollars: less(self.micro_dollars, part.micro_dollars),
        }
    }

    /// Whether something of it is used up.
    pub fn is_gone(self) -> bool {
        [self.tokens, self.seconds, self.micro_dollars].contains(&Some(0))
    }

    /// As much of a wish as there is; without a wish, half.
    #[must_use]
    pub fn part(self, wish: Self) -> Self {
        let part = |bound: Option<u64>, wish: Option<u64>| match (bound, wish) {
            (None, wish) => wish,
            (Some(bound), None) => Some(bound / 2),
            (Some(bound), Some(wish)) => Some(wish.min(bound)),
        };
        Self {
            tokens: part(self.tokens, wish.tokens),
            seconds: part(self.seconds, wish.seconds),
            micro_dollars: part(self.micro_dollars, wish.micro_dollars),
        }
    }
}

/// What a call waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum On {
    /// A tool at work.
    Tool,
    /// A message.
    Message,
    /// The end of a child; none is any.
    Child(Option<Pid>),
    /// A person.
    Human(Question),
    /// A timer.
    Timer(TimerId),
}

/// What a person is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Question {
    /// Whether a call may be done.
    Approve,
    /// What the process wants to know.
    Open {
        /// In words, by the process.
        content: ContentId,
    },
}

/// What a person answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// It may be done, once.
    Approved,
    /// It may not.
    Refused,
    /// In words.
    Said {
        /// The words.
        content: ContentId,
    },
}

/// What a timer does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Alarm {
    /// Wakes a process that sleeps.
    Wake,
    /// Puts a message into the process's mailbox, again and again.
    Every {
        /// Milliseconds in between.
        period_ms: u64,
        /// The message.
        content: ContentId,
        /// Its length.
        bytes: u64,
    },
    /// Tells the process that its time is over.
    Deadline,
}

/// How a call went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It was done.
    Done,
    /// It could not be done, and was not.
    Failed,
    /// It may not be done, and was not.
    Refused,
    /// Whether it was done nobody can tell. It is not tried again.
    Unknown,
}

/// What a process is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Signal {
    /// Stand still.
    Stop,
    /// Go on.
    Cont,
    /// End when the turn is over.
    Term,
    /// End now.
    Kill,
    /// The time is over: end when the turn is over.
    Deadline,
}

/// How a process ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Why.
    pub reason: ExitReason,
    /// What it leaves to whoever waits.
    pub value: Option<ExitValue>,
}

/// Why a process ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExitReason {
    /// It said so.
    Done,
    /// It said that it could not do what it should.
    GaveUp,
    /// A signal.
    Signal(Signal),
    /// Its budget is spent.
    Budget,
    /// The model does not answer.
    Provider,
    /// The model's last answer was cut off, or held back.
    Cut,
    /// Its parent ended.
    Orphaned,
}

/// What a process leaves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitValue {
    /// The text.
    pub content: ContentId,
    /// Its length.
    pub bytes: u64,
    /// What is known of it.
    pub label: Label,
}

/// What is known of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// What was written.
    pub content: ContentId,
    /// What is known of it.
    pub label: Label,
    /// Whose word it is; none if a process wrote it, or had a part in it.
    pub source_kind: Option<SourceKind>,
}
