import Foundation
public import XTunerData
public import XTunerModels
public import XTunerTokenizers

/// The tokenised data of a run, with how it is packed.
public struct PreparedData {
  /// The tokenizer.
  public let tokenizer: Tokenizer
  /// The chat template.
  public let template: ChatTemplate
  /// Sources to train on, without held-out samples.
  public let training: [DataSource]
  /// Held-out sources; empty when there is no evaluation.
  public let evaluation: [DataSource]
  /// What became of the training sources' records.
  public let counts: [TokenizingCounts]
  /// Mode, sequence length and look-ahead.
  public let packing: PackPlanner
  /// What people should know: caches rebuilt, records skipped.
  public let notes: [String]

  /// Reads and tokenises, or finds in the cache, everything that `configuration.data` names.
  ///
  /// A token id beyond the embedding of `model` is an error. `progress` is called now and then with
  /// a sentence about what is being tokenised.
  public init(
    _ configuration: RunConfiguration, model: ModelConfiguration?,
    progress: (String) -> Void = { _ in }
  ) throws {
    let data = configuration.data
    guard let tokenizerPath = configuration.tokenizer.path else {
      throw configuration.error(
        at: "tokenizer.path", "is needed when the model has no folder; give a tokenizer.json")
    }
    let tokenizer = try Tokenizer(path: tokenizerPath)
    let template = try configuration.chatTemplate()
    let packing = PackPlanner(
      mode: PackingMode(data.packing), sequenceLength: data.sequenceLength,
      lookAhead: data.packingWindow)
    let options = TokenizingOptions(
      sequenceLength: data.sequenceLength,
      overlong: data.packing == .split && data.overlong == .split
        ? .keep : OverlongPolicy(data.overlong),
      maximumMaskedShare: data.maxMaskedShare,
      endOfDocumentToken: try Self.endOfDocument(configuration, tokenizer, model: model),
      modelVocabularySize: model?.vocabularySize, onError: ErrorPolicy(data.onError))

    var builder = SourceBuilder(
      store: TokenCacheStore(folder: configuration.cacheFolder), tokenizer: tokenizer,
      template: template, options: options, threadCount: data.workers,
      maximumRecordSize: data.maxRecordBytes)
    var training: [DataSource] = []
    var evaluation: [DataSource] = []
    var counts: [TokenizingCounts] = []
    for source in data.train {
      let (opened, count) = try builder.open(source, progress: progress)
      counts.append(count)
      if let share = data.validationSplit {
        let split = try opened.samples.validationSplit(
          share: share, seed: UInt64(configuration.run.seed))
        training.append(
          DataSource(name: opened.name, samples: split.training, weight: opened.weight))
        evaluation.append(DataSource(name: opened.name, samples: split.validation))
      } else {
        training.append(opened)
      }
    }
    for source in data.evaluation {
      evaluation.append(try builder.open(source, progress: progress).source)
    }
    self.tokenizer = tokenizer
    self.template = template
    self.training = training
    self.evaluation = evaluation
    self.counts = counts
    self.packing = packing
    self.notes = builder.notes
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
        epochLimit: configuration.training.epochs,
        grouping: grouping))
  }

  /// The held-out packs, or nil when there is no evaluation.
  public func makeEvaluationLoader(
    _ configuration: RunConfiguration
  ) throws(LoaderError) -> EvaluationLoader? {
    guard !evaluation.isEmpty else { return nil }
    return try EvaluationLoader(
      sources: evaluation, packing: packing, packLimit: configuration.evaluation.maxPacks)
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
  let template: ChatTemplate?
  let options: TokenizingOptions
  let threadCount: Int
  let maximumRecordSize: Int
  var notes: [String] = []

  mutating func open(
    _ source: DataOptions.Source, progress: (String) -> Void
  ) throws -> (source: DataSource, counts: TokenizingCounts) {
    let name = source.name ?? source.path
    let records = RecordSource(
      paths: [source.path], name: name, format: DataFormat(source.format),
      maximumRecordSize: maximumRecordSize)
    var lastReport = ContinuousClock.now
    let result = try store.openOrBuild(
      source: records, tokenizer: tokenizer, template: template, options: options,
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
    if counts.truncated > 0 {
      notes.append(
        "\(name): \(counts.truncated) of \(counts.samples) samples were cut to "
          + "data.sequence_length; see data.overlong")
    }
    if counts.unreadable > 0 {
      notes.append("\(name): \(counts.unreadable) broken records were skipped")
    }
    return (DataSource(name: name, samples: result.cache, weight: source.weight), counts)
  }
}

extension RunConfiguration {
  /// The chat template that `data.template` names; Qwen3's where none is, since both families that
  /// can be built are Qwen3.
  func chatTemplate() throws -> ChatTemplate {
    do throws(ChatTemplateError) {
      return try ChatTemplate.named(data.template ?? "qwen3")
    } catch {
      throw self.error(at: "data.template", error.description)
    }
  }

  /// Where tokenised samples are kept: shared by all runs of a user unless told otherwise.
  var cacheFolder: String {
    if let folder = data.cacheDirectory { return folder }
    return FileManager.default.homeDirectoryForCurrentUser.path + "/.cache/xtuner/tokens"
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

extension OverlongPolicy {
  init(_ policy: DataOptions.Overlong) {
    switch policy {
    case .truncate: self = .truncate
    case .drop: self = .drop
    case .error: self = .error
    case .split: self = .split
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
