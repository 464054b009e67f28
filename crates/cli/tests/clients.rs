//! The official clients of OpenAI's, Anthropic's and Ollama's protocols, from PyPI, against the
//! built binary: `bench/clients/run.py` and its tours. Skipped, with a word about it, where Python
//! or the packages are missing; `LUCID_PYTHON` names an interpreter that has them.

use std::env;
use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

/// An interpreter that has the clients.
fn python() -> Option<OsString> {
    let python = env::var_os("LUCID_PYTHON").unwrap_or_else(|| "python3".into());
    let imports = ["-c", "import openai, anthropic, ollama"];
    let found = Command::new(&python).args(imports).output();
    found.is_ok_and(|output| output.status.success()).then_some(python)
}

#[test]
fn official_clients_tour() {
    let Some(python) = python() else {
        println!("skipped: no Python with openai, anthropic and ollama (LUCID_PYTHON names one)");
        return;
    };
    let tours = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bench/clients/run.py");
    let output = Command::new(python)
        .arg("-B")
        .arg(tours)
        .args(["--lucid", env!("CARGO_BIN_EXE_lucid")])
        .output()
        .expect("the interpreter runs, as it did before");
    let told = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}\n{errors}");
    println!("{told}");
}
