//! A page is HTML that any parser reads alike: all is closed where it was opened, quoted and escaped.

use std::collections::HashSet;

/// What has no end.
const VOID: [&str; 2] = ["meta", "br"];
/// What may stand in a paragraph.
const IN_PARAGRAPHS: [&str; 9] = ["a", "b", "code", "path", "g", "small", "span", "strong", "svg"];
/// What characters are written as that would be markup.
const ENTITIES: [(&str, &str); 4] = [("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\"")];

#[derive(Debug)]
pub struct Element {
    pub name: String,
    pub attributes: Vec<(String, String)>,
    /// All text in it.
    pub text: String,
}

impl Element {
    pub fn get(&self, attribute: &str) -> Option<&str> {
        self.attributes.iter().find(|(name, _)| name == attribute).map(|(_, value)| value.as_str())
    }
}

/// The elements of a page, in the order of their beginnings.
pub struct Page {
    pub elements: Vec<Element>,
}

impl Page {
    /// Those with an attribute of this value.
    pub fn with<'a>(&'a self, attribute: &str, value: &str) -> impl Iterator<Item = &'a Element> + use<'a> {
        let (attribute, value) = (attribute.to_owned(), value.to_owned());
        self.elements.iter().filter(move |element| element.get(&attribute) == Some(&value))
    }

    #[track_caller]
    pub fn section(&self, id: &str) -> &Element {
        self.with("id", id).next().unwrap_or_else(|| panic!("there is no {id}"))
    }
}

#[track_caller]
pub fn parse(page: &str) -> Page {
    let mut rest = page.strip_prefix("<!DOCTYPE html>").expect("a document type");
    let mut elements: Vec<Element> = vec![];
    // The elements that are open.
    let mut open: Vec<usize> = vec![];
    while !rest.is_empty() {
        if let Some(end) = rest.strip_prefix("</") {
            let (name, after) = end.split_once('>').expect("an end");
            let last = open.pop().map(|at| elements[at].name.as_str());
            assert_eq!(last, Some(name), "what is closed is what was opened");
            rest = after;
        } else if let Some(begin) = rest.strip_prefix('<') {
            let (element, after) = element(begin);
            let parents = open.iter().map(|&at| elements[at].name.as_str());
            if parents.clone().any(|name| name == "p") {
                assert!(IN_PARAGRAPHS.contains(&element.name.as_str()), "{element:?} in a paragraph");
            }
            let raw = ["script", "style"].contains(&element.name.as_str());
            if !VOID.contains(&element.name.as_str()) {
                open.push(elements.len());
            }
            let close = format!("</{}>", element.name);
            elements.push(element);
            rest = after;
            if raw {
                let (text, after) = rest.split_once(&close).expect("its end");
                elements.last_mut().expect("it").text = text.into();
                open.pop();
                rest = after;
            }
        } else {
            let (text, after) = rest.split_at(rest.find('<').unwrap_or(rest.len()));
            let text = unescaped(text);
            open.iter().for_each(|&at| elements[at].text += &text);
            rest = after;
        }
    }
    assert!(open.is_empty(), "{open:?} are not closed");
    let page = Page { elements };
    references(&page);
    page
}

/// An element's name and attributes, and what follows it.
fn element(begin: &str) -> (Element, &str) {
    let (name, mut rest) = begin.split_at(begin.find([' ', '>']).expect("a name's end"));
    let plain = |name: &str| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    assert!(plain(name), "{name:?} is no name");
    let mut attributes: Vec<(String, String)> = vec![];
    loop {
        if let Some(after) = rest.strip_prefix('>') {
            let name = name.to_owned();
            return (Element { name, attributes, text: String::new() }, after);
        }
        let attribute = rest.strip_prefix(' ').unwrap_or_else(|| panic!("{name}: {rest:.40}"));
        let (key, after) = attribute.split_once("=\"").expect("a value between quotation marks");
        let (value, after) = after.split_once('"').expect("the value's end");
        assert!(plain(key) && !attributes.iter().any(|(other, _)| other == key), "{name} {key:?}");
        attributes.push((key.to_owned(), unescaped(value)));
        rest = after;
    }
}

fn unescaped(text: &str) -> String {
    let (mut out, mut rest) = (String::new(), text);
    while let Some(at) = rest.find(['&', '<', '>']) {
        out += &rest[..at];
        let known = ENTITIES.iter().find(|(entity, _)| rest[at..].starts_with(entity));
        let (entity, plain) = known.unwrap_or_else(|| panic!("not escaped: {:.60}", &rest[at..]));
        out += plain;
        rest = &rest[at + entity.len()..];
    }
    out + rest
}

/// Whatever the page refers to is in it.
fn references(page: &Page) {
    let mut ids = HashSet::new();
    for element in &page.elements {
        assert!(
            element.get("id").is_none_or(|id| ids.insert(id)),
            "{element:?} has an id that there is already"
        );
    }
    for element in &page.elements {
        for (name, value) in &element.attributes {
            match name.as_str() {
                "href" => assert!(value.strip_prefix('#').is_some_and(|id| ids.contains(id)), "{value}"),
                "aria-labelledby" => assert!(value.split(' ').all(|id| ids.contains(id)), "{value}"),
                name => assert!(
                    !["src", "srcset", "action", "poster", "style"].contains(&name)
                        && !name.starts_with("on"),
                    "{element:?}"
                ),
            }
        }
        let asks =
            ["link", "img", "iframe", "object", "embed", "base", "form", "video", "audio", "use", "image"];
        assert!(!asks.contains(&element.name.as_str()), "{element:?}");
        if ["style", "script"].contains(&element.name.as_str()) {
            for word in ["http", "url(", "@import", "import(", "fetch", "XMLHttpRequest", "innerHTML", "eval"]
            {
                assert!(!element.text.contains(word), "{} says {word}", element.name);
            }
        }
    }
}
