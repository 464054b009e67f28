//! Reduces a rotary configuration to one frequency per pair.

use lucid_tensor::RotarySpec;

use crate::{RotaryConfig, RotaryScaling};

impl RotaryConfig {
    /// Radians per position of each pair: `theta^(-2i/dim)`, scaled.
    pub fn spec(&self) -> RotarySpec {
        let pairs = self.dim / 2;
        let base = |pair: usize| self.theta.powf(-((2 * pair) as f32 / self.dim as f32));
        let inverse_frequencies = match &self.scaling {
            RotaryScaling::None => (0..pairs).map(base).collect(),
            RotaryScaling::Linear { factor } => (0..pairs).map(|i| base(i) / factor).collect(),
            RotaryScaling::Factors(factors) => {
                factors.iter().enumerate().map(|(pair, factor)| base(pair) / factor).collect()
            }
            RotaryScaling::Llama3 {
                factor,
                low_frequency_factor,
                high_frequency_factor,
                original_context,
            } => (0..pairs)
                .map(|pair| {
                    let frequency = base(pair);
                    let wavelength = 2.0 * std::f32::consts::PI / frequency;
                    if wavelength < original_context / high_frequency_factor {
                        return frequency;
                    }
                    if wavelength > original_context / low_frequency_factor {
                        return frequency / factor;
                    }
                    // How far the wavelength lies between the two limits, 1 at the high-frequency
                    // end.
                    let smooth = (original_context / wavelength - low_frequency_factor)
                        / (high_frequency_factor - low_frequency_factor);
                    (1.0 - smooth) * frequency / factor + smooth * frequency
                })
                .collect(),
        };
        RotarySpec { inverse_frequencies, magnitude: 1.0, pairing: self.pairing }
    }
}

#[cfg(test)]
mod tests {
    use lucid_tensor::RotaryPairing;

    use super::*;

    fn check(scaling: RotaryScaling, expected: [f32; 4]) {
        let config =
            RotaryConfig { theta: 10_000.0, dim: 8, pairing: RotaryPairing::Halves, scaling };
        for (found, expected) in config.spec().inverse_frequencies.iter().zip(expected) {
            assert!((found - expected).abs() <= 1e-5 * expected, "{found} {expected}");
        }
    }

    #[test]
    fn frequencies_of_each_scaling() {
        check(RotaryScaling::None, [1.0, 0.1, 0.01, 0.001]);
        check(RotaryScaling::Linear { factor: 4.0 }, [0.25, 0.025, 0.0025, 0.00025]);
        check(RotaryScaling::Factors(vec![1.0, 2.0, 4.0, 8.0]), [1.0, 0.05, 0.0025, 0.000125]);
        // Wavelengths 6.3, 62.8, 628, 6283 against limits 1024 / 4 = 256 and 1024 / 1 = 1024: two
        // kept, one on the ramp (smooth = (1024 / 628.3 - 1) / 3 = 0.2099), one divided by 8.
        check(
            RotaryScaling::Llama3 {
                factor: 8.0,
                low_frequency_factor: 1.0,
                high_frequency_factor: 4.0,
                original_context: 1024.0,
            },
            [1.0, 0.1, 0.01 * (0.790_083 / 8.0 + 0.209_917), 0.000_125],
        );
    }
}
