//! The manifest: the CBOR description of all the rest of an archive (spec section 7).
//!
//! These types are what `source` and `pg` fill and what `verify` and `restore` read. Optional
//! fields are absent when empty (there is no null), integers stay below 2^63, and a field that
//! this version does not know is kept out of the way, never an error.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::properties::Properties;
use super::rules::Rules;

/// A schema-qualified name, byte-exact as the server has it, never quoted.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Name {
    /// The schema (namespace).
    pub schema: String,
    /// The object's own name.
    pub name: String,
}

impl Name {
    /// A name from its two parts.
    pub fn new(schema: impl Into<String>, name: impl Into<String>) -> Self {
        Self { schema: schema.into(), name: name.into() }
    }
}

/// `schema.name` for people, each part quoted only where SQL would need it.
impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", Shown(&self.schema), Shown(&self.name))
    }
}

struct Shown<'a>(&'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = self.0.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
            && self.0.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        if plain { f.write_str(self.0) } else { write!(f, "\"{}\"", self.0.replace('"', "\"\"")) }
    }
}

/// All of it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// Always [`Manifest::FORMAT`].
    pub format: String,
    /// The format's version: 1.
    pub version: u64,
    /// Features a reader must know to read this archive at all, sorted. Format 1 begins with none.
    pub features: Vec<String>,
    /// When the archive was begun: seconds since 1970-01-01 UTC. Every header's mtime is this.
    pub created: u64,
    /// What wrote it, such as `pgark 0.1.0`.
    pub tool: String,
    /// The index: what it must be and hold. Filled in by the writer.
    pub index: IndexFacts,
    /// Where the data came from.
    pub source: Source,
    /// The two SQL files, cut into objects.
    pub schema: Schema,
    /// Enum types, for checking their labels.
    pub enums: Vec<Enum>,
    /// Every table, sorted by schema and name; rows are stored in this order.
    pub tables: Vec<Table>,
    /// Every foreign key that is not a partition's copy of its parent's.
    pub foreign_keys: Vec<ForeignKey>,
    /// Every sequence with its value.
    pub sequences: Vec<Sequence>,
    /// Large objects, if there are any: rows of `oid, owner, acl, comment, data`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub large_objects: Option<TableData>,
    /// Checks that the database does not declare.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rules: Option<Rules>,
    /// The archives that objects are taken from, if it is thin: by number, from 1. The writer sets it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bases: Vec<Base>,
}

impl Default for Manifest {
    /// One of this format that says nothing yet.
    fn default() -> Self {
        Self {
            format: Self::FORMAT.into(),
            version: 1,
            features: Vec::new(),
            created: 0,
            tool: String::new(),
            index: IndexFacts::default(),
            source: Source::default(),
            schema: Schema::default(),
            enums: Vec::new(),
            tables: Vec::new(),
            foreign_keys: Vec::new(),
            sequences: Vec::new(),
            large_objects: None,
            rules: None,
            bases: Vec::new(),
        }
    }
}

impl Manifest {
    /// The value of `format` in every manifest.
    pub const FORMAT: &'static str = "pgark";

    /// What of it is known before any row is read: the entry `catalog/<digest>.cbor` (spec section
    /// 7.4). Sequences have the values they had then.
    #[must_use]
    pub fn catalog(&self) -> Self {
        let mut catalog = self.clone();
        catalog.index = IndexFacts::default();
        catalog.large_objects = None;
        // That it is one is known; what is missing is not.
        catalog.source.salvaged = catalog.source.salvaged.map(|_| String::new());
        for table in &mut catalog.tables {
            table.data = None;
        }
        for base in &mut catalog.bases {
            (base.objects, base.bytes) = (0, 0);
        }
        catalog
    }

    /// Whether `catalog` is what was known of this manifest before any row was read.
    pub fn grew_from(&self, catalog: &Self) -> bool {
        let mut mine = self.catalog();
        if mine.sequences.len() != catalog.sequences.len() {
            return false;
        }
        for (mine, theirs) in mine.sequences.iter_mut().zip(&catalog.sequences) {
            (mine.last_value, mine.is_called) = (theirs.last_value, theirs.is_called);
        }
        mine == *catalog
    }

    /// The table of this name.
    pub fn table(&self, name: &Name) -> Option<&Table> {
        self.tables.iter().find(|table| table.name == *name)
    }
}

/// An archive that objects are taken from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Base {
    /// The digest of its manifest: it names the archive.
    pub manifest: Digest,
    /// Its creation second.
    pub created: u64,
    /// The length of its file.
    pub length: u64,
    /// How many objects are taken from it; without any it need not be there.
    pub objects: u64,
    /// Bytes of these objects as they are stored.
    pub bytes: u64,
}

/// The index as the manifest knows it: so that what vouches for the manifest vouches for all.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct IndexFacts {
    /// Its SHA-256.
    pub digest: Digest,
    /// Entries before it.
    pub entries: u64,
    /// Distinct chunks.
    pub chunks: u64,
    /// Blobs of more than one chunk.
    pub blobs: u64,
    /// Chunks of those blobs, repeats counted.
    pub blob_chunks: u64,
    /// Segments of all tables.
    pub segments: u64,
}

/// Where the data came from.
#[derive(Clone, PartialEq, Default, Debug, Serialize, Deserialize)]
pub struct Source {
    /// `server_version` as the server says it.
    pub server_version: String,
    /// `server_version_num`, such as 150018.
    pub server_version_num: u64,
    /// The database's name.
    pub database: String,
    /// `server_encoding`: what the database stores text in. Rows are stored in UTF-8 all the same,
    /// but for `SQL_ASCII`, whose bytes pass through.
    pub encoding: String,
    /// `datcollate`.
    pub collate: String,
    /// `datctype`.
    pub ctype: String,
    /// `libc`, `icu` or `builtin`.
    pub locale_provider: String,
    /// The ICU or builtin locale, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locale: Option<String>,
    /// When the snapshot was taken, RFC 3339 in UTC, with microseconds.
    pub snapshot_time: String,
    /// The write-ahead log position at the snapshot, such as `0/16B3748`.
    pub lsn: String,
    /// Whether the server was a standby.
    pub standby: bool,
    /// The first line of `pg_dump --version`.
    pub pg_dump_version: String,
    /// The profile it was made under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// What the person who made it said about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// What belongs to the database itself; absent where it is not known, as in archives of earlier
    /// versions and of dump files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub properties: Option<Properties>,
    /// What is missing, in words, if this was salvaged from a damaged archive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub salvaged: Option<String>,
    /// The dump it was made of, if it was not read from a server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dump: Option<DumpFacts>,
}

impl Source {
    /// When the database was as the archive has it, for people: in UTC, but where only a dump says
    /// it.
    pub fn when(&self) -> String {
        let made = self.dump.as_ref().map(|dump| dump.made.as_deref());
        match (self.snapshot_time.as_str(), made) {
            ("", Some(Some(made))) => format!("{made} (as the dump says)"),
            ("", _) => "an unknown time".to_owned(),
            (time, _) => {
                let seconds = time.get(..19).unwrap_or(time);
                format!("{} UTC", seconds.replace('T', " "))
            }
        }
    }
}

/// A dump as the source: then there is no `lsn`, and no `snapshot_time` but what the dump says.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct DumpFacts {
    /// `plain`, `custom`, `directory` or `tar`.
    pub form: String,
    /// When it was made, as it says so itself, in the time zone of whoever made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made: Option<String>,
}

/// The two SQL files (entries `schema/pre-data.sql` and `schema/post-data.sql`).
#[derive(Clone, PartialEq, Default, Debug, Serialize, Deserialize)]
pub struct Schema {
    /// Objects of `schema/pre-data.sql`, in order; their slices cover the file without gap.
    pub pre_data: Vec<SchemaObject>,
    /// Objects of `schema/post-data.sql`, likewise.
    pub post_data: Vec<SchemaObject>,
    /// SHA-256 of `schema/pre-data.sql`. The writer sets it.
    pub pre_data_digest: Digest,
    /// SHA-256 of `schema/post-data.sql`. The writer sets it.
    pub post_data_digest: Digest,
}

/// One object of the SQL schema: a slice of its file.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct SchemaObject {
    /// `pg_dump`'s word for it: `TABLE`, `INDEX`, `FK CONSTRAINT`, `MATERIALIZED VIEW DATA`, ...
    pub kind: String,
    /// The schema it is in, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    /// `pg_dump`'s tag, such as `image` or `image image_pkey`.
    pub name: String,
    /// The role that owns it, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Where its SQL begins in the file, in bytes.
    pub offset: u64,
    /// How long its SQL is, in bytes.
    pub length: u64,
    /// The statement that removes it again, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drop: Option<String>,
}

/// An enum type.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Enum {
    /// Its name.
    pub name: Name,
    /// Its labels in their order.
    pub labels: Vec<String>,
}

/// What kind of relation a table is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TableKind {
    /// Holds rows of its own.
    Plain,
    /// A partitioned parent: no rows of its own, its partitions hold them.
    Partitioned,
    /// Belongs to an extension, which declares that (some of) its rows belong to the backup.
    ExtensionConfig,
}

/// One table.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Table {
    /// Its name.
    pub name: Name,
    /// What kind of relation it is.
    pub kind: TableKind,
    /// Unlogged tables are empty on a standby and after a crash.
    pub unlogged: bool,
    /// The columns in the order rows are stored in. Generated columns are listed, but have no
    /// field in the rows.
    pub columns: Vec<Column>,
    /// The primary key, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub primary_key: Option<Key>,
    /// Unique constraints, and unique indexes that are neither partial nor over expressions.
    pub unique: Vec<Key>,
    /// CHECK constraints.
    pub checks: Vec<Check>,
    /// The partitioned table this is a partition of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition_of: Option<Name>,
    /// `FOR VALUES ...` or `DEFAULT`, of a partition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition_bound: Option<String>,
    /// `RANGE (...)`, `LIST (...)` or `HASH (...)`, of a partitioned table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition_key: Option<String>,
    /// Tables it inherits from (not partitioned ones), in order.
    pub inherits: Vec<Name>,
    /// The extension's condition for its configuration rows, such as `WHERE NOT standard`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// The rows; absent for a partitioned parent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<TableData>,
}

impl Table {
    /// A plain table without rows or constraints.
    pub fn new(name: Name, columns: Vec<Column>) -> Self {
        Self {
            name,
            kind: TableKind::Plain,
            unlogged: false,
            columns,
            primary_key: None,
            unique: Vec::new(),
            checks: Vec::new(),
            partition_of: None,
            partition_bound: None,
            partition_key: None,
            inherits: Vec::new(),
            condition: None,
            data: None,
        }
    }

    /// The columns that have a field in the rows: all but generated ones.
    pub fn stored_columns(&self) -> impl Iterator<Item = &Column> {
        self.columns.iter().filter(|column| !column.generated)
    }
}

/// Where a table's rows are and what they amount to.
#[derive(Clone, Copy, PartialEq, Default, Debug, Serialize, Deserialize)]
pub struct TableData {
    /// How many rows.
    pub rows: u64,
    /// The table digest (spec section 9.3).
    pub digest: Digest,
    /// The first of its records among the index's segments.
    pub first_segment: u64,
    /// How many segments.
    pub segments: u64,
    /// Bytes of row text, blob references as written.
    pub bytes: u64,
    /// Blob references in the rows.
    pub blobs: u64,
    /// Bytes of the blobs these refer to, repeats counted.
    pub blob_bytes: u64,
}

/// What a type is, after domains are resolved.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TypeKind {
    /// A base type, built in or an extension's.
    Base,
    /// An enum.
    Enum,
    /// A composite.
    Composite,
    /// A range.
    Range,
    /// A multirange.
    Multirange,
    /// An array; `element` says of what.
    Array,
}

/// A type as far as checking needs it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct TypeRef {
    /// Its name in `pg_type`, such as `pg_catalog.int4`. Domains are resolved to their base.
    pub name: Name,
    /// What it is.
    pub kind: TypeKind,
}

/// One column.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// The declared type as SQL writes it: `character varying(40)`, `public.mood`.
    pub sql_type: String,
    /// The type it comes down to.
    pub base: TypeRef,
    /// An array's element type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub element: Option<TypeRef>,
    /// The domain it was declared with, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<Name>,
    /// The type modifier of the base type; absent when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub typmod: Option<u64>,
    /// NOT NULL, on the column, by its domain or by the primary key.
    pub not_null: bool,
    /// Computed from others: not stored, not loaded.
    pub generated: bool,
    /// GENERATED ... AS IDENTITY.
    pub identity: bool,
    /// The collation, where the type has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collation: Option<Collation>,
    /// DEFAULT or generation expression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
    /// `attstorage`: `plain`, `external`, `extended` or `main`.
    pub storage: String,
    /// `attcompression`: `pglz` or `lz4` where set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compression: Option<String>,
}

impl Column {
    /// A column that may be NULL, of a base type of `pg_catalog`.
    pub fn new(name: impl Into<String>, of: impl Into<String>) -> Self {
        let of = of.into();
        Self {
            name: name.into(),
            sql_type: of.clone(),
            base: TypeRef { name: Name::new("pg_catalog", of), kind: TypeKind::Base },
            element: None,
            domain: None,
            typmod: None,
            not_null: false,
            generated: false,
            identity: false,
            collation: None,
            default: None,
            storage: "plain".into(),
            compression: None,
        }
    }

    /// Whether values longer than 64 bytes are stored as blobs: `bytea` and domains over it.
    pub fn is_bytea(&self) -> bool {
        self.base.kind == TypeKind::Base
            && self.base.name.schema == "pg_catalog"
            && self.base.name.name == "bytea"
    }
}

/// A collation.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Collation {
    /// Its name.
    pub name: Name,
    /// Whether equal means equal bytes.
    pub deterministic: bool,
}

/// A primary key, unique constraint or unique index.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Key {
    /// The constraint's or index's name.
    pub name: String,
    /// Its columns in order.
    pub columns: Vec<String>,
    /// Whether NULLs count as equal.
    pub nulls_not_distinct: bool,
    /// Whether it is a constraint (else a plain unique index).
    pub constraint: bool,
}

impl Key {
    /// A constraint in which NULLs differ from each other.
    pub fn new(name: impl Into<String>, columns: Vec<String>) -> Self {
        Self { name: name.into(), columns, nulls_not_distinct: false, constraint: true }
    }
}

/// A CHECK constraint.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Check {
    /// Its name.
    pub name: String,
    /// `pg_get_constraintdef`.
    pub definition: String,
    /// False for NOT VALID.
    pub validated: bool,
}

/// How a composite foreign key treats NULLs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Match {
    /// Any NULL: no reference.
    Simple,
    /// All NULL: no reference; some NULL: a violation.
    Full,
}

/// A foreign key.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ForeignKey {
    /// Its name.
    pub name: String,
    /// The table that refers.
    pub table: Name,
    /// The columns that refer.
    pub columns: Vec<String>,
    /// The table referred to.
    pub references: Name,
    /// The columns referred to.
    pub referenced_columns: Vec<String>,
    /// How NULLs are treated.
    pub match_type: Match,
    /// False for NOT VALID.
    pub validated: bool,
    /// Whether the server enforces it at all (NOT ENFORCED since version 18).
    pub enforced: bool,
}

/// A sequence.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Sequence {
    /// Its name.
    pub name: Name,
    /// `last_value`, read after the rows.
    pub last_value: i64,
    /// `is_called`.
    pub is_called: bool,
    /// The step.
    pub increment: i64,
    /// The column it feeds, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owned_by: Option<OwnedBy>,
}

/// The column a sequence feeds.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct OwnedBy {
    /// The table.
    pub table: Name,
    /// The column.
    pub column: String,
}
