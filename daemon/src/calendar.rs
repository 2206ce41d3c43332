//! Dates and times of day, in UTC, for any year.

/// `YYYY-MM-DD` of seconds since 1970 (days to dates after Howard Hinnant's `civil_from_days`).
pub(crate) fn date(secs: i64) -> String {
    let shifted = i128::from(secs.div_euclid(DAY)) + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 {
        month_index + 3
    } else {
        month_index - 9
    };
    let year = year_of_era + era * 400 + i128::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

/// `YYYY-MM-DD hh:mm` of seconds since 1970.
pub(crate) fn moment(secs: i64) -> String {
    let rest = secs.rem_euclid(DAY);
    format!("{} {:02}:{:02}", date(secs), rest / 3600, rest % 3600 / 60)
}

/// Seconds of a day.
const DAY: i64 = 86_400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right_before_1970_and_after_2038() {
        assert_eq!(moment(0), "1970-01-01 00:00");
        assert_eq!(moment(-1), "1969-12-31 23:59");
        assert_eq!(moment(951_782_400), "2000-02-29 00:00");
        assert_eq!(moment(4_102_444_800), "2100-01-01 00:00");
        assert_eq!(moment(-11_644_473_600), "1601-01-01 00:00");
        assert!(!moment(i64::MIN).is_empty() && !moment(i64::MAX).is_empty());
    }
}
