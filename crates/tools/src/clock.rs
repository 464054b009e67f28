//! The date and the time.

use chrono::{DateTime, FixedOffset, Utc};
use serde_json::json;

use lucid_policy::{Effect, SourceKind};

use crate::Grant;
use crate::tool::{Arguments, Outcome, Setting, Tool, ToolCard, ToolError};

/// Tells the date and the time of the setting.
#[derive(Clone, Debug)]
pub struct Clock(ToolCard);

impl Default for Clock {
    fn default() -> Self {
        Self(ToolCard {
            policy: lucid_policy::Tool {
                name: "clock".to_owned(),
                effect: Effect::None,
                arguments: Vec::new(),
            },
            description: "the date, the day of the week and the time".to_owned(),
            parameters: json!({"type": "object", "properties": {}, "additionalProperties": false}),
            source: SourceKind::Computed,
        })
    }
}

impl Tool for Clock {
    fn card(&self) -> &ToolCard {
        &self.0
    }

    fn call(
        &self,
        _grant: Grant,
        _arguments: &Arguments,
        setting: &Setting<'_>,
    ) -> Result<Outcome, ToolError> {
        let now = DateTime::<Utc>::from_timestamp_millis(setting.now_ms)
            .ok_or_else(|| ToolError::failed("the system's clock shows no date"))?;
        let offset = FixedOffset::east_opt(setting.offset_minutes * 60)
            .ok_or_else(|| ToolError::failed("the system's time zone is none"))?;
        let here = now.with_timezone(&offset);
        Ok(Outcome::text(here.format("%A, %Y-%m-%d %H:%M:%S (UTC%:z)").to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tool::Setting;

    #[test]
    fn it_tells_the_local_time() {
        let told = |now_ms, offset_minutes| {
            let clock = Clock::default();
            let grant = crate::calculator::tests::granted(&clock);
            let setting = Setting { now_ms, offset_minutes, key: "" };
            clock.call(grant, &Arguments::new(), &setting).map(|outcome| outcome.text)
        };
        let want = "Monday, 2026-11-23 05:40:00 (UTC+00:00)";
        assert_eq!(told(1_795_412_400_000, 0).as_deref(), Ok(want));
        let want = "Sunday, 2026-11-22 23:10:00 (UTC-06:30)";
        assert_eq!(told(1_795_412_400_000, -390).as_deref(), Ok(want));
        assert!(told(i64::MAX, 0).is_err());
    }
}
