//! The request id of a body that is not valid JSON, so that its sender gets a result and not silence.

use crate::login::RequestId;
use crate::login::request::fields::text;

/// The value of the one `request_id` at the top level of an object that may be broken or cut off
/// elsewhere. An id that is itself cut off has no closing quote, and does not count.
pub(super) fn request_id(body: &str) -> Option<RequestId> {
    let mut scanner = Scanner { rest: body };
    let mut found = None;
    scanner.take('{')?;
    while let Some((name, value)) = scanner.member() {
        if text(name).is_some_and(|name| name == "request_id") && found.replace(value).is_some() {
            return None;
        }
        if scanner.take(',').is_none() {
            break;
        }
    }
    RequestId::try_from(&*text(found?)?).ok()
}

/// Finds where values end, and checks nothing else. Without recursion, since a body may be nested as deeply as it likes.
struct Scanner<'a> {
    rest: &'a str,
}

impl<'a> Scanner<'a> {
    /// A name and its value, as they stand.
    fn member(&mut self) -> Option<(&'a str, &'a str)> {
        let name = self.string()?;
        self.take(':')?;
        let value = if self.rest.trim_start().starts_with('"') { self.string()? } else { self.other()? };
        Some((name, value))
    }

    fn take(&mut self, sign: char) -> Option<()> {
        self.rest = self.rest.trim_start().strip_prefix(sign)?;
        Some(())
    }

    fn string(&mut self) -> Option<&'a str> {
        self.rest = self.rest.trim_start();
        let end = end_of_string(self.rest.as_bytes(), 0)?;
        Some(self.cut(end))
    }

    /// A value that is no string: up to a comma or a bracket that does not belong to it.
    fn other(&mut self) -> Option<&'a str> {
        let bytes = self.rest.as_bytes();
        let (mut at, mut depth) = (0, 0_usize);
        loop {
            match bytes.get(at)? {
                b'"' => at = end_of_string(bytes, at)? - 1,
                b'{' | b'[' => depth += 1,
                b'}' | b']' | b',' if depth == 0 => return Some(self.cut(at)),
                b'}' | b']' => depth -= 1,
                _ => {}
            }
            at += 1;
        }
    }

    fn cut(&mut self, at: usize) -> &'a str {
        let (value, rest) = self.rest.split_at(at);
        self.rest = rest;
        value
    }
}

/// Where the string that begins at `start` has ended.
fn end_of_string(bytes: &[u8], start: usize) -> Option<usize> {
    if bytes.get(start) != Some(&b'"') {
        return None;
    }
    let mut at = start + 1;
    loop {
        match bytes.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(body: &str) -> Option<String> {
        request_id(body).map(|id| id.to_string())
    }

    #[test]
    fn an_id_is_found_before_and_behind_what_is_broken() {
        let deep = format!(r#"{{"x":{}1{},"request_id":"r"}}"#, "[".repeat(200_000), "]".repeat(200_000));
        for body in [
            r#"{"request_id":"r","code":"c""#,
            r#"{"request_id" : "r" , "code" : "c"} trailing"#,
            r#"{"request_id":"r","code":tru}"#,
            r#"{"code":nope, "x":{"y":[1,"]}",2]}, "request_id":"r"}"#,
            "{\"note\":\"a\nb\\\"\",\"request_id\":\"r\"}",
            r#"{"\u0072equest_id":"r","#,
            &deep,
        ] {
            assert_eq!(found(body).as_deref(), Some("r"), "{body:.60}");
        }
    }

    #[test]
    fn an_id_that_is_cut_off_nested_or_given_twice_is_not_taken() {
        for body in [
            r#"{"request_id":"r"#,
            r#"{"request_id":"r\"#,
            r#"{"request_id":"a b","code":"#,
            r#"{"request_id":7,"code":"#,
            r#"{"request_id":"r","request_id":"s","code":"#,
            r#"{"body":{"request_id":"r"},"code":"#,
            r#"{"note":"he said "request_id":"r"","code":"c"}"#,
            r#"{"note":"request_id","code":"c""#,
            "{",
            "{,}",
            r#"["request_id":"r"]"#,
            "",
        ] {
            assert_eq!(found(body), None, "{body}");
        }
    }
}
