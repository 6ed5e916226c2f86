//! Watches: what becomes of the interface and the queues, told as completions.

use std::collections::VecDeque;

use ringwire_abi::errno::Errno;

use super::Engine;
use super::chain::Work;
use super::request::RequestId;
use crate::events::Event;

/// Events that wait for an enter that asks for completions.
const MOST: usize = 64;

/// The watches, and what they have not been told.
#[derive(Debug, Default)]
pub(super) struct Watches {
    armed: Vec<RequestId>,
    /// Events, and what ends the watches.
    news: VecDeque<Result<Event, Errno>>,
}

impl Watches {
    pub(super) fn has_news(&self) -> bool {
        !self.news.is_empty()
    }

    fn add(&mut self, news: Result<Event, Errno>) {
        if self.armed.is_empty() {
            return;
        }
        if self.news.len() == MOST {
            self.news.pop_front();
        }
        self.news.push_back(news);
    }
}

impl Engine {
    pub(super) fn issue_watch(&mut self, id: RequestId) {
        self.requests.get_mut(id).attempted = true;
        // As a multishot poll it is told when its turn comes.
        self.work.push_back(Work::Watch(id));
    }

    /// A watch begins; it is told how things are.
    pub(super) fn begin_watch(&mut self, id: RequestId) {
        // What has happened before is not for it.
        self.post_news();
        match self.first_event() {
            Ok(event) => {
                self.watches.armed.push(id);
                self.tell_one(id, event);
            }
            Err(errno) => self.complete(id, errno.res(), 0),
        }
    }

    /// Has an event told in the next turn that may complete something.
    pub(super) fn tell(&mut self, event: Event) {
        self.watches.add(Ok(event));
    }

    /// Ends the watches, after what they have to be told still.
    pub(super) fn end_watches(&mut self, errno: Errno) {
        self.watches.add(Err(errno));
    }

    /// Posts what has happened.
    pub(super) fn post_news(&mut self) {
        while let Some(news) = self.watches.news.pop_front() {
            for id in self.watches.armed.clone() {
                match news {
                    Ok(event) => self.tell_one(id, event),
                    Err(errno) => {
                        self.forget_watch(id);
                        self.complete(id, errno.res(), 0);
                    }
                }
            }
        }
    }

    /// As other multishot requests, one whose completion finds the queue full ends with it.
    fn tell_one(&mut self, id: RequestId, event: Event) {
        if !self.post_more(id, event.result(), 0) {
            self.forget_watch(id);
            // It says what has happened: no failure.
            self.complete(id, event.result(), 0);
        }
    }

    pub(super) fn forget_watch(&mut self, id: RequestId) {
        self.watches.armed.retain(|&armed| armed != id);
    }
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
