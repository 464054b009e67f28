//! Pre-tokenizer families by their name in `tokenizer.ggml.pre`. Sources of names and patterns:
//! llama.cpp's `llama-vocab.cpp` and the `tokenizer.json` of each model; where llama.cpp
//! approximates a pattern, the model's own counts.

use serde_json::Value;

use crate::TokenizerError;
use crate::budget::Budget;
use crate::pattern::Pattern;
use crate::scan::Scanner;
use crate::split::{Behavior, Step};
use crate::to_json::{Words, byte_level, pre_tokenizer};

/// What a name stands for.
pub(crate) struct Family {
    /// Names in GGUF; the first is the one to write.
    pub(crate) names: &'static [&'static str],
    cuts: &'static [Cut],
    /// A word that is a token is that token.
    pub(crate) ignore_merges: bool,
    /// Begin-of-text goes first unless the file says otherwise.
    pub(crate) add_bos: bool,
    /// U+2581 for spaces and characters as symbols, not bytes.
    pub(crate) marked: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Cut {
    Scan(Scanner),
    At(&'static str),
    Triples { boundary: bool },
}

const GPT2: Cut = Cut::Scan(Scanner::Gpt2);
const DIGIT: Cut = Cut::At(r"\p{N}");
const CL100K_3: Cut = Cut::Scan(Scanner::Cl100k { digits: 3 });
const CL100K_1: Cut = Cut::Scan(Scanner::Cl100k { digits: 1 });
const O200K: Cut = Cut::Scan(Scanner::O200k { digits: 3, contractions: true });
const TEKKEN: Cut = Cut::Scan(Scanner::O200k { digits: 1, contractions: false });
const CJK: &str = r"[一-龥\u0800-一가-\ud7ff]+";
const CJK_KANA: Cut = Cut::At(r"[一-龥\u3040-ゟ゠-ヿ]+");
const LINE_ENDS: Cut = Cut::At(r"[\r\n]");
/// DeepSeek V3: a mark with the letters behind it, words, marks, line ends, white space.
const DEEPSEEK_V3: Cut = Cut::At(concat!(
    r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+"##,
    r##"|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+"##,
    r##"|\s+(?!\S)|\s+"##
));
/// Letters with case, as DeepSeek LLM lists them.
const DEEPSEEK_LETTERS: Cut = Cut::At(concat!(
    r"\s?[A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-",
    r"\u0293\u0295-\u02af\u0370-\u0373",
    r"\u0376\u0377\u037b-\u037d\u037f\u0386\u0388-\u038a\u038c\u038e-\u03a1\u03a3-",
    r"\u03f5\u03f7-\u0481\u048a-\u052f",
    r"\u0531-\u0556\u10a0-\u10c5\u13a0-\u13f5\u13f8-\u13fd\u1c90-\u1cba\u1cbd-",
    r"\u1cbf\u1d00-\u1d2b\u1d6b-\u1d77",
    r"\u1d79-\u1d9a\u1e00-\u1f15\u1f18-\u1f1d\u1f20-\u1f45\u1f48-\u1f4d\u1f50-",
    r"\u1f57\u1f59\u1f5b\u1f5d\u1f5f-\u1f7d",
    r"\u1f80-\u1fb4\u1fb6-\u1fbc\u1fbe\u1fc2-\u1fc4\u1fc6-\u1fcc\u1fd0-\u1fd3\u1fd6-",
    r"\u1fdb\u1fe0-\u1fec\u1ff2-\u1ff4",
    r"\u1ff6-\u1ffc\u2102\u2107\u210a-\u2113\u2115\u2119-\u211d\u2124\u2126\u2128\u212a-",
    r"\u212d\u212f-\u2134\u2139",
    r"\u213c-\u213f\u2145-\u2149\u214e\u2183\u2184\u2c00-\u2c7b\u2c7e-\u2ce4\u2ceb-",
    r"\u2cee\u2cf2\u2cf3\ua640-\ua66d",
    r"\ua680-\ua69b\ua722-\ua76f\ua771-\ua787\ua78b-\ua78e\uab70-\uabbf\ufb00-",
    r"\ufb06\ufb13-\ufb17\uff21-\uff3a\uff41-\uff5a",
    r"\U00010400-\U0001044f\U000104b0-\U000104d3\U000104d8-\U000104fb\U00010c80-",
    r"\U00010cb2\U00010cc0-\U00010cf2",
    r"\U000118a0-\U000118df\U0001e900-\U0001e943]+"
));
const FULL_WIDTH_MARKS: Cut = Cut::At(r"\s?[!-/:-~！-／：-～‘-‟\u3000-。]+");
/// BLOOM and its heirs: everything but these marks, with a space.
const BLOOM: Cut = Cut::At(r" ?[^(\s|.,!?…。，、।۔،)]+");
const KIMI: Cut = Cut::At(concat!(
    r"[\p{Han}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*",
    r"[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+",
    r"[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
));
const QWEN35: Cut = Cut::At(concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}",
    r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
));
const JAIS2: Cut = Cut::At(concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*",
    r"|\s*[\r\n]+|\s{512}(?!\S)|\s{256}(?!\S)|\s{128}(?!\S)|\s{64}(?!\S)|\s{32}(?!\S)|\s{16}(?!\S)",
    r"|\s{8}(?!\S)|\s{4}(?!\S)|\s{1,2}(?!\S)|\s{1}"
));
const BAILING: Cut = Cut::At(concat!(
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*",
    r"|\s*[\r\n]|\s+(?!\S)|\s+"
));
const SEED: Cut = Cut::At(concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}",
    r"| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+"
));
const UFAKZEKA: Cut =
    Cut::At(r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+");
const EXAONE_MOE: Cut = Cut::At(concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+",
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+"
));
const MINICPM: Cut = Cut::At(concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}+",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
));
const YOUTU: Cut = Cut::At(concat!(
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s",
    r"|'t|'re|'ve|'m|'ll|'d)?",
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s",
    r"|'t|'re|'ve|'m|'ll|'d)?",
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
));
const SCRIPTS: Cut = Cut::At(concat!(
    r"[一-鿿㐀-䶿豈-\ufaff\u3040-ゟ゠-ヿ･-ﾟ⼀-\u2fdf\u0e40-\u0e7f\u0e80-\u0effក-\u17ffက-႟ꩠ-ꩿꧠ-",
    r"\ua9ff가-\ud7afᄀ-ᇿ]+"
));
const LINES: Cut = Cut::At(r"[^\n]+|[\n]+");

const fn plain(names: &'static [&'static str], cuts: &'static [Cut]) -> Family {
    Family { names, cuts, ignore_merges: false, add_bos: false, marked: false }
}

/// All families.
const FAMILIES: &[Family] = &[
    Family {
        ignore_merges: true,
        add_bos: true,
        ..plain(
            &[
                "llama-bpe",
                "llama3",
                "llama-v3",
                "falcon3",
                "falcon-h1",
                "pixtral",
                "midm-2.0",
                "lfm2",
                "jina-v5-nano",
            ],
            &[CL100K_3],
        )
    },
    plain(&["dbrx", "smaug-bpe", "glm4", "chatglm-bpe", "cl100k"], &[CL100K_3]),
    plain(
        &[
            "qwen2",
            "stablelm2",
            "hunyuan",
            "solar-open",
            "megrez",
            "deepseek-r1-qwen",
            "kormo",
            "f2llmv2",
            "grok-2",
        ],
        &[CL100K_1],
    ),
    plain(&["qwen35"], &[QWEN35]),
    plain(
        &[
            "gpt-2",
            "phi-2",
            "jina-es",
            "jina-de",
            "gigachat",
            "jina-v2-es",
            "jina-v2-de",
            "a.x-4.0",
            "mellum",
            "modern-bert",
            "jina-v1-en",
            "jina-v2-code",
            "roberta-bpe",
            "mpt",
            "olmo",
            "jais",
            "exaone4",
            "trillion",
            "granite-docling",
        ],
        &[GPT2],
    ),
    plain(
        &[
            "starcoder",
            "refact",
            "command-r",
            "smollm",
            "codeshell",
            "exaone",
            "minerva-7b",
            "mellum2",
        ],
        &[DIGIT, GPT2],
    ),
    plain(&["falcon"], &[Cut::At(r"[\p{P}\$\+<=>\^~\|`]+"), GPT2, Cut::At("[0-9][0-9][0-9]")]),
    plain(
        &["default"],
        &[Cut::At(r"[\p{P}\$\+<=>\^~\|]+"), GPT2, Cut::At(r"\p{N}+"), Cut::At("[0-9][0-9][0-9]")],
    ),
    plain(
        &["deepseek-llm"],
        &[
            LINE_ENDS,
            DEEPSEEK_LETTERS,
            FULL_WIDTH_MARKS,
            Cut::At(r"\s+$"),
            Cut::At(CJK),
            Cut::At(r"\p{N}+"),
        ],
    ),
    plain(
        &["deepseek-coder"],
        &[LINE_ENDS, Cut::At(r"\s?\p{L}+"), Cut::At(r"\s?\p{P}+"), Cut::At(CJK), DIGIT],
    ),
    plain(
        &["deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"],
        &[Cut::At(r"\p{N}{1,3}"), CJK_KANA, DEEPSEEK_V3],
    ),
    plain(&["gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"], &[O200K]),
    Family { ignore_merges: true, ..plain(&["granite-embed-multi-97m"], &[O200K]) },
    Family { ignore_merges: true, add_bos: true, ..plain(&["tekken"], &[TEKKEN]) },
    plain(&["tiny_aya", "cohere2moe"], &[Cut::Triples { boundary: true }, O200K]),
    plain(&["bloom", "gpt3-finnish", "poro-chat"], &[BLOOM]),
    plain(&["viking"], &[BLOOM, DIGIT]),
    plain(&["superbpe"], &[Cut::At(r"\p{N}+"), Cut::Triples { boundary: false }]),
    plain(&["kimi-k2"], &[KIMI]),
    plain(&["jais-2"], &[JAIS2]),
    plain(&["bailingmoe", "bailingmoe2", "llada-moe"], &[BAILING]),
    plain(&["seed-coder"], &[SEED]),
    plain(&["ufakzeka"], &[UFAKZEKA]),
    plain(&["exaone-moe"], &[EXAONE_MOE]),
    plain(&["laguna"], &[LINES, CL100K_1]),
    plain(&["afmoe"], &[Cut::Triples { boundary: false }, SCRIPTS, DEEPSEEK_V3]),
    Family { ignore_merges: true, ..plain(&["minicpm5"], &[Cut::At(r"\p{N}{1,3}"), MINICPM]) },
    Family {
        ignore_merges: true,
        ..plain(
            &["youtu"],
            &[
                Cut::At(
                    r"[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-\u303f︰-﹏]+|[ㄅ-ㄯ]+|[一-龥\u3040-ゟ゠-ヿ]+",
                ),
                YOUTU,
            ],
        )
    },
    plain(
        &["chameleon"],
        &[
            Cut::At("<sentinel:[0-9]+>"),
            Cut::At("(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z"),
            Cut::At(r"([\t\n]|    |  )"),
            DIGIT,
            Cut::At(r"[\p{P}!-/:-@\[-`{-~]"),
            GPT2,
        ],
    ),
    Family {
        marked: true,
        add_bos: true,
        ..plain(&["gemma4", "granite-embed-multi-311m"], &[LINES])
    },
    Family { marked: true, ..plain(&["sarvam-moe"], &[LINES]) },
];

impl Family {
    /// By its name in GGUF.
    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        FAMILIES.iter().find(|family| family.names.contains(&name))
    }

    /// What a file without a name gets.
    pub(crate) fn fallback() -> &'static Self {
        Self::named("default").unwrap_or(&FAMILIES[0])
    }

    /// The steps, compiled.
    pub(crate) fn steps(&self, budget: &mut Budget) -> Result<Vec<Step>, TokenizerError> {
        let (behavior, invert) = (Behavior::Isolated, false);
        self.cuts
            .iter()
            .map(|cut| {
                Ok(match cut {
                    Cut::Scan(scanner) => {
                        Step::Split { pattern: Pattern::Scan(*scanner), behavior, invert }
                    }
                    Cut::At(source) => {
                        let pattern = Pattern::new(source, budget)?;
                        Step::Split { pattern, behavior, invert }
                    }
                    Cut::Triples { boundary } => Step::DigitTriples { boundary: *boundary },
                })
            })
            .collect()
    }

    /// The part `pre_tokenizer` of a `tokenizer.json`, if it can be said there.
    pub(crate) fn pre_tokenizer(&self) -> Option<Value> {
        if self.cuts == [GPT2] {
            return Some(byte_level(Words::Gpt2));
        }
        let pattern = |cut: &Cut| match cut {
            Cut::Scan(scanner) => Some(scanner.pattern()),
            Cut::At(source) => Some(spelled_out(source)),
            Cut::Triples { .. } => None,
        };
        Some(pre_tokenizer(self.cuts.iter().map(pattern).collect::<Option<Vec<_>>>()?))
    }

    /// The family with these patterns, for writing a vocabulary that names none. `None` among the
    /// patterns stands for GPT-2's.
    pub(crate) fn of_patterns(patterns: &[String], ignore_merges: bool) -> Option<&'static Self> {
        let same = |cut: &Cut, pattern: &String| match cut {
            Cut::Scan(scanner) => Scanner::recognise(pattern) == Some(*scanner),
            Cut::At(source) => source == pattern,
            Cut::Triples { .. } => false,
        };
        FAMILIES.iter().find(|family| {
            family.ignore_merges == ignore_merges
                && !family.marked
                && family.cuts.len() == patterns.len()
                && family.cuts.iter().zip(patterns).all(|(cut, pattern)| same(cut, pattern))
        })
    }
}

/// A pattern without escapes of eight digits, which Oniguruma does not know.
fn spelled_out(pattern: &str) -> String {
    let mut parts = pattern.split("\\U");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let digits = part.get(..8).and_then(|digits| u32::from_str_radix(digits, 16).ok());
        if let Some(character) = digits.and_then(char::from_u32) {
            out.push(character);
            out.push_str(&part[8..]);
        } else {
            out.push_str("\\U");
            out.push_str(part);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_compiles_without_backtracking() {
        let mut names = std::collections::BTreeSet::new();
        for family in FAMILIES {
            for step in family.steps(&mut Budget::for_files(0).unwrap()).unwrap() {
                if let Step::Split { pattern: Pattern::Backtracking(_), .. } = step {
                    assert_eq!(family.names[0], "jais-2");
                }
            }
            assert!(family.names.iter().all(|name| names.insert(*name)), "{:?}", family.names);
        }
    }

    #[test]
    fn patterns_lead_back_to_names() {
        let pattern = Scanner::Cl100k { digits: 1 }.pattern();
        assert_eq!(Family::of_patterns(&[pattern], false).unwrap().names[0], "qwen2");
        assert!(Family::of_patterns(&["x".to_owned()], false).is_none());
        assert_eq!(spelled_out(r"[a-\U0001e943\u00b5]\U12"), "[a-\u{1e943}\\u00b5]\\U12");
    }
}
