//! Miro's error object.

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;

use crate::render::json::put_str;

/// An error answer: `type`, `code`, `message`, `status`, and `context` with the fields at fault or null.
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

    fn body(&self) -> Vec<u8> {
        let status = self.status.as_u16();
        let mut out = format!("{{\"type\":\"error\",\"code\":\"{}\",\"context\":", self.code).into_bytes();
        match &self.field {
            Some((field, problem)) => {
                out.extend_from_slice(format!("{{\"fields\":[{{\"field\":\"{field}\",\"message\":").as_bytes());
                put_str(&mut out, problem);
                out.extend_from_slice(b"}]}");
            }
            None => out.extend_from_slice(b"null"),
        }
        out.extend_from_slice(b",\"message\":");
        put_str(&mut out, &self.message);
        out.extend_from_slice(format!(",\"status\":{status}}}").as_bytes());
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
