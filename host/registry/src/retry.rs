//! When to try again, and when to give up.
//!
//! Only what may pass is tried again. Content that is not what it should be may have been spoiled on its way: it is asked for
//! anew, but not as often. Pauses double, with chance so that many clients do not come back at once; a registry
//! that names a time is given that time. An attempt that made headway starts the count anew, up to a bound.

use crate::error::RegistryError;
use crate::settings::Patience;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use wbuild_oci::Time;
use wbuild_store::ErrorClass;

/// Even with headway, nothing is tried more often than this many times the attempts allowed.
const HEADWAY_FACTOR: u32 = 10;
/// How often something is served wrongly before that is believed to be what the registry has.
const WRONG_LIMIT: u32 = 3;

/// Whether a failed attempt got further than the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Headway {
    Some,
    None,
}

/// The attempts at one thing.
#[derive(Debug)]
pub(crate) struct Attempts<'a> {
    patience: &'a Patience,
    fruitless: u32,
    total: u32,
    wrong: u32,
}

impl<'a> Attempts<'a> {
    pub(crate) fn new(patience: &'a Patience) -> Self {
        Self { patience, fruitless: 0, total: 0, wrong: 0 }
    }

    /// Waits for the right time of another attempt, or gives the error back where there is none.
    pub(crate) async fn after(
        &mut self,
        error: RegistryError,
        headway: Headway,
    ) -> Result<(), RegistryError> {
        self.total += 1;
        self.fruitless = if headway == Headway::Some { 1 } else { self.fruitless + 1 };
        let spent = self.fruitless >= self.patience.attempts
            || self.total >= self.patience.attempts.saturating_mul(HEADWAY_FACTOR);
        let may_pass = match error.class() {
            ErrorClass::Network => true,
            ErrorClass::Content => {
                self.wrong += 1;
                self.wrong < WRONG_LIMIT
            }
            ErrorClass::Refused | ErrorClass::Missing | ErrorClass::Host => false,
        };
        if spent || !may_pass {
            return Err(error);
        }
        let asked = match &error {
            RegistryError::Status { retry_after, .. } => *retry_after,
            _ => None,
        };
        let pause = match asked {
            Some(pause) if pause > self.patience.longest_pause => return Err(error),
            Some(pause) => pause,
            None => self.backoff(),
        };
        tracing::info!(%error, pause_ms = pause.as_millis(), "trying again");
        tokio::time::sleep(pause).await;
        Ok(())
    }

    fn backoff(&self) -> Duration {
        let doubled = self.patience.pause.saturating_mul(1 << (self.fruitless - 1).min(16));
        let whole = doubled.min(self.patience.longest_pause);
        whole / 2 + (whole / 2).mul_f64(chance())
    }
}

/// Anything from 0 to 1: the standard library's hash keys are random.
fn chance() -> f64 {
    let bits = RandomState::new().build_hasher().finish();
    f64::from(u32::try_from(bits >> 32).unwrap_or_default()) / f64::from(u32::MAX)
}

/// How long to wait, where the registry says so: in seconds, or until an HTTP date (RFC 9110 sections 10.2.3 and 5.6.7).
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = UNIX_EPOCH + Duration::from_secs(http_date(text)?.unix().try_into().ok()?);
    Some(until.duration_since(SystemTime::now()).unwrap_or_default())
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`.
pub(crate) fn http_date(text: &str) -> Option<Time> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let fields: Vec<&str> = text.split_once(", ")?.1.split(' ').collect();
    let [day, month, year, time, "GMT"] = fields.as_slice() else { return None };
    let month = MONTHS.iter().position(|name| name == month)? + 1;
    format!("{year}-{month:02}-{day}T{time}Z").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patience() -> Patience {
        let short = Duration::from_millis(4);
        Patience { attempts: 3, pause: short, longest_pause: short * 2, ..Patience::default() }
    }

    fn status(status: u16, retry_after: Option<Duration>) -> RegistryError {
        let (registry, what) = ("r".to_owned(), "w".to_owned());
        RegistryError::Status { registry, what, status, said: String::new(), retry_after }
    }

    #[test]
    fn an_http_date_is_read() {
        assert_eq!(http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap().unix(), 784_111_777);
        assert_eq!(http_date("Sun, 06 Foo 1994 08:49:37 GMT"), None);
        assert_eq!(http_date("soon"), None);
    }

    #[tokio::test]
    async fn fruitless_attempts_end_and_headway_goes_on_for_a_while() {
        let patience = patience();
        let mut attempts = Attempts::new(&patience);
        attempts.after(status(503, None), Headway::None).await.unwrap();
        attempts.after(status(503, None), Headway::None).await.unwrap();
        attempts.after(status(503, None), Headway::None).await.unwrap_err();
        let mut attempts = Attempts::new(&patience);
        let mut made = 0;
        while attempts.after(status(503, None), Headway::Some).await.is_ok() {
            made += 1;
        }
        assert_eq!(made, 29);
    }

    #[tokio::test]
    async fn what_will_not_pass_is_not_tried_again() {
        let patience = patience();
        for error in [status(400, None), status(503, Some(Duration::from_secs(3600)))] {
            Attempts::new(&patience).after(error, Headway::None).await.unwrap_err();
        }
    }
}
