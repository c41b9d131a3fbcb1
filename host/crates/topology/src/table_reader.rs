//! The reading of one table, key by key. It goes on after an error, so that all errors are found.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::declaration::{
    ConfigKey, ConfigSection, DeclaredKey, DefaultKind, HasDefault, Presence, ReadableKind, Required, SectionRole,
    ValueKind,
};
use super::diagnostics::{Diagnostic, Doubt, Severity};
use super::kinds::TableKind;
use super::read_context::{ReadContext, Span};
use super::value_node::ValueNode;
use super::{keys, suggest};

/// A key of the file is quoted up to here: more of it is not needed to find it.
const MAX_SHOWN_KEY: usize = 40;

/// The entries of one table, which are read by the declarations of its section.
pub(crate) struct TableReader<'c, 'v> {
    cx: &'c ReadContext<'c>,
    section: &'static ConfigSection,
    span: Span,
    entries: Vec<(&'v str, Span, &'v Spanned<DeValue<'v>>)>,
    /// The declared keys that were asked for, to find those that never are.
    asked: Vec<&'static str>,
}

impl<'c, 'v> TableReader<'c, 'v> {
    /// The entries of a value; reports where it is no table.
    pub fn of(node: &ValueNode<'c, 'v>, section: &'static ConfigSection) -> Option<Self> {
        match node.value.get_ref() {
            DeValue::Table(table) => Some(Self::of_table(node.cx, section, node.span(), table)),
            _ => node.expected("a table"),
        }
    }

    pub fn of_table(
        cx: &'c ReadContext<'c>,
        section: &'static ConfigSection,
        span: Span,
        table: &'v DeTable<'v>,
    ) -> Self {
        let entries = table.iter().map(|(key, value)| (key.get_ref().as_ref(), key.span(), value)).collect();
        Self { cx, section, span, entries, asked: Vec::new() }
    }

    pub fn context(&self) -> &'c ReadContext<'c> {
        self.cx
    }

    /// The value of a key, for a reading of its own.
    pub fn node<K: ValueKind, P: Presence<K>>(&mut self, key: &'static ConfigKey<K, P>) -> Option<ValueNode<'c, 'v>> {
        debug_assert!(
            self.section.keys().any(|declared| std::ptr::addr_eq(declared, key)),
            "`{}` is no key of {}",
            key.name,
            self.section.heading
        );
        self.asked.push(key.name);
        let (key, _, value) = self.entries.iter().find(|(name, _, _)| *name == key.name)?;
        Some(ValueNode { cx: self.cx, key, value })
    }

    /// The value of a key, or its default.
    pub fn read<K, V>(&mut self, key: &'static ConfigKey<K, HasDefault>) -> V
    where
        K: DefaultKind<Value = V, Constant = V>,
        V: Clone + Sync + 'static,
    {
        self.find(key).unwrap_or_else(|| key.default.clone())
    }

    /// The value of a key, where it is there and can be read.
    pub fn find<K: ReadableKind, P: Presence<K>>(&mut self, key: &'static ConfigKey<K, P>) -> Option<K::Value> {
        let node = self.node(key)?;
        key.kind.read(&node)
    }

    /// The value of a key that must be there, with its place.
    pub fn require<K: ReadableKind>(&mut self, key: &'static ConfigKey<K, Required>) -> Option<Spanned<K::Value>> {
        let Some(node) = self.node(key) else {
            let missing = Diagnostic::error(format!("`{}` is missing in {}", key.name, self.section.heading))
                .at(self.span.clone(), format!("has no `{}`", key.name))
                .help(key.default)
                .doubted(Doubt::Missing);
            self.cx.report(missing);
            return None;
        };
        key.kind.read(&node).map(|value| Spanned::new(node.span(), value))
    }

    /// The table that is the value of a key.
    pub fn table<P: Presence<TableKind>>(&mut self, key: &'static ConfigKey<TableKind, P>) -> Option<Self> {
        Self::of(&self.node(key)?, key.kind.0)
    }

    /// As [`TableReader::table`]; one without entries where there is none.
    pub fn table_or_empty<P: Presence<TableKind>>(&mut self, key: &'static ConfigKey<TableKind, P>) -> Self {
        let empty = Self { cx: self.cx, section: key.kind.0, span: 0..0, entries: Vec::new(), asked: Vec::new() };
        self.table(key).unwrap_or(empty)
    }

    /// Reports each entry that is no key of this table.
    pub fn finish(self) {
        for declared in self.section.keys().map(DeclaredKey::name) {
            debug_assert!(self.asked.contains(&declared), "`{declared}` of {} is never read", self.section.heading);
        }
        let known = || self.section.keys().map(DeclaredKey::name);
        for (key, span, _) in self.entries.iter().filter(|(key, ..)| !known().any(|name| name == *key)) {
            let shown: String = key.chars().take(MAX_SHOWN_KEY).collect();
            let message = format!("unknown key `{shown}` in {}", self.section.heading);
            let severity = match self.section.role {
                SectionRole::Foreign => Severity::Warning,
                SectionRole::TopLevel | SectionRole::Nested => Severity::Error,
            };
            let unknown = Diagnostic { severity, ..Diagnostic::error(message) }.doubted(Doubt::Misplaced);
            let near = suggest::nearest(key, known());
            let unknown = match near {
                Some(near) => unknown.at(span.clone(), format!("did you mean `{near}`?")),
                None => unknown.at(span.clone(), "unknown key"),
            };
            let elsewhere = (self.section.role == SectionRole::TopLevel).then(|| keys::tables_with(key)).flatten();
            self.cx.report(match (elsewhere, near) {
                (Some(tables), _) => unknown.help(format!("`{shown}` is a key of {tables}")),
                (None, Some(_)) => unknown,
                (None, None) => unknown.help(format!("the keys here are {}", suggest::all_of(known()))),
            });
        }
    }
}
