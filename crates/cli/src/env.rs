//! The one place that reads the environment and asks what the terminal can do.

use std::io::IsTerminal as _;
use std::path::PathBuf;

use lucid_hub::HubConfig;
use lucid_provider::remote::Secret;

/// What the surroundings of this run are.
#[derive(Debug)]
pub(crate) struct Environment {
    /// Where models lie and how the hub is reached.
    pub(crate) hub: HubConfig,
    /// Standard input is a person at a keyboard.
    pub(crate) stdin_is_terminal: bool,
    /// Standard error is a screen: progress is shown there.
    pub(crate) stderr_is_terminal: bool,
    /// Colours on standard output.
    pub(crate) colour: bool,
    /// Columns of the screen; 80 where there is none.
    pub(crate) width: usize,
    /// Where lines typed at the prompt are remembered.
    pub(crate) history: Option<PathBuf>,
    /// Where a server keeps what is to outlast it.
    pub(crate) data: Option<PathBuf>,
    /// Where processes of the operating system live.
    pub(crate) os: Option<PathBuf>,
    /// Where a server keeps keys and values of prompts.
    pub(crate) kv_cache: Option<PathBuf>,
    /// The file of the server's API keys.
    pub(crate) keys: Option<PathBuf>,
    /// The key for a server that asks for one.
    pub(crate) api_key: Option<String>,
    /// The folder of settings.
    pub(crate) settings: Option<PathBuf>,
    /// Of how many processes this is one, if MPI's launcher started it.
    pub(crate) launched: Option<usize>,
}

impl Environment {
    /// The key in a variable that a person named.
    #[expect(clippy::unused_self, reason = "whoever holds the environment may ask it")]
    pub(crate) fn key(&self, variable: &str) -> Option<Secret> {
        std::env::var(variable).ok().filter(|key| !key.is_empty()).map(Secret)
    }

    /// Reads the surroundings.
    pub(crate) fn read() -> Self {
        let var = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let stdout_is_terminal = std::io::stdout().is_terminal();
        let dumb = var("TERM").is_some_and(|term| term == "dumb");
        let forced = var("CLICOLOR_FORCE").is_some_and(|value| value != "0");
        let colour = var("NO_COLOR").is_none() && (forced || (stdout_is_terminal && !dumb));
        // The XDG Base Directory specification: a relative path does not count.
        let folder = |name: &str, otherwise: &str| {
            var(name)
                .map(PathBuf::from)
                .filter(|path| path.is_absolute())
                .or_else(|| var("HOME").map(|home| PathBuf::from(home).join(otherwise)))
                .map(|folder| folder.join("lucid"))
        };
        Self {
            hub: HubConfig::from_vars(|name| std::env::var_os(name)),
            stdin_is_terminal: std::io::stdin().is_terminal(),
            stderr_is_terminal: std::io::stderr().is_terminal(),
            colour,
            width: console_width(),
            history: folder("XDG_STATE_HOME", ".local/state").map(|state| state.join("history")),
            data: folder("XDG_DATA_HOME", ".local/share").map(|data| data.join("server")),
            os: folder("XDG_DATA_HOME", ".local/share").map(|data| data.join("os")),
            kv_cache: folder("XDG_CACHE_HOME", ".cache").map(|cache| cache.join("kv")),
            keys: folder("XDG_CONFIG_HOME", ".config").map(|config| config.join("keys.json")),
            settings: folder("XDG_CONFIG_HOME", ".config"),
            launched: launched(|name| var(name)?.to_str()?.parse().ok()),
            api_key: var("LUCID_API_KEY").and_then(|key| key.into_string().ok()),
        }
    }
}

/// OpenMPI's launcher tells the number of processes in one variable, MPICH's in another; Slurm's
/// tells it for both, and in a third one that it launches for MPI.
fn launched(number: impl Fn(&str) -> Option<usize>) -> Option<usize> {
    let told = number("OMPI_COMM_WORLD_SIZE").or_else(|| number("PMI_SIZE"));
    told.or_else(|| number("PMIX_RANK").and_then(|_| number("SLURM_NTASKS")))
}

fn console_width() -> usize {
    let asked = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let width = asked.or_else(|| terminal_size::terminal_size().map(|(width, _)| width.0.into()));
    width.unwrap_or(80).clamp(20, 400)
}

#[cfg(test)]
mod tests {
    #[test]
    fn launchers_are_known_by_what_they_set() {
        let check = |set: &[(&str, usize)], expected: Option<usize>| {
            let number = |name: &str| set.iter().find(|one| one.0 == name).map(|one| one.1);
            assert_eq!(super::launched(number), expected, "{set:?}");
        };
        check(&[], None);
        check(&[("OMPI_COMM_WORLD_SIZE", 4), ("OMPI_COMM_WORLD_RANK", 0)], Some(4));
        check(&[("PMI_SIZE", 2)], Some(2));
        check(&[("PMIX_RANK", 1), ("SLURM_NTASKS", 8)], Some(8));
        // A job of Slurm's that runs one program by itself.
        check(&[("SLURM_NTASKS", 8)], None);
    }
}
