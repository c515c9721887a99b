//! A window on a list of any length. The engine sorts and counts; the console holds one page around the selection,
//! and knows the selection by its key, never by its row.

/// A row with a key that stays the same while rows around it come and go.
pub(in crate::console) trait Row {
    type Key: Clone + PartialEq;
    /// Rows asked for at once.
    const PAGE: usize;

    fn key(&self) -> Self::Key;
}

/// A page of a list, and where in the list it begins.
#[derive(Clone, Debug)]
pub(in crate::console) struct Window<R: Row> {
    rows: Vec<R>,
    /// The keys after which this page and those before it begin; empty at the top of the list.
    starts: Vec<R::Key>,
    selected: Option<R::Key>,
    /// Where the selected row was last seen.
    place: usize,
    loaded: bool,
    sliding: bool,
    /// Whether the first row may stand for what is new, until a row is chosen.
    may_follow: bool,
    follows: bool,
}

impl<R: Row> Default for Window<R> {
    fn default() -> Self {
        Self {
            rows: Vec::new(),
            starts: Vec::new(),
            selected: None,
            place: 0,
            loaded: false,
            sliding: false,
            may_follow: false,
            follows: false,
        }
    }
}

impl<R: Row> Window<R> {
    /// A list that shows what is new at its top until the operator chooses a row.
    pub(in crate::console) fn following() -> Self {
        Self { may_follow: true, follows: true, ..Self::default() }
    }

    /// Whether no row has been chosen: the selection is whatever is newest, and nothing may be done to it.
    pub(in crate::console) fn follows(&self) -> bool {
        self.follows
    }

    /// The rows of the page.
    pub(in crate::console) fn rows(&self) -> &[R] {
        &self.rows
    }

    /// Whether an answer has come at all: no rows is not the same as not knowing.
    pub(in crate::console) fn is_loaded(&self) -> bool {
        self.loaded
    }

    /// The key after which the page begins.
    pub(in crate::console) fn after(&self) -> Option<R::Key> {
        self.starts.last().cloned()
    }

    /// The selected row's place on the page.
    pub(in crate::console) fn place(&self) -> Option<usize> {
        (self.place < self.rows.len()).then_some(self.place)
    }

    /// The selected row.
    pub(in crate::console) fn selected(&self) -> Option<&R> {
        self.rows.get(self.place()?)
    }

    /// The first row to show so that the selection is in the middle of `height` rows, where there are enough.
    pub(in crate::console) fn first_shown(&self, height: usize) -> usize {
        self.place.saturating_sub(height / 2).min(self.rows.len().saturating_sub(height))
    }

    /// Takes the rows after `after`; those of another page, asked for before the window slid, are dropped.
    pub(in crate::console) fn put(&mut self, after: Option<&R::Key>, rows: Vec<R>) {
        if self.starts.last() != after {
            return;
        }
        self.rows = rows;
        self.loaded = true;
        self.sliding = false;
        let chosen = self.selected.as_ref().filter(|_| !self.follows);
        let found = chosen.and_then(|key| self.rows.iter().position(|row| row.key() == *key));
        // A row that has gone hands its place to its neighbour.
        let neighbour = if self.follows { 0 } else { self.place.min(self.rows.len().saturating_sub(1)) };
        self.place = found.unwrap_or(neighbour);
        self.selected = self.selected().map(Row::key);
    }

    /// No answer came; the next move may ask again.
    pub(in crate::console) fn failed(&mut self) {
        self.sliding = false;
    }

    /// Moves the selection by rows. Whether it moved.
    pub(in crate::console) fn move_by(&mut self, by: isize) -> bool {
        let last = self.rows.len().saturating_sub(1);
        self.select(self.place.saturating_add_signed(by).min(last))
    }

    /// Moves the selection to the last row of the page. Whether it moved.
    pub(in crate::console) fn move_to_end(&mut self) -> bool {
        self.select(self.rows.len().saturating_sub(1))
    }

    fn select(&mut self, place: usize) -> bool {
        let moved = place != self.place || self.follows;
        self.follows = false;
        self.place = place;
        self.selected = self.selected().map(Row::key);
        moved
    }

    /// Begins again at the top with the first row. Whether the page must be asked for.
    pub(in crate::console) fn move_to_top(&mut self) -> bool {
        self.select(0);
        self.follows = self.may_follow;
        let elsewhere = !self.starts.is_empty();
        if elsewhere {
            self.starts.clear();
            self.selected = None;
        }
        elsewhere
    }

    /// Shifts the page by half once the selection comes near its end. Whether another page must be asked for.
    pub(in crate::console) fn slide(&mut self) -> bool {
        if self.sliding {
            return false;
        }
        if self.place >= R::PAGE * 3 / 4 {
            let Some(row) = self.rows.get(R::PAGE / 2 - 1) else { return false };
            self.starts.push(row.key());
        } else if self.place < R::PAGE / 4 && !self.starts.is_empty() {
            self.starts.pop();
        } else {
            return false;
        }
        self.sliding = true;
        true
    }

    /// Forgets everything, for another filter.
    pub(in crate::console) fn clear(&mut self) {
        *self = if self.may_follow { Self::following() } else { Self::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Number(u32);

    impl Row for Number {
        type Key = u32;
        const PAGE: usize = 20;

        fn key(&self) -> u32 {
            self.0
        }
    }

    fn page(after: Option<u32>, of: u32) -> Vec<Number> {
        (0..of).filter(|n| after.is_none_or(|after| *n > after)).take(Number::PAGE).map(Number).collect()
    }

    #[test]
    fn the_selection_is_kept_by_key_while_rows_come_and_go() {
        let mut window = Window::default();
        window.put(None, vec![Number(5), Number(6), Number(7)]);
        window.move_by(1);
        window.put(None, vec![Number(3), Number(4), Number(5), Number(6), Number(7)]);
        assert_eq!(window.selected().map(Row::key), Some(6));
        window.put(None, vec![Number(3), Number(4), Number(5), Number(7)]);
        assert_eq!(window.selected().map(Row::key), Some(7), "a row that has gone hands over to its neighbour");
        window.put(None, Vec::new());
        assert!(window.selected().is_none());
    }

    #[test]
    fn a_following_list_shows_the_newest_until_a_row_is_chosen() {
        let mut window = Window::following();
        window.put(None, vec![Number(5)]);
        window.put(None, vec![Number(4), Number(5)]);
        assert_eq!((window.selected().map(Row::key), window.follows()), (Some(4), true));
        window.move_by(0);
        window.put(None, vec![Number(3), Number(4), Number(5)]);
        assert_eq!((window.selected().map(Row::key), window.follows()), (Some(4), false));
        window.move_to_top();
        window.put(None, vec![Number(2), Number(3)]);
        assert_eq!(window.selected().map(Row::key), Some(2));
    }

    #[test]
    fn walking_down_and_up_a_long_list_holds_one_page_and_skips_nothing() {
        let mut window = Window::default();
        window.put(None, page(None, 1000));
        let mut seen = vec![0];
        for _ in 0..999 {
            window.move_by(1);
            seen.extend(window.selected().map(Row::key));
            if window.slide() {
                let after = window.after();
                window.put(after.as_ref(), page(after, 1000));
            }
            assert!(window.rows().len() <= Number::PAGE);
        }
        assert_eq!(seen, (0..1000).collect::<Vec<_>>());
        for expected in (0..999).rev() {
            window.move_by(-1);
            assert_eq!(window.selected().map(Row::key), Some(expected));
            if window.slide() {
                let after = window.after();
                window.put(after.as_ref(), page(after, 1000));
            }
        }
        assert_eq!(window.after(), None);
    }

    #[test]
    fn an_answer_for_another_page_is_dropped() {
        let mut window = Window::default();
        window.put(None, page(None, 100));
        window.move_by(16);
        assert!(window.slide());
        window.put(None, vec![Number(99)]);
        assert_eq!(window.rows().len(), Number::PAGE);
        assert_eq!(window.selected().map(Row::key), Some(16));
    }
}
