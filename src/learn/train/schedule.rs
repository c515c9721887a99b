//! How fast a run learns, and when: rates rise over the first batches and fall to the end.

use super::optimiser::Pace;
use super::options::Options;

/// What the rates of a run follow from; the names are those of the settings.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Epochs of the run.
    pub epochs: u64,
    /// Pictures a batch.
    pub batch: usize,
    /// Gradients of so many pictures make a step.
    pub nbs: usize,
    /// The share of the first rate that is left at the end.
    pub lrf: f64,
    /// Whether the rate falls along a cosine rather than a line.
    pub cos_lr: bool,
    /// What of a weight is taken off at a rate of 1.
    pub weight_decay: f64,
    /// Epochs in which rates rise to their first value.
    pub warmup_epochs: f64,
    /// Batches in which they rise at least.
    pub warmup_batches: u64,
    /// Momentum at the very beginning.
    pub warmup_momentum: f64,
}

impl From<&Options> for Terms {
    fn from(options: &Options) -> Self {
        Self {
            epochs: options.epochs,
            batch: options.batch,
            nbs: options.nbs,
            lrf: options.lrf,
            cos_lr: options.cos_lr,
            weight_decay: options.weight_decay,
            warmup_epochs: options.warmup_epochs,
            warmup_batches: 100,
            warmup_momentum: options.warmup_momentum,
        }
    }
}

/// The rates of a run.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    rate: f64,
    last: f64,
    cosine: bool,
    epochs: u64,
    /// Batches in which rates rise.
    rise: u64,
    momentum: [f64; 2],
    first_bias: f64,
    decay: f64,
    /// Batches that make a step, once risen.
    gathered: f64,
}

impl Schedule {
    /// The rates of a run with so many batches an epoch; rate, momentum and the biases' first rate as chosen.
    #[must_use]
    pub fn new(options: &Terms, batches: u64, (rate, momentum, first_bias): (f64, f64, f64)) -> Self {
        let gathered = (options.nbs as f64 / options.batch as f64).round().max(1.0);
        let rise = if options.warmup_epochs > 0.0 {
            ((options.warmup_epochs * batches as f64).round() as u64).max(options.warmup_batches)
        } else {
            0
        };
        Self {
            rate,
            last: options.lrf,
            cosine: options.cos_lr,
            epochs: options.epochs,
            rise,
            momentum: [options.warmup_momentum, momentum],
            first_bias,
            // A step of more pictures than nominal takes off more.
            decay: options.weight_decay * options.batch as f64 * gathered / options.nbs as f64,
            gathered: options.nbs as f64 / options.batch as f64,
        }
    }

    /// The share of the first rate that an epoch (from 0) learns at.
    #[must_use]
    pub fn share(&self, epoch: u64) -> f64 {
        let done = epoch as f64 / self.epochs as f64;
        if self.cosine {
            (1.0 - (done * std::f64::consts::PI).cos()) / 2.0 * (self.last - 1.0) + 1.0
        } else {
            (1.0 - done).max(0.0) * (1.0 - self.last) + self.last
        }
    }

    /// What a batch goes by: `number` counts the run's batches from 0.
    #[must_use]
    pub fn pace(&self, epoch: u64, number: u64) -> Pace {
        let full = self.rate * self.share(epoch);
        let (rates, momentum) = if number <= self.rise && self.rise > 0 {
            let risen = number as f64 / self.rise as f64;
            let between = |from: f64, to: f64| from + (to - from) * risen;
            (
                [between(0.0, full), between(0.0, full), between(self.first_bias, full)],
                between(self.momentum[0], self.momentum[1]),
            )
        } else {
            ([full; 3], self.momentum[1])
        };
        Pace { rates, momentum, decay: self.decay }
    }

    /// How many batches make a step when the run has seen so many.
    #[must_use]
    pub fn gather(&self, number: u64) -> u64 {
        let risen = if self.rise > 0 { (number as f64 / self.rise as f64).min(1.0) } else { 1.0 };
        // Python rounds halves to even.
        (1.0 + (self.gathered - 1.0) * risen).round_ties_even().max(1.0) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_rise_and_fall_as_they_should() {
        let options = Options { epochs: 10, batch: 16, ..Options::default() };
        let schedule = Schedule::new(&(&options).into(), 50, (0.01, 0.937, 0.1));
        let at = |epoch, number| schedule.pace(epoch, number);
        assert_eq!(at(0, 0).rates, [0.0, 0.0, 0.1]);
        assert!((at(0, 75).rates[0] - 0.005).abs() < 1e-12 && (at(0, 75).momentum - 0.8685).abs() < 1e-12);
        assert!((at(9, 460).rates[2] - 0.01 * (0.1 * 0.99 + 0.01)).abs() < 1e-12);
        assert_eq!((schedule.gather(0), schedule.gather(150), schedule.gather(4000)), (1, 4, 4));
        assert!((at(5, 300).decay - 0.0005).abs() < 1e-12);
        let cosine = Schedule::new(&(&Options { cos_lr: true, ..options }).into(), 50, (0.01, 0.937, 0.1));
        assert!((cosine.share(0) - 1.0).abs() < 1e-12 && (cosine.share(10) - 0.01).abs() < 1e-12);
    }
}
