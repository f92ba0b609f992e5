import XTunerInput

/// The section `optimizer`.
public struct OptimizerOptions: Sendable, Equatable {
  /// The update rule.
  public enum Name: String, Sendable, CaseIterable {
    /// Adam with decoupled weight decay.
    case adamw
    /// Orthogonalised momentum for matrices, AdamW for all other parameters.
    case muon
  }

  /// The number type of what the optimizer keeps.
  public enum State: String, Sendable, CaseIterable {
    /// Float32 master weights and moments: 12 bytes an element beside the compute copy.
    case f32
    /// Moments in bfloat16, and no master weights: 4 bytes an element beside the compute copy.
    case bf16
  }

  /// Decay rates of AdamW's two running means.
  public struct Betas: Sendable, Equatable {
    /// Decay rate of the mean of gradients.
    public var first: Double
    /// Decay rate of the mean of squared gradients.
    public var second: Double

    /// Pairs two decay rates.
    public init(first: Double, second: Double) {
      self.first = first
      self.second = second
    }
  }

  /// The update rule.
  public var name = Name.adamw
  /// Peak learning rate; 1e-5 suits fine-tuning, pre-training wants about 3e-4.
  public var learningRate = 1e-5
  /// Decoupled weight decay, applied as `learningRate * weightDecay`.
  public var weightDecay = 0.01
  /// Decay rates of the running means.
  public var betas = Betas(first: 0.9, second: 0.95)
  /// Added to the denominator of the update.
  public var epsilon = 1e-8
  /// The number type of master weights and moments.
  public var state = State.f32
  /// Decay rate of Muon's running mean of gradients.
  public var momentum = 0.95
  /// Whether Muon's direction looks one step ahead of the mean.
  public var usesNesterov = true
  /// Newton-Schulz steps that orthogonalise a matrix.
  public var newtonSchulzSteps = 5
  /// Whether norms and biases decay too.
  public var decaysNorms = false
  /// Whether the embedding and the head decay too.
  public var decaysEmbeddings = true

  /// Creates the section with its defaults.
  public init() {}
}

extension OptimizerOptions: ConfigurationSection {
  static let summary = "How gradients change the weights."

  static let fields: [ConfigurationField<Self>] = [
    .init(
      "name", \.name, .choice(),
      """
      The update rule. muon moves each matrix, also each expert's, by its orthogonalised momentum, \
      scaled so that AdamW's learning rate and weight decay suit it; embeddings, the head, norms, \
      biases and routers go by AdamW. It keeps one number an element of a matrix where AdamW \
      keeps two.
      """),
    .init(
      "learning_rate", \.learningRate, .number(.positive, .learningRate),
      """
      Learning rate at the schedule's peak. The default suits fine-tuning; training from random \
      weights wants about 3e-4.
      """),
    .init(
      "weight_decay", \.weightDecay, .number(.nonNegative, .weightDecay),
      "Decoupled weight decay: each step takes learning rate x weight_decay off a weight."),
    .init(
      "betas", \.betas, .betas,
      "Decay rates of the running means of gradients and of squared gradients."),
    .init(
      "epsilon", \.epsilon, .number(.positive, .epsilon),
      "Added to the root of the mean squared gradient in the update."),
    .init(
      "state", \.state, .choice(),
      """
      adamw: what is kept of each weight. f32: a master weight and two moments in float32, 12 bytes \
      beside the weight that is computed with. bf16: two moments in bfloat16, 4 bytes, and no master; \
      updates are rounded stochastically, so that small ones are not lost, at the price of noise. It \
      needs model.dtype bf16.
      """),
    .init(
      "momentum", \.momentum, .number(.belowOne),
      "muon: decay rate of the running mean of a matrix's gradients."),
    .init(
      "nesterov", \.usesNesterov, .flag,
      "muon: whether the direction looks one step ahead of the running mean."),
    .init(
      "newton_schulz_steps", \.newtonSchulzSteps, .integer(from: 1, .iterations),
      "muon: steps that orthogonalise a matrix; 5 bring its singular values to about 1."),
    .init(
      "decay_norms", \.decaysNorms, .flag, "Whether norm weights and biases decay too."),
    .init(
      "decay_embeddings", \.decaysEmbeddings, .flag,
      "Whether the embedding and the output head decay too."),
  ]
}

extension OptimizerOptions {
  /// Rejects what is not for the update rule, and what Muon cannot do.
  func check(
    _ problems: inout ConfigurationProblems, parallel: ParallelOptions, model: ModelOptions
  ) {
    problems.check(
      "optimizer.state", involving: ["model.dtype"], state == .f32 || model.dtype == .bf16,
      "bf16 needs model.dtype bf16, which is \(model.dtype.rawValue)")
    problems.check(
      "optimizer.state", involving: ["optimizer.name"], state == .f32 || name == .adamw,
      "bf16 is for optimizer.name adamw, which is \(name.rawValue)")
    switch name {
    case .adamw:
      let defaults = OptimizerOptions()
      let options = [
        ("momentum", momentum == defaults.momentum),
        ("nesterov", usesNesterov == defaults.usesNesterov),
        ("newton_schulz_steps", newtonSchulzSteps == defaults.newtonSchulzSteps),
      ]
      for (key, isDefault) in options {
        problems.check(
          "optimizer.\(key)", involving: ["optimizer.name"], isDefault,
          "is for optimizer.name muon, which is \(name.rawValue)")
      }
    case .muon:
      problems.check(
        "optimizer.name", involving: ["parallel.expert_tensor"], parallel.expertTensor == 1,
        """
        muon needs whole matrices, which parallel.expert_tensor (\(parallel.expertTensor)) cuts; \
        set that to 1 and use parallel.expert, or take adamw
        """)
    }
  }
}

extension NumberRange {
  /// A decay rate.
  fileprivate static let belowOne = NumberRange(
    description: "from 0 to below 1",
    schema: [.init("minimum", .integer(0)), .init("exclusiveMaximum", .integer(1))]
  ) { $0 >= 0 && $0 < 1 }
}

extension ValueType where Value == OptimizerOptions.Betas {
  /// Two numbers of at least 0 and below 1.
  static var betas: Self {
    let item: ConfigurationValue = .mapping([
      .init("type", .text("number")), .init("minimum", .integer(0)),
      .init("exclusiveMaximum", .integer(1)),
    ])
    return .init(
      name: "list of two numbers from 0 to below 1",
      schema: [
        .init("type", .text("array")), .init("items", item), .init("minItems", .integer(2)),
        .init("maxItems", .integer(2)),
      ],
      decode: { node throws(Rejection) in
        let expected = "two numbers from 0 to below 1, such as [0.9, 0.95]"
        guard case .list(let items) = node.content, items.count == 2 else {
          throw Rejection(expected: expected, node: node)
        }
        var values: [Double] = []
        for item in items {
          let text = try plainText(item, expected: expected)
          guard let value = ScalarSyntax.number(text), value >= 0, value < 1 else {
            throw Rejection(expected: expected, node: item)
          }
          values.append(value)
        }
        return .init(first: values[0], second: values[1])
      },
      encode: { .list([.number($0.first), .number($0.second)]) })
  }
}
