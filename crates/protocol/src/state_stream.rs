//! The state that a session sees: a tree of scalars and collections, kept in step by items
//! `{"p":path,"o":operation,"d":data}` on the channel `"s"`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use thiserror::Error;

/// The deepest path that a tree takes. The JavaScript services use one or two levels.
pub const MAX_STATE_DEPTH: usize = 16;
/// The most scalars and collections that one tree holds; a LanManager's root has a dozen.
pub const MAX_STATE_NODES: usize = 10_000;

/// One change of the state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum StateItem {
    /// `"s"`: a scalar was created.
    Set {
        /// Where.
        path: Vec<String>,
        /// Its value.
        #[serde(with = "crate::json_text")]
        value: Value,
    },
    /// `"u"`: a scalar has another value.
    Update {
        /// Where.
        path: Vec<String>,
        /// The value that it has now.
        #[serde(with = "crate::json_text")]
        new: Value,
        /// The value that it had.
        #[serde(with = "crate::json_text")]
        old: Value,
    },
    /// `"sr"`: a scalar was removed.
    Remove {
        /// Where.
        path: Vec<String>,
        /// The value that it had last.
        #[serde(with = "crate::json_text")]
        last: Value,
    },
    /// `"c"`: an empty collection was created.
    NewCollection {
        /// Where.
        path: Vec<String>,
    },
    /// `"cr"`: a collection was removed with all that is in it.
    RemoveCollection {
        /// Where.
        path: Vec<String>,
    },
}

impl StateItem {
    /// The creation of a scalar directly under the root, by far the most common item.
    #[must_use]
    pub fn set(name: &str, value: Value) -> Self {
        Self::Set {
            path: vec![name.to_owned()],
            value,
        }
    }

    /// Reads an item; none when it is not one.
    #[must_use]
    pub fn from_value(value: &Value) -> Option<Self> {
        let members = value.as_object()?;
        let path = members
            .get("p")?
            .as_array()?
            .iter()
            .map(|step| step.as_str().map(str::to_owned))
            .collect::<Option<Vec<_>>>()?;
        let data = members.get("d");
        match (members.get("o")?.as_str()?, data) {
            ("s", Some(value)) => Some(Self::Set {
                path,
                value: value.clone(),
            }),
            ("u", Some(Value::Array(values))) => match values.as_slice() {
                [new, old] => Some(Self::Update {
                    path,
                    new: new.clone(),
                    old: old.clone(),
                }),
                _ => None,
            },
            ("sr", Some(last)) => Some(Self::Remove {
                path,
                last: last.clone(),
            }),
            ("c", None) => Some(Self::NewCollection { path }),
            ("cr", None) => Some(Self::RemoveCollection { path }),
            _ => None,
        }
    }

    /// The item as it stands on the wire.
    #[must_use]
    pub fn into_value(self) -> Value {
        match self {
            Self::Set { path, value } => json!({ "p": path, "o": "s", "d": value }),
            Self::Update { path, new, old } => json!({ "p": path, "o": "u", "d": [new, old] }),
            Self::Remove { path, last } => json!({ "p": path, "o": "sr", "d": last }),
            Self::NewCollection { path } => json!({ "p": path, "o": "c" }),
            Self::RemoveCollection { path } => json!({ "p": path, "o": "cr" }),
        }
    }
}

/// Why an item does not fit a tree. The tree is unchanged.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum StateError {
    /// The path leads nowhere: empty, or through something that is not a collection.
    #[error(
        "the state item names {path:?}, where there is no collection to hold it; introduce the session again"
    )]
    NoSuchPlace {
        /// The path of the item.
        path: Vec<String>,
    },
    /// The path is longer than [`MAX_STATE_DEPTH`].
    #[error(
        "the state item is nested {depth} levels deep, more than the {MAX_STATE_DEPTH} allowed; treat the peer as broken"
    )]
    TooDeep {
        /// How long the path is.
        depth: usize,
    },
    /// The tree holds [`MAX_STATE_NODES`] already.
    #[error("the state has more than {MAX_STATE_NODES} entries; treat the peer as broken")]
    TooLarge,
}

/// The state of a session as its items have made it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StateTree {
    root: BTreeMap<String, Node>,
    count: usize,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Node {
    Scalar(#[serde(with = "crate::json_text")] Value),
    Collection(BTreeMap<String, Self>),
}

impl StateTree {
    /// The scalar at a path; none where there is none, or a collection.
    #[must_use]
    pub fn get(&self, path: &[&str]) -> Option<&Value> {
        let (last, way) = path.split_last()?;
        let mut collection = &self.root;
        for step in way {
            match collection.get(*step)? {
                Node::Collection(inner) => collection = inner,
                Node::Scalar(_) => return None,
            }
        }
        match collection.get(*last)? {
            Node::Scalar(value) => Some(value),
            Node::Collection(_) => None,
        }
    }

    /// Applies one item. Creating what exists replaces it and removing what does not exist is no
    /// error: after a reconnect a server tells everything again.
    ///
    /// # Errors
    /// [`StateError`] when the item has no place or the tree would outgrow its bounds.
    pub fn apply(&mut self, item: StateItem) -> Result<(), StateError> {
        match item {
            StateItem::Set { path, value }
            | StateItem::Update {
                path,
                new: value,
                old: _,
            } => self.put(&path, Node::Scalar(value)),
            StateItem::NewCollection { path } => self.put(&path, Node::Collection(BTreeMap::new())),
            StateItem::Remove { path, last: _ } | StateItem::RemoveCollection { path } => {
                self.take(&path)
            }
        }
    }

    /// The items that build this tree from nothing, collections before what is in them.
    #[must_use]
    pub fn items(&self) -> Vec<StateItem> {
        let mut items = Vec::with_capacity(self.count);
        collect_items(&self.root, &mut Vec::new(), &mut items);
        items
    }

    /// The whole tree as one JSON object, for people and tests.
    #[must_use]
    pub fn to_value(&self) -> Value {
        collection_value(&self.root)
    }

    fn put(&mut self, path: &[String], node: Node) -> Result<(), StateError> {
        if self.count >= MAX_STATE_NODES {
            return Err(StateError::TooLarge);
        }
        let (name, collection) = place(&mut self.root, path)?;
        let replaced = collection.insert(name.to_owned(), node);
        self.count = (self.count + 1).saturating_sub(replaced.as_ref().map_or(0, node_count));
        Ok(())
    }

    fn take(&mut self, path: &[String]) -> Result<(), StateError> {
        let (name, collection) = place(&mut self.root, path)?;
        let removed = collection.remove(name);
        self.count = self
            .count
            .saturating_sub(removed.as_ref().map_or(0, node_count));
        Ok(())
    }
}

fn place<'tree, 'path>(
    root: &'tree mut BTreeMap<String, Node>,
    path: &'path [String],
) -> Result<(&'path str, &'tree mut BTreeMap<String, Node>), StateError> {
    if path.len() > MAX_STATE_DEPTH {
        return Err(StateError::TooDeep { depth: path.len() });
    }
    let nowhere = || StateError::NoSuchPlace {
        path: path.to_vec(),
    };
    let (last, way) = path.split_last().ok_or_else(nowhere)?;
    let mut collection = root;
    for step in way {
        match collection.get_mut(step) {
            Some(Node::Collection(inner)) => collection = inner,
            Some(Node::Scalar(_)) | None => return Err(nowhere()),
        }
    }
    Ok((last, collection))
}

fn node_count(node: &Node) -> usize {
    match node {
        Node::Scalar(_) => 1,
        Node::Collection(inner) => 1 + inner.values().map(node_count).sum::<usize>(),
    }
}

fn collect_items(
    collection: &BTreeMap<String, Node>,
    way: &mut Vec<String>,
    items: &mut Vec<StateItem>,
) {
    for (name, node) in collection {
        way.push(name.clone());
        match node {
            Node::Scalar(value) => items.push(StateItem::Set {
                path: way.clone(),
                value: value.clone(),
            }),
            Node::Collection(inner) => {
                items.push(StateItem::NewCollection { path: way.clone() });
                collect_items(inner, way, items);
            }
        }
        way.pop();
    }
}

fn collection_value(collection: &BTreeMap<String, Node>) -> Value {
    let members: Map<String, Value> = collection
        .iter()
        .map(|(name, node)| match node {
            Node::Scalar(value) => (name.clone(), value.clone()),
            Node::Collection(inner) => (name.clone(), collection_value(inner)),
        })
        .collect();
    Value::Object(members)
}
