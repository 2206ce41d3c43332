//! `docs/protocol.md` names every route and every code, as they are.

use keyfold_protocol::error_code::ErrorCode;
use keyfold_protocol::routes::{Access, Method, Route};

const TEXT: &str = include_str!("../../../../docs/protocol.md");

fn method(method: Method) -> &'static str {
    match method {
        Method::Get => "GET",
        Method::Post => "POST",
        Method::Put => "PUT",
        Method::Patch => "PATCH",
        Method::Delete => "DELETE",
    }
}

fn access(access: Access) -> &'static str {
    match access {
        Access::Anyone => "anyone",
        Access::Session => "session",
        Access::Reader => "reader",
        Access::Writer => "writer",
        Access::Owner => "owner",
        Access::Creator => "creator",
        Access::Auditor => "auditor",
        Access::Admin => "admin",
    }
}

/// Method, path and access of every row of the table of routes.
fn documented() -> Vec<String> {
    let rows = TEXT.lines().filter_map(|line| line.strip_prefix("| `"));
    let routes = rows.filter(|row| row.contains(" /") && row.starts_with(char::is_uppercase));
    let routes = routes.map(|row| {
        let (call, rest) = row.split_once("` | ").unwrap();
        let call = call.split_once('?').map_or(call, |(call, _)| call);
        format!("{call} {}", rest.split_once(" | ").unwrap().0)
    });
    routes.collect()
}

#[test]
fn every_route_is_in_the_table_with_its_access_and_no_other_is() {
    let mut documented = documented();
    let mut routes: Vec<String> = Route::ALL
        .iter()
        .map(|route| {
            let spec = route.spec();
            format!(
                "{} {} {}",
                method(spec.method),
                spec.path,
                access(spec.access)
            )
        })
        .collect();
    documented.sort_unstable();
    routes.sort_unstable();
    assert_eq!(documented, routes);
}

#[test]
fn every_code_is_in_the_table_with_its_status() {
    let rows: Vec<&str> = TEXT
        .lines()
        .filter(|line| line.starts_with("| `"))
        .collect();
    for code in ErrorCode::ALL {
        let named = |row: &&&str| {
            let Some((codes, rest)) = row.split_once(" | ") else {
                return false;
            };
            let status = code.status().to_string();
            codes.contains(&format!("`{}`", code.text())) && rest.contains(&status)
        };
        assert!(rows.iter().any(|row| named(&row)), "{code}");
    }
}

/// The errors that a row of the table names as the route's own.
fn documented_errors(route: Route) -> Vec<&'static str> {
    let spec = route.spec();
    let call = format!("| `{} {}", method(spec.method), spec.path);
    let row = TEXT.lines().find(|line| {
        let rest = line.strip_prefix(&call);
        rest.is_some_and(|rest| rest.starts_with(['`', '?']))
    });
    let column = row.unwrap().split(" | ").nth(3).unwrap();
    let mut codes: Vec<_> = column.split('`').skip(1).step_by(2).collect();
    codes.sort_unstable();
    codes
}

#[test]
fn the_table_names_the_errors_of_every_route() {
    for route in Route::ALL.iter().copied() {
        let mut own: Vec<_> = route.own_errors().iter().map(|code| code.text()).collect();
        own.sort_unstable();
        assert_eq!(documented_errors(route), own, "{route:?}");
    }
}
