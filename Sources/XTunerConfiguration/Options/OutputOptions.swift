import XTunerInput

/// The section `evaluation`: the loss on held-out data.
public struct EvaluationOptions: Sendable, Equatable {
  /// Steps between two evaluations; `nil` for one at the end.
  public var everySteps: Int?
  /// Packs of an evaluation at most; `nil` for all.
  public var maxPacks: Int?

  /// Creates the section with its defaults.
  public init() {}
}

extension EvaluationOptions: ConfigurationSection {
  static let summary = "The loss on held-out data, when data.evaluation or a split is given."

  static let fields: [ConfigurationField<Self>] = [
    .init(
      "every_steps", \.everySteps, .optional(.integer(from: 1, .steps)),
      "Steps between two evaluations; null evaluates once, after the last step."),
    .init(
      "max_packs", \.maxPacks, .optional(.integer(from: 1, .packs)),
      "Packs of one evaluation at most, a fixed sample over all sources; null takes all."),
  ]
}

/// The section `checkpoint`: what a run can be resumed from.
public struct CheckpointOptions: Sendable, Equatable {
  /// Steps between two checkpoints; `nil` for none but the last.
  public var everySteps: Int? = 500
  /// Newest checkpoints that are kept; `nil` for all.
  public var keep: Int? = 3
  /// Whether optimizer states are saved.
  public var savesOptimizer = true
  /// Whether the last step writes one.
  public var atEnd = true
  /// Whether writing goes on while training does.
  public var inBackground = true

  /// Creates the section with its defaults.
  public init() {}
}

extension CheckpointOptions: ConfigurationSection {
  static let summary = "What a run can be resumed from after it stopped."

  static let fields: [ConfigurationField<Self>] = [
    .init(
      "every_steps", \.everySteps, .optional(.integer(from: 1, .steps)),
      "Steps between two checkpoints; null writes none but those at a stop and at the end."),
    .init(
      "keep", \.keep, .optional(.integer(from: 1, .checkpoints)),
      "Newest checkpoints that are kept; older ones are deleted. null keeps all."),
    .init(
      "save_optimizer", \.savesOptimizer, .flag,
      "Whether optimizer states are saved; without them a run cannot be resumed exactly."),
    .init("at_end", \.atEnd, .flag, "Whether a checkpoint is written after the last step."),
    .init(
      "background", \.inBackground, .flag,
      "Whether training goes on while a checkpoint is written; needs memory for a copy."),
  ]
}

/// The section `export`: the Hugging Face folder made of the trained weights.
public struct ExportOptions: Sendable, Equatable {
  /// Whether the last step writes it.
  public var atEnd = true

  /// Creates the section with its defaults.
  public init() {}
}

extension ExportOptions: ConfigurationSection {
  static let summary = "The Hugging Face folder made of the trained weights."

  static let fields: [ConfigurationField<Self>] = [
    .init(
      "at_end", \.atEnd, .flag,
      "Whether the trained model is written to export/ of the run directory after the last step.")
  ]
}

/// The section `logging`: what a person and other programs see of a run.
public struct LoggingOptions: Sendable, Equatable {
  /// What appears on the terminal while training.
  public enum Console: String, Sendable, CaseIterable {
    /// A status line on a terminal, plain lines elsewhere.
    case auto
    /// One line at each logging interval.
    case plain
    /// Errors only.
    case quiet
  }

  /// Steps between two lines of plain progress.
  public var everySteps = 1
  /// Whether TensorBoard event files are written.
  public var tensorboard = true
  /// What appears on the terminal.
  public var console = Console.auto

  /// Creates the section with its defaults.
  public init() {}
}

extension LoggingOptions: ConfigurationSection {
  static let summary = "What is shown and recorded. metrics.jsonl always has every step."

  static let fields: [ConfigurationField<Self>] = [
    .init(
      "every_steps", \.everySteps, .integer(from: 1, .steps),
      "Steps between two lines of progress and two points in TensorBoard."),
    .init(
      "tensorboard", \.tensorboard, .flag,
      "Whether TensorBoard event files are written to tensorboard/ of the run directory."),
    .init(
      "console", \.console, .choice(),
      "Progress on the terminal: auto is a status line, plain is a line a time, quiet is none."),
  ]
}
