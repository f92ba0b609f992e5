import Torch
public import XTunerModels
import XTunerNN
public import XTunerTokenizers

/// Generates text with a model that has weights: prompts in one pack, then one token of every
/// unfinished sequence at a time, with a key-value cache.
///
/// A sequence depends on the model, the options and its prompt, not on the sequences beside it:
/// random choices are a function of the seed, the prompt and how many equal prompts stand before
/// it. In float32 this is exact up to the order in which matrix products add; two tokens whose
/// logits are that close may change places.
///
/// Confined to the thread that created it, since libtorch keeps the grad mode per thread.
public final class TextGenerator {
  /// The model.
  public let model: LanguageModel
  /// What turns ids into text; nil where only ids are of interest.
  public let tokenizer: Tokenizer?
  /// How many sequences are generated side by side; more prompts are taken in turn.
  public let batchSize: Int

  /// A generator; `model` must have its weights.
  public init(model: LanguageModel, tokenizer: Tokenizer?, batchSize: Int = 64) {
    precondition(batchSize > 0, "the batch size must be positive, is \(batchSize)")
    self.model = model
    self.tokenizer = tokenizer
    self.batchSize = batchSize
  }

  /// The tokens that end an answer: those of the model's configuration and, where given, of the
  /// chat template.
  public func stopTokens(template: ChatTemplate? = nil) -> Set<Int32> {
    var tokens = Set(model.configuration.endTokenIDs.map(Int32.init))
    for text in template?.stopTokens ?? [] {
      if let id = tokenizer?.id(of: text) { tokens.insert(id) }
    }
    return tokens
  }

  /// Generates an answer to each prompt.
  ///
  /// A sequence ends at a stop token, at a stop string, after `maximumTokenCount` new tokens, or
  /// when prompt and answer fill the model's context (`maximumPositionCount`).
  ///
  /// - Parameters:
  ///   - prompts: Token ids, each list with at least one and fewer than the context holds.
  ///   - options: How tokens are chosen, and when a sequence ends.
  ///   - onToken: Called with the index of the prompt and each new token, as they come.
  ///   - onText: Called with the index of the prompt and the text that has become certain: whole
  ///     characters that are not the beginning of a stop string.
  /// - Returns: One sequence a prompt, in their order.
  /// - Throws: `GenerationError` before anything is computed, or where logits are not finite.
  public func generate(
    prompts: [[Int32]], options: SamplingOptions,
    onToken: (_ sequence: Int, _ id: Int32) -> Void = { _, _ in },
    onText: (_ sequence: Int, _ text: String) -> Void = { _, _ in }
  ) throws(GenerationError) -> [GeneratedSequence] {
    try options.validate()
    try check(prompts, options)
    var states = makeStates(prompts, options)
    if options.maximumTokenCount > 0 {
      var start = 0
      while start < states.count {
        let range = start..<min(start + batchSize, states.count)
        try generate(range, &states, options, onToken: onToken, onText: onText)
        start = range.upperBound
      }
    }
    return states.map(\.result)
  }

  /// The text of one answer: `prompt` is encoded as it is, special tokens in it included.
  ///
  /// - Parameters:
  ///   - prompt: The text to go on from.
  ///   - options: How tokens are chosen, and when a sequence ends.
  ///   - onText: Called with each piece of text that has become certain.
  /// - Returns: The answer.
  /// - Throws: `GenerationError` before anything is computed, or where logits are not finite.
  public func generate(
    prompt: String, options: SamplingOptions, onText: (_ text: String) -> Void = { _ in }
  ) throws(GenerationError) -> GeneratedSequence {
    guard let tokenizer else {
      throw GenerationError(.missingTokenizer, "a prompt of text needs a tokenizer")
    }
    let ids = try Self.located { () throws(TokenizerError) in try tokenizer.encode(prompt) }
    let sequences = try generate(
      prompts: [ids], options: options, onText: { _, text in onText(text) })
    return sequences[0]
  }

  private static func located<Value>(
    _ work: () throws(TokenizerError) -> Value
  ) throws(GenerationError) -> Value {
    do throws(TokenizerError) {
      return try work()
    } catch {
      throw GenerationError(.tokenizer, error.description)
    }
  }

  // MARK: - Checks

  private func check(_ prompts: [[Int32]], _ options: SamplingOptions) throws(GenerationError) {
    if !options.stopStrings.isEmpty && tokenizer == nil {
      throw GenerationError(
        .missingTokenizer, "stop strings need a tokenizer; stop tokens work without one")
    }
    let configuration = model.configuration
    let (limit, rows) = (configuration.maximumPositionCount, configuration.vocabularySize)
    for (index, prompt) in prompts.enumerated() {
      guard !prompt.isEmpty else {
        throw GenerationError(
          .invalidPrompt, "prompt \(index) has no tokens; a model needs at least one to go on from")
      }
      guard prompt.count < limit else {
        throw GenerationError(
          .invalidPrompt,
          """
          prompt \(index) has \(prompt.count) tokens, but the model's context holds \(limit) with \
          at least one for the answer; shorten it
          """)
      }
      if let id = prompt.first(where: { !(0..<rows).contains(Int($0)) }) {
        throw GenerationError(
          .invalidPrompt,
          """
          prompt \(index) has the token \(id), but the model's vocabulary has \(rows) rows; the \
          tokenizer belongs to another model
          """)
      }
    }
    let longest = prompts.map(\.count).max() ?? 0
    if case .dynamic(_, let original) = model.configuration.rotary.scaling,
      min(longest + min(options.maximumTokenCount, limit), limit) > original
    {
      throw GenerationError(
        .unsupported,
        """
        rope scaling "dynamic" changes the rotation of tokens already cached beyond \(original) \
        tokens; keep prompt and answer within that, or use YaRN scaling
        """)
    }
  }

  private func makeStates(_ prompts: [[Int32]], _ options: SamplingOptions) -> [SequenceState] {
    var occurrences: [[Int32]: Int] = [:]
    return prompts.map { prompt in
      let occurrence = occurrences[prompt, default: 0]
      occurrences[prompt] = occurrence + 1
      return SequenceState(
        prompt: prompt, occurrence: occurrence, options: options, tokenizer: tokenizer,
        contextLimit: model.configuration.maximumPositionCount)
    }
  }

  // MARK: - One batch

  private func generate(
    _ range: Range<Int>, _ states: inout [SequenceState], _ options: SamplingOptions,
    onToken: (Int, Int32) -> Void, onText: (Int, String) -> Void
  ) throws(GenerationError) {
    var active = Array(range)
    let limit = active.map { states[$0].lengthLimit }.max() ?? 0
    let longest = active.map { states[$0].prompt.count }.max() ?? 0
    // Most answers are shorter than they may be: memory for long ones is taken when they get long.
    let cache = KeyValueCache(
      promptLengths: active.map { states[$0].prompt.count }, capacity: min(limit, longest + 64),
      device: model.device)
    let sampler = TokenSampler(options)
    var logits = logitsSV(active.flatMap { states[$0].prompt }, cache)
    while true {
      try takeTokens(logits, active, &states, sampler, onToken: onToken, onText: onText)
      let kept = active.indices.filter { !states[active[$0]].isFinished }
      guard !kept.isEmpty else { return }
      if kept.count < active.count {
        withoutGradients { cache.keepSequences(kept) }
        active = kept.map { active[$0] }
      }
      withoutGradients { cache.advance(maximumCapacity: limit) }
      logits = logitsSV(active.map { states[$0].newest }, cache)
    }
  }

  /// The logits behind the last token of each sequence, `[S, V]` float32, for the tokens of a pass.
  private func logitsSV(_ tokens: [Int32], _ cache: KeyValueCache) -> Tensor {
    withoutGradients {
      let samples = cache.pass == .prefill ? cache.lengths : cache.lengths.map { _ in 1 }
      let bounds = samples.reduce(into: [0]) { $0.append($0[$0.count - 1] + $1) }
      let contexts = model.makeContexts(
        ModelInput(bounds: bounds, positions: cache.positionsT, cache: cache))
      var hiddenSD = model.hiddenStates(Tensor(tokens, device: model.device).to(.int64), contexts)
      if cache.pass == .prefill {
        let lastS = Tensor(bounds.dropFirst().map { Int64($0 - 1) }, device: model.device)
        hiddenSD = hiddenSD.selectingRows(dim: 0, index: lastS)
      }
      return model.head(hiddenSD).to(.float32).to(.cpu).contiguous()
    }
  }

  private func takeTokens(
    _ logitsSV: Tensor, _ active: [Int], _ states: inout [SequenceState], _ sampler: TokenSampler,
    onToken: (Int, Int32) -> Void, onText: (Int, String) -> Void
  ) throws(GenerationError) {
    let rowSize = logitsSV.size(1)
    let choices = logitsSV.withMutableBytes { bytes in
      let values = bytes.bindMemory(to: Float.self)
      return active.enumerated().map { row, index in
        sampler.choose(UnsafeBufferPointer(rebasing: values[row * rowSize..<(row + 1) * rowSize])) {
          states[index].random.next()
        }
      }
    }
    for (index, choice) in zip(active, choices) {
      guard let choice else {
        throw GenerationError(
          .nonFinite,
          """
          prompt \(index): the logits of token \(states[index].ids.count + 1) of the answer hold a \
          NaN or an infinity; the weights are damaged, or the dtype cannot hold the activations
          """)
      }
      let text = try Self.located { () throws(TokenizerError) in
        try states[index].append(Int32(choice))
      }
      onToken(index, Int32(choice))
      if !text.isEmpty { onText(index, text) }
    }
  }
}
