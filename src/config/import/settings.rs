//! The syntax of swanctl.conf: `name { .. }`, `key = value`, comments from `#`, values in quotes or bare.
//!
//! A bare value ends with its line, a comment or a brace. Left out: references to other sections (`name : other { }`)
//! and `include`; both are kept, so that they can be told of.

use super::Syntax;

/// Deeper files are no configuration of anybody.
const MAX_DEPTH: usize = 8;
/// More sections than this in one file are a mistake.
const MAX_SECTIONS: usize = 4096;

/// `name { .. }`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Section {
    pub(super) name: String,
    pub(super) line: usize,
    pub(super) settings: Vec<Setting>,
    pub(super) sections: Vec<Section>,
}

/// `key = value`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) key: String,
    pub(super) value: String,
    pub(super) line: usize,
}

/// Key of the setting that stands for a reference to another section.
pub(super) const REFERENCE: &str = ":";
/// Key of the setting that stands for `include`.
pub(super) const INCLUDE: &str = "include";

impl Section {
    /// The section of that name.
    pub(super) fn section(&self, name: &str) -> Option<&Self> {
        self.sections.iter().find(|section| section.name == name)
    }
}

impl Drop for Setting {
    /// It may be a secret.
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.value);
    }
}

/// Reads the whole file. Sections that stand there twice are one.
pub(super) fn parse(text: &str) -> Result<Section, Syntax> {
    let mut cursor = Cursor { rest: text, line: 1, column: 1 };
    let mut open = vec![Section { line: 1, ..Section::default() }];
    let mut count = 0;
    loop {
        cursor.skip_blank();
        let Some(next) = cursor.peek() else { break };
        let (line, column) = (cursor.line, cursor.column);
        let wrong = |what| Syntax { line, column, what };
        if next == '}' {
            cursor.bump();
            let closed = open.pop().ok_or_else(|| wrong("a brace closes nothing"))?;
            let parent = open.last_mut().ok_or_else(|| wrong("a brace closes nothing"))?;
            close(parent, closed);
            continue;
        }
        let name = cursor.word();
        if name.is_empty() {
            return Err(wrong("a name of a setting or section is wanted here"));
        }
        let top = open.last_mut().ok_or_else(|| wrong("a brace closes nothing"))?;
        cursor.skip_spaces();
        if name == INCLUDE && !matches!(cursor.peek(), Some('=' | '{' | ':')) {
            top.settings.push(Setting { key: name, value: cursor.value()?, line });
            continue;
        }
        if cursor.peek() == Some('=') {
            cursor.bump();
            top.settings.push(Setting { key: name, value: cursor.value()?, line });
            continue;
        }
        cursor.skip_blank();
        let mut section = Section { name, line, ..Section::default() };
        if cursor.peek() == Some(':') {
            cursor.bump();
            let value = cursor.until_brace();
            section.settings.push(Setting { key: REFERENCE.to_owned(), value, line });
        }
        if cursor.peek() != Some('{') {
            return Err(cursor.wrong("`=` or `{` is wanted here"));
        }
        cursor.bump();
        count += 1;
        if open.len() > MAX_DEPTH || count > MAX_SECTIONS {
            return Err(wrong("too many sections"));
        }
        open.push(section);
    }
    let root = open.pop().filter(|_| open.is_empty());
    root.ok_or_else(|| cursor.wrong("a section is not closed"))
}

fn close(parent: &mut Section, mut closed: Section) {
    match parent.sections.iter_mut().find(|section| section.name == closed.name) {
        Some(first) => {
            first.settings.append(&mut closed.settings);
            for inner in closed.sections {
                close(first, inner);
            }
        }
        None => parent.sections.push(closed),
    }
}

struct Cursor<'a> {
    rest: &'a str,
    line: usize,
    column: usize,
}

impl Cursor<'_> {
    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn bump(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let next = chars.next()?;
        self.rest = chars.as_str();
        if next == '\n' {
            (self.line, self.column) = (self.line + 1, 1);
        } else {
            self.column += 1;
        }
        Some(next)
    }

    fn wrong(&self, what: &'static str) -> Syntax {
        Syntax { line: self.line, column: self.column, what }
    }

    fn skip_while(&mut self, is: impl Fn(char) -> bool) {
        while self.peek().is_some_and(&is) {
            self.bump();
        }
    }

    fn skip_spaces(&mut self) {
        self.skip_while(|c| c.is_whitespace() && c != '\n');
    }

    /// Spaces, line ends, commas between settings, comments.
    fn skip_blank(&mut self) {
        loop {
            self.skip_while(|c| c.is_whitespace() || c == ',');
            if self.peek() != Some('#') {
                return;
            }
            self.skip_while(|c| c != '\n');
        }
    }

    fn word(&mut self) -> String {
        let mut word = String::new();
        while let Some(next) = self.peek().filter(|c| !c.is_whitespace() && !"{}=:#\",".contains(*c)) {
            word.push(next);
            self.bump();
        }
        word
    }

    fn until_brace(&mut self) -> String {
        let mut text = String::new();
        while let Some(next) = self.peek().filter(|c| !"{}=#\"".contains(*c)) {
            text.push(next);
            self.bump();
        }
        text.trim().to_owned()
    }

    /// The rest of the line: bare words and quoted strings, joined by one space each.
    fn value(&mut self) -> Result<String, Syntax> {
        let mut value = zeroize::Zeroizing::new(String::new());
        loop {
            self.skip_spaces();
            match self.peek() {
                None | Some('\n' | '}' | '#') => return Ok(std::mem::take(&mut *value)),
                Some('\\') if self.rest.starts_with("\\\n") || self.rest.starts_with("\\\r\n") => {
                    self.skip_while(|c| c != '\n');
                    self.bump();
                    continue;
                }
                _ if !value.is_empty() => value.push(' '),
                _ => {}
            }
            if self.peek() == Some('"') {
                self.quoted(&mut value)?;
                continue;
            }
            while let Some(next) = self.peek().filter(|c| !c.is_whitespace() && !"}#\"".contains(*c)) {
                value.push(next);
                self.bump();
            }
        }
    }

    fn quoted(&mut self, value: &mut String) -> Result<(), Syntax> {
        let open = self.wrong("a quote is not closed");
        self.bump();
        loop {
            match self.bump() {
                None => return Err(open),
                Some('"') => return Ok(()),
                Some('\\') => match self.bump() {
                    None => return Err(open),
                    Some('n') => value.push('\n'),
                    Some('r') => value.push('\r'),
                    Some('t') => value.push('\t'),
                    Some('\n') => {}
                    Some(other) => value.push(other),
                },
                Some(other) => value.push(other),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(section: &Section) -> Vec<(&str, &str, usize)> {
        section.settings.iter().map(|it| (it.key.as_str(), it.value.as_str(), it.line)).collect()
    }

    #[test]
    fn sections_settings_comments_and_quotes_are_read_with_their_lines() {
        let text = "# top\na { # one\n  x = 1 2  # two\n  y=\"a # } \\\"b\\\"\"\n  b { z = fe80::1 }\n}\na { w =\n}";
        let root = parse(text).unwrap();
        let a = root.section("a").unwrap();
        assert_eq!(values(a), [("x", "1 2", 3), ("y", "a # } \"b\"", 4), ("w", "", 7)]);
        assert_eq!(values(a.section("b").unwrap()), [("z", "fe80::1", 5)]);
    }

    #[test]
    fn includes_and_references_are_kept() {
        let root = parse("include conf.d/*.conf\na : b, c {\n x = 1 \\\n 2\n}\n").unwrap();
        assert_eq!(values(&root), [("include", "conf.d/*.conf", 1)]);
        assert_eq!(values(root.section("a").unwrap()), [(":", "b, c", 2), ("x", "1 2", 3)]);
    }

    #[test]
    fn what_is_wrong_is_told_with_line_and_column() {
        for (text, line, column) in [
            ("a {\n", 2, 1),
            ("}", 1, 1),
            ("a {\n  b c\n}", 2, 5),
            ("a { x = \"y\n}", 1, 9),
            ("a\n  = ", 2, 3),
            ("= 1", 1, 1),
        ] {
            let error = parse(text).unwrap_err();
            assert_eq!((error.line, error.column), (line, column), "{text:?}: {error}");
        }
        assert!(parse(&"a {".repeat(100)).is_err());
        assert!(parse(&"a { b { } }\n".repeat(3000)).is_err());
    }
}
