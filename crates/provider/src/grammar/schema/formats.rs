//! Formats of texts as regular expressions. Each accepts a part of what the format allows, without
//! what is seldom meant (leap seconds, the 29th of February, comments in addresses).
//! Sources: RFC 3339 (dates and times), RFC 5321 (email), RFC 1123 (host names), RFC 4291 (IPv6),
//! RFC 4122 (UUID), RFC 3986 (URI), RFC 6901 (JSON Pointer).

use super::Place;
use crate::ProviderError;

/// Formats that describe numbers, or how a text is shown. They do not bound what is valid.
const NOTES: &[&str] = &[
    "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float", "double",
    "decimal", "password", "byte", "binary", "textarea", "markdown",
];

macro_rules! date {
    () => {
        "(?:[1-9][0-9]{3}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])\
         |(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8])))"
    };
}

macro_rules! time {
    () => {
        "(?:(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\\.[0-9]{1,9})?\
         (?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9]))"
    };
}

macro_rules! host {
    ($least:literal) => {
        concat!(
            "(?:[A-Za-z0-9](?:[A-Za-z0-9]|-[A-Za-z0-9]){0,15}\
             (?:\\.[A-Za-z](?:[A-Za-z0-9]|-[A-Za-z0-9]){0,15}){",
            $least,
            ",6})"
        )
    };
}

macro_rules! ipv4 {
    () => {
        "(?:(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])\
         (?:\\.(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])){3})"
    };
}

/// The regular expression of a format; none if it bounds nothing.
///
/// # Errors
/// It is not known.
pub(super) fn pattern(format: &str, place: &Place) -> Result<Option<String>, ProviderError> {
    let pattern = match format {
        "date" => date!(),
        "time" => time!(),
        "date-time" => concat!(date!(), "T", time!()),
        "duration" => {
            "P(?:[0-9]{1,4}W|[0-9]{1,4}Y(?:[0-9]{1,2}M(?:[0-9]{1,2}D)?)?\
             |[0-9]{1,2}M(?:[0-9]{1,2}D)?\
             |[0-9]{1,3}D(?:T[0-9]{1,2}H(?:[0-9]{1,2}M(?:[0-9]{1,2}S)?)?)?\
             |T(?:[0-9]{1,2}H(?:[0-9]{1,2}M(?:[0-9]{1,2}S)?)?|[0-9]{1,2}M(?:[0-9]{1,2}S)?\
             |[0-9]{1,2}S))"
        }
        "email" | "idn-email" => {
            concat!("[A-Za-z0-9_+-]{1,30}(?:\\.[A-Za-z0-9_+-]{1,30})?@", host!("1"))
        }
        "hostname" | "idn-hostname" => host!("0"),
        "ipv4" => ipv4!(),
        "ipv6" => {
            "(?:(?:[0-9a-fA-F]{1,4}:){7}[0-9a-fA-F]{1,4}\
             |(?:[0-9a-fA-F]{1,4}:){1,3}(?::[0-9a-fA-F]{1,4}){1,4}|::(?:[0-9a-fA-F]{1,4})?)"
        }
        "uuid" => "[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}",
        "uri" | "iri" | "uri-reference" | "iri-reference" | "url" => concat!(
            "(?:https?|ftp)://",
            host!("0"),
            "(?::[1-9][0-9]{0,3})?(?:/[A-Za-z0-9_.~-]*){0,12}",
            "(?:\\?[A-Za-z0-9_.~=&-]*)?(?:#[A-Za-z0-9_.~-]*)?"
        ),
        "json-pointer" => "(?:/(?:[A-Za-z0-9_ .-]|~[01])*){0,12}",
        _ if NOTES.contains(&format) => return Ok(None),
        _ => {
            let known = "date, time, date-time, duration, email, hostname, ipv4, ipv6, uuid, uri, \
                         json-pointer";
            let reason = format!("`{format}` is not known; known are {known}");
            return Err(place.refuse("format", &reason));
        }
    };
    Ok(Some(format!("^(?:{pattern})$")))
}
