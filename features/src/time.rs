//! Event time: one tick is a microsecond since the Unix epoch, arithmetic saturates, and the text form is RFC 3339 in UTC.

use std::fmt;

/// An instant of event time, in microseconds since the Unix epoch. [`Time::NONE`] means "no time".
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize, serde::Deserialize)]
pub struct Time(i64);

/// A length of time in microseconds; never negative where a definition gives it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize, serde::Deserialize)]
pub struct Span(i64);

impl Time {
    /// "No time": before every instant. A watermark starts here.
    pub const NONE: Time = Time(i64::MIN);
    /// After every instant: the watermark at the end of a bounded input.
    pub const MAX: Time = Time(i64::MAX);

    /// The instant that many microseconds after the epoch.
    pub const fn from_micros(micros: i64) -> Time {
        Time(micros)
    }

    /// Microseconds since the epoch.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// The instant one tick later.
    pub const fn next_tick(self) -> Time {
        Time(self.0.saturating_add(1))
    }

    /// The instant one tick earlier.
    pub const fn previous_tick(self) -> Time {
        Time(self.0.saturating_sub(1))
    }

    /// How long after `earlier` this instant is; negative if it is before.
    pub const fn since(self, earlier: Time) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }

    /// Reads RFC 3339 (`2018-04-01T00:00:31Z`), with a space for the `T` and without an offset (then UTC) as well,
    /// a plain date (midnight, UTC), and the far ends that [`Time`] prints for [`Time::NONE`] and [`Time::MAX`].
    pub fn parse(text: &str) -> Option<Time> {
        let text = text.trim();
        match text {
            NONE_TEXT => return Some(Time::NONE),
            MAX_TEXT => return Some(Time::MAX),
            _ => {}
        }
        if let Ok(at) = text.parse::<jiff::Timestamp>() {
            return Some(Time(at.as_microsecond()));
        }
        let local: jiff::civil::DateTime = text.parse().ok()?;
        let at = local.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
        Some(Time(at.timestamp().as_microsecond()))
    }
}

/// What `i64::MIN` and `i64::MAX` print as: the first and last microsecond that RFC 3339's four-digit years can say.
const NONE_TEXT: &str = "0000-01-01T00:00:00.000000Z";
const MAX_TEXT: &str = "9999-12-31T23:59:59.999999Z";

impl std::ops::Add<Span> for Time {
    type Output = Time;
    fn add(self, span: Span) -> Time {
        Time(self.0.saturating_add(span.0))
    }
}

impl std::ops::Sub<Span> for Time {
    type Output = Time;
    fn sub(self, span: Span) -> Time {
        Time(self.0.saturating_sub(span.0))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Time::NONE => return f.write_str(NONE_TEXT),
            Time::MAX => return f.write_str(MAX_TEXT),
            Time(_) => {}
        }
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(at) => write!(f, "{at:.6}"),
            Err(_) => write!(f, "{}us", self.0),
        }
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Span {
    /// No time at all.
    pub const ZERO: Span = Span(0);

    /// That many microseconds.
    pub const fn from_micros(micros: i64) -> Span {
        Span(micros)
    }

    /// That many seconds.
    pub const fn from_secs(secs: i64) -> Span {
        Span(secs.saturating_mul(1_000_000))
    }

    /// In microseconds.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// In seconds, as a fraction.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// Reads `30s`, `5m`, `1h`, `7d`, `250ms`, `10us`, or several of them joined (`1h30m`).
    pub fn parse(text: &str) -> Option<Span> {
        let mut rest = text.trim();
        if rest.is_empty() {
            return None;
        }
        let mut total = 0_i64;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit())?;
            let count: i64 = rest[..digits].parse().ok()?;
            rest = &rest[digits..];
            let letters = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
            let (_, unit) = UNITS.iter().find(|(name, _)| *name == &rest[..letters])?;
            total = total.checked_add(count.checked_mul(*unit)?)?;
            rest = &rest[letters..];
        }
        Some(Span(total))
    }
}

/// Units of a duration, the largest first, in microseconds.
const UNITS: [(&str, i64); 6] =
    [("d", 86_400_000_000), ("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000), ("ms", 1_000), ("us", 1)];

impl std::ops::Add for Span {
    type Output = Span;
    fn add(self, other: Span) -> Span {
        Span(self.0.saturating_add(other.0))
    }
}

/// As a definition writes it: `7d`, `1h30m`, `0s`.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("0s");
        }
        let mut rest = self.0;
        if rest < 0 {
            f.write_str("-")?;
            rest = rest.saturating_neg();
        }
        for (name, unit) in UNITS {
            if rest >= unit {
                write!(f, "{}{name}", rest / unit)?;
                rest %= unit;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests;
