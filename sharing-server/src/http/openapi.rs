//! The routes described for programs, as `OpenAPI`, from the table of routes and the wire types.
//!
//! What a route is called, takes and answers comes from the table; only which type its JSON is stands
//! here, where a route that is added has to be given its place.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use keyfold_protocol::error_code::{ErrorCode, ErrorReply};
use keyfold_protocol::routes::{Access, Content, Method, Route};
use keyfold_protocol::wire::{
    AccountReply, AddressQuery, AdminFiguresReply, AdminSetUser, AdminUsersReply, AdoptBlobs,
    AppendChain, AppendReply, AuditReply, BeginSecondFactor, BlobList, BlobStateReply, BookReply,
    ChainReply, ConfirmSecondFactor, DevicesReply, DroppedReply, EndSecondFactor, Find, FoundReply,
    Invite, KdfParameters, Login, LoginParameters, LoginReply, NewSecondFactor, PinReply,
    PublicationReply, PublicationsReply, PublishReply, PutBook, PutPin, RecordReply, RecoveryCodes,
    RecoveryLogin, Register, RegisterReply, RequestReply, RequestsReply, SecondFactorReply,
    ServerInfoReply, SetPassword, ShareItem, SharesReply, VerifyEmail,
};
use utoipa::ToSchema;
use utoipa::openapi::path::{
    Operation, OperationBuilder, Parameter, ParameterBuilder, ParameterIn,
};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{Schema, SchemaType, Type};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    ComponentsBuilder, Content as Media, HttpMethod, InfoBuilder, ObjectBuilder, OpenApiBuilder,
    Paths, Ref, RefOr, Required, ResponseBuilder,
};

/// The name under which sessions are described.
const SESSION: &str = "session";

/// The description, as it is sent.
pub(super) fn document() -> &'static str {
    static DOCUMENT: LazyLock<String> = LazyLock::new(|| build().unwrap_or_default());
    &DOCUMENT
}

fn build() -> Result<String, serde_json::Error> {
    let mut schemas = Schemas::default();
    let mut paths = Paths::new();
    for route in Route::ALL.iter().copied() {
        let method = vec![method(route.spec().method)];
        let operation = operation(route, &mut schemas);
        paths.add_path_operation(route.spec().path, method, operation);
    }
    let bearer = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    let components = ComponentsBuilder::new()
        .schemas_from_iter(schemas.0)
        .security_scheme(SESSION, bearer)
        .build();
    let info = InfoBuilder::new()
        .title("Keyfold sharing server")
        .version("1")
        .description(Some("The routes of the sharing protocol, version 1."));
    OpenApiBuilder::new()
        .info(info)
        .paths(paths)
        .components(Some(components))
        .build()
        .to_json()
}

/// Schemas that are named, each once.
#[derive(Default)]
struct Schemas(BTreeMap<String, RefOr<Schema>>);

impl Schemas {
    /// Names a type and all that it consists of.
    fn name<T: ToSchema>(&mut self) -> RefOr<Schema> {
        let mut within = Vec::new();
        T::schemas(&mut within);
        self.0.extend(within);
        self.0.insert(T::name().into_owned(), T::schema());
        Ref::from_schema_name(T::name()).into()
    }
}

fn method(method: Method) -> HttpMethod {
    match method {
        Method::Get => HttpMethod::Get,
        Method::Post => HttpMethod::Post,
        Method::Put => HttpMethod::Put,
        Method::Patch => HttpMethod::Patch,
        Method::Delete => HttpMethod::Delete,
    }
}

fn operation(route: Route, schemas: &mut Schemas) -> Operation {
    let spec = route.spec();
    let mut operation = OperationBuilder::new()
        .operation_id(Some(route.name()))
        .summary(Some(route.summary()))
        .parameters(Some(parameters(route)));
    if spec.access != Access::Anyone {
        let required: [&str; 0] = [];
        operation = operation.security(SecurityRequirement::new(SESSION, required));
    }
    if let Some(content) = media(spec.request) {
        let schema = request(route, schemas).or_else(|| Some(bytes()));
        let body = RequestBodyBuilder::new()
            .content(content, Media::new(schema))
            .required(Some(Required::True));
        operation = operation.request_body(Some(body.build()));
    }
    let (status, done) = match media(spec.reply) {
        Some(content) => {
            let schema = reply(route, schemas).unwrap_or_else(|| text(spec.reply));
            let response = ResponseBuilder::new().description("Done.");
            ("200", response.content(content, Media::new(Some(schema))))
        }
        None => ("204", ResponseBuilder::new().description("Done.")),
    };
    operation = operation.response(status, done.build());
    for (status, codes) in by_status(route) {
        let error = schemas.name::<ErrorReply>();
        let response = ResponseBuilder::new()
            .description(codes.join(", "))
            .content("application/json", Media::new(Some(error)));
        operation = operation.response(status.to_string(), response.build());
    }
    operation.build()
}

/// Texts of the codes that a route answers, by status.
fn by_status(route: Route) -> BTreeMap<u16, Vec<&'static str>> {
    let mut found: BTreeMap<u16, Vec<&str>> = BTreeMap::new();
    for code in route.errors() {
        found
            .entry(ErrorCode::status(code))
            .or_default()
            .push(code.text());
    }
    found
}

fn media(content: Content) -> Option<&'static str> {
    match content {
        Content::Nothing => None,
        Content::Json => Some("application/json"),
        Content::Cbor => Some("application/cbor"),
        Content::Bytes => Some("application/octet-stream"),
        Content::Events => Some("text/event-stream"),
        Content::Text => Some("text/plain"),
    }
}

fn of(kind: Type) -> RefOr<Schema> {
    let schema = ObjectBuilder::new().schema_type(SchemaType::new(kind));
    RefOr::T(Schema::Object(schema.build()))
}

/// Bytes that `docs/protocol.md` describes.
fn bytes() -> RefOr<Schema> {
    let schema = ObjectBuilder::new().schema_type(SchemaType::AnyValue);
    RefOr::T(Schema::Object(schema.build()))
}

fn text(content: Content) -> RefOr<Schema> {
    match content {
        Content::Events | Content::Text => of(Type::String),
        Content::Nothing | Content::Json | Content::Cbor | Content::Bytes => bytes(),
    }
}

fn parameters(route: Route) -> Vec<Parameter> {
    let path = route.spec().path.split('/');
    let named = path.filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let in_path = named.map(|name| {
        let parameter = ParameterBuilder::new()
            .name(name)
            .parameter_in(ParameterIn::Path);
        parameter
            .required(Required::True)
            .schema(Some(of(Type::String)))
            .build()
    });
    let in_query = queries(route).iter().map(|(name, required)| {
        let parameter = ParameterBuilder::new()
            .name(*name)
            .parameter_in(ParameterIn::Query);
        parameter
            .required(required.clone())
            .schema(Some(of(Type::Integer)))
            .build()
    });
    in_path.chain(in_query).collect()
}

/// Numbers in a route's query.
fn queries(route: Route) -> &'static [(&'static str, Required)] {
    match route {
        Route::Pull => &[
            ("from", Required::True),
            ("limit", Required::False),
            ("bodies_from", Required::False),
        ],
        Route::PutBlob => &[("offset", Required::True), ("size", Required::True)],
        Route::AdminAudit => &[("from", Required::False)],
        _ => &[],
    }
}

/// The type of what is sent in JSON.
fn request(route: Route, schemas: &mut Schemas) -> Option<RefOr<Schema>> {
    Some(match route {
        Route::Register => schemas.name::<Register>(),
        Route::VerifyEmail => schemas.name::<VerifyEmail>(),
        Route::ResendVerification => schemas.name::<AddressQuery>(),
        Route::LoginParameters => schemas.name::<LoginParameters>(),
        Route::Login => schemas.name::<Login>(),
        Route::RecoveryLogin => schemas.name::<RecoveryLogin>(),
        Route::SetPassword => schemas.name::<SetPassword>(),
        Route::AppendChain => schemas.name::<AppendChain>(),
        Route::BeginSecondFactor => schemas.name::<BeginSecondFactor>(),
        Route::ConfirmSecondFactor => schemas.name::<ConfirmSecondFactor>(),
        Route::EndSecondFactor => schemas.name::<EndSecondFactor>(),
        Route::PutBook => schemas.name::<PutBook>(),
        Route::PutPin => schemas.name::<PutPin>(),
        Route::FindUser => schemas.name::<Find>(),
        Route::Invite => schemas.name::<Invite>(),
        Route::MissingBlobs | Route::ReviveBlobs => schemas.name::<BlobList>(),
        Route::AdoptBlobs => schemas.name::<AdoptBlobs>(),
        Route::AdminSetUser => schemas.name::<AdminSetUser>(),
        _ => return None,
    })
}

/// The type of what comes back in JSON.
fn reply(route: Route, schemas: &mut Schemas) -> Option<RefOr<Schema>> {
    Some(match route {
        Route::ServerInfo => schemas.name::<ServerInfoReply>(),
        Route::Register => schemas.name::<RegisterReply>(),
        Route::LoginParameters => schemas.name::<KdfParameters>(),
        Route::Login | Route::RecoveryLogin => schemas.name::<LoginReply>(),
        Route::Account => schemas.name::<AccountReply>(),
        Route::Book => schemas.name::<BookReply>(),
        Route::Pin => schemas.name::<PinReply>(),
        Route::SecondFactor => schemas.name::<SecondFactorReply>(),
        Route::BeginSecondFactor => schemas.name::<NewSecondFactor>(),
        Route::ConfirmSecondFactor => schemas.name::<RecoveryCodes>(),
        Route::Devices => schemas.name::<DevicesReply>(),
        Route::Chain => schemas.name::<ChainReply>(),
        Route::FindUser => schemas.name::<FoundReply>(),
        Route::Shares => schemas.name::<SharesReply>(),
        Route::CreateShare | Route::Share => schemas.name::<ShareItem>(),
        Route::Append | Route::Restore => schemas.name::<AppendReply>(),
        Route::FindRecord => schemas.name::<RecordReply>(),
        Route::PutBlob | Route::BlobState => schemas.name::<BlobStateReply>(),
        Route::MissingBlobs | Route::AdoptBlobs | Route::ReviveBlobs | Route::PurgeBlobs => {
            schemas.name::<BlobList>()
        }
        Route::DroppedBlobs => schemas.name::<DroppedReply>(),
        Route::Publish => schemas.name::<PublishReply>(),
        Route::Publications => schemas.name::<PublicationsReply>(),
        Route::FindPublication => schemas.name::<PublicationReply>(),
        Route::Request => schemas.name::<RequestReply>(),
        Route::Requests => schemas.name::<RequestsReply>(),
        Route::AdminUsers => schemas.name::<AdminUsersReply>(),
        Route::AdminFigures => schemas.name::<AdminFiguresReply>(),
        Route::AdminAudit => schemas.name::<AuditReply>(),
        _ => return None,
    })
}
