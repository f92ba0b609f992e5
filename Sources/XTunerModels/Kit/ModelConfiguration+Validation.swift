import XTunerMoE
import XTunerNN

/// Largest sizes that are read as sizes, rather than as damage; their products fit 64 bits.
enum ConfigurationLimit {
  static let vocabularySize = 1 << 24
  static let hiddenSize = 1 << 17
  static let width = 1 << 19
  static let layerCount = 1 << 10
  static let headCount = 1 << 12
  static let headSize = 1 << 12
  static let expertCount = 1 << 14
  static let positionCount = 1 << 40
}

/// Checks that values fit together.
extension ModelConfiguration {
  /// Throws everything that is contradictory or out of range, under the keys of `config.json`.
  ///
  /// - Parameter file: what messages call the source of the values.
  /// - Throws: `ModelConfigurationError` with every problem.
  public func validate(file: String = "model") throws(ModelConfigurationError) {
    let problems = consistencyProblems().map(\.problem)
    guard problems.isEmpty else { throw ModelConfigurationError(file: file, problems: problems) }
  }

  /// A contradiction, with every key that takes part in it.
  struct Contradiction: Hashable {
    var keys: [String]
    var reason: String

    var problem: ModelConfigurationError.Problem { .init(key: keys[0], reason: reason) }
  }

  func consistencyProblems() -> [Contradiction] {
    var checks = ContradictionList()
    checkSizes(&checks)
    for layer in layers {
      switch layer.attention {
      case .groupedQuery(let attention): check(attention, &checks)
      }
      switch layer.feedForward {
      case .dense(let size):
        checks.range("intermediate_size", size, 1...ConfigurationLimit.width)
      case .mixture(let mixture): check(mixture, &checks)
      }
    }
    checkRotary(&checks)
    checkTokens(&checks)
    family.check(self, &checks)
    return checks.found
  }

  private func checkSizes(_ checks: inout ContradictionList) {
    checks.range("vocab_size", vocabularySize, 1...ConfigurationLimit.vocabularySize)
    checks.range("hidden_size", hiddenSize, 1...ConfigurationLimit.hiddenSize)
    checks.range("intermediate_size", intermediateSize, 0...ConfigurationLimit.width)
    checks.range("num_hidden_layers", layers.count, 1...ConfigurationLimit.layerCount)
    checks.range(
      "max_position_embeddings", maximumPositionCount, 1...ConfigurationLimit.positionCount)
    checks.expect(
      normEpsilon > 0 && normEpsilon < 1, ["rms_norm_eps"],
      "must be above 0 and below 1, is \(normEpsilon)")
    checks.expect(
      initializerRange > 0 && initializerRange.isFinite, ["initializer_range"],
      "must be above 0, is \(initializerRange)")
    checks.expect(
      balanceLossCoefficient >= 0 && balanceLossCoefficient.isFinite, ["router_aux_loss_coef"],
      "must not be negative, is \(balanceLossCoefficient)")
  }

  private func check(_ attention: GroupedQueryAttention.Options, _ checks: inout ContradictionList)
  {
    let heads = attention.headCount
    let shared = attention.keyValueHeadCount
    checks.range("num_attention_heads", heads, 1...ConfigurationLimit.headCount)
    checks.range("num_key_value_heads", shared, 1...ConfigurationLimit.headCount)
    checks.range("head_dim", attention.headSize, 1...ConfigurationLimit.headSize)
    checks.expect(
      attention.headSize.isMultiple(of: 2), ["head_dim"],
      "must be even, for the rotary embedding turns pairs, is \(attention.headSize)")
    checks.expect(
      heads < 1 || shared < 1 || heads.isMultiple(of: shared),
      ["num_attention_heads", "num_key_value_heads"],
      "must be a multiple of num_key_value_heads (\(shared)), is \(heads)")
    if let window = attention.window {
      checks.range("sliding_window", window, 1...ConfigurationLimit.positionCount)
    }
  }

  private func check(_ mixture: MixtureOfExperts.Options, _ checks: inout ContradictionList) {
    let router = mixture.router
    let (experts, chosen) = (router.expertCount, router.expertsPerToken)
    checks.range("num_experts", experts, 1...ConfigurationLimit.expertCount)
    checks.range("moe_intermediate_size", mixture.expertSize, 1...ConfigurationLimit.width)
    checks.range("num_experts_per_tok", chosen, 1...ConfigurationLimit.expertCount)
    checks.range("n_shared_experts", mixture.sharedExpertSize, 0...ConfigurationLimit.width)
    checks.expect(
      chosen <= experts, ["num_experts_per_tok", "num_experts"],
      "must not be above num_experts (\(experts)), is \(chosen)")
    checks.expect(
      router.groupCount >= 1 && experts.isMultiple(of: max(router.groupCount, 1)),
      ["n_group", "num_experts"], "must divide num_experts (\(experts)), is \(router.groupCount)")
    checks.expect(
      (1...max(router.groupCount, 1)).contains(router.keptGroupCount), ["topk_group", "n_group"],
      "must be between 1 and n_group (\(router.groupCount)), is \(router.keptGroupCount)")
    checks.expect(
      router.scalingFactor > 0 && router.scalingFactor.isFinite, ["routed_scaling_factor"],
      "must be above 0, is \(router.scalingFactor)")
  }

  private func checkRotary(_ checks: inout ContradictionList) {
    checks.expect(
      rotary.base > 1 && rotary.base.isFinite,
      ["rope_theta", "rope_parameters.rope_theta", "rope_scaling.rope_theta"],
      "must be above 1, is \(rotary.base)")
    checks.expect(
      rotary.rotatedSize >= 2 && rotary.rotatedSize.isMultiple(of: 2), ["head_dim"],
      "must be even, for the rotary embedding turns pairs, is \(rotary.rotatedSize)")
    switch rotary.scaling {
    case .none: break
    case .linear(let factor): checkFactor(factor, &checks)
    case .dynamic(let factor, _):
      checkFactor(factor, &checks)
      checks.expect(
        rotary.rotatedSize > 2, ["head_dim"], "must be above 2 with rope_type dynamic")
    case .yarn(let yarn):
      checkFactor(yarn.factor, &checks)
      checks.range(
        "rope_scaling.original_max_position_embeddings", yarn.originalPositionCount,
        1...ConfigurationLimit.positionCount)
      let isOrdered =
        yarn.slowRotationCount > 0 && yarn.fastRotationCount >= yarn.slowRotationCount
      checks.expect(
        isOrdered, ["rope_scaling.beta_fast", "rope_scaling.beta_slow"],
        "must not be below beta_slow (\(yarn.slowRotationCount)), which must be above 0; is "
          + "\(yarn.fastRotationCount)")
    }
  }

  private func checkFactor(_ factor: Double, _ checks: inout ContradictionList) {
    checks.expect(
      factor >= 1 && factor.isFinite, ["rope_scaling.factor", "rope_parameters.factor"],
      "must be at least 1, is \(factor)")
  }

  private func checkTokens(_ checks: inout ContradictionList) {
    let range = 0..<max(vocabularySize, 1)
    let tokens = [
      ("eos_token_id", endTokenIDs), ("bos_token_id", beginTokenID.map { [$0] } ?? []),
      ("pad_token_id", paddingTokenID.map { [$0] } ?? []),
    ]
    for (key, ids) in tokens {
      // One is enough to name: a list may have any length.
      let wrong = ids.first { !range.contains($0) }
      checks.expect(
        wrong == nil, [key, "vocab_size"],
        "must be between 0 and vocab_size - 1 (\(range.upperBound - 1)), is \(wrong ?? 0)")
    }
  }
}

/// Contradictions in the order they are found, each once however many layers share it.
struct ContradictionList {
  private(set) var found: [ModelConfiguration.Contradiction] = []

  mutating func expect(_ condition: Bool, _ keys: [String], _ reason: @autoclosure () -> String) {
    guard !condition else { return }
    let contradiction = ModelConfiguration.Contradiction(keys: keys, reason: reason())
    if !found.contains(contradiction) { found.append(contradiction) }
  }

  mutating func range(_ key: String, _ value: Int, _ range: ClosedRange<Int>) {
    expect(
      range.contains(value), [key],
      "must be between \(range.lowerBound) and \(range.upperBound), is \(value)")
  }
}
