import Foundation
public import XTunerConfiguration
public import XTunerData
public import XTunerModels
import XTunerSystem
public import XTunerTokenizers

/// The tokenised data of a run, with how it is packed.
public struct PreparedData {
  /// The tokenizer.
  public let tokenizer: Tokenizer
  /// The chat template with the reason for it.
  public let templateChoice: ChatTemplateChoice
  /// The chat template; nil where the folder's own is of no known family, which text does not need.
  public var template: ChatTemplate? { templateChoice.template }
  /// Sources to train on, without held-out samples.
  public let training: [DataSource]
  /// Held-out sources; empty when there is no evaluation.
  public let evaluation: [DataSource]
  /// What became of the training sources' records.
  public let counts: [TokenizingCounts]
  /// Mode, sequence length and look-ahead.
  public let packing: PackPlanner
  /// Whether texts that are longer than a pack are trained in pieces.
  public let cutsTexts: Bool
  /// The rules of the order and of what is held out.
  public let rules: DataRules
  /// What people should know: caches rebuilt, records skipped.
  public let notes: [String]

  /// Reads and tokenises, or finds in the cache, everything that `configuration.data` names.
  ///
  /// A token id beyond the embedding of `model` is an error. `currentDate` is what gpt-oss is told
  /// unless the configuration says it, nil for today. `resuming` is what a checkpoint says of the
  /// data: a run goes on by the rules that it began with. `progress` is called now and then with a
  /// sentence about what is being tokenised.
  public init(
    _ configuration: RunConfiguration, model: ModelConfiguration?,
    resuming saved: LoaderIdentity? = nil, currentDate: String? = nil,
    progress: (String) -> Void = { _ in }
  ) throws {
    let data = configuration.data
    guard let tokenizerPath = configuration.tokenizer.path else {
      throw configuration.error(
        at: "tokenizer.path", "is needed when the model has no folder; give a tokenizer.json")
    }
    try configuration.checkPresence("tokenizer.path", tokenizerPath)
    let tokenizer = try Tokenizer(path: tokenizerPath)
    if configuration.model.path != nil, let model {
      try configuration.checkEndTokens(of: model, tokenizer)
    }
    let choice = try configuration.chatTemplate(on: currentDate)
    let packing = PackPlanner(
      mode: PackingMode(data.packing), sequenceLength: data.sequenceLength,
      lookAhead: data.packingWindow)
    let rules = saved.map { $0.rules ?? .version1 } ?? .current
    let options = try Self.tokenizingOptions(
      configuration, tokenizer, model: model, rules: rules)
    var builder = SourceBuilder(
      store: TokenCacheStore(folder: configuration.cacheFolder), tokenizer: tokenizer,
      choice: choice, options: options, threadCount: data.workers,
      maximumRecordSize: data.maxRecordBytes)
    var training: [DataSource] = []
    var evaluation: [DataSource] = []
    var counts: [TokenizingCounts] = []
    let validationSeed = rules == .version1 ? configuration.run.seed : data.validationSeed
    for source in data.train {
      let (opened, count) = try builder.open(source, progress: progress)
      counts.append(count)
      guard let share = data.validationSplit else {
        training.append(opened)
        continue
      }
      let split = try opened.samples.validationSplit(share: share, seed: UInt64(validationSeed))
      training.append(
        DataSource(name: opened.name, samples: split.training, weight: opened.weight))
      evaluation.append(DataSource(name: opened.name, samples: split.validation))
    }
    for source in data.evaluation {
      evaluation.append(try builder.open(source, progress: progress).source)
    }
    if let share = data.validationSplit {
      let (kept, held) = (Self.sampleCount(training), Self.sampleCount(evaluation))
      guard kept > 0 else {
        throw configuration.error(
          at: "data.validation_split",
          "\(share) holds out all \(held) samples; give a smaller share")
      }
      if held == 0 {
        evaluation = []
        builder.notes.append(
          "data.validation_split: \(share) of \(kept) samples holds none out: nothing is evaluated")
      }
    }
    // After documents were held out, so that no piece of one is trained on.
    let cutsTexts = options.overlongTexts == .keep
    if cutsTexts && data.packing != .split {
      training = training.map { $0.cut(toAtMost: data.sequenceLength) }
      evaluation = evaluation.map { $0.cut(toAtMost: data.sequenceLength) }
    }
    if builder.hasConversations { builder.notes.append(configuration.note(on: choice)) }
    self.cutsTexts = cutsTexts
    self.rules = rules
    self.tokenizer = tokenizer
    templateChoice = choice
    self.training = training
    self.evaluation = evaluation
    self.counts = counts
    self.packing = packing
    self.notes = tokenizer.notes + builder.notes + Self.notes(on: rules, configuration)
  }

  /// The loader of training packs.
  ///
  /// - Throws: `LoaderError`; what reading the model's configuration throws, where `data.group_steps`
  ///   needs to know what a pack costs.
  public func makeLoader(_ configuration: RunConfiguration) throws -> DataLoader {
    let window = configuration.data.groupSteps
    var grouping: PackGrouping?
    if window > 1 {
      // Without recomputation, so that the order does not change with it.
      let cost = StepCost(try configuration.modelConfiguration())
      grouping = PackGrouping(cost: cost, windowStepCount: window)
    }
    return try DataLoader(
      sources: training,
      options: DataLoaderOptions(
        packing: packing, packsPerStep: configuration.training.packsPerStep,
        seed: UInt64(configuration.run.seed), isShuffled: configuration.data.shuffle,
        rules: rules, epochLimit: configuration.training.epochs,
        grouping: grouping, maximumMaskedShare: configuration.data.maxMaskedShare))
  }

  /// The held-out packs, or nil when there is no evaluation.
  public func makeEvaluationLoader(
    _ configuration: RunConfiguration
  ) throws(LoaderError) -> EvaluationLoader? {
    guard !evaluation.isEmpty else { return nil }
    return try EvaluationLoader(
      sources: evaluation, packing: packing, packLimit: configuration.evaluation.maxPacks)
  }

  /// How records become samples.
  static func tokenizingOptions(
    _ configuration: RunConfiguration, _ tokenizer: Tokenizer, model: ModelConfiguration?,
    rules: DataRules = .current
  ) throws -> TokenizingOptions {
    let data = configuration.data
    let policies = overlongPolicies(data, rules: rules)
    return TokenizingOptions(
      sequenceLength: data.sequenceLength,
      overlong: policies.conversations, overlongTexts: policies.texts,
      maximumMaskedShare: data.maxMaskedShare,
      endOfDocumentToken: try endOfDocument(configuration, tokenizer, model: model),
      modelVocabularySize: model?.vocabularySize, onError: ErrorPolicy(data.onError))
  }

  /// What happens to over-long conversations and texts; nil where texts are not treated apart.
  ///
  /// Texts stay whole in the cache where they are cut: documents are held out as a whole, and the
  /// packing `split` cuts them only where a pack ends.
  private static func overlongPolicies(
    _ data: DataOptions, rules: DataRules
  ) -> (conversations: OverlongPolicy, texts: OverlongPolicy?) {
    switch data.overlong {
    case .auto: (.truncate, rules == .version1 ? nil : .keep)
    case .split where data.packing == .split: (.keep, nil)
    case .split: (.split, rules == .version1 ? nil : .keep)
    case .truncate: (.truncate, nil)
    case .drop: (.drop, nil)
    case .error: (.error, nil)
    }
  }

  private static func notes(
    on rules: DataRules, _ configuration: RunConfiguration
  ) -> [String] {
    guard rules == .version1 else { return [] }
    var notes = [
      """
      the run began with an earlier version of the program: packs come in that version's order, and \
      changed labels would not be noticed
      """
    ]
    if configuration.evaluation.maxPacks != nil {
      notes.append("evaluation.max_packs takes other packs than that version did")
    }
    return notes
  }

  private static func sampleCount(_ sources: [DataSource]) -> Int {
    sources.reduce(0) { $0 + $1.samples.count }
  }
  private static func endOfDocument(
    _ configuration: RunConfiguration, _ tokenizer: Tokenizer, model: ModelConfiguration?
  ) throws -> Int32? {
    if let name = configuration.data.endOfDocument {
      guard let id = tokenizer.id(of: name) else {
        throw configuration.error(
          at: "data.end_of_document",
          "must be a token of \(configuration.tokenizer.path ?? "the tokenizer"), is \(name)")
      }
      return id
    }
    // Qwen3's pre-training separator, then whatever the model's configuration calls its end.
    return tokenizer.id(of: "<|endoftext|>") ?? model?.endTokenIDs.first.map { Int32($0) }
  }
}

/// Opens sources one after another and collects what people should know.
private struct SourceBuilder {
  let store: TokenCacheStore
  let tokenizer: Tokenizer
  let choice: ChatTemplateChoice
  let options: TokenizingOptions
  let threadCount: Int
  let maximumRecordSize: Int
  var notes: [String] = []
  /// Whether any source has tokens without a loss beside the first of each sample, which texts have not.
  var hasConversations = false

  mutating func open(
    _ source: DataOptions.Source, progress: (String) -> Void
  ) throws -> (source: DataSource, counts: TokenizingCounts) {
    let name = source.name ?? source.path
    let records = RecordSource(source, maximumRecordSize: maximumRecordSize)
    var lastReport = ContinuousClock.now
    let result = try store.openOrBuild(
      source: records, tokenizer: tokenizer, template: choice.template,
      templateAdvice: choice.advice, options: options,
      threadCount: max(threadCount, 1),
      progress: { state in
        guard ContinuousClock.now - lastReport > .seconds(2) else { return }
        lastReport = .now
        progress("tokenising \(name): \(state.records) records, \(state.tokens) tokens")
      })
    if let reason = result.rejectedReason {
      notes.append("\(name): the token cache was made anew: \(reason)")
    }
    let counts = result.cache.counts
    let unlearnedCount = result.cache.tokenCount - result.cache.lossTokenCount
    hasConversations = hasConversations || unlearnedCount > result.cache.count
    notes += counts.losses.map { "\(name): \($0)" }
    if counts.truncated + counts.droppedOverlong > 0 {
      notes.append("\(name): see data.overlong and data.sequence_length")
    }
    let unused = result.cache.unusedKeys
    if !unused.isEmpty {
      notes.append(
        "\(name): nothing reads these keys of its records: \(unused.joined(separator: ", "))")
    }
    return (DataSource(name: name, samples: result.cache, weight: source.weight), counts)
  }
}

extension RunConfiguration {
  /// An end token that is an ordinary word would end answers and documents wherever it occurs.
  func checkEndTokens(of model: ModelConfiguration, _ tokenizer: Tokenizer) throws {
    for id in model.endTokenIDs.compactMap(Int32.init(exactly:)) where !tokenizer.isAdded(id) {
      guard let word = tokenizer.token(of: id) else { continue }
      throw error(
        at: "tokenizer.path",
        """
        the model's eos_token_id \(id) is the word \
        \(JSONValue.string(String(word.prefix(40))).text()) of this tokenizer, no token of its own; \
        use the model's own tokenizer, or correct config.json
        """)
    }
  }
  /// Where tokenised samples are kept: shared by all runs of a user unless told otherwise.
  var cacheFolder: String {
    if let folder = data.cacheDirectory { return folder }
    let caches = CacheFolder.path(
      environment: ProcessInfo.processInfo.environment,
      account: FileManager.default.homeDirectoryForCurrentUser.path)
    return "\(caches)/xtuner/tokens"
  }
}

extension PackingMode {
  init(_ packing: DataOptions.Packing) {
    switch packing {
    case .bestFit: self = .bestFit
    case .split: self = .split
    case .none: self = .none
    }
  }
}

extension ErrorPolicy {
  init(_ policy: DataOptions.ErrorPolicy) {
    switch policy {
    case .stop: self = .stop
    case .skip: self = .skip
    }
  }
}

extension DataFormat {
  init(_ format: DataOptions.Format) {
    switch format {
    case .auto: self = .auto
    case .messages: self = .messages
    case .sharegpt: self = .shareGPT
    case .alpaca: self = .alpaca
    case .text: self = .text
    case .plain: self = .text
    }
  }
}
