//! Whole numbers as other languages write them: as a float, with an exponent, or as text.

/// Why a text is not a whole number from 0 to `u64::MAX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotWhole {
    /// It is no decimal number, or has a part behind the point.
    NotANumber,
    /// It is below zero.
    Negative,
    /// It is larger than `u64::MAX`.
    TooLarge,
}

/// Reads a decimal number that is whole, in any spelling: `20`, `20.0`, `2e1`, `+20`, with spaces around it. Exact: no
/// float is involved.
pub(crate) fn whole_number(text: &str) -> Result<u64, NotWhole> {
    let text = text.trim_ascii();
    let is_negative = text.starts_with('-');
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, self::exponent(exponent).ok_or(NotWhole::NotANumber)?),
        None => (unsigned, 0),
    };
    let (before, behind) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let is_number = mantissa.len() > usize::from(mantissa.contains('.'))
        && before.bytes().chain(behind.bytes()).all(|byte| byte.is_ascii_digit());
    if !is_number {
        return Err(NotWhole::NotANumber);
    }
    let digits = || before.bytes().chain(behind.bytes()).map(|byte| u64::from(byte - b'0'));
    if digits().all(|digit| digit == 0) {
        return Ok(0);
    }
    if is_negative {
        return Err(NotWhole::Negative);
    }
    // How many digits stand before the point once the exponent has moved it.
    let point = (before.len() as i64).saturating_add(exponent);
    let (mut number, mut count) = (0_u64, 0_i64);
    for digit in digits() {
        if count < point {
            number = shifted(number, digit)?;
        } else if digit != 0 {
            return Err(NotWhole::NotANumber);
        }
        count += 1;
    }
    // The number is above zero here, so this ends after twenty rounds, whatever the exponent is.
    while count < point {
        number = shifted(number, 0)?;
        count += 1;
    }
    Ok(number)
}

fn shifted(number: u64, digit: u64) -> Result<u64, NotWhole> {
    number.checked_mul(10).and_then(|number| number.checked_add(digit)).ok_or(NotWhole::TooLarge)
}

/// The number behind an `e`; saturates.
fn exponent(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let size = digits.bytes().fold(0_i64, |size, byte| size.saturating_mul(10).saturating_add((byte - b'0').into()));
    Some(if text.starts_with('-') { -size } else { size })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_number_is_read_in_any_spelling() {
        for (text, number) in [
            ("1795862626000", 1_795_862_626_000),
            ("1795862626000.0", 1_795_862_626_000),
            ("1795862626000.", 1_795_862_626_000),
            ("1.795862626E12", 1_795_862_626_000),
            ("1.795862626e+12", 1_795_862_626_000),
            ("1.79E12", 1_790_000_000_000),
            ("1795862626000000e-3", 1_795_862_626_000),
            ("0.001795862626e15", 1_795_862_626_000),
            (" +1795862626000\n", 1_795_862_626_000),
            (".2e2", 20),
            ("18446744073709551615", u64::MAX),
            ("0", 0),
            ("-0.0", 0),
            ("0e99999999999999999999999", 0),
            ("0.000e-99999999999999999999999", 0),
        ] {
            assert_eq!(whole_number(text), Ok(number), "{text:?}");
        }
    }

    #[test]
    fn what_is_no_whole_number_is_told_apart() {
        let too_long = "9".repeat(10_000);
        for (text, expected) in [
            ("", NotWhole::NotANumber),
            (".", NotWhole::NotANumber),
            ("-", NotWhole::NotANumber),
            ("e5", NotWhole::NotANumber),
            ("1e", NotWhole::NotANumber),
            ("1e1.5", NotWhole::NotANumber),
            ("1.2.3", NotWhole::NotANumber),
            ("--1", NotWhole::NotANumber),
            ("1 2", NotWhole::NotANumber),
            ("1,795", NotWhole::NotANumber),
            ("0x10", NotWhole::NotANumber),
            ("NaN", NotWhole::NotANumber),
            ("Infinity", NotWhole::NotANumber),
            ("٣", NotWhole::NotANumber),
            ("2026-11-28T00:00:00Z", NotWhole::NotANumber),
            ("0.5", NotWhole::NotANumber),
            ("1795862626000.001", NotWhole::NotANumber),
            ("1e-1", NotWhole::NotANumber),
            ("1e-99999999999999999999999", NotWhole::NotANumber),
            ("-1", NotWhole::Negative),
            ("-1.5e3", NotWhole::Negative),
            ("18446744073709551616", NotWhole::TooLarge),
            ("1e400", NotWhole::TooLarge),
            ("1e99999999999999999999999", NotWhole::TooLarge),
            (&too_long, NotWhole::TooLarge),
        ] {
            assert_eq!(whole_number(text), Err(expected), "{text:.40?}");
        }
    }
}
