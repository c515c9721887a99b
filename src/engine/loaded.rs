//! The models in the hands of the thread that owns them: loaded when first needed, tried again when that fails.

use std::time::{Duration, Instant};

use super::core::{Engine, lock};
use super::models::{Loader, Models};

/// The models once they are loaded; a failure is not tried again for a while.
pub(super) struct Loaded<'a> {
    loader: &'a Loader,
    models: Option<Models>,
    failed: Option<(Instant, String)>,
}

impl<'a> Loaded<'a> {
    pub(super) fn new(loader: &'a Loader) -> Self {
        Self { loader, models: None, failed: None }
    }

    /// The models, loaded if need be.
    ///
    /// # Errors
    /// One sentence: why they cannot be loaded.
    pub(super) fn get(&mut self, engine: &Engine) -> Result<&Models, String> {
        if self.models.is_none() {
            if let Some((at, error)) = &self.failed
                && at.elapsed() < Duration::from_secs(10)
            {
                return Err(error.clone());
            }
            match (self.loader)(&engine.config) {
                Ok(models) => {
                    engine.models_loaded(&models);
                    self.failed = None;
                    self.models = Some(models);
                }
                Err(error) => {
                    engine.models_failed(&error);
                    self.failed = Some((Instant::now(), error));
                }
            }
        }
        let failed = &self.failed;
        self.models.as_ref().ok_or_else(|| failed.as_ref().map_or_else(String::new, |(_, error)| error.clone()))
    }

    /// Pictures that were parked go on once there are models and the gallery can be compared with theirs.
    pub(super) fn unpark(&mut self, engine: &Engine) {
        if !engine.queue.has_parked() {
            return;
        }
        if let Ok(models) = self.get(engine)
            && engine.can_compare(models.fingerprint()).is_ok()
        {
            engine.queue.unpark();
        }
    }
}

impl Engine {
    fn models_loaded(&self, models: &Models) {
        let mut state = lock(&self.models);
        state.device = Some(models.device.clone());
        state.fingerprint = Some(models.fingerprint());
        state.crops = models.crops();
        let [detector, embedder] = &models.details;
        for (status, detail, untrained) in [(0, detector, models.untrained[0]), (1, embedder, models.untrained[1])] {
            let status = if status == 0 { &mut state.detector } else { &mut state.embedder };
            status.state = "loaded".into();
            status.detail.clone_from(detail);
            status.untrained = untrained;
        }
        drop(state);
        if models.untrained.iter().any(|untrained| *untrained) {
            self.warn("the weights in use were never trained: they show how sightline works, their answers mean nothing for real packs".into());
        }
        self.dirty.store(true, std::sync::atomic::Ordering::Relaxed);
    }

    fn models_failed(&self, error: &str) {
        let mut state = lock(&self.models);
        let state = &mut *state;
        for status in [&mut state.detector, &mut state.embedder] {
            if status.state != "loaded" {
                status.state = if status.path.as_path().is_file() { "failed".into() } else { "missing".into() };
                status.detail = error.to_owned();
            }
        }
        self.warn(format!("the models cannot be loaded, so pictures wait: {error}"));
    }
}
