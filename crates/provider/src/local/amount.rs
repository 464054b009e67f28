//! Amounts in words.

/// `1.2 GB`: powers of ten, as disks and downloads are labelled.
pub fn bytes_in_words(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{count} B")
    } else {
        format!("{} {}", three_digits(value), UNITS[unit])
    }
}

/// `1.24 B` parameters, `260 K`.
pub fn count_in_words(count: u64) -> String {
    const UNITS: [&str; 5] = ["", " K", " M", " B", " T"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 { count.to_string() } else { format!("{}{}", three_digits(value), UNITS[unit]) }
}

fn three_digits(value: f64) -> String {
    if value >= 99.95 {
        format!("{value:.0}")
    } else if value >= 9.995 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}
