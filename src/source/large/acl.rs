//! The privileges of a large object as a server keeps them after the `GRANT` and `REVOKE` of a dump.

use crate::source::ddl::{Change, SELECT, UPDATE};

/// One `aclitem`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Item {
    /// None is PUBLIC.
    grantee: Option<String>,
    grantor: String,
    privileges: u8,
    /// Those that the grantee may give on.
    options: u8,
}

/// All of a large object that has others than an owner has by itself. In a server's order: who gets
/// one first comes first, and who loses the last goes.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Acl(Vec<Item>);

impl Acl {
    /// What an owner has by itself.
    pub(super) fn of_owner(owner: &str) -> Self {
        Self(vec![Item {
            grantee: Some(owner.to_owned()),
            grantor: owner.to_owned(),
            privileges: SELECT | UPDATE,
            options: 0,
        }])
    }

    /// As [`Change`] says, by the role `grantor`. An error if that takes from somebody what others
    /// have from it: `pg_dump` writes nothing of the kind.
    pub(super) fn change(
        &mut self,
        change: &Change,
        owner: &str,
        grantor: &str,
    ) -> Result<(), String> {
        let Change { grant, privileges, option, ref grantees } = *change;
        for grantee in grantees {
            let mut place =
                self.0.iter().position(|item| item.grantee == *grantee && item.grantor == grantor);
            if place.is_none() && grant {
                let (grantee, grantor) = (grantee.clone(), grantor.to_owned());
                self.0.push(Item { grantee, grantor, privileges: 0, options: 0 });
                place = Some(self.0.len() - 1);
            }
            let Some((place, item)) = place.and_then(|at| Some((at, self.0.get_mut(at)?))) else {
                continue;
            };
            if grant {
                item.privileges |= privileges;
                if option {
                    item.options |= privileges;
                }
                continue;
            }
            item.options &= !privileges;
            if !option {
                item.privileges &= !privileges;
            }
            if item.privileges == 0 {
                self.0.remove(place);
            }
            let given_on = |item: &Item| {
                Some(&item.grantor) == grantee.as_ref() && item.privileges & privileges != 0
            };
            if grantee.as_deref() != Some(owner) && self.0.iter().any(given_on) {
                return Err("privileges are taken from one who has given them on".into());
            }
        }
        Ok(())
    }

    /// As `aclitem[]` prints it.
    pub(super) fn text(&self) -> String {
        let items: Vec<String> = self.0.iter().map(|item| element(&item.text())).collect();
        format!("{{{}}}", items.join(","))
    }
}

impl Item {
    fn text(&self) -> String {
        let mut out = self.grantee.as_deref().map(role).unwrap_or_default();
        out.push('=');
        for (privilege, letter) in [(SELECT, 'r'), (UPDATE, 'w')] {
            if self.privileges & privilege != 0 {
                out.push(letter);
            }
            if self.options & privilege != 0 {
                out.push('*');
            }
        }
        out.push('/');
        out.push_str(&role(&self.grantor));
        out
    }
}

/// A role in an `aclitem`.
fn role(name: &str) -> String {
    if name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return name.to_owned();
    }
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// An element of an array.
fn element(text: &str) -> String {
    let special = |byte: u8| {
        matches!(byte, b'"' | b'\\' | b'{' | b'}' | b',')
            || byte.is_ascii_whitespace()
            || byte == 11
    };
    if !text.bytes().any(special) {
        return text.to_owned();
    }
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    //! Guards against privileges that go to somebody else, and against another spelling of the same:
    //! the digest of the rows is that of a live database's.
    use super::*;

    fn after(
        owner: &str,
        changes: &[(&str, bool, u8, bool, Option<&str>)],
    ) -> Result<String, String> {
        let mut acl = Acl::of_owner(owner);
        for (by, grant, privileges, option, grantee) in changes {
            let grantees = vec![grantee.map(str::to_owned)];
            let (grant, privileges, option) = (*grant, *privileges, *option);
            acl.change(&Change { grant, privileges, option, grantees }, owner, by)?;
        }
        Ok(acl.text())
    }

    #[test]
    fn as_a_server_prints_them() {
        const ALL: u8 = SELECT | UPDATE;
        assert_eq!(after("me", &[]).unwrap(), "{me=rw/me}");
        let revoked = [("me", false, ALL, false, Some("me"))];
        assert_eq!(after("me", &revoked).unwrap(), "{}");
        let chain = [
            ("me", false, ALL, false, Some("me")),
            ("me", true, SELECT, false, Some("me")),
            ("me", true, SELECT, false, None),
            ("me", true, ALL, true, Some("b c")),
            ("b c", true, UPDATE, false, Some("A\"\\")),
        ];
        // What PostgreSQL 18 printed after these.
        let printed = r#"{me=r/me,=r/me,"\"b c\"=r*w*/me","\"A\"\"\\\"=w/\"b c\""}"#;
        assert_eq!(after("me", &chain).unwrap(), printed);
        let mut taken = chain.to_vec();
        taken.push(("me", false, UPDATE, false, Some("b c")));
        assert!(after("me", &taken).is_err());
        let mut unknown = chain[..3].to_vec();
        unknown.push(("me", false, ALL, false, Some("nobody")));
        assert_eq!(after("me", &unknown).unwrap(), "{me=r/me,=r/me}");
    }
}
