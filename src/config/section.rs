//! Walks one table: what is asked for is known, what is left over is complained of, and every value keeps its place.

use jiff::civil::Date;
use toml::de::{DeTable, DeValue};

use super::problem::{Problems, Span};
use super::raw::{At, Named, nearest, printable};

/// A table that is being read: what is asked for is known, what is left over is complained of.
pub(super) struct Section<'a, 'p> {
    table: &'a DeTable<'a>,
    span: Span,
    called: String,
    known: Vec<&'static str>,
    missing: Vec<(&'static str, String)>,
    problems: &'p mut Problems,
}

/// A value that was looked up, present or not.
pub(super) struct Found<'a, 's> {
    value: Option<&'a At<DeValue<'a>>>,
    key: &'static str,
    problems: &'s mut Problems,
}

impl<'a, 'p> Section<'a, 'p> {
    pub(super) fn new(
        table: &'a DeTable<'a>,
        span: Span,
        called: impl Into<String>,
        problems: &'p mut Problems,
    ) -> Self {
        Self { table, span, called: called.into(), known: Vec::new(), missing: Vec::new(), problems }
    }

    pub(super) fn optional(&mut self, key: &'static str) -> Found<'a, '_> {
        self.known.push(key);
        let value = self.table.iter().find(|(name, _)| name.get_ref() == key).map(|(_, value)| value);
        Found { value, key, problems: self.problems }
    }

    /// A key that must be there; that it is not is complained of at the end, when it is known what else is wrong.
    pub(super) fn required(&mut self, key: &'static str, what: &str) -> Found<'a, '_> {
        if !self.table.keys().any(|name| name.get_ref() == key) {
            self.missing.push((key, what.to_owned()));
        }
        self.optional(key)
    }

    pub(super) fn string(&mut self, key: &'static str) -> Option<At<String>> {
        self.optional(key).string()
    }

    pub(super) fn strings(&mut self, key: &'static str) -> Option<At<Vec<At<String>>>> {
        self.optional(key).strings()
    }

    /// Text, or a list of texts: both as a list.
    pub(super) fn one_or_more(&mut self, key: &'static str) -> Option<At<Vec<At<String>>>> {
        self.optional(key).one_or_more()
    }

    pub(super) fn boolean(&mut self, key: &'static str) -> Option<At<bool>> {
        let found = self.optional(key);
        let value = found.value?;
        if let DeValue::Boolean(is) = value.get_ref() {
            return Some(At::new(value.span(), *is));
        }
        found
            .problems
            .error(&value.span(), format!("`{key}` is neither true nor false"), format!("this is {}", kind_of(value)))
            .mend("write true or false without quotes");
        None
    }

    pub(super) fn integer(&mut self, key: &'static str) -> Option<At<i64>> {
        let found = self.optional(key);
        found.value.and_then(|value| integer(key, value, found.problems))
    }

    /// A number, or a word in its place, which is `None`.
    pub(super) fn integer_or(&mut self, key: &'static str, word: &str) -> Option<At<Option<i64>>> {
        let found = self.optional(key);
        let value = found.value?;
        match value.get_ref() {
            DeValue::String(text) if text == word => Some(At::new(value.span(), None)),
            _ => integer(key, value, found.problems).map(|number| At::new(number.span(), Some(*number.get_ref()))),
        }
    }

    pub(super) fn integers(&mut self, key: &'static str) -> Option<At<Vec<At<i64>>>> {
        self.optional(key).list(integer)
    }

    /// A list of numbers, or a word in its place, which is `None`.
    pub(super) fn integers_or(&mut self, key: &'static str, word: &str) -> Option<At<Option<Vec<At<i64>>>>> {
        let found = self.optional(key);
        let value = found.value?;
        match value.get_ref() {
            DeValue::String(text) if text == word => Some(At::new(value.span(), None)),
            _ => found.list(integer).map(|list| At::new(list.span(), Some(list.into_inner()))),
        }
    }

    pub(super) fn date(&mut self, key: &'static str) -> Option<At<Date>> {
        let found = self.optional(key);
        let value = found.value?;
        let date = match value.get_ref() {
            DeValue::Datetime(datetime) if datetime.time.is_none() && datetime.offset.is_none() => {
                datetime.date.and_then(|date| {
                    let year = i16::try_from(date.year).ok()?;
                    Date::new(year, i8::try_from(date.month).ok()?, i8::try_from(date.day).ok()?).ok()
                })
            }
            _ => None,
        };
        if date.is_none() {
            found
                .problems
                .error(&value.span(), format!("`{key}` is not a date"), format!("this is {}", kind_of(value)))
                .mend("write a day without quotes, such as 2025-03-01");
        }
        date.map(|date| At::new(value.span(), date))
    }

    pub(super) fn table(&mut self, key: &'static str) -> Option<(&'a DeTable<'a>, Span)> {
        self.optional(key).table()
    }

    /// `[[key]]` tables.
    pub(super) fn tables(&mut self, key: &'static str) -> Vec<(&'a DeTable<'a>, Span)> {
        let found = self.optional(key);
        let Some(value) = found.value else { return Vec::new() };
        let DeValue::Array(array) = value.get_ref() else {
            found
                .problems
                .error(&value.span(), format!("`{key}` is not a list of tables"), format!("this is {}", kind_of(value)))
                .mend(format!("begin each {key} with a line [[{key}]]"));
            return Vec::new();
        };
        let mut tables = Vec::new();
        for item in array {
            match item.get_ref() {
                DeValue::Table(table) => tables.push((table, item.span())),
                _ => found
                    .problems
                    .error(&item.span(), format!("`{key}` is not a list of tables"), "this is not a table")
                    .mend(format!("begin each {key} with a line [[{key}]]")),
            }
        }
        tables
    }

    /// `[key.NAME]` tables, in the order of the file.
    pub(super) fn named<T>(&mut self, key: &'static str, read: fn(&mut Section<'_, '_>) -> T) -> Vec<Named<T>> {
        let Some((outer, _)) = self.table(key) else { return Vec::new() };
        let mut list = Vec::new();
        for (name, value) in outer {
            let DeValue::Table(table) = value.get_ref() else {
                self.problems
                    .error(&name.span(), format!("`{key}.{}` is not a table", name.get_ref()), "a table is wanted here")
                    .mend(format!("each {key} has a name: begin it with a line such as [{key}.{}]", "example"));
                continue;
            };
            let called = format!("[{key}.{}]", name.get_ref());
            let body = self.inside(table, name.span(), called, read);
            list.push(Named { name: At::new(name.span(), name.get_ref().clone().into_owned()), body });
        }
        list.sort_by_key(|named| named.name.span().start);
        list
    }

    /// Reads a table inside this one.
    pub(super) fn inside<T>(
        &mut self,
        table: &DeTable<'_>,
        span: Span,
        called: impl Into<String>,
        read: fn(&mut Section<'_, '_>) -> T,
    ) -> T {
        let mut section = Section::new(table, span, called, self.problems);
        let value = read(&mut section);
        section.finish();
        value
    }

    /// Complains of every key that nobody asked for, and of those that are missing.
    pub(super) fn finish(mut self) {
        for key in self.table.keys() {
            let name: &str = key.get_ref();
            if self.known.contains(&name) {
                continue;
            }
            let near = nearest(name, self.known.iter().copied());
            // A key that was mistyped is not missing as well.
            self.missing.retain(|(missing, _)| Some(*missing) != near);
            let message = format!("unknown key `{}` in {}", printable(name), self.called);
            let noted = self.problems.error(&key.span(), message, "not a key of this table");
            match near {
                Some(near) => noted.mend(format!("did you mean `{near}`?")),
                None => noted.mend(format!("the keys of this table are {}", self.known.join(", "))),
            }
        }
        for (key, what) in self.missing {
            let message = format!("{} has no `{key}`", self.called);
            self.problems
                .error(&self.span, message, format!("`{key}` is missing here"))
                .mend(format!("add `{key}`: {what}"));
        }
    }
}

impl<'a> Found<'a, '_> {
    pub(super) fn string(self) -> Option<At<String>> {
        self.value.and_then(|value| string(self.key, value, self.problems))
    }

    pub(super) fn strings(self) -> Option<At<Vec<At<String>>>> {
        self.list(string)
    }

    pub(super) fn one_or_more(self) -> Option<At<Vec<At<String>>>> {
        match self.value.map(At::get_ref) {
            Some(DeValue::Array(_)) => self.list(string),
            _ => self.string().map(|text| At::new(text.span(), vec![text])),
        }
    }

    pub(super) fn table(self) -> Option<(&'a DeTable<'a>, Span)> {
        let value = self.value?;
        if let DeValue::Table(table) = value.get_ref() {
            return Some((table, value.span()));
        }
        let message = format!("`{}` is not a table", self.key);
        self.problems
            .error(&value.span(), message, format!("this is {}", kind_of(value)))
            .mend("write a table: a [section] or { key = value }");
        None
    }

    fn list<T>(self, read: fn(&str, &At<DeValue<'_>>, &mut Problems) -> Option<At<T>>) -> Option<At<Vec<At<T>>>> {
        let value = self.value?;
        let DeValue::Array(array) = value.get_ref() else {
            self.problems
                .error(&value.span(), format!("`{}` is not a list", self.key), format!("this is {}", kind_of(value)))
                .mend(format!("put it in brackets: {} = [ .. ]", self.key));
            return None;
        };
        if array.is_empty() {
            self.problems
                .error(&value.span(), format!("`{}` is empty", self.key), "nothing stands in this list")
                .mend("name at least one, or take the key out");
            return None;
        }
        let items: Vec<_> = array.iter().filter_map(|item| read(self.key, item, self.problems)).collect();
        // An item that was complained of must not leave a shorter list that looks whole.
        (items.len() == array.len()).then(|| At::new(value.span(), items))
    }
}

fn string(key: &str, value: &At<DeValue<'_>>, problems: &mut Problems) -> Option<At<String>> {
    let DeValue::String(text) = value.get_ref() else {
        problems
            .error(&value.span(), format!("`{key}` is not text"), format!("this is {}", kind_of(value)))
            .mend("put it in quotes");
        return None;
    };
    let trouble = if text.trim().is_empty() {
        "is empty"
    } else if text.chars().any(char::is_control) {
        "contains a control character"
    } else {
        return Some(At::new(value.span(), text.clone().into_owned()));
    };
    problems.error(&value.span(), format!("`{key}` {trouble}"), "this text").mend("write plain text on one line");
    None
}

fn integer(key: &str, value: &At<DeValue<'_>>, problems: &mut Problems) -> Option<At<i64>> {
    if let DeValue::Integer(number) = value.get_ref()
        && let Ok(number) = i64::from_str_radix(number.as_str(), number.radix())
    {
        return Some(At::new(value.span(), number));
    }
    problems
        .error(&value.span(), format!("`{key}` is not a whole number"), format!("this is {}", kind_of(value)))
        .mend("write a number without quotes");
    None
}

fn kind_of(value: &At<DeValue<'_>>) -> &'static str {
    match value.get_ref() {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a number with a point",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
