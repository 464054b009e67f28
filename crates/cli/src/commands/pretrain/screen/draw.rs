//! A screen as a picture: numbers above, curves in the middle, what is written and told below. What
//! does not fit goes first; below 30 columns or 8 rows only that is said.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span};
use ratatui::widgets::{
    Axis, Block, Chart, Clear, Dataset, GraphType, LegendPosition, Paragraph, Wrap,
};

use super::state::{Page, Scale, State, Weight};
use crate::commands::pretrain::live::time;
use crate::style;

/// The smallest screen, and from where there is room for everything.
const SMALLEST: (u16, u16) = (30, 8);
const ROOMY: (u16, u16) = (60, 20);
/// From here small charts stand beside the large one.
const WIDE: u16 = 100;

const KEYS: [(&str, &str); 6] = [
    ("q", "stop"),
    ("s", "sample"),
    ("v", "look"),
    ("c", "checkpoint"),
    ("l", "log"),
    ("?", "help"),
];

/// Styles, with colours or without.
#[derive(Clone, Copy)]
struct Look(bool);

impl Look {
    fn colour(self, colour: Color) -> Style {
        if self.0 { Style::new().fg(colour) } else { Style::new() }
    }

    fn faint() -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    fn strong() -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }
}

pub(super) fn draw(frame: &mut Frame<'_>, state: &State) {
    let area = frame.area();
    if area.width < SMALLEST.0 || area.height < SMALLEST.1 {
        let (columns, rows) = SMALLEST;
        let text = format!("step {}: the screen needs {columns} x {rows}", state.step);
        frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: true }), area);
        return;
    }
    let look = Look(state.colour);
    let roomy = area.width >= ROOMY.0 && area.height >= ROOMY.1;
    let head = if roomy { 4 } else { 2 };
    let foot = if roomy { 9.min(area.height / 3) } else { 0 };
    let rows = [head, 0, foot, 1].map(Constraint::Length);
    let [top, middle, below, keys] =
        Layout::vertical([rows[0], Constraint::Min(4), rows[2], rows[3]]).areas(area);
    if roomy {
        numbers(frame, top, state, look);
        told(frame, below, state, look);
    } else {
        few_numbers(frame, top, state, look);
    }
    charts(frame, middle, state, look);
    frame.render_widget(Paragraph::new(key_line(state, area.width, look)), keys);
    if state.page == Page::Help {
        help(frame, area);
    }
}

/// `1,234,567`.
fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) && digits.as_bytes()[at - 1] != b'-' {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn progress(state: &State, width: u16, look: Look) -> Line<'static> {
    let share = state.step as f64 / state.facts.steps.max(1) as f64;
    let left = state.left().map_or("...".to_owned(), |left| format!("{} left", time(left)));
    let before = format!("step {}/{} ", state.step, state.facts.steps);
    let after = format!(" {:.0} %  {left}", 100.0 * share);
    let room = usize::from(width).saturating_sub(before.len() + after.len()).min(60);
    let bar = style::bar(share, room);
    let rest = room.saturating_sub(bar.chars().count());
    Line::from(vec![
        Span::styled(before, Look::strong()),
        Span::styled(bar, look.colour(Color::Cyan)),
        Span::styled("·".repeat(rest), Look::faint()),
        Span::raw(after),
    ])
}

/// Name and value by turns, names faint.
fn pairs(pairs: &[(&str, String)]) -> Line<'static> {
    let mut spans = Vec::new();
    for (name, value) in pairs {
        if !spans.is_empty() {
            spans.push(Span::raw("   "));
        }
        spans.push(Span::styled(value.clone(), Look::strong()));
        spans.push(Span::styled(format!(" {name}"), Look::faint()));
    }
    Line::from(spans)
}

fn shown(value: Option<f64>, digits: usize) -> String {
    value.map_or("...".to_owned(), |value| format!("{value:.digits$}"))
}

fn speed(state: &State) -> (String, String, String) {
    let flops = state.pace.0.map(|pace| pace * state.facts.flops_per_token);
    let share = flops.map(|flops| 100.0 * flops / state.facts.peak);
    let pace = state.pace.0.map_or("...".to_owned(), grouped);
    (pace, shown(flops.map(|flops| flops / 1e9), 0), shown(share, 0))
}

fn numbers(frame: &mut Frame<'_>, area: Rect, state: &State, look: Look) {
    let facts = &state.facts;
    let title = Line::from(vec![
        Span::styled("lucid pretrain ", Look::strong()),
        Span::raw(facts.folder.clone()),
        Span::styled(format!("   {}", facts.network), Look::faint()),
    ]);
    let held = state.held_out.last().map(|point| point.1);
    let quality = [
        ("bits a byte", shown(state.bits.0, 3)),
        ("held out", shown(held, 3)),
        ("nats a token", shown(state.loss.0, 3)),
        ("rate", format!("{:.5}", state.rate)),
        ("gradient", format!("{:.2}", state.norm)),
    ];
    let (pace, flops, share) = speed(state);
    let mut work = vec![
        ("tok/s", pace),
        ("GFLOP/s", flops),
        ("% of peak", share),
        ("tokens", style::count(state.tokens)),
    ];
    work.push(("saved", state.saved.map_or("never".to_owned(), |step| format!("step {step}"))));
    let mut lines = vec![title, progress(state, area.width, look), pairs(&quality)];
    let mut line = pairs(&work);
    if state.skipped > 0 {
        let skipped = format!("   {} left out", state.skipped);
        line.push_span(Span::styled(skipped, look.colour(Color::Red)));
    }
    lines.push(line);
    frame.render_widget(Paragraph::new(lines), area);
}

fn few_numbers(frame: &mut Frame<'_>, area: Rect, state: &State, look: Look) {
    let held = state.held_out.last().map(|point| point.1);
    let (pace, ..) = speed(state);
    let numbers = [("bits", shown(state.bits.0, 3)), ("held out", shown(held, 3)), ("tok/s", pace)];
    let lines = vec![progress(state, area.width, look), pairs(&numbers)];
    frame.render_widget(Paragraph::new(lines), area);
}

fn charts(frame: &mut Frame<'_>, area: Rect, state: &State, look: Look) {
    if area.width < WIDE || area.height < 12 {
        losses(frame, area, state, look);
        return;
    }
    let [large, side] =
        Layout::horizontal([Constraint::Min(40), Constraint::Length(40)]).areas(area);
    losses(frame, large, state, look);
    let [above, below] = Layout::vertical([Constraint::Fill(1); 2]).areas(side);
    let rate = |value: f64| format!("{value:.4}");
    small(frame, above, " learning rate ", (&state.rates.points, &rate), look);
    small(frame, below, " tokens a second ", (&state.paces.points, &grouped), look);
}

/// A point as an axis shows it.
fn scaled(point: (f64, f64), scale: Scale) -> (f64, f64) {
    match scale {
        Scale::Linear => point,
        Scale::Logarithmic => (point.0.max(1.0).log10(), point.1.max(1e-3).log10()),
    }
}

fn losses(frame: &mut Frame<'_>, area: Rect, state: &State, look: Look) {
    let on = |points: &[(f64, f64)]| -> Vec<(f64, f64)> {
        points.iter().map(|point| scaled(*point, state.scale)).collect()
    };
    let (training, held_out) = (on(&state.training.points), on(&state.held_out));
    let value = |y: f64| match state.scale {
        Scale::Linear => format!("{y:.2}"),
        Scale::Logarithmic => format!("{:.2}", 10_f64.powf(y)),
    };
    let tokens = |x: f64| match state.scale {
        Scale::Linear => style::count(x.max(0.0) as u64),
        Scale::Logarithmic => style::count(10_f64.powf(x) as u64),
    };
    let least = training.first().map_or(0.0, |point| point.0);
    let most = training.last().map_or(1.0, |point| point.0).max(least + 1e-9);
    // The first few steps fall so far that all the rest would lie at the bottom.
    let begin = match state.scale {
        Scale::Linear if training.len() > 40 => least + 0.03 * (most - least),
        _ => least,
    };
    let settled = training.iter().filter(|point| point.0 >= begin).chain(&held_out);
    let (low, high) = bounds(settled.map(|point| point.1));
    let name = match state.scale {
        Scale::Linear => " bits a byte by tokens ",
        Scale::Logarithmic => " bits a byte by tokens, logarithmic ",
    };
    let curve = |name: &'static str, marker, kind, colour, points| {
        let set = Dataset::default().name(name).marker(marker).graph_type(kind);
        set.style(look.colour(colour)).data(points)
    };
    let chart = Chart::new(vec![
        curve("training", Marker::Braille, GraphType::Line, Color::Cyan, &training),
        curve("held out", Marker::Dot, GraphType::Scatter, Color::Yellow, &held_out),
    ])
    .block(Block::bordered().title(name).border_style(Look::faint()))
    .x_axis(axis([least, most], [tokens(least), tokens(0.5 * (least + most)), tokens(most)]))
    .y_axis(axis([low, high], [value(low), value(0.5 * (low + high)), value(high)]))
    .legend_position(Some(LegendPosition::TopRight));
    frame.render_widget(chart, area);
}

type Shown<'a> = (&'a [(f64, f64)], &'a dyn Fn(f64) -> String);

fn small(frame: &mut Frame<'_>, area: Rect, title: &'static str, of: Shown<'_>, look: Look) {
    let (points, value) = of;
    let least = points.first().map_or(0.0, |point| point.0);
    let most = points.last().map_or(1.0, |point| point.0).max(least + 1e-9);
    let high = points.iter().map(|point| point.1).fold(0.0, f64::max).max(1e-9) * 1.05;
    let set = Dataset::default().marker(Marker::Braille).graph_type(GraphType::Line);
    let chart = Chart::new(vec![set.style(look.colour(Color::Green)).data(points)])
        .block(Block::bordered().title(title).border_style(Look::faint()))
        .x_axis(Axis::default().bounds([least, most]))
        .y_axis(axis([0.0, high], ["0".to_owned(), value(0.5 * high), value(high)]));
    frame.render_widget(chart, area);
}

fn axis(bounds: [f64; 2], labels: [String; 3]) -> Axis<'static> {
    Axis::default().bounds(bounds).labels(labels).style(Look::faint())
}

/// Around all values, with a little room.
fn bounds(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let finite = values.filter(|value| value.is_finite());
    let (low, high) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
        (low.min(value), high.max(value))
    });
    if low > high {
        return (0.0, 1.0);
    }
    let room = 0.05 * (high - low).max(1e-3);
    (low - room, high + room)
}

/// The last sample, and the last news.
fn told(frame: &mut Frame<'_>, area: Rect, state: &State, look: Look) {
    let half = area.height.div_ceil(2);
    let [above, below] =
        Layout::vertical([Constraint::Length(half), Constraint::Min(2)]).areas(area);
    let (title, text) = match &state.sample {
        Some((step, text)) => (format!(" written at step {step} "), text.clone()),
        None => (" written ".to_owned(), "nothing yet; s asks for a sample".to_owned()),
    };
    let block = Block::bordered().title(title).border_style(Look::faint());
    frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: true }).block(block), above);
    let rows = usize::from(below.height);
    let samples = |line: &str| line.contains(" writes: ");
    let news = state.news.iter().filter(|(_, line)| !samples(line));
    let mut last: Vec<_> = news.rev().take(rows).collect();
    last.reverse();
    let lines = last.into_iter().map(|(weight, line)| {
        let style = match weight {
            Weight::Note => Look::faint(),
            Weight::Warning => look.colour(Color::Red),
        };
        Line::styled(line.clone(), style)
    });
    frame.render_widget(Paragraph::new(lines.collect::<Vec<_>>()), below);
}

fn key_line(state: &State, width: u16, look: Look) -> Line<'static> {
    if let Some(what) = state.waiting {
        return Line::styled(format!("waits for {what}"), look.colour(Color::Yellow));
    }
    let words = width >= ROOMY.0;
    let mut spans = Vec::new();
    for (key, what) in KEYS {
        spans.push(Span::styled(key, Look::strong()));
        let what = if words { format!(" {what}   ") } else { "  ".to_owned() };
        spans.push(Span::styled(what, Look::faint()));
    }
    Line::from(spans)
}

fn help(frame: &mut Frame<'_>, area: Rect) {
    let lines = [
        "q, Ctrl-C  stop after this step, with a checkpoint;",
        "           --resume goes on to the bit. A second",
        "           Ctrl-C leaves at once, without one",
        "s          a sample now",
        "v          a look at held-out text now",
        "c          a checkpoint now",
        "l          logarithmic axes, and back",
        "? or Esc   back to the curves",
    ];
    let width = 56.min(area.width);
    let height = (lines.len() as u16 + 2).min(area.height);
    let place = Rect {
        x: area.x + (area.width - width) / 2,
        y: area.y + (area.height - height) / 2,
        width,
        height,
    };
    let block = Block::bordered().title(" keys ").style(Look::strong());
    let text: Vec<Line<'_>> = lines.iter().map(|line| Line::raw(*line)).collect();
    frame.render_widget(Clear, place);
    frame.render_widget(Paragraph::new(text).block(block), place);
}

#[cfg(test)]
mod tests {
    use lucid_train::Verdict;
    use lucid_train::record::Event;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::super::state::Facts;
    use super::*;

    fn facts() -> Facts {
        Facts {
            folder: "run".to_owned(),
            network: "4 layers x 256".to_owned(),
            steps: 200,
            step: 0,
            flops_per_token: 1e7,
            peak: 3e11,
        }
    }

    fn step(step: u64, verdict: Verdict) -> Event {
        let bits_per_byte = 1.0 + 5.0 / step as f64;
        Event::Step {
            step,
            loss: 2.0 * bits_per_byte,
            bits_per_byte,
            told: None,
            norm: 0.5,
            rate: 1e-3,
            tokens: 1000,
            tokens_per_second: 12_345.0,
            seconds: step as f64,
            verdict,
        }
    }

    fn picture(state: &State, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, state)).unwrap();
        terminal.backend().to_string()
    }

    fn state(steps: u64) -> State {
        let mut state = State::new(facts(), true);
        (1..=steps).for_each(|number| state.tell(&step(number, Verdict::Taken)));
        let look = Event::Validation {
            step: 9,
            loss: 3.0,
            bits_per_byte: 1.5,
            told: None,
            bytes: 900,
            seconds: 3.0,
        };
        state.tell(&look);
        state.tell(&Event::Sample { step: 9, text: "Once upon\n\u{1b}[2J a time".to_owned() });
        state
    }

    #[test]
    fn a_screen_shows_what_is_known_at_every_size() {
        let state = state(100);
        for (width, height) in [(80, 24), (120, 40), (60, 20)] {
            let picture = picture(&state, width, height);
            let parts = ["step 100/200", "1.500", "12,345", "held out", "Once upon", "q stop"];
            for part in parts {
                assert!(picture.contains(part), "{part} at {width} x {height}:\n{picture}");
            }
            assert!(!picture.contains('\u{1b}'));
        }
        assert!(picture(&state, 120, 40).contains("learning rate"));
        let small = picture(&state, 40, 10);
        assert!(small.contains("step 100/200") && small.contains("12,345"), "{small}");
        assert!(picture(&state, 29, 5).contains("the screen needs"));
        for (width, height) in [(1, 1), (30, 8), (59, 19), (300, 9), (30, 200)] {
            picture(&state, width, height);
        }
    }

    #[test]
    fn before_the_first_step_and_with_no_numbers_there_is_a_picture() {
        let mut empty = State::new(facts(), false);
        assert!(picture(&empty, 80, 24).contains("step 0/200"));
        empty.turn_scale();
        let mut nan = step(1, Verdict::NotFinite);
        if let Event::Step { loss, bits_per_byte, .. } = &mut nan {
            (*loss, *bits_per_byte) = (f64::NAN, f64::NAN);
        }
        empty.tell(&nan);
        let shown = picture(&empty, 80, 24);
        assert!(shown.contains("left out") && shown.contains("logarithmic"), "{shown}");
    }

    #[test]
    fn help_and_what_is_waited_for_are_shown() {
        let mut state = state(50);
        state.page = Page::Help;
        assert!(picture(&state, 80, 24).contains("Ctrl-C leaves at once"));
        state.page = Page::Curves;
        state.wait_for("a sample");
        assert!(picture(&state, 80, 24).contains("waits for a sample"));
        state.tell(&Event::Sample { step: 50, text: "x".to_owned() });
        assert!(picture(&state, 80, 24).contains("q stop"));
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(
            [0.0, 999.0, 1000.0, 1234567.0].map(grouped),
            ["0", "999", "1,000", "1,234,567"]
        );
    }
}
