//! What goes wrong around an answer: whoever asked goes away, the store is slow or refuses. What
//! was said stays, and a conversation can always go on.

use std::sync::mpsc;

use super::*;

impl Page {
    /// Has the store do something that the page never asks for.
    fn store(&self, sql: &str) {
        self.site.app.store.connection().execute_batch(sql).unwrap();
    }

    async fn last(&self, id: &str) -> Value {
        let (_, shown) = self.ask("GET", &format!("conversations/{id}"), &Value::Null).await;
        shown["messages"].as_array().unwrap().last().cloned().unwrap_or_default()
    }
}

/// From now on the store refuses an update of these columns that fulfils this.
fn refusing(columns: &str, condition: &str) -> String {
    format!(
        "CREATE TEMP TRIGGER refuses BEFORE UPDATE OF {columns} ON message WHEN {condition}
         BEGIN SELECT RAISE(ABORT, 'the disk is full'); END"
    )
}

#[tokio::test]
async fn an_end_that_cannot_be_stored_erases_nothing() {
    for (refused, state, said, has_tokens) in [
        ("never", "complete", "so far and to the end", true),
        ("tokens", "complete", "so far and to the end", false),
        ("content", "failed", "so far", false),
    ] {
        let slow = Arc::new(Slow::new());
        let page = Page::of(Arc::clone(&slow) as Arc<dyn Provider>);
        let id = page.begin().await;
        let path = format!("conversations/{id}/messages");
        let response = page.request("POST", &path, &json!({"text": "Once"})).await;
        // As if a second had gone by since it was begun.
        page.store("UPDATE message SET content = 'so far' WHERE state = 'writing'");
        match refused {
            "tokens" => page.store(&refusing("tokens", "new.tokens IS NOT NULL")),
            "content" => page.store(&refusing("content", "true")),
            _ => {}
        }
        slow.teller().tell(Ok(token("so far and to the end", &[("cat", 0.5)])));
        slow.teller().tell(Ok(end()));
        slow.tellers.lock().unwrap().clear();
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        let events = events_of(std::str::from_utf8(&bytes).unwrap());
        let message = &events.last().unwrap()["message"];
        assert_eq!((&message["state"], &message["text"]), (&json!(state), &json!(said)));
        if state == "failed" {
            let told = message["detail"]["error"]["message"].as_str().unwrap();
            assert!(told.contains("the disk is full"), "{told}");
        }
        let path = format!("messages/{}/tokens", message["id"]);
        let (_, tokens) = page.ask("GET", &path, &Value::Null).await;
        assert_eq!(!tokens.as_array().unwrap().is_empty(), has_tokens, "{refused}");
    }
}

#[tokio::test]
async fn whoever_goes_away_while_it_is_noted_leaves_no_answer_behind_that_nobody_writes() {
    let slow = Arc::new(Slow::new());
    let page = Page::of(Arc::clone(&slow) as Arc<dyn Provider>);
    let id = page.begin().await;
    // From the moment that the model is asked, the store is busy until it is let go.
    let (let_go, wait) = mpsc::channel::<()>();
    let store = Arc::clone(&page.site.app.store);
    *slow.meanwhile.lock().unwrap() = Some(Box::new(move || {
        let (held, is_held) = mpsc::channel();
        std::thread::spawn(move || {
            let _connection = store.connection();
            held.send(()).unwrap();
            let _ = wait.recv();
        });
        is_held.recv().unwrap();
    }));
    let path = format!("conversations/{id}/messages");
    let (body, patience) = (json!({"text": "Once"}), Duration::from_millis(100));
    let asked = tokio::time::timeout(patience, page.request("POST", &path, &body)).await;
    assert!(asked.is_err(), "the store was not busy");
    let_go.send(()).unwrap();
    until(async || page.last(&id).await["state"] == "writing").await;
    let answer = page.last(&id).await["id"].as_i64().unwrap();
    slow.teller().tell(Ok(text(" upon")));
    tokio::time::sleep(Duration::from_millis(50)).await;
    let (status, _) = page.ask("POST", &format!("answers/{answer}/stop"), &json!({})).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    until(async || page.last(&id).await["state"] == "stopped").await;
    assert_eq!(page.last(&id).await["text"], " upon");
}

#[tokio::test]
async fn a_question_is_kept_with_its_answer_or_not_at_all() {
    let page = Page::scripted(Scripted::new("tiny"));
    let id = page.begin().await;
    page.store(
        "CREATE TEMP TRIGGER refuses BEFORE INSERT ON message WHEN new.role = 'assistant'
         BEGIN SELECT RAISE(ABORT, 'the disk is full'); END",
    );
    let path = format!("conversations/{id}/messages");
    let (status, _) = page.ask("POST", &path, &json!({"text": "Once"})).await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    let (_, shown) = page.ask("GET", &format!("conversations/{id}"), &Value::Null).await;
    assert_eq!(shown["messages"], json!([]));
    assert_eq!(
        (&shown["conversation"]["title"], &shown["conversation"]["leaf"]),
        (&json!(""), &Value::Null)
    );
    let (_, listed) = page.ask("GET", "conversations?search=once", &Value::Null).await;
    assert_eq!(listed["conversations"], json!([]));
    page.store("DROP TRIGGER refuses");
    assert_eq!(page.say(&id, None, "Once").await["text"], "Once");
}

#[tokio::test]
async fn what_nobody_writes_is_no_obstacle() {
    let page = Page::scripted(Scripted::new("tiny"));
    let id = page.begin().await;
    let answer = page.say(&id, None, "one").await["id"].as_i64().unwrap();
    let orphan = "UPDATE message SET state = 'writing' WHERE role = 'assistant'";
    page.store(orphan);
    // One who looks on is told that it is over.
    let path = format!("answers/{answer}/events");
    let response = page.request("GET", &path, &Value::Null).await;
    let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    let events = events_of(std::str::from_utf8(&bytes).unwrap());
    assert_eq!(events.last().unwrap()["message"]["state"], "interrupted");
    assert_eq!(state(&page, &id).await, ("interrupted".to_owned(), "one".to_owned()));
    // And the conversation goes on behind it.
    page.store(orphan);
    page.say(&id, Some(answer), "two").await;
    assert_eq!(page.texts(&id).await, ["one", "one", "two", "two"]);
}

#[tokio::test]
async fn a_question_without_an_answer_can_be_answered() {
    let page = Page::scripted(Scripted::new("tiny"));
    let id = page.begin().await;
    // As older versions left it when they were killed at the wrong moment.
    let owner = format!("{:016x}", 0);
    let said = page.site.app.store.say(&owner, &id, None, "one").unwrap();
    let path = format!("conversations/{id}/answers");
    let events = page.events(&path, &json!({"parent": said})).await;
    assert_eq!(events.last().unwrap()["message"]["state"], "complete");
    assert_eq!(page.texts(&id).await, ["one", "one"]);
}

#[tokio::test]
async fn a_branch_is_measured_by_what_the_model_said() {
    let others = &[("cat", 0.5)];
    let many = (0..50).map(|_| token("word ", others));
    let first: Script = many.chain([end()]).map(Ok).collect();
    // The second is cut off: nobody but the page itself counts its tokens.
    let second = vec![Ok(begun()), Ok(token("more", others))];
    let page = Page::scripted(Scripted::new("tiny").then(first).then(second));
    let id = page.begin().await;
    let answer = page.say(&id, None, "Go").await;
    let from = json!({"message": answer["id"], "token": 49, "alternative": 0});
    let body = json!({"parent": answer["parent"], "from": from});
    let events = page.events(&format!("conversations/{id}/answers"), &body).await;
    let message = &events.last().unwrap()["message"];
    assert!(message["text"].as_str().unwrap().ends_with("catmore"), "{message}");
    assert_eq!(message["detail"]["new_tokens"], 1);
}
