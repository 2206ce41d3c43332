//! Calls about shares, and about what is offered and asked for.

use keyfold_protocol::act::Act;
use keyfold_protocol::cbor::Encoded;
use keyfold_protocol::exchange::{Append, Pulled};
use keyfold_protocol::ids::{RecordHash, RequestHash, ShareId};
use keyfold_protocol::names::{Slug, UserName};
use keyfold_protocol::publication::Publication;
use keyfold_protocol::receipt::Receipt;
use keyfold_protocol::request::{Decision, Request};
use keyfold_protocol::routes::Route;
use keyfold_protocol::signed::Signed;
use keyfold_protocol::wire::{
    AppendReply, PublicationReply, PublicationsReply, PublishReply, PullQuery, RecordReply,
    RequestReply, RequestsReply, ShareItem, SharesReply,
};

use super::{Remote, RemoteError};

#[allow(dead_code, reason = "there is a call for each route, whoever needs it")]
impl Remote {
    /// Shares of which the caller is a member.
    pub(crate) async fn shares(&self) -> Result<SharesReply, RemoteError> {
        self.get(Route::Shares, Route::Shares.path(&[])).await
    }

    /// One share.
    pub(crate) async fn share(&self, share: ShareId) -> Result<ShareItem, RemoteError> {
        self.get(Route::Share, Route::Share.path(&[&share])).await
    }

    /// Begins a share with its first record.
    pub(crate) async fn create_share(&self, append: &Append) -> Result<ShareItem, RemoteError> {
        let path = Route::CreateShare.path(&[]);
        let reply = self.call(Route::CreateShare, path, append.encode()).await?;
        self.read(Route::CreateShare, &reply)
    }

    /// Has the server forget a share for ever.
    pub(crate) async fn delete_share(
        &self,
        share: ShareId,
        act: &Signed<Act>,
    ) -> Result<(), RemoteError> {
        let path = Route::DeleteShare.path(&[&share]);
        let deleted = self.call(Route::DeleteShare, path, act.encode()).await;
        deleted.map(drop)
    }

    /// Appends a record. The same record again is success.
    pub(crate) async fn append(
        &self,
        share: ShareId,
        append: &Append,
    ) -> Result<AppendReply, RemoteError> {
        let path = Route::Append.path(&[&share]);
        let reply = self.call(Route::Append, path, append.encode()).await?;
        self.read(Route::Append, &reply)
    }

    /// Appends a record again that the server lost, whether all its blobs are there or not.
    pub(crate) async fn restore(
        &self,
        share: ShareId,
        append: &Append,
    ) -> Result<AppendReply, RemoteError> {
        let record = append.record.header.hash();
        let path = Route::Restore.path(&[&share, &record]);
        let reply = self.call(Route::Restore, path, append.encode()).await?;
        self.read(Route::Restore, &reply)
    }

    /// Records from a place on.
    pub(crate) async fn pull(
        &self,
        share: ShareId,
        query: &PullQuery,
    ) -> Result<Pulled, RemoteError> {
        let mut path = format!("{}?from={}", Route::Pull.path(&[&share]), query.from.0);
        if let Some(limit) = query.limit {
            path.extend(["&limit=".to_owned(), limit.to_string()]);
        }
        if let Some(from) = query.bodies_from.filter(|from| *from > query.from) {
            path.extend(["&bodies_from=".to_owned(), from.0.to_string()]);
        }
        let reply = self.call(Route::Pull, path, Vec::new()).await?;
        self.read_cbor(Route::Pull, &reply)
    }

    /// Whether a record was appended, and where.
    pub(crate) async fn find_record(
        &self,
        share: ShareId,
        record: RecordHash,
    ) -> Result<RecordReply, RemoteError> {
        let path = Route::FindRecord.path(&[&share, &record]);
        self.get(Route::FindRecord, path).await
    }

    /// Says what this device has seen.
    pub(crate) async fn put_receipt(&self, receipt: &Signed<Receipt>) -> Result<(), RemoteError> {
        let path = Route::PutReceipt.path(&[&receipt.unverified().share]);
        let put = self.call(Route::PutReceipt, path, receipt.encode()).await;
        put.map(drop)
    }

    /// Offers a share, or ends that.
    pub(crate) async fn publish(
        &self,
        publication: &Signed<Publication>,
    ) -> Result<PublishReply, RemoteError> {
        let path = Route::Publish.path(&[&publication.unverified().share]);
        let reply = self
            .call(Route::Publish, path, publication.encode())
            .await?;
        self.read(Route::Publish, &reply)
    }

    /// What is offered to the caller.
    pub(crate) async fn publications(&self) -> Result<PublicationsReply, RemoteError> {
        let path = Route::Publications.path(&[]);
        self.get(Route::Publications, path).await
    }

    /// What an address names.
    pub(crate) async fn find_publication(
        &self,
        user: &UserName,
        slug: &Slug,
    ) -> Result<PublicationReply, RemoteError> {
        let path = Route::FindPublication.path(&[user, slug]);
        self.get(Route::FindPublication, path).await
    }

    /// Asks for access.
    pub(crate) async fn request(
        &self,
        request: &Signed<Request>,
    ) -> Result<RequestReply, RemoteError> {
        let path = Route::Request.path(&[]);
        let reply = self.call(Route::Request, path, request.encode()).await?;
        self.read(Route::Request, &reply)
    }

    /// Requests to and by the caller.
    pub(crate) async fn requests(&self) -> Result<RequestsReply, RemoteError> {
        self.get(Route::Requests, Route::Requests.path(&[])).await
    }

    /// Denies or withdraws a request.
    pub(crate) async fn decide(
        &self,
        request: RequestHash,
        decision: &Signed<Decision>,
    ) -> Result<(), RemoteError> {
        let path = Route::Decide.path(&[&request]);
        let decided = self.call(Route::Decide, path, decision.encode()).await;
        decided.map(drop)
    }
}
