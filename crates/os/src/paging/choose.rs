//! Which pages leave.

/// What it costs to bring a page back beside its tokens: a call and its answer.
const RETURN_TOKENS: f64 = 64.0;
/// Boundaries that are tried.
const BOUNDARIES_MAX: usize = 64;

/// How full a window may be, in tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermarks {
    /// Above it pages leave.
    pub high: u64,
    /// Until it is no fuller than this.
    pub low: u64,
}

impl Watermarks {
    /// For a window with this room: pages leave when it is full, down to six tenths.
    pub fn of(room: u64) -> Self {
        Self { high: room, low: room * 6 / 10 }
    }
}

/// A page as the choice sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// Tokens that it takes as it stands in the window, the whole text or a stub.
    pub tokens: u64,
    /// Tokens of its stub.
    pub stub_tokens: u64,
    /// Whether it may leave; pages that are out already may not.
    pub may_leave: bool,
    /// How likely it is wanted again, from 0 to 1.
    pub reuse: f64,
}

impl Candidate {
    fn freed(&self) -> u64 {
        self.tokens.saturating_sub(self.stub_tokens)
    }

    fn expected_cost(&self) -> f64 {
        self.reuse * (self.tokens as f64 + RETURN_TOKENS)
    }
}

/// What leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Places in the window, ascending.
    pub leave: Vec<usize>,
    /// Tokens that become free.
    pub freed: u64,
    /// Whether the low watermark is reached.
    pub enough: bool,
}

/// Which pages leave, if the window is above its high watermark; none if nothing may.
///
/// For each place from which on pages may leave, the cheapest ones for the tokens that they free
/// are taken until it is enough; of all places the one with the least cost is chosen.
pub fn choose(pages: &[Candidate], watermarks: Watermarks) -> Option<Choice> {
    let total: u64 = pages.iter().map(|page| page.tokens).sum();
    if total <= watermarks.high {
        return None;
    }
    let wanted = total - watermarks.low;
    let step = pages.len().div_ceil(BOUNDARIES_MAX).max(1);
    let mut order: Vec<usize> = (0..pages.len()).filter(|&at| is_worth_it(&pages[at])).collect();
    let density = |at: usize| pages[at].expected_cost() / pages[at].freed() as f64;
    // Of equals the later one: more of the beginning stays.
    order.sort_by(|&a, &b| density(a).total_cmp(&density(b)).then(b.cmp(&a)));
    let tries = (0..pages.len()).step_by(step).map(|from| leaving(pages, &order, from, wanted));
    tries
        .filter(|(choice, _)| !choice.leave.is_empty())
        .min_by(|(a, cost_a), (b, cost_b)| b.enough.cmp(&a.enough).then(cost_a.total_cmp(cost_b)))
        .map(|(choice, _)| choice)
}

fn is_worth_it(page: &Candidate) -> bool {
    page.may_leave && page.freed() > 0
}

fn leaving(pages: &[Candidate], order: &[usize], from: usize, wanted: u64) -> (Choice, f64) {
    let (mut freed, mut cost) = (0u64, 0.0);
    let mut leave = Vec::new();
    for &at in order.iter().filter(|&&at| at >= from) {
        if freed >= wanted {
            break;
        }
        freed += pages[at].freed();
        cost += pages[at].expected_cost();
        leave.push(at);
    }
    leave.sort_unstable();
    let first = leave.first().copied().unwrap_or(pages.len());
    let behind: u64 = pages[first..].iter().map(|page| page.tokens).sum();
    let again = behind.saturating_sub(freed);
    // What cannot be enough is better the more it frees.
    let enough = freed >= wanted;
    let cost = if enough { cost + again as f64 } else { -(freed as f64) };
    (Choice { leave, freed, enough }, cost)
}
