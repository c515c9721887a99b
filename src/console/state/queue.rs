//! The queue's tab.

use super::window::{Row, Window};
use crate::domain::view::{Item, ItemDetail};
use crate::domain::{ItemId, ItemState};

/// What the queue's tab shows.
#[derive(Debug)]
pub(in crate::console) struct Queue {
    /// Only files in this state.
    pub(in crate::console) state: Option<ItemState>,
    pub(in crate::console) list: Window<Item>,
    /// Of the selected file, or of the one selected before until the answer comes.
    pub(in crate::console) detail: Option<ItemDetail>,
}

impl Row for Item {
    type Key = ItemId;
    const PAGE: usize = 200;

    fn key(&self) -> ItemId {
        self.id.clone()
    }
}

impl Queue {
    /// The files in a state, or all. What waits for an operator holds still; all files show the newest first.
    pub(in crate::console) fn of(state: Option<ItemState>) -> Self {
        let list = if state.is_none() { Window::following() } else { Window::default() };
        Self { state, list, detail: None }
    }

    /// The details of the selected file, once they are here.
    pub(in crate::console) fn selected_detail(&self) -> Option<&ItemDetail> {
        let selected = self.list.selected()?;
        self.detail.as_ref().filter(|detail| detail.item.id == selected.id)
    }

    /// The state after this one, in the order of a file's way; none, which is all, after the last.
    pub(in crate::console) fn next_state(&self) -> Option<ItemState> {
        let place = self.state.and_then(|state| ItemState::ALL.iter().position(|s| *s == state));
        ItemState::ALL.get(place.map_or(0, |place| place + 1)).copied()
    }
}
