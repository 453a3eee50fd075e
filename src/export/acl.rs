//! Privileges as `aclitem[]` prints them, and the statements that grant them.

use std::fmt::Write as _;

use crate::format::sql::ident;

/// One `aclitem`: `grantee=rw*/grantor`.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Grant {
    /// None is PUBLIC.
    grantee: Option<String>,
    /// Letters, each with whether it may be granted on.
    privileges: Vec<(char, bool)>,
    grantor: String,
}

/// The items of a list such as `{me=rw/me,=r/me,"\"a b\"=r*/me"}`; none if it is no such list.
pub(super) fn grants(acl: &str) -> Option<Vec<Grant>> {
    let inner = acl.strip_prefix('{')?.strip_suffix('}')?;
    let mut items = Vec::new();
    let mut item = String::new();
    let mut quoted = false;
    let mut letters = inner.chars();
    while let Some(c) = letters.next() {
        match c {
            '"' => quoted = !quoted,
            '\\' => item.push(letters.next()?),
            ',' if !quoted => items.push(std::mem::take(&mut item)),
            c => item.push(c),
        }
    }
    if quoted {
        return None;
    }
    if !inner.is_empty() {
        items.push(item);
    }
    items.iter().map(|item| Grant::parse(item)).collect()
}

impl Grant {
    fn parse(item: &str) -> Option<Self> {
        let (grantee, rest) = role(item)?;
        let (letters, grantor) = rest.strip_prefix('=')?.split_once('/')?;
        let (grantor, rest) = role(grantor)?;
        if !rest.is_empty() || grantor.is_empty() {
            return None;
        }
        let mut privileges: Vec<(char, bool)> = Vec::new();
        for letter in letters.chars() {
            match letter {
                '*' => privileges.last_mut()?.1 = true,
                letter => privileges.push((letter, false)),
            }
        }
        Some(Self { grantee: Some(grantee).filter(|name| !name.is_empty()), privileges, grantor })
    }

    /// The statements for an object of this owner; none for a privilege that is not known here.
    pub(super) fn sql(&self, object: &str, owner: &str) -> Option<String> {
        let grantee = self.grantee.as_deref().map_or_else(|| "PUBLIC".to_owned(), ident);
        let mut out = String::new();
        for (letter, grantable) in &self.privileges {
            let privilege = match letter {
                'r' => "SELECT",
                'w' => "UPDATE",
                _ => return None,
            };
            let option = if *grantable { " WITH GRANT OPTION" } else { "" };
            let grant = format!("GRANT {privilege} ON {object} TO {grantee}{option};\n");
            if self.grantor == owner {
                out.push_str(&grant);
            } else {
                let grantor = ident(&self.grantor);
                _ = write!(out, "SET ROLE {grantor};\n{grant}RESET ROLE;\n");
            }
        }
        Some(out)
    }
}

/// A role's name, in quotes where it has anything but letters, digits and underscores, and what
/// follows it.
fn role(text: &str) -> Option<(String, &str)> {
    let mut name = String::new();
    let mut quoted = false;
    let mut letters = text.char_indices().peekable();
    while let Some((at, c)) = letters.next() {
        match c {
            '"' if quoted && letters.peek().is_some_and(|(_, next)| *next == '"') => {
                letters.next();
                name.push('"');
            }
            '"' => quoted = !quoted,
            '=' | '/' if !quoted => return Some((name, text.get(at..)?)),
            c => name.push(c),
        }
    }
    (!quoted).then_some((name, ""))
}

#[cfg(test)]
mod tests {
    //! Guards against privileges that go to somebody else, or to nobody.
    use super::*;

    #[test]
    fn lists_of_privileges() {
        let sql = |acl: &str| -> Option<String> {
            let all: Option<Vec<String>> =
                grants(acl)?.iter().map(|grant| grant.sql("LARGE OBJECT 7", "me")).collect();
            Some(all?.concat())
        };
        assert_eq!(sql("{}").as_deref(), Some(""));
        assert_eq!(
            sql("{me=rw/me,=r/me}").as_deref(),
            Some(
                "GRANT SELECT ON LARGE OBJECT 7 TO \"me\";\n\
                 GRANT UPDATE ON LARGE OBJECT 7 TO \"me\";\n\
                 GRANT SELECT ON LARGE OBJECT 7 TO PUBLIC;\n"
            )
        );
        // The role `A "b", =/` as PostgreSQL prints it: quoted as a role, then as an element.
        assert_eq!(
            sql(r#"{"\"A \"\"b\"\", =/\"=r*/other"}"#).as_deref(),
            Some(
                "SET ROLE \"other\";\nGRANT SELECT ON LARGE OBJECT 7 TO \"A \"\"b\"\", =/\" \
                 WITH GRANT OPTION;\nRESET ROLE;\n"
            )
        );
        for bad in ["", "me=r/me", "{me=r}", "{me=x/me}", "{\"me=r/me}", "{me=*/me}", "{me=r/me/}"]
        {
            assert_eq!(sql(bad), None, "{bad}");
        }
    }
}
