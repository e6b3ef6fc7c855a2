//! Expected values are those of Postgres 15, except for the names of units in intervals.

use super::*;

fn ts(text: &str) -> i64 {
    parse_timestamp(text).unwrap_or_else(|e| panic!("{text}: {e}"))
}

fn iv(text: &str) -> Interval {
    parse_interval(text).unwrap_or_else(|e| panic!("{text}: {e}"))
}

fn shown<T>(r: Result<T, EvalError>, print: impl Fn(T, &mut String)) -> String {
    match r {
        Ok(x) => {
            let mut out = String::new();
            print(x, &mut out);
            out
        }
        Err(e) => format!("{} {e}", e.code().as_str()),
    }
}

fn stamp(r: Result<i64, EvalError>) -> String {
    shown(r, print_timestamp)
}

fn stamp_tz(r: Result<i64, EvalError>) -> String {
    shown(r, print_timestamptz)
}

fn span(r: Result<Interval, EvalError>) -> String {
    shown(r, |i, out| i.print(out))
}

fn number(r: Result<Numeric, EvalError>) -> String {
    shown(r, |n, out| out.push_str(&n.to_string()))
}

#[test]
fn the_calendar_agrees_with_itself_over_its_whole_range() {
    // A step that hits every month, weekday and leap rule in time.
    for days in (MIN_DATE..=MAX_DATE).step_by(99_991) {
        let (y, m, d) = date_of(days.into());
        assert_eq!(days_of(y, m, d), i64::from(days));
        assert!((1..=days_in_month(y, m)).contains(&d));
    }
    for days in -800_000..800_000 {
        let ((y, m, d), next) = (date_of(days), date_of(days + 1));
        let expected = match (m, d == days_in_month(y, m)) {
            (12, true) => (y + 1, 1, 1),
            (_, true) => (y, m + 1, 1),
            _ => (y, m, d + 1),
        };
        assert_eq!(next, expected);
    }
    assert_eq!(date_of(0), (1970, 1, 1));
    assert_eq!(days_of(2000, 1, 1), i64::from(POSTGRES_EPOCH_DAYS));
    assert_eq!(weekday(0), 4);
}

#[test]
fn timestamps_are_read_in_many_spellings() {
    for (text, expected) in [
        ("2024-01-02", "2024-01-02 00:00:00"),
        ("2024-01-02T03:04:05.123456Z", "2024-01-02 03:04:05.123456"),
        ("2024-01-02T03:04:05.1234567", "2024-01-02 03:04:05.123457"),
        ("2024-01-02 03:04:05.9999999", "2024-01-02 03:04:06"),
        ("20240102T030405.5", "2024-01-02 03:04:05.5"),
        ("20240102 030405", "2024-01-02 03:04:05"),
        ("240102", "2024-01-02 00:00:00"),
        ("1/2/24", "2024-01-02 00:00:00"),
        ("1/2/71", "1971-01-02 00:00:00"),
        ("January 2, 2024", "2024-01-02 00:00:00"),
        ("2-Jan-2024", "2024-01-02 00:00:00"),
        ("Jan-02-2024", "2024-01-02 00:00:00"),
        ("2024-Jan-02", "2024-01-02 00:00:00"),
        ("Mon, 02 Jan 2006 15:04:05 GMT", "2006-01-02 15:04:05"),
        ("2024-01-02 04:05 PM", "2024-01-02 16:05:00"),
        ("2024-01-02 12:05 AM", "2024-01-02 00:05:00"),
        ("2024-01-02 24:00:00", "2024-01-03 00:00:00"),
        ("2024-01-02 23:59:60", "2024-01-03 00:00:00"),
        ("0044-03-15 BC", "0044-03-15 00:00:00 BC"),
        ("4714-11-24 BC", "4714-11-24 00:00:00 BC"),
        ("99999-12-31 01:02:03", "99999-12-31 01:02:03"),
        ("294246-12-31 23:59:59.999999", "294246-12-31 23:59:59.999999"),
        ("epoch", "1970-01-01 00:00:00"),
        ("J2451187", "1999-01-08 00:00:00"),
        ("2024-01-02 03:04:05+02", "2024-01-02 03:04:05"),
        ("  2024-1-2   3:4  ", "2024-01-02 03:04:00"),
    ] {
        assert_eq!(stamp(parse_timestamp(text)), expected, "{text}");
    }
}

#[test]
fn what_is_no_timestamp_has_the_error_of_postgres() {
    for text in [
        "",
        "foo",
        "2024",
        "2024-01",
        "2024-01-02 foo",
        "2024-01-02T",
        "12:34:56",
        "2024-01-02 03",
        "now",
        "infinity",
        "1e5",
        "١",
    ] {
        let expected = format!("22007 invalid input syntax for type timestamp: \"{text}\"");
        assert_eq!(stamp(parse_timestamp(text)), expected);
    }
    for text in [
        "2024-02-30",
        "2023-02-29",
        "2024-13-01",
        "13/2/2024",
        "0000-01-01",
        "2024-01-02 24:00:01",
        "2024-01-02 23:60:00",
    ] {
        let expected = format!("22008 date/time field value out of range: \"{text}\"");
        assert_eq!(stamp(parse_timestamp(text)), expected);
    }
    assert_eq!(stamp(parse_timestamp("300000-01-01")), "22008 timestamp out of range: \"300000-01-01\"");
    assert_eq!(stamp(parse_timestamp("4714-11-23 BC")), "22008 timestamp out of range: \"4714-11-23 BC\"");
    assert_eq!(shown(parse_date("5874898-01-01"), print_date), "22008 date out of range: \"5874898-01-01\"");
    assert_eq!(shown(parse_date("x"), print_date), "22007 invalid input syntax for type date: \"x\"");
}

#[test]
fn zones_are_offsets_abbreviations_and_names() {
    for (text, expected) in [
        ("2024-01-02 03:04:05", "2024-01-02 03:04:05+00"),
        ("2024-01-02 03:04:05+02", "2024-01-02 01:04:05+00"),
        ("2024-01-02 03:04:05-0530", "2024-01-02 08:34:05+00"),
        ("2024-01-02 03:04:05 +02:30:15", "2024-01-02 00:33:50+00"),
        ("2024-07-02 03:04:05 America/New_York", "2024-07-02 07:04:05+00"),
        ("2024-01-02 03:04:05 america/new_york", "2024-01-02 08:04:05+00"),
        ("2024-07-02 03:04:05 EST", "2024-07-02 08:04:05+00"),
        ("2024-07-02 03:04:05 UTC+3", "2024-07-02 06:04:05+00"),
        // Skipped by the clocks, and shown twice.
        ("2024-03-10 02:30 America/New_York", "2024-03-10 07:30:00+00"),
        ("2024-11-03 01:30 America/New_York", "2024-11-03 06:30:00+00"),
    ] {
        assert_eq!(stamp_tz(parse_timestamptz(text)), expected, "{text}");
    }
    assert_eq!(
        stamp_tz(parse_timestamptz("2024-07-02 03:04:05 Foo/Bar")),
        "22023 time zone \"foo/bar\" not recognized"
    );
    assert_eq!(
        stamp_tz(parse_timestamptz("2024-01-02 03:04:05+16")),
        "22009 time zone displacement out of range: \"2024-01-02 03:04:05+16\""
    );
    // Four digits after a name are ambiguous: POSIX counts westwards, JavaScript eastwards.
    assert!(parse_timestamptz("Sat Jan 02 2024 10:00:00 GMT+0200").is_err());
}

#[test]
fn at_time_zone_goes_both_ways() {
    let zone = |z: &str| Zone::parse(z);
    let local = |t: &str, z: &str| stamp(zone(z).and_then(|z| utc_to_local(ts(t), z)));
    let utc = |t: &str, z: &str| stamp_tz(zone(z).and_then(|z| local_to_utc(ts(t), z)));
    assert_eq!(local("2024-07-01 12:00", "Europe/Berlin"), "2024-07-01 14:00:00");
    assert_eq!(utc("2024-07-01 12:00", "Europe/Berlin"), "2024-07-01 10:00:00+00");
    // Offsets in strings count westwards.
    assert_eq!(local("2024-07-01 12:00", "+02"), "2024-07-01 10:00:00");
    assert_eq!(utc("2024-07-01 12:00", "-05:30"), "2024-07-01 06:30:00+00");
    assert_eq!(local("2024-07-01 12:00", "Foo"), "22023 time zone \"Foo\" not recognized");
    // In intervals eastwards.
    let z = Zone::from_interval(iv("2 hours")).expect("a zone");
    assert_eq!(stamp(utc_to_local(ts("2024-07-01 12:00"), z)), "2024-07-01 14:00:00");
    assert!(Zone::from_interval(iv("1 day")).is_err());
    // Far outside the years that the zone database covers.
    assert_eq!(local("294246-07-01 12:00", "America/New_York").len(), "294246-07-01 08:00:00".len());
    assert_eq!(stamp(utc_to_local(MIN_TIMESTAMP, Zone::Fixed(-3600))), "22008 timestamp out of range");
}

#[test]
fn exact_forms_for_events() {
    assert_eq!(try_parse_iso8601("2024-01-02T03:04:05.678Z"), Some(ts("2024-01-02 03:04:05.678")));
    assert_eq!(try_parse_iso8601("2024-01-02T03:04:05-05:00"), Some(ts("2024-01-02 08:04:05")));
    assert_eq!(try_parse_iso8601("2024-01-02T03:04"), None);
    assert_eq!(parse_monotonic_iso8601("2024-01-02T03:04:05.678Z"), Some(ts("2024-01-02 03:04:05.678")));
    for text in [
        "2024-01-02T03:04:05.67Z",
        "2024-01-02T03:04:05.678+00",
        "2024-01-02 03:04:05.678Z",
        "2024-13-02T03:04:05.678Z",
    ] {
        assert_eq!(parse_monotonic_iso8601(text), None, "{text}");
    }
}

#[test]
fn times_of_day() {
    for (text, expected) in [
        ("04:05", "04:05:00"),
        ("04:05:06.789", "04:05:06.789"),
        ("040506", "04:05:06"),
        ("0405", "04:05:00"),
        ("04:05 PM", "16:05:00"),
        ("24:00:00", "24:00:00"),
        ("2024-01-02 04:05:06", "04:05:06"),
        ("04:05:06+02", "04:05:06"),
        ("25:00", "22008 date/time field value out of range: \"25:00\""),
        ("", "22007 invalid input syntax for type time: \"\""),
        ("2024-01-02", "22007 invalid input syntax for type time: \"2024-01-02\""),
    ] {
        assert_eq!(shown(parse_time(text), print_time), expected, "{text}");
    }
    assert_eq!(time_add(23 * HOUR, iv("2 hours")), HOUR);
    assert_eq!(time_sub_interval(HOUR, iv("2 hours")), 23 * HOUR);
    assert_eq!(time_add(0, Interval { micros: i64::MIN, ..Interval::default() }), i64::MIN.rem_euclid(DAY));
}

#[test]
fn intervals_are_read_and_printed() {
    for (text, expected) in [
        ("1 year 2 mons 3 days 04:05:06.789", "1 year 2 months 3 days 04:05:06.789"),
        ("-1 mons +1 day -2:00", "-1 months +1 day -02:00:00"),
        ("1.5 months", "1 month 15 days"),
        ("2.25 years", "2 years 3 months"),
        ("1.5 weeks", "10 days 12:00:00"),
        ("1h30m", "01:30:00"),
        ("@ 1 minute ago", "-00:01:00"),
        ("1-2", "1 year 2 months"),
        ("1-2 3 4:05:06", "1 year 2 months 3 days 04:05:06"),
        ("-3 4:05:06", "-3 days +04:05:06"),
        ("P1Y2M3DT4H5M6S", "1 year 2 months 3 days 04:05:06"),
        ("P0001-02-03T04:05:06", "1 year 2 months 3 days 04:05:06"),
        ("P2W", "14 days"),
        ("1", "00:00:01"),
        ("1:02", "01:02:00"),
        ("02:03.5", "00:02:03.5"),
        ("100:00:00", "100:00:00"),
        ("0", "00:00:00"),
        ("1 day 1 foo", "22007 invalid input syntax for type interval: \"1 day 1 foo\""),
        ("", "22007 invalid input syntax for type interval: \"\""),
        ("1 2", "22007 invalid input syntax for type interval: \"1 2\""),
        ("2147483648 days", "22015 interval field value out of range: \"2147483648 days\""),
        ("1:60:00", "22015 interval field value out of range: \"1:60:00\""),
    ] {
        assert_eq!(span(parse_interval(text)), expected, "{text}");
    }
    assert_eq!(span(parse_interval_as("1", Unit::Day)), "1 day");
    assert_eq!(span(parse_interval_as("1:30", Unit::Minute)), "00:01:30");
    let least = Interval { months: i32::MIN, days: i32::MIN, micros: i64::MIN };
    assert_eq!(parse_interval(&least.to_string()).map_err(|e| e.to_string()), Ok(least));
}

#[test]
fn equal_lengths_compare_equal_but_are_other_rows() {
    let (month, days) = (iv("1 month"), iv("30 days"));
    assert!(month.cmp_length(days).is_eq());
    assert_ne!(month, days);
    assert!(iv("24 hours").cmp_length(iv("1 day")).is_eq());
    assert!(iv("1 month") > iv("29 days 23:59:59"));
    for i in [month, days, iv("-1 year 00:00:01")] {
        assert_eq!(Interval::from_bytes(i.to_bytes()), i);
    }
}

#[test]
fn interval_arithmetic() {
    assert_eq!(span(iv("1 month").mul(1.5)), "1 month 15 days");
    assert_eq!(span(iv("1 day").div(3.0)), "08:00:00");
    assert_eq!(span(iv("1 month").div(0.0)), "22012 division by zero");
    assert_eq!(span(iv("178956970 years").mul(1e10)), "22008 interval out of range");
    assert_eq!(span(iv("1 day").mul(f64::NAN)), "22008 interval out of range");
    assert_eq!(span(iv("1 day").sub(iv("1 month"))), "-1 months +1 day");
    assert_eq!(
        span(Interval { months: i32::MIN, ..Interval::default() }.neg()),
        "22008 interval out of range"
    );
    assert_eq!(span(iv("-40 days 50:00:00").justify_hours()), "-37 days -22:00:00");
    assert_eq!(span(iv("35 days").justify_days()), "1 month 5 days");
    assert_eq!(span(iv("1 mon -1 hour").justify_interval()), "29 days 23:00:00");
    assert_eq!(span(Interval::make(1, 2, 3, 4, 5, 6, 7.5)), "1 year 2 months 25 days 05:06:07.5");
    assert_eq!(span(Interval::make(i32::MAX, 0, 0, 0, 0, 0, 0.0)), "22008 interval out of range");
    assert_eq!(span(Ok(iv("1.23456").round(2))), "00:00:01.23");
}

#[test]
fn months_end_on_their_last_day() {
    let add = |t: &str, i: &str| stamp(timestamp_add(ts(t), iv(i)));
    let sub = |t: &str, i: &str| stamp(timestamp_sub_interval(ts(t), iv(i)));
    assert_eq!(add("2024-01-31 10:00", "1 month"), "2024-02-29 10:00:00");
    assert_eq!(add("2023-01-31", "1 month"), "2023-02-28 00:00:00");
    assert_eq!(sub("2024-03-31", "1 month"), "2024-02-29 00:00:00");
    assert_eq!(add("2024-01-31", "1 month 1 day"), "2024-03-01 00:00:00");
    assert_eq!(add("0001-01-15", "-1 month"), "0001-12-15 00:00:00 BC");
    assert_eq!(add("2024-01-01", "178956970 years"), "22008 timestamp out of range");
    assert_eq!(sub("4714-11-24 BC", "1 us"), "22008 timestamp out of range");
    assert_eq!(
        stamp(timestamp_sub_interval(0, Interval { months: i32::MIN, days: i32::MIN, micros: i64::MIN })),
        "22008 timestamp out of range"
    );
    assert_eq!(stamp(date_add_interval(MAX_DATE, iv("1 day"))), "22008 date out of range for timestamp");
    assert_eq!(date_add(MAX_DATE, 1).map_err(|e| e.to_string()), Err("date out of range".into()));
    assert_eq!(date_sub(MAX_DATE, MIN_DATE), 2_147_483_493);
}

#[test]
fn differences_and_ages() {
    let diff = |a: &str, b: &str| span(Ok(timestamp_sub(ts(a), ts(b))));
    let aged = |a: &str, b: &str| span(Ok(age(ts(a), ts(b))));
    assert_eq!(diff("2024-03-01 12:00", "2024-02-28"), "2 days 12:00:00");
    assert_eq!(diff("2024-02-28", "2024-03-01 12:00"), "-2 days -12:00:00");
    assert_eq!(span(Ok(timestamp_sub(MAX_TIMESTAMP, MIN_TIMESTAMP))), "109192569 days 23:59:59.999999");
    assert_eq!(aged("2024-03-31", "2024-02-29"), "1 month 2 days");
    assert_eq!(aged("2024-02-29", "2024-03-31"), "-1 months -2 days");
    assert_eq!(aged("2001-04-10", "1957-06-13"), "43 years 9 months 27 days");
    assert_eq!(aged("2024-01-01", "2023-12-31 23:59:59"), "00:00:01");
}

#[test]
fn fields() {
    let field = |u: &str, t: &str| {
        number(Unit::parse(u, Fielded::Timestamp).and_then(|u| extract_timestamp(u, ts(t))))
    };
    let t = "2001-02-16 20:38:40.125";
    for (unit, expected) in [
        ("century", "21"),
        ("day", "16"),
        ("decade", "200"),
        ("dow", "5"),
        ("doy", "47"),
        ("epoch", "982355920.125"),
        ("hour", "20"),
        ("isodow", "5"),
        ("isoyear", "2001"),
        ("microseconds", "40125000"),
        ("millennium", "3"),
        ("ms", "40125"),
        ("minute", "38"),
        ("month", "2"),
        ("quarter", "1"),
        ("second", "40.125"),
        ("week", "7"),
        ("year", "2001"),
        ("timezone", "0A000 unit \"timezone\" not supported for type timestamp without time zone"),
        ("foo", "22023 unit \"foo\" not recognized for type timestamp without time zone"),
    ] {
        assert_eq!(field(unit, t), expected, "{unit}");
    }
    assert_eq!(field("year", "0044-03-15 BC"), "-44");
    assert_eq!(field("century", "0001-06-01 BC"), "-1");
    assert_eq!(field("millennium", "1001-06-01 BC"), "-2");
    assert_eq!(field("isoyear", "2021-01-03"), "2020");
    assert_eq!(field("week", "2021-01-03"), "53");
    assert_eq!(field("epoch", "1969-12-31 23:59:59.999999"), "-0.000001");
    assert_eq!(number(extract_timestamptz(Unit::TimezoneHour, 0)), "0");
    assert_eq!(number(extract_date(Unit::Epoch, 1)), "86400");
    assert_eq!(number(extract_date(Unit::Hour, 1)), "0A000 unit \"hour\" not supported for type date");
    assert_eq!(number(extract_time(Unit::Hour, DAY)), "24");
    assert_eq!(number(extract_interval(Unit::Hour, iv("50:00"))), "50");
    assert_eq!(number(extract_interval(Unit::Month, iv("-13 months"))), "-1");
    assert_eq!(number(extract_interval(Unit::Epoch, iv("1 year 1 month 1 day 0.5 s"))), "34236000.5");
}

#[test]
fn truncation_and_bins() {
    let trunc =
        |u: &str, t: &str| stamp(Unit::parse(u, Fielded::Timestamp).and_then(|u| date_trunc(u, ts(t))));
    let t = "2024-08-15 20:38:40.123456";
    for (unit, expected) in [
        ("us", "2024-08-15 20:38:40.123456"),
        ("ms", "2024-08-15 20:38:40.123"),
        ("second", "2024-08-15 20:38:40"),
        ("minute", "2024-08-15 20:38:00"),
        ("hour", "2024-08-15 20:00:00"),
        ("day", "2024-08-15 00:00:00"),
        ("week", "2024-08-12 00:00:00"),
        ("month", "2024-08-01 00:00:00"),
        ("quarter", "2024-07-01 00:00:00"),
        ("year", "2024-01-01 00:00:00"),
        ("decade", "2020-01-01 00:00:00"),
        ("century", "2001-01-01 00:00:00"),
        ("millennium", "2001-01-01 00:00:00"),
        ("dow", "22023 unit \"dow\" not recognized for type timestamp without time zone"),
    ] {
        assert_eq!(trunc(unit, t), expected, "{unit}");
    }
    assert_eq!(trunc("hour", "1969-12-31 23:30"), "1969-12-31 23:00:00");
    assert_eq!(trunc("century", "0001-06-01 BC"), "0100-01-01 00:00:00 BC");
    assert_eq!(trunc("millennium", "4714-11-24 BC"), "22008 timestamp out of range");
    let zone = Zone::parse("America/New_York").expect("a zone");
    assert_eq!(stamp_tz(date_trunc_in(Unit::Day, ts("2024-07-01 02:00"), zone)), "2024-06-30 04:00:00+00");
    assert_eq!(span(date_trunc_interval(Unit::Hour, iv("1 day 01:59"))), "1 day 01:00:00");
    assert_eq!(
        span(date_trunc_interval(Unit::Week, iv("1 day"))),
        "0A000 unit \"week\" not supported for type interval"
    );

    let bin = |s: &str, t: &str| stamp(date_bin(iv(s), ts(t), 0));
    assert_eq!(bin("15 minutes", "2024-01-01 10:29:59"), "2024-01-01 10:15:00");
    assert_eq!(bin("7 days", "1969-12-31"), "1969-12-25 00:00:00");
    assert_eq!(bin("0", "2024-01-01"), "22008 stride must be greater than zero");
    assert_eq!(
        bin("1 month", "2024-01-01"),
        "0A000 timestamps cannot be binned into intervals containing months or years"
    );
    assert_eq!(date_diff(Unit::Month, ts("2024-01-31"), ts("2024-02-01")).ok(), Some(1));
    assert_eq!(date_diff(Unit::Year, ts("2024-01-31"), ts("2023-12-31")).ok(), Some(-1));
}

#[test]
fn making_and_rounding() {
    assert_eq!(stamp(make_timestamp(2024, 2, 29, 12, 30, 15.5)), "2024-02-29 12:30:15.5");
    assert_eq!(shown(make_date(-44, 3, 15), print_date), "0044-03-15 BC");
    assert_eq!(shown(make_date(2023, 2, 29), print_date), "22008 date field value out of range: 2023-02-29");
    assert!(
        make_date(0, 1, 1).is_err()
            && make_date(i32::MAX, 1, 1).is_err()
            && make_date(2024, -1, i32::MIN).is_err()
    );
    assert!(
        make_time(24, 0, 0.0).is_ok() && make_time(24, 0, 0.1).is_err() && make_time(0, 0, f64::NAN).is_err()
    );
    assert_eq!(stamp(timestamp_from_seconds(1_284_352_323.5)), "2010-09-13 04:32:03.5");
    for x in [f64::NAN, f64::INFINITY, 1e18, -1e18] {
        assert!(timestamp_from_seconds(x).is_err());
    }
    assert_eq!(stamp(timestamp_from_millis(1500)), "1970-01-01 00:00:01.5");
    assert!(timestamp_from_millis(u64::MAX).is_err());
    assert_eq!(stamp(round_timestamp(ts("2024-01-01 00:00:00.0005"), 3)), "2024-01-01 00:00:00.001");
    assert_eq!(stamp(round_timestamp(MAX_TIMESTAMP, 0)), "22008 timestamp out of range");
    assert_eq!((timestamp_to_date(-1), timestamp_to_time(-1)), (-1, DAY - 1));
}

#[test]
fn templates_print() {
    let t = ts("2024-02-03 16:05:06.07");
    for (format, expected) in [
        ("YYYY-MM-DD HH24:MI:SS.MS", "2024-02-03 16:05:06.070"),
        ("YYYY-MM-DD\"T\"HH24:MI:SS.USZ", "2024-02-03T16:05:06.070000Z"),
        ("Day, DD Month YYYY", "Saturday , 03 February  2024"),
        ("FMDay, FMDDth FMMonth", "Saturday, 3rd February"),
        ("HH12:MI AM p.m.", "04:05 PM p.m."),
        ("Y,YYY YY Q W WW IW D ID DDD J", "2,024 24 1 1 05 05 7 6 034 2460344"),
        ("RM rm CC BC", "II   ii   21 AD"),
        ("SSSS FF3", "57906 070"),
        ("TZ|OF", "|+00"),
        ("日本 \\\"x\\\"", "日本 \"x\""),
    ] {
        assert_eq!(to_char(t, format), expected, "{format}");
    }
    assert_eq!(to_char_tz(t, "TZ tz"), "UTC utc");
    assert_eq!(interval_to_char(iv("1 day 50:00"), "DD HH24:MI"), "01 50:00");
    assert_eq!(to_char(ts("0044-03-15 BC"), "YYYY-MM-DD BC"), "0044-03-15 BC");
}

#[test]
fn templates_read() {
    for (text, format, expected) in [
        ("2024-01-02 03:04:05", "YYYY-MM-DD HH24:MI:SS", "2024-01-02 03:04:05+00"),
        ("20001205123456", "YYYYMMDDHH24MISS", "2000-12-05 12:34:56+00"),
        ("05 Dec 2000", "DD Mon YYYY", "2000-12-05 00:00:00+00"),
        ("2024-01-02T03:04:05.5Z", "YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"", "2024-01-02 03:04:05.5+00"),
        ("2024-01-02 03:04:05-02:30", "YYYY-MM-DD HH24:MI:SSTZH:TZM", "2024-01-02 05:34:05+00"),
        ("2024 366", "YYYY DDD", "2024-12-31 00:00:00+00"),
        ("99-01-02", "YY-MM-DD", "1999-01-02 00:00:00+00"),
        ("1:2:3 PM", "HH:MI:SS AM", "0001-01-01 13:02:03+00 BC"),
        ("13:00 PM", "HH12:MI AM", "22007 hour \"13\" is invalid for the 12-hour clock"),
        ("2024-02-30", "YYYY-MM-DD", "22008 date/time field value out of range: \"2024-02-30\""),
        ("abc", "YYYY", "22007 invalid value \"abc\" for \"YYYY\""),
        ("99999999999", "YYYY", "22008 value for \"YYYY\" in source string is out of range"),
    ] {
        assert_eq!(stamp_tz(to_timestamp(text, format)), expected, "{text} by {format}");
    }
    assert_eq!(shown(to_date("1st January 2024", "DDth Month YYYY"), print_date), "2024-01-01");
}

#[test]
fn extremes_do_not_overflow() {
    let spans = [
        Interval { months: i32::MAX, days: i32::MAX, micros: i64::MAX },
        Interval { months: i32::MIN, days: i32::MIN, micros: i64::MIN },
        Interval { months: 0, days: i32::MAX, micros: i64::MAX },
        Interval { months: 0, days: 0, micros: i64::MIN },
        Interval { months: 0, days: 0, micros: 1 },
    ];
    let units = [
        Unit::Microseconds,
        Unit::Milliseconds,
        Unit::Hour,
        Unit::Week,
        Unit::Quarter,
        Unit::Millennium,
        Unit::Julian,
        Unit::Epoch,
        Unit::IsoYear,
    ];
    let template = "YYYY IYYY Y,YYY CC J DDD IDDD WW IW RM Month Day HH24 HH12 SSSS Q MS US";
    for t in [MIN_TIMESTAMP, MAX_TIMESTAMP, 0, -1] {
        for u in [MIN_TIMESTAMP, MAX_TIMESTAMP] {
            let _ = (age(t, u), timestamp_sub(t, u));
            for unit in units {
                let _ = date_diff(unit, t, u);
            }
            for s in spans {
                let _ = date_bin(s, t, u);
            }
        }
        for unit in units {
            let _ = (extract_timestamp(unit, t), date_trunc(unit, t));
            let _ = date_trunc_in(unit, t, Zone::parse("Asia/Kolkata").expect("a zone"));
        }
        let _ = to_char(t, template);
        for s in spans {
            let _ = (timestamp_add(t, s), timestamp_sub_interval(t, s), time_add(0, s), interval_to_time(s));
        }
    }
    for s in spans {
        let _ =
            (s.justify_days(), s.justify_hours(), s.justify_interval(), s.mul(-1.0), s.div(1e-300), s.neg());
        let _ = (interval_to_char(s, template), s.to_string(), s.round(0), Zone::from_interval(s));
        for unit in units {
            let _ = (extract_interval(unit, s), date_trunc_interval(unit, s));
        }
        for other in spans {
            let _ = (s.cmp(&other), s.add(other), s.sub(other));
        }
    }
}

#[test]
fn times_of_clients_are_read_in_many_shapes() {
    let expected = ts("2026-01-02 03:04:05.678");
    for text in [
        "2026-01-02T03:04:05.678Z",
        "2026-01-02T03:04:05.678000+00:00",
        " 2026-01-02T04:04:05.678+0100",
        "2026-01-02 03:04:05.678",
        "1767323045678",
    ] {
        assert_eq!(try_parse_timestamptz(text), Some(expected), "{text}");
    }
    assert_eq!(try_parse_timestamptz("1767323045"), Some(ts("2026-01-02 03:04:05")));
    assert_eq!(try_parse_timestamptz("20260102"), Some(ts("2026-01-02 00:00:00")));
    for text in ["", "now", "infinity", "invalid-time", "2026-13-01", "99999999999999999999", "-5"] {
        assert_eq!(try_parse_timestamptz(text), None, "{text}");
    }
}
