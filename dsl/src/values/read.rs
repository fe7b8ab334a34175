//! Reading values that the tables have accepted.

use kcompose_core::model::{
    AbsPath, Architecture, FileMode, HostName, Locale, PackageName, PathPattern, RuntimeSource, Sha256, Size,
    Snapshot, TimeZone, UnitName, Url, VersionRequest, XkbNames,
};
use kcompose_core::source::Spanned;

use crate::syntax::{Argument, Node, Value};

/// The words of a text, separated by spaces or commas.
pub(crate) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split([' ', ',', '\t']).filter(|word| !word.is_empty())
}

/// A Rust type that checked values become.
pub(crate) trait Readable: Sized {
    /// The value, or nothing when it is of another type: the check has said so already.
    fn read(value: &Value) -> Option<Self>;
}

impl Readable for String {
    fn read(value: &Value) -> Option<Self> {
        match value {
            Value::Text(text) => Some(text.clone()),
            Value::Integer(number) => Some(number.to_string()),
            Value::Float(_) | Value::Boolean(_) | Value::Null => None,
        }
    }
}

/// The text of a scalar: of booleans as they are written in KDL.
pub(crate) fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::Boolean(truth) => Some(format!("#{truth}")),
        value => String::read(value),
    }
}

impl Readable for bool {
    fn read(value: &Value) -> Option<Self> {
        if let Value::Boolean(truth) = value {
            Some(*truth)
        } else {
            None
        }
    }
}

impl Readable for u32 {
    fn read(value: &Value) -> Option<Self> {
        if let Value::Integer(number) = value {
            u32::try_from(*number).ok()
        } else {
            None
        }
    }
}

impl Readable for u16 {
    fn read(value: &Value) -> Option<Self> {
        if let Value::Integer(number) = value {
            u16::try_from(*number).ok()
        } else {
            None
        }
    }
}

macro_rules! readable_text {
    ($($type:ty),* $(,)?) => {$(
        impl Readable for $type {
            fn read(value: &Value) -> Option<Self> {
                if let Value::Text(text) = value { text.parse().ok() } else { None }
            }
        }
    )*};
}

readable_text!(
    PackageName,
    VersionRequest,
    AbsPath,
    PathPattern,
    UnitName,
    Sha256,
    FileMode,
    Size,
    Architecture,
    RuntimeSource,
    HostName,
    TimeZone,
    Locale,
    XkbNames,
    Snapshot,
    Url,
    semver::Version
);

impl Argument {
    /// The value as a Rust type, at its place.
    pub(crate) fn read<T: Readable>(&self) -> Option<Spanned<T>> {
        T::read(&self.value).map(|value| Spanned::new(value, self.span))
    }
}

impl Node {
    /// An argument by its position.
    pub(crate) fn argument<T: Readable>(&self, position: usize) -> Option<Spanned<T>> {
        self.arguments.get(position)?.read()
    }

    /// All arguments.
    pub(crate) fn all_arguments<T: Readable>(&self) -> Vec<Spanned<T>> {
        self.arguments.iter().filter_map(Argument::read).collect()
    }

    /// A property's value.
    pub(crate) fn value<T: Readable>(&self, name: &str) -> Option<Spanned<T>> {
        self.property(name)?.read()
    }

    /// The first argument of the child with a name.
    pub(crate) fn child_value<T: Readable>(&self, name: &str) -> Option<Spanned<T>> {
        self.children_named(name).next()?.argument(0)
    }

    /// All arguments of all children with a name.
    pub(crate) fn child_values<T: Readable>(&self, name: &str) -> Vec<Spanned<T>> {
        self.children_named(name)
            .flat_map(|child| child.all_arguments())
            .collect()
    }
}
