//! The report of a run: what was made, from what, how it went; as markdown with a picture of the
//! curves.

use std::fmt::Write as _;

use plotters::prelude::{
    BLACK, BLUE, ChartBuilder, Color as _, IntoDrawingArea as _, LineSeries, PathElement, RED,
    RGBColor, SVGBackend, SeriesLabelPosition, WHITE,
};

use super::Event;
use crate::plan::Reason;

/// A line of a picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// What it shows.
    pub name: &'static str,
    /// Step and value.
    pub points: Vec<(f64, f64)>,
}

/// What a report says besides events.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// The plan, line by line.
    pub plan: Vec<Reason>,
    /// The data: name and value of each line.
    pub data: Vec<(String, String)>,
    /// The machine and the outcome, likewise.
    pub outcome: Vec<(String, String)>,
}

/// Points of a curve at most: more than a picture can show.
const POINTS_MAX: usize = 800;

/// Width and height of the picture.
const SIZE: (u32, u32) = (900, 420);

/// The report in markdown, and its picture in SVG, which it shows as `curves.svg`.
pub fn report(summary: &Summary, events: &[Event]) -> (String, String) {
    let curves = curves(events);
    let picture = picture(&curves);
    let mut text = "# A training run\n".to_owned();
    table(&mut text, "Outcome", &summary.outcome);
    text.push_str("\n![loss by step](curves.svg)\n\n## Plan\n\n| | | from |\n|---|---|---|\n");
    for Reason { name, value, from } in &summary.plan {
        let _ = writeln!(text, "| {name} | {} | {} |", cell(value), cell(from));
    }
    table(&mut text, "Data", &summary.data);
    let validations = events.iter().filter_map(|event| match event {
        Event::Validation { step, loss, bits_per_byte, bytes, .. } => {
            Some((step, loss, bits_per_byte, bytes))
        }
        _ => None,
    });
    text.push_str(
        "\n## Held-out text\n\nAlong the way a part of it is looked at, at the end all.\n",
    );
    text.push_str("\n| step | nats a token | bits a byte | bytes |\n|---|---|---|---|\n");
    for (step, loss, bits, bytes) in validations {
        let _ = writeln!(text, "| {step} | {loss:.4} | {bits:.4} | {bytes} |");
    }
    let samples = events.iter().rev().filter_map(|event| match event {
        Event::Sample { step, text } => Some((step, text)),
        _ => None,
    });
    if let Some((step, sample)) = samples.take(1).next() {
        let _ = writeln!(text, "\n## What it writes at step {step}\n");
        for line in sample.lines() {
            let _ = writeln!(text, "> {line}  ");
        }
    }
    (text, picture)
}

fn table(text: &mut String, title: &str, lines: &[(String, String)]) {
    let _ = write!(text, "\n## {title}\n\n| | |\n|---|---|\n");
    for (name, value) in lines {
        let _ = writeln!(text, "| {} | {} |", cell(name), cell(value));
    }
}

/// Text that stays in its cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

/// Losses of training, averaged where there are more than a picture shows, and of held-out text.
fn curves(events: &[Event]) -> Vec<Curve> {
    let steps: Vec<(f64, f64)> = events
        .iter()
        .filter_map(|event| match event {
            Event::Step { step, loss, .. } if loss.is_finite() => Some((*step as f64, *loss)),
            _ => None,
        })
        .collect();
    let share = steps.len().div_ceil(POINTS_MAX).max(1);
    let mean = |part: &[(f64, f64)]| {
        let count = part.len() as f64;
        let sum = part.iter().fold((0.0, 0.0), |(x, y), point| (x + point.0, y + point.1));
        (sum.0 / count, sum.1 / count)
    };
    let held_out = events.iter().filter_map(|event| match event {
        Event::Validation { step, loss, .. } if loss.is_finite() => Some((*step as f64, *loss)),
        _ => None,
    });
    vec![
        Curve { name: "training", points: steps.chunks(share).map(mean).collect() },
        Curve { name: "held out", points: held_out.collect() },
    ]
}

/// Curves over steps. Empty axes where there is nothing to show.
fn picture(curves: &[Curve]) -> String {
    let mut svg = String::new();
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let last = points().map(|point| point.0).fold(1.0, f64::max);
    let most = points().map(|point| point.1).fold(f64::NEG_INFINITY, f64::max);
    let least = points().map(|point| point.1).fold(f64::INFINITY, f64::min);
    let (least, most) = if least <= most { (least, most) } else { (0.0, 1.0) };
    let margin = 0.05 * (most - least).max(1e-3);
    let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
    let drawn = (|| {
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .margin(12)
            .x_label_area_size(36)
            .y_label_area_size(48)
            .build_cartesian_2d(0.0..last, least - margin..most + margin)?;
        let light = RGBColor(225, 225, 225);
        chart
            .configure_mesh()
            .light_line_style(WHITE)
            .bold_line_style(light)
            .x_desc("step")
            .x_label_formatter(&|step| format!("{step:.0}"))
            .y_desc("nats a token")
            .draw()?;
        for (curve, colour) in curves.iter().zip([BLUE, RED]) {
            chart
                .draw_series(LineSeries::new(curve.points.iter().copied(), colour))?
                .label(curve.name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperRight)
            .background_style(WHITE)
            .border_style(BLACK.mix(0.3))
            .draw()?;
        area.present()
    })();
    drop(area);
    // A picture in memory has nothing that could refuse.
    drawn.map(|()| svg).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::Verdict;
    use crate::trainer::StepReport;

    fn events(count: u64) -> Vec<Event> {
        let step = |step| {
            let report = StepReport {
                step,
                loss: 8.0 - step as f64 / 1000.0,
                bits_per_byte: 2.0,
                told: None,
                norm: 1.0,
                rate: 1e-3,
                tokens: 512,
                verdict: Verdict::Taken,
            };
            Event::step(&report, 1.0, 1.0)
        };
        let mut events: Vec<Event> = (1..=count).map(step).collect();
        let look = Event::Validation {
            step: 7,
            loss: 6.5,
            bits_per_byte: 1.9,
            told: None,
            bytes: 900,
            seconds: 3.0,
        };
        events.push(look);
        events.push(Event::Sample { step: 7, text: "Once | there\nwas".to_owned() });
        events
    }

    #[test]
    fn a_report_tells_the_plan_the_numbers_and_the_last_sample() {
        let reason =
            Reason { name: "width".to_owned(), value: "64".to_owned(), from: "set".to_owned() };
        let data = vec![("files".to_owned(), "a|b".to_owned())];
        let summary = Summary { plan: vec![reason], data, outcome: Vec::new() };
        let (text, picture) = report(&summary, &events(5000));
        for part in ["| width | 64 | set |", "| files | a\\|b |", "| 7 | 6.5000 | 1.9000 | 900 |"] {
            assert!(text.contains(part), "{part}:\n{text}");
        }
        assert!(text.contains("> Once | there  \n> was  \n"), "{text}");
        assert!(picture.starts_with("<svg") && picture.contains("held out"));
        assert!(picture.len() < 60_000, "{} bytes", picture.len());
    }

    #[test]
    fn nothing_and_no_numbers_are_drawn_as_nothing() {
        let none = Summary { plan: Vec::new(), data: Vec::new(), outcome: Vec::new() };
        let nan = Event::Validation {
            step: 1,
            loss: f64::NAN,
            bits_per_byte: 0.0,
            told: None,
            bytes: 0,
            seconds: 0.0,
        };
        for events in [vec![], vec![nan]] {
            assert!(report(&none, &events).1.starts_with("<svg"));
        }
    }
}
