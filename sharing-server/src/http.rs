//! HTTP: one way in for every route, which asks for access before anything else.
//!
//! Routes come from the table of the protocol, so that what is not in the table does not exist and
//! what is in it has the access, the content type and the limit that the table says.

mod accounts;
mod blobs;
mod call;
mod events;
mod openapi;
mod reply;
mod shares;

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, FromRequestParts, RawPathParams, Request, State};
use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter};
use keyfold_protocol::error_code::ErrorCode;
use keyfold_protocol::roster::Role;
use keyfold_protocol::routes::{Access, Content, Method, Route, Spec};
use keyfold_protocol::wire::Standing;

use crate::app::App;
use crate::service::access::{self, Caller};
use crate::service::audit::{self, Act, Alert};
use crate::service::login::Origin;
use crate::service::{Failure, Outcome, Work, require};
use call::{Call, Params};
use reply::Reply;

/// All routes of the table.
pub(crate) fn router(app: App) -> Router {
    let mut paths: BTreeMap<&str, MethodRouter<App>> = BTreeMap::new();
    for route in Route::ALL.iter().copied() {
        let filter = match route.spec().method {
            Method::Get => MethodFilter::GET,
            Method::Post => MethodFilter::POST,
            Method::Put => MethodFilter::PUT,
            Method::Patch => MethodFilter::PATCH,
            Method::Delete => MethodFilter::DELETE,
        };
        let serve = move |State(app): State<App>, request: Request| serve(app, route, request);
        let so_far = paths.remove(route.spec().path).unwrap_or_default();
        paths.insert(route.spec().path, so_far.on(filter, serve));
    }
    let refuse = |code: ErrorCode| move || async move { reply::refusal(&code.into()) };
    let routes = paths
        .into_iter()
        .fold(Router::new(), |router, (path, methods)| {
            router.route(path, methods.fallback(refuse(ErrorCode::MethodNotAllowed)))
        });
    routes.fallback(refuse(ErrorCode::NotFound)).with_state(app)
}

async fn serve(app: App, route: Route, request: Request) -> Response {
    let began = Instant::now();
    let (mut parts, body) = request.into_parts();
    let response = match answer(&app, route, &mut parts, body).await {
        Ok(reply) => reply.into_response(),
        Err(failure) => {
            if let Failure::Internal(why) = &failure {
                tracing::error!(route = route.name(), why, "a request failed");
            }
            reply::refusal(&failure)
        }
    };
    let (status, micros) = (
        response.status().as_u16(),
        began.elapsed().as_micros() as u64,
    );
    app.metrics.count(route, status, began.elapsed());
    tracing::info!(route = route.name(), status, micros, "answered");
    response
}

async fn answer(app: &App, route: Route, parts: &mut Parts, body: Body) -> Outcome<Reply> {
    let spec = route.spec();
    let origin = origin(parts);
    app.admit(&origin.0)?;
    let params = RawPathParams::from_request_parts(parts, &()).await;
    let params = Params::new(&params.map_err(|_| Failure::from(ErrorCode::NotFound))?);
    let caller = authorize(app, spec, &parts.headers, &params).await?;
    check_body(spec, &parts.headers)?;
    let mut call = Call {
        caller,
        origin,
        params,
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers: parts.headers.clone(),
        body: bytes::Bytes::new(),
    };
    if route == Route::PutBlob {
        return blobs::put(app, call, body).await;
    }
    call.body = call::collect(body, spec.limit, app.silence).await?;
    let user = call
        .caller
        .as_ref()
        .map(|caller| caller.account.name.clone());
    let result = dispatch(app, route, call).await;
    let forged = |failure: &Failure| matches!(failure, Failure::Refused(reply) if reply.code == ErrorCode::BadSignature);
    if result.as_ref().is_err_and(forged) {
        let name = route.name();
        let note = move |work: &Work<'_>| {
            work.alert(Alert::BadSignature);
            audit::note(work, Act::BadSignature, user.as_ref(), name)
        };
        app.write(note).await?;
    }
    result
}

/// Where a request comes from.
fn origin(parts: &Parts) -> Origin {
    let info = parts.extensions.get::<ConnectInfo<SocketAddr>>();
    info.map_or(Origin(Vec::new()), |ConnectInfo(address)| {
        Origin::of(address.ip())
    })
}

fn token(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    let bearer = scheme.eq_ignore_ascii_case("bearer") && token.len() <= 64;
    bearer.then(|| token.to_owned())
}

/// Who calls, if he may call this route at all.
async fn authorize(
    app: &App,
    spec: Spec,
    headers: &HeaderMap,
    params: &Params,
) -> Outcome<Option<Caller>> {
    if spec.access == Access::Anyone {
        return Ok(None);
    }
    let token = token(headers).ok_or(ErrorCode::Unauthenticated)?;
    let params = params.clone();
    let check = move |work: &Work<'_>| {
        let caller = access::caller(work, &token)?;
        let root = caller.root();
        let member = |least| {
            let share = params.share()?;
            access::member(work, &root, &share, least).map(|_| ())
        };
        match spec.access {
            Access::Anyone | Access::Session => {}
            Access::Reader => member(Role::Reader)?,
            Access::Writer => member(Role::Writer)?,
            Access::Owner => member(Role::Owner)?,
            Access::Creator => access::creator(work, &root, &params.share()?).map(|_| ())?,
            Access::Auditor => access::standing(&caller, Standing::Auditor)?,
            Access::Admin => access::standing(&caller, Standing::Admin)?,
        }
        Ok((access::is_stale(&caller, work.now), caller))
    };
    let (stale, caller) = app.read(check).await?;
    if stale {
        let caller = caller.clone();
        app.write(move |work| access::touch(work, &caller)).await?;
    }
    Ok(Some(caller))
}

/// Refuses a body that the route does not take before any of it is read.
fn check_body(spec: Spec, headers: &HeaderMap) -> Outcome<()> {
    let length = headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok());
    let length: u64 = length.and_then(|text| text.parse().ok()).unwrap_or(0);
    require(length <= spec.limit as u64, ErrorCode::TooLarge)?;
    let wanted = match spec.request {
        Content::Json => "application/json",
        Content::Cbor => "application/cbor",
        Content::Bytes => "application/octet-stream",
        Content::Nothing | Content::Events | Content::Text => return Ok(()),
    };
    let given = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let given = given.map(|text| text.split(';').next().unwrap_or_default().trim());
    let right = given.is_some_and(|given| given.eq_ignore_ascii_case(wanted));
    require(right, ErrorCode::WrongContentType)
}

/// To who answers it. Every route has its place here.
async fn dispatch(app: &App, route: Route, call: Call) -> Outcome<Reply> {
    match route {
        Route::Health => Ok(Reply::Text("ok\n".into())),
        Route::Ready => app.ready().await.map(|()| Reply::Text("ready\n".into())),
        Route::Metrics => Ok(Reply::Text(app.figures())),
        Route::ServerInfo => Reply::json(&app.info()),
        Route::OpenApi => Ok(Reply::Json(openapi::document().into())),
        Route::Events => events::stream(app, call).await,
        Route::Blob => blobs::get(app, call).await,
        Route::AdoptBlobs => blobs::adopt(app, call).await,
        Route::Register
        | Route::VerifyEmail
        | Route::ResendVerification
        | Route::LoginParameters
        | Route::Login
        | Route::RecoveryLogin => in_transaction(app, route, call, accounts::anyone).await,
        Route::Logout
        | Route::Account
        | Route::SetPassword
        | Route::AppendChain
        | Route::Book
        | Route::PutBook
        | Route::Pin
        | Route::PutPin
        | Route::Devices
        | Route::RemoveDevice
        | Route::DeleteAccount
        | Route::Chain
        | Route::FindUser
        | Route::Invite
        | Route::SecondFactor
        | Route::BeginSecondFactor
        | Route::ConfirmSecondFactor
        | Route::EndSecondFactor
        | Route::AdminUsers
        | Route::AdminSetUser
        | Route::AdminFigures
        | Route::AdminAudit => in_transaction(app, route, call, accounts::user).await,
        Route::Publications
        | Route::FindPublication
        | Route::Request
        | Route::Requests
        | Route::Decide
        | Route::Shares
        | Route::CreateShare => in_transaction(app, route, call, shares::user).await,
        _ => in_transaction(app, route, call, shares::member).await,
    }
}

/// Runs a rule in a transaction, and sends the mail that came of it.
fn in_transaction(
    app: &App,
    route: Route,
    call: Call,
    rule: fn(&Work<'_>, Route, &Call) -> Outcome<Reply>,
) -> impl Future<Output = Outcome<Reply>> + '_ {
    let work = move |work: &Work<'_>| rule(work, route, &call);
    async move {
        let reply = if route.spec().method == Method::Get {
            app.read(work).await?
        } else {
            app.write(work).await?
        };
        match reply {
            Reply::Refused(failure) => Err(failure),
            Reply::Mailed(reply, letter) => {
                if let Some(letter) = letter {
                    app.mail.send(letter);
                }
                Ok(*reply)
            }
            reply => Ok(reply),
        }
    }
}
