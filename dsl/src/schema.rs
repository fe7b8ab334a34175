//! What a node looks like: the shape of the tables that help, reference, checks and tests walk.

use crate::syntax::Node;
use crate::values::ValueType;

/// A node that documents may have at their top level, and how it is read.
pub struct Section<T: 'static> {
    /// What it looks like.
    pub spec: NodeSpec,
    /// Reads a checked node into what the document says. Values that the check refused are left out silently.
    pub lower: fn(&Node, &mut T),
}

impl<T> std::fmt::Debug for Section<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Section")
            .field("spec", &self.spec)
            .finish_non_exhaustive()
    }
}

/// What a node looks like.
#[derive(Clone, Copy, Debug)]
pub struct NodeSpec {
    /// Its name. For nodes that are named freely: what the name is, such as `PACKAGE`.
    pub name: &'static str,
    /// What it is for: a sentence, then what a person needs to know.
    pub doc: &'static str,
    /// Its arguments.
    pub arguments: &'static [ArgumentSpec],
    /// Its properties.
    pub properties: Properties,
    /// Its children.
    pub children: Children,
    /// Other words that people write for it: reports name the node for them.
    pub aliases: &'static [&'static str],
    /// How often it may stand among its sisters. At the top level every node may be repeated; compose finds conflicts.
    pub repeat: Repeat,
    /// A line or two that show it.
    pub example: &'static str,
}

impl NodeSpec {
    /// A node without anything, to fill in by `..NodeSpec::EMPTY`.
    pub const EMPTY: NodeSpec = NodeSpec {
        name: "",
        doc: "",
        arguments: &[],
        properties: Properties::Known(&[]),
        children: Children::None,
        aliases: &[],
        repeat: Repeat::Many,
        example: "",
    };
}

/// How often a node may stand among its sisters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// At most once.
    Once,
    /// As often as one likes.
    Many,
}

/// One argument, or a row of them.
#[derive(Clone, Copy, Debug)]
pub struct ArgumentSpec {
    /// What the reference calls it, in capitals.
    pub name: &'static str,
    /// What it means.
    pub doc: &'static str,
    /// Its type.
    pub value: &'static ValueType,
    /// How many there may be.
    pub count: Count,
}

impl ArgumentSpec {
    /// One argument that must be there.
    pub const fn one(name: &'static str, value: &'static ValueType, doc: &'static str) -> Self {
        ArgumentSpec {
            name,
            doc,
            value,
            count: Count::One,
        }
    }

    /// One argument that may be left out.
    pub const fn optional(name: &'static str, value: &'static ValueType, doc: &'static str) -> Self {
        ArgumentSpec {
            name,
            doc,
            value,
            count: Count::Optional,
        }
    }

    /// All arguments that follow, at least one.
    pub const fn many(name: &'static str, value: &'static ValueType, doc: &'static str) -> Self {
        ArgumentSpec {
            name,
            doc,
            value,
            count: Count::Many,
        }
    }
}

/// How many arguments one entry stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// Exactly one.
    One,
    /// One or none.
    Optional,
    /// One or more; the last entry of its list.
    Many,
}

/// The properties of a node.
#[derive(Clone, Copy, Debug)]
pub enum Properties {
    /// These and no others.
    Known(&'static [PropertySpec]),
    /// Any; what they may be is said elsewhere (the parameters of a block).
    Any(&'static str),
}

/// A property.
#[derive(Clone, Copy, Debug)]
pub struct PropertySpec {
    /// Its name.
    pub name: &'static str,
    /// What it means.
    pub doc: &'static str,
    /// Its type.
    pub value: &'static ValueType,
    /// Whether it must be there.
    pub required: bool,
}

impl PropertySpec {
    /// A property that may be left out.
    pub const fn optional(name: &'static str, value: &'static ValueType, doc: &'static str) -> Self {
        PropertySpec {
            name,
            doc,
            value,
            required: false,
        }
    }

    /// A property that must be there.
    pub const fn required(name: &'static str, value: &'static ValueType, doc: &'static str) -> Self {
        PropertySpec {
            name,
            doc,
            value,
            required: true,
        }
    }
}

/// The children of a node.
#[derive(Clone, Copy, Debug)]
pub enum Children {
    /// None; braces are an error.
    None,
    /// These and no others.
    Known(&'static [NodeSpec]),
    /// These, and nodes of any other name.
    Named {
        /// The children with a meaning of their own.
        known: &'static [NodeSpec],
        /// All others.
        any: &'static NodeSpec,
        /// The type of their names.
        name: &'static ValueType,
    },
    /// The nodes of the top level.
    Sections,
}

impl Children {
    /// The children that have a fixed name.
    pub fn known(&self) -> &'static [NodeSpec] {
        match self {
            Children::None | Children::Sections => &[],
            Children::Known(known) | Children::Named { known, .. } => known,
        }
    }
}
