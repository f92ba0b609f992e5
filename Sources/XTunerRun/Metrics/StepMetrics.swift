import XTunerConfiguration

/// What one optimizer step reports.
public struct StepMetrics: Sendable, Equatable {
  /// The step, from 1.
  public var step: Int
  /// Loss over the step's labels, without auxiliary losses.
  public var loss: Double
  /// Norm of the gradients before clipping.
  public var gradientNorm: Double
  /// Learning rate of the update.
  public var learningRate: Double
  /// Tokens of the step's packs.
  public var tokens: Int
  /// Tokens of the step that carry loss.
  public var lossTokens: Int
  /// Throughput in tokens/s, over the whole step.
  public var tokensPerSecond: Double
  /// Duration of the step in seconds, data and bookkeeping included.
  public var stepSeconds: Double
  /// Model FLOPs utilisation from 0 to 1; `nil` where the device's peak is unknown.
  public var modelFlopsUtilization: Double?
  /// Highest memory use so far in bytes.
  public var memoryPeakBytes: Int?
  /// Highest memory of tensors so far in bytes, on the rank that has most.
  public var tensorPeakBytes: Int?
  /// Memory of tensors in bytes after the step, on the rank that has most.
  public var tensorLiveBytes: Int?
  /// Seconds that the step waited for data.
  public var dataSeconds: Double
  /// Seconds that ranks waited for communication, on average over ranks; `nil` for one rank.
  public var communicationSeconds: Double?
  /// Predicted work of the ranks that have most, over the mean; `nil` for one rank.
  public var predictedImbalance: Double?
  /// Seconds of computing of the rank that took longest, over the mean; `nil` for one rank.
  public var measuredImbalance: Double?
  /// MoE: `(max - mean) / mean` of expert loads, averaged over layers.
  public var maxViolation: Double?
  /// MoE: the balance loss, with its factor.
  public var balanceLoss: Double?
  /// MoE: the routers' z-loss, with its factor.
  public var routerZLoss: Double?
  /// The output z-loss, with its factor.
  public var zLoss: Double?
  /// True when the update was not applied: because of its gradient norm, or for want of a label.
  public var isSkipped: Bool
  /// Loss by data source, in the order of the configuration.
  public var sourceLosses: [NamedValue]

  /// A number with a name, such as the loss of one data source.
  public struct NamedValue: Sendable, Equatable {
    /// What the number belongs to.
    public var name: String
    /// The number.
    public var value: Double

    /// Pairs a name with a number.
    public init(_ name: String, _ value: Double) {
      self.name = name
      self.value = value
    }
  }

  /// Creates the report of a step.
  public init(
    step: Int, loss: Double, gradientNorm: Double, learningRate: Double, tokens: Int,
    lossTokens: Int, tokensPerSecond: Double, stepSeconds: Double,
    modelFlopsUtilization: Double? = nil, memoryPeakBytes: Int? = nil,
    tensorPeakBytes: Int? = nil, tensorLiveBytes: Int? = nil, dataSeconds: Double = 0,
    communicationSeconds: Double? = nil,
    predictedImbalance: Double? = nil, measuredImbalance: Double? = nil,
    maxViolation: Double? = nil, balanceLoss: Double? = nil, routerZLoss: Double? = nil,
    zLoss: Double? = nil, isSkipped: Bool = false, sourceLosses: [NamedValue] = []
  ) {
    self.step = step
    self.loss = loss
    self.gradientNorm = gradientNorm
    self.learningRate = learningRate
    self.tokens = tokens
    self.lossTokens = lossTokens
    self.tokensPerSecond = tokensPerSecond
    self.stepSeconds = stepSeconds
    self.modelFlopsUtilization = modelFlopsUtilization
    self.memoryPeakBytes = memoryPeakBytes
    self.tensorPeakBytes = tensorPeakBytes
    self.tensorLiveBytes = tensorLiveBytes
    self.dataSeconds = dataSeconds
    self.communicationSeconds = communicationSeconds
    self.predictedImbalance = predictedImbalance
    self.measuredImbalance = measuredImbalance
    self.maxViolation = maxViolation
    self.balanceLoss = balanceLoss
    self.routerZLoss = routerZLoss
    self.zLoss = zLoss
    self.isSkipped = isSkipped
    self.sourceLosses = sourceLosses
  }

  /// The step as a line of `metrics.jsonl`, without the final newline.
  ///
  /// A number that is not finite is `null`, and the object `non_finite` says what it was. A step
  /// without labels has neither loss nor norm: `null`, with 0 `loss_tokens`.
  public var jsonLine: String {
    var line = MetricsLine(step: step)
    let hasLoss = lossTokens > 0
    line.add("loss", hasLoss ? loss : Double?.none)
    line.add("grad_norm", hasLoss ? gradientNorm : Double?.none)
    line.add("lr", learningRate)
    line.add("tokens", tokens)
    line.add("loss_tokens", lossTokens)
    line.add("tokens_per_second", tokensPerSecond)
    line.add("step_seconds", stepSeconds)
    line.add("mfu", modelFlopsUtilization)
    line.add("memory_peak_bytes", memoryPeakBytes)
    if let tensorPeakBytes { line.add("tensor_peak_bytes", tensorPeakBytes) }
    if let tensorLiveBytes { line.add("tensor_live_bytes", tensorLiveBytes) }
    line.add("data_seconds", dataSeconds)
    if let communicationSeconds { line.add("communication_seconds", communicationSeconds) }
    if let predictedImbalance { line.add("imbalance_predicted", predictedImbalance) }
    if let measuredImbalance { line.add("imbalance_measured", measuredImbalance) }
    if let maxViolation { line.add("max_violation", maxViolation) }
    if let balanceLoss { line.add("balance_loss", balanceLoss) }
    if let routerZLoss { line.add("router_z_loss", routerZLoss) }
    if let zLoss { line.add("z_loss", zLoss) }
    if isSkipped { line.add("skipped", true) }
    if !sourceLosses.isEmpty { line.add("source_loss", sourceLosses) }
    return line.json
  }
}

/// What one evaluation reports.
public struct EvaluationMetrics: Sendable, Equatable {
  /// The last step before the evaluation; 0 before training.
  public var step: Int
  /// Loss over the labels of all held-out data.
  public var loss: Double
  /// Tokens that carry loss.
  public var lossTokens: Int
  /// Duration in seconds.
  public var seconds: Double
  /// Loss by data source, in the order of the configuration; none for a source without labels.
  public var sourceLosses: [StepMetrics.NamedValue]

  /// Creates the report of an evaluation.
  public init(
    step: Int, loss: Double, lossTokens: Int, seconds: Double,
    sourceLosses: [StepMetrics.NamedValue] = []
  ) {
    self.step = step
    self.loss = loss
    self.lossTokens = lossTokens
    self.seconds = seconds
    self.sourceLosses = sourceLosses
  }

  /// The evaluation as a line of `metrics.jsonl`, without the final newline.
  public var jsonLine: String {
    var line = MetricsLine(step: step)
    line.add("evaluation_loss", loss)
    line.add("evaluation_loss_tokens", lossTokens)
    line.add("evaluation_seconds", seconds)
    if !sourceLosses.isEmpty { line.add("evaluation_source_loss", sourceLosses) }
    return line.json
  }
}

/// A line of `metrics.jsonl` in the making.
struct MetricsLine {
  private var entries: [ConfigurationValue.Entry]
  private var nonFinite: [ConfigurationValue.Entry] = []

  init(step: Int) {
    entries = [.init("step", .integer(step))]
  }

  mutating func add(_ key: String, _ value: Double?) {
    entries.append(.init(key, number(value, name: key)))
  }

  mutating func add(_ key: String, _ value: Int?) {
    entries.append(.init(key, value.map { .integer($0) } ?? .null))
  }

  mutating func add(_ key: String, _ value: Bool) {
    entries.append(.init(key, .boolean(value)))
  }

  mutating func add(_ key: String, _ values: [StepMetrics.NamedValue]) {
    var members: [ConfigurationValue.Entry] = []
    for item in values {
      members.append(.init(item.name, number(item.value, name: "\(key).\(item.name)")))
    }
    entries.append(.init(key, .mapping(members)))
  }

  var json: String {
    let flag: [ConfigurationValue.Entry] =
      nonFinite.isEmpty ? [] : [.init("non_finite", .mapping(nonFinite))]
    return ConfigurationValue.mapping(entries + flag).json()
  }

  private mutating func number(_ value: Double?, name: String) -> ConfigurationValue {
    guard let value else { return .null }
    guard !value.isFinite else { return .number(value) }
    let word = value.isNaN ? "nan" : value > 0 ? "inf" : "-inf"
    nonFinite.append(.init(name, .text(word)))
    return .null
  }
}
