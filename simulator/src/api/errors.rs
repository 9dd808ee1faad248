//! Miro's error object.

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;

use crate::render::json::put_str;

/// An error answer: `type`, `code`, `message`, `status`, and sometimes `context`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: String,
    field: Option<(&'static str, String)>,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), field: None }
    }

    /// 400 that names the parameter.
    pub(crate) fn invalid(field: &'static str, problem: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            code: "invalidParameters",
            message: "Invalid parameters".to_owned(),
            field: Some((field, problem.into())),
        }
    }

    /// The answer that belongs to a status.
    pub(crate) fn of_status(status: StatusCode) -> Self {
        let (code, message) = match status.as_u16() {
            400 => ("invalidParameters", "Invalid parameters"),
            401 => ("tokenNotProvided", "No authorization or session found"),
            403 => ("insufficientPermissions", "Access Denied"),
            404 => ("notFound", "Not found"),
            405 => ("methodNotSupported", "Method not supported"),
            409 => ("conflict", "Conflict"),
            429 => ("tooManyRequests", "Request rate limit exceed"),
            500 => ("internalError", "Internal server error"),
            _ => ("unexpected", "Unexpected error"),
        };
        Self::new(status, code, message)
    }

    pub(crate) fn not_found() -> Self {
        Self::of_status(StatusCode::NOT_FOUND)
    }

    /// The same with the numeric-looking code of Miro's newer operations.
    pub(crate) fn numeric(self) -> Self {
        Self { code: "2.0703", ..self }
    }

    /// Miro has two dialects, with members in different order: errors about fields, and all others.
    fn body(&self) -> Vec<u8> {
        match &self.field {
            Some((field, problem)) => self.about_field(field, problem),
            None => self.plain(),
        }
    }

    fn about_field(&self, field: &str, problem: &str) -> Vec<u8> {
        let mut out =
            format!("{{\"type\":\"error\",\"code\":\"{}\",\"context\":{{\"fields\":[{{\"field\":\"{field}\",\"message\":", self.code)
                .into_bytes();
        put_str(&mut out, problem);
        out.extend_from_slice(b"}]},\"message\":");
        put_str(&mut out, &self.message);
        out.extend_from_slice(format!(",\"status\":{}}}", self.status.as_u16()).as_bytes());
        out
    }

    fn plain(&self) -> Vec<u8> {
        let mut out = format!("{{\"status\":{},\"code\":\"{}\",\"message\":", self.status.as_u16(), self.code).into_bytes();
        put_str(&mut out, &self.message);
        if self.status == StatusCode::TOO_MANY_REQUESTS {
            out.extend_from_slice(b",\"context\":null");
        }
        out.extend_from_slice(b",\"type\":\"error\"}");
        out
    }
}

impl From<ApiError> for Response<Body> {
    fn from(error: ApiError) -> Self {
        json(error.status, error.body())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response<Body> {
        self.into()
    }
}

/// An answer with a JSON body.
pub(crate) fn json(status: StatusCode, body: Vec<u8>) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json;charset=UTF-8"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_those_that_were_seen_of_miro() {
        let check = |error: ApiError, wanted: &str| assert_eq!(String::from_utf8(error.body()).expect("UTF-8"), wanted);
        check(
            ApiError::invalid("metadata", "Field [metadata] is not supported").numeric(),
            r#"{"type":"error","code":"2.0703","context":{"fields":[{"field":"metadata","message":"Field [metadata] is not supported"}]},"message":"Invalid parameters","status":400}"#,
        );
        check(
            ApiError::of_status(StatusCode::FORBIDDEN),
            r#"{"status":403,"code":"insufficientPermissions","message":"Access Denied","type":"error"}"#,
        );
        check(
            ApiError::of_status(StatusCode::TOO_MANY_REQUESTS),
            r#"{"status":429,"code":"tooManyRequests","message":"Request rate limit exceed","context":null,"type":"error"}"#,
        );
    }
}
