import XTunerInput

/// The section `training`: length, batch and memory.
public struct TrainingOptions: Sendable, Equatable {
  /// Which layers run their forward pass again in the backward pass instead of keeping it.
  public enum Recompute: Sendable, Equatable {
    /// No layer.
    case none
    /// Every layer, but for the stages of ``TrainingOptions/keptStages``.
    case selective
    /// Every layer.
    case full
    /// This share of the layers, above 0 and below 1.
    case ratio(Double)
  }

  /// A part of a layer whose result can be kept for the backward pass.
  public enum KeptStage: String, Sendable, CaseIterable {
    /// Norm and projections to queries, keys and values.
    case project
    /// Attention.
    case attend
    /// The rest of a dense layer.
    case feedForward
    /// Attention's output projection, norm and router.
    case route
    /// The rows in expert order, and where they travelled.
    case dispatch
    /// The experts' matrix products.
    case experts
    /// The shared expert.
    case shared
    /// The weighted sum.
    case combine

    /// Whether it reads the layer's input.
    var readsInput: Bool { [.project, .route, .feedForward].contains(self) }
  }

  /// Optimizer steps of the run.
  public var steps: Int?
  /// Passes over the training data, when `steps` is not given.
  public var epochs: Int?
  /// Packs of one optimizer step.
  public var packsPerStep = 8
  /// Packs that run through the model together.
  public var microBatchPacks = 1
  /// Gradients are scaled down to this norm; `nil` for no clipping.
  public var maxGradientNorm: Double? = 1.0
  /// A step whose gradient norm is above this is not applied; `nil` applies every finite step.
  public var skipThreshold: Double?
  /// Which layers are recomputed.
  public var recompute = Recompute.none
  /// What `recompute: selective` keeps.
  public var keptStages: [KeptStage] = [.attend]
  /// Whether inputs of recomputed layers wait for the backward pass in host memory.
  public var swapsActivations = false
  /// Whether the optimizer's moments are in host memory but for their update.
  public var swapsOptimizer = false

  /// Creates the section with its defaults.
  public init() {}
}

extension TrainingOptions: ConfigurationSection {
  static let summary = "How long to train and on how much at once. Give one of steps and epochs."

  static let fields: [ConfigurationField<Self>] = [
    .init(
      "steps", \.steps, .optional(.integer(from: 1, .steps)),
      "Optimizer steps of the run; the data is repeated as often as needed."),
    .init(
      "epochs", \.epochs, .optional(.integer(from: 1, .epochs)),
      "Passes over the training data, instead of steps."),
    .init(
      "packs_per_step", \.packsPerStep, .integer(from: 1, .packs),
      """
      Packs of one optimizer step (the global batch): at most \
      packs_per_step x data.sequence_length tokens.
      """),
    .init(
      "micro_batch_packs", \.microBatchPacks, .integer(from: 1, .packs),
      """
      Packs that run through the model together; must divide packs_per_step. Fewer need less \
      memory. Loss and gradients are the same but for the balance loss, which counts a round at a \
      time, the micro-batches that all ranks compute together, unless loss.balance_scope is step.
      """),
    .init(
      "max_gradient_norm", \.maxGradientNorm, .optional(.number(.positive, .norm)),
      "Gradients with a larger norm are scaled down to it; null never clips."),
    .init(
      "skip_threshold", \.skipThreshold, .optional(.number(.positive, .norm)),
      "A step whose gradient norm is above this is skipped and counted; null skips none."),
    .init(
      "recompute", \.recompute, .recompute,
      """
      Layers that run forward again in the backward pass instead of keeping activations: none, \
      full, selective (all layers, but not kept_stages), or a share of the layers such as 0.5. \
      Saves memory, costs time, changes no result.
      """),
    .init(
      "kept_stages", \.keptStages, .choices("[attend, dispatch]"),
      """
      What recompute: selective keeps, out of project, attend, feedForward, route, dispatch, \
      experts, shared and combine. With dispatch kept, rows travel to experts once.
      """),
    .init(
      "swap_activations", \.swapsActivations, .flag,
      """
      Whether the inputs of recomputed layers are moved to host memory after the forward pass and \
      brought back ahead of the backward pass; needs recompute.
      """),
    .init(
      "swap_optimizer", \.swapsOptimizer, .flag,
      """
      Whether the optimizer's moments stay in host memory and only a unit's are on the device \
      while it is updated. On a CPU that is the same memory.
      """),
  ]
}

extension ValueType where Value == TrainingOptions.Recompute {
  /// `none`, `full` or a share from 0 to 1.
  static var recompute: Self {
    let words: ConfigurationValue = .list([.text("none"), .text("selective"), .text("full")])
    return .init(
      name: "none, selective, full, or number from 0 to 1",
      schema: [
        .init(
          "anyOf",
          .list([
            .mapping([.init("enum", words)]),
            .mapping([.init("type", .text("number"))] + NumberRange.share.schema),
          ]))
      ],
      decode: { node throws(Rejection) in
        let expected = "none, selective, full, or a number from 0 to 1"
        switch try plainText(node, expected: expected) {
        case "none": return .none
        case "full": return .full
        case "selective": return .selective
        case let text:
          guard let share = ScalarSyntax.number(text), (0...1).contains(share) else {
            throw Rejection(expected: expected, node: node)
          }
          return share == 0 ? .none : share == 1 ? .full : .ratio(share)
        }
      },
      encode: { value in
        switch value {
        case .none: .text("none")
        case .full: .text("full")
        case .selective: .text("selective")
        case .ratio(let share): .number(share)
        }
      })
  }
}
