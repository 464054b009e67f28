//! Pages are hostile input: any text as HTML must be searched for its main text without a panic,
//! in time that is linear in its length, and give no more than it has.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lucid_train::data::main_text;

fuzz_target!(|data: &[u8]| {
    let page = String::from_utf8_lossy(data);
    let text = main_text(&page);
    // A mark and a blank line for each block, and named characters that are longer than they are
    // spelled.
    assert!(text.len() <= 4 * page.len() + 16, "{} of {}", text.len(), page.len());
});
