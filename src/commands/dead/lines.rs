//! Lines for people: none is wider than a terminal of 80 columns.

const COLUMNS: usize = 80;
/// Where the values of `dead show` begin.
const INDENT: usize = 14;

pub(super) fn fits(line: &str) -> bool {
    width(line) <= COLUMNS
}

/// The line, its end replaced by an ellipsis if it is too wide.
pub(super) fn cut(line: &str) -> String {
    if fits(line) { line.to_owned() } else { format!("{}…", &line[..end_within(line, COLUMNS - 2)]) }
}

/// A name and its value. A value that is too wide goes on below itself, broken at spaces if there are any.
pub(super) fn labelled(name: &str, value: &str) -> String {
    let (mut lines, mut rest) = (vec![], value);
    loop {
        let most = end_within(rest, COLUMNS - INDENT);
        let space = rest[..most].rfind(' ').filter(|at| most < rest.len() && *at > 0);
        let (line, behind) = rest.split_at(space.map_or(most, |at| at + 1));
        lines.push(line);
        rest = behind;
        if rest.is_empty() {
            return format!("{name:<13} {}", lines.join(&format!("\n{:INDENT$}", "")));
        }
    }
}

/// Where the part of a text ends that takes so many columns at most; at least one character.
fn end_within(text: &str, columns: usize) -> usize {
    let mut taken = 0;
    let fits = |c: &char| {
        taken += width_of(*c);
        taken <= columns
    };
    let length: usize = text.chars().take_while(fits).map(char::len_utf8).sum();
    length.max(text.chars().next().map_or(0, char::len_utf8))
}

fn width(text: &str) -> usize {
    text.chars().map(width_of).sum()
}

/// Chinese characters take two columns; some others are taken for as wide as these.
fn width_of(c: char) -> usize {
    if c < '\u{1100}' { 1 } else { 2 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_is_wider_than_80_columns() {
        for text in ["x".repeat(1000), "word ".repeat(200), "码".repeat(500), String::new(), "é ".repeat(100)] {
            assert!(fits(&cut(&text)) && fits(&cut(&format!("x{text}"))), "{text}");
            for line in labelled("header", &text).lines() {
                assert!(width(line) <= COLUMNS, "{line}");
            }
            let value: String = labelled("", &text).lines().map(|line| &line[INDENT.min(line.len())..]).collect();
            assert_eq!(value, text, "nothing is lost");
        }
        assert_eq!(cut(&"x".repeat(80)), "x".repeat(80));
        assert!(cut(&"x".repeat(81)).ends_with("x…"));
    }

    #[test]
    fn a_value_is_broken_at_spaces() {
        let shown = labelled("header", &format!("traceparent: {}", "0".repeat(60)));
        assert_eq!(shown, format!("header        traceparent: \n              {}", "0".repeat(60)));
        assert_eq!(labelled("reason", "no good"), "reason        no good");
    }
}
