//! Moods: a step that happens to an endpoint, not to one code, for some calls or until cleared.

use serde::Deserialize;

use crate::simulator::refused::Refused;
use crate::simulator::script::Step;

const MOODS_MOST: usize = 1000;

/// What a mood can be about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Endpoint {
    /// The exchange of a code for a phone number.
    Phone,
    /// Both ways to an access token.
    Token,
    /// All calls of a third-party platform for itself: `/cgi-bin/component/…`.
    Component,
}

/// A step for the next calls of an endpoint. Moods take turns in the order they were set.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mood {
    /// Which endpoint.
    pub endpoint: Endpoint,
    /// Only calls of this app, or of this platform or for this merchant; all calls unless given.
    #[serde(default)]
    pub appid: Option<String>,
    /// How many calls; until cleared unless given.
    #[serde(default)]
    pub calls: Option<u64>,
    /// What happens to them.
    pub step: Step,
}

#[derive(Default)]
pub(crate) struct Moods(Vec<Mood>);

impl Moods {
    pub(crate) fn set(&mut self, mood: Mood) -> Result<(), Refused> {
        if self.0.len() >= MOODS_MOST {
            return Err(Refused::new("too many moods at once", "clear them with DELETE /sim/moods"));
        }
        if mood.calls != Some(0) {
            self.0.push(mood);
        }
        Ok(())
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// The step for this call, one call of its mood used up. `about` is whom the call is about.
    pub(super) fn next(&mut self, endpoint: Endpoint, about: &[&str]) -> Option<Step> {
        let matches =
            |mood: &Mood| mood.endpoint == endpoint && mood.appid.as_deref().is_none_or(|appid| about.contains(&appid));
        let index = self.0.iter().position(matches)?;
        let mood = &mut self.0[index];
        let step = mood.step.clone();
        if let Some(calls) = &mut mood.calls {
            *calls -= 1;
            if *calls == 0 {
                self.0.remove(index);
            }
        }
        Some(step)
    }
}
