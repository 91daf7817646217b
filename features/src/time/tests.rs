//! Instants and spans: text in, text out, and arithmetic at the ends.

use super::*;

#[test]
fn instants_read_and_print_as_rfc_3339_with_microseconds() {
    for (text, micros, printed) in [
        ("1970-01-01T00:00:00Z", 0, "1970-01-01T00:00:00.000000Z"),
        ("2018-04-01T00:00:31Z", 1_522_540_831_000_000, "2018-04-01T00:00:31.000000Z"),
        ("2018-04-01 00:00:31.5", 1_522_540_831_500_000, "2018-04-01T00:00:31.500000Z"),
        ("2018-04-01T02:00:31+02:00", 1_522_540_831_000_000, "2018-04-01T00:00:31.000000Z"),
        ("2018-04-01", 1_522_540_800_000_000, "2018-04-01T00:00:00.000000Z"),
        ("9999-12-31T23:59:59.999999Z", i64::MAX, "9999-12-31T23:59:59.999999Z"),
        ("0000-01-01T00:00:00.000000Z", i64::MIN, "0000-01-01T00:00:00.000000Z"),
    ] {
        let at = Time::parse(text).expect(text);
        assert_eq!((at.micros(), at.to_string().as_str()), (micros, printed));
    }
    assert_eq!(Time::parse("yesterday"), None);
}

#[test]
fn spans_read_and_print_as_written() {
    for (text, micros, printed) in [
        ("30s", 30_000_000, "30s"),
        ("90s", 90_000_000, "1m30s"),
        ("7d", 604_800_000_000, "7d"),
        ("1h30m", 5_400_000_000, "1h30m"),
        ("0s", 0, "0s"),
        ("250ms", 250_000, "250ms"),
    ] {
        let span = Span::parse(text).expect(text);
        assert_eq!((span.micros(), span.to_string().as_str()), (micros, printed));
    }
    for wrong in ["", "7", "d", "7 days", "-1d", "99999999999999d"] {
        assert_eq!(Span::parse(wrong), None, "{wrong}");
    }
}

#[test]
fn arithmetic_saturates() {
    assert_eq!(Time::MAX + Span::from_micros(1), Time::MAX);
    assert_eq!(Time::NONE - Span::from_micros(1), Time::NONE);
    assert_eq!(Time::NONE.since(Time::MAX), Span::from_micros(i64::MIN));
}
