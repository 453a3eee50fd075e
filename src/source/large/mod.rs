//! Large objects of a dump: what its statements say of each, and where its bytes are.
//!
//! Kept for each is what its row needs but its bytes: some 80 bytes, and its comment.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::ddl::{Change, LargeObject, Session};
use super::error::DumpFileError;
use acl::Acl;

mod acl;
mod scan;
mod written;

pub(super) use scan::{Among, Then};
pub(super) use written::Written;

/// Where bytes are in the dump, or in what it was copied to; each form knows what it means.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Place {
    pub(super) at: u64,
    pub(super) length: u64,
}

#[derive(Clone, Default, Debug)]
struct Object {
    created: bool,
    owner: Option<Arc<str>>,
    acl: Option<Arc<Acl>>,
    comment: Option<Box<str>>,
    place: Option<Place>,
}

/// What a row says of a large object beside its bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Facts {
    /// Its OID.
    pub oid: u32,
    /// The role that owns it.
    pub owner: Arc<str>,
    /// Its privileges as `aclitem[]` prints them; absent where they are the default ones.
    pub acl: Option<String>,
    /// Its comment.
    pub comment: Option<Box<str>>,
    pub(super) place: Place,
}

/// All of a dump.
#[derive(Clone, Default, Debug)]
pub(super) struct LargeObjects {
    objects: BTreeMap<u32, Object>,
    /// OID, provider and label.
    labels: Vec<(u32, String, String)>,
    owners: HashSet<Arc<str>>,
    acls: HashSet<Arc<Acl>>,
    /// Who gives privileges, where that is not the owner.
    session: Option<String>,
}

impl LargeObjects {
    /// Takes in what a statement says, but where the bytes are.
    pub(super) fn said(&mut self, said: LargeObject) -> Result<(), DumpFileError> {
        match said {
            LargeObject::Create(oid) => self.create(oid, None),
            LargeObject::Owner(oid, owner) => {
                let owner = shared(&mut self.owners, &owner);
                let object = self.declared(oid)?;
                object.owner = Some(owner);
                if object.acl.is_some() {
                    let what = "its privileges come before its owner";
                    return Err(DumpFileError::large_object(oid, what));
                }
                Ok(())
            }
            LargeObject::Comment(oid, comment) => {
                self.declared(oid)?.comment = comment.map(String::into_boxed_str);
                Ok(())
            }
            LargeObject::Label { oid, provider, label } => {
                self.declared(oid)?;
                self.labels.push((oid, provider, label));
                Ok(())
            }
            LargeObject::Change(oid, change) => self.change(oid, &change),
            LargeObject::Unlink
            | LargeObject::Open(_)
            | LargeObject::Write
            | LargeObject::Close => Ok(()),
        }
    }

    /// Whose session it is from now on.
    pub(super) fn session(&mut self, session: Session) {
        self.session = match session {
            Session::Own => None,
            Session::Of(role) => Some(role),
        };
    }

    /// There is one of this OID.
    pub(super) fn create(&mut self, oid: u32, owner: Option<&str>) -> Result<(), DumpFileError> {
        let owner = owner.filter(|owner| !owner.is_empty());
        let owner = owner.map(|owner| shared(&mut self.owners, owner));
        let object = self.objects.entry(oid).or_default();
        if std::mem::replace(&mut object.created, true) {
            return Err(DumpFileError::large_object(oid, "it is declared twice"));
        }
        object.owner = owner;
        Ok(())
    }

    /// Its bytes are there.
    pub(super) fn data(&mut self, oid: u32, place: Place) -> Result<(), DumpFileError> {
        let object = self.objects.entry(oid).or_default();
        if object.place.replace(place).is_some() {
            return Err(DumpFileError::large_object(oid, "its bytes are there twice"));
        }
        Ok(())
    }

    fn declared(&mut self, oid: u32) -> Result<&mut Object, DumpFileError> {
        self.objects.get_mut(&oid).filter(|object| object.created).ok_or_else(|| {
            DumpFileError::large_object(oid, "something is said of it before it is declared")
        })
    }

    /// Privileges given or taken.
    pub(super) fn change(&mut self, oid: u32, change: &Change) -> Result<(), DumpFileError> {
        let session = self.session.take();
        let object = self.declared(oid)?;
        let wrong = |what: &str| DumpFileError::large_object(oid, what);
        let owner = object.owner.clone();
        let owner = owner.ok_or_else(|| wrong("it has privileges and no owner"))?;
        let mut acl = match &object.acl {
            Some(acl) => Acl::clone(acl),
            None => Acl::of_owner(&owner),
        };
        let grantor = session.as_deref().unwrap_or(&owner);
        acl.change(change, &owner, grantor).map_err(|what| wrong(&what))?;
        let acl = match self.acls.get(&acl) {
            Some(known) => Arc::clone(known),
            None => Arc::new(acl),
        };
        self.acls.insert(Arc::clone(&acl));
        self.session = session;
        self.declared(oid)?.acl = Some(acl);
        Ok(())
    }

    /// Whether each is whole: declared, with an owner, and with its bytes.
    pub(super) fn check(&self) -> Result<(), DumpFileError> {
        for (oid, object) in &self.objects {
            let what = if !object.created {
                "its bytes are there, and it is not declared"
            } else if object.place.is_none() {
                "its bytes are not there"
            } else if object.owner.is_none() {
                "it has no owner (a dump made with --no-owner)"
            } else {
                continue;
            };
            return Err(DumpFileError::large_object(*oid, what));
        }
        Ok(())
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// Each, in the order of their OIDs.
    pub(super) fn iter(&self) -> impl Iterator<Item = Facts> {
        self.objects.iter().filter_map(|(oid, object)| {
            Some(Facts {
                oid: *oid,
                owner: Arc::clone(object.owner.as_ref()?),
                acl: object.acl.as_ref().map(|acl| acl.text()),
                comment: object.comment.clone(),
                place: object.place?,
            })
        })
    }

    /// OID, provider and label of each security label, in that order.
    pub(super) fn take_labels(&mut self) -> Vec<(u32, String, String)> {
        let mut labels = std::mem::take(&mut self.labels);
        labels.sort();
        labels
    }
}

/// The same words once.
fn shared(known: &mut HashSet<Arc<str>>, text: &str) -> Arc<str> {
    if let Some(known) = known.get(text) {
        return Arc::clone(known);
    }
    let text: Arc<str> = Arc::from(text);
    known.insert(Arc::clone(&text));
    text
}
