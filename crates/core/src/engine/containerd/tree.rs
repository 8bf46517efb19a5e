//! A configuration's meaning, without its spelling.

use toml_edit::{Item, TableLike, Value};

use crate::engine;
use std::collections::BTreeMap;
use std::fmt;

/// A TOML value that can be compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tree {
    /// A table, however it was written.
    Table(BTreeMap<String, Tree>),
    /// An array, or an array of tables.
    Array(Vec<Tree>),
    /// A text.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// A truth value.
    Bool(bool),
    /// A float or a date, in its normal spelling: containerd has neither.
    Other(String),
}

impl Tree {
    /// The value at `path`.
    pub fn get(&self, path: &[&str]) -> Option<&Self> {
        path.iter().try_fold(self, |tree, key| match tree {
            Self::Table(table) => table.get(*key),
            _ => None,
        })
    }

    /// The table's keys and values; none if it is no table.
    pub fn entries(&self) -> impl Iterator<Item = (&String, &Self)> {
        match self {
            Self::Table(table) => Some(table.iter()),
            _ => None,
        }
        .into_iter()
        .flatten()
    }

    /// The text, if it is one.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The texts of an array; other elements are left out.
    pub fn texts(&self) -> Vec<&str> {
        match self {
            Self::Array(items) => items.iter().filter_map(Self::text).collect(),
            _ => Vec::new(),
        }
    }

    /// Whether a text in it is `wanted`.
    pub(super) fn names(&self, wanted: &str) -> bool {
        match self {
            Self::Table(table) => table.values().any(|value| value.names(wanted)),
            Self::Array(items) => items.iter().any(|item| item.names(wanted)),
            Self::Text(text) => text == wanted,
            Self::Integer(_) | Self::Bool(_) | Self::Other(_) => false,
        }
    }

    /// Takes the value at `path` out, and tables that become empty by it when `prune` says so.
    pub(super) fn remove(&mut self, path: &[&str], prune: bool) -> Option<Self> {
        let Self::Table(table) = self else { return None };
        match path {
            [] => None,
            [last] => table.remove(*last),
            [first, rest @ ..] => {
                let child = table.get_mut(*first)?;
                let removed = child.remove(rest, prune);
                if prune && matches!(child, Self::Table(t) if t.is_empty()) {
                    table.remove(*first);
                }
                removed
            }
        }
    }

    /// Whether containerd reads it as if it were not there.
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Table(table) => table.values().all(Self::is_empty),
            Self::Array(items) => items.is_empty(),
            Self::Text(text) => text.is_empty(),
            Self::Integer(number) => *number == 0,
            Self::Bool(value) => !value,
            Self::Other(_) => false,
        }
    }

    pub(super) fn of_item(item: &Item) -> Option<Self> {
        match item {
            Item::None => None,
            Item::Value(value) => Some(Self::of_value(value)),
            Item::Table(table) => Some(Self::of_table(table)),
            Item::ArrayOfTables(array) => {
                Some(Self::Array(array.iter().map(|t| Self::of_table(t)).collect()))
            }
        }
    }

    fn of_table(table: &dyn TableLike) -> Self {
        Self::Table(
            table.iter().filter_map(|(key, item)| Some((key.to_owned(), Self::of_item(item)?))).collect(),
        )
    }

    fn of_value(value: &Value) -> Self {
        match value {
            Value::String(text) => Self::Text(text.value().clone()),
            Value::Integer(number) => Self::Integer(*number.value()),
            Value::Boolean(value) => Self::Bool(*value.value()),
            Value::Array(items) => Self::Array(items.iter().map(Self::of_value).collect()),
            Value::InlineTable(table) => Self::of_table(table),
            Value::Float(number) => Self::Other(number.value().to_string()),
            Value::Datetime(time) => Self::Other(time.value().to_string()),
        }
    }
}

impl From<&engine::Value> for Tree {
    fn from(value: &engine::Value) -> Self {
        match value {
            engine::Value::Bool(value) => Self::Bool(*value),
            engine::Value::Integer(number) => Self::Integer(*number),
            engine::Value::Text(text) => Self::Text(text.clone()),
            engine::Value::List(items) => Self::Array(items.iter().cloned().map(Self::Text).collect()),
        }
    }
}

impl fmt::Display for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, items: &mut dyn Iterator<Item = String>| {
            f.write_str(&items.collect::<Vec<_>>().join(", "))
        };
        match self {
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Integer(number) => write!(f, "{number}"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Other(text) => f.write_str(text),
            Self::Array(items) => {
                f.write_str("[")?;
                list(f, &mut items.iter().map(ToString::to_string))?;
                f.write_str("]")
            }
            Self::Table(table) => {
                f.write_str("{")?;
                list(f, &mut table.iter().map(|(key, value)| format!("{key} = {value}")))?;
                f.write_str("}")
            }
        }
    }
}
