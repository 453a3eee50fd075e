//! Types by name: the server's own, those of well-known extensions, and those that the dump makes.

use std::collections::{BTreeMap, HashMap};

use crate::format::manifest::{Name, TypeKind, TypeRef};

/// A type, as a place among [`Types`].
pub(super) type TypeId = usize;

/// No type modifier.
pub(super) const NO_TYPMOD: i64 = -1;

/// The longest name, in bytes (`NAMEDATALEN - 1`).
const LONGEST: usize = 63;

/// What `typtype` says, and that a base type is an array.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Form {
    /// Known by name only: a shell, or an extension's.
    Base,
    Enum,
    Composite,
    Range,
    Multirange,
    /// An array of this.
    Array(TypeId),
    /// A domain over this.
    Domain {
        over: TypeId,
        typmod: i64,
        not_null: bool,
    },
}

/// A type.
#[derive(Clone, Debug)]
pub(super) struct Type {
    pub(super) name: Name,
    pub(super) form: Form,
    /// As `Column::storage` says it.
    pub(super) storage: &'static str,
    /// `typcollation`.
    pub(super) collation: Option<Name>,
    array: Option<TypeId>,
    /// An array that came with its element, and whose name gives way to others.
    automatic: bool,
}

impl Type {
    /// A type made by the dump; `plain` storage.
    pub(super) fn new(name: Name, form: Form) -> Self {
        Self { name, form, storage: "plain", collation: None, array: None, automatic: false }
    }
}

/// All types.
#[derive(Clone, Debug)]
pub(super) struct Types {
    all: Vec<Type>,
    names: HashMap<Name, TypeId>,
    /// How arrays are named where the first name is taken: by a number.
    pub(super) numbered: bool,
}

/// What a column's type comes down to.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Resolved {
    pub(super) base: TypeRef,
    pub(super) element: Option<TypeRef>,
    pub(super) domain: Option<Name>,
    pub(super) typmod: i64,
    pub(super) not_null: bool,
}

const BUILTIN: &str = include_str!("builtin_types.txt");
const EXTENSIONS: &str = include_str!("extension_types.txt");

/// The fields of each line that is no comment.
fn lines(text: &'static str) -> impl Iterator<Item = Vec<&'static str>> {
    text.lines().filter(|line| !line.starts_with('#')).map(|line| line.split(' ').collect())
}

/// `typstorage` in words.
pub(super) fn storage(code: &str) -> &'static str {
    match code.to_ascii_lowercase().as_str() {
        "p" | "plain" => "plain",
        "e" | "external" => "external",
        "m" | "main" => "main",
        _ => "extended",
    }
}

fn collation(name: &str) -> Option<Name> {
    (name != "-").then(|| Name::new("pg_catalog", name))
}

fn qualified(text: &str) -> Option<Name> {
    let (schema, name) = text.split_once('.')?;
    Some(Name::new(schema, name))
}

impl Types {
    /// Those of every server.
    pub(super) fn builtin() -> Self {
        let mut types = Self { all: Vec::new(), names: HashMap::new(), numbered: true };
        let mut later = Vec::new();
        for fields in lines(BUILTIN) {
            let [schema, name, kind, code, coll, of, typmod, not_null] = fields[..] else {
                continue;
            };
            let form = match kind {
                "c" => Form::Composite,
                "r" => Form::Range,
                "m" => Form::Multirange,
                "e" => Form::Enum,
                _ => Form::Base,
            };
            let mut found = Type::new(Name::new(schema, name), form);
            found.storage = storage(code);
            found.collation = collation(coll);
            let id = types.insert(found);
            if let Some(of) = qualified(of) {
                later.push((id, kind, of, typmod, not_null == "n"));
            }
        }
        for (id, kind, of, typmod, not_null) in later {
            let Some(of) = types.find(&of) else { continue };
            let typmod = typmod.parse().unwrap_or(NO_TYPMOD);
            let form = if kind == "a" {
                Form::Array(of)
            } else {
                Form::Domain { over: of, typmod, not_null }
            };
            if let Some(found) = types.all.get_mut(id) {
                found.form = form;
            }
            if let (Form::Array(_), Some(element)) = (form, types.all.get_mut(of)) {
                element.array = Some(id);
            }
        }
        types
    }

    /// Adds what is known of an extension's types; says whether anything is.
    pub(super) fn extension(&mut self, extension: &str, schema: &str) -> bool {
        let mut known = false;
        for fields in lines(EXTENSIONS) {
            let [of, name, kind, code, coll, over] = fields[..] else { continue };
            if of != extension {
                continue;
            }
            known = true;
            let over = qualified(over).or_else(|| Some(Name::new(schema, over)));
            let form = match (kind, over.and_then(|over| self.find(&over))) {
                ("d", Some(over)) => Form::Domain { over, typmod: NO_TYPMOD, not_null: false },
                ("c", _) => Form::Composite,
                _ => Form::Base,
            };
            let mut found = Type::new(Name::new(schema, name), form);
            found.storage = storage(code);
            found.collation = collation(coll);
            self.declare(found);
        }
        known
    }

    fn insert(&mut self, found: Type) -> TypeId {
        let id = self.all.len();
        self.names.insert(found.name.clone(), id);
        self.all.push(found);
        id
    }

    pub(super) fn find(&self, name: &Name) -> Option<TypeId> {
        self.names.get(name).copied()
    }

    /// Whether this is the name of an array that came with its element.
    pub(super) fn is_automatic(&self, name: &Name) -> bool {
        self.find(name).and_then(|id| self.get(id)).is_some_and(|found| found.automatic)
    }

    pub(super) fn get(&self, id: TypeId) -> Option<&Type> {
        self.all.get(id)
    }

    /// A new type and its array. The same name again replaces what was there (a shell by its type);
    /// an automatic array of that name gets another name.
    pub(super) fn declare(&mut self, found: Type) -> TypeId {
        if let Some(id) = self.find(&found.name) {
            let automatic = self.all.get(id).is_some_and(|old| old.automatic);
            if automatic {
                self.names.remove(&found.name);
                // The new one has its name from here on. The server makes the other's from it.
                self.names.insert(found.name.clone(), usize::MAX);
                let name = self.array_name(&found.name);
                self.names.insert(name.clone(), id);
                if let Some(old) = self.all.get_mut(id) {
                    old.name = name;
                }
            } else {
                let array = self.all.get(id).and_then(|old| old.array);
                if let Some(old) = self.all.get_mut(id) {
                    *old = Type { array, ..found };
                }
                return self.with_array(id);
            }
        }
        let id = self.insert(found);
        self.with_array(id)
    }

    fn with_array(&mut self, id: TypeId) -> TypeId {
        let Some(of) = self.all.get(id) else { return id };
        let collation = of.collation.clone();
        let name = self.array_name(&of.name);
        if let Some(array) = of.array {
            if let Some(array) = self.all.get_mut(array) {
                array.collation = collation;
            }
            return id;
        }
        let mut array = Type::new(name, Form::Array(id));
        array.storage = "extended";
        array.collation = collation;
        array.automatic = true;
        let array = self.insert(array);
        if let Some(of) = self.all.get_mut(id) {
            of.array = Some(array);
        }
        id
    }

    /// What the server calls the array of a type (`makeArrayTypeName`): `_name`, cut to what fits.
    /// Where another type has that name, it is numbered, up to version 15 by more underscores.
    fn array_name(&self, of: &Name) -> Name {
        for number in 0_usize.. {
            let (prefix, suffix) = match number {
                0 => ("_".to_owned(), String::new()),
                _ if self.numbered => ("_".to_owned(), format!("_{number}")),
                _ => ("_".repeat((number + 1).min(LONGEST)), String::new()),
            };
            let mut end = of.name.len().min(LONGEST.saturating_sub(prefix.len() + suffix.len()));
            while !of.name.is_char_boundary(end) {
                end -= 1;
            }
            let part = of.name.get(..end).unwrap_or_default();
            let name = Name::new(of.schema.as_str(), format!("{prefix}{part}{suffix}"));
            if !self.names.contains_key(&name) || number > self.names.len() {
                return name;
            }
        }
        of.clone()
    }

    /// The array of a type. Of an array it is itself: an array has any number of dimensions.
    pub(super) fn array_of(&self, id: TypeId) -> Option<TypeId> {
        match self.get(id)? {
            Type { form: Form::Array(_), .. } => Some(id),
            other => other.array,
        }
    }

    /// Follows domains down. The first type modifier counts, and a NOT NULL anywhere.
    pub(super) fn resolve(&self, id: TypeId, typmod: i64) -> Option<Resolved> {
        let declared = self.get(id)?;
        let domain = matches!(declared.form, Form::Domain { .. }).then(|| declared.name.clone());
        let (base, typmod, not_null) = self.base(id, typmod)?;
        let element = match base.form {
            Form::Array(of) => Some(self.base(of, NO_TYPMOD)?.0.reference()),
            _ => None,
        };
        Some(Resolved { base: base.reference(), element, domain, typmod, not_null })
    }

    fn base(&self, id: TypeId, mut typmod: i64) -> Option<(&Type, i64, bool)> {
        let mut found = self.get(id)?;
        let mut any_not_null = false;
        // A domain is over what was declared before it, so there is no ring; bounded all the same.
        for _ in 0..=self.all.len() {
            let Form::Domain { over, typmod: own, not_null } = found.form else {
                return Some((found, typmod, any_not_null));
            };
            any_not_null |= not_null;
            if typmod == NO_TYPMOD {
                typmod = own;
            }
            found = self.get(over)?;
        }
        None
    }

    /// Makes a domain NOT NULL. False if there is no such domain.
    pub(super) fn domain_not_null(&mut self, name: &Name) -> bool {
        let found = self.find(name).and_then(|id| self.all.get_mut(id));
        match found.map(|found| &mut found.form) {
            Some(Form::Domain { not_null, .. }) => {
                *not_null = true;
                true
            }
            _ => false,
        }
    }
}

impl Type {
    fn reference(&self) -> TypeRef {
        let kind = match self.form {
            Form::Base | Form::Domain { .. } => TypeKind::Base,
            Form::Enum => TypeKind::Enum,
            Form::Composite => TypeKind::Composite,
            Form::Range => TypeKind::Range,
            Form::Multirange => TypeKind::Multirange,
            Form::Array(_) => TypeKind::Array,
        };
        TypeRef { name: self.name.clone(), kind }
    }
}

/// The fields of a composite type, for tables of it (`CREATE TABLE ... OF`).
pub(super) type Fields = BTreeMap<Name, Vec<super::columns::Column>>;

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards against a line of the data that is not read.
    #[test]
    fn every_line_is_a_type() {
        let types = Types::builtin();
        assert_eq!(types.all.len(), lines(BUILTIN).count());
        assert!(lines(BUILTIN).all(|fields| fields.len() == 8));
        assert!(lines(EXTENSIONS).all(|fields| fields.len() == 6));
        let text = types.find(&Name::new("pg_catalog", "_text")).unwrap();
        let resolved = types.resolve(text, NO_TYPMOD).unwrap();
        assert_eq!(resolved.element.unwrap().name.name, "text");
        let word = types.find(&Name::new("information_schema", "yes_or_no")).unwrap();
        let resolved = types.resolve(word, NO_TYPMOD).unwrap();
        assert_eq!((resolved.base.name.name.as_str(), resolved.typmod), ("varchar", 7));
    }

    /// Guards against the name of an array being taken for another type's.
    #[test]
    fn arrays_give_way() {
        let mut types = Types::builtin();
        let name = |name: &str| Name::new("s", name);
        let declare =
            |types: &mut Types, text: &str| types.declare(Type::new(name(text), Form::Composite));
        let a = declare(&mut types, "a");
        let array =
            |types: &Types, id| types.get(types.array_of(id).unwrap()).unwrap().name.clone();
        assert_eq!(array(&types, a), name("_a"));
        let other = declare(&mut types, "_a");
        assert_eq!(array(&types, a), name("__a"));
        assert_eq!(array(&types, other), name("__a_1"));
        assert_eq!(types.find(&name("_a")), Some(other));
        let long = declare(&mut types, &"ü".repeat(31));
        assert_eq!(array(&types, long).name, format!("_{}", "ü".repeat(31)));
        let long = declare(&mut types, &"x".repeat(63));
        assert_eq!(array(&types, long).name, format!("_{}", "x".repeat(62)));
        // A shell becomes its type.
        let shell = types.declare(Type::new(name("base"), Form::Base));
        let mut whole = Type::new(name("base"), Form::Base);
        whole.storage = "extended";
        assert_eq!(types.declare(whole), shell);
        assert_eq!(types.get(shell).unwrap().storage, "extended");
    }
}
