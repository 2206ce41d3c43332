//! Calls about accounts.

use keyfold_protocol::act::Act;
use keyfold_protocol::cbor::Encoded;
use keyfold_protocol::chain::SignedEntry;
use keyfold_protocol::ids::DeviceId;
use keyfold_protocol::names::{Email, UserName};
use keyfold_protocol::routes::Route;
use keyfold_protocol::signed::Signed;
use keyfold_protocol::wire::{
    AccountReply, AddressQuery, AppendChain, Base64, BookReply, ChainReply, DevicesReply, Find,
    FoundReply, Invite, KdfParameters, Login, LoginParameters, LoginReply, PutBook, RecoveryLogin,
    Register, RegisterReply, ServerInfoReply, SetPassword, VerifyEmail,
};

use super::{Remote, RemoteError};

#[allow(dead_code, reason = "there is a call for each route, whoever needs it")]
impl Remote {
    /// Who the server is and what it speaks.
    pub(crate) async fn server_info(&self) -> Result<ServerInfoReply, RemoteError> {
        self.get(Route::ServerInfo, Route::ServerInfo.path(&[]))
            .await
    }

    /// Makes an account. The same entry again is answered in the same way.
    pub(crate) async fn register(&self, body: &Register) -> Result<RegisterReply, RemoteError> {
        let path = Route::Register.path(&[]);
        self.post(Route::Register, path, body).await
    }

    /// Proves an e-mail address.
    pub(crate) async fn verify_email(&self, body: &VerifyEmail) -> Result<(), RemoteError> {
        let path = Route::VerifyEmail.path(&[]);
        self.send(Route::VerifyEmail, path, body).await.map(drop)
    }

    /// Has the mail for that sent again.
    pub(crate) async fn resend_verification(&self, user: &UserName) -> Result<(), RemoteError> {
        let body = AddressQuery { user: user.clone() };
        let path = Route::ResendVerification.path(&[]);
        let sent = self.send(Route::ResendVerification, path, &body).await;
        sent.map(drop)
    }

    /// What a password is stretched with, as the server says.
    pub(crate) async fn login_parameters(
        &self,
        user: &UserName,
    ) -> Result<KdfParameters, RemoteError> {
        let body = LoginParameters { user: user.clone() };
        let path = Route::LoginParameters.path(&[]);
        self.post(Route::LoginParameters, path, &body).await
    }

    /// Begins a session by password.
    pub(crate) async fn login(&self, body: &Login) -> Result<LoginReply, RemoteError> {
        self.post(Route::Login, Route::Login.path(&[]), body).await
    }

    /// Begins a session by recovery key.
    pub(crate) async fn recovery_login(
        &self,
        body: &RecoveryLogin,
    ) -> Result<LoginReply, RemoteError> {
        let path = Route::RecoveryLogin.path(&[]);
        self.post(Route::RecoveryLogin, path, body).await
    }

    /// Ends the session.
    pub(crate) async fn logout(&self) -> Result<(), RemoteError> {
        let path = Route::Logout.path(&[]);
        self.call(Route::Logout, path, Vec::new()).await.map(drop)
    }

    /// The caller's account.
    pub(crate) async fn account(&self) -> Result<AccountReply, RemoteError> {
        self.get(Route::Account, Route::Account.path(&[])).await
    }

    /// Seals the account root anew under another password.
    pub(crate) async fn set_password(&self, body: &SetPassword) -> Result<(), RemoteError> {
        let path = Route::SetPassword.path(&[]);
        self.send(Route::SetPassword, path, body).await.map(drop)
    }

    /// Appends to the caller's key chain.
    pub(crate) async fn append_chain(&self, body: &AppendChain) -> Result<(), RemoteError> {
        let path = Route::AppendChain.path(&[]);
        self.send(Route::AppendChain, path, body).await.map(drop)
    }

    /// The account's book, sealed.
    pub(crate) async fn book(&self) -> Result<BookReply, RemoteError> {
        self.get(Route::Book, Route::Book.path(&[])).await
    }

    /// Replaces the book that was read.
    pub(crate) async fn put_book(&self, body: &PutBook) -> Result<(), RemoteError> {
        let path = Route::PutBook.path(&[]);
        self.send(Route::PutBook, path, body).await.map(drop)
    }

    /// The account's devices.
    pub(crate) async fn devices(&self) -> Result<DevicesReply, RemoteError> {
        self.get(Route::Devices, Route::Devices.path(&[])).await
    }

    /// Ends the sessions of a device, and changes nothing else.
    pub(crate) async fn remove_device(&self, device: DeviceId) -> Result<(), RemoteError> {
        let path = Route::RemoveDevice.path(&[&device]);
        let ended = self.call(Route::RemoveDevice, path, Vec::new()).await;
        ended.map(drop)
    }

    /// Ends the account.
    pub(crate) async fn delete_account(&self, act: &Signed<Act>) -> Result<(), RemoteError> {
        let path = Route::DeleteAccount.path(&[]);
        let ended = self.call(Route::DeleteAccount, path, act.encode()).await;
        ended.map(drop)
    }

    /// Somebody's key chain, of which nothing is verified.
    pub(crate) async fn chain(&self, user: &UserName) -> Result<Vec<SignedEntry>, RemoteError> {
        let path = Route::Chain.path(&[user]);
        let reply: ChainReply = self.get(Route::Chain, path).await?;
        self.entries(Route::Chain, &reply.entries)
    }

    /// Who has proved an e-mail address.
    pub(crate) async fn find_user(&self, email: &Email) -> Result<UserName, RemoteError> {
        let body = Find {
            email: email.clone(),
        };
        let path = Route::FindUser.path(&[]);
        let reply: FoundReply = self.post(Route::FindUser, path, &body).await?;
        Ok(reply.user)
    }

    /// Has an invitation mailed.
    pub(crate) async fn invite(&self, email: &Email) -> Result<(), RemoteError> {
        let email = email.clone();
        let path = Route::Invite.path(&[]);
        self.send(Route::Invite, path, &Invite { email })
            .await
            .map(drop)
    }

    /// Entries of a chain as they came with a reply.
    pub(crate) fn entries(
        &self,
        route: Route,
        entries: &[Base64],
    ) -> Result<Vec<SignedEntry>, RemoteError> {
        let read = |entry: &Base64| SignedEntry::decode(&entry.0);
        let read: Result<Vec<_>, _> = entries.iter().map(read).collect();
        read.map_err(|_| self.malformed(route))
    }
}
