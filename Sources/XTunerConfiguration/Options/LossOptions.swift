import XTunerInput

/// The section `loss`: what is minimised.
public struct LossOptions: Sendable, Equatable {
  /// What a label weighs.
  public enum Reduction: String, Sendable, CaseIterable {
    /// Every label weighs 1.
    case token
    /// The labels of a sample together weigh 1.
    case sample
    /// A label weighs 1 / sqrt(labels of its sample).
    case square
  }

  /// Which rows of experts the balance loss counts.
  public enum BalanceScope: String, Sendable, CaseIterable {
    /// Those of the micro-batches that all ranks compute together.
    case round
    /// Those of all micro-batches of a step, counted by a forward pass before the first round.
    case step
  }

  /// What a label weighs.
  public var reduction = Reduction.token
  /// Tokens whose logits exist at the same time.
  public var chunkSize = 1024
  /// Factor of the squared log of the softmax's denominator.
  public var zLoss = 0.0
  /// Factor of the experts' balance loss.
  public var balanceLoss = 0.001
  /// Which rows of experts the balance loss counts.
  public var balanceScope = BalanceScope.round
  /// Factor of the routers' z-loss.
  public var routerZLoss = 0.0

  /// Creates the section with its defaults.
  public init() {}
}

extension LossOptions: ConfigurationSection {
  static let summary = "What is minimised."

  static let fields: [ConfigurationField<Self>] = [
    .init(
      "reduction", \.reduction, .choice(),
      """
      What a label weighs: token gives each 1, sample gives each 1/n of its sample's n labels, \
      square gives 1/sqrt(n). The divisor is the sum of weights of the whole step.
      """),
    .init(
      "chunk_size", \.chunkSize, .integer(from: 1, .chunk),
      "Tokens whose logits exist at the same time; bounds the memory of a large vocabulary."),
    .init(
      "z_loss", \.zLoss, .number(.nonNegative, .lossFactor),
      "Factor of the output z-loss, which keeps logits small; 0 is off."),
    .init(
      "balance_loss", \.balanceLoss, .number(.nonNegative, .lossFactor),
      "MoE: factor of the loss that spreads tokens over experts (alpha); 0 is off."),
    .init(
      "balance_scope", \.balanceScope, .choice(),
      """
      MoE: which rows of experts the balance loss counts. round: those of the micro-batches that all \
      ranks compute together, so that the loss depends a little on how many rounds a step has. step: \
      those of the whole step, exactly, at the price of one more forward pass through the layers \
      where a step has several rounds; where it has one, both are the same.
      """),
    .init(
      "router_z_loss", \.routerZLoss, .number(.nonNegative, .lossFactor),
      "MoE: factor of the loss that keeps router logits small; 0 is off."),
  ]
}
