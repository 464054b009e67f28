//! Asking, asking again, looking on and stopping.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

use super::conversations::{message_id, missing, settings_of};
use super::events::{self, Answer};
use super::live::Progress;
use super::show;
use super::turn::{Begun, Settings, is_question, title_of};
use crate::app::{App, Caller};
use crate::ask::Reply;
use crate::body::Body;
use crate::json::Fields;
use crate::limits;
use crate::refusal::{Kind, Refusal};
use crate::store::{
    Change, Conversation, Message, Question, Role, State as Stage, StoreError, Window,
};

/// `POST /page/api/conversations/{id}/messages`: says something and follows the answer. With
/// `parent` it stands behind that answer, without it first; where something stands there already,
/// it becomes a branch.
pub(super) async fn say(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    Body(mut fields, _): Body,
) -> Result<Response, Refusal> {
    let parent = message_id(&mut fields, "parent")?;
    let text = fields.need("text")?.text()?;
    if text.is_empty() {
        return Err(Refusal::invalid("text", "`text` is empty"));
    }
    let asking = Asking::read(&app, &caller, id, &mut fields, parent).await?;
    asking.go(Some(text), None).await
}

/// `POST /page/api/conversations/{id}/answers`: another answer to the message `parent`. With `from`
/// it begins as an earlier one did, and goes on with another token.
pub(super) async fn answer_again(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    Body(mut fields, _): Body,
) -> Result<Response, Refusal> {
    let parent = message_id(&mut fields, "parent")?.ok_or_else(|| fields.missing("parent"))?;
    let from = fields.fields("from")?;
    let asking = Asking::read(&app, &caller, id, &mut fields, Some(parent)).await?;
    let begun = match from {
        Some(from) => Some(asking.beginning(from).await?),
        None => None,
    };
    asking.go(None, begun).await
}

/// `GET /page/api/answers/{id}/events`: follows an answer that is being written.
pub(super) async fn follow(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<i64>,
) -> Result<Response, Refusal> {
    let owner = caller.owner();
    let live = app.desk.find(&owner, id);
    let whose = owner.clone();
    let conversation = app.store.run(move |store| store.conversation_of(&whose, id)).await?;
    let first = json!({ "type": "following", "answer": id });
    let answer = Answer { owner, conversation, id };
    Ok(events::follow(app, answer, live, &first))
}

/// `POST /page/api/answers/{id}/stop`
pub(super) async fn stop(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<i64>,
) -> Result<StatusCode, Refusal> {
    let live = app.desk.find(&caller.owner(), id).ok_or_else(|| missing("answer under way"))?;
    live.stop();
    Ok(StatusCode::NO_CONTENT)
}

/// A conversation that is about to go on.
struct Asking {
    app: Arc<App>,
    caller: Caller,
    owner: String,
    conversation: Conversation,
    settings: Settings,
    parent: Option<i64>,
    /// What was said up to and with the parent.
    branch: Vec<Message>,
}

impl Asking {
    async fn read(
        app: &Arc<App>,
        caller: &Caller,
        id: String,
        fields: &mut Fields,
        parent: Option<i64>,
    ) -> Result<Self, Refusal> {
        let owner = caller.owner();
        let model = fields.take("model").map(|node| node.short_text(limits::MODEL_BYTES_MAX));
        let (model, settings) = (model.transpose()?, settings_of(fields)?);
        let (whose, desk) = (owner.clone(), Arc::clone(&app.desk));
        let reading = app.store.run(move |store| {
            let change = Change { title: None, model, settings };
            store.change(&whose, &id, &change)?;
            let conversation = store.conversation(&whose, &id)?;
            let whole = Window { before: None, count_max: usize::MAX };
            let mut branch = store.branch(&whose, &id, parent, whole)?;
            if let Some(last) = branch.last_mut() {
                desk.settle(store, &whose, last);
            }
            Ok((conversation, branch))
        });
        let (conversation, branch) = reading.await?;
        let settings = Settings::read(&conversation.settings)?;
        if branch.last().is_some_and(|last| last.state == Stage::Writing) {
            let message = "the answer before it is still being written; stop it first";
            return Err(Refusal::new(Kind::Conflict, message));
        }
        let (app, caller) = (Arc::clone(app), caller.clone());
        Ok(Self { app, caller, owner, conversation, settings, parent, branch })
    }

    /// Asks, writes down what is asked, and follows the answer. Nothing is written down if the
    /// model refuses.
    async fn go(mut self, text: Option<String>, begun: Option<Start>) -> Result<Response, Refusal> {
        let follows_question = self.branch.last().is_some_and(is_question);
        if text.is_some() == follows_question {
            let message = "questions follow answers, and answers questions";
            return Err(Refusal::invalid("parent", message));
        }
        if let Some(text) = &text {
            self.branch.push(unsaid(text));
        }
        let lease = self.app.lease(Some(&self.conversation.model)).await?;
        let model = lease.name().to_owned();
        let beginning = begun.as_ref().map(|start| start.begun.clone());
        let turn = self.settings.clone().turn(lease.provider().card(), &self.branch, beginning)?;
        let reply = self.app.ask(&self.caller, lease, turn).await?;
        let progress = begun.map(|start| start.progress).unwrap_or_default();
        // Whoever asked may go away at any moment, and this future with him: from here on the
        // answer is written all the same, or nothing would ever end what is noted of it.
        let noted = tokio::spawn(self.note(text, model, progress, reply));
        let lost = |_| Refusal::new(Kind::Internal, "the server made a mistake; its log says more");
        noted.await.map_err(lost)?
    }

    /// Writes down the question, if there is a new one, and the beginning of the answer; then lets
    /// it be written.
    async fn note(
        self,
        text: Option<String>,
        model: String,
        progress: Progress,
        reply: Reply,
    ) -> Result<Response, Refusal> {
        let Self { app, owner, conversation, parent, .. } = self;
        let (desk, whose, id) = (Arc::clone(&app.desk), owner.clone(), conversation.id.clone());
        let noted = app.store.run(move |store| {
            let answer = match (&text, parent) {
                (Some(text), parent) => {
                    let question = Question { parent, text, title: &title_of(text) };
                    store.ask(&whose, &id, &question, &model)?
                }
                (None, Some(parent)) => store.begin_answer(&whose, &id, parent, &model)?,
                (None, None) => return Err(StoreError::NotFound { what: "message" }),
            };
            Ok((answer, desk.begin(answer, &whose, &id, progress)))
        });
        let (id, live) = noted.await?;
        app.desk.write(&app.store, &live, reply);
        let answer = Answer { owner, conversation: conversation.id, id };
        let first = first_event(&app, &answer).await?;
        Ok(events::follow(app, answer, Some(live), &first))
    }

    /// The beginning of an earlier answer, up to a token that is replaced.
    async fn beginning(&self, mut from: Fields) -> Result<Start, Refusal> {
        let message = message_id(&mut from, "message")?.ok_or_else(|| from.missing("message"))?;
        let mut index =
            |name: &'static str| from.count(name, limits::TOKEN)?.ok_or_else(|| from.missing(name));
        let (token, alternative) = (index("token")?, index("alternative")?);
        let owner = self.owner.clone();
        let found = self.app.store.run(move |store| {
            let conversation = store.conversation_of(&owner, message)?;
            let window = Window { before: None, count_max: 1 };
            let message_found = store.branch(&owner, &conversation, Some(message), window)?.pop();
            Ok((message_found, store.tokens(&owner, message)?))
        });
        let (Some(message), Some(tokens)) = found.await? else {
            return Err(Refusal::invalid("from", "the tokens of that answer are not known"));
        };
        if message.parent != self.parent {
            return Err(Refusal::invalid("from", "that answer answers something else"));
        }
        let tokens: Vec<Value> = serde_json::from_str(&tokens).unwrap_or_default();
        Start::of(&tokens, token, alternative, message.reasoning)
            .ok_or_else(|| Refusal::invalid("from", "an answer cannot go on from that token"))
    }
}

/// How an answer begins that goes on from another's token.
struct Start {
    begun: Begun,
    progress: Progress,
}

impl Start {
    /// None if there is no such token, or if it begins or ends within a character.
    fn of(tokens: &[Value], at: usize, alternative: usize, reasoning: String) -> Option<Self> {
        let replaced = tokens.get(at)?;
        let other = replaced.get(2)?.get(alternative)?;
        let chosen = json!([other.get(0)?, other.get(1)?, replaced.get(2)?]);
        if chosen.get(0)?.as_str()?.is_empty() {
            return None;
        }
        let mut bytes = Vec::new();
        let mut told = Vec::with_capacity(at + 1);
        for token in tokens[..at].iter().chain([&chosen]) {
            match token.get(3).and_then(Value::as_str) {
                Some(hex) => bytes.extend(bytes_of(hex)?),
                None => bytes.extend_from_slice(token.get(0)?.as_str()?.as_bytes()),
            }
            told.push(token.to_string());
        }
        let text = String::from_utf8(bytes).ok()?;
        let begun = Begun { text, reasoning };
        let progress = Progress::of(&begun, told.join(",\n"));
        Some(Self { begun, progress })
    }
}

fn bytes_of(hex: &str) -> Option<Vec<u8>> {
    let pairs = hex.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

/// What the page shows at once: the question and the empty answer.
async fn first_event(app: &App, answer: &Answer) -> Result<Value, StoreError> {
    let (owner, conversation, id) = (answer.owner.clone(), answer.conversation.clone(), answer.id);
    let reading = app.store.run(move |store| {
        let window = Window { before: None, count_max: 2 };
        let messages = store.branch(&owner, &conversation, Some(id), window)?;
        let shown: Vec<Value> = messages.iter().map(show::message).collect();
        let conversation = show::conversation(&store.conversation(&owner, &conversation)?);
        Ok(json!({ "type": "begun", "conversation": conversation, "messages": shown }))
    });
    reading.await
}

/// What a person says, before it is written down.
fn unsaid(text: &str) -> Message {
    Message {
        id: 0,
        parent: None,
        role: Role::User,
        content: text.to_owned(),
        reasoning: String::new(),
        calls: Value::Null,
        model: String::new(),
        state: Stage::Complete,
        detail: Value::Null,
        created: 0,
        siblings: Vec::new(),
    }
}
