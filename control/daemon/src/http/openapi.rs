//! The route table that documents itself: each path is entered once, with its handler, and both
//! the router and the OpenAPI 3.1 document come from that entry. What a handler takes and answers
//! is read off its signature, so that the document cannot say anything else than the code does.
//!
//! [OpenAPI 3.1](https://spec.openapis.org/oas/v3.1.1.html) describes bodies by JSON Schema
//! 2020-12, which `schemars` derives from the types.

use axum::body::Bytes;
use axum::extract::State;
use axum::handler::Handler;
use axum::http::Method;
use axum::routing::{MethodFilter, on};
use axum::{Json, Router};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};
use sluice_control_api::{Failure, RouteOperation, WatchEvent};

use super::capture::Packets;
use super::extract::{Author, Body, Operations, Params};
use super::watch::Lines;
use crate::app::App;
use crate::error::ControlError;

/// Paths and what they mean, as they are collected.
pub(super) struct Api {
    router: Router<App>,
    paths: Map<String, Value>,
    schemas: SchemaGenerator,
}

impl Api {
    pub(super) fn new() -> Api {
        let settings = SchemaSettings::draft2020_12()
            .with(|settings| settings.definitions_path = "/components/schemas".into());
        Api { router: Router::new(), paths: Map::new(), schemas: settings.into_generator() }
    }

    /// `GET path`.
    pub(super) fn get<K: 'static, I>(
        self,
        path: &str,
        summary: &str,
        handler: impl Handler<K, App> + Endpoint<I>,
    ) -> Self {
        self.enter(Method::GET, path, summary, handler)
    }

    /// `POST path`.
    pub(super) fn post<K: 'static, I>(
        self,
        path: &str,
        summary: &str,
        handler: impl Handler<K, App> + Endpoint<I>,
    ) -> Self {
        self.enter(Method::POST, path, summary, handler)
    }

    /// `DELETE path`.
    pub(super) fn delete<K: 'static, I>(
        self,
        path: &str,
        summary: &str,
        handler: impl Handler<K, App> + Endpoint<I>,
    ) -> Self {
        self.enter(Method::DELETE, path, summary, handler)
    }

    fn enter<K: 'static, I, H: Handler<K, App> + Endpoint<I>>(
        mut self,
        method: Method,
        path: &str,
        summary: &str,
        handler: H,
    ) -> Self {
        let mut operation = Operation::new(&method, path, summary);
        H::describe(&mut operation, &mut self.schemas);
        let entry = self.paths.entry(path).or_insert_with(|| json!({}));
        entry[method.as_str().to_ascii_lowercase()] = operation.into_value();
        let filter = MethodFilter::try_from(method).expect("one of the methods above");
        self.router = self.router.route(path, on(filter, handler));
        self
    }

    /// The routes; everything else is the caller's to answer.
    pub(super) fn into_router(self) -> Router<App> {
        self.router
    }

    /// The document.
    pub(super) fn into_document(mut self) -> Value {
        json!({
            "openapi": "3.1.1",
            "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
            "info": {
                "title": "Sluice",
                "version": env!("CARGO_PKG_VERSION"),
                "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
                "description": "The control process of a Sluice appliance, at the Unix socket \
                    `control.sock` in the appliance's directory.",
            },
            "servers": [{ "url": "http://sluice", "description": "The Unix socket; any host does." }],
            "paths": self.paths,
            "components": { "schemas": self.schemas.take_definitions(true) },
        })
    }
}

/// One operation of a path.
pub(super) struct Operation(Map<String, Value>);

impl Operation {
    fn new(method: &Method, path: &str, summary: &str) -> Operation {
        let words = path.trim_start_matches("/v1").split(['/', '.', '-', '_']);
        let id: String = words.map(capitalised).collect();
        let id = format!("{}{id}", method.as_str().to_ascii_lowercase());
        let Value::Object(fields) = json!({ "operationId": id, "summary": summary }) else {
            unreachable!("an object was written down")
        };
        Operation(fields)
    }

    fn accept(&mut self, content_type: &str, schema: Value) {
        let content = json!({ content_type: { "schema": schema } });
        self.0.insert("requestBody".into(), json!({ "required": true, "content": content }));
    }

    fn answer(&mut self, code: &str, description: &str, content_type: &str, schema: Value) {
        let responses = self.0.entry("responses").or_insert_with(|| json!({}));
        let content = json!({ content_type: { "schema": schema } });
        responses[code] = json!({ "description": description, "content": content });
    }

    fn into_value(self) -> Value {
        Value::Object(self.0)
    }
}

fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    letters
        .next()
        .map_or_else(String::new, |first| first.to_ascii_uppercase().to_string() + letters.as_str())
}

/// A handler, whose arguments are `I`.
pub(super) trait Endpoint<I> {
    /// Writes down what it takes and what it answers.
    fn describe(operation: &mut Operation, schemas: &mut SchemaGenerator);
}

/// An argument of a handler.
pub(super) trait Input {
    /// Writes down what of the request it reads.
    fn describe(operation: &mut Operation, schemas: &mut SchemaGenerator);
}

/// What a handler answers.
pub(super) trait Output {
    /// Writes it down.
    fn describe(operation: &mut Operation, schemas: &mut SchemaGenerator);
}

macro_rules! endpoints {
    ($(($($input:ident),*))*) => {$(
        impl<F, A, O, $($input),*> Endpoint<($($input,)*)> for F
        where
            F: Fn($($input),*) -> A,
            A: Future<Output = O>,
            O: Output,
            $($input: Input,)*
        {
            fn describe(operation: &mut Operation, schemas: &mut SchemaGenerator) {
                $($input::describe(operation, schemas);)*
                O::describe(operation, schemas);
            }
        }
    )*};
}

endpoints! { () (I1) (I1, I2) (I1, I2, I3) (I1, I2, I3, I4) }

impl Input for State<App> {
    fn describe(_: &mut Operation, _: &mut SchemaGenerator) {}
}

/// The user at the other end of the socket.
impl Input for Author {
    fn describe(_: &mut Operation, _: &mut SchemaGenerator) {}
}

impl<T: JsonSchema> Input for Params<T> {
    fn describe(operation: &mut Operation, schemas: &mut SchemaGenerator) {
        let schema = T::json_schema(schemas);
        let required = |name: &str| {
            let names = schema.get("required").and_then(Value::as_array);
            names.is_some_and(|names| names.iter().any(|known| known == name))
        };
        let properties = schema.get("properties").and_then(Value::as_object);
        let parameters = properties.into_iter().flatten().map(|(name, schema)| {
            let mut schema = schema.clone();
            let description =
                schema.as_object_mut().and_then(|fields| fields.remove("description"));
            json!({
                "name": name,
                "in": "query",
                "required": required(name),
                "description": description.unwrap_or_else(|| "".into()),
                "schema": schema,
            })
        });
        let parameters = parameters.collect();
        operation.0.insert("parameters".into(), parameters);
    }
}

impl<T: JsonSchema> Input for Body<T> {
    fn describe(operation: &mut Operation, schemas: &mut SchemaGenerator) {
        operation.accept("application/json", schemas.subschema_for::<T>().into());
    }
}

/// A configuration file.
impl Input for Bytes {
    fn describe(operation: &mut Operation, _: &mut SchemaGenerator) {
        let schema = json!({ "type": "string", "description": "A configuration file." });
        operation.accept("application/yaml", schema);
    }
}

/// One operation a line.
impl Input for Operations {
    fn describe(operation: &mut Operation, schemas: &mut SchemaGenerator) {
        let schema = schemas.subschema_for::<RouteOperation>();
        operation.accept("application/x-ndjson", schema.into());
    }
}

impl<T: JsonSchema> Output for Json<T> {
    fn describe(operation: &mut Operation, schemas: &mut SchemaGenerator) {
        let schema = schemas.subschema_for::<T>();
        operation.answer("200", "It is done.", "application/json", schema.into());
    }
}

/// One event a line.
impl Output for Lines {
    fn describe(operation: &mut Operation, schemas: &mut SchemaGenerator) {
        let schema = schemas.subschema_for::<WatchEvent>();
        operation.answer("200", "One a line.", Lines::CONTENT_TYPE, schema.into());
    }
}

/// A file.
impl Output for Packets {
    fn describe(operation: &mut Operation, _: &mut SchemaGenerator) {
        let schema = json!({ "type": "string", "format": "binary" });
        operation.answer("200", "As packets pass.", Packets::CONTENT_TYPE, schema);
    }
}

impl<T: Output> Output for Result<T, ControlError> {
    fn describe(operation: &mut Operation, schemas: &mut SchemaGenerator) {
        T::describe(operation, schemas);
        let schema = schemas.subschema_for::<Failure>();
        operation.answer("default", "It failed.", "application/json", schema.into());
    }
}
