import Torch
import XTunerMoE
import XTunerModels
import XTunerNN
import XTunerParallel

// Shape legend for this file:
//   T tokens of this rank   P tokens of the whole pack   D hidden   H, G query and key-value heads
//   d head size   h, g heads of this rank   E experts   K experts a token   I width of a feed-forward
//   layer or expert   S rows of this rank's experts   e bytes of an element

/// The stages of a decoder layer in bytes, operator by operator as in `DecoderBlock` and its parts.
struct ImaginedLayer {
  private let ledger: MemoryLedger
  private let name: String
  private let attention: GroupedQueryAttention.Options
  private let feedForward: FeedForwardOptions
  private let setting: MemoryEstimate.Setting
  private let experts: MixtureOfExperts.Options?

  init?(
    _ name: String, _ layer: DecoderLayerOptions, _ setting: MemoryEstimate.Setting,
    _ ledger: MemoryLedger
  ) {
    guard case .groupedQuery(let attention) = layer.attention else { return nil }
    self.name = name
    self.attention = attention
    self.feedForward = layer.feedForward
    self.experts = layer.feedForward.mixture
    self.setting = setting
    self.ledger = ledger
  }

  private var e: Int { setting.computeDType.size }
  private var D: Int { setting.model.hiddenSize }
  private var T: Int {
    (setting.tokenCount + setting.layout.sequence - 1) / setting.layout.sequence
  }
  private var P: Int { setting.tokenCount }
  private var headSize: Int { attention.headSize }

  /// Rows of this rank's tokens in the order of experts, and rows that come to its experts.
  var sentRows: Int { T * (experts?.router.expertsPerToken ?? 0) }
  var receivedRows: Int {
    Int(Double(sentRows * setting.layout.expertTensor) * setting.expertLoad)
  }

  /// Bytes of the gradients' and values' rows of a stage's outputs, as they are made.
  func run(_ stage: StageName, _ x: [ImaginedTensor], _ record: inout ImaginedMemory?)
    -> [ImaginedTensor]
  {
    switch stage {
    case .project: project(x[0])
    case .attend: [attend(x)]
    case .feedForward: [feedForwardStage(x[0], x[1])]
    case .route: route(x[0], x[1], &record)
    case .dispatch: [ledger.permute(x[0], byteCount: sentRows * D * e)]
    case .experts: [computeExperts(x[0])]
    case .shared: [shared(x[0])]
    default: [combine(x)]
    }
  }

  private func parameter(_ part: String, _ count: Int) -> ImaginedParameter {
    ImaginedParameter(
      name: "\(name).\(part)", unit: .dense, elementCount: count, elementSize: e)
  }

  /// A product with a matrix `[N, K]` of `module`, or with one of each of E experts.
  ///
  /// `isGated` says that x is gate and up of the SwiGLU that is multiplied, `hasRows` that a norm has
  /// quantised x where that is wanted.
  private func linear(
    _ x: ImaginedTensor, rows R: Int, outputs N: Int, inputs K: Int, experts E: Int? = nil,
    _ part: String, in module: Float8Module, isGated: Bool = false, hasRows: Bool = false
  ) -> ImaginedTensor {
    var parameter = parameter(part, (E ?? 1) * N * K)
    if E != nil { parameter.unit = .experts }
    guard isFloat8(module) else {
      return ledger.linear(isGated ? ledger.swiGLU(x) : x, byteCount: R * N * e, parameter)
    }
    parameter.unit = parameter.unit.float8
    let groupSize = E == nil ? setting.layout.shard : setting.layout.expertShard
    let products = ImaginedProducts(
      .init(
        R: R, N: N, K: K, E: E ?? 1, isGrouped: E != nil, isQuantized: groupSize > 1,
        hasRows: hasRows),
      setting.float8Products)
    return isGated
      ? ledger.float8SwiGLULinear(x, byteCount: R * N * e, products, parameter)
      : ledger.float8Linear(x, byteCount: R * N * e, products, parameter)
  }

  private func isFloat8(_ module: Float8Module) -> Bool {
    setting.float8Modules.contains(module)
  }

  /// What a norm quantises for layers of `module`; a stage keeps it until its end.
  private func quantizedRows(for module: Float8Module) -> ImaginedMemory? {
    isFloat8(module) ? ledger.take(ImaginedProducts.rowBytes(T, D), \.working) : nil
  }

  private func norm(_ x: ImaginedTensor, width: Int? = nil) -> ImaginedTensor {
    ledger.norm(x, width: width ?? D, elementSize: e)
  }

  // MARK: Attention

  private func project(_ input: ImaginedTensor) -> [ImaginedTensor] {
    let normalizedTD = norm(input)
    func projected(_ part: String, _ width: Int) -> ImaginedTensor {
      linear(
        normalizedTD, rows: T, outputs: width, inputs: D, part, in: .attention, hasRows: true)
    }
    return withExtendedLifetime(quantizedRows(for: .attention)) {
      let query = projected("query", attention.querySize)
      let key = projected("key", attention.keyValueSize)
      let value = projected("value", attention.keyValueSize)
      if attention.normalizesQueryAndKey {
        // Rotated in the same pass.
        return [norm(query, width: headSize), norm(key, width: headSize), value]
      }
      return [ledger.rotary(query), ledger.rotary(key), value]
    }
  }

  private func attend(_ x: [ImaginedTensor]) -> ImaginedTensor {
    let heads = attention.headCount / setting.layout.sequence
    let share =
      setting.longestSample >= 1024 && attention.window == nil
      ? min(1, Double(setting.longestSample) / Double(max(P, 1))) : 0
    return ledger.attention(
      x, byteCount: P * heads * headSize * e, scores: P * heads, sampleShare: share)
  }

  /// The sum and its norm are made by one operator: what is added is there until both are.
  private func afterAttention(_ input: ImaginedTensor, _ attended: ImaginedTensor)
    -> (hidden: ImaginedTensor, normalized: ImaginedTensor)
  {
    let output = linear(
      attended, rows: T, outputs: D, inputs: attention.querySize, "output", in: .attention)
    return withExtendedLifetime(output) {
      let hidden = ledger.sum(input, output)
      return (hidden, norm(hidden))
    }
  }

  // MARK: Dense

  private func gated(
    _ x: ImaginedTensor, _ part: String, width: Int, in module: Float8Module, hasRows: Bool = false
  ) -> ImaginedTensor {
    let gateUp = linear(
      x, rows: T, outputs: 2 * width, inputs: D, "\(part).gateUp", in: module, hasRows: hasRows)
    return linear(
      gateUp, rows: T, outputs: D, inputs: width, "\(part).down", in: module, isGated: true)
  }

  private func feedForwardStage(_ input: ImaginedTensor, _ attended: ImaginedTensor)
    -> ImaginedTensor
  {
    guard case .dense(let width) = feedForward else { return input }
    let (hidden, normalized) = afterAttention(input, attended)
    return withExtendedLifetime(quantizedRows(for: .feedForward)) {
      ledger.sum(
        hidden,
        gated(normalized, "feedForward", width: width, in: .feedForward, hasRows: true))
    }
  }

  // MARK: Experts

  /// Everything of the router is float32; the choice is three int64 numbers a row, kept in the record.
  private func route(
    _ input: ImaginedTensor, _ attended: ImaginedTensor, _ record: inout ImaginedMemory?
  ) -> [ImaginedTensor] {
    guard let experts else { return [] }
    let (E, K) = (experts.router.expertCount, experts.router.expertsPerToken)
    let (hidden, normalized) = afterAttention(input, attended)
    let wide = e == 4 ? normalized : ledger.cast(normalized, byteCount: T * D * 4)
    var weight = parameter("router", E * D)
    weight.elementSize = 4
    weight.unit = e == 4 ? .dense : .float32
    let logits = ledger.linear(wide, byteCount: T * E * 4, weight)
    let scores = ledger.softmax(logits)
    let logSumExp = ledger.tensor(T * 4)
    if record == nil {
      record = ledger.take(T * K * 24 + E * 16, \.activations)
    }
    // Saves the scores for the gradient's shape.
    var weights = ledger.reduction(scores, byteCount: T * K * 4, saving: [scores.memory])
    if experts.router.normalizesWeights {
      let total = ledger.take(T * 4, \.activations)
      weights = ledger.reduction(weights, byteCount: T * K * 4, saving: [weights.memory, total])
    }
    // Sums that no loss reads are not made; none of them is read by a stage.
    let wanted = setting.options.routerLoss.sums
    var sums: [ImaginedTensor] = []
    if wanted.contains(.scoreSums) {
      sums.append(ledger.reduction(scores, byteCount: E * 4))
    }
    if wanted.contains(.squaredLogSumExp) {
      sums.append(ledger.reduction(logSumExp, byteCount: 4, saving: [logSumExp.memory]))
    }
    return [hidden, normalized, weights] + sums
  }

  private func computeExperts(_ rows: ImaginedTensor) -> ImaginedTensor {
    guard let experts else { return rows }
    let count = experts.router.expertCount / setting.layout.expert
    let width = experts.expertSize / setting.layout.expertTensor
    let gateUp = linear(
      rows, rows: receivedRows, outputs: 2 * width, inputs: D, experts: count, "experts.gateUp",
      in: .experts)
    return linear(
      gateUp, rows: receivedRows, outputs: D, inputs: width, experts: count, "experts.down",
      in: .experts, isGated: true)
  }

  private func shared(_ x: ImaginedTensor) -> ImaginedTensor {
    gated(x, "sharedExpert", width: experts?.sharedExpertSize ?? 0, in: .sharedExpert)
  }

  private func combine(_ x: [ImaginedTensor]) -> ImaginedTensor {
    let sum = ledger.sum(x[0], ledger.unpermute(x[1], x[2], byteCount: T * D * e))
    return x.count > 3 ? ledger.sum(sum, x[3]) : sum
  }

  // MARK: Exchanges

  /// What arrives where a stage's outputs travel; the exchange's own copies are there for a moment.
  func exchange(_ travel: Stage.Travel, _ x: [ImaginedTensor], isBack: Bool)
    -> [ImaginedTensor]
  {
    switch (travel, isBack) {
    case (.none, _): return x
    case (.toExperts, false), (.fromExperts, true): return [scatter(x[0])]
    case (.fromExperts, false), (.toExperts, true): return [collect(x[0])]
    case (.toHeads, false), (.toTokens, true): return toHeads(x, isBack: isBack)
    case (.toTokens, false), (.toHeads, true): return toTokens(x, isBack: isBack)
    }
  }

  /// Rows as they come, then in the order of experts; where experts are cut, a copy for each part.
  private func scatter(_ rows: ImaginedTensor) -> ImaginedTensor {
    let copies = setting.layout.expertTensor
    let outgoing = copies > 1 ? ledger.take(rows.byteCount * copies, \.collectives) : nil
    let incoming = ledger.take(receivedRows * D * e, \.collectives)
    return withExtendedLifetime((outgoing, incoming)) { ledger.tensor(receivedRows * D * e) }
  }

  /// Rows in the order in which they came, then those of the own tokens.
  private func collect(_ rows: ImaginedTensor) -> ImaginedTensor {
    let copies = setting.layout.expertTensor
    let outgoing = ledger.take(rows.byteCount, \.collectives)
    guard copies > 1 else {
      return withExtendedLifetime(outgoing) { ledger.tensor(sentRows * D * e) }
    }
    let incoming = ledger.take(sentRows * copies * D * e, \.collectives)
    return withExtendedLifetime((outgoing, incoming)) { ledger.tensor(sentRows * D * e) }
  }

  /// The parts for each rank, all of them in a row, what comes, and each of the three taken out.
  private func toHeads(_ x: [ImaginedTensor], isBack: Bool) -> [ImaginedTensor] {
    let ranks = setting.layout.sequence
    let queries = P * attention.headCount / ranks * headSize * e
    guard !isBack else {
      let outgoing = ledger.take(x[0].byteCount, \.collectives)
      return withExtendedLifetime(outgoing) { [ledger.tensor(queries)] }
    }
    let keys = P * max(attention.keyValueHeadCount / ranks, 1) * headSize * e
    let parts = ledger.take(queries + 2 * keys, \.collectives)
    let outgoing = ledger.take(queries + 2 * keys, \.collectives)
    let incoming = ledger.take(queries + 2 * keys, \.collectives)
    return withExtendedLifetime((parts, outgoing, incoming)) {
      [ledger.tensor(queries), ledger.tensor(keys), ledger.tensor(keys)]
    }
  }

  private func toTokens(_ x: [ImaginedTensor], isBack: Bool) -> [ImaginedTensor] {
    let queries = T * attention.querySize * e
    guard isBack else {
      let incoming = ledger.take(queries, \.collectives)
      return withExtendedLifetime(incoming) { [ledger.tensor(queries)] }
    }
    // Sums of key and value gradients are float32.
    let keys = T * attention.keyValueSize
    let all = x.reduce(0) { $0 + $1.byteCount }
    let outgoing = ledger.take(all, \.collectives)
    let incoming = ledger.take(all, \.collectives)
    let sums = ledger.take(queries + 2 * keys * 4, \.collectives)
    return withExtendedLifetime((outgoing, incoming, sums)) {
      [ledger.tensor(queries), ledger.tensor(keys * e), ledger.tensor(keys * e)]
    }
  }
}
