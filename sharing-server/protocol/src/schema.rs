//! Schemas of what JSON has as text of a form, for the description of a server's routes.

#[cfg(feature = "openapi")]
macro_rules! text {
    ($name:ident, $pattern:expr) => {
        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                utoipa::openapi::ObjectBuilder::new()
                    .schema_type(utoipa::openapi::schema::Type::String)
                    .pattern(Some($pattern))
                    .into()
            }
        }

        impl utoipa::ToSchema for $name {}
    };
}

#[cfg(not(feature = "openapi"))]
macro_rules! text {
    ($name:ident, $pattern:expr) => {};
}

pub(crate) use text;
