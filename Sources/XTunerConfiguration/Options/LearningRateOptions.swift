import XTunerInput

/// The section `schedule`: how the learning rate changes over a run.
public struct LearningRateOptions: Sendable, Equatable {
  /// Shape of the schedule after the warm-up.
  public enum Name: String, Sendable, CaseIterable {
    /// Half a cosine down to the minimum.
    case cosine
    /// A line down to the minimum.
    case linear
    /// The peak until the end.
    case constant
    /// Warm-up, stable, decay: the peak, then a line down at the end.
    case wsd
  }

  /// Shape of the schedule after the warm-up.
  public var name = Name.cosine
  /// Steps of the warm-up.
  public var warmupSteps: Int?
  /// Share of the run's steps that warms up, when `warmupSteps` is not given.
  public var warmupRatio: Double?
  /// Learning rate at the end as a share of the peak.
  public var minimumLearningRateRatio = 0.0
  /// Steps of the decay of `wsd`.
  public var decaySteps: Int?
  /// Share of the run's steps that decays with `wsd`, when `decaySteps` is not given.
  public var decayRatio: Double?

  /// Creates the section with its defaults.
  public init() {}
}

extension LearningRateOptions: ConfigurationSection {
  static let summary = "How the learning rate changes over the run."

  static let fields: [ConfigurationField<Self>] = [
    .init(
      "name", \.name, .choice(),
      """
      Shape after the warm-up: cosine and linear fall to the minimum at the last step, constant \
      stays at the peak, wsd stays there and falls in a line at the end.
      """),
    .init(
      "warmup_steps", \.warmupSteps, .optional(.integer(from: 0, .steps)),
      "Steps over which the learning rate rises in a line from 0 to its peak; null is 0."),
    .init(
      "warmup_ratio", \.warmupRatio, .optional(.number(.share)),
      "The warm-up as a share of the run's steps, instead of warmup_steps."),
    .init(
      "minimum_learning_rate_ratio", \.minimumLearningRateRatio, .number(.share),
      "Learning rate at the last step as a share of the peak; not for constant."),
    .init(
      "decay_steps", \.decaySteps, .optional(.integer(from: 1, .steps)),
      "wsd: steps of the final decay."),
    .init(
      "decay_ratio", \.decayRatio, .optional(.number(.share)),
      "wsd: the final decay as a share of the run's steps, instead of decay_steps."),
  ]
}
