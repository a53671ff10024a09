//! From the document to the desired state: hooks.

use super::document::{HookDocument, OrderDocument, OrderFields};
use super::kinds::End;
use super::node::{At, Kind};
use super::reader::{Reader, Site, key_of};
use crate::hook::{DEFAULT_PROTOCOLS, is_file};
use crate::model::{LoadedHook, Name, Owner, State};
use crate::order::Hint;
use crate::policy::{Mistake, Thing};

/// Converts a hook.
pub(super) fn convert(
    name: &At<String>,
    document: &HookDocument,
    state: &mut State,
    reader: &mut Reader,
) {
    let path = format!("hooks.{}", name.value);
    let shared: Name = name.value.as_str().into();
    let before = reader.mistakes();
    let program = match (&document.program, &document.file) {
        (_, None) => {
            let program: Option<Name> =
                reader.required(&path, "program", &document.program, name.place);
            if let (Some(given), Some(file)) = (&document.program, &program)
                && is_file(file)
            {
                let message =
                    format!("{}: a file is given as `file`", Mistake::BadName(file.clone()));
                reader.add(given.place, key_of(&path, "program"), message);
                None
            } else {
                program
            }
        }
        (None, file) => reader.one(&path, "file", file),
        (Some(_), Some(file)) => {
            reader.add(
                file.place,
                key_of(&path, "file"),
                "give exactly one of `program` and `file`",
            );
            None
        }
    };
    let event = reader.one(&path, "event", &document.event);
    let hint = document.order.as_ref().map_or(Hint::None, |order| hint(&path, order, reader));
    let protocols = match &document.protocols {
        Some(_) => reader.many(&path, "protocols", &document.protocols),
        None => DEFAULT_PROTOCOLS.to_vec(),
    };
    let instance = reader.one(&path, "instance", &document.instance);
    let settings = document.settings.iter().flat_map(|settings| &settings.value.0);
    let settings =
        settings.map(|(key, value)| (key.value.as_str().into(), value.value.text.clone()));
    let settings = settings.collect();

    let site = Site::new(path, name.place)
        .garbled(reader.mistakes() > before)
        .one("program", &document.program)
        .one("file", &document.file)
        .one("event", &document.event)
        .one("order", &document.order)
        .one("instance", &document.instance)
        .many("protocols", &document.protocols)
        .one("settings", &document.settings);
    reader.site(Thing::Hook(shared.clone()), site);
    // What cannot be placed has been complained about; the rest need not be.
    let Some(program) = program else { return };
    if event.is_none() && document.event.is_some() {
        return;
    }
    let position = reader.position(name.place);
    let owner = Owner::Static;
    let generation = 0;
    let hook = LoadedHook {
        owner,
        program,
        digest: None,
        instance,
        protocols,
        event,
        hint,
        settings,
        generation,
        position,
    };
    state.hooks.insert(shared, hook);
}

fn hint(path: &str, order: &At<OrderDocument>, reader: &mut Reader) -> Hint {
    let key = key_of(path, "order");
    match &order.value {
        OrderDocument::End(end) => End::parse(&end.text).unwrap_or_else(|message| {
            reader.add(order.place, key, message);
            Hint::None
        }),
        OrderDocument::Against(OrderFields { before, after }) => {
            let (before, after) =
                (reader.one(&key, "before", before), reader.one(&key, "after", after));
            match (before, after) {
                (Some(other), None) => Hint::Before(other),
                (None, Some(other)) => Hint::After(other),
                _ => {
                    reader.add(order.place, key, "give exactly one of `before` and `after`");
                    Hint::None
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
