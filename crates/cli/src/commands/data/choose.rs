//! From flags to what is read and what stays.

use anyhow::{Context as _, Result, bail};
use lucid_train::data::{
    ChooseOptions, DedupOptions, Duplicates, FilterOptions, ReadOptions, Split,
};

use crate::data_args::ChooseArgs;

pub(super) fn options(args: &ChooseArgs) -> Result<ChooseOptions> {
    let mut filter = if args.no_filters { FilterOptions::none() } else { FilterOptions::default() };
    filter.words_min = args.words_min.or(filter.words_min);
    filter.languages.clone_from(&args.language);
    let kept = if args.keep_duplicates { Duplicates::Keep } else { Duplicates::Drop };
    Ok(ChooseOptions {
        read: ReadOptions {
            split: split(&args.split)?,
            field: args.field.clone(),
            document_bytes_max: args.document_bytes_max,
        },
        filter,
        dedup: DedupOptions { exact: kept, near: kept, similarity_min: args.similarity_min },
    })
}

fn split(text: &str) -> Result<Split> {
    Ok(match text.split_once(':').unwrap_or((text, "")) {
        ("whole", "") => Split::Whole,
        ("blank-lines", "") => Split::BlankLines,
        ("passages", bytes) => {
            Split::Passages(bytes.parse().with_context(|| format!("--split {text}"))?)
        }
        ("separator", separator) if !separator.is_empty() => {
            Split::Separator(separator.replace("\\n", "\n").replace("\\t", "\t"))
        }
        _ => bail!("--split {text}: expected whole, blank-lines, passages:BYTES or separator:TEXT"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_to_split_are_read() {
        let check = |text: &str, expected: Option<Split>| {
            assert_eq!(split(text).ok(), expected, "{text}");
        };
        check("whole", Some(Split::Whole));
        check("blank-lines", Some(Split::BlankLines));
        check("passages:500", Some(Split::Passages(500)));
        check("separator:\\n--:\\n", Some(Split::Separator("\n--:\n".to_owned())));
        for wrong in ["", "half", "passages", "passages:x", "separator:", "whole:1"] {
            check(wrong, None);
        }
    }
}
