//! Writes JSON objects without a tree in between: members in the order in which they are named, nothing that is empty.

use super::raw::push_json_string;

/// An object that is being written.
#[derive(Debug)]
pub(super) struct Object<'o> {
    out: &'o mut Vec<u8>,
    empty: bool,
}

impl<'o> Object<'o> {
    /// Adds the object that `fill` writes; `{}` if that is nothing.
    pub(super) fn write(out: &'o mut Vec<u8>, fill: impl FnOnce(&mut Object<'_>)) {
        out.push(b'{');
        let mut object = Object { out, empty: true };
        fill(&mut object);
        object.out.push(b'}');
    }

    fn key(&mut self, name: &str) {
        if !self.empty {
            self.out.push(b',');
        }
        self.empty = false;
        push_json_string(name, self.out);
        self.out.push(b':');
    }

    /// A text, unless it is missing or empty.
    pub(super) fn text(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            self.key(name);
            push_json_string(value, self.out);
        }
    }

    /// A number.
    pub(super) fn integer(&mut self, name: &str, value: i64) {
        self.key(name);
        self.out.extend_from_slice(value.to_string().as_bytes());
    }

    /// A truth value.
    pub(super) fn flag(&mut self, name: &str, value: Option<bool>) {
        if let Some(value) = value {
            self.key(name);
            self.out.extend_from_slice(if value { b"true" } else { b"false" });
        }
    }

    /// A value that is JSON already.
    pub(super) fn json(&mut self, name: &str, json: &[u8]) {
        self.key(name);
        self.out.extend_from_slice(json);
    }

    /// A member that `write` writes the JSON value of.
    pub(super) fn written(&mut self, name: &str, write: impl FnOnce(&mut Vec<u8>)) {
        self.key(name);
        write(self.out);
    }

    /// An object, unless nothing is in it.
    pub(super) fn object(&mut self, name: &str, fill: impl FnOnce(&mut Object<'_>)) {
        self.unless_empty(name, |out| {
            let start = out.len();
            Object::write(out, fill);
            out.len() > start + 2
        });
    }

    /// A list of texts without repeats, unless there are none.
    pub(super) fn texts<'t>(&mut self, name: &str, values: impl IntoIterator<Item = &'t str>) {
        let mut seen: Vec<&str> = Vec::new();
        for value in values {
            if !value.is_empty() && !seen.contains(&value) {
                seen.push(value);
            }
        }
        self.unless_empty(name, |out| {
            for (index, value) in seen.iter().enumerate() {
                out.push(if index == 0 { b'[' } else { b',' });
                push_json_string(value, out);
            }
            out.push(b']');
            !seen.is_empty()
        });
    }

    /// A list of objects, of which those that are empty are left out, and the list if all are.
    pub(super) fn objects<T>(&mut self, name: &str, items: impl IntoIterator<Item = T>, mut fill: impl FnMut(T, &mut Object<'_>)) {
        self.unless_empty(name, |out| {
            out.push(b'[');
            let mut any = false;
            for item in items {
                let start = out.len();
                if any {
                    out.push(b',');
                }
                let opening = out.len();
                Object::write(out, |object| fill(item, object));
                if out.len() == opening + 2 {
                    out.truncate(start);
                } else {
                    any = true;
                }
            }
            out.push(b']');
            any
        });
    }

    /// Takes the member back if `write` says that it came to nothing.
    fn unless_empty(&mut self, name: &str, write: impl FnOnce(&mut Vec<u8>) -> bool) {
        let (start, was_empty) = (self.out.len(), self.empty);
        self.key(name);
        if !write(self.out) {
            self.out.truncate(start);
            self.empty = was_empty;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_empty_is_left_out_and_the_rest_is_json() {
        let mut out = Vec::new();
        Object::write(&mut out, |object| {
            object.object("nothing", |inner| inner.text("x", Some("")));
            object.text("a\"", Some("b\n"));
            object.text("none", None);
            object.integer("n", -1);
            object.flag("f", Some(true));
            object.objects("none", [""], |item, inner| inner.text("x", Some(item)));
            object.objects("some", ["", "1", "", "2"], |item, inner| inner.text("x", Some(item)));
            object.texts("none", []);
            object.texts("texts", ["a", "", "b", "a"]);
            object.json("j", b"1e2");
            object.object("o", |inner| inner.text("x", Some("y")));
        });
        let expected = r#"{"a\"":"b\n","n":-1,"f":true,"some":[{"x":"1"},{"x":"2"}],"texts":["a","b"],"j":1e2,"o":{"x":"y"}}"#;
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }
}
