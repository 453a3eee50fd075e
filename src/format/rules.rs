//! Rules: checks that the database itself does not declare, kept in the manifest so that a later
//! verification needs only the file (spec section 7.3).

use serde::{Deserialize, Serialize};

use super::manifest::Name;

/// All rules of an archive.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Rules {
    /// References that no foreign key declares.
    pub references: Vec<ReferenceRule>,
    /// What the values of a `bytea` column must be.
    pub blobs: Vec<BlobRule>,
    /// How many rows there must be.
    pub counts: Vec<CountRule>,
}

/// Every value of some columns must occur in columns elsewhere.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ReferenceRule {
    /// The table that refers.
    pub table: Name,
    /// Its columns.
    pub columns: Vec<String>,
    /// The table referred to.
    pub references: Name,
    /// The columns referred to, one for each of `columns`.
    pub referenced_columns: Vec<String>,
    /// Whether an empty string refers to nothing, as NULL does.
    pub empty_is_none: bool,
}

/// What every value of a `bytea` column that is not NULL must be.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BlobRule {
    /// The table.
    pub table: Name,
    /// The column.
    pub column: String,
    /// At least one byte.
    pub not_empty: bool,
    /// An image that decodes.
    pub image: bool,
    /// The column that says its media type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// Where its checksum is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<Checksum>,
}

/// A column that holds the checksum of a blob in hex digits.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Checksum {
    /// The column.
    pub column: String,
    /// Of which kind.
    pub algorithm: Algorithm,
}

/// How a checksum is computed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Algorithm {
    /// MD5, 32 hex digits.
    Md5,
    /// SHA-1, 40 hex digits.
    Sha1,
    /// SHA-256, 64 hex digits.
    Sha256,
}

impl Algorithm {
    /// Its name as rules have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Md5 => "md5",
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
        }
    }

    /// How many bytes it has.
    pub fn length(self) -> usize {
        match self {
            Self::Md5 => 16,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        }
    }
}

/// How many rows a table must have.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CountRule {
    /// The table.
    pub table: Name,
    /// Which rows are counted; all if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<Condition>,
    /// No fewer than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least: Option<u64>,
    /// No more than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_most: Option<u64>,
}

/// What a row must meet to be counted.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Condition {
    /// The column that is looked at.
    pub column: String,
    /// What is asked of it.
    pub test: Test,
    /// The value of [`Test::Equals`], as COPY text prints it, unescaped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// What is asked of a column.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Test {
    /// It is NULL.
    Null,
    /// It is not NULL.
    NotNull,
    /// It has one value.
    Equals,
}

impl Rules {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.references.is_empty() && self.blobs.is_empty() && self.counts.is_empty()
    }

    /// Each in words, in the order they are in.
    pub fn words(&self) -> Vec<String> {
        let references = self.references.iter().map(ReferenceRule::words);
        let blobs = self.blobs.iter().map(BlobRule::words);
        references.chain(blobs).chain(self.counts.iter().map(CountRule::words)).collect()
    }
}

impl ReferenceRule {
    /// `reference public.user (imageId) to public.image (fileId)`.
    pub fn words(&self) -> String {
        let empty = if self.empty_is_none { ", empty means none" } else { "" };
        format!(
            "reference {} ({}) to {} ({}){empty}",
            self.table,
            self.columns.join(", "),
            self.references,
            self.referenced_columns.join(", ")
        )
    }
}

impl BlobRule {
    /// `blob public.image (file): not empty, media type in mimeType`.
    pub fn words(&self) -> String {
        let mut wants = Vec::new();
        if self.not_empty {
            wants.push("not empty".to_owned());
        }
        if self.image {
            wants.push("an image that decodes".to_owned());
        }
        wants.extend(self.media_type.as_ref().map(|column| format!("media type in {column}")));
        wants.extend(
            self.checksum.as_ref().map(|sum| format!("{} in {}", sum.algorithm.name(), sum.column)),
        );
        format!("blob {} ({}): {}", self.table, self.column, wants.join(", "))
    }
}

impl CountRule {
    /// `count public.user where deletedAt is null: at least 1`.
    pub fn words(&self) -> String {
        let condition = self.condition.as_ref().map_or_else(String::new, |condition| {
            let column = &condition.column;
            match condition.test {
                Test::Null => format!(" where {column} is null"),
                Test::NotNull => format!(" where {column} is not null"),
                Test::Equals => {
                    format!(" where {column} = {:?}", condition.value.as_deref().unwrap_or(""))
                }
            }
        });
        let least = self.at_least.map(|least| format!("at least {least}"));
        let most = self.at_most.map(|most| format!("at most {most}"));
        let limits: Vec<_> = least.into_iter().chain(most).collect();
        format!("count {}{condition}: {}", self.table, limits.join(", "))
    }
}
