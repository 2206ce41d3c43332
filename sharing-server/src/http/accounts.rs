//! Routes of accounts and of administration.

use keyfold_protocol::account::WayIn;
use keyfold_protocol::error_code::ErrorCode;
use keyfold_protocol::routes::Route;
use keyfold_protocol::wire::{
    AddressQuery, AdminSetUser, AppendChain, BeginSecondFactor, ConfirmSecondFactor,
    EndSecondFactor, Find, Invite, Login, LoginParameters, PutBook, PutPin, RecoveryLogin,
    Register, SetPassword, VerifyEmail,
};

use super::call::Call;
use super::reply::Reply;
use crate::service::login::Attempt;
use crate::service::{
    Outcome, Work, accounts, administration, audit, login, recovery, second_factor,
};

/// Routes that anyone may call.
pub(super) fn anyone(work: &Work<'_>, route: Route, call: &Call) -> Outcome<Reply> {
    match route {
        Route::Register => {
            let body: Register = call.json()?;
            let (reply, letter) = login::register(work, &call.origin, &body)?;
            Ok(Reply::Mailed(Box::new(Reply::json(&reply)?), letter))
        }
        Route::VerifyEmail => {
            let body: VerifyEmail = call.json()?;
            recovery::verify_email(work, &body.token).map(|()| Reply::Nothing)
        }
        Route::ResendVerification => {
            let body: AddressQuery = call.json()?;
            let letter = recovery::resend(work, &body.user)?;
            Ok(Reply::Mailed(Box::new(Reply::Nothing), letter))
        }
        Route::LoginParameters => {
            let body: LoginParameters = call.json()?;
            Reply::json(&login::parameters(work, &body.user)?)
        }
        Route::Login | Route::RecoveryLogin => {
            let reply = login::login(work, &attempt(route, call)?)?;
            Ok(Reply::noted(reply.and_then(|reply| Reply::json(&reply))))
        }
        _ => Err(ErrorCode::NotFound.into()),
    }
}

fn attempt(route: Route, call: &Call) -> Outcome<Attempt> {
    let origin = call.origin.clone();
    if route == Route::Login {
        let body: Login = call.json()?;
        return Ok(Attempt {
            way: WayIn::Password,
            user: body.user,
            auth: body.auth,
            device: body.device,
            device_name: body.device_name,
            second_factor: body.second_factor,
            origin,
        });
    }
    let body: RecoveryLogin = call.json()?;
    Ok(Attempt {
        way: WayIn::Recovery,
        user: body.user,
        auth: body.auth,
        device: body.device,
        device_name: body.device_name,
        second_factor: body.second_factor,
        origin,
    })
}

/// Routes of who is logged in.
pub(super) fn user(work: &Work<'_>, route: Route, call: &Call) -> Outcome<Reply> {
    let caller = call.caller()?;
    let params = &call.params;
    let done = |()| Reply::Nothing;
    match route {
        Route::Logout => accounts::logout(work, caller).map(done),
        Route::Account => Reply::json(&accounts::account(work, caller)?),
        Route::SetPassword => {
            let body: SetPassword = call.json()?;
            let set = accounts::set_password(work, caller, &call.origin, &body)?;
            Ok(Reply::noted(set.map(done)))
        }
        Route::AppendChain => {
            let body: AppendChain = call.json()?;
            accounts::append_chain(work, caller, &body).map(done)
        }
        Route::Book => Reply::json(&accounts::book(work, caller)?),
        Route::PutBook => {
            let body: PutBook = call.json()?;
            accounts::put_book(work, caller, &body).map(done)
        }
        Route::Pin => Reply::json(&accounts::pin(work, caller, &params.get("vault")?)?),
        Route::PutPin => {
            let body: PutPin = call.json()?;
            accounts::put_pin(work, caller, &params.get("vault")?, &body).map(done)
        }
        Route::Devices => Reply::json(&accounts::devices(work, caller)?),
        Route::RemoveDevice => {
            accounts::remove_device(work, caller, &params.get("device")?).map(done)
        }
        Route::DeleteAccount => accounts::delete(work, caller, &call.body).map(done),
        Route::Chain => Reply::json(&accounts::chain(work, &params.get("user")?)?),
        Route::FindUser => {
            let body: Find = call.json()?;
            Reply::json(&accounts::find(work, &body.email)?)
        }
        Route::Invite => {
            let body: Invite = call.json()?;
            let letter = recovery::invite(work, caller, &body.email)?;
            Ok(Reply::Mailed(Box::new(Reply::Nothing), letter))
        }
        Route::SecondFactor
        | Route::BeginSecondFactor
        | Route::ConfirmSecondFactor
        | Route::EndSecondFactor => with_codes(work, route, call),
        _ => administrator(work, route, call),
    }
}

fn with_codes(work: &Work<'_>, route: Route, call: &Call) -> Outcome<Reply> {
    let caller = call.caller()?;
    let origin = &call.origin;
    match route {
        Route::SecondFactor => Reply::json(&second_factor::state(work, caller)?),
        Route::BeginSecondFactor => {
            let body: BeginSecondFactor = call.json()?;
            let made = second_factor::begin(work, caller, origin, &body)?;
            Ok(Reply::noted(made.and_then(|made| Reply::json(&made))))
        }
        Route::ConfirmSecondFactor => {
            let body: ConfirmSecondFactor = call.json()?;
            let codes = second_factor::confirm(work, caller, &body)?;
            Ok(Reply::noted(codes.and_then(|codes| Reply::json(&codes))))
        }
        Route::EndSecondFactor => {
            let body: EndSecondFactor = call.json()?;
            let ended = second_factor::end(work, caller, origin, &body)?;
            Ok(Reply::noted(ended.map(|()| Reply::Nothing)))
        }
        _ => Err(ErrorCode::NotFound.into()),
    }
}

fn administrator(work: &Work<'_>, route: Route, call: &Call) -> Outcome<Reply> {
    let caller = call.caller()?;
    match route {
        Route::AdminUsers => Reply::json(&administration::users(work, caller)?),
        Route::AdminFigures => Reply::json(&administration::figures(work, caller)?),
        Route::AdminAudit => {
            let from = call.number("from")?.unwrap_or(1);
            Reply::json(&audit::page(work, from)?)
        }
        Route::AdminSetUser => {
            let body: AdminSetUser = call.json()?;
            let user = call.params.get("user")?;
            administration::set_user(work, caller, &user, &body).map(|()| Reply::Nothing)
        }
        _ => Err(ErrorCode::NotFound.into()),
    }
}
