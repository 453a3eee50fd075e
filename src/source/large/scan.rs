//! Large objects on the way through a plain dump: which statement comes where.

use crate::source::ddl::LargeObject;
use crate::source::error::DumpFileError;
use crate::source::heads::Head;

/// Where a dump is among its large objects.
#[derive(Default, Debug)]
pub(in crate::source) struct Among {
    /// Whether what the statements are of is large objects, by the comment before them.
    about: bool,
    /// Whether it is privileges, some of which only another role can give.
    privileges: bool,
    /// The one that is open.
    open: Option<u32>,
}

/// What is to be done with a statement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::source) enum Then {
    /// It only says something.
    Said,
    /// The bytes of the one that is open begin behind it, or go on in it.
    Begin,
    Bytes,
    /// They were all of this one.
    End(u32),
}

impl Among {
    /// Takes in the comments before a statement.
    pub(in crate::source) fn comments(&mut self, head: Option<&Head<'_>>) {
        let Some(head) = head else { return };
        self.privileges = matches!(head.kind, "ACL" | "DEFAULT ACL");
        self.about = match head.kind {
            "BLOB" | "BLOBS" | "BLOB METADATA" => true,
            "ACL" | "COMMENT" | "SECURITY LABEL" => {
                head.name.starts_with("LARGE OBJECT ") || head.name.starts_with("LARGE OBJECTS ")
            }
            _ => false,
        };
    }

    /// Whether a change of the session's role is for privileges of large objects.
    pub(in crate::source) fn role(&self) -> Result<bool, DumpFileError> {
        if self.privileges {
            return Ok(self.about);
        }
        Err(DumpFileError::Unsupported(
            "it says who owns what by SET SESSION AUTHORIZATION: dump without \
             --use-set-session-authorization"
                .into(),
        ))
    }

    /// Whether a statement is part of how large objects are written, and says nothing of them.
    pub(in crate::source) fn around(&self, statement: &str) -> bool {
        self.about && matches!(statement, "BEGIN;" | "COMMIT;")
    }

    /// Whether what is neither said nor written may come now.
    pub(in crate::source) fn between(&self) -> Result<(), DumpFileError> {
        match self.open {
            Some(oid) => Err(DumpFileError::large_object(oid, "its bytes have no end")),
            None => Ok(()),
        }
    }

    /// What a statement about large objects is for.
    pub(in crate::source) fn statement(
        &mut self,
        said: &LargeObject,
    ) -> Result<Then, DumpFileError> {
        match (said, self.open) {
            (LargeObject::Write, Some(_)) => return Ok(Then::Bytes),
            (LargeObject::Close, Some(oid)) => {
                self.open = None;
                return Ok(Then::End(oid));
            }
            (LargeObject::Write | LargeObject::Close, None) => {
                let what = "bytes of a large object are written, and none is open".to_owned();
                return Err(DumpFileError::Unsupported(what));
            }
            _ => self.between()?,
        }
        let LargeObject::Open(oid) = said else { return Ok(Then::Said) };
        self.open = Some(*oid);
        Ok(Then::Begin)
    }
}
