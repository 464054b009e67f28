//! `lucid data curriculum`: conversations for a small assistant, made in code.

use std::io::Write;
use std::path::Path;

use anyhow::{Context as _, Result};
use lucid_train::curriculum::{self, Side, Skill};

use crate::bar::Bar;
use crate::data_args::{CurriculumArgs, SkillChoice};
use crate::{interrupt, output, style};

/// Items between looks at the clock.
const ROUND: u64 = 256;

pub(crate) fn run(args: &CurriculumArgs) -> Result<i32> {
    interrupt::install();
    let skills: Vec<Skill> = if args.skill.is_empty() {
        Skill::ALL.to_vec()
    } else {
        Skill::ALL.into_iter().filter(|skill| args.skill.iter().any(|it| is(*it, *skill))).collect()
    };
    std::fs::create_dir_all(&args.output)
        .with_context(|| format!("cannot make {}", args.output.display()))?;
    for (side, name, count) in [
        (Side::Training, "training.jsonl", args.items),
        (Side::HeldOut, "held-out.jsonl", args.held_out),
    ] {
        let path = args.output.join(name);
        write(&path, &skills, side, args.seed, count)?;
        output::note(format_args!("wrote {}: {}", path.display(), style::count(count)));
    }
    Ok(0)
}

/// The skills in turn, so that each has as many.
fn write(path: &Path, skills: &[Skill], side: Side, seed: u64, count: u64) -> Result<()> {
    let mut bar = Bar::of_items("making");
    let written = lucid_sys::write_atomic(path, |out| {
        for number in 0..count {
            let skill = skills[(number % skills.len() as u64) as usize];
            let item = curriculum::item(skill, side, seed, number / skills.len() as u64);
            writeln!(out as &mut dyn Write, "{}", item.to_json())?;
            if number.is_multiple_of(ROUND) {
                bar.show(number, count);
            }
        }
        Ok(())
    });
    bar.clear();
    written.with_context(|| format!("cannot write {}", path.display()))
}

fn is(choice: SkillChoice, skill: Skill) -> bool {
    let of = match choice {
        SkillChoice::Talk => Skill::Talk,
        SkillChoice::Calculator => Skill::Calculator,
        SkillChoice::Passage => Skill::Passage,
        SkillChoice::Instruction => Skill::Instruction,
        SkillChoice::Arithmetic => Skill::Arithmetic,
        SkillChoice::Syscall => Skill::Syscall,
    };
    of == skill
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn calls_are_those_of_the_kernel() {
        let known: BTreeSet<&str> = lucid_os::syscall_names().collect();
        for number in 0..500 {
            let item = curriculum::item(Skill::Syscall, Side::Training, 1, number);
            for message in &item.conversation.messages {
                for call in &message.tool_calls {
                    assert!(known.contains(call.name.as_str()), "{}", call.name);
                }
            }
        }
    }
}
