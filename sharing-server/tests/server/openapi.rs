//! The description of the routes says what the routes are.

use std::collections::BTreeSet;

use keyfold_protocol::routes::{Access, Content, Method, Route};
use serde_json::Value;

use crate::bodies::Scene;
use crate::world::World;

fn described(world: &World) -> Value {
    let answer = world.anonymous().get(Route::OpenApi, "/v1/openapi.json");
    assert!(
        answer
            .head
            .to_ascii_lowercase()
            .contains("content-type: application/json")
    );
    answer.json()
}

fn method(route: Route) -> &'static str {
    match route.spec().method {
        Method::Get => "get",
        Method::Post => "post",
        Method::Put => "put",
        Method::Patch => "patch",
        Method::Delete => "delete",
    }
}

fn operation(document: &Value, route: Route) -> &Value {
    &document["paths"][route.spec().path][method(route)]
}

/// What a reference in the document leads to.
fn resolved<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    let Some(place) = schema["$ref"].as_str() else {
        return schema;
    };
    let found = document.pointer(place.strip_prefix('#').unwrap());
    found.unwrap_or_else(|| panic!("{place} is nowhere"))
}

#[test]
fn every_route_of_the_table_is_described_and_no_other_is() {
    let document = described(&World::new());
    let table: BTreeSet<_> = Route::ALL
        .iter()
        .map(|route| (route.spec().path.to_owned(), method(*route).to_owned()))
        .collect();
    let paths = document["paths"].as_object().unwrap();
    let described: BTreeSet<_> = paths
        .iter()
        .flat_map(|(path, item)| {
            let methods = item.as_object().unwrap().keys();
            methods.map(|method| (path.clone(), method.clone()))
        })
        .collect();
    assert_eq!(described, table);
    for route in Route::ALL.iter().copied() {
        let operation = operation(&document, route);
        assert_eq!(operation["operationId"], route.name());
        assert!(
            !operation["summary"].as_str().unwrap().is_empty(),
            "{route:?}"
        );
        let open = operation["security"].is_null();
        assert_eq!(open, route.spec().access == Access::Anyone, "{route:?}");
        let takes = !operation["requestBody"].is_null();
        assert_eq!(takes, route.spec().request != Content::Nothing, "{route:?}");
    }
}

#[test]
fn every_error_of_a_route_is_described_with_its_status() {
    let document = described(&World::new());
    for route in Route::ALL.iter().copied() {
        let responses = operation(&document, route)["responses"]
            .as_object()
            .unwrap();
        let errors = responses
            .iter()
            .filter(|(status, _)| !status.starts_with('2'));
        let described: BTreeSet<(u16, String)> = errors
            .flat_map(|(status, response)| {
                let codes = response["description"].as_str().unwrap().split(", ");
                codes.map(|code| (status.parse().unwrap(), code.to_owned()))
            })
            .collect();
        let errors = route.errors();
        let errors = errors
            .iter()
            .map(|code| (code.status(), code.text().to_owned()));
        assert_eq!(described, errors.collect(), "{route:?}");
    }
}

#[test]
fn every_reference_leads_somewhere() {
    fn walk<'a>(document: &'a Value, at: &'a Value, count: &mut usize) {
        if at["$ref"].is_string() {
            resolved(document, at);
            *count += 1;
        }
        match at {
            Value::Array(all) => all.iter().for_each(|next| walk(document, next, count)),
            Value::Object(all) => all.values().for_each(|next| walk(document, next, count)),
            _ => {}
        }
    }
    let document = described(&World::new());
    let mut count = 0;
    walk(&document, &document, &mut count);
    assert!(count > 100, "{count}");
}

/// Whether a value is what a schema says: kinds, fields, and no others.
fn fits(document: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    let schema = resolved(document, schema);
    let choices = ["oneOf", "anyOf"]
        .iter()
        .find_map(|key| schema[key].as_array());
    if let Some(choices) = choices {
        let any = choices
            .iter()
            .any(|choice| fits(document, choice, value).is_ok());
        return if any {
            Ok(())
        } else {
            Err(format!("{value} is none of {choices:?}"))
        };
    }
    let kinds = match &schema["type"] {
        Value::String(kind) => vec![kind.as_str()],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => return Err(format!("{schema} has no type")),
    };
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    if !kinds.contains(&kind) {
        return Err(format!("{value} is {kind} and not {kinds:?}"));
    }
    if let Value::Array(items) = value {
        return items
            .iter()
            .try_for_each(|item| fits(document, &schema["items"], item));
    }
    let Value::Object(fields) = value else {
        return Ok(());
    };
    for required in schema["required"].as_array().into_iter().flatten() {
        let name = required.as_str().unwrap();
        if !fields.contains_key(name) {
            return Err(format!("{name} is missing"));
        }
    }
    fields.iter().try_for_each(|(name, value)| {
        let property = &schema["properties"][name];
        if property.is_null() {
            return Err(format!("{name} is not described"));
        }
        fits(document, property, value).map_err(|why| format!("{name}: {why}"))
    })
}

#[test]
fn what_is_sent_and_answered_in_json_is_what_is_described() {
    let scene = Scene::new();
    let answer = scene.client.get(Route::OpenApi, "/v1/openapi.json");
    let document: Value = answer.json();
    let mut answered = 0;
    for route in Route::ALL.iter().copied() {
        let operation = operation(&document, route);
        let body = scene.body(route);
        if route.spec().request == Content::Json {
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
            let sent: Value = serde_json::from_slice(body.as_ref().unwrap()).unwrap();
            fits(&document, schema, &sent).unwrap_or_else(|why| panic!("{route:?}: {why}"));
        }
        if route.spec().method != Method::Get || route.spec().reply != Content::Json {
            continue;
        }
        let answer = scene.client.get(route, &scene.path(route));
        if answer.status != 200 || route == Route::OpenApi {
            continue;
        }
        let schema = &operation["responses"]["200"]["content"]["application/json"]["schema"];
        let got: Value = answer.json();
        fits(&document, schema, &got).unwrap_or_else(|why| panic!("{route:?}: {why}"));
        answered += 1;
    }
    assert!(answered > 10, "{answered}");
    let wrong = serde_json::json!({"user": 7});
    let schema = serde_json::json!({"$ref": "#/components/schemas/LoginParameters"});
    assert!(fits(&document, &schema, &wrong).is_err(), "everything fits");
}
