//! `lucid status`: what a running server has loaded, what that takes, and whom it serves.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use unicode_width::UnicodeWidthStr as _;

use crate::env::Environment;
use crate::output;
use crate::serve_args::StatusArgs;
use crate::style::{self, Paint};

/// For each step of asking.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of an answer.
const ANSWER_BYTES_MAX: u64 = 16 << 20;

pub(crate) fn run(args: &StatusArgs, environment: &Environment) -> Result<i32> {
    let address = SocketAddr::new(args.host, args.port);
    let status = ask(address, environment.api_key.as_deref())?;
    if args.json {
        output::json(&status)?;
    } else {
        show(address, &status, Paint::new(environment.colour))?;
    }
    Ok(0)
}

/// Asks by hand: one request of HTTP/1.0, so that the answer ends where the connection does.
fn ask(address: SocketAddr, key: Option<&str>) -> Result<Value> {
    if key.is_some() && !address.ip().is_loopback() {
        bail!(
            "the key in LUCID_API_KEY would go over the network to {address} in the clear: ask on \
             the server's own machine, or by \
             `curl -H \"Authorization: Bearer $LUCID_API_KEY\" https://{address}/status`"
        );
    }
    let mut socket = TcpStream::connect_timeout(&address, PATIENCE).with_context(|| {
        format!("no server answers at {address}; `lucid serve` starts one (or name its --port)")
    })?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    let key = key.filter(|key| key.bytes().all(|byte| byte.is_ascii_graphic()));
    let key = key.map_or_else(String::new, |key| format!("Authorization: Bearer {key}\r\n"));
    let request = format!("GET /status HTTP/1.0\r\nHost: {address}\r\n{key}\r\n");
    let mut answer = Vec::new();
    socket
        .write_all(request.as_bytes())
        .and_then(|()| socket.take(ANSWER_BYTES_MAX).read_to_end(&mut answer))
        .with_context(|| format!("the server at {address} does not answer"))?;
    let text = String::from_utf8_lossy(&answer);
    let is_lucid = text.starts_with("HTTP/1.");
    let Some((head, body)) = text.split_once("\r\n\r\n").filter(|_| is_lucid) else {
        bail!(
            "what listens at {address} is not `lucid serve`, or speaks TLS: then \
             `curl https://{address}/status` asks it"
        );
    };
    let value: Value = serde_json::from_str(body).unwrap_or_default();
    match head.split(' ').nth(1) {
        Some("200") if value.get("models").is_some() => Ok(value),
        Some("401") => bail!("the server at {address} asks for a key: set LUCID_API_KEY"),
        Some("200") | None => bail!("what listens at {address} is not `lucid serve`"),
        Some(status) => bail!("what listens at {address} answers with status {status}"),
    }
}

fn show(address: SocketAddr, status: &Value, paint: Paint) -> Result<()> {
    let number = |value: &Value, name: &str| value[name].as_u64().unwrap_or(0);
    let text = |value: &Value, name: &str| style::harmless(value[name].as_str().unwrap_or(""));
    output::line(format!(
        "lucid {} at {address}, for {}: {} connections, {} requests under way",
        text(status, "version"),
        duration(number(status, "uptime_seconds")),
        number(status, "connections"),
        number(status, "requests_in_flight"),
    ))?;
    let models = status["models"].as_array().map_or(&[][..], Vec::as_slice);
    if models.is_empty() {
        return output::line("No model is loaded; one is when it is asked for.");
    }
    let names: Vec<String> = models.iter().map(|model| text(model, "name")).collect();
    let width = names.iter().map(|name| name.width()).max().unwrap_or(0).max(5);
    let header = format!(
        "{:<width$}  {:>9}  {:>7}  {:>7}  {:>8}  {:>6}  SERVES",
        "MODEL", "MEMORY", "RUNNING", "WAITING", "TOKENS/S", "KV"
    );
    output::line(paint.bold(header))?;
    for (model, name) in models.iter().zip(&names) {
        let blocks = number(model, "kv_blocks").max(1);
        let used = number(model, "kv_blocks_used") * 100 / blocks;
        let serves: Vec<String> = model["serving"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(who, count)| format!("{} ({count})", style::harmless(who)))
            .collect();
        let serves = if serves.is_empty() { "nobody".to_owned() } else { serves.join(", ") };
        let padding = " ".repeat(width - name.width());
        output::line(format!(
            "{name}{padding}  {:>9}  {:>7}  {:>7}  {:>8.1}  {:>6}  {serves}",
            style::bytes(number(model, "memory_bytes")),
            number(model, "running"),
            number(model, "waiting"),
            model["tokens_per_second"].as_f64().unwrap_or(0.0),
            format!("{used} %"),
        ))?;
    }
    Ok(())
}

fn duration(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} days", seconds / 86_400),
    }
}
